"""The POP3 side of the server as one Twisted service: which ports it listens on, who gets in, and how it stops.

On stopping, listeners close first; sessions that wait for their client end at once, running commands get
``shutdown_seconds``, and what is left then is cut. A port that cannot be bound fails the start.
"""

from typing import Any

import mailx
from mailx.config import POP3, Server
from mailx.core.access import Access
from mailx.core.listening import Ending, TLSProvider
from mailx.core.mailboxes import Mailboxes
from mailx.core.reading import ReadingEdge, ReadingListener
from mailx.core.tracing import Tracing
from mailx.pop3.maildrop import Locks
from mailx.pop3.protocol import POP3Server
from mailx.pop3.session import Services, log


class POP3Listener(ReadingListener[POP3Server]):
    """The factory of one port's connections; see :class:`mailx.core.reading.ReadingListener`."""

    def __init__(self, name: str, services: Services, tls: TLSProvider | None) -> None:
        super().__init__(name, services.settings, tls)
        self._services = services

    def connection(self, tls_context: Any) -> POP3Server:
        return POP3Server(self._services, tls_context, self)

    def limited(self, address: str) -> None:
        log.error(
            "POP3 connection limit reached",
            event="pop3.limit",
            port=self.port,
            current_connections=self.gate.count,
            rejected_ip=address,
            max_connections=self.gate.max_connections,
        )


class POP3Service(ReadingEdge[POP3Listener]):
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
        super().__init__(settings, server, tls, reactor)
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

    def listener(self, name: str, tls: TLSProvider | None) -> POP3Listener:
        return POP3Listener(name, self._services, tls)

    def stopped(self, ending: Ending) -> None:
        log.info("POP3 server shutdown", event="pop3.stopped", **ending.told)
