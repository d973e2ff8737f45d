"""Making channels to other MailX servers: which address, TLS, proof of both sides, hello.

The servers of a domain are tried in order, and of each its addresses; the first that proves to be the domain's is taken.
:class:`~mailx.federation.channel.Unreachable` says why none was. ``security`` is set when one was there and could not prove
who it is, or refused our proof: then nobody should be content with less than a channel.
"""

from collections.abc import Callable, Sequence
from time import time
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TwistedTimeout
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import ConnectError, ConnectionRefusedError, TCPTimedOutError, TimeoutError
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from twisted.protocols.tls import TLSMemoryBIOFactory

from mailx.core.resolver import DNSFailure
from mailx.core.urls import permitted
from mailx.federation.certificates import Untrusted
from mailx.federation.channel import Channel, Greeter, Trust, Unreachable
from mailx.federation.handshake import Calling, Contexts, Identities, Shaken, prove
from mailx.federation.link import Link, LinkLimits, Proved
from mailx.federation.parting import Parting
from mailx.federation.refusals import BLOCKED, CERTIFICATE, DOMAIN, NOT_BELIEVED, TLS, Notes, OnRefusal, Refusal
from mailx.mail.networks import is_address
from mailx.mail.reply import Refused, Reply

CONNECT = 10.0  # seconds for TCP
HANDSHAKE = 10.0  # seconds for TLS
ADDRESSES = 4  # of one server that are tried
SERVERS = 8  # of one domain that are tried
TOTAL = 120.0  # seconds after which no further address is tried


class Addresses(Protocol):
    """Looks host names up; :class:`mailx.core.resolver.Resolver`."""

    async def addresses(self, name: str) -> list[str]:
        """IP addresses; raises DNSFailure."""


class Connector:
    """Makes channels. ``networks`` gives the private networks that servers may be in.

    ``former`` has certificates of keys that were rotated out and are still valid: a peer that does not know the new key yet,
    and has no other way to learn of it, is told of it over a channel of the old one.
    """

    def __init__(
        self,
        *,
        trust: Trust,
        identities: Identities,
        resolver: Addresses,
        networks: Callable[[], tuple[str, ...]],
        limits: LinkLimits,
        reactor: Any,
        former: Identities | None = None,
        greeter: Greeter | None = None,
        capabilities: frozenset[str] = frozenset(),
        seconds: Callable[[], float] = time,
        on_refusal: OnRefusal | None = None,
    ) -> None:
        self._trust, self._resolver, self._networks, self._limits = trust, resolver, networks, limits
        self._reactor, self._greeter, self._capabilities = reactor, greeter, capabilities
        self._seconds, self._refused = seconds, on_refusal or Notes(reactor.seconds)
        self._contexts = [Contexts(each, server=False) for each in (identities, former) if each is not None]

    async def connect(self, local: str, remote: str, servers: Sequence[tuple[str, int]], anywhere: bool = False) -> Channel:
        """A channel from our domain ``local`` to ``remote``. ``anywhere``: an administrator named ``servers``, so that they may
        have any address. Raises Unreachable."""
        ways = self._ways(local, remote)
        until = self._reactor.seconds() + TOTAL
        worst = Unreachable("the domain names no server")
        for host, port in servers[:SERVERS]:
            try:
                addresses = await self._addresses(host, anywhere)
            except Unreachable as unreachable:
                worst = _worse(worst, unreachable)
                continue
            for address in addresses:
                if self._reactor.seconds() >= until:
                    raise worst
                try:
                    return await self._proved(ways, local, remote, address, port)
                except Unreachable as unreachable:
                    worst = _worse(worst, unreachable)
        raise worst

    async def _proved(self, ways: Sequence[Calling], local: str, remote: str, address: str, port: int) -> Channel:
        """With the first of ``ways`` that the peer does not refuse."""
        *others, last = ways
        for calling in others:
            try:
                return await self._channel(calling, local, remote, address, port)
            except Unreachable as unreachable:
                if unreachable.reply is None or not unreachable.security:
                    raise  # not our proof was refused
        return await self._channel(last, local, remote, address, port)

    def _ways(self, local: str, remote: str) -> list[Calling]:
        """With which certificates it may be tried, the current one first."""
        ways = []
        for contexts in self._contexts:
            try:
                ways.append(Calling(contexts, local, remote))
            except KeyError:
                continue
        if not ways:
            raise Unreachable(f"{local} has no domain key here")
        return ways

    async def _addresses(self, host: str, anywhere: bool) -> list[str]:
        try:
            found = [host] if is_address(host) else await self._resolver.addresses(host)
        except DNSFailure:
            raise Unreachable(f"the name {host} cannot be looked up now") from None
        if not found:
            raise Unreachable(f"the name {host} has no address")
        good = found if anywhere else [each for each in found if permitted(each, self._networks())]
        if not good:
            raise Unreachable(f"{host} has no address of the public Internet")
        return list(good[:ADDRESSES])

    async def _channel(self, calling: Calling, local: str, remote: str, address: str, port: int) -> Channel:
        shaken = await self._shaken(calling, local, remote, address, port)
        proving: Deferred[Proved] = Deferred.fromCoroutine(prove(shaken, self._trust, self._seconds, local, remote))
        try:
            proved = await proving.addTimeout(self._limits.timeout, self._reactor)
        except Untrusted as untrusted:
            self._refused(Refusal(CERTIFICATE, untrusted.reason, address, local, remote, incoming=False))
            self._bye(shaken, Reply(550, NOT_BELIEVED, untrusted.reason))
            raise Unreachable(f"the server at {address} does not prove to be {remote}: {untrusted.reason}", True) from None
        except Refused as refused:
            shaken.wire.abortConnection()
            reason = DOMAIN if refused.reply.temporary else BLOCKED
            self._refused(Refusal(reason, refused.reason, address, local, remote, incoming=False))
            raise Unreachable(f"the keys of {remote} cannot be told now", not refused.reply.temporary) from None
        except TwistedTimeout:
            shaken.wire.abortConnection()
            raise Unreachable(f"the keys of {remote} are not found in time") from None
        except BaseException:
            shaken.wire.abortConnection()
            raise
        link = Link(
            shaken,
            proved,
            {},
            self._reactor,
            incoming=False,
            limits=self._limits,
            capabilities=self._capabilities,
            greeter=self._greeter,
            trust=self._trust,
            on_refusal=self._refused,
        )
        shaken.wire.registerProducer(link, True)
        shaken.begin(link)
        if not link.closed:
            shaken.wire.resumeProducing()
        await link.open(self._limits.timeout)
        return link

    async def _shaken(self, calling: Calling, local: str, remote: str, address: str, port: int) -> Shaken:
        """A connection whose TLS handshake is done; nothing of it is proved."""
        kind = TCP6ClientEndpoint if ":" in address else TCP4ClientEndpoint
        inner = _Inner()
        try:
            await kind(self._reactor, address, port, timeout=CONNECT).connect(TLSMemoryBIOFactory(calling, True, inner))
        except (ConnectError, OSError) as error:
            raise Unreachable(f"no connection to {address} port {port}: {_words(error)}") from None
        inner.completed.addTimeout(HANDSHAKE, self._reactor)
        try:
            await inner.completed
        except TwistedTimeout:
            inner.shaken.wire.abortConnection()
            detail, security = "the TLS handshake takes too long", False
        except _NoTLS as no:
            detail, security = no.trouble, no.hostile
        else:
            return inner.shaken
        if security:
            self._refused(Refusal(TLS, detail, address, local, remote, incoming=False))
        raise Unreachable(f"no TLS with {address} port {port}: {detail}", security)

    def _bye(self, shaken: Shaken, reply: Reply) -> None:
        """Tell a server that is not believed why; nothing else is said to it."""
        shaken.begin(_Goodbye(shaken, reply, self._reactor))
        shaken.wire.resumeProducing()


class _NoTLS(Exception):
    """The handshake came to nothing; ``hostile``: because somebody refused, or could not do, what we ask."""

    def __init__(self, trouble: str, hostile: bool) -> None:
        super().__init__(trouble)
        self.trouble, self.hostile = trouble, hostile


class _Inner(Factory):
    """Makes the one protocol within TLS. ``completed`` fires at the end of the handshake, or fails with _NoTLS."""

    noisy = False

    def __init__(self) -> None:
        self.completed: Deferred[None] = Deferred()
        self.shaken = Shaken(True, lambda _: self._fire(), lambda _, *why: self._fail(*why))

    def buildProtocol(self, addr: IAddress | None) -> Any:
        return self.shaken

    def _fire(self) -> None:
        if not self.completed.called:
            self.completed.callback(None)

    def _fail(self, trouble: str, hostile: bool) -> None:
        if not self.completed.called:
            self.completed.errback(_NoTLS(trouble, hostile))


class _Goodbye(Parting):
    """Says goodbye with a reason as soon as PB is spoken."""

    def __init__(self, shaken: Shaken, reply: Reply, reactor: Any) -> None:
        super().__init__(shaken, reactor)
        self._reply = reply

    def opened(self) -> None:
        self._shaken.bye(self._reply)
        self._close()


def _words(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, (TimeoutError, TCPTimedOutError)):
        return "no answer in time"
    return "the network says no"


def _worse(one: Unreachable, other: Unreachable) -> Unreachable:
    """The one that says more: a failed proof before everything else."""
    return one if one.security and not other.security else other
