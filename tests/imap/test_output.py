"""The writing side of a connection over a real socket: what goes out at once, what waits, and what is lost with the client."""

import socket
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from mailx.core.input import Hangup
from mailx.core.output import GATHERED, SMALL, Output

MUCH = 16 * 1024 * 1024  # octets: more than the buffers of two sockets


class Served(Protocol):
    """The server's end."""

    def __init__(self, made: "Deferred[Served]") -> None:
        self.made = made
        self.gone: Deferred[None] = Deferred()
        self.output: Output

    def connectionMade(self) -> None:
        assert ITCPTransport.providedBy(self.transport)
        self.output = Output(self.transport, reactor)
        self.made.callback(self)

    def connectionLost(self, reason: Any = None) -> None:
        self.output.stopProducing()
        self.gone.callback(None)


class OutputTests(TestCase):
    timeout = 240

    async def setUp(self) -> None:
        made: Deferred[Served] = Deferred()
        factory = ServerFactory.forProtocol(lambda: Served(made))
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        self.client = socket.create_connection(("127.0.0.1", port.getHost().port))
        self.addCleanup(self.client.close)
        self.served = await made
        self.output = self.served.output
        self.addCleanup(lambda: self.served.transport.abortConnection())  # type: ignore[union-attr]

    def arrived(self) -> bytes:
        """What lies there now; nothing is waited for."""
        self.client.setblocking(False)
        try:
            return self.client.recv(MUCH)
        except BlockingIOError:
            return b""
        finally:
            self.client.setblocking(True)

    async def take(self, octets: int) -> bytes:
        def read() -> bytes:
            pieces = []
            left = octets
            while left and (piece := self.client.recv(min(left, 1 << 20))):
                pieces.append(piece)
                left -= len(piece)
            return b"".join(pieces)

        return await deferToThread(read)

    async def test_pieces_go_out_together_and_at_once(self) -> None:
        self.output.start_turn()
        self.output.write(b"* 1 EXISTS\r\n")
        await self.output.ready()
        self.output.write(b"a OK\r\n")
        self.assertEqual(self.arrived(), b"")
        self.output.flush()
        self.assertEqual(self.arrived(), b"* 1 EXISTS\r\na OK\r\n")
        self.output.flush()
        self.assertEqual(self.arrived(), b"")

    async def test_much_does_not_wait(self) -> None:
        self.output.write(b"x" * (GATHERED + 1))
        self.assertEqual(await self.take(GATHERED + 1), b"x" * (GATHERED + 1))
        self.output.write(b"y" * (SMALL + 1))
        await self.output.ready()
        self.assertEqual(await self.take(SMALL + 1), b"y" * (SMALL + 1))

    async def test_a_client_that_does_not_read_is_waited_for(self) -> None:
        """Everything arrives once and in order, whatever part of it the socket took."""
        pieces = [bytes([65 + number]) * (MUCH // 16) for number in range(16)]
        written = 0

        async def write() -> None:
            nonlocal written
            for piece in pieces:
                self.output.write(piece)
                await self.output.ready()
                written += len(piece)
            self.output.write(b"end")
            self.output.flush()

        writing = Deferred.fromCoroutine(write())
        self.assertNoResult(writing)
        self.assertLess(written, MUCH)
        self.assertEqual(await self.take(MUCH + 3), b"".join(pieces) + b"end")
        await writing
        self.output.write(b"and now at once")
        self.output.flush()
        self.assertEqual(self.arrived(), b"and now at once")

    async def test_what_follows_a_full_socket_keeps_its_place(self) -> None:
        self.output.write(b"a" * MUCH)
        self.output.write(b"b")
        self.output.flush()
        self.assertEqual(await self.take(MUCH + 1), b"a" * MUCH + b"b")

    async def test_closing_sends_the_rest(self) -> None:
        self.output.write(b"a" * MUCH)
        self.output.write(b"* BYE\r\n")
        self.output.close()
        self.output.write(b"too late")
        self.served.transport.loseConnection()  # type: ignore[union-attr]
        self.assertEqual(await self.take(MUCH + 100), b"a" * MUCH + b"* BYE\r\n")
        await self.served.gone

    async def test_a_client_that_goes_while_it_is_waited_for(self) -> None:
        self.output.write(b"a" * MUCH)
        waiting = Deferred.fromCoroutine(self.output.ready())
        self.assertNoResult(waiting)
        self.client.close()
        await self.assertFailure(waiting, Hangup)
        await self.served.gone
