"""The panel's port: open while the service runs; at the end requests under way may finish, and what pages began ends."""

from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory

from mailx.config import Panel as PanelSettings
from mailx.core.listening import BACKLOG, TLSProvider
from mailx.web.panel.app import Panel

log = Logger()


class PanelService(Service):
    """Listens where ``settings`` say, which holds from start to stop."""

    name = "panel"

    def __init__(self, panel: Panel, settings: PanelSettings, tls: TLSProvider, reactor: Any) -> None:
        self._panel = panel
        self._settings = settings
        self._tls = tls
        self._reactor = reactor
        self._port: IListeningPort | None = None

    def startService(self) -> None:
        """Listen; raises CannotListenError."""
        settings = self._settings
        factory: Any = self._panel.site()
        if settings.tls:
            factory = TLSMemoryBIOFactory(self._tls.server_options(), False, factory)
        self._port = self._reactor.listenTCP(settings.port, factory, backlog=BACKLOG, interface=settings.interface)
        super().startService()  # type: ignore[no-untyped-call]
        self._panel.warm()
        log.info("Control panel open", event="panel.started", interface=settings.interface, port=settings.port, tls=settings.tls)

    def stopService(self) -> Deferred[None]:
        """Listen no more, and let the pages end what they began."""
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._close())

    async def _close(self) -> None:
        port, self._port = self._port, None
        if port is not None:
            await maybeDeferred(port.stopListening)
        await self._panel.stop()
        log.info("Control panel closed", event="panel.stopped")
