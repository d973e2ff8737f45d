"""What goes over the wire for an envelope: its content without Return-Path, made 7-bit where it must be, signed and sealed.

Mail of domains without keys costs one slice. Signing runs in the thread pool; several destinations of one message share
what was made once. Failure is :class:`Refused`: the content cannot be made what the next server takes, or the store
cannot answer for the keys now.
"""

from collections import OrderedDict
from collections.abc import Callable
from time import time
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailx.core import arc, dkim, metrics
from mailx.core.author import authors
from mailx.core.content import Threads
from mailx.core.dkim import Signer, Unsignable
from mailx.core.signing import Signing
from mailx.core.users import canonical_domain
from mailx.mail.canonical import Mail
from mailx.mail.envelope import Envelope, Forwarding
from mailx.mail.reply import Refused, Reply, Unavailable
from mailx.mail.seven_bit import downgraded
from mailx.store.cipher import CipherError

log = Logger()

UNCONVERTIBLE = Reply(554, "5.6.3", "Message needs 8BITMIME, which the next server does not offer, and cannot be converted")

_KEPT = 64  # messages
_KEPT_OCTETS = 4 << 20
_WORTH_KEEPING = 1 << 20  # larger messages are made anew
_IN_THREAD = 16384  # octets whose From field is looked for in a thread

_RETURN_PATH = b"return-path:"
_Key = tuple[str, bytes, int, bool, Forwarding | None]  # envelope, which form of it, whether it may have eight bits, who seals it


class Outgoing:
    """Makes messages ready to be sent. Reactor thread only."""

    def __init__(self, signing: Signing, hostname: str, threads: Threads, now: Callable[[], float] = time) -> None:
        """``hostname`` names this server in ARC-Authentication-Results, as in Authentication-Results; ``now`` is the time of day."""
        self._signing = signing
        self._hostname = hostname
        self._threads = threads
        self._now = now
        self._waiting: dict[_Key, list[Deferred[bytes]]] = {}  # of messages that are being made ready
        self._kept: OrderedDict[_Key, bytes] = OrderedDict()
        self._octets = 0

    def plain(self, envelope: Envelope, eight_bit: bool) -> bytes | None:
        """What ``render`` returns when that takes no work, else None."""
        message = envelope.message
        content = message.content
        if not isinstance(content, bytes) or (message.eight_bit and not eight_bit):
            return None
        if (envelope.forwarding is not None or envelope.origin.ours) and self._signing.any():
            return None
        return without_return_path(content)

    async def render(self, envelope: Envelope, eight_bit: bool) -> bytes:
        """The octets to send, CRLF, not dot-stuffed; ``eight_bit`` tells whether the next server announced 8BITMIME. Raises Refused."""
        content = self.plain(envelope, eight_bit)
        if content is not None:
            return content
        # One envelope may leave in several forms, readable and sealed: each is a dispatch, or was made of one when it was delivered.
        key = (envelope.id, envelope.dispatch, envelope.form, eight_bit or not envelope.message.eight_bit, envelope.forwarding)
        kept = self._kept.get(key)
        if kept is not None:
            self._kept.move_to_end(key)
            return kept
        waiter: Deferred[bytes] = Deferred()
        waiters = self._waiting.get(key)
        if waiters is not None:
            waiters.append(waiter)
        else:
            self._waiting[key] = [waiter]
            Deferred.fromCoroutine(self._make(envelope, key[3])).addBoth(self._made, key)
        return await waiter

    def _made(self, result: "bytes | Failure", key: _Key) -> None:
        if isinstance(result, bytes) and len(result) <= _WORTH_KEEPING:
            self._kept[key] = result
            self._octets += len(result)
            while len(self._kept) > _KEPT or self._octets > _KEPT_OCTETS:
                self._octets -= len(self._kept.popitem(last=False)[1])
        for waiter in self._waiting.pop(key):
            waiter.callback(result)

    async def _make(self, envelope: Envelope, eight_bit: bool) -> bytes:
        signs = self._signing.any()
        content = envelope.message.content
        large = envelope.message.size > _IN_THREAD
        convert = envelope.message.eight_bit and not eight_bit
        # Reading a file and converting take a thread; so does looking through a large header, but not through a small one.
        if not isinstance(content, bytes) or convert:
            try:
                content = await self._threads(_content, content, convert)
            except Unavailable as error:  # a file that is gone or damaged: only the log tells, the reply says what it always says
                log.error("A queued message was not read: {reason}", event="queue.unreadable", message_id=envelope.id, reason=error.reason)
                raise
        else:
            content = without_return_path(content)
        signers: tuple[Signer, ...] = ()
        if signs and envelope.origin.ours:
            author = await self._threads(author_domain, content) if large else author_domain(content)
            domain = await self._signing.speaks_for(envelope, author) if author else ""
            if domain:
                signers = tuple(await self._signing.signers(domain))
        sealers: tuple[Signer, ...] = ()
        if signs and envelope.forwarding is not None:
            sealers = tuple(await self._signing.signers(canonical_domain(envelope.forwarding.domain)))
        if not signers and not sealers:
            return content
        results = "" if envelope.forwarding is None else envelope.forwarding.results
        now = int(self._now())
        signed, reason = await self._threads(_signed, content, signers, sealers, self._hostname, results, now)
        if reason:
            log.warn("Message not signed: {reason}", event="dkim.unsigned", envelope=envelope.id, reason=reason)
        else:
            for signer in signers:
                metrics.SIGNED.labels(signer.algorithm).inc()
        return signed  # type: ignore[no-any-return]


def _signed(
    content: bytes, signers: tuple[Signer, ...], sealers: tuple[Signer, ...], hostname: str, results: str, now: int
) -> tuple[bytes, str]:
    """``content`` with its signatures and its seal, and why it has none. Runs in a thread.

    What cannot be signed goes unsigned: nobody may lose mail over it.
    """
    try:
        if signers:
            content = dkim.sign(content, signers, now) + content
        if sealers:  # last: it covers the signatures (RFC 8617 5.1)
            content = arc.seal(content, sealers, hostname, results, now) + content
    except Unsignable as error:
        return content, str(error)
    return content, ""


def _content(content: Any, convert: bool) -> bytes:
    """Read and convert; runs in a thread."""
    try:
        octets = without_return_path(content if isinstance(content, bytes) else content.read())
    except (OSError, CipherError) as error:
        raise Unavailable(f"{type(error).__name__}: {error}") from None
    if convert:
        converted = downgraded(octets)
        metrics.DOWNGRADED.labels("refused" if converted is None else "done").inc()
        if converted is None:
            raise Refused(UNCONVERTIBLE)
        return converted
    return octets


def without_return_path(content: bytes) -> bytes:
    """``content`` without the Return-Path field that stored messages begin with (RFC 5321 4.4), its last line ended."""
    start = 0
    if content[:12].lower() == _RETURN_PATH:
        while True:
            end = content.find(b"\n", start)
            start = len(content) if end < 0 else end + 1
            if content[start : start + 1] not in (b" ", b"\t"):
                break
    if not content.endswith(b"\r\n"):
        return content[start:] + b"\r\n"
    return content[start:] if start else content


def author_domain(content: bytes) -> str:
    """The domain of the authors in From, A-labels; empty when there is no single one (RFC 9989 asks for just one)."""
    found = authors(Mail(content))
    return found.domains[0] if found.clear and len(found.domains) == 1 else ""
