"""The three budgets of failed logins."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailx.core.throttle import Throttle, network


class Budgets(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.throttle = Throttle(5, 12, 20, self.clock.seconds)

    def fail_times(self, count: int, name: str = "me@example.test", address: str = "192.0.2.1") -> int:
        """How many of ``count`` attempts were admitted."""
        return sum(self.throttle.charge(name, address) is not None for _ in range(count))

    def test_pair(self) -> None:
        self.assertEqual(self.fail_times(9), 5)
        self.assertFalse(self.throttle.allows("me@example.test", "192.0.2.1"))
        self.assertTrue(self.throttle.allows("me@example.test", "192.0.2.2"), "the owner elsewhere is not locked out")
        self.assertTrue(self.throttle.allows("you@example.test", "192.0.2.1"))

    def test_an_hour_is_any_hour(self) -> None:
        for _ in range(5):
            self.assertEqual(self.fail_times(1), 1)
            self.clock.advance(600)
        self.assertEqual(self.fail_times(1), 0, "3000 seconds after the first")
        self.clock.advance(600)
        self.assertEqual(self.fail_times(2), 1, "only the first is an hour old")
        self.clock.advance(3600)
        self.assertEqual(self.fail_times(9), 5)

    def test_refused_attempts_are_not_charged(self) -> None:
        self.fail_times(5)
        self.clock.advance(1800)
        self.fail_times(100)
        self.clock.advance(1800)
        self.assertEqual(self.fail_times(9), 5)

    def test_address(self) -> None:
        admitted = sum(self.fail_times(1, name=f"user{number}@example.test") for number in range(50))
        self.assertEqual(admitted, 12)
        self.assertTrue(self.throttle.allows("user1@example.test", "192.0.2.2"))

    def test_account(self) -> None:
        admitted = sum(self.fail_times(1, address=f"198.51.100.{number}") for number in range(50))
        self.assertEqual(admitted, 20)
        self.assertFalse(self.throttle.allows("me@example.test", "203.0.113.1"))

    def test_known_place_survives_a_spent_account(self) -> None:
        self.throttle.know("me@example.test", "203.0.113.1")
        for number in range(50):
            self.fail_times(1, address=f"198.51.100.{number}")
        self.assertTrue(self.throttle.allows("me@example.test", "203.0.113.1"))
        self.assertEqual(self.fail_times(9, address="203.0.113.1"), 5, "but it has no more than its own budget")

    def test_refund_gives_back_one_attempt_only(self) -> None:
        for _ in range(4):
            self.fail_times(1)
            self.clock.advance(1)
        charge = self.throttle.charge("me@example.test", "192.0.2.1")
        assert charge is not None
        self.assertFalse(self.throttle.allows("me@example.test", "192.0.2.1"), "while it runs it counts")
        self.throttle.refund(charge)
        self.throttle.refund(charge)
        self.assertEqual(self.fail_times(9), 1, "success resets nothing else")

    def test_refund_leaves_nothing(self) -> None:
        charge = self.throttle.charge("me@example.test", "192.0.2.1")
        assert charge is not None
        self.throttle.refund(charge)
        self.assertEqual(self.throttle.sizes(), (0, 0, 0))

    def test_forgiven_name(self) -> None:
        self.fail_times(5)
        self.fail_times(5, name="you@example.test")
        self.throttle.forgive("me@example.test")
        self.assertTrue(self.throttle.allows("me@example.test", "192.0.2.1"))
        self.assertFalse(self.throttle.allows("you@example.test", "192.0.2.1"))

    def test_bounded(self) -> None:
        throttle = Throttle(5, 50, 200, self.clock.seconds, size=100)
        for number in range(1000):
            throttle.charge(f"user{number}@example.test", f"192.0.{number // 250}.{number % 250}")
            throttle.know(f"user{number}@example.test", "192.0.2.1")
        self.assertEqual(throttle.sizes(), (100, 100, 100))

    def test_long_names_cost_no_memory(self) -> None:
        charge = self.throttle.charge("x" * 1_000_000, "192.0.2.1")
        assert charge is not None
        self.assertEqual(len(charge.account), 16)


class AnyHour(SynchronousTestCase):
    @given(st.lists(st.tuples(st.floats(0, 2000), st.integers(0, 3), st.booleans()), max_size=60))
    def test_never_more_than_the_limit(self, steps: list[tuple[float, int, bool]]) -> None:
        """Whatever the pace and whatever succeeds in between: at most 3 failures of one pair in any hour, and 5 of one address."""
        clock = Clock()
        throttle = Throttle(3, 5, 100, clock.seconds)
        failures: list[tuple[float, int]] = []
        for pause, name, succeeds in steps:
            clock.advance(pause)
            recent = [each for when, each in failures if when > clock.seconds() - 3600]
            charge = throttle.charge(str(name), "192.0.2.1")
            self.assertEqual(charge is not None, recent.count(name) < 3 and len(recent) < 5)
            if charge is not None and succeeds:
                throttle.refund(charge)
            elif charge is not None:
                failures.append((clock.seconds(), name))


class Networks(SynchronousTestCase):
    def test_what_counts_as_one_address(self) -> None:
        self.assertEqual(network("192.0.2.1"), "192.0.2.1")
        self.assertEqual(network("::ffff:192.0.2.1"), "192.0.2.1")
        self.assertEqual(network("2001:db8:1:2:aaaa::1"), network("2001:db8:1:2:bbbb::2"))
        self.assertNotEqual(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"))
        self.assertEqual(network("fe80::1%eth0"), "fe80::/64")
        self.assertEqual(network(""), "")
