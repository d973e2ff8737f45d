"""Choosing: mail for a domain with a MailX server goes by federation, any other the way it would go without.

Users never choose (nor do routes, unless one names the domain). The way back to SMTP is narrow: only when nothing was
given to the other server, it did not fail to prove who it is, and the policy for that domain says so; never while the domain
is pinned. Each time it is taken it is logged. Never raises for a mail reason.
"""

from collections.abc import Callable, Mapping, Sequence
from time import time
from typing import Any, Protocol

from attrs import evolve, frozen
from twisted.logger import Logger
from zope.interface import implementer

from mailx.core.content import Threads
from mailx.core.courier import Attempt, ICourier
from mailx.core.forms import Part
from mailx.core.peer import UNPINNED, Peer, Undecided
from mailx.core.users import canonical_domain
from mailx.mail.address import Address
from mailx.mail.envelope import Envelope
from mailx.mail.printable import printable
from mailx.mail.reply import Refused, Reply

log = Logger()

_REASON = 300  # letters of a reason that go into a reply

BLOCKED = Reply(550, "5.7.1", "This server exchanges no mail with that domain")
NOT_OURS = Reply(550, "5.7.1", "The From field must be of the sender's own domain: mail to that domain goes by federation only")


@frozen
class Carried:
    """What trying federation brought. ``unreached``: nothing was given to the other server; ``security``: it did not prove who it is."""

    attempts: Mapping[Address, Attempt]
    unreached: bool = False
    security: bool = False

    @property
    def done(self) -> bool:
        """Whether somebody took the message."""
        return any(attempt.reply.done for attempt in self.attempts.values())


class Carrier(Protocol):
    """:class:`mailx.federation.courier.PeerCourier`."""

    async def carry(self, envelope: Envelope, recipients: Sequence[Address], peer: Peer) -> Carried | None:
        """None: it cannot go that way, whatever the state of the other server."""


class Seals(Protocol):
    """:class:`mailx.core.sealed_outgoing.SealedOutgoing`."""

    async def late(self, envelope: Envelope) -> Sequence[Part]:
        """Raises Refused."""


class Finds(Protocol):
    """:class:`mailx.core.peers.Peers`."""

    async def find(self, domain: str, seconds: float | None = None) -> Peer | None:
        """Raises Refused; Undecided says whether another way may be taken."""


class LateSealing:
    """Seals what could not be sealed when it was accepted. ``seals`` is given when there is one."""

    def __init__(self, threads: Threads) -> None:
        self.seals: Seals | None = None
        self._threads = threads

    async def forms(self, envelope: Envelope) -> Sequence[Envelope]:
        """``envelope``, or what takes its place. Raises Refused."""
        parts = () if self.seals is None else await self.seals.late(envelope)
        return [part.envelope for part in parts] or [envelope]

    async def discard(self, forms: Sequence[Envelope]) -> None:
        """Remove the files of those that were made here."""
        for one in forms:
            content = one.message.content
            if one.form and not isinstance(content, bytes):
                try:
                    await self._threads(content.discard)
                except OSError:
                    log.failure("A file was not removed", event="sealing.file_not_removed")  # the sweep finds it


@implementer(ICourier)
class Choosing:
    """Stands in the place of ``other``, which carries what federation does not. ``seconds``: how long looking for a server may take."""

    def __init__(
        self,
        peers: Finds,
        federation: Carrier,
        other: Any,
        *,
        seconds: float | None = None,
        late: LateSealing | None = None,
        now: Callable[[], float] = time,
    ) -> None:
        self._peers, self._federation, self._other, self._seconds, self._now = peers, federation, other, seconds, now
        self._late = late

    async def deliver(self, envelope: Envelope, recipients: Sequence[Address], destination: str) -> Mapping[Address, Attempt]:
        """Each recipient the way of its domain; ``destination`` may be a relay, for recipients of several."""
        if self._late is None:
            return await self._delivered(envelope, recipients, destination)
        try:
            forms = await self._late.forms(evolve(envelope, recipients=tuple(recipients)))
        except Refused as refused:  # sealed it could be, so it does not go as it is
            return dict.fromkeys(recipients, Attempt(refused.reply))
        found: dict[Address, Attempt] = {}
        try:
            for one in forms:  # under one name, so they go one after the other
                found.update(await self._delivered(one, one.recipients, destination))
        finally:
            await self._late.discard(forms)
        return found

    async def _delivered(self, envelope: Envelope, recipients: Sequence[Address], destination: str) -> Mapping[Address, Attempt]:
        domains: dict[str, list[Address]] = {}
        for recipient in recipients:
            domains.setdefault(canonical_domain(recipient.domain), []).append(recipient)
        found: dict[Address, Attempt] = {}
        left: list[Address] = []
        for domain, ones in domains.items():
            attempts = None if domain.startswith("[") else await self._federated(envelope, ones, domain)
            if attempts is None:
                left += ones
            else:  # what one domain's server does says nothing of a relay
                found.update(attempts if domain == destination else {one: _alone(attempts[one]) for one in attempts})
        if left:
            found.update(await self._other.deliver(envelope, left, destination))
        return found

    async def stop(self) -> None:
        """Stop the other."""
        await self._other.stop()

    def retire(self) -> None:
        """The other is replaced: it ends what it does."""
        self._other.retire()

    async def _federated(self, envelope: Envelope, recipients: Sequence[Address], domain: str) -> Mapping[Address, Attempt] | None:
        """What federation brought; None: they go the other way."""
        try:
            peer = await self._peers.find(domain, self._seconds)
        except Undecided as undecided:
            if undecided.fallback:
                return None
            log.info(
                "Mail waits for its MailX server: {reason}", event="federation.undecided", message_id=envelope.id, reason=undecided.reason
            )
            return dict.fromkeys(recipients, Attempt(_with_reason(undecided), unreachable=True))
        except Refused as refused:
            return dict.fromkeys(recipients, Attempt(refused.reply))
        if peer is None:
            return None
        if peer.blocked:
            return dict.fromkeys(recipients, Attempt(BLOCKED))
        carried = await self._federation.carry(envelope, recipients, peer)
        if carried is None:
            return self._unproved(envelope, recipients, peer)
        if carried.unreached and not carried.security and self._may_fall_back(peer):
            log.warn("Mail to a MailX domain goes by SMTP", event="federation.fallback", message_id=envelope.id, destination=domain)
            return None
        return carried.attempts

    def _unproved(self, envelope: Envelope, recipients: Sequence[Address], peer: Peer) -> Mapping[Address, Attempt] | None:
        """No domain of ours answers for the message. What others wrote, and an alias forwards, goes as it came."""
        if envelope.forwarding is None and not self._may_fall_back(peer):
            return dict.fromkeys(recipients, Attempt(NOT_OURS))
        log.info("Mail that cannot be proved goes by SMTP", event="federation.unprovable", message_id=envelope.id, destination=peer.domain)
        return None

    def _may_fall_back(self, peer: Peer) -> bool:
        return peer.fallback == UNPINNED and peer.pinned_until <= self._now()


def _with_reason(undecided: Undecided) -> Reply:
    """What the queue and a report say, so that they tell why mail waits."""
    return evolve(undecided.reply, text=f"{undecided.reply.text}: {printable(undecided.reason)[:_REASON]}")


def _alone(attempt: Attempt) -> Attempt:
    return evolve(attempt, unreachable=False)
