"""Servers for the client's tests: one in memory under the test's clock, one on a real loopback socket that obeys a script."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from mailx.config import Outbound
from mailx.core.courier import Attempt
from mailx.mail.address import Address
from mailx.mail.envelope import Envelope, Origin
from mailx.mail.lines import DotReader
from mailx.mail.message import Message
from mailx.outbound.hop import NONE, Hop, Security
from mailx.outbound.pool import Pool

ADA = Address.parse("ada@example.net")
BOB = Address.parse("bob@example.net")
SENDER = Address.parse("me@example.test")
CONTENT = b"Subject: Hello\r\n\r\n.dot\r\nIt works.\r\n"
EHLO = b"250-mx.example.net\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SIZE 50000000\r\n250-ENHANCEDSTATUSCODES\r\n250 DSN\r\n"


def envelope(*recipients: Address, content: bytes = CONTENT, **fields: Any) -> Envelope:
    """One of ours, to ADA unless told otherwise."""
    message = Message(content, len(content), not content.isascii())
    return Envelope("e1", fields.pop("sender", SENDER), recipients or (ADA,), message, Origin("ESMTPSA", "c1"), **fields)


class Outgoing:
    """Content as it is; 8-bit content cannot be converted."""

    async def render(self, envelope: Envelope, eight_bit: bool) -> bytes | None:
        content = envelope.message.content
        assert isinstance(content, bytes)
        return content if eight_bit or not envelope.message.eight_bit else None


class Transport(StringTransport):
    """A transport that is full at some time, and tells its protocol when it is closed."""

    FULL = 65536

    def __init__(self) -> None:
        super().__init__()
        self.open = True
        self.aborted = False

    def write(self, data: bytes) -> None:
        super().write(data)
        if self.producer is not None and self.io.tell() > self.FULL:
            self.producer.pauseProducing()

    def loseConnection(self) -> None:
        self._end(ConnectionDone())

    def abortConnection(self) -> None:
        self.aborted = True
        self._end(ConnectionAborted())

    def _end(self, why: Exception) -> None:
        if self.open:
            self.open = False
            self.protocol.connectionLost(Failure(why))


class Memory:
    """A pool whose connections end in the test: ``said`` is what the client wrote, ``say`` answers, ``pass_time`` waits."""

    def __init__(self, **settings: Any) -> None:
        self.reactor: Any = MemoryReactorClock()
        self.pool = Pool(Outbound(**settings), "me.example.test", self.reactor)
        self.hop = Hop("mx.example.net", "192.0.2.1", 25)
        self.transports: list[Transport] = []

    def deliver(self, *recipients: Address, key: object = "k", **fields: Any) -> "Deferred[Mapping[Address, Attempt]]":
        """Begin a delivery over a plain connection."""
        each = recipients or (ADA,)
        sent = envelope(*each, **fields)
        return Deferred.fromCoroutine(
            self.pool.deliver(key, self.hop, Security(NONE), None, 30.0, sent, each, Outgoing())  # type: ignore[arg-type]
        )

    def connect(self) -> None:
        """The newest connection is made."""
        factory = self.reactor.tcpClients[-1][2]
        protocol = factory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 25))
        transport = Transport()
        transport.protocol = protocol
        self.transports.append(transport)
        protocol.makeConnection(transport)

    def greet(self, ehlo: bytes = EHLO) -> None:
        """Connect, greet, and announce."""
        self.connect()
        self.say(b"220 mx.example.net ESMTP\r\n")
        assert self.said() == b"EHLO me.example.test\r\n"
        self.say(ehlo)

    @property
    def transport(self) -> Transport:
        return self.transports[-1]

    def say(self, data: bytes) -> None:
        if self.transport.open:
            self.transport.protocol.dataReceived(data)

    def said(self) -> bytes:
        data = self.transport.value()
        self.transport.clear()
        return data

    def drop(self) -> None:
        """The server closes."""
        self.transport.loseConnection()

    def pass_time(self, seconds: float) -> None:
        """Second by second, as the pool looks."""
        self.reactor.pump([1.0] * int(seconds))


class Sink(Protocol):
    """A server that takes mail, unless its factory's script says otherwise."""

    factory: "Sinks"
    transport: Any

    def connectionMade(self) -> None:
        self.buffer = b""
        self.sink: Callable[[bytes], bytes | None] | None = None
        self.taken: list[str] = []
        self.factory.sessions.append(self)
        self.tls = False
        self.dropped = False
        if self.factory.implicit is not None:
            self.transport.startTLS(self.factory.implicit)
            self.tls = True
        self.answer("", b"220 mx.example.net ESMTP")

    def dataReceived(self, data: bytes) -> None:
        self.factory.octets += len(data)
        self.buffer += data
        while self.buffer and not self.dropped:
            if self.sink is not None:
                rest = self.sink(self.buffer)
                if rest is None:
                    self.buffer = b""
                    return
                self.buffer, self.sink = rest, None
                continue
            line, end, self.buffer = self.buffer.partition(b"\r\n")
            if not end:
                self.buffer = line
                return
            self.command(line.decode())

    def command(self, line: str) -> None:
        self.factory.lines.append(line)
        verb = line[:4].upper()
        if line == "*":  # a login is given up
            self.answer(line, b"501 5.7.0 Cancelled")
        elif verb == "EHLO":
            self.answer(line, self.factory.ehlo_tls if self.tls else self.factory.ehlo)
        elif verb == "DATA":
            if self.answer(line, b"354 Go ahead") == 354:
                reader = DotReader()
                self.begin()

                def data(octets: bytes) -> bytes | None:
                    piece, rest = reader.feed(octets)
                    self.take(piece)
                    if rest is not None:
                        self.message()
                    return rest

                self.sink = data
        elif verb == "BDAT":
            left = int(line.split()[1])
            self.begin()

            def chunk(octets: bytes) -> bytes | None:
                nonlocal left
                self.take(octets[:left])
                rest = octets[left:]
                left = max(0, left - len(octets))
                if left:
                    return None
                self.message()
                return rest

            self.sink = chunk
        elif verb == "STAR":
            if self.answer(line, b"220 2.0.0 Go") == 220 and self.factory.tls is not None:
                self.transport.startTLS(self.factory.tls)
                self.tls = True
        elif verb == "QUIT":
            self.answer(line, b"221 2.0.0 Bye")
            self.transport.loseConnection()
        else:
            code = self.answer(line, b"250 2.0.0 Ok")
            if verb == "RCPT" and code == 250:
                self.taken.append(line[8:].partition(">")[0].lstrip("<"))

    def begin(self) -> None:
        self.content: list[bytes] = []
        self.size = 0

    def take(self, octets: bytes) -> None:
        self.size += len(octets)
        if self.factory.keep:
            self.content.append(octets)

    def message(self) -> None:
        if not self.taken:
            self.answer("message", b"554 5.5.1 No valid recipients")
        elif self.answer("message", b"250 2.0.0 Taken") == 250:
            self.factory.messages.append((tuple(self.taken), b"".join(self.content)))
            self.factory.sizes.append(self.size)
        self.taken = []

    def answer(self, line: str, usual: bytes) -> int:
        """Answer as the script says: octets, or a function of this session; None drops the connection."""
        for beginning, scripted in self.factory.script:
            if line.startswith(beginning) if beginning else not line:
                if callable(scripted):
                    scripted = scripted(self)
                if scripted is None:
                    self.dropped = True
                    self.transport.abortConnection()
                    return 0
                usual = scripted
                break
        if usual:
            self.transport.write(usual + (b"" if usual.endswith(b"\n") else b"\r\n"))
        return int(usual[:3]) if usual[:3].isdigit() else 0


class Sinks(Factory):
    """What all sessions of a scripted server did; ``script`` maps beginnings of commands ("": the greeting, "message") to answers."""

    noisy = False
    protocol = Sink

    def __init__(
        self, script: Sequence[tuple[str, Any]] = (), ehlo: bytes = EHLO, tls: Any = None, implicit: Any = None, ehlo_tls: bytes = b""
    ) -> None:
        self.script = list(script)
        self.ehlo = ehlo
        self.ehlo_tls = ehlo_tls or ehlo
        self.tls = tls
        self.implicit = implicit
        self.sessions: list[Sink] = []
        self.lines: list[str] = []
        self.messages: list[tuple[tuple[str, ...], bytes]] = []
        self.sizes: list[int] = []  # of all messages taken
        self.keep = True  # whether their contents are kept
        self.octets = 0

    def verbs(self) -> list[str]:
        return [line.split()[0] for line in self.lines]


def turn() -> "Deferred[None]":
    """Fires in the reactor's next step: connections that were aborted have ended then."""
    from twisted.internet import reactor

    gone: Deferred[None] = Deferred()
    reactor.callLater(0, gone.callback, None)  # type: ignore[attr-defined]
    return gone


def listen(test_case: TestCase, sinks: Sinks) -> int:
    """``sinks`` on a loopback port, until the test ends; returns the port."""
    from twisted.internet import reactor

    port = reactor.listenTCP(0, sinks, interface="127.0.0.1")  # type: ignore[attr-defined]

    async def close() -> None:
        await port.stopListening()
        for session in sinks.sessions:
            if session.transport.connected:
                session.transport.abortConnection()
        await turn()

    test_case.addCleanup(lambda: Deferred.fromCoroutine(close()))
    return int(port.getHost().port)


def pool(test_case: TestCase, contexts: Any = None, **settings: Any) -> Pool:
    """A pool on the real reactor, cut off when the test ends."""
    from twisted.internet import reactor

    made = Pool(Outbound(**settings), "me.example.test", reactor, contexts)

    def close() -> "Deferred[None]":
        made.stop()
        made.abort()
        return turn()

    test_case.addCleanup(close)
    return made
