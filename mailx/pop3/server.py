"""The POP3 side of the server as one Twisted service: which ports it listens on, who gets in, and how it stops.

On stopping, listeners close first; sessions that wait for their client end at once, running commands get
``shutdown_seconds``, and what is left then is cut. A port that cannot be bound fails the start.
"""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IProtocolFactory
from twisted.internet.protocol import ServerFactory
from twisted.protocols.tls import TLSMemoryBIOFactory

import mailx
from mailx.config import POP3, Server
from mailx.core import metrics, proxy
from mailx.core.access import Access
from mailx.core.connections import Gate
from mailx.core.listening import BACKLOG, Edge, Ending, TLSProvider
from mailx.core.mailboxes import Mailboxes
from mailx.core.tracing import Tracing
from mailx.pop3.maildrop import Locks
from mailx.pop3.protocol import POP3Server
from mailx.pop3.session import Services, log


class POP3Listener(ServerFactory):
    """The factory of one port's connections."""

    noisy = False

    def __init__(self, name: str, services: Services, tls: TLSProvider | None) -> None:
        """``name``: "pop3" or "pop3s"; ``tls``: for STLS, None where TLS is implicit or not to be had."""
        self.name = name
        self.services = services
        self.port = 0
        self._tls = tls
        self.gate = Gate(services.settings.max_connections, services.settings.max_per_address)
        self.sessions: set[POP3Server] = set()
        self._empty: Deferred[None] | None = None

    def buildProtocol(self, addr: IAddress | None) -> POP3Server:
        protocol = POP3Server(self.services, self._tls.server_options() if self._tls is not None else None, self)
        protocol.factory = self
        return protocol

    def enter(self, protocol: POP3Server, address: str) -> bool:
        """Take a connection in; False if there is no room."""
        self.sessions.add(protocol)
        if not self.gate.enter(address):
            metrics.CONNECTIONS_REFUSED.labels(self.name, "limit" if self.gate.full else "address_limit").inc()
            log.error(
                "POP3 connection limit reached",
                event="pop3.limit",
                port=self.port,
                current_connections=self.gate.count,
                rejected_ip=address,
                max_connections=self.gate.max_connections,
            )
            return False
        metrics.CONNECTIONS.labels(self.name).inc()
        metrics.CONNECTIONS_OPEN.labels(self.name).inc()
        return True

    @property
    def crowded(self) -> bool:
        """Whether so many of those sent away are still here that no more may wait for their word."""
        return len(self.sessions) > 2 * self.gate.max_connections

    def leave(self, protocol: POP3Server, address: str, entered: bool) -> None:
        """A connection is gone."""
        self.sessions.discard(protocol)
        if entered:
            self.gate.leave(address)
            metrics.CONNECTIONS_OPEN.labels(self.name).dec()
        if self._empty is not None and not self.sessions:
            empty, self._empty = self._empty, None
            empty.callback(None)

    def revoke(self, account: int) -> None:
        """The session of ``account`` ends."""
        for protocol in tuple(self.sessions):
            if protocol.session.user is not None and protocol.session.user.id == account:
                protocol.revoke()

    def drain(self) -> "Deferred[None]":
        """End every session at its next rest; fires when none is left."""
        drained: Deferred[None] = Deferred()
        self._empty = drained
        for protocol in tuple(self.sessions):
            protocol.stop()
        if not self.sessions and self._empty is not None:
            self._empty = None
            drained.callback(None)
        return drained

    def cut(self) -> None:
        """Nobody is waited for any longer."""
        self.abort()

    def abort(self) -> None:
        """Close every connection as it is."""
        for protocol in tuple(self.sessions):
            protocol.abort()


class POP3Service(Edge[POP3Listener]):
    """Every POP3 listener that ``settings`` turns on. ``ports`` maps "pop3" and "pop3s" to their listening ports."""

    name = "pop3"

    def __init__(
        self,
        settings: POP3,
        server: Server,
        mailboxes: Mailboxes,
        access: Access,
        tls: TLSProvider,
        reactor: Any,
        tracing: bool | Tracing = False,
    ) -> None:
        """``tracing`` turns on the debug line of every command."""
        super().__init__(reactor, settings.shutdown_seconds)
        self._settings = settings
        self._server = server
        self._tls = tls
        self._services = Services(settings, server, mailboxes, access, reactor, Locks(), tracing)
        access.on_revocation(self.revoke)

    def started(self) -> None:
        log.info(
            "POP3 server started",
            event="pop3.started",
            ports={name: getattr(port.getHost(), "port", 0) for name, port in self.ports.items()},
            tls_enabled=True,
            max_connections=self._settings.max_connections,
            version=mailx.__version__,
        )

    def bind(self) -> None:
        for name, port in (("pop3", self._settings.port), ("pop3s", self._settings.tls_port)):
            if port:
                factory = self.factory(name)
                self.ports[name] = self._reactor.listenTCP(port, factory, BACKLOG, self._server.interface)
                self.listeners[-1].port = port

    def factory(self, name: str) -> IProtocolFactory:
        """The protocol factory of the listener "pop3" (with STLS) or "pop3s" (TLS from the first octet)."""
        implicit = name == "pop3s"
        listener = POP3Listener(name, self._services, None if implicit else self._tls)
        self.listeners.append(listener)
        factory: IProtocolFactory = listener
        if implicit:
            factory = TLSMemoryBIOFactory(self._tls.server_options(), False, listener)
        return proxy.wrap(factory, self._settings.proxy_from, self._reactor)

    def stopped(self, ending: Ending) -> None:
        log.info(
            "POP3 server shutdown",
            event="pop3.stopped",
            graceful=not ending.left,
            active_sessions_completed=ending.finished,
            total_duration_ms=round(ending.seconds * 1000),
        )
