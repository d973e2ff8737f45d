"""The SMTP side of the server as one Twisted service: which ports it listens on, and how it stops.

Ports are bound in ``privilegedStartService``, so that a daemon may bind port 25 and then drop its rights. On
stopping, listeners close first, open transactions get ``shutdown_seconds`` to finish, then everything left gets 421.
A port that cannot be bound fails the start.
"""

import os
from socket import IPPROTO_TCP, TCP_NODELAY
from typing import Any

from twisted.internet.interfaces import IProtocolFactory
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory

import mailx
from mailx.config import SMTP, Server
from mailx.core import proxy
from mailx.core.listening import BACKLOG, Edge, Ending, TLSProvider
from mailx.core.tracing import Tracing
from mailx.core.unix import make_room
from mailx.smtp.authentication import Access
from mailx.smtp.door import LMTP, MX, SUBMISSION, SUBMISSIONS, Door
from mailx.smtp.listener import Reception, SMTPListener

log = Logger()


class SMTPService(Edge[SMTPListener]):
    """Every SMTP and LMTP listener that ``settings`` turns on.

    ``ports`` maps a listener's name (smtp, submission, submissions, lmtp, lmtp_socket) to its listening port.
    ``tracing`` turns on the debug line of every command.
    """

    name = "smtp"

    def __init__(
        self,
        settings: SMTP,
        server: Server,
        reception: Reception,
        access: Access,
        tls: TLSProvider,
        reactor: Any,
        tracing: bool | Tracing = False,
    ) -> None:
        super().__init__(reactor, settings.shutdown_seconds)
        self._settings = settings
        self._server = server
        self._reception = reception
        self._access = access
        self._tls = tls
        self._tracing = tracing
        access.on_revocation(self.revoke)

    def started(self) -> None:
        log.info(
            "SMTP server started",
            event="smtp.started",
            ports=[getattr(port.getHost(), "port", 0) for port in self.ports.values()],
            listeners=list(self.ports),
            tls_enabled=True,
            max_connections=self._settings.max_connections,
            version=mailx.__version__,
        )

    def bind(self) -> None:
        settings, interface = self._settings, self._server.interface
        for door, port, where in (
            (MX, settings.port, interface),
            (SUBMISSION, settings.submission_port, interface),
            (SUBMISSIONS, settings.submissions_port, interface),
            (LMTP, settings.lmtp_port, settings.lmtp_interface),
        ):
            if port:
                listening = self._reactor.listenTCP(port, self.factory(door, port), BACKLOG, where)
                _send_at_once(listening)
                self.ports[door.name] = listening
        if settings.lmtp_socket:
            path = os.path.join(self._server.data, settings.lmtp_socket)
            make_room(path, "smtp.lmtp_socket")
            self.ports["lmtp_socket"] = self._reactor.listenUNIX(path, self.factory(LMTP, 0), BACKLOG, mode=0o660)

    def factory(self, door: Door, port: int) -> IProtocolFactory:
        """The protocol factory of one listener; ``port`` is what its log lines and Received fields say."""
        listener = SMTPListener(door, port, self._settings, self._server, self._reception, self._access, self._tls, self._reactor)
        listener.tracing = self._tracing
        self.listeners.append(listener)
        factory: IProtocolFactory = listener
        if door.implicit_tls:
            factory = TLSMemoryBIOFactory(self._tls.server_options(), False, listener)
        return proxy.wrap(factory, self._settings.proxy_from, self._reactor)

    def stopped(self, ending: Ending) -> None:
        log.info("SMTP server shutdown", event="smtp.stopped", **ending.told)


def _send_at_once(listening: object) -> None:
    """Replies are not held back for a delayed acknowledgement. Connections inherit this: one call for all of them."""
    listener = getattr(listening, "socket", None)
    if listener is not None:
        listener.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
