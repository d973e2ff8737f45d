"""The IMAP side of the server as one Twisted service: which ports it listens on, who gets in, and how it stops.

Ports are bound in ``privilegedStartService``, so that a daemon may bind port 143 and then drop its rights. On
stopping, listeners close first; idle sessions hear BYE at once, running commands get ``shutdown_seconds``, and what
is left then is cut. A port that cannot be bound fails the start.
"""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IProtocolFactory
from twisted.internet.protocol import ServerFactory
from twisted.protocols.tls import TLSMemoryBIOFactory

import mailx
from mailx.config import IMAP, Server
from mailx.core import metrics, proxy
from mailx.core.access import Access
from mailx.core.connections import Gate
from mailx.core.listening import BACKLOG, Edge, Ending, TLSProvider
from mailx.core.mailboxes import Mailboxes
from mailx.core.quotas import Quotas
from mailx.core.reception import Reception
from mailx.core.tracing import Tracing
from mailx.imap.protocol import IMAPServer
from mailx.imap.session import Services, Sessions, log


class IMAPListener(ServerFactory):
    """The factory of one port's connections."""

    noisy = False

    def __init__(self, name: str, services: Services, tls: TLSProvider | None) -> None:
        """``name``: "imap" or "imaps"; ``tls``: for STARTTLS, None where TLS is implicit or not to be had."""
        self.name = name
        self.services = services
        self.port = 0
        self._tls = tls
        self.gate = Gate(services.settings.max_connections, services.settings.max_per_address)
        self.sessions: set[IMAPServer] = set()
        self._empty: Deferred[None] | None = None

    def buildProtocol(self, addr: IAddress | None) -> IMAPServer:
        protocol = IMAPServer(self.services, self._tls.server_options() if self._tls is not None else None, self)
        protocol.factory = self
        return protocol

    def enter(self, protocol: IMAPServer, address: str) -> bool:
        """Take a connection in; False if there is no room."""
        self.sessions.add(protocol)
        if not self.gate.enter(address):
            metrics.CONNECTIONS_REFUSED.labels(self.name, "limit" if self.gate.full else "address_limit").inc()
            log.error(
                "IMAP connection limit reached",
                event="imap.limit",
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
        """Whether so many of those sent away are still here (under TLS a word waits for the handshake) that no more may wait."""
        return len(self.sessions) > 2 * self.gate.max_connections

    def leave(self, protocol: IMAPServer, address: str, entered: bool) -> None:
        """A connection is gone."""
        self.sessions.discard(protocol)
        if entered:
            self.gate.leave(address)
            metrics.CONNECTIONS_OPEN.labels(self.name).dec()
        if self._empty is not None and not self.sessions:
            empty, self._empty = self._empty, None
            empty.callback(None)

    def revoke(self, account: int) -> None:
        """The sessions of ``account`` end."""
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


class IMAPService(Edge[IMAPListener]):
    """Every IMAP listener that ``settings`` turns on. ``ports`` maps "imap" and "imaps" to their listening ports.

    ``tracing`` turns on the debug line of every command.
    """

    name = "imap"

    def __init__(
        self,
        settings: IMAP,
        server: Server,
        mailboxes: Mailboxes,
        reception: Reception,
        access: Access,
        tls: TLSProvider,
        reactor: Any,
        tracing: bool | Tracing = False,
        quotas: Quotas | None = None,
    ) -> None:
        super().__init__(reactor, settings.shutdown_seconds)
        self._settings = settings
        self._server = server
        self._tls = tls
        sessions = Sessions(settings.max_per_account)
        self._services = Services(settings, server, mailboxes, reception, access, reactor, sessions, tracing, quotas)
        access.on_revocation(self.revoke)
        access.on_revocation(mailboxes.sharing.ended)

    def started(self) -> None:
        log.info(
            "IMAP server started",
            event="imap.started",
            ports={name: getattr(port.getHost(), "port", 0) for name, port in self.ports.items()},
            tls_enabled=True,
            max_connections=self._settings.max_connections,
            version=mailx.__version__,
        )

    def bind(self) -> None:
        for name, port in (("imap", self._settings.port), ("imaps", self._settings.tls_port)):
            if port:
                factory = self.factory(name)
                self.ports[name] = self._reactor.listenTCP(port, factory, BACKLOG, self._server.interface)
                self.listeners[-1].port = port

    def factory(self, name: str) -> IProtocolFactory:
        """The protocol factory of the listener "imap" (with STARTTLS) or "imaps" (TLS from the first octet)."""
        implicit = name == "imaps"
        listener = IMAPListener(name, self._services, None if implicit else self._tls)
        self.listeners.append(listener)
        factory: IProtocolFactory = listener
        if implicit:
            factory = TLSMemoryBIOFactory(self._tls.server_options(), False, listener)
        return proxy.wrap(factory, self._settings.proxy_from, self._reactor)

    def stopped(self, ending: Ending) -> None:
        log.info(
            "IMAP server shutdown",
            event="imap.stopped",
            graceful=not ending.left,
            active_sessions_completed=ending.finished,
            total_duration_ms=round(ending.seconds * 1000),
        )
