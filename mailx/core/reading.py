"""The ports of a protocol by which people read their mail: one with TLS on request, one with TLS from the first octet.

A listener holds the connections of one port, counts them, and ends them; its edge says what a connection is. Those who find no
room are told so, but only as long as few of them wait for it.
"""

from abc import abstractmethod
from typing import Any, Generic, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IProtocolFactory
from twisted.internet.protocol import ServerFactory
from twisted.protocols.tls import TLSMemoryBIOFactory

from mailx.config import Server
from mailx.core import metrics, proxy
from mailx.core.connections import Gate
from mailx.core.listening import BACKLOG, Edge, TLSProvider
from mailx.core.reading_connection import ReadingConnection


class Settings(Protocol):
    """The settings of such a protocol."""

    @property
    def port(self) -> int: ...

    @property
    def tls_port(self) -> int: ...

    @property
    def max_connections(self) -> int: ...

    @property
    def max_per_address(self) -> int: ...

    @property
    def proxy_from(self) -> Any: ...

    @property
    def shutdown_seconds(self) -> int: ...


R = TypeVar("R", bound=ReadingConnection)


class ReadingListener(ServerFactory, Generic[R]):
    """The factory of one port's connections."""

    noisy = False

    def __init__(self, name: str, settings: Settings, tls: TLSProvider | None) -> None:
        """``name``: "imap" or "imaps", for example; ``tls``: for those who ask for it, None where it is implicit."""
        self.name = name
        self.port = 0
        self._tls = tls
        self.gate = Gate(settings.max_connections, settings.max_per_address)
        self.sessions: set[R] = set()
        self._empty: Deferred[None] | None = None

    @abstractmethod
    def connection(self, tls_context: Any) -> R:
        """A connection that is to be made; ``tls_context``: for TLS on request, or None."""

    @abstractmethod
    def limited(self, address: str) -> None:
        """A connection finds no room: for the log."""

    def buildProtocol(self, addr: IAddress | None) -> R:
        connection = self.connection(self._tls.server_options() if self._tls is not None else None)
        connection.factory = self
        return connection

    def enter(self, reader: R, address: str) -> bool:
        """Take a connection in; False if there is no room."""
        self.sessions.add(reader)
        if not self.gate.enter(address):
            metrics.CONNECTIONS_REFUSED.labels(self.name, "limit" if self.gate.full else "address_limit").inc()
            self.limited(address)
            return False
        metrics.CONNECTIONS.labels(self.name).inc()
        metrics.CONNECTIONS_OPEN.labels(self.name).inc()
        return True

    @property
    def crowded(self) -> bool:
        """Whether so many of those sent away are still here (under TLS a word waits for the handshake) that no more may wait."""
        return len(self.sessions) > 2 * self.gate.max_connections

    def leave(self, reader: R, address: str, entered: bool) -> None:
        """A connection is gone."""
        self.sessions.discard(reader)
        if entered:
            self.gate.leave(address)
            metrics.CONNECTIONS_OPEN.labels(self.name).dec()
        if self._empty is not None and not self.sessions:
            empty, self._empty = self._empty, None
            empty.callback(None)

    def revoke(self, account: int) -> None:
        """The sessions of ``account`` end."""
        for reader in tuple(self.sessions):
            if reader.session.user is not None and reader.session.user.id == account:
                reader.revoke()

    def drain(self) -> "Deferred[None]":
        """End every session at its next rest; fires when none is left."""
        drained: Deferred[None] = Deferred()
        self._empty = drained
        for reader in tuple(self.sessions):
            reader.stop()
        if not self.sessions and self._empty is not None:
            self._empty = None
            drained.callback(None)
        return drained

    def cut(self) -> None:
        """Nobody is waited for any longer."""
        self.abort()

    def abort(self) -> None:
        """Close every connection as it is."""
        for reader in tuple(self.sessions):
            reader.abort()


L = TypeVar("L", bound=ReadingListener[Any])


class ReadingEdge(Edge[L]):
    """Every listener that ``settings`` turns on; ``ports`` maps the protocol's name, and that with an "s", to listening ports."""

    def __init__(self, settings: Settings, server: Server, tls: TLSProvider, reactor: Any) -> None:
        super().__init__(reactor, settings.shutdown_seconds)
        self._settings = settings
        self._server = server
        self._tls = tls

    @abstractmethod
    def listener(self, name: str, tls: TLSProvider | None) -> L:
        """A listener; ``tls`` is for those who ask for it, None where it is implicit."""

    def bind(self) -> None:
        for name, port in ((str(self.name), self._settings.port), (f"{self.name}s", self._settings.tls_port)):
            if port:
                factory = self.factory(name)
                self.ports[name] = self._reactor.listenTCP(port, factory, BACKLOG, self._server.interface)
                self.listeners[-1].port = port

    def factory(self, name: str) -> IProtocolFactory:
        """The protocol factory of the listener called ``name``: with an "s" behind the protocol's it has TLS from the first octet."""
        implicit = name != self.name
        listener = self.listener(name, None if implicit else self._tls)
        self.listeners.append(listener)
        factory: IProtocolFactory = listener
        if implicit:
            factory = TLSMemoryBIOFactory(self._tls.server_options(), False, listener)
        return proxy.wrap(factory, self._settings.proxy_from, self._reactor)
