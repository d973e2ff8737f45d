"""The federation port as a Twisted service: bound before the daemon drops its rights, and ended in order.

On stopping, the port closes first; peers get the time of the settings to finish their calls, then a goodbye. A port that
cannot be bound fails the start.
"""

from typing import Any

from twisted.logger import Logger

import mailx
from mailx.core.listening import BACKLOG, Edge, Ending
from mailx.federation.listener import PeerListener

log = Logger()


class PeerServer(Edge[PeerListener]):
    """``listener`` on ``port`` of ``interface``; ``ports["federation"]`` is the listening port."""

    name = "federation"

    def __init__(self, listener: PeerListener, interface: str, port: int, patience: float, reactor: Any) -> None:
        super().__init__(reactor, patience)
        self._listener, self._interface, self._port = listener, interface, port

    def bind(self) -> None:
        self.ports["federation"] = self._reactor.listenTCP(self._port, self._listener, BACKLOG, self._interface)
        self.listeners.append(self._listener)

    def started(self) -> None:
        ports = [getattr(port.getHost(), "port", 0) for port in self.ports.values()]
        log.info("Federation server started", event="federation.started", ports=ports, version=mailx.__version__)

    def stopped(self, ending: Ending) -> None:
        log.info("Federation server shutdown", event="federation.stopped", **ending.told)
