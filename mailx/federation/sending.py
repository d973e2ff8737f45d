"""One transfer over one channel: in one call, or in pieces; and what its answer proves.

Failure is :class:`~mailx.federation.channel.ChannelFailure`. After ``PeerRefused`` nothing was taken by this call; after the
others nobody knows, so whoever asks again does so under the same id.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

from attrs import frozen
from twisted.internet.defer import Deferred

from mailx.federation.channel import Channel, PeerRefused
from mailx.federation.service import Fields, Plain, number
from mailx.federation.transfers import BEGIN_AGAIN, CHUNK, INLINE, SERVICE, answered, decided
from mailx.identity.encoding import Malformed
from mailx.identity.transfers import Acknowledgement, Manifest
from mailx.mail.address import Address
from mailx.mail.reply import Refused, Reply

UNACKNOWLEDGED = Reply(451, "4.7.5", "The other server's acknowledgement is missing or not signed by a key that is known")
NONSENSE = Reply(451, "4.5.0", "The other server's answer was not understood")

_WINDOW = 4  # pieces that are on the way at a time
_BEGINNINGS = 3  # times that a transfer in pieces is begun

Keys = Callable[[str, bytes], Awaitable[Collection[bytes]]]  # mailx.core.peers.Peers.keys


@frozen
class Answer:
    """What became of each recipient. ``proof`` is the acknowledgement, empty if nobody took the message."""

    replies: Mapping[Address, Reply]
    proof: str = ""


async def send(channel: Channel, manifest: Manifest, signed: bytes, content: bytes, keys: Keys) -> Answer:
    """Send ``content`` under ``manifest``; ``signed`` is its statement. Raises ChannelFailure."""
    try:
        fields: Fields
        if len(content) <= INLINE:
            fields = await channel.call(SERVICE, "send", {"manifest": signed, "content": content})
        else:
            fields = await _in_pieces(channel, manifest.id, signed, content)
        return await _understood(channel, manifest, fields, keys)
    except Refused:
        raise PeerRefused(NONSENSE) from None


async def status(channel: Channel, manifest: Manifest, keys: Keys) -> tuple[str, Answer | None]:
    """How far the peer is with a transfer whose answer was lost, and what became of those who took it. Raises ChannelFailure."""
    recipients: list[Plain] = [str(recipient) for recipient in manifest.recipients]
    fields = await channel.call(SERVICE, "status", {"id": manifest.id, "recipients": recipients})
    state = fields.get("state")
    try:
        answer = await _understood(channel, manifest, fields, keys) if decided(fields) else None
    except Refused:
        raise PeerRefused(NONSENSE) from None
    return state if isinstance(state, str) else "", answer


async def _in_pieces(channel: Channel, id: bytes, signed: bytes, content: bytes) -> Fields:
    for left in reversed(range(_BEGINNINGS)):
        begun = await channel.call(SERVICE, "begin", {"manifest": signed})
        if decided(begun):
            return begun
        try:
            await _pieces(channel, id, content, number(begun, "offset", 0, len(content)))
            return await channel.call(SERVICE, "commit", {"id": id})
        except PeerRefused as refused:
            if refused.reply.enhanced != BEGIN_AGAIN.enhanced or not left:
                raise
    raise PeerRefused(BEGIN_AGAIN)


async def _pieces(channel: Channel, id: bytes, content: bytes, offset: int) -> None:
    """Send what is left from ``offset`` on, a few pieces ahead of their answers."""
    whole = memoryview(content)
    under_way: deque[Deferred[dict[str, Plain]]] = deque()
    try:
        while offset < len(content) or under_way:
            while offset < len(content) and len(under_way) < _WINDOW:
                data = bytes(whole[offset : offset + CHUNK])
                piece: Fields = {"id": id, "offset": offset, "data": data}
                under_way.append(Deferred.fromCoroutine(channel.call(SERVICE, "chunk", piece)))
                offset += len(data)
            await under_way.popleft()
    finally:
        for each in under_way:
            each.addErrback(lambda _: None)


async def _understood(channel: Channel, manifest: Manifest, fields: Fields, keys: Keys) -> Answer:
    """What ``fields`` say of the manifest's recipients; who is said to have taken it must stand in the acknowledgement. Raises Refused."""
    replies, octets = answered(fields)
    replies = {recipient: reply for recipient, reply in replies.items() if recipient in manifest.recipients}
    done = [recipient for recipient, reply in replies.items() if reply.done]
    if not done:
        return Answer(replies)
    taken = await _acknowledged(channel, manifest, octets, keys)
    unproved = [recipient for recipient in done if recipient not in taken]
    replies.update(dict.fromkeys(unproved, UNACKNOWLEDGED))
    return Answer(replies, octets.decode("utf-8", "replace") if len(unproved) < len(done) else "")


async def _acknowledged(channel: Channel, manifest: Manifest, octets: bytes, keys: Keys) -> Sequence[Address]:
    """Those who took the transfer, as the peer's domain has signed."""
    try:
        acknowledgement, statement = Acknowledgement.read(octets)
    except Malformed:
        return ()
    if acknowledgement.id != manifest.id or (acknowledgement.source, acknowledgement.destination) != (channel.local, channel.remote):
        return ()
    if not statement.signed_by(channel.key):
        known = await keys(channel.remote, statement.signatures[0].key)
        if not any(statement.signed_by(key) for key in known):
            return ()
    return tuple(acknowledgement.taken)
