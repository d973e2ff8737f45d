"""One question to one name server: over UDP from a port of its own, over TCP when the answer does not fit.

Each question has a random id and a fresh source port, chosen by the system, and the socket is connected to the server: what
comes from elsewhere is not even seen. Packets that do not fit the question are passed over; after ``FOREIGN_LIMIT`` of them
somebody is guessing, and the question goes over TCP. Failure is :class:`NoAnswer`.
"""

from functools import partial
from random import SystemRandom
from struct import Struct
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ClientFactory, DatagramProtocol, Protocol, connectionDone
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure

from mailx.core import dns_wire
from mailx.core.dns_wire import FORMERR, NOTIMP, Foreign, Malformed, Reading

FOREIGN_LIMIT = 20
_IN_PLACE = 2048  # octets of a message that the reactor reads itself, 2 ms at the worst
_LENGTH = Struct(">H")
_random = SystemRandom()


class NoAnswer(Exception):
    """The server did not answer in time, or not what can be read."""


class Exchange:
    """Questions to the server at ``host`` (an address), ``port``."""

    def __init__(self, host: str, port: int, timeout: float, reactor: Any) -> None:
        self.host = host
        self.port = port
        self._timeout = timeout
        self._reactor = reactor
        self._running: set[_Datagrams | _Stream] = set()

    def stop(self) -> None:
        """End every question on the way with NoAnswer."""
        for asking in list(self._running):
            asking.end(NoAnswer("stopped"))

    async def ask(self, question: bytes) -> Reading:
        """What the server answers to the question section ``question``; raises NoAnswer."""
        reading = await self._udp(question, True)
        if reading is not None and reading.code in (FORMERR, NOTIMP):  # it knows no EDNS (RFC 6891 7)
            reading = await self._udp(question, False)
        if reading is None or reading.truncated:
            reading = await self._tcp(question)
        if reading.truncated:
            raise NoAnswer("truncated over TCP")
        return reading

    async def _udp(self, question: bytes, edns: bool) -> Reading | None:
        """The answer over UDP; None if TCP must be tried."""
        number = _random.getrandbits(16)
        asking = _Datagrams(self, number, question, dns_wire.query(number, question, edns), self._timeout, self._reactor)
        interface = "::" if ":" in self.host else ""
        try:
            self._reactor.listenUDP(0, asking, interface=interface, maxPacketSize=65535)
        except CannotListenError:
            raise NoAnswer("no socket") from None
        self._running.add(asking)
        try:
            message = await asking.answer
        finally:
            self._running.discard(asking)
        return None if message is None else await self.read(message, number, question)

    async def _tcp(self, question: bytes) -> Reading:
        number = _random.getrandbits(16)
        asking = _Stream(dns_wire.query(number, question), self._timeout, self._reactor)
        self._reactor.connectTCP(self.host, self.port, asking, timeout=self._timeout)
        self._running.add(asking)
        try:
            return await self.read(await asking.answer, number, question)
        except Foreign:
            raise NoAnswer("another answer over TCP") from None
        finally:
            self._running.discard(asking)

    async def read(self, message: bytes, number: int, question: bytes) -> Reading:
        """``message`` read, in a thread if it is long; raises NoAnswer, Foreign."""
        try:
            if len(message) <= _IN_PLACE:
                return dns_wire.read(message, number, question)
            pool = self._reactor.getThreadPool()
            reading: Reading = await deferToThreadPool(self._reactor, pool, partial(dns_wire.read, message, number, question))
            return reading
        except Malformed:
            raise NoAnswer("malformed") from None


class _Datagrams(DatagramProtocol):
    """Sends one question, again after a third of the time, and waits for the packet that fits."""

    def __init__(self, server: Exchange, number: int, question: bytes, query: bytes, timeout: float, reactor: Any) -> None:
        self.answer: Deferred[bytes | None] = Deferred()
        self._server = server
        self._number = number
        self._question = question
        self._query = query
        self._timeout = timeout
        self._reactor = reactor
        self._foreign = 0
        self._ended = False
        self._call: IDelayedCall | None = None

    transport: Any  # a connected socket

    def startProtocol(self) -> None:
        try:
            self.transport.connect(self._server.host, self._server.port)
        except (OSError, ValueError):  # no way there
            self._reactor.callLater(0, self.end, NoAnswer("no route"))
            return
        self._call = self._reactor.callLater(self._timeout / 3, self._again)
        self._send()

    def _send(self) -> None:
        try:
            self.transport.write(self._query)
        except OSError:
            self._reactor.callLater(0, self.end, NoAnswer("not sent"))

    def _again(self) -> None:
        self._call = self._reactor.callLater(self._timeout * 2 / 3, self._late)
        self._send()

    def _late(self) -> None:
        self._call = None
        self.end(NoAnswer("timeout"))

    def datagramReceived(self, datagram: bytes, addr: object) -> None:
        if dns_wire.fits(datagram, self._number, self._question):
            self.end(datagram)
            return
        self._foreign += 1
        if self._foreign >= FOREIGN_LIMIT:
            self.end(None)

    def connectionRefused(self) -> None:
        self.end(NoAnswer("refused"))

    def stopProtocol(self) -> None:
        """The reactor closes a socket with an error on it without a word."""
        self.end(NoAnswer("refused"))

    def end(self, result: bytes | NoAnswer | None) -> None:
        if self._ended:
            return
        self._ended = True
        if self._call is not None:
            self._call.cancel()
            self._call = None
        if self.transport is not None:
            self.transport.stopListening()
        if isinstance(result, NoAnswer):
            self.answer.errback(result)
        else:
            self.answer.callback(result)


class _Stream(ClientFactory):
    """Sends one question over a connection and waits for the answer, which has two octets of length before it."""

    noisy = False

    def __init__(self, query: bytes, timeout: float, reactor: Any) -> None:
        self.answer: Deferred[bytes] = Deferred()
        self.query = _LENGTH.pack(len(query)) + query
        self._reactor = reactor
        self._late: IDelayedCall | None = reactor.callLater(timeout, self.end, NoAnswer("timeout"))
        self.connection: Protocol | None = None
        self._connector: Any = None

    def startedConnecting(self, connector: object) -> None:
        self._connector = connector

    def buildProtocol(self, addr: object) -> Protocol:
        self.connection = _Connection(self)
        return self.connection

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:
        self._connector = None
        self.end(NoAnswer("no connection"))

    def end(self, result: bytes | NoAnswer) -> None:
        if self.answer.called:
            return
        if self._late is not None and self._late.active():
            self._late.cancel()
        if self.connection is not None and self.connection.transport is not None:
            self.connection.transport.abortConnection()  # type: ignore[attr-defined]
        if isinstance(result, NoAnswer):
            self.answer.errback(result)
        else:
            self.answer.callback(result)
        if self.connection is None and self._connector is not None:
            self._connector.stopConnecting()


class _Connection(Protocol):
    def __init__(self, asking: _Stream) -> None:
        self._asking = asking
        self._received = bytearray()

    def connectionMade(self) -> None:
        if self._asking.answer.called:
            self.transport.abortConnection()  # type: ignore[union-attr]
            return
        self.transport.write(self._asking.query)  # type: ignore[union-attr]

    def dataReceived(self, data: bytes) -> None:
        received = self._received
        received += data  # bounded: the connection ends with the first answer
        if len(received) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(received)
            if len(received) >= _LENGTH.size + length:
                self._asking.end(bytes(received[_LENGTH.size : _LENGTH.size + length]))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._asking.end(NoAnswer("closed"))
