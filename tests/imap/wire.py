"""A client's end of an IMAP connection in memory, over a world with a real store."""

from typing import Any

from attrs import evolve
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import ISSLTransport, ITLSTransport
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import directlyProvides

from mailx.core.quotas import Quotas
from mailx.imap.protocol import IMAPServer
from mailx.imap.server import IMAPListener
from mailx.imap.session import Services, Sessions
from tests.scenery import World

PATIENCE = 50  # seconds until a missing line fails the test


class Closed(Exception):
    """The server has closed the connection."""


class MemoryTransport(StringTransport):
    """Hands what the server writes to a client at once, and closes when told to."""

    def __init__(self, client: "Client", tls: bool) -> None:
        super().__init__(IPv4Address("TCP", "127.0.0.1", 993), IPv4Address("TCP", "192.0.2.7", 50000), lenient=True)
        self._client = client
        self.context: Any = None
        directlyProvides(self, ISSLTransport if tls else ITLSTransport)

    def write(self, data: bytes) -> None:
        assert type(data) is bytes
        self._client.received(data)

    def startTLS(self, context: Any, normal: bool = True) -> None:
        self.context = context

    def getHandle(self) -> None:
        return None

    def setTcpNoDelay(self, enabled: bool) -> None: ...

    def setTcpKeepAlive(self, enabled: bool) -> None: ...

    def loseConnection(self) -> None:
        if not self.disconnecting:
            self.disconnecting = True
            self._client.closed()

    abortConnection = loseConnection


def _fire(waiting: "Deferred[None]") -> None:
    if not waiting.called:
        waiting.callback(None)


class Client:
    """Talks to one protocol. ``line`` waits for the next line of the server and returns it without CRLF."""

    def __init__(self, protocol: IMAPServer, reactor: Any, tls: bool = True) -> None:
        """``reactor`` counts the test's patience; the server may have a clock of its own."""
        self.protocol = protocol
        self.transport = MemoryTransport(self, tls)
        self.ended = False
        self.data = bytearray()
        self._reactor = reactor
        self._waiting: Deferred[None] | None = None
        protocol.makeConnection(self.transport)

    def received(self, data: bytes) -> None:
        self.data += data
        self._wake()

    def closed(self) -> None:
        self.ended = True
        self._reactor.callLater(0, self.disconnect)
        self._wake()

    def disconnect(self) -> None:
        """The connection is gone."""
        if self.transport.connected:
            self.transport.connected = False
            self.ended = True
            self.protocol.connectionLost(Failure(ConnectionDone()))

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            self._reactor.callLater(0, _fire, waiting)  # not inside the server's write, where no real client is

    def send(self, data: bytes) -> None:
        """Octets as they are."""
        self.protocol.dataReceived(data)

    async def line(self) -> bytes:
        while (end := self.data.find(b"\r\n")) < 0:
            if self.ended:
                raise Closed(bytes(self.data))
            self._waiting = Deferred()
            await self._waiting.addTimeout(PATIENCE, self._reactor)
        line = bytes(self.data[:end])
        del self.data[: end + 2]
        return line

    async def until(self, start: bytes) -> list[bytes]:
        """All lines up to the first that begins with ``start``."""
        lines = [await self.line()]
        while not lines[-1].startswith(start):
            lines.append(await self.line())
        return lines

    async def command(self, text: bytes, tag: bytes = b"t") -> list[bytes]:
        """Send one command and return everything up to its tagged response."""
        self.send(b"%b %b\r\n" % (tag, text))
        return await self.until(tag + b" ")

    async def gone(self) -> None:
        """Wait until the server has closed the connection."""
        while not self.ended:
            self._waiting = Deferred()
            await self._waiting.addTimeout(PATIENCE, self._reactor)


class Edge:
    """The IMAP edge over ``world``; keyword arguments change its settings."""

    def __init__(self, world: World, reactor: Any = None, **settings: Any) -> None:
        self.world = world
        config = evolve(world.config.imap, **settings)
        sessions = Sessions(config.max_per_account)
        self.services = Services(
            config, world.config.server, world.mailboxes, world.reception, world.access, reactor or world.reactor, sessions,
            quotas=Quotas(world.mailboxes, world.accounts),
        )  # fmt: skip
        self.secure = IMAPListener("imaps", self.services, None)
        self.plain = IMAPListener("imap", self.services, Certificate())
        self.clients: list[Client] = []

    def connect(self, tls: bool = True) -> Client:
        client = Client((self.secure if tls else self.plain).buildProtocol(None), self.world.reactor, tls)
        self.clients.append(client)
        return client

    async def login(self, user: str = "me@example.test", select: str = "") -> Client:
        """A client that is logged in, and has selected a mailbox if one is named."""
        client = self.connect()
        await client.line()
        answer = await client.command(b"LOGIN %b secret" % user.encode())
        assert answer[-1].startswith(b"t OK"), answer
        if select:
            answer = await client.command(b"SELECT %b" % select.encode())
            assert answer[-1].startswith(b"t OK"), answer
        return client

    def close(self) -> None:
        for client in self.clients:
            client.disconnect()


class Certificate:
    """Stands where the certificates are; the transport in memory only notes that TLS began."""

    def server_options(self) -> str:
        return "certificate"
