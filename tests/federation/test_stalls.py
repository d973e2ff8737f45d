"""Peers that stop in the middle of something, and methods that fail: nothing waits for ever, and no exception reaches a peer."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from mailx.federation.channel import ChannelLost, PeerRefused, Unreachable
from mailx.federation.listener import UNUSED
from tests.federation.abused import Abused
from tests.federation.hostile import DIALECT, HELLO, TLS, Raw, banana, fields, listening, message, showing
from tests.federation.test_link import Echo


class Stalls(Abused):
    """Peers that stop in the middle of something. Time is a clock's."""

    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()

    async def stalled(self, raw: Raw, why: str, seconds: float) -> None:
        """After ``seconds``, and not much before, ``raw`` is dropped."""
        self.advance(seconds - 6)
        self.assertFalse(raw.over)
        self.advance(12)
        await raw.ended
        self.assertEqual((await self.there.noted(why)).reason, "stalled")

    def advance(self, seconds: float) -> None:
        self.clock.pump([1.0] * int(seconds))

    async def accepted(self) -> None:
        while not self.listener.sessions:
            await self.turn()

    async def test_no_handshake(self) -> None:
        self.listen(reactor=self.clock)
        raw = await self.raw(None)
        await self.accepted()
        await self.stalled(raw, "the TLS handshake takes too long", 10)

    async def test_no_answer_about_the_domain(self) -> None:
        self.listen(reactor=self.clock)
        self.there.book.wait = Deferred()
        raw = await self.raw(self.honest())
        while not self.there.book.asked:
            await self.turn()
        await self.stalled(raw, "could not be looked up in time", 30)
        self.there.book.wait.callback(None)

    async def test_no_hello(self) -> None:
        self.listen(reactor=self.clock)
        for said in (b"", DIALECT, DIALECT + HELLO[:20]):
            self.there.refusals.clear()
            raw = await self.raw(self.honest())
            await raw.hear(1)
            raw.wire.write(said)
            await raw.hear(2 if said else 1)
            await self.stalled(raw, "no hello came in time", 30)

    async def test_a_call_that_does_not_end(self) -> None:
        self.listen(reactor=self.clock)
        raw = await self.greeted()
        raw.wire.write(message(2, b"echo", b"echo", fields(a=bytes(30000)))[:-10000])
        while not any(arrival.shaken.within for arrival in self.listener.sessions):
            await self.turn()
        for _ in range(2):  # a few more octets now and then do not help
            self.advance(10)
            raw.wire.write(bytes(10))
        await self.stalled(raw, "does not end", 12)

    async def test_an_unused_channel_ends(self) -> None:
        self.listen(reactor=self.clock)
        raw = await self.greeted()
        self.advance(140)
        self.assertFalse(raw.over)
        self.advance(20)
        await raw.ended
        self.assertEqual(self.there.refusals, [])

    async def test_an_unused_channel_makes_room_when_all_places_are_taken(self) -> None:
        self.listen(reactor=self.clock, max_connections=1)
        first = await self.greeted()
        self.advance(UNUSED - 1)
        await (await self.raw(self.honest())).ended
        self.assertFalse(first.over)
        self.advance(1)
        second = await self.greeted()
        await first.ended
        self.assertEqual((second.over, len(self.listener.sessions), self.listener._gate.count), (False, 1, 1))

    async def test_a_channel_in_the_middle_of_a_piece_is_not_unused(self) -> None:
        self.listen(reactor=self.clock, max_connections=1)
        raw = await self.greeted()
        raw.wire.write(message(2, b"echo", b"echo", fields(a=bytes(30000)))[:-10000])
        while not any(arrival.shaken.within for arrival in self.listener.sessions):
            await self.turn()
        self.advance(UNUSED + 1)
        late = await self.raw(self.honest())
        while not raw.over and not late.over:
            await self.turn()
        self.assertEqual((raw.over, late.over), (False, True))

    async def test_answers_that_are_not_read(self) -> None:
        self.listen({"echo": Echo()}, reactor=self.clock)
        raw = await self.greeted()
        raw.wire.pauseProducing()
        link = next(iter(self.listener.sessions)).link
        for number in range(2, 402):
            raw.wire.write(message(number, b"echo", b"echo", fields(a=bytes(100000))))
        before, same = -1, 0
        while same < 50:  # whatever the system's buffers hold
            await self.turn()
            same = same + 1 if link._unread is not None and link._broker.octets_read == before else 0
            before = link._broker.octets_read
        self.assertLess(before, 30_000_000)
        self.advance(24)
        self.assertFalse(link.closed)
        self.advance(12)
        self.assertTrue(link.closed)
        self.assertEqual((await self.there.noted("the peer does not read")).reason, "stalled")

    async def test_servers_that_stop(self) -> None:
        good = TLS(showing(self.there.certificates.of("there.example")))
        opening = b"\x02\x80\x02\x82pb\x04\x82none"
        for tls, said, why in (
            (None, b"", "the TLS handshake takes too long"),
            (good, b"", "no hello: "),
            (good, opening, "no hello: "),
            (good, opening + banana([b"version", 6]), "no hello: no answer in time"),
            (good, opening + banana([b"version", 6]) + banana([b"answer", 1, [b"dictionary"]])[:5], "no hello: "),
        ):
            port, server = listening(self.reactor, tls)
            connector = self.connector(reactor=Timed(self.reactor, self.clock))
            connecting = Deferred.fromCoroutine(connector.connect("here.example", "there.example", [("127.0.0.1", port.getHost().port)]))
            while not server.made or (tls is not None and not server.made[0].shaken.called):
                await self.turn()
            raw = server.made[0]
            raw.wire.write(said)
            while tls is not None and len(raw.heard) < 3 and len(said) > 20:
                await self.turn()
            for _ in range(20):
                await self.turn()
            self.assertNoResult(connecting)
            self.advance(40)
            with self.assertRaises(Unreachable) as caught:
                await connecting
            self.assertIn(why, caught.exception.reason)
            self.assertFalse(caught.exception.security)
            await raw.ended
            await port.stopListening()

    async def test_many_servers_that_stop_are_not_all_tried(self) -> None:
        port, server = listening(self.reactor, TLS(showing(self.there.certificates.of("there.example"))))
        where = ("127.0.0.1", port.getHost().port)
        connector = self.connector(reactor=Timed(self.reactor, self.clock))
        connecting = Deferred.fromCoroutine(connector.connect("here.example", "there.example", [where] * 100))
        connecting.addErrback(lambda failure: failure.trap(Unreachable))
        while not connecting.called:
            if server.made and server.made[-1].shaken.called:
                self.clock.advance(10)
            await self.turn()
        self.assertIs(await connecting, Unreachable)
        self.assertLess(len(server.made), 6)  # each took 30 seconds
        for raw in server.made:
            if not raw.over:
                await raw.ended
        await port.stopListening()


class Timed:
    """The real network, and the time of a clock."""

    def __init__(self, reactor: Any, clock: Clock) -> None:
        self.connectTCP = reactor.connectTCP
        self.callLater, self.seconds = clock.callLater, clock.seconds


class Refusals(Abused):
    """Exceptions of methods never reach a peer."""

    async def test_a_method_that_fails_or_gives_nonsense(self) -> None:
        echo = Echo()

        async def nonsense(channel: object, fields: object) -> Any:
            return {"a": object()}

        async def yes(channel: object, fields: object) -> Any:
            return "yes"

        echo.methods["nonsense"], echo.methods["yes"] = nonsense, yes  # type: ignore[assignment]
        self.listen({"echo": echo})
        channel = await self.connect()
        for method in ("fail", "nonsense", "yes"):
            with self.assertRaises(PeerRefused) as caught:
                await channel.call("echo", method, {})
            self.assertEqual(str(caught.exception.reply), "451 4.3.0 Local error; try again later")
        self.assertEqual(len(self.flushLoggedErrors()), 3)

    async def test_the_server_goes_away_in_the_middle_of_a_call(self) -> None:
        echo = Echo()
        self.listen({"echo": echo})
        channel = await self.connect()
        call = Deferred.fromCoroutine(channel.call("echo", "wait", {}))
        await channel.call("echo", "echo", {})
        self.listener.abort()
        await self.assertFailure(call, ChannelLost)
        echo.waiting[0].callback(None)
