"""The port that other MailX servers connect to: who comes in, who is turned away and how, and how all of it ends.

A connection counts from its first octet. It has HANDSHAKE seconds for TLS, then its domain is looked up while nothing is
read from it, then it must say hello within the time of a call. Whoever proves nothing is told why, in answer to the first
call and without reading more than that, and closed; the reason is logged as a security event.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from time import time
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory

from mailx.core.connections import Gate
from mailx.core.metrics import FEDERATION_OCTETS
from mailx.core.throttle import network
from mailx.federation.buckets import Buckets
from mailx.federation.certificates import Untrusted
from mailx.federation.channel import Channel, Greeter, Trust
from mailx.federation.handshake import Answering, Identities, Shaken, asked, prove
from mailx.federation.link import Link, LinkLimits, Proved
from mailx.federation.load import Load
from mailx.federation.parting import Parting
from mailx.federation.refusals import BLOCKED, CERTIFICATE, DOMAIN, LIMIT, NOT_BELIEVED, STALLED, TLS, Notes, OnRefusal, Refusal
from mailx.federation.service import Service
from mailx.federation.serving import RETRY
from mailx.mail.reply import Refused, Reply

log = Logger()

HANDSHAKE = 10.0  # seconds that TLS may take
UNUSED = 5.0  # seconds without a call after which a channel makes room for others, when all places are taken
UNPROVED = 20  # connections of one address that have not proved who they are
_TOO_MANY = Reply(421, "4.7.0", "Too many connections from your domain")
_STOPPING = Reply(421, "4.3.2", "The server is stopping; try again later")
_LOCAL_ERROR = Reply(451, "4.3.0", "Local error; try again later")


class PeerListener(Factory):
    """The channels of one port. ``services`` answer on each of them."""

    noisy = False

    def __init__(
        self,
        *,
        services: Mapping[str, Service],
        trust: Trust,
        identities: Identities,
        buckets: Buckets,
        max_connections: int,
        limits: LinkLimits,
        reactor: Any,
        greeter: Greeter | None = None,
        capabilities: frozenset[str] = frozenset(),
        seconds: Callable[[], float] = time,
        on_refusal: OnRefusal | None = None,
    ) -> None:
        self.sessions: set[Arrival] = set()
        self.services, self.trust, self.buckets, self.limits = services, trust, buckets, limits
        self.greeter, self.capabilities, self.reactor = greeter, capabilities, reactor
        self.seconds, self.refused = seconds, on_refusal or Notes(reactor.seconds)
        self.load = Load()
        FEDERATION_OCTETS.set_function(lambda: self.load.octets)
        self._answering = Answering(identities)
        self._gate = Gate(max_connections, max_connections)
        self._unproved = Gate(max_connections, UNPROVED)
        self._strangers: dict[Arrival, None] = {}  # those that have proved nothing, in the order in which they came
        self._most = (max_connections + 1) // 2  # of one domain, lest it takes the places of all
        self._domains: Counter[str] = Counter()
        self._pairs: Counter[tuple[str, str]] = Counter()
        self._arrived: list[Callable[[Channel], None]] = []
        self._drained: list[Deferred[None]] = []
        self._draining = False
        self._factory = TLSMemoryBIOFactory(self._answering, False, _Inner(self))

    def on_channel(self, call: Callable[[Channel], None]) -> None:
        """``call(channel)`` for each peer that has connected and said hello."""
        self._arrived.append(call)

    def buildProtocol(self, addr: IAddress | None) -> Any:
        host = addr.host if isinstance(addr, (IPv4Address, IPv6Address)) else ""
        if self._draining:
            return None
        if self._gate.full:
            self._make_room()
        if not self._gate.enter(host):
            self.refused(Refusal(LIMIT, "too many connections of all domains", host))
            return None
        if not self._unproved.enter(host):
            self._gate.leave(host)
            self.refused(Refusal(LIMIT, "too many connections of one address that have proved nothing", host))
            return None
        return self._factory.buildProtocol(addr)

    # Places

    def _make_room(self) -> None:
        """Give up whoever has been here for longest without proving anything: strangers must not keep the port shut.

        If there is none, give up a channel that is not used, of those who come from the address that has most: whoever has a domain
        can make any number below it, and prove them all.
        """
        if self._strangers:
            oldest = next(iter(self._strangers))
            self.refused(Refusal(LIMIT, "too many connections have proved nothing", oldest.address))
            oldest.abort()
            oldest.ended()
            return
        unused = {each: each.link.unused for each in self.sessions if each.link is not None and each.link.unused >= UNUSED}
        if unused:
            held = Counter([network(each.address) for each in self.sessions])
            given_up = max(unused, key=lambda each: (held[network(each.address)], unused[each]))
            log.info("A channel that is not used makes room for another", event="federation.made_room", address=given_up.address)
            given_up.abort()

    def left(self, arrival: "Arrival", proved: bool) -> None:
        """The connection has ended; ``proved``: it had given back its place among the unproved."""
        self.sessions.discard(arrival)
        self._strangers.pop(arrival, None)
        self._gate.leave(arrival.address)
        if not proved:
            self._unproved.leave(arrival.address)
        if self._draining and not self.sessions:
            drained, self._drained = self._drained, []
            for each in drained:
                each.callback(None)

    def proved(self, arrival: "Arrival", local: str, remote: str) -> bool:
        """Whether there is room for one more channel from ``remote`` to ``local``; it is taken."""
        if self._pairs[remote, local] >= self.buckets.connections(remote) or self._domains[remote] >= self._most:
            return False
        self._pairs[remote, local] += 1
        self._domains[remote] += 1
        self._unproved.leave(arrival.address)
        self._strangers.pop(arrival, None)
        return True

    def gone(self, local: str, remote: str) -> None:
        """A channel from ``remote`` to ``local`` has ended."""
        self._pairs[remote, local] -= 1
        self._domains[remote] -= 1
        self._pairs, self._domains = +self._pairs, +self._domains

    def arrived(self, channel: Channel) -> None:
        """A peer has said hello."""
        for call in self._arrived:
            call(channel)

    # Ending

    def revoke(self, account: int) -> None:
        """No account is logged in here."""

    def drop(self, domain: str) -> None:
        """Nothing more is taken from ``domain``: its channels end now."""
        for arrival in list(self.sessions):
            if arrival.link is not None and arrival.link.remote == domain:
                arrival.abort()

    def drain(self) -> "Deferred[None]":
        """Let calls finish; fires when no connection is left."""
        self._draining = True
        drained: Deferred[None] = Deferred()
        if not self.sessions:
            drained.callback(None)
            return drained
        self._drained.append(drained)
        for arrival in list(self.sessions):
            arrival.close()
        return drained

    def cut(self) -> None:
        """Tell what is left to go."""
        for arrival in list(self.sessions):
            arrival.goodbye(_STOPPING)

    def abort(self) -> None:
        """Give up what is left after that."""
        for arrival in list(self.sessions):
            arrival.abort()


class _Inner(Factory):
    """Makes what lies within TLS."""

    noisy = False

    def __init__(self, listener: PeerListener) -> None:
        self._listener = listener

    def buildProtocol(self, addr: IAddress | None) -> Any:
        host = addr.host if isinstance(addr, (IPv4Address, IPv6Address)) else ""
        return Arrival(self._listener, host).shaken


class Arrival:
    """One connection on its way to be a channel."""

    def __init__(self, listener: PeerListener, address: str) -> None:
        self.address = address
        self.link: Link | None = None
        self.shaken = Shaken(False, self._completed, self._ended_early)
        self._listener = listener
        self._proved = self._ended = False
        self._timer = listener.reactor.callLater(HANDSHAKE, self._too_slow, "the TLS handshake takes too long")
        listener.sessions.add(self)
        listener._strangers[self] = None

    # Steps

    def _completed(self, shaken: Shaken) -> None:
        self._wait("its domain could not be looked up in time")
        Deferred.fromCoroutine(self._prove())

    async def _prove(self) -> None:
        listener = self._listener
        local = asked(self.shaken.tls)
        try:
            proved = await prove(self.shaken, listener.trust, listener.seconds, local, "")
        except Untrusted as untrusted:
            self._refuse(CERTIFICATE, untrusted.reason, Reply(550, NOT_BELIEVED, untrusted.reason), local)
            return
        except Refused as refused:
            reason = BLOCKED if not refused.reply.temporary else DOMAIN
            self._refuse(reason, refused.reason, refused.reply, local, RETRY if refused.reply.temporary else 0)
            return
        except Exception:
            log.failure("A peer could not be checked", event="federation.check_failed", address=self.address)
            self._refuse(DOMAIN, "a fault of this server", _LOCAL_ERROR, local, RETRY)
            return
        if self._ended:
            return
        if not listener.proved(self, local, proved.remote):
            self._refuse(LIMIT, "too many connections of one domain", _TOO_MANY, local, RETRY, proved.remote)
            return
        self._proved = True
        self._begin(proved)

    def _begin(self, proved: Proved) -> None:
        listener, shaken = self._listener, self.shaken
        self._wait("no hello came in time")
        link = self.link = Link(
            shaken,
            proved,
            listener.services,
            listener.reactor,
            incoming=True,
            limits=listener.limits,
            capabilities=listener.capabilities,
            greeter=listener.greeter,
            load=listener.load,
            trust=listener.trust,
            on_refusal=listener.refused,
        )
        link.on_close(lambda _: self._ended_proved(proved.local, proved.remote))
        link.ready.addCallbacks(lambda _: self._arrived(link), lambda _: None)
        shaken.wire.registerProducer(link, True)
        shaken.begin(link)
        if not link.closed:
            shaken.wire.resumeProducing()

    def _arrived(self, link: Link) -> None:
        self._timer.cancel()
        self._listener.arrived(link)

    # Turning away

    def _refuse(self, reason: str, detail: str, reply: Reply, local: str, retry_after: int = 0, remote: str = "") -> None:
        if self._ended:
            return
        self._timer.cancel()
        self._listener.refused(Refusal(reason, detail, self.address, local, remote, proved=bool(remote)))
        self.shaken.begin(_TurnedAway(self, reply, retry_after))
        self.shaken.wire.resumeProducing()

    def _wait(self, what: str) -> None:
        if self._timer.active():
            self._timer.cancel()
        self._timer = self._listener.reactor.callLater(self._listener.limits.timeout, self._too_slow, what)

    def _too_slow(self, what: str) -> None:
        local, remote = (self.link.local, self.link.remote) if self.link is not None else ("", "")
        self._listener.refused(Refusal(STALLED, what, self.address, local, remote, proved=bool(remote)))
        self.abort()

    # Ending

    def _ended_early(self, shaken: Shaken, trouble: str, hostile: bool) -> None:
        if not self._ended:
            if hostile:  # not whoever just goes, as monitors of ports do
                self._listener.refused(Refusal(TLS, trouble, self.address))
            self.ended()

    def _ended_proved(self, local: str, remote: str) -> None:
        self._listener.gone(local, remote)
        self.ended()

    def ended(self) -> None:
        """The connection is gone."""
        if not self._ended:
            self._ended = True
            if self._timer.active():
                self._timer.cancel()
            self._listener.left(self, self._proved)

    def close(self) -> None:
        """End when what is under way is done."""
        if self.link is not None:
            self.link.close()
        else:
            self.abort()

    def goodbye(self, reply: Reply) -> None:
        """End now, with a word."""
        if self.link is not None:
            self.link.goodbye(reply)
        else:
            self.abort()

    def abort(self) -> None:
        """End now."""
        if self.link is not None:
            self.link.abort()
        else:
            self.shaken.wire.abortConnection()


class _TurnedAway(Parting):
    """Answers the first call with the reason for which the peer is turned away, whatever it asks."""

    def __init__(self, arrival: Arrival, reply: Reply, retry_after: int) -> None:
        super().__init__(arrival.shaken, arrival._listener.reactor)
        self._arrival, self._reply, self._retry_after = arrival, reply, retry_after

    def called(self, identifier: int, name: str, method: str, fields: object, size: int) -> None:
        if identifier:
            self._shaken.refuse(identifier, self._reply, self._retry_after)
        self._close()

    def lost(self) -> None:
        super().lost()
        self._arrival.ended()
