"""Work that is done together: when it begins, and in what order."""

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailx.core.gathering import Gathering


class Turns(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.gathering = Gathering(self.clock)
        self.done: list[str] = []

    def work(self, name: str, then: str = "") -> "Deferred[None]":
        async def work() -> None:
            await self.gathering.turn()
            self.done.append(name)
            if then:
                self.work(then)
            if name == "bad":
                raise ValueError(name)

        return Deferred.fromCoroutine(work())

    def test_all_of_one_turn_are_done_in_their_order(self) -> None:
        self.work("first")
        self.work("second")
        self.assertEqual(self.done, [])
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(0)
        self.assertEqual(self.done, ["first", "second"])

    def test_what_the_work_brings_about_comes_after_all_that_waited(self) -> None:
        self.work("first", then="third")
        self.work("second")
        self.clock.pump([0, 0])
        self.assertEqual(self.done, ["first", "second", "third"])

    def test_one_that_fails_or_is_given_up_disturbs_no_other(self) -> None:
        bad = self.work("bad")
        given_up = self.work("given up")
        self.work("good")
        given_up.addErrback(lambda _: None)
        given_up.cancel()
        self.clock.advance(0)
        self.assertEqual(self.done, ["bad", "good"])
        self.failureResultOf(bad, ValueError)
