"""Timed calls of a real reactor while the time of day is set back."""

import time

from twisted.internet.selectreactor import SelectReactor
from twisted.trial.unittest import SynchronousTestCase

from mailx.ops import clock


class SteadyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = SelectReactor()
        self.addCleanup(self.reactor.disconnectAll)
        self.shift = 0.0
        self.patch(clock, "time", lambda: time.time() + self.shift)
        self.patch(self.reactor, "seconds", clock.time)

    def called(self) -> list[str]:
        """What of a call that is due at once was called when the clock was set back before its turn came."""
        calls: list[str] = []
        self.reactor.callLater(0, calls.append, "due")
        self.shift -= 3600
        self.reactor.runUntilCurrent()
        return calls

    def test_set_back(self) -> None:
        self.assertEqual(self.called(), [], "what Twisted does by itself")
        clock.steady(self.reactor)
        self.assertLess(abs(self.reactor.seconds() - clock.time()), 1)
        self.assertEqual(self.called(), ["due"])
