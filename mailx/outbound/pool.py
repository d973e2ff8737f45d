"""All connections out: new ones made, idle ones kept for the next message, their number bounded, their deadlines kept.

Failure to get a connection is ``Unreachable``. Who has got one gives it back by ``release``, whatever happened over it.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Any, cast

from attrs import define, evolve, field
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import ConnectBindError, ConnectError, ConnectionRefusedError, NoRouteError, TCPTimedOutError, TimeoutError
from twisted.internet.protocol import Factory
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from mailx.config import Outbound
from mailx.core.courier import Attempt
from mailx.core.metrics import OUTBOUND_CONNECTIONS, OUTBOUND_OPEN
from mailx.mail.address import Address
from mailx.mail.envelope import Envelope
from mailx.mail.reply import Reply
from mailx.outbound.client import Connection, Rendering
from mailx.outbound.dialogue import Opening
from mailx.outbound.hop import NONE, OPPORTUNISTIC, Hop, Login, Security, Unreachable
from mailx.outbound.tls import Contexts
from mailx.outbound.wire import Wire

log = Logger()

TICK = 1.0  # seconds between two looks at all deadlines

FULL = Reply(451, "4.3.2", "Too many connections out; none became free in time")
STOPPED = Reply(451, "4.3.2", "The service is stopping")
_NONE = object()  # the key of no connection


@define
class _Idle:
    connection: Connection
    since: float


@define(eq=False)
class _Waiter:
    """Somebody who waits for room or for an idle connection of ``key``."""

    key: Hashable
    until: float
    room: "Deferred[Connection | None]" = field(factory=Deferred)


class Pool:
    """The connections of one server process. Reactor thread only."""

    def __init__(self, settings: Outbound, hostname: str, reactor: Any, contexts: Contexts | None = None) -> None:
        """``hostname`` is what EHLO says; ``contexts`` decide which authorities are believed."""
        self._settings = settings
        self._hostname = hostname
        self._reactor = reactor
        self._contexts = contexts or Contexts()
        self._wires: set[Wire] = set()
        self._ending: set[Wire] = set()  # of them those that were told goodbye: they take no room
        self._connecting = 0
        self._idle: dict[Hashable, list[_Idle]] = {}  # the longest idle first
        self._waiters: deque[_Waiter] = deque()
        self._tick: Any = None
        self._stopped = False
        self._empty: Deferred[None] | None = None  # who waits for the last connection to be gone

    # For couriers.

    async def deliver(
        self,
        key: Hashable,
        hop: Hop,
        security: Security,
        login: Login | None,
        timeout: float,
        envelope: Envelope,
        recipients: Sequence[Address],
        outgoing: Rendering,
        opened: Callable[[Connection], None] | None = None,
        fresh: bool = False,
    ) -> Mapping[Address, Attempt]:
        """Send one message over an idle connection of ``key`` (unless it must be ``fresh``) or a new one: what couriers call.

        An idle connection that turns out to have ended is replaced once. ``opened`` is told of a new one. Raises Unreachable.
        """
        connection = await self.connection(key, hop, security, login, timeout, fresh)
        if opened is not None and not connection.messages:
            opened(connection)
        found = await self._send(connection, envelope, recipients, outgoing)
        if connection.stale:
            connection = await self.connection(key, hop, security, login, timeout, fresh=True)
            if opened is not None:
                opened(connection)
            found = await self._send(connection, envelope, recipients, outgoing)
        return found

    async def _send(
        self, connection: Connection, envelope: Envelope, recipients: Sequence[Address], outgoing: Rendering
    ) -> Mapping[Address, Attempt]:
        try:
            found = await connection.send(envelope, recipients, outgoing)
        except Exception:
            connection.wire.abort()  # nobody knows how far the dialogue went
            raise
        self.release(connection)
        return found

    def idle(self, key: Hashable) -> bool:
        """Whether an idle connection of ``key`` is there: then the servers of a destination need not be looked up."""
        return any(each.connection.usable for each in self._idle.get(key, ()))

    async def connection(
        self, key: Hashable, hop: Hop, security: Security, login: Login | None, timeout: float, fresh: bool = False
    ) -> Connection:
        """An idle connection of ``key`` (unless it must be ``fresh``), or a new one to ``hop``. Raises Unreachable.

        ``timeout``: seconds to get room and to connect in; the dialogue has its own.
        """
        if self._stopped:
            raise Unreachable(STOPPED, ours=True)
        found = None if fresh else self._take(key)
        if found is None and self._full:
            found = await self._room(_NONE if fresh else key, timeout)
        if found is not None:
            return found
        try:
            opened = await self._made(key, hop, security, login, timeout)
        except Unreachable as unreachable:
            OUTBOUND_CONNECTIONS.labels("failed").inc()
            log.info(
                "No session with {host}: {reason}",
                event="outbound.unreachable",
                host=str(hop),
                reason=str(unreachable.reply),
                tls_failure=unreachable.tls_failure,
            )
            raise
        OUTBOUND_CONNECTIONS.labels("opened").inc()
        log.debug("Connected to {host}", event="outbound.connected", host=opened.host, tls=opened.tls, security=opened.security)
        return opened

    def release(self, connection: Connection) -> None:
        """The caller is done with the connection: keep it for the next message, or close it."""
        settings = self._settings
        most = min(settings.per_connection, connection.most_messages or settings.per_connection)
        if self._stopped or not connection.usable or connection.messages >= most or not settings.idle_seconds:
            self._end(connection.wire)
            return
        if self._waiters:
            waiter = next((each for each in self._waiters if each.key == connection.key), None)
            if waiter is None:
                self._end(connection.wire)  # those who wait need the room
            else:
                self._waiters.remove(waiter)
                waiter.room.callback(connection)
            return
        self._idle.setdefault(connection.key, []).append(_Idle(connection, self._reactor.seconds()))

    def close(self, key: Hashable) -> None:
        """Say goodbye over the idle connections of ``key``."""
        for idle in self._idle.pop(key, ()):
            self._end(idle.connection.wire)

    def stop(self) -> None:
        """Close all idle connections, and those in use once they are released."""
        self._stopped = True
        self._close_idle(float("inf"))
        for waiter in list(self._waiters):
            self._waiters.remove(waiter)
            waiter.room.errback(Unreachable(STOPPED, ours=True))

    async def ended(self, seconds: float) -> None:
        """Return when no connection is left after ``stop``, because all goodbyes were answered; after ``seconds`` in any case."""
        if self._wires:
            self._empty = Deferred()
            timer = self._reactor.callLater(seconds, self._empty.callback, None)
            await self._empty
            self._empty = None
            if timer.active():
                timer.cancel()

    def abort(self) -> None:
        """Cut off all that is left, after ``stop``."""
        for wire in list(self._wires):
            wire.abort()
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None

    # Room and rest.

    def _take(self, key: Hashable) -> Connection | None:
        """The idle connection used last: the others may become too many."""
        rest = self._idle.get(key)
        while rest:
            connection = rest.pop().connection
            if not rest:
                del self._idle[key]
            if connection.usable:
                return connection
            self._end(connection.wire)
        return None

    @property
    def _full(self) -> bool:
        return len(self._wires) - len(self._ending) + self._connecting >= self._settings.connections

    def _end(self, wire: Wire) -> None:
        """Say goodbye politely, unless too many goodbyes are waiting for their answers already."""
        if wire not in self._wires:
            return
        if len(self._ending) >= self._settings.connections:
            wire.abort()
        else:
            self._ending.add(wire)
            wire.quit()
        self._admit()

    async def _room(self, key: Hashable, timeout: float) -> Connection | None:
        """Wait until one connection more may be made (None), or one of ``key`` is free; raises Unreachable."""
        oldest = min(self._idle, key=lambda each: self._idle[each][0].since, default=None)
        if oldest is not None:
            rest = self._idle[oldest]
            connection = rest.pop(0).connection
            if not rest:
                del self._idle[oldest]
            self._end(connection.wire)
            return None
        waiter = _Waiter(key, self._reactor.seconds() + timeout)
        self._waiters.append(waiter)
        self._watch()
        return await waiter.room

    def _gone(self, wire: Wire) -> None:
        self._wires.discard(wire)
        self._ending.discard(wire)
        OUTBOUND_OPEN.dec()
        self._admit()
        if self._empty is not None and not self._wires and not self._empty.called:
            self._empty.callback(None)

    def _admit(self) -> None:
        """Somebody who waits for room may have it."""
        if self._waiters and not self._full:
            self._waiters.popleft().room.callback(None)

    # Making one.

    async def _made(self, key: Hashable, hop: Hop, security: Security, login: Login | None, timeout: float) -> Connection:
        """A connection as it is asked for. One that may be unencrypted is, when TLS was begun and broke (RFC 7435 3)."""
        try:
            return await self._open(key, hop, security, login, timeout)
        except Unreachable as unreachable:
            if security.level != OPPORTUNISTIC or not unreachable.tls_failure or hop.implicit_tls or login is not None or self._stopped:
                raise
            connection = await self._open(key, hop, evolve(security, level=NONE), None, timeout)
            connection.starttls = True
            connection.tls_failure = unreachable.tls_failure
            return connection

    async def _open(self, key: Hashable, hop: Hop, security: Security, login: Login | None, timeout: float) -> Connection:
        wire = await self._connect(hop, timeout)
        opening = Opening(hop, security, login, self._hostname, self._contexts, self._in_thread)
        try:
            return Connection(key, wire, await opening.open(wire))
        except Unreachable:
            self._end(wire)
            raise

    async def _connect(self, hop: Hop, timeout: float) -> Wire:
        endpoint = TCP6ClientEndpoint if ":" in hop.address else TCP4ClientEndpoint
        ours = self._settings.interface
        bind = (ours, 0) if ours and (":" in ours) == (":" in hop.address) else None
        self._connecting += 1
        try:
            return cast(Wire, await endpoint(self._reactor, hop.address, hop.port, max(1.0, timeout), bind).connect(_Wires(self)))
        except ConnectError as error:
            raise Unreachable(Reply(451, "4.4.1", f"{_reason(error)}: {hop}"), ours=isinstance(error, ConnectBindError)) from None
        finally:
            self._connecting -= 1
            self._admit()

    def made(self) -> Wire:
        """A new connection's wire."""
        wire = Wire(self._reactor.seconds, self._gone)
        self._wires.add(wire)
        OUTBOUND_OPEN.inc()
        self._watch()
        return wire

    def _in_thread(self, call: Any, *arguments: Any) -> Awaitable[Any]:
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), call, *arguments)

    # Deadlines.

    def _watch(self) -> None:
        if self._tick is None:
            self._tick = self._reactor.callLater(TICK, self._look)

    def _look(self) -> None:
        """Once a second: what is overdue is given up, what has been idle for too long is closed."""
        self._tick = None
        now = self._reactor.seconds()
        for wire in list(self._wires):
            wire.check(now)
        self._close_idle(now)
        for waiter in [each for each in self._waiters if each.until <= now]:
            self._waiters.remove(waiter)
            waiter.room.errback(Unreachable(FULL, ours=True))
        if self._wires or self._waiters:
            self._watch()

    def _close_idle(self, now: float) -> None:
        oldest = now - self._settings.idle_seconds
        for key, rest in list(self._idle.items()):
            while rest and (rest[0].since <= oldest or not rest[0].connection.usable):
                self._end(rest.pop(0).connection.wire)
            if not rest:
                del self._idle[key]


class _Wires(Factory):
    noisy = False

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def buildProtocol(self, addr: object) -> Wire:
        return self._pool.made()


def _reason(error: ConnectError) -> str:
    """Why nobody was reached, in our own words."""
    if isinstance(error, ConnectionRefusedError):
        return "Connection refused"
    if isinstance(error, (TimeoutError, TCPTimedOutError)):
        return "Connection timed out"
    return "No route to the server" if isinstance(error, NoRouteError) else "The server cannot be reached"
