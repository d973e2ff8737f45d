"""Transfers during which a server gets kill -9, at each step of them: every message is there exactly once.

What a killed server leaves is what lies on its disk at that moment; the next one begins with a copy of that, and the first
neither hears nor says anything more.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from mailx.core.choosing import Choosing
from mailx.federation.channel import Unreachable
from mailx.federation.receiving import Delivery
from mailx.store.queue import settle
from tests.core.mail_out import Office
from tests.federation.pairs import Pair
from tests.federation.post import THERE, Post, Wires, carrier, post, receiver, rerouted
from tests.federation.test_transfers import CONTENT, large
from tests.scenery import World

BEFORE, AFTER = "before", "after"


@frozen
class Step:
    """The ``number``-th call of ``method``: BEFORE it is made (by the receiver: begun), or AFTER it is done."""

    method: str
    number: int
    moment: str


SMALL = [Step("send", 0, moment) for moment in (BEFORE, AFTER)]
LARGE = [
    Step(method, number, moment)
    for method, calls in (("begin", 1), ("chunk", 3), ("commit", 1))
    for number in range(calls)
    for moment in (BEFORE, AFTER)
]


class Death:
    """Calls ``die`` at ``step``; after that no call ends any more."""

    def __init__(self, step: Step, die: Callable[[], Awaitable[None]]) -> None:
        self._step, self._die = step, die
        self._calls: dict[str, int] = {}
        self.dead = False

    async def call(self, method: str, made: Callable[[], Awaitable[Any]]) -> Any:
        """``made()`` is a call of ``method``."""
        number = self._calls.setdefault(method, 0)
        self._calls[method] += 1
        await self._at(Step(method, number, BEFORE))
        answer = await made()
        await self._at(Step(method, number, AFTER))
        return answer

    async def _at(self, step: Step) -> None:
        if step == self._step and not self.dead:
            self.dead = True
            await self._die()
        if self.dead:
            await Deferred()


def settling(write: Any, step: Step, die: Callable[[], Awaitable[None]]) -> Any:
    """``write`` of a store, which dies with what was sent about to be noted, or just noted. It goes on: nobody hears of it any more."""

    async def dying(*args: Any) -> Any:
        if step.moment == BEFORE:
            await die()
        answer = await write(*args)
        if step.moment == AFTER:
            await die()
        return answer

    return lambda job, *args: Deferred.fromCoroutine(dying(job, *args)) if job is settle else write(job, *args)


def content(step: Step) -> bytes:
    return CONTENT if step in SMALL or step.method == settle.__name__ else large()


class Receiver(TestCase):
    """The one that takes the message is killed."""

    timeout = 240

    async def killed(self, step: Step) -> None:
        made = await post(self, there={"store": {"spool_above": 100_000, "file_above": 65536}}, queue={"shutdown_seconds": 0})
        again: Deferred[World] = Deferred()

        async def die() -> None:
            made.wires.trouble = Unreachable("it is being started")
            for pair in made.wires.pairs:
                pair.wire.cut()
            again.callback(await made.there.killed(self))

        death = Death(step, die)
        made.delivery.methods = {name: self.mortal(death, name, method) for name, method in made.delivery.methods.items()}
        await made.here.start()
        await made.here.send("you@other.test", content=content(step))
        there = await again
        made.wires.services = [self.started(there)]
        made.wires.trouble = None
        await made.here.until(lambda: self.sent(made))
        self.assertEqual([each.endswith(content(step)) for each in await there.contents(made.you)], [True], step)
        self.assertEqual(made.direct.tried, [], step)

    def mortal(self, death: Death, name: str, method: Any) -> Any:
        return lambda channel, fields: death.call(name, lambda: method(channel, fields))

    def started(self, there: World) -> Delivery:
        delivery = receiver(there, [])
        self.addCleanup(delivery.stop)
        return delivery

    async def sent(self, made: Post) -> bool:
        counts = await made.here.queue.ledger.counts()
        if counts["deferred"]:
            made.here.clock[0] += 3600
            await made.here.queue.hasten(THERE)
            made.here.queue.wake()
        return counts["sent"] == 1

    async def test_at_each_step(self) -> None:
        for step in SMALL + LARGE:
            await self.killed(step)


class Sender(TestCase):
    """The one that brings the message is killed."""

    timeout = 240

    async def killed(self, step: Step) -> None:
        made = await post(self, there={"store": {"spool_above": 100_000, "file_above": 65536}}, queue={"shutdown_seconds": 0})
        again: Deferred[Office] = Deferred()

        async def die() -> None:
            made.wires.trouble = Unreachable("this one is dead")
            for pair in made.wires.pairs:
                pair.wire.cut()
            again.callback(await made.here.copied())

        death = Death(step, die)

        def mortal(pair: Pair) -> None:
            call = pair.calling.call
            pair.calling.call = lambda service, method, *args: death.call(method, lambda: call(service, method, *args))  # type: ignore[method-assign]

        made.wires.made = mortal
        if step.method == settle.__name__:
            self.patch(made.here.world.store, "write", settling(made.here.world.store.write, step, die))
        await made.here.start()
        await made.here.send("you@other.test", content=content(step))
        here = await again
        wires = Wires([made.delivery], here.world.reactor)
        self.addCleanup(lambda: [pair.wire.cut() for pair in wires.pairs] and None)
        choosing = Choosing(made.book, carrier(here, made.book, wires), here.courier)
        rerouted(here, made.book, {"": choosing, "smart": here.relay})
        await here.start()
        await here.settled(sent=1, sending=0, pending=0)
        self.assertEqual([each.endswith(content(step)) for each in await made.arrived()], [True], step)
        self.assertEqual(here.courier.tried, [], step)

    async def test_at_each_step(self) -> None:
        for step in SMALL + LARGE:
            await self.killed(step)

    async def test_when_the_acknowledgement_is_here(self) -> None:
        """The other server has answered; that it did is not yet, or just now, durable."""
        for moment in (BEFORE, AFTER):
            await self.killed(Step(settle.__name__, 0, moment))
