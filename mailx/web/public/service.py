"""The port of the public site: HTTPS with the certificates of all listeners, open while the service runs."""

from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory

from mailx.core.listening import BACKLOG, TLSProvider
from mailx.web.public.site import PublicSite

log = Logger()


class PublicService(Service):
    """Listens at ``port`` of ``interface``. ``port`` 0 is any that is free, for tests; a server without the site makes no service."""

    name = "public"

    def __init__(self, site: PublicSite, interface: str, port: int, tls: TLSProvider, reactor: Any) -> None:
        self._site = site
        self._place = interface, port
        self._tls = tls
        self._reactor = reactor
        self.port: IListeningPort | None = None

    def startService(self) -> None:
        """Listen; raises CannotListenError."""
        interface, number = self._place
        factory: Any = TLSMemoryBIOFactory(self._tls.server_options(), False, self._site.site())
        self.port = self._reactor.listenTCP(number, factory, backlog=BACKLOG, interface=interface)
        super().startService()  # type: ignore[no-untyped-call]
        log.info("Public site open", event="public.started", interface=interface, port=number)

    def stopService(self) -> "Deferred[None]":
        """Listen no more, and let requests under way finish."""
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._close())

    async def _close(self) -> None:
        port, self.port = self.port, None
        if port is not None:
            await maybeDeferred(port.stopListening)
        await self._site.stop()
        log.info("Public site closed", event="public.stopped")
