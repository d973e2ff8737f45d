"""How the sessions of an edge end."""

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from mailx.core.listening import LAST_WORDS, Ending, end


class Listener:
    """Three sessions; tells what is asked of it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.sessions = {1, 2, 3}
        self.asked: list[tuple[str, float]] = []
        self.empty: Deferred[None] = Deferred()

    def revoke(self, account: int) -> None:
        self.asked.append(("revoke", account))

    def drain(self) -> "Deferred[None]":
        self.asked.append(("drain", self._clock.seconds()))
        return self.empty

    def leave(self, *sessions: int) -> None:
        self.sessions -= set(sessions)
        if not self.sessions:
            self.empty.callback(None)

    def cut(self) -> None:
        self.asked.append(("cut", self._clock.seconds()))

    def abort(self) -> None:
        self.asked.append(("abort", self._clock.seconds()))


class EndTests(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.listener = Listener(self.clock)
        self.ended = Deferred.fromCoroutine(end([], [self.listener], self.clock, 30))

    def test_graceful(self) -> None:
        """Nobody waits longer than the sessions need."""
        self.clock.advance(4)
        self.listener.leave(1, 2, 3)
        self.assertEqual(self.successResultOf(self.ended), Ending(3, 0, 4))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_impatient(self) -> None:
        """What is left after the time is told to go, then cut off."""
        self.listener.leave(2)
        self.clock.advance(29.5)
        self.assertNoResult(self.ended)
        self.clock.advance(0.5)
        self.assertEqual(self.listener.asked, [("drain", 0), ("cut", 30)])
        self.clock.advance(LAST_WORDS)
        self.assertEqual(self.listener.asked[-1], ("abort", 30 + LAST_WORDS))
        self.assertEqual(self.successResultOf(self.ended), Ending(1, 2, 30 + LAST_WORDS))
