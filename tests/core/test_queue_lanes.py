"""Lanes: fairness, shares and pacing, by a clock of the test's own."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailx.core.lanes import Budget, Health, Lane, Lanes, Slot


class LanesCase(SynchronousTestCase):
    """``self.started`` are the slots of attempts that began."""

    def make(self, total: int = 100, per_destination: int = 10, per_minute: int = 0) -> Lanes[int]:
        self.clock = Clock()
        self.clock.advance(1000)
        self.lanes: Lanes[int] = Lanes(total, per_destination, per_minute, self.clock.seconds, self.clock.callLater)
        self.started: list[Slot[int]] = []

        def start(slot: Slot[int]) -> None:
            if slot.lane.jobs:
                slot.lane.jobs.popleft()
            self.started.append(slot)

        self.lanes.start = start
        self.lanes.open = True
        return self.lanes

    def lane(self, name: str, jobs: int) -> Lane[int]:
        lane = self.lanes.lane(name.encode())
        lane.jobs.extend(range(jobs))
        self.lanes.offer(lane)
        return lane

    def begun(self) -> list[str]:
        begun = [slot.lane.key.decode() for slot in self.started]
        self.started.clear()
        return begun

    def alive(self, name: str) -> Lane[int]:
        """A lane whose window is open."""
        lane = self.lanes.lane(name.encode())
        lane.health, lane.window, lane.seen = Health.LIVE, 10, self.clock.seconds()
        return lane


class Windows(LanesCase):
    """How many attempts a lane makes at a time."""

    def test_one_until_it_has_answered(self) -> None:
        self.make(per_destination=5)
        lane = self.lane("a", 50)
        counts = []
        while lane.jobs:
            running = self.started[:]
            counts.append(len(running))
            self.started.clear()
            for slot in running:
                self.lanes.ended(slot, True)
                if lane.running == lane.window == 5:
                    break
            if counts[-1] == 0:
                break
        self.assertEqual(counts[0], 1)
        self.assertEqual(lane.window, 5)
        self.assertLessEqual(lane.running, 5)

    def test_dead_rests(self) -> None:
        self.make()
        lane = self.lane("a", 3)
        (slot,) = self.started
        self.lanes.dead(lane, 300)
        self.lanes.ended(slot, False)
        self.assertEqual(len(self.started), 1)
        self.clock.advance(299)
        self.assertEqual(len(self.started), 1)
        self.clock.advance(2)
        self.assertEqual(len(self.started), 2)
        self.assertIs(self.started[1].share, Health.DEAD)
        self.lanes.ended(self.started[1], True)
        self.assertIs(lane.health, Health.LIVE)

    def test_revived_by_hand(self) -> None:
        self.make()
        lane = self.lane("a", 2)
        self.lanes.dead(lane, 300)
        self.lanes.ended(self.started[0], False)
        self.lanes.revive(lane)
        self.assertEqual(len(self.started), 2)

    def test_no_more_while_all_last_long(self) -> None:
        self.make()
        lane = self.alive("a")
        self.lane("a", 3)
        self.clock.advance(4)
        self.lanes.tell_slow()
        self.assertEqual({slot.share for slot in self.started}, {Health.NEW})
        lane.jobs.extend(range(5))
        self.lanes.offer(lane)
        self.assertEqual(len(self.started), 3)
        self.lanes.ended(self.started[0], True)
        self.lanes.ended(self.started[1], True)
        self.lanes.ended(self.started[2], True)
        self.assertEqual(len(self.started), 8)

    def test_paced(self) -> None:
        self.make(per_minute=6)
        self.alive("a")
        self.lane("a", 4)
        for count in (1, 2, 3, 4):
            self.assertEqual(len(self.started), count)
            self.clock.advance(10.1)

    def test_life_is_forgotten(self) -> None:
        self.make()
        self.alive("a")
        self.clock.advance(3601)
        self.assertIs(self.lanes.lane(b"a").health, Health.NEW)

    def test_too_many_busy_lanes(self) -> None:
        self.make(total=1)
        for number in range(10_000):
            lane = self.lanes.lane(str(number).encode())
            assert lane is not None
            lane.cold = True
        self.assertIsNone(self.lanes.lane(b"one more"))
        self.assertEqual(len(self.lanes), 10_000)

    def test_idle_lanes_are_forgotten(self) -> None:
        self.make()
        busy = self.lane("busy", 5)
        for number in range(20_000):
            self.lanes.lane(str(number).encode())
        self.assertLessEqual(len(self.lanes), 10_000)
        self.assertIs(self.lanes.known(b"busy"), busy)

    def test_what_waits_in_the_store_leaves_lanes_to_what_comes_in(self) -> None:
        self.make(total=1)
        for number in range(10_000):
            lane = self.lanes.lane(str(number).encode(), stored=True)
            if lane is not None:
                lane.cold = True
        self.assertEqual(len(self.lanes), 8_000)
        self.assertIsNotNone(self.lanes.lane(b"one more"))


class Stumbles(LanesCase):
    """What works as a rule is not dead at once."""

    def test_longer_each_time(self) -> None:
        self.make()
        lane = self.alive("a")
        rests = []
        while rest := self.lanes.stumbled(lane, 300, steady=False):
            self.assertEqual(self.lanes.stumbled(lane, 300, False), rest, "others of the same moment")
            rests.append(rest - 1)
            self.clock.advance(rest)
        self.assertEqual(rests, [30, 60, 120, 240])

    def test_nobody_else(self) -> None:
        self.make()
        lane = self.lane("new", 0)
        self.assertEqual(self.lanes.stumbled(lane, 300, steady=False), 0)
        self.assertEqual(self.lanes.stumbled(lane, 300, steady=True), 31)
        self.lanes.dead(lane, 300)
        self.assertEqual(self.lanes.stumbled(lane, 300, steady=True), 0)
        self.assertEqual(self.lanes.stumbled(self.alive("brief"), 30, steady=False), 0, "its first wait is no longer")

    def test_a_sign_of_life_ends_it(self) -> None:
        self.make()
        self.alive("a")
        lane = self.lane("a", 1)
        (slot,) = self.started
        self.begun()
        self.lanes.stumbled(lane, 300, steady=False)
        lane.jobs.append(1)
        self.lanes.ended(slot, True)
        self.assertEqual((lane.health, lane.stumbles, lane.until), (Health.LIVE, 0, 0.0))
        self.assertEqual(self.begun(), ["a"])


class Fairness(LanesCase):
    """Nobody's trouble is another's."""

    def test_in_turns(self) -> None:
        self.make(total=2)
        for name in "ab":
            self.alive(name)
        self.lane("a", 100)
        self.lane("b", 2)
        self.begun()
        order = []
        for _ in range(4):
            self.lanes.ended(self.lanes.running[0], True)
            order += self.begun()
        self.assertIn("b", order[:2])

    def test_dead_take_nothing_from_new(self) -> None:
        self.make()
        for number in range(200):
            lane = self.lanes.lane(f"dead{number}".encode())
            lane.health = Health.DEAD
            self.lane(f"dead{number}", 1)
        self.assertEqual(len(self.begun()), 25)
        for number in range(40):
            self.lane(f"new{number}", 1)
        self.assertEqual(len(self.begun()), 40)

    def test_new_one_gets_a_turn_though_black_holes_hold_all(self) -> None:
        self.make()
        for number in range(500):
            self.lane(f"hole{number}", 1)
        self.assertEqual(len(self.begun()), 41)  # the common share, and one of the reserve
        self.clock.advance(1)
        self.begun()
        self.lane("alive", 1)
        self.clock.advance(2.1)  # one of the reserve each 2 s, the last that came first
        self.assertEqual(self.begun(), ["alive"])

    def test_reserve_lasts_as_long_as_connecting_may(self) -> None:
        self.make()
        for number in range(500):
            self.lane(f"hole{number}", 1)
        self.begun()
        for number in range(10):
            self.clock.advance(2.1)
            self.lane(f"late{number}", 1)
        self.clock.advance(2.1)
        self.assertGreaterEqual(len([name for name in self.begun() if name.startswith("late")]), 9)

    def test_live_use_what_is_left(self) -> None:
        self.make(total=100)
        for number in range(500):
            self.lane(f"hole{number}", 1)
        self.begun()
        for number in range(10):
            self.alive(f"live{number}")
            self.lane(f"live{number}", 100)
        self.assertEqual(len(self.begun()), 59)

    def test_live_leave_something_to_others(self) -> None:
        self.make(total=20)
        for number in range(3):
            self.alive(f"live{number}")
            self.lane(f"live{number}", 100)
        self.assertEqual(len(self.begun()), 20)
        self.lane("new", 1)
        for _ in range(5):
            self.lanes.ended(self.lanes.running[0], True)
        self.assertIn("new", self.begun())

    def test_nothing_begins_when_closed(self) -> None:
        self.make()
        self.lanes.close()
        self.lane("a", 1)
        self.assertEqual(self.started, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])


class Memory(SynchronousTestCase):
    """The budget."""

    def test_bounds(self) -> None:
        budget = Budget(2, 100)
        self.assertTrue(budget.fits(100))
        self.assertFalse(budget.fits(101))
        self.assertFalse(budget.fits(60, 0.5))
        budget.take(60)
        self.assertFalse(budget.fits(41))
        self.assertFalse(budget.fits(1, 0.5))
        budget.take(1)
        self.assertFalse(budget.fits(0))
        budget.give(60)
        self.assertTrue(budget.fits(99))
