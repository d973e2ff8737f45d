"""Limits of the HTTP server: sizes, times, connections, and requests that are none."""

from collections.abc import AsyncIterator
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from mailx.core.connections import Gate
from mailx.web.requests import Answer, Asked
from mailx.web.server import IDLE, PATIENCE, STALLED, Stream, WebSite
from tests.web.browser import Browser, Transport, parse

LIMIT = 1000
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Echo(Resource):
    """Remembers what was asked, and answers."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Asked] = []

    def render(self, request: Any) -> Any:
        self.asked.append(request.asked())
        request.answer(Answer(200, b"here you are"))
        request.finish()
        return NOT_DONE_YET


class Case(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.echo = Echo()
        self.site = WebSite(
            self.echo,
            self.clock,
            body_limit=LIMIT,
            too_large=lambda asked: Answer(413, b"too large"),
            proxies=("10.0.0.0/8",),
            gate=Gate(4, 2),
        )
        self.browser = Browser(self.site)

    def connect(self, address: str = "192.0.2.1") -> tuple[Any, Transport]:
        channel = self.site.buildProtocol(IPv4Address("TCP", address, 40000))
        transport = Transport(address)
        channel.makeConnection(transport)
        return channel, transport

    def leave(self, channel: Any) -> None:
        channel.connectionLost(Failure(ConnectionDone()))


class Requests(Case):
    async def test_values(self) -> None:
        page = await self.browser.ask("POST", "/a%20b/%C3%A4?x=1&x=2&y=%C3%B6", b"body", {"x-thing": "ü"})
        self.assertEqual((page.status, page.body), (200, b"here you are"))
        (asked,) = self.echo.asked
        self.assertEqual((asked.method, asked.path, dict(asked.query), asked.body), ("POST", "/a b/ä", {"x": "2", "y": "ö"}, b"body"))
        self.assertEqual((asked.header("x-thing"), asked.header("nothing"), asked.host, asked.address), ("ü", "", "localhost", "127.0.0.1"))
        self.assertFalse(asked.secure)

    async def test_proxy(self) -> None:
        for peer, told, address, secure in (
            ("10.0.0.1", {"x-forwarded-for": "192.0.2.9", "x-forwarded-proto": "https"}, "192.0.2.9", True),
            ("192.0.2.1", {"x-forwarded-for": "192.0.2.9", "x-forwarded-proto": "https"}, "192.0.2.1", False),
        ):
            await Browser(self.site, address=peer).ask("GET", "/", b"", told)
            self.assertEqual((self.echo.asked[-1].address, self.echo.asked[-1].secure), (address, secure))

    async def test_none_of_ours(self) -> None:
        for octets, status in (
            (b"GET /%ff HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
            (b"GET /%0d%0aX HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
            (b"GET /?a=%ff HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: \xff\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
            (b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", 400),
            (b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: identity\r\nContent-Length: 1\r\n\r\n0", 400),
            (b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", 501),
            (b"BREW / HTTP/1.1\r\nHost: localhost\r\n\r\n", 501),
            (b"GET /?" + b"&".join(b"a%d=1" % place for place in range(200)) + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
            (b"nonsense\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\n" + b"X: x\r\n" * 600 + b"\r\n", 400),
            (b"GET /?" + b"x" * 20000 + b" HTTP/1.1\r\n\r\n", 431),
        ):
            page = await self.browser.raw(octets)
            self.assertEqual(page.status, status, octets[:60])
            self.assertIn("content-security-policy", page.headers)
            self.assertNotIn("server", page.headers)
        self.assertEqual(self.echo.asked, [])

    async def test_head(self) -> None:
        page = await self.browser.ask("HEAD", "/", b"", {})
        self.assertEqual((page.status, page.body, page.headers["content-length"]), (200, b"", "12"))


class Sizes(Case):
    async def test_limit(self) -> None:
        self.assertEqual((await self.browser.ask("POST", "/", b"x" * LIMIT, {})).status, 200)
        page = await self.browser.ask("POST", "/", b"x" * (LIMIT + 1), {})
        self.assertEqual((page.status, page.body), (413, b"too large"))
        self.assertEqual(len(self.echo.asked), 1)

    async def test_chunked(self) -> None:
        head = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        page = await self.browser.raw(head + b"258\r\n" + b"x" * 600 + b"\r\n258\r\n" + b"x" * 600 + b"\r\n0\r\n\r\n")
        self.assertEqual(page.status, 413)


class Times(Case):
    def test_slow_request(self) -> None:
        channel, transport = self.connect()
        for letter in GET[:20]:
            channel.dataReceived(bytes([letter]))
            self.clock.advance(PATIENCE / 10)
            if transport.disconnecting:
                break
        self.assertTrue(transport.disconnecting)
        self.assertEqual(parse(transport.value()).status, 408)
        self.leave(channel)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_idle(self) -> None:
        channel, transport = self.connect()
        channel.dataReceived(GET)
        self.clock.advance(IDLE - 1)
        channel.dataReceived(GET)
        self.assertFalse(transport.disconnecting)
        self.clock.advance(IDLE)
        self.assertTrue(transport.disconnecting)
        self.leave(channel)
        self.assertEqual(len(self.echo.asked), 2)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class Connections(Case):
    def test_from_one_address(self) -> None:
        kept = [self.connect() for _ in range(3)]
        self.assertEqual([transport.disconnected or transport.closed.called for _, transport in kept], [False, False, True])
        self.leave(kept[2][0])
        self.leave(kept[0][0])
        channel, transport = self.connect()
        self.assertFalse(transport.closed.called)
        for one in (kept[1][0], channel):
            self.leave(one)

    def test_in_all(self) -> None:
        kept = [self.connect(f"192.0.2.{place}") for place in range(5)]
        self.assertEqual([transport.closed.called for _, transport in kept], [False] * 4 + [True])
        for channel, _ in kept:
            self.leave(channel)

    def test_a_client_that_takes_no_answers(self) -> None:
        """Its requests wait, also those that are here already."""
        channel, transport = self.connect()
        write = transport.write

        def full(data: bytes) -> None:
            write(data)
            channel.pauseProducing()

        transport.write = full  # type: ignore[method-assign]
        channel.dataReceived(GET * 3)
        for count in (1, 2, 3):
            self.assertEqual(len(self.echo.asked), count)
            self.assertEqual(transport.producerState, "paused")
            channel.resumeProducing()
        self.assertEqual(len(self.echo.asked), 3)
        self.assertEqual(transport.producerState, "producing")
        self.leave(channel)

    def test_proxies_count_in_all_only(self) -> None:
        kept = [self.connect("10.0.0.1") for _ in range(4)]
        self.assertFalse(any(transport.closed.called for _, transport in kept))
        for channel, _ in kept:
            self.leave(channel)


class FakeRequest:
    """What Stream needs of a request."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.aborted = False
        self.gone: Deferred[None] = Deferred()
        self.channel = self

    def notifyFinish(self) -> "Deferred[None]":
        return self.gone

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.producer: Any = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def forceAbortClient(self) -> None:
        self.aborted = True


async def parts(count: int) -> AsyncIterator[bytes]:
    for place in range(count):
        yield b"%d" % place


class Streams(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.request = FakeRequest()

    def begin(self, count: int = 3) -> "tuple[Stream, Deferred[None]]":
        stream = Stream(self.request, parts(count), self.clock)
        return stream, Deferred.fromCoroutine(stream.run())

    def test_whole(self) -> None:
        _, done = self.begin()
        self.successResultOf(done)
        self.assertEqual(self.request.written, [b"0", b"1", b"2"])
        self.assertIsNone(self.request.producer)

    def test_slow_client(self) -> None:
        write = self.request.write
        self.request.write = lambda data: (write(data), self.request.producer.pauseProducing())  # type: ignore[method-assign,assignment]
        stream, done = self.begin()
        self.assertNoResult(done)
        self.assertEqual(self.request.written, [b"0"])
        stream.resumeProducing()
        self.assertEqual(self.request.written, [b"0", b"1"])
        self.clock.advance(STALLED)
        self.assertTrue(self.request.aborted)
        self.request.gone.errback(Failure(ConnectionDone()))
        self.successResultOf(done)
        self.assertEqual(self.clock.getDelayedCalls(), [])
