"""Links over brokers in memory."""

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from mailx.federation.channel import CallTimeout, ChannelLost, PeerRefused
from mailx.federation.link import LinkLimits
from mailx.federation.load import Load
from mailx.federation.service import Fields, Later
from mailx.mail.reply import Refused, Reply, Unavailable
from tests.federation.pairs import channels


class Echo:
    """Gives back what it got; refuses when told to."""

    name = "echo"

    def __init__(self) -> None:
        self.methods = {"echo": self.echo, "refuse": self.refuse, "later": self.later, "fail": self.fail, "wait": self.wait}
        self.waiting: list[Deferred[None]] = []

    async def echo(self, channel: object, fields: Fields) -> Fields:
        return fields

    async def refuse(self, channel: object, fields: Fields) -> Fields:
        raise Refused(Reply(550, "5.1.1", "No such user"), "private")

    async def later(self, channel: object, fields: Fields) -> Fields:
        raise Later(Reply(451, "4.7.1", "Too much"), 17)

    async def fail(self, channel: object, fields: Fields) -> Fields:
        raise ValueError("secret")

    async def wait(self, channel: object, fields: Fields) -> Fields:
        waiting: Deferred[None] = Deferred()
        self.waiting.append(waiting)
        await waiting
        return {}


class Calls(TestCase):
    """Answers and refusals."""

    async def test_plain_values_go_there_and_back(self) -> None:
        pair = await channels([Echo()])
        said = {"a": [1, -5, 2**40, -(2**40), True, False, None, b"\0\xff" * 40000, "Zürich"], "b": {"c": {"d": []}}}
        self.assertEqual(await pair.calling.call("echo", "echo", said), said)
        self.assertEqual(pair.calling.capabilities, {"echo"})
        self.assertEqual((pair.answering.remote, pair.answering.incoming), ("here.example", True))

    async def test_refusals_are_told_in_full(self) -> None:
        pair = await channels([Echo()])
        for method, reply, after in (("refuse", "550 5.1.1 No such user", 0), ("later", "451 4.7.1 Too much", 17)):
            with self.assertRaises(PeerRefused) as caught:
                await pair.calling.call("echo", method, {})
            self.assertEqual((str(caught.exception.reply), caught.exception.retry_after), (reply, after))

    async def test_exceptions_stay_here(self) -> None:
        pair = await channels([Echo()])
        with self.assertRaises(PeerRefused) as caught:
            await pair.calling.call("echo", "fail", {})
        self.assertEqual(str(caught.exception.reply), "451 4.3.0 Local error; try again later")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    async def test_a_cut_fails_what_is_under_way(self) -> None:
        echo = Echo()
        pair = await channels([echo])
        call = Deferred.fromCoroutine(pair.calling.call("echo", "wait", {}))
        pair.wire.cut()
        await self.assertFailure(call, ChannelLost)
        self.assertTrue(pair.calling.closed and pair.answering.closed)
        echo.waiting[0].callback(None)


class Turns(TestCase):
    """How many calls are under way, and how long they may take."""

    async def pair(self, calls: int = 2, **more: Any) -> None:
        self.echo, self.clock = Echo(), Clock()
        self.pair = await channels([self.echo], reactor=self.clock, limits=LinkLimits(calls=calls, **more))

    def call(self, method: str = "wait", timeout: float | None = None) -> "Deferred[Any]":
        return Deferred.fromCoroutine(self.pair.calling.call("echo", method, {}, timeout))

    async def test_no_more_at_a_time_than_the_peer_said(self) -> None:
        await self.pair()
        calls = [self.call() for _ in range(5)]
        self.assertEqual((len(self.echo.waiting), self.pair.calling.outstanding), (2, 5))
        self.echo.waiting[1].callback(None)
        self.assertEqual(self.successResultOf(calls[1]), {})
        self.assertEqual(len(self.echo.waiting), 3)
        calls[4].cancel()  # it waits for its turn no more
        self.failureResultOf(calls[4], CancelledError)
        self.pair.wire.cut()
        for call in (calls[0], calls[2], calls[3]):
            self.failureResultOf(call, ChannelLost)
        self.failureResultOf(self.call(), ChannelLost)
        for waiting in self.echo.waiting:
            if not waiting.called:
                waiting.callback(None)

    async def test_a_call_that_is_not_answered_in_time(self) -> None:
        await self.pair()
        slow = self.call(timeout=10)
        self.clock.advance(9)
        quick = self.call("echo")
        self.successResultOf(quick)
        self.clock.advance(1)
        self.failureResultOf(slow, CallTimeout)
        self.assertFalse(self.pair.calling.closed)  # something came in the meantime
        self.echo.waiting[0].callback(None)  # the answer comes late and harms nobody
        self.successResultOf(self.call("echo"))

    async def test_a_peer_that_is_as_good_as_gone(self) -> None:
        await self.pair()
        self.pair.wire.hold()
        first = self.call(timeout=10)
        self.clock.advance(1)
        second = self.call(timeout=20)
        self.clock.advance(9)
        self.failureResultOf(first, CallTimeout)
        self.failureResultOf(second, ChannelLost)
        self.assertTrue(self.pair.calling.closed)
        self.pair.wire.release()

    async def test_late_calls_keep_their_places(self) -> None:
        await self.pair()
        late = [self.call(timeout=5)]
        self.clock.advance(4)
        self.successResultOf(self.call("echo"))
        self.clock.advance(1)
        other, third = self.call(timeout=20), self.call("echo")
        self.failureResultOf(late[0], CallTimeout)
        self.assertEqual(len(self.echo.waiting), 2)
        self.assertNoResult(third)
        self.echo.waiting[0].callback(None)
        self.successResultOf(third)
        self.echo.waiting[1].callback(None)
        self.successResultOf(other)

    async def test_what_cannot_be_said_is_not_sent(self) -> None:
        await self.pair()
        before = self.pair.wire.octets[0]
        nested: Any = {}
        for _ in range(20):
            nested = {"a": nested}
        lone = "\ud800"
        for fields in ({"a": 1.5}, {"a": object()}, {1: 1}, {"a": 2**63}, {"a": {1}}, nested, {"a": lone}, {"a": [0] * 9000}):
            call = Deferred.fromCoroutine(self.pair.calling.call("echo", "echo", fields))
            self.failureResultOf(call, TypeError, ValueError)
        for large in ({"a": bytes(700000)}, {"a": bytes(600000), "b": bytes(600000)}):
            self.failureResultOf(Deferred.fromCoroutine(self.pair.calling.call("echo", "echo", large)), ValueError)
        self.assertEqual(self.pair.wire.octets[0], before)
        self.successResultOf(self.call("echo"))

    async def test_only_the_side_that_connected_calls(self) -> None:
        await self.pair()
        with self.assertRaises(TypeError):
            await self.pair.answering.call("echo", "echo", {})


class Ends(TestCase):
    """How channels end."""

    async def pair(self, **more: Any) -> None:
        self.echo, self.clock = Echo(), Clock()
        self.pair = await channels([self.echo], reactor=self.clock, **more)
        self.ended: list[str] = []
        self.pair.calling.on_close(lambda _: self.ended.append("calling"))
        self.pair.answering.on_close(lambda _: self.ended.append("answering"))

    def call(self, method: str) -> "Deferred[Any]":
        return Deferred.fromCoroutine(self.pair.calling.call("echo", method, {}))

    async def test_closing_waits_for_what_is_under_way(self) -> None:
        await self.pair()
        call = self.call("wait")
        self.pair.calling.close()
        self.assertTrue(self.pair.calling.closed)
        self.failureResultOf(self.call("echo"), ChannelLost)
        self.assertEqual(self.ended, [])
        self.echo.waiting[0].callback(None)
        self.successResultOf(call)
        self.assertEqual(sorted(self.ended), ["answering", "calling"])
        self.pair.calling.on_close(lambda _: self.ended.append("late"))
        self.assertEqual(self.ended[-1], "late")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    async def test_an_unused_channel_is_closed_by_the_side_that_connected(self) -> None:
        await self.pair(limits=LinkLimits(idle=60))
        self.clock.pump([1] * 50)
        self.successResultOf(self.call("echo"))
        self.clock.pump([1] * 50)
        self.assertEqual(self.ended, [])
        self.clock.pump([1] * 20)
        self.assertEqual(sorted(self.ended), ["answering", "calling"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    async def test_a_call_that_takes_long_keeps_the_channel(self) -> None:
        await self.pair(limits=LinkLimits(idle=10, timeout=600))
        call = self.call("wait")
        self.clock.pump([1] * 300)
        self.echo.waiting[0].callback(None)
        self.successResultOf(call)

    async def test_silence_is_asked_about(self) -> None:
        await self.pair(limits=LinkLimits(idle=3600))
        before = self.pair.wire.octets[0]
        self.clock.pump([1] * 100)
        self.assertGreater(self.pair.wire.octets[0], before)  # pings
        self.assertEqual(self.ended, [])
        self.pair.wire.hold()
        self.clock.pump([1] * 100)
        self.assertTrue(self.pair.calling.closed)  # nobody is there
        self.pair.wire.release()

    async def test_a_transport_that_does_not_end_is_cut(self) -> None:
        await self.pair()
        self.pair.wire.hold()
        self.pair.calling.close()
        self.assertEqual(self.ended, [])
        self.clock.advance(5)
        self.assertEqual(self.ended, ["calling"])
        self.pair.wire.release()
        self.assertEqual(sorted(self.ended), ["answering", "calling"])


class Slices(TestCase):
    """What is cheap to send and dear to read is read in turns."""

    async def test_many_small_tokens(self) -> None:
        echo, clock = Echo(), Clock()
        pair = await channels([echo], reactor=clock)
        said = {"a": [[] for _ in range(3000)]}
        calls = [Deferred.fromCoroutine(pair.calling.call("echo", "echo", said)) for _ in range(3)]
        for call in calls:
            self.assertNoResult(call)
        clock.advance(0)
        for call in calls:
            self.assertEqual(self.successResultOf(call), said)
        self.assertEqual(await pair.calling.call("echo", "echo", {}), {})

    async def test_an_end_in_between(self) -> None:
        clock = Clock()
        pair = await channels([Echo()], reactor=clock)
        call = Deferred.fromCoroutine(pair.calling.call("echo", "echo", {"a": [[] for _ in range(3000)]}))
        self.assertNoResult(call)
        pair.wire.cut()
        self.failureResultOf(call, ChannelLost)
        self.assertEqual(clock.getDelayedCalls(), [])


class Loads(TestCase):
    """What calls under way may hold in memory."""

    async def test_who_holds_much_is_not_read_from(self) -> None:
        echo, load = Echo(), Load(500_000)
        pair = await channels([echo], load=load)
        other = await channels([echo], load=load)

        def call(which: Any, method: str) -> "Deferred[Any]":
            return Deferred.fromCoroutine(which.calling.call("echo", method, {"a": bytes(300_000)}))

        calls = [call(pair, "wait"), call(pair, "wait"), call(pair, "echo")]
        self.assertEqual(len(echo.waiting), 2)
        self.assertNoResult(calls[2])  # not read
        quick = Deferred.fromCoroutine(other.calling.call("echo", "echo", {}))
        self.successResultOf(quick)
        echo.waiting[0].callback(None)
        self.successResultOf(calls[2])
        echo.waiting[1].callback(None)
        self.assertEqual(load.octets, 0)

    async def test_a_channel_that_ends_is_forgotten(self) -> None:
        echo, load = Echo(), Load(1000)
        pair = await channels([echo], load=load)
        call = Deferred.fromCoroutine(pair.calling.call("echo", "wait", {"a": bytes(2000)}))
        pair.wire.cut()
        self.failureResultOf(call, ChannelLost)
        echo.waiting[0].callback(None)
        self.assertEqual((load.octets, load._waiting), (0, {}))


class Greetings(TestCase):
    """What both sides say of themselves."""

    async def test_both_sides_hear_what_the_other_adds(self) -> None:
        class Greeter:
            def __init__(self, head: str, fails: bool = False) -> None:
                self.head, self.fails = head, fails
                self.heard: list[object] = []

            async def greeting(self, local: str, remote: str) -> Fields:
                return {"head": f"{self.head} {local} {remote}", "calls": "of no effect"}

            async def greeted(self, channel: object, fields: Fields) -> None:
                self.heard.append(fields["head"])
                if self.fails:
                    raise ValueError

        calling, answering = Greeter("c"), Greeter("a", fails=True)
        pair = await channels([Echo()], calling_greeter=calling, answering_greeter=answering)
        self.assertEqual(calling.heard, ["a there.example here.example"])
        self.assertEqual(answering.heard, ["c here.example there.example"])
        self.assertEqual(pair.calling.message_size, LinkLimits().message_size)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(await pair.calling.call("echo", "echo", {"a": 1}), {"a": 1})

    async def test_a_hello_says_less_when_the_store_is_away(self) -> None:
        class Away:
            async def greeting(self, local: str, remote: str) -> Fields:
                raise Unavailable("away")

            async def greeted(self, channel: object, fields: Fields) -> None:
                """Nothing."""

        class Broken(Away):
            async def greeting(self, local: str, remote: str) -> Fields:
                raise ValueError("broken")

        pair = await channels([Echo()], calling_greeter=Away(), answering_greeter=Broken())
        self.assertEqual(pair.calling.capabilities, {"echo"})
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
