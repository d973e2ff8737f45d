"""A clock that leaps does not remove mail."""

from twisted.internet.task import Clock
from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from mailx.core.lifecycle import Leaps, steady

HOUR = 3600.0


class LeapsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.day, self.count = Clock(), Clock()
        self.leaps = Leaps(self.day.seconds, self.count.seconds)
        self.told: list[str] = []
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)

    def observe(self, event: dict[str, object]) -> None:
        if event["log_level"] is LogLevel.error:
            self.told.append(str(event["event"]))

    def passes(self, hours: float, leap: float = 0.0) -> bool:
        """Time goes by, and the clock is put forward on top of that."""
        self.count.rightNow += hours * HOUR
        self.day.rightNow += (hours + leap) * HOUR
        return self.leaps.believed()

    def test_time_that_passes(self) -> None:
        self.assertTrue(all(self.passes(1, 0.01) for _ in range(1000)))
        self.assertTrue(self.passes(24 * 40))
        self.assertEqual(self.told, [])

    def test_put_forward_and_right_again(self) -> None:
        self.assertFalse(self.passes(1, 24 * 365))
        self.assertFalse(self.passes(1))
        self.assertEqual(self.told, ["lifecycle.clock_leapt"])
        self.assertTrue(self.passes(1, -24 * 365))
        self.assertFalse(self.passes(1, 24 * 365))
        self.assertEqual(len(self.told), 2)

    def test_believed_in_the_end(self) -> None:
        self.assertFalse(self.passes(1, 24 * 365))
        self.assertFalse(self.passes(23))
        self.assertTrue(self.passes(1))
        self.assertTrue(self.passes(1))

    def test_put_back(self) -> None:
        self.assertTrue(self.passes(1, -24 * 365))
        self.assertTrue(self.passes(1))
        self.assertEqual(self.told, [])

    def test_steady(self) -> None:
        self.assertLessEqual(steady(), steady())
