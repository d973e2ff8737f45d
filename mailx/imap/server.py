"""The IMAP side of the server as one Twisted service: which ports it listens on, who gets in, and how it stops.

Ports are bound in ``privilegedStartService``, so that a daemon may bind port 143 and then drop its rights. On
stopping, listeners close first; idle sessions hear BYE at once, running commands get ``shutdown_seconds``, and what
is left then is cut. A port that cannot be bound fails the start.
"""

from typing import Any

import mailx
from mailx.config import IMAP, Server
from mailx.core.access import Access
from mailx.core.listening import Ending, TLSProvider
from mailx.core.mailboxes import Mailboxes
from mailx.core.quotas import Quotas
from mailx.core.reading import ReadingEdge, ReadingListener
from mailx.core.reception import Reception
from mailx.core.tracing import Tracing
from mailx.imap.protocol import IMAPServer
from mailx.imap.session import Services, Sessions, log


class IMAPListener(ReadingListener[IMAPServer]):
    """The factory of one port's connections; see :class:`mailx.core.reading.ReadingListener`."""

    def __init__(self, name: str, services: Services, tls: TLSProvider | None) -> None:
        super().__init__(name, services.settings, tls)
        self._services = services

    def connection(self, tls_context: Any) -> IMAPServer:
        return IMAPServer(self._services, tls_context, self)

    def limited(self, address: str) -> None:
        log.error(
            "IMAP connection limit reached",
            event="imap.limit",
            port=self.port,
            current_connections=self.gate.count,
            rejected_ip=address,
            max_connections=self.gate.max_connections,
        )


class IMAPService(ReadingEdge[IMAPListener]):
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
        super().__init__(settings, server, tls, reactor)
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

    def listener(self, name: str, tls: TLSProvider | None) -> IMAPListener:
        return IMAPListener(name, self._services, tls)

    def stopped(self, ending: Ending) -> None:
        log.info("IMAP server shutdown", event="imap.stopped", **ending.told)
