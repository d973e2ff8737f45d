"""What this server tells others by their Contact service: new keys of our domains, and blocks of users who want them told.

All of it is a courtesy: a peer that does not hear of a key finds it by discovery, and who is blocked is refused anyway. So calls wait
in memory, are tried a few times, and are given up. Nothing is told to a domain that is no MailX server, or that is blocked.
"""

from collections import deque
from collections.abc import Collection, Sequence
from typing import Any, Protocol

from attrs import evolve, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailx.core import metrics
from mailx.core.peer import Peer
from mailx.core.users import canonical_domain
from mailx.federation.channel import Channel, ChannelFailure, PeerRefused, Unreachable
from mailx.federation.contact_service import NAME
from mailx.federation.service import Fields
from mailx.identity.domain_keys import DomainKey
from mailx.identity.encoding import canonical
from mailx.mail.address import Address
from mailx.mail.reply import Refused, Unavailable

log = Logger()

WAITS = (60.0, 600.0, 3600.0)  # seconds after an attempt that failed; then it is given up
AT_ONCE = 4
LIMIT = 5000  # calls that wait


class Peers(Protocol):
    """:class:`mailx.core.peers.Peers`."""

    async def find(self, domain: str, seconds: float | None = None) -> Peer | None: ...

    async def every(self) -> Sequence[Any]: ...

    def pinned(self, known: Any) -> bool: ...

    @property
    def static(self) -> Collection[str]: ...


class Channels(Protocol):
    """:class:`mailx.federation.pool.Pool`."""

    async def lease(self, local: str, peer: Peer) -> Channel: ...

    def release(self, channel: Channel) -> None: ...


@frozen
class _Call:
    """One thing to tell ``remote`` in the name of ``local``."""

    local: str
    remote: str
    method: str
    fields: Fields
    attempts: int = 0


class ContactCalls:
    """Tells. Give ``announce`` to ``DomainKeys.on_change`` and ``tell`` to ``Contacts.on_block``; ``stop`` before the channels go."""

    def __init__(self, peers: Peers, channels: Channels, reactor: Any) -> None:
        self._peers = peers
        self._channels = channels
        self._reactor = reactor
        self._ready: deque[_Call] = deque()
        self._later: set[IDelayedCall] = set()
        self._running: set[Deferred[None]] = set()
        self._stopped = False

    @property
    def waiting(self) -> int:
        """Calls that are not done yet."""
        return len(self._ready) + len(self._later) + len(self._running)

    def announce(self, domain: str, key: DomainKey) -> None:
        """A domain of ours has a new key: those who are used to the old one are told."""
        statement = canonical(key.statement.encode())
        self._run(Deferred.fromCoroutine(self._announce(domain, statement)))

    async def _announce(self, domain: str, statement: bytes) -> None:
        # A server that the configuration names is likely to have us in its own, where no discovery finds the new key.
        pinned = [known.domain for known in await self._peers.every() if self._peers.pinned(known)]
        for remote in dict.fromkeys((*pinned, *self._peers.static)):
            self._add(_Call(domain, remote, "announce", {"statement": statement}))

    def tell(self, account: Address, senders: Sequence[str], blocked: bool) -> None:
        """``account`` of ours blocks ``senders``, or no longer."""
        for text in senders:
            sender = Address(*text.rsplit("@", 1))
            local, remote = canonical_domain(account.domain), canonical_domain(sender.domain)
            if local != remote:
                fields: Fields = {"user": f"{account}", "sender": f"{sender}", "blocked": blocked}
                self._add(_Call(local, remote, "notice", fields))

    def stop(self) -> None:
        """Tell nothing more."""
        self._stopped = True
        self._ready.clear()
        for timer in self._later:
            timer.cancel()
        self._later.clear()
        for running in list(self._running):
            running.cancel()

    def _add(self, call: _Call) -> None:
        if not self._stopped and self.waiting < LIMIT:
            self._ready.append(call)
            self._begin()

    def _begin(self) -> None:
        while self._ready and len(self._running) < AT_ONCE:
            self._run(Deferred.fromCoroutine(self._try(self._ready.popleft())))

    def _run(self, running: "Deferred[None]") -> None:
        self._running.add(running)
        running.addBoth(self._ended, running)

    def _ended(self, result: object, running: "Deferred[None]") -> None:
        self._running.discard(running)
        if isinstance(result, Failure) and not self._stopped and not isinstance(result.value, CancelledError):
            log.failure("Another server was not told", result, event="federation.untold")
        self._begin()

    async def _try(self, call: _Call) -> None:
        try:
            told = await self._told(call)
        except PeerRefused as error:
            told = error.reply.code >= 500
        except (ChannelFailure, Unreachable, Refused, Unavailable):
            told = False
        if told or self._stopped:
            return
        if call.attempts >= len(WAITS):
            log.info("Another server was not told: it was not reached", event="federation.untold", peer=call.remote, method=call.method)
            return
        timer: list[IDelayedCall] = []

        def again() -> None:
            self._later.discard(timer[0])
            self._add(evolve(call, attempts=call.attempts + 1))

        timer.append(self._reactor.callLater(WAITS[call.attempts], again))
        self._later.add(timer[0])

    async def _told(self, call: _Call) -> bool:
        """Make one call; true if there is nothing more to do."""
        peer = await self._peers.find(call.remote)
        if peer is None or peer.blocked:
            return True
        channel = await self._channels.lease(call.local, peer)
        try:
            await channel.call(NAME, call.method, call.fields)
        finally:
            self._channels.release(channel)
        if call.method == "notice":
            metrics.BLOCK_NOTICES.labels("out").inc()
        return True
