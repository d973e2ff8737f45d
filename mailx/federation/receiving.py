"""The service ``delivery``: another MailX server brings messages.

A transfer is taken when its manifest is signed by the domain that the channel proves, when envelope sender and author are of
that domain, and when the content is what the manifest says. It enters by Reception like any other message, together with its record,
so a repeated one is answered and not stored (:mod:`mailx.core.transfers`); then those who took it are named in a signed
acknowledgement. Failure is Refused with the reply for the peer; whoever proves less than he says is noted as a security event.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from hashlib import sha256
from time import time
from typing import Any, Protocol

from attrs import define
from twisted.internet.defer import DeferredLock
from twisted.internet.threads import deferToThreadPool

from mailx.core.content import TOO_LARGE, Content, Threads
from mailx.core.metrics import FEDERATION_MESSAGE_OCTETS, FEDERATION_MESSAGES, FEDERATION_SECONDS
from mailx.core.reception import OK, Reception
from mailx.core.trace import received
from mailx.core.transfers import Met, Transfer, Transfers
from mailx.core.users import canonical_domain
from mailx.federation import proof
from mailx.federation.channel import Channel, Trust
from mailx.federation.proof import NO_HEADER, NOT_PROVED, objection
from mailx.federation.refusals import Refusal, note
from mailx.federation.service import Fields, Later, Method, Plain, number, octets, texts
from mailx.federation.transfers import CHUNK, INLINE, RECEIVING, SERVICE, TAKEN, UNDER_WAY, UNKNOWN, Counts, address, answer
from mailx.federation.uploads import NOT_AS_SAID, TOO_MANY, Key, Upload, Uploads, key_of
from mailx.identity.encoding import Malformed
from mailx.identity.statements import Signer
from mailx.identity.transfers import ID_SIZE, LIMIT, RECIPIENTS, Acknowledgement, Manifest, Taken
from mailx.mail.address import Address
from mailx.mail.envelope import FEDERATION, Envelope, Origin, new_id
from mailx.mail.message import Message
from mailx.mail.reply import Refused, Reply

WRONG_DOMAINS = Reply(550, "5.7.1", "The manifest is of other domains than this connection")
NOT_SIGNED = Reply(451, "4.7.5", "The manifest is not signed by a key that is known")
WRONG_TIME = Reply(451, "4.7.0", "The manifest's time is too far from ours")
NOT_HERE = Reply(550, "5.7.1", "A recipient is not of the domain that this connection leads to")
TOO_MUCH = Reply(451, "4.7.1", "Too much mail from your domain; try again later")

CLOCKS = 86400  # seconds that the clocks of two servers may differ, far less than records are kept
_IN_THREAD = 16384  # octets of header fields that are looked through in a thread

Hosts = Callable[[str], Awaitable[Collection[str]]]  # the names of a domain's servers


class Admission(Protocol):
    """How much a domain may bring; :class:`mailx.federation.buckets.Buckets`."""

    def take(self, domain: str, count: int = 1) -> int:
        """It brings ``count`` messages: 0, or in how many seconds it may."""

    def give_back(self, domain: str, count: int = 1) -> None:
        """They were not stored after all."""


class Sizes(Protocol):
    """What is read of the settings of federation, at each use."""

    @property
    def message_size(self) -> int: ...


@define(eq=False)
class _Turn:
    """Those who bring the same transfer at the same time go one after the other."""

    lock: DeferredLock
    users: int = 0


class Delivery:
    """The service. ``stop`` gives up what has come in pieces so far."""

    name = SERVICE

    def __init__(
        self,
        reception: Reception,
        transfers: Transfers,
        signer: Callable[[str], Signer],
        trust: Trust,
        reactor: Any,
        *,
        hostname: str,
        settings: Callable[[], Sizes],
        port: int = 0,
        admission: Admission | None = None,
        former: Callable[[str], Sequence[Signer]] = lambda domain: (),
        counting: Counts | None = None,
        hosts: Hosts | None = None,
        now: Callable[[], float] = time,
    ) -> None:
        """``signer`` gives the key of a domain of ours, ``former`` those before that are good still; ``port`` is where peers come
        in; ``now`` gives seconds since 1970.
        """
        self._reception, self._transfers, self._signer, self._trust, self._reactor = reception, transfers, signer, trust, reactor
        self._hostname, self._settings, self._port, self._admission, self._hosts = hostname, settings, port, admission, hosts
        self._counting, self._now, self._former = counting, now, former
        self._threads: Threads = partial(deferToThreadPool, reactor, reactor.getThreadPool())
        self._uploads = Uploads(reactor)
        self._turns: dict[Key, _Turn] = {}
        self.methods: Mapping[str, Method] = {
            "send": self.send,
            "begin": self.begin,
            "chunk": self.chunk,
            "commit": self.commit,
            "status": self.status,
        }

    def stop(self) -> None:
        """Give up what is unfinished: its senders begin again."""
        self._uploads.stop()

    async def send(self, channel: Channel, fields: Fields) -> Fields:
        """A whole message in one call: ``manifest``, ``content``."""
        manifest = await self._manifest(channel, fields)
        content = octets(fields, "content", INLINE)
        if len(content) != manifest.size or sha256(content).digest() != manifest.digest:
            raise self._liar(channel, NOT_AS_SAID)
        self._permit(channel)
        origin, id = self._origin(channel), new_id()
        await self._proved(channel, manifest, proof.fields(content))
        try:
            await self._reception.sender(origin, manifest.sender, manifest.size)
        except Refused as refused:
            return await self._unwanted(channel, manifest, refused)
        return await self._accepted(channel, manifest, id, origin, partial(self._whole, manifest, id, origin, content))

    async def begin(self, channel: Channel, fields: Fields) -> Fields:
        """A message that comes in pieces: ``manifest``. The answer is how many octets are here already, or what became of it."""
        manifest = await self._manifest(channel, fields)
        key = key_of(channel, manifest.id)
        taken = await self._taken(channel, manifest)
        if len(taken) == len(manifest.recipients):
            return self._answer(channel, manifest.id, dict.fromkeys(manifest.recipients, OK), taken)
        found = self._uploads.resumed(key, manifest)
        if found is not None:
            return {"offset": found.offset}
        if not self._uploads.room(key):
            raise Later(TOO_MANY, 60)
        self._permit(channel)
        origin = self._origin(channel)
        try:
            refused = await self._refused(origin, manifest, taken)
        except Refused as error:
            return await self._unwanted(channel, manifest, error)
        if len(refused) + len(taken) == len(manifest.recipients):
            return self._answer(channel, manifest.id, {**refused, **dict.fromkeys(taken, OK)}, taken)
        if (found := self._uploads.resumed(key, manifest)) is None:  # nobody else has begun it meanwhile
            if not self._uploads.make_room(key):
                if self._admission is not None:
                    self._admission.give_back(channel.remote)
                raise Later(TOO_MANY, 60)
            id = new_id()
            found = Upload(manifest, id, origin, self._content(manifest, id, origin), self._reactor.seconds())
            self._uploads.keep(key, found)
        return {"offset": found.offset}

    async def chunk(self, channel: Channel, fields: Fields) -> Fields:
        """A piece of a message: ``id``, ``offset``, ``data``. The answer is how many octets are here now."""
        key = key_of(channel, octets(fields, "id", ID_SIZE))
        try:
            return {"offset": await self._uploads.add(key, number(fields, "offset"), octets(fields, "data", CHUNK))}
        except Refused as refused:
            raise self._liar(channel, NOT_AS_SAID) if refused.reply is NOT_AS_SAID else refused from None

    async def commit(self, channel: Channel, fields: Fields) -> Fields:
        """All pieces are here: ``id``."""
        key = key_of(channel, octets(fields, "id", ID_SIZE))
        upload = self._uploads.find(key)
        if upload is None and key in self._turns:  # the commit before this one, whose answer was lost, is not done yet
            raise Later(Reply(451, "4.3.0", "The transfer is being stored"), 1)
        upload = self._uploads.take(key)
        manifest = upload.manifest
        try:
            await self._proved(channel, manifest, upload.header)
        except Refused:
            upload.content.abort()
            raise
        return await self._accepted(channel, manifest, upload.envelope, upload.origin, partial(self._finished, channel, upload))

    async def status(self, channel: Channel, fields: Fields) -> Fields:
        """What became of the transfer ``id`` for each of ``recipients``, of those who took it; and how far it is otherwise."""
        id = octets(fields, "id", ID_SIZE)
        recipients = [address(each) for each in texts(fields, "recipients", RECIPIENTS, LIMIT)]
        key = key_of(channel, id)
        under_way = key in self._turns
        taken = await self._transfers.taken(channel.local, channel.remote, id, recipients)
        upload = self._uploads.find(key)
        state = UNDER_WAY if under_way else TAKEN if taken else RECEIVING if upload is not None else UNKNOWN
        more: dict[str, Plain] = {"state": state, "offset": 0 if upload is None else upload.offset}
        return {**more, **(self._answer(channel, id, dict.fromkeys(taken, OK), taken) if taken else {})}

    # Who it is

    async def _manifest(self, channel: Channel, fields: Fields) -> Manifest:
        """What is being brought, and that the peer's domain says so."""
        try:
            manifest, statement = Manifest.read(octets(fields, "manifest", LIMIT))
        except Malformed as error:
            raise Refused(Reply(501, "5.5.4", f"Malformed manifest: {error}")) from None
        if (manifest.source, manifest.destination) != (channel.remote, channel.local):
            raise self._liar(channel, WRONG_DOMAINS)
        if not statement.signed_by(channel.key):
            known = await self._trust.keys(channel.remote, statement.signatures[0].key)
            if not any(statement.signed_by(key) for key in known):
                raise self._liar(channel, NOT_SIGNED)
        if abs(self._now() - manifest.time) > CLOCKS:
            raise self._liar(channel, WRONG_TIME)
        if manifest.sender is not None and canonical_domain(manifest.sender.domain) != channel.remote:
            raise self._liar(channel, NOT_PROVED)
        if any(canonical_domain(each.domain) != channel.local for each in manifest.recipients):
            raise self._liar(channel, NOT_HERE)
        if manifest.size > self._settings().message_size:
            raise Refused(TOO_LARGE)
        return manifest

    def _permit(self, channel: Channel) -> None:
        """Raise Later when the domain has brought too much."""
        seconds = 0 if self._admission is None else self._admission.take(channel.remote)
        if seconds > 0:
            FEDERATION_MESSAGES.labels("in", "limited").inc()
            self._count(channel, delayed=1)
            raise Later(TOO_MUCH, seconds)

    async def _proved(self, channel: Channel, manifest: Manifest, header: bytes | None) -> None:
        """Raise Refused unless the peer's domain stands behind the message."""
        if not header:
            raise Refused(NO_HEADER)
        hosts: Collection[str] = ()
        if manifest.sender is None and self._hosts is not None:
            hosts = await self._hosts(channel.remote)
        if len(header) > _IN_THREAD:
            found = await self._threads(objection, header, manifest.sender, channel.remote, hosts)
        else:
            found = objection(header, manifest.sender, channel.remote, hosts)
        if found is not None:
            raise self._liar(channel, found)

    def _liar(self, channel: Channel, reply: Reply) -> Refused:
        """The refusal of what the peer cannot prove."""
        FEDERATION_MESSAGES.labels("in", "unproved").inc()
        self._count(channel, violations=1)
        note(Refusal("transfer", reply.text, channel.address, channel.local, channel.remote, True, True))
        return Refused(reply)

    def _count(self, channel: Channel, **amounts: int) -> None:
        if self._counting is not None:
            self._counting.count(channel.remote, **amounts)

    # For whom it is

    async def _taken(self, channel: Channel, manifest: Manifest) -> Mapping[Address, Taken]:
        return await self._transfers.taken(channel.local, channel.remote, manifest.id, manifest.recipients)

    async def _refused(self, origin: Origin, manifest: Manifest, taken: Collection[Address]) -> dict[Address, Reply]:
        """Who would not take it: said before its content is on the way. Raises Refused when nobody may."""
        await self._reception.sender(origin, manifest.sender, manifest.size)
        refused = {}
        for recipient in manifest.recipients:
            if recipient not in taken:
                try:
                    await self._reception.recipient(origin, manifest.sender, recipient, manifest.size)
                except Refused as error:
                    refused[recipient] = error.reply
        return refused

    def _origin(self, channel: Channel) -> Origin:
        return Origin(FEDERATION, new_id(), channel.address, self._port, channel.remote, tls=channel.tls, domain=channel.remote)

    def _content(self, manifest: Manifest, id: str, origin: Origin) -> Content:
        """Where the content goes, behind its trace fields."""
        head = received(self._hostname, origin, id, manifest.sender, manifest.recipients, self._now())
        return self._reception.content(origin, head, manifest.size, submitted=False)

    async def _whole(self, manifest: Manifest, id: str, origin: Origin, octets: bytes) -> Message:
        content = self._content(manifest, id, origin)
        waiting = content.write(octets)
        if waiting is not None:
            await waiting
        return await content.finish()

    async def _finished(self, channel: Channel, upload: Upload) -> Message:
        try:
            return await upload.finish()
        except Refused as refused:
            upload.content.abort()
            raise self._liar(channel, NOT_AS_SAID) if refused.reply is NOT_AS_SAID else refused from None

    # Taking it

    async def _accepted(
        self, channel: Channel, manifest: Manifest, id: str, origin: Origin, content: Callable[[], Awaitable[Message]]
    ) -> Fields:
        """Store it for those who have not taken it yet; what became of each."""
        key, began = key_of(channel, manifest.id), self._reactor.seconds()
        transfer = self._transfers.transfer(channel.local, channel.remote, manifest.id, manifest.digest, manifest.size)
        turn = self._turns.setdefault(key, _Turn(DeferredLock()))
        waited = turn.users > 0
        turn.users += 1
        await turn.lock.acquire()
        try:
            taken = dict(await self._taken(channel, manifest)) if waited or manifest.size > INLINE else {}
            replies: Mapping[Address, Reply] = {}
            for _ in range(3):
                left = tuple(each for each in manifest.recipients if each not in taken)
                if not left:
                    break
                try:
                    replies = await self._stored(transfer, manifest, id, origin, left, await content())
                    break
                except Met:
                    if manifest.size > INLINE:  # its content is gone
                        raise
                    taken.update(await self._taken(channel, manifest))
            else:
                raise Met()
            if not all(reply.done for reply in replies.values()):  # who took it before has it, whatever has become of him since
                taken.update(await self._taken(channel, manifest))
        finally:
            turn.users -= 1
            turn.lock.release()
            if not turn.users:
                del self._turns[key]
        fresh = {recipient: transfer.taken for recipient, reply in replies.items() if reply.done}
        if fresh:
            self._count(channel, received=1, received_octets=manifest.size)
            FEDERATION_MESSAGE_OCTETS.labels("in").inc(manifest.size)
            FEDERATION_SECONDS.labels("in").observe(self._reactor.seconds() - began)
        else:
            if not taken:
                self._count(channel, refused=1)
            if self._admission is not None:
                self._admission.give_back(channel.remote)
        FEDERATION_MESSAGES.labels("in", "taken" if fresh else "repeated" if taken else "refused").inc()
        return self._answer(channel, manifest.id, {**replies, **dict.fromkeys(taken, OK)}, {**taken, **fresh})

    async def _stored(
        self, transfer: Transfer, manifest: Manifest, id: str, origin: Origin, recipients: Sequence[Address], message: Message
    ) -> Mapping[Address, Reply]:
        wishes = {recipient: manifest.wishes[recipient] for recipient in recipients if recipient in manifest.wishes}
        envelope = Envelope(id, manifest.sender, tuple(recipients), message, origin, demands=manifest.demands, wishes=wishes)
        try:
            return await self._reception.accept(envelope, each=True, transfer=transfer, parent=manifest.trace)
        except Refused as refused:
            if refused.reply.temporary:
                raise
            return dict.fromkeys(recipients, refused.reply)

    async def _unwanted(self, channel: Channel, manifest: Manifest, refused: Refused) -> Fields:
        """The answer to what is not taken any more: who took it before has it. Raises ``refused`` if nobody did."""
        taken = {} if refused.reply.temporary else await self._taken(channel, manifest)
        if not taken:
            raise refused
        replies = dict.fromkeys(manifest.recipients, refused.reply)
        return self._answer(channel, manifest.id, {**replies, **dict.fromkeys(taken, OK)}, taken)

    def _answer(self, channel: Channel, id: bytes, replies: Mapping[Address, Reply], taken: Mapping[Address, Taken]) -> Fields:
        if not taken:
            return answer(replies, b"")
        acknowledgement = Acknowledgement(id, channel.remote, channel.local, taken)
        return answer(replies, acknowledgement.signed(self._signer(channel.local), *self._former(channel.local)))
