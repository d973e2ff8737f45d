"""Links over brokers in memory."""

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from mailx.federation.channel import ChannelLost, PeerRefused
from mailx.federation.service import Fields, Later
from mailx.mail.reply import Refused, Reply
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
