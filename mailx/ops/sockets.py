"""Listening sockets that are bound first and given out later.

``twistd --uid`` drops its rights between ``privilegedStartService`` and ``startService``, but what a listener needs
(the store, opened by the lesser user) exists only after that. So ports are bound at once, which also tells early when
one is taken, and ``listenTCP`` of this stand-in for the reactor makes use of them when a listener asks.
"""

import socket
from typing import Any

from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from zope.interface import directlyProvides, providedBy

from mailx.config import variable


class PortTaken(Exception):
    """A port cannot be bound. The text names the setting, the address and the remedy."""


class BoundPorts:
    """The ``reactor``, with ports that may have been bound before; everything else is passed on to it."""

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        self._bound: dict[tuple[str, int], tuple[str, socket.socket]] = {}  # with the setting
        directlyProvides(self, providedBy(reactor))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.reactor, name)

    def bind(self, setting: str, interface: str, port: int) -> None:
        """Take ``port`` of ``interface`` now; nobody can connect before ``listenTCP``. Raises PortTaken."""
        family = socket.AF_INET6 if ":" in interface else socket.AF_INET
        bound = socket.socket(family, socket.SOCK_STREAM)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind((interface, port))
        except OSError as error:
            bound.close()
            raise _taken(setting, interface, port, error) from None
        bound.setblocking(False)
        self._bound[interface, port] = setting, bound

    def listenTCP(self, port: int, factory: IProtocolFactory, backlog: int = 50, interface: str = "") -> IListeningPort:
        """As IReactorTCP.listenTCP, on the socket bound before if there is one. Raises PortTaken: another one was quicker to listen."""
        setting, bound = self._bound.pop((interface, port), ("", None))
        if bound is None:
            listening: IListeningPort = self.reactor.listenTCP(port, factory, backlog, interface)
            return listening
        with bound:
            try:
                bound.listen(backlog)
            except OSError as error:
                raise _taken(setting, interface, port, error) from None
            adopted: IListeningPort = self.reactor.adoptStreamPort(bound.fileno(), bound.family, factory)
            return adopted

    def release(self) -> None:
        """Give up what nobody asked for."""
        while self._bound:
            self._bound.popitem()[1][1].close()


def _taken(setting: str, interface: str, port: int, error: OSError) -> PortTaken:
    remedy = "start as root and let twistd drop its rights with --uid" if isinstance(error, PermissionError) else "stop what uses it"
    other = f"choose another port (here or by {variable(*setting.split('.'))})"
    return PortTaken(f"{setting} = {port}: cannot listen on {interface} ({error.strerror}); {remedy}, or {other}")
