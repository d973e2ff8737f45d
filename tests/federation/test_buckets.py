"""Token buckets: how much mail of one domain is taken."""

from twisted.trial.unittest import SynchronousTestCase

from mailx.config_federation import Federation
from mailx.core.peer import PeerSettings
from mailx.federation.buckets import Buckets


class Budgets(SynchronousTestCase):
    """Limits of the configuration, and of a domain's own."""

    def setUp(self) -> None:
        self.settings = Federation(per_minute=60, per_hour=200, burst=10)
        self.own: dict[str, PeerSettings] = {}
        self.now = 1000.0
        self.buckets = Buckets(lambda: self.settings, lambda domain: self.own.get(domain, PeerSettings()), lambda: self.now, size=5)

    def taken(self, count: int, domain: str = "a.example") -> int:
        """Of ``count`` messages, how many are taken."""
        return sum(not self.buckets.take(domain) for _ in range(count))

    def test_a_burst_then_so_many_a_minute(self) -> None:
        self.assertEqual(self.taken(20), 10)
        self.assertEqual(self.buckets.take("a.example"), 2)
        self.now += 5
        self.assertEqual(self.taken(20), 5)
        self.assertEqual(self.taken(20, "b.example"), 10)

    def test_never_more_than_so_many_an_hour(self) -> None:
        taken = 0
        for _ in range(3600):
            taken += self.taken(3)
            self.now += 1
        self.assertLess(taken, 2 * 200 + 1)
        self.now += 7200
        self.assertEqual(self.taken(20), 10)

    def test_several_at_once_and_back(self) -> None:
        self.assertEqual(self.buckets.take("a.example", 8), 0)
        self.assertEqual(self.buckets.take("a.example", 8), 7)
        self.buckets.give_back("a.example", 8)
        self.assertEqual(self.buckets.take("a.example", 10), 0)
        self.now += 3600
        self.assertEqual(self.buckets.take("a.example", 500), 0)  # more than it ever holds: when it is full

    def test_own_limits_of_a_domain(self) -> None:
        self.own["a.example"] = PeerSettings(per_minute=6, burst=2, connections=3)
        self.assertEqual((self.taken(20), self.buckets.take("a.example")), (2, 11))
        self.assertEqual((self.buckets.connections("a.example"), self.buckets.connections("b.example")), (3, 10))

    def test_no_limits(self) -> None:
        self.settings = Federation(per_minute=0, per_hour=0)
        self.assertEqual((self.taken(5000), len(self.buckets)), (5000, 0))

    def test_what_was_used_stays_used_when_limits_change(self) -> None:
        self.taken(10)
        self.settings = Federation(per_minute=120, per_hour=300, burst=20)
        self.assertEqual(self.taken(50), 10)

    def test_memory_is_bounded(self) -> None:
        for number in range(50):
            self.taken(1, f"{number}.example")
        self.assertEqual(len(self.buckets), 5)
