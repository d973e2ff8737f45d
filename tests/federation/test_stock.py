"""Twisted's own Perspective Broker understands ours, and ours understands it: what goes over the wire is PB."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.spread import pb
from twisted.spread.jelly import SecurityOptions
from twisted.trial.unittest import TestCase

from mailx.federation.broker import Broker
from mailx.federation.channel import ChannelLost
from mailx.federation.link import Link, Proved
from tests.federation.pairs import wired
from tests.federation.test_link import Echo

PROVED = Proved("here.example", "there.example", b"k" * 32, "127.0.0.1", "TLSv1.3")


class Root(pb.Root):
    """A stock object that knows hello."""

    def remote_hello(self, **fields: Any) -> dict[str, Any]:
        return {"version": 1, "calls": 4, "capabilities": ["echo"]}


class Named(pb.Referenceable):
    def remote_echo(self, **fields: Any) -> dict[str, Any]:
        return fields


class Factory:
    unsafeTracebacks = False

    def clientConnectionMade(self, broker: object) -> None:
        """Nobody waits for it."""


def stock(client: bool) -> Any:
    options = SecurityOptions()
    options.allowBasicTypes()
    broker = pb.Broker(client, options)
    broker.factory = Factory()
    return broker


SAID = {"text": "Zürich", "data": b"\0\xff", "yes": True, "none": None, "list": [1, -1, 2**40, -(2**40)], "fields": {"a": {}}}


class Stock(TestCase):
    async def test_a_stock_client_calls_ours(self) -> None:
        ours, theirs = Broker(client=False), stock(True)
        link = Link(ours, PROVED, {"echo": Echo()}, Clock(), incoming=True)
        wire = wired(theirs, ours)
        wire.hold()
        ours.begin(link)
        wire.release()
        hello = await theirs.remoteForName("root").callRemote("hello", versions=[1], capabilities=["x"])
        self.assertEqual((hello["version"], hello["calls"], hello["capabilities"]), (1, 32, ["echo"]))
        echo = theirs.remoteForName("echo")
        self.assertEqual(await echo.callRemote("echo", **SAID), SAID)
        refused: Deferred[Any] = echo.callRemote("later")
        failure = self.failureResultOf(refused)
        self.assertEqual(failure.value, {"code": 451, "enhanced": "4.7.1", "text": "Too much", "retry_after": 17})
        wire.cut()

    async def test_ours_calls_a_stock_server(self) -> None:
        ours, theirs = Broker(client=True), stock(False)
        theirs.setNameForLocal("root", Root())
        theirs.setNameForLocal("echo", Named())
        link = Link(ours, PROVED, {}, Clock(), incoming=False)
        wire = wired(ours, theirs)
        wire.hold()
        ours.begin(link)
        wire.release()
        await link.open(5.0)
        self.assertEqual(await link.call("echo", "echo", SAID), SAID)
        self.assertEqual(link.capabilities, {"echo"})
        wire.cut()

    async def test_a_reference_is_not_taken(self) -> None:
        ours, theirs = Broker(client=False), stock(True)
        link = Link(ours, PROVED, {"echo": Echo()}, Clock(), incoming=True)
        wire = wired(theirs, ours)
        wire.hold()
        ours.begin(link)
        wire.release()
        await theirs.remoteForName("root").callRemote("hello", versions=[1])
        lost = theirs.remoteForName("echo").callRemote("echo", a=Named())
        self.failureResultOf(lost, pb.PBConnectionLost)
        self.assertTrue(link.closed)

    async def test_a_stock_exception_is_a_class_and_not_taken(self) -> None:
        ours, theirs = Broker(client=True), stock(False)
        theirs.setNameForLocal("root", Root())
        link = Link(ours, PROVED, {}, Clock(), incoming=False)
        wire = wired(ours, theirs)
        wire.hold()
        ours.begin(link)
        wire.release()
        await link.open(5.0)
        call = Deferred.fromCoroutine(link.call("nobody", "echo", {}))
        self.failureResultOf(call, ChannelLost)
        self.flushLoggedErrors()
