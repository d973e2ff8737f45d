"""The receiver as a service: its port, and how it ends.

On stopping, the port closes first, calls that are here get their answer, then connections end.
"""

from typing import Any

from twisted.internet.interfaces import IProtocolFactory
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory

from mailx import config
from mailx.core.listening import BACKLOG, Edge, Ending, TLSProvider
from mailx.core.settings import Settings
from mailx.web.webhook.listener import Listener
from mailx.web.webhook.receiver import Receiver

log = Logger()

PATIENCE = 20.0  # seconds that running calls may take when the server stops


class ReceiverService(Edge[Listener]):
    """The port of ``[webhook]``. ``ports`` maps "webhook" to it."""

    name = "webhook"

    def __init__(self, receiver: Receiver, settings: Settings, tls: TLSProvider, reactor: Any) -> None:
        super().__init__(reactor, PATIENCE)
        self.receiver = receiver
        self._settings = settings
        self._tls = tls
        settings.watch(["webhook"], _warn)

    def started(self) -> None:
        webhook = self._settings.current.webhook
        ports = [getattr(port.getHost(), "port", 0) for port in self.ports.values()]
        log.info("Webhook receiver started", event="webhook.started", ports=ports, tls_enabled=webhook.tls)
        _warn(self._settings.current)

    def bind(self) -> None:
        current = self._settings.current
        self.receiver.port = current.webhook.port
        factory: IProtocolFactory = self.factory()
        if current.webhook.tls:
            factory = TLSMemoryBIOFactory(self._tls.server_options(), False, factory)
        self.ports["webhook"] = self._reactor.listenTCP(current.webhook.port, factory, BACKLOG, current.server.interface)

    def factory(self) -> Listener:
        """The factory of the port's connections."""
        listener = Listener(self.receiver, self._reactor)
        self.listeners.append(listener)
        return listener

    def stopped(self, ending: Ending) -> None:
        log.info("Webhook receiver stopped", event="webhook.stopped", graceful=not ending.left)


def _warn(current: config.Config) -> None:
    """Say that anybody may send, as long as that is so."""
    if current.webhook.port and not current.webhook.signature:
        log.warn("UNSAFE: the webhook receiver takes calls without a signature", event="webhook.unsigned")
