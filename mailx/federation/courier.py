"""The courier that brings mail to other MailX servers.

The name of a transfer follows from the queued message, so it is the same at every attempt, whoever of its recipients is left; the other
side stores nothing twice. Before the first commit of a channel its domain is pinned, durably: from then on nobody may try
another way. A transfer whose answer is lost is asked after over another channel, then sent again. Never raises for a mail reason.
"""

from collections.abc import Callable, Collection, Sequence
from hashlib import sha256
from time import time
from typing import Any, Protocol

from attrs import evolve
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool

from mailx.core.choosing import Carried
from mailx.core.courier import FEDERATED, SEALED, Attempt
from mailx.core.metrics import FEDERATION_MESSAGE_OCTETS, FEDERATION_MESSAGES, FEDERATION_SECONDS
from mailx.core.peer import Peer
from mailx.core.spans import Step, untraced
from mailx.core.transfers import Transfers
from mailx.federation import proof
from mailx.federation.channel import Channel, ChannelFailure, PeerRefused, Unreachable
from mailx.federation.pool import Pool
from mailx.federation.refusals import NOT_WANTED
from mailx.federation.sending import Answer, send, status
from mailx.federation.transfers import UNDER_WAY, Counts
from mailx.identity.sealed_message import is_sealed
from mailx.identity.statements import Signer
from mailx.identity.transfers import Manifest
from mailx.mail.address import Address
from mailx.mail.envelope import Envelope
from mailx.mail.reply import Refused, Reply, Unavailable

UNREACHED = Reply(451, "4.4.1", "The MailX server of the domain is not reached")
UNCERTAIN = Reply(451, "4.4.2", "The answer of the other server was lost; the message is sent again and stored once")
TOO_LARGE = Reply(552, "5.3.4", "Message is larger than the other server takes")

_TRIES = 3  # channels that one attempt uses
_ASKED = 30  # times that a transfer is asked after that the other side is still storing
_PAUSE = 1.0  # seconds in between
_IN_THREAD = 262144  # octets that are hashed in a thread
_HEAD = 65536  # octets of a message that are looked at for the seal


class Rendering(Protocol):
    """Makes what is sent; :class:`mailx.core.outgoing.Outgoing`."""

    async def render(self, envelope: Envelope, eight_bit: bool) -> bytes:
        """Raises Refused."""


class Pins(Protocol):
    """What is needed of :class:`mailx.core.peers.Peers`."""

    async def reached(self, channel: Channel) -> None:
        """Pin its domain. Raises Unavailable."""

    async def keys(self, domain: str, presented: bytes) -> Collection[bytes]:
        """Raises Refused."""


class PeerCourier:
    """Carries messages over channels of ``pool``."""

    def __init__(
        self,
        pool: Pool,
        peers: Pins,
        transfers: Transfers,
        outgoing: Rendering,
        signer: Callable[[str], Signer],
        reactor: Any,
        *,
        local: Callable[[str], bool],
        domains: Callable[[], Sequence[str]],
        hostname: str,
        former: Callable[[str], Sequence[Signer]] = lambda domain: (),
        counting: Counts | None = None,
        step: Step = untraced,
        now: Callable[[], float] = time,
    ) -> None:
        """``local`` knows our domains, ``domains`` lists them; ``signer`` gives the key of one,
        ``former`` those before that are good still: they sign, too, for peers that have not heard of the new one. ``now``: seconds
        since 1970.
        """
        self._pool, self._peers, self._transfers, self._outgoing, self._signer = pool, peers, transfers, outgoing, signer
        self._reactor, self._local, self._domains, self._hostname = reactor, local, domains, hostname
        self._counting, self._step, self._now, self._former = counting, step, now, former

    async def carry(self, envelope: Envelope, recipients: Sequence[Address], peer: Peer) -> Carried | None:
        """Try to pass ``envelope`` on to ``recipients`` at ``peer``; None: no domain of ours answers for it, so it cannot go this way."""
        try:
            content = await self._outgoing.render(envelope, True)
        except Refused as refused:
            return Carried(dict.fromkeys(recipients, Attempt(refused.reply)))
        header = proof.fields(content)
        local = "" if not header else proof.speaker(header, envelope.sender, self._local, self._hostname, self._first)
        if not local:
            return None
        if peer.message_size and len(content) > peer.message_size:
            return Carried(dict.fromkeys(recipients, Attempt(TOO_LARGE)))
        with self._step("federate", envelope.id, peer=peer.domain, size=len(content)) as span:
            manifest = await self._manifest(envelope, recipients, content, local, peer.domain)
            if span.traceparent:
                manifest = evolve(manifest, trace=span.traceparent)
            began = self._reactor.seconds()
            carried = await self._tried(manifest, content, peer)
            if carried.done:
                FEDERATION_MESSAGE_OCTETS.labels("out").inc(len(content))
                FEDERATION_SECONDS.labels("out").observe(self._reactor.seconds() - began)
            else:
                span.fail("not taken")
            if self._counting is not None and not carried.unreached:
                amounts = {"sent": 1, "sent_octets": len(content)} if carried.done else {"failed": 1}
                self._counting.count(peer.domain, **amounts)
            return carried

    def _first(self) -> str:
        return min(self._domains(), default="")

    async def _manifest(self, envelope: Envelope, recipients: Sequence[Address], content: bytes, local: str, remote: str) -> Manifest:
        if len(content) > _IN_THREAD:
            digest = await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), _digest, content)
        else:
            digest = _digest(content)
        return Manifest(
            self._transfers.id(envelope.dispatch or envelope.id.encode(), local, remote),
            local,
            remote,
            envelope.sender,
            tuple(recipients),
            len(content),
            digest,
            int(self._now()),
            envelope.demands,
            {recipient: envelope.wishes[recipient] for recipient in recipients if recipient in envelope.wishes},
        )

    async def _tried(self, manifest: Manifest, content: bytes, peer: Peer) -> Carried:
        """Over one channel after the other, until one brings an answer."""
        security = SEALED if is_sealed(content[:_HEAD]) else FEDERATED
        signed = b""
        sent = False  # the peer may have it
        failure = Attempt(UNREACHED, unreachable=True)
        for _ in range(_TRIES):
            try:
                channel = await self._pool.lease(manifest.source, peer)
            except Unreachable as error:
                return _unreachable(manifest, error, failure if sent else None)
            try:
                attempt = Attempt(UNREACHED, f"{channel.remote} [{channel.address}]", security, channel.tls, reports=True)
                await self._peers.reached(channel)
                signed = signed or manifest.signed(self._signer(manifest.source), *self._former(manifest.source))
                answer = await self._asked(channel, manifest) if sent else None
                sent = True
                if answer is None:
                    answer = await send(channel, manifest, signed, content, self._peers.keys)
                return _told(answer, attempt)
            except PeerRefused as refused:
                return _refused(manifest, refused, attempt)
            except ChannelFailure:
                failure = evolve(attempt, reply=UNCERTAIN, unreachable=True)
            except Unavailable as unavailable:  # the pin is not durable
                return Carried(dict.fromkeys(manifest.recipients, Attempt(unavailable.reply)))
            except KeyError:
                return Carried(dict.fromkeys(manifest.recipients, Attempt(Reply(451, "4.3.0", "The domain's key is not here now"))))
            finally:
                self._pool.release(channel)
        FEDERATION_MESSAGES.labels("out", "uncertain").inc()
        return Carried(dict.fromkeys(manifest.recipients, failure))

    async def _asked(self, channel: Channel, manifest: Manifest) -> Answer | None:
        """What became of a transfer whose answer was lost; None: it is to be sent again. Raises ChannelFailure."""
        for _ in range(_ASKED):
            state, answer = await status(channel, manifest, self._peers.keys)
            if state != UNDER_WAY:
                whole = answer is not None and all(recipient in answer.replies for recipient in manifest.recipients)
                return answer if whole else None
            await deferLater(self._reactor, _PAUSE)
        return None


def _digest(content: bytes) -> bytes:
    return sha256(content).digest()


def _told(answer: Answer, attempt: Attempt) -> Carried:
    """What the peer said of each recipient."""
    attempts = {
        recipient: evolve(attempt, reply=reply, proof=answer.proof if reply.done else "") for recipient, reply in answer.replies.items()
    }
    carried = Carried(attempts)
    FEDERATION_MESSAGES.labels("out", "taken" if carried.done else "refused").inc()
    return carried


def _refused(manifest: Manifest, refused: PeerRefused, attempt: Attempt) -> Carried:
    """The peer took nothing."""
    rest = refused.retry_after if refused.reply.temporary else 0
    FEDERATION_MESSAGES.labels("out", "limited" if rest else "refused").inc()
    return Carried(dict.fromkeys(manifest.recipients, evolve(attempt, reply=refused.reply, rest=rest)))


def _unreachable(manifest: Manifest, error: Unreachable, before: Attempt | None) -> Carried:
    """No channel came about. ``before``: an earlier one broke off, and the peer may have the message."""
    FEDERATION_MESSAGES.labels("out", "failed").inc()
    recipients: Sequence[Address] = manifest.recipients
    if before is not None:
        return Carried(dict.fromkeys(recipients, before))
    said = error.reply  # what it says of our proof is not the last word: keys are on their way to it
    told = said is not None and (said.temporary or said.enhanced == NOT_WANTED)
    reply = said if said is not None and told else Reply(451, "4.4.1", f"{UNREACHED.text}: {error.reason}")
    attempt = Attempt(reply, unreachable=reply.temporary, rest=error.retry_after if said is not None and said.temporary else 0)
    return Carried(dict.fromkeys(recipients, attempt), unreached=True, security=error.security)
