"""HTTP as the receiver speaks it: pipelining, limits, slow callers, and octets that are no HTTP."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailx.core.settings import Settings
from mailx.web.webhook import listener
from mailx.web.webhook.answers import Answer
from mailx.web.webhook.listener import Channel, Listener
from mailx.web.webhook.receiver import Receiver
from mailx.web.webhook.request import Asked
from tests.core.behind import Behind
from tests.scenery import configured
from tests.web.webhook.scene import BODY, PATH, Transport, request, scene, sign

PIECES = (
    b"POST /webhook/outbound-email HTTP/1.1\r\n",
    b"GET /healthz HTTP/1.1\r\n",
    b"Content-Length: 3\r\n",
    b"\r\n",
    b"{}\n",
    b"\n",
    b"Transfer-Encoding: chunked\r\n",
    b"0\r\n\r\n",
    b"5\r\nabcde\r\n",
    b"Expect: 100-continue\r\n",
    b"X: \xff\r\n",
)


class Whole(TestCase):
    """Over a real receiver."""

    async def setUp(self) -> None:
        self.scene = await scene(self, body_size=100000)
        self.raw = json.dumps(BODY).encode()
        self.call = request("POST", PATH, self.raw, sign(self.raw))

    async def test_kept_alive(self) -> None:
        caller = self.scene.connect()
        for _ in range(3):
            said = await caller.ask(self.call)
            self.assertEqual(said.status, 200)
            self.assertNotIn("connection", said.headers)
        self.assertFalse(caller.transport.disconnecting)

    async def test_pipelined(self) -> None:
        """Answers come in the order of the requests."""
        caller = self.scene.connect()
        other = json.dumps({**BODY, "token": "2"}).encode()
        caller.send(self.call + request("GET", "/healthz") + request("POST", PATH, other, sign(other)))
        first, health, second = [await caller.answer() for _ in range(3)]
        self.assertEqual((first.json["queued_id"], health.json, second.json["queued_id"]), (1, {"ok": True}, 2))

    async def test_a_caller_that_reads_nothing(self) -> None:
        """Its requests wait, and are all answered when it reads."""
        caller = self.scene.connect()
        transport = Behind(caller.transport)
        caller.send(request("GET", "/openapi.json") * 500)
        self.assertLess(len(transport.said.value()), 3 * Behind.LIMIT)
        self.assertEqual(transport.said.producerState, "paused")
        answers = 0
        while transport.behind:
            answers += transport.read().count(b"HTTP/1.1 200 OK")
        self.assertEqual(answers + transport.said.value().count(b"HTTP/1.1 200 OK"), 500)
        self.assertEqual(transport.said.producerState, "producing")

    async def test_octet_by_octet(self) -> None:
        caller = self.scene.connect()
        for place in range(len(self.call)):
            caller.send(self.call[place : place + 1])
        self.assertEqual((await caller.answer()).status, 200)

    async def test_chunked(self) -> None:
        caller = self.scene.connect()
        headers = {**sign(self.raw), "Transfer-Encoding": "chunked"}
        head = request("GET", PATH, headers=headers).replace(b"GET", b"POST", 1)
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (self.raw[:10], self.raw[10:], b""))
        self.assertEqual((await caller.ask(head + chunks)).status, 200)

    async def test_continue(self) -> None:
        caller = self.scene.connect()
        head, _, body = request("POST", PATH, self.raw, {**sign(self.raw), "Expect": "100-continue"}).partition(b"\r\n\r\n")
        caller.send(head + b"\r\n\r\n")
        self.assertEqual(caller.transport.value(), b"HTTP/1.1 100 Continue\r\n\r\n")
        caller.transport.clear()
        self.assertEqual((await caller.ask(body)).status, 200)

    async def test_refused_without_a_body(self) -> None:
        """Who waits for 100 is refused at once."""
        await self.scene.change(allowed=("198.51.100.0/24",))
        caller = self.scene.connect()
        head, _, _ = request("POST", PATH, self.raw, {**sign(self.raw), "Expect": "100-continue"}).partition(b"\r\n\r\n")
        said = await caller.ask(head + b"\r\n\r\n")
        self.assertEqual((said.status, said.headers["connection"]), (403, "close"))

    async def test_too_large(self) -> None:
        for data in (
            f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 100001\r\n\r\n".encode() + b"x" * 100001,
            f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n".encode(),
            f"POST {PATH} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + (b"8000\r\n" + b"x" * 0x8000 + b"\r\n") * 4,
        ):
            caller = self.scene.connect()
            said = await caller.ask(data)
            self.assertEqual((said.status, said.json, said.headers["connection"]), (413, {"ok": False, "error": "body too large"}, "close"))
            self.assertEqual(self.scene.listener.held, 0)

    async def test_http_1_0_and_close(self) -> None:
        for call in (self.call.replace(b"HTTP/1.1", b"HTTP/1.0", 1), self.call.replace(b"Host:", b"Connection: close\r\nHost:", 1)):
            caller = self.scene.connect()
            said = await caller.ask(call)
            self.assertEqual((said.status, said.headers["connection"]), (200, "close"))
            self.assertTrue(caller.transport.disconnecting)

    async def test_head(self) -> None:
        caller = self.scene.connect()
        caller.send(request("HEAD", "/healthz"))
        await ensureDeferred(self.turn())
        head, _, rest = caller.transport.value().partition(b"\r\n\r\n")
        self.assertIn(b"200 OK", head)
        self.assertEqual(rest, b"")

    async def test_head_with_a_large_body(self) -> None:
        caller = self.scene.connect()
        caller.send(request("HEAD", PATH, headers={"Content-Length": "99999"}))
        await ensureDeferred(self.turn())
        head, _, rest = caller.transport.value().partition(b"\r\n\r\n")
        self.assertIn(b"405 Method Not Allowed", head)
        self.assertEqual(rest, b"")

    async def test_absolute_form(self) -> None:
        """RFC 9112 3.2.2."""
        caller = self.scene.connect()
        self.assertEqual((await caller.ask(self.call.replace(b"POST ", b"POST HTTP://localhost:2555"))).status, 200)
        for target in (b"/http://localhost" + PATH.encode(), b"ftp://localhost" + PATH.encode(), b"*", b"http://localhost"):
            self.assertEqual((await caller.ask(self.call.replace(PATH.encode(), target))).status, 404, target)

    async def test_one_host(self) -> None:
        """RFC 9112 3.2: there is one Host field, but HTTP/1.0 needs none."""
        host = b"Host: localhost\r\n"
        for wrong in (self.call.replace(host, b""), self.call.replace(host, host * 2)):
            said = await self.scene.connect().ask(wrong)
            self.assertEqual((said.status, said.json["error"]), (400, "bad request"))
        old = self.call.replace(host, b"").replace(b"HTTP/1.1", b"HTTP/1.0")
        self.assertEqual((await self.scene.connect().ask(old)).status, 200)

    async def turn(self) -> None:
        waiter: Deferred[None] = Deferred()
        self.scene.office.world.reactor.callLater(0, waiter.callback, None)
        await waiter

    async def test_the_caller_goes_away(self) -> None:
        """The call goes on, and nothing is left of the connection."""
        caller = self.scene.connect()
        caller.send(self.call)
        caller.channel.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.scene.listener.sessions, set())
        await self.scene.office.until(self.let_go)
        self.assertEqual(await self.scene.queued(), 1)
        self.assertEqual((await self.scene.connect().ask(self.call)).json["queued_id"], 1)

    async def let_go(self) -> bool:
        return not self.scene.listener.held

    async def test_no_http(self) -> None:
        for data in (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
            b"EHLO example.org\r\n\r\n",
            b"GET /healthz HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n",
            b"GET /healthz HTTP/1.1\r\nA: " + b"x" * 20000 + b"\r\n\r\n",
            b"GET /healthz HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n",
            b"POST %b HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n" % PATH.encode(),
            b"POST %b HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" % PATH.encode(),
            b"POST %b HTTP/1.1\r\nContent-Length: -5\r\n\r\n" % PATH.encode(),
            b"POST %b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n" % PATH.encode(),
            b"POST %b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n" % PATH.encode(),
        ):
            caller = self.scene.connect()
            caller.send(data)
            self.assertIn(b"HTTP/1.1 400 Bad Request", caller.transport.value(), data[:80])
            self.assertEqual(caller.transport.value().count(b"HTTP/1.1"), 1, data[:80])
            self.assertTrue(caller.transport.disconnecting, data[:80])


class Answering:
    """A receiver that answers when it is told to."""

    body_size = 1000
    waiting: "list[Deferred[Answer]]"

    def __init__(self) -> None:
        self.waiting = []

    def door(self, asked: Asked, peer: str) -> Answer | None:
        return None

    def is_proxy(self, address: str) -> bool:
        return address == "10.0.0.1"

    async def answer(self, asked: Asked) -> Answer:
        waiting: Deferred[Answer] = Deferred()
        self.waiting.append(waiting)
        return await waiting


class Deadlines(SynchronousTestCase):
    """How long callers may take, and how connections end."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.receiver: Any = Answering()
        self.listener = Listener(self.receiver, self.clock)

    def connect(self, host: str = "192.0.2.1") -> tuple[Channel, Transport]:
        channel = self.listener.buildProtocol(None)
        assert isinstance(channel, Channel)
        transport = Transport(peerAddress=IPv4Address("TCP", host, 4000))
        channel.makeConnection(transport)
        return channel, transport

    def advance(self, seconds: float) -> None:
        self.clock.pump([1.0] * int(seconds))

    def test_idle(self) -> None:
        _, transport = self.connect()
        self.advance(listener.IDLE_SECONDS - 1)
        self.assertFalse(transport.disconnecting)
        self.advance(3)
        self.assertTrue(transport.disconnecting)

    def test_slow(self) -> None:
        """An octet now and then keeps no connection open."""
        channel, transport = self.connect()
        channel.dataReceived(b"POST /x HTTP/1.1\r\nContent-Length: 900\r\n\r\n")
        for _ in range(int(listener.ARRIVAL_SECONDS) + 2):
            if not transport.disconnecting:
                channel.dataReceived(b"x")
            self.advance(1)
        self.assertIn(b"408 Request Timeout", transport.value())
        self.assertTrue(transport.disconnecting)
        self.advance(4)
        self.assertTrue(transport.aborted)

    def test_what_is_answered_slowly_is_waited_for(self) -> None:
        channel, transport = self.connect()
        channel.dataReceived(request("POST", "/x", b"{}"))
        self.advance(200)
        self.assertFalse(transport.disconnecting)
        self.receiver.waiting.pop().callback(Answer(200, {"ok": True}))
        self.assertIn(b'{"ok": true}', transport.value())

    def test_an_answer_that_cannot_be_written(self) -> None:
        """Nobody waits for it for ever."""
        channel, transport = self.connect()
        channel.dataReceived(request("POST", "/x", b"{}"))
        self.receiver.waiting.pop().callback(Answer(200, {"ok": object()}))
        self.assertTrue(transport.aborted)
        self.assertEqual(self.listener.held, 0)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_drained(self) -> None:
        """Idle connections go at once, busy ones with their answer."""
        _, idle = self.connect()
        channel, busy = self.connect()
        channel.dataReceived(request("POST", "/x", b"{}"))
        drained = self.listener.drain()
        self.assertTrue(idle.disconnecting)
        self.assertFalse(busy.disconnecting)
        self.receiver.waiting.pop().callback(Answer(200, {"ok": True}))
        self.assertTrue(busy.disconnecting)
        for each in list(self.listener.sessions):
            each.connectionLost(Failure(ConnectionDone()))
        self.successResultOf(drained)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_connections_of_one_address(self) -> None:
        for _ in range(listener.PER_ADDRESS):
            self.assertFalse(self.connect()[1].disconnecting)
        _, transport = self.connect()
        self.assertIn(b"503", transport.value())
        self.assertTrue(transport.disconnecting)
        self.advance(listener.LINGER_SECONDS + 2)
        self.assertTrue(transport.aborted)  # it may not wait for the other end
        self.assertFalse(self.connect("192.0.2.2")[1].disconnecting)
        for _ in range(listener.PER_ADDRESS + 1):
            _, transport = self.connect("10.0.0.1")
        self.assertFalse(transport.disconnecting)
        for number in range(listener.PER_ADDRESS):
            channel, transport = self.connect(f"2001:db8::{number:x}")
        self.assertFalse(transport.disconnecting)
        self.assertTrue(self.connect("2001:db8::ffff:1")[1].disconnecting)  # nobody is many by moving within a /64
        channel.connectionLost(Failure(ConnectionDone()))
        self.assertFalse(self.connect("2001:db8::ffff:2")[1].disconnecting)

    def test_memory(self) -> None:
        """When others hold much, large bodies are put off and small ones taken."""
        refused = Answer(503, {"ok": False})
        self.receiver.body_size = 1 << 20
        self.receiver.overloaded = lambda asked: refused
        self.listener.held = listener.HELD
        channel, transport = self.connect()
        channel.dataReceived(b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
        self.assertIn(b"503", transport.value())
        channel, transport = self.connect()
        channel.dataReceived(request("POST", "/x", b"{}"))
        self.assertEqual(len(self.receiver.waiting), 1)


class Noise(SynchronousTestCase):
    """Whatever comes, it is answered or cut off, and nothing is raised."""

    def setUp(self) -> None:
        config = configured(webhook={"secret": "s", "sender_domain": "example.test"})

        class Reactor(Clock):
            def getThreadPool(self) -> None:
                return None

        unused: Any = None
        reactor = Reactor()
        self.listener = Listener(Receiver(Settings(config), unused, unused, unused, unused, unused, unused, unused, "x", reactor), reactor)

    @settings(max_examples=200)
    @given(st.lists(st.sampled_from(PIECES) | st.binary(max_size=20), max_size=20))
    def test_anything(self, pieces: list[bytes]) -> None:
        channel = self.listener.buildProtocol(None)
        assert isinstance(channel, Channel)
        transport = Transport()
        channel.makeConnection(transport)
        for piece in pieces:
            channel.dataReceived(piece)
        channel.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.listener.held, 0)
        self.assertEqual(self.listener.sessions, set())
