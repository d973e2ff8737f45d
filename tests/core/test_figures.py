"""Counts over time: gathered, written, read back as series, dropped when old."""

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from mailx.core.courier import Attempt
from mailx.core.figures import CALLS, COARSE, FINE, KEPT, LOCAL, NAMES, SENT, Figures
from mailx.core.progress import Progress, Step
from mailx.mail.address import Address
from mailx.mail.reply import Reply, Unavailable
from mailx.store import Txn
from tests.scenery import World, world

NOON = 1_800_000_000 // 86400 * 86400 + 43200.0
ADDRESS = Address.parse("ada@example.test")


def step(state: str, destination: str = "example.org") -> Step:
    return Step("e" * 16, 1, ADDRESS, state, Attempt(Reply(250, "2.0.0", "OK")), destination, None, "ESMTP", ADDRESS, None, 10, 1, 0)


def count(txn: Txn) -> int:
    row = txn.one("SELECT count(*) FROM figures")
    assert row is not None
    return int(row[0])


class Case:
    """Figures with a clock of their own."""

    def __init__(self, made: World, at: float = NOON) -> None:
        self.world = made
        self.now = at
        self.clock = Clock()
        self.figures = Figures(made.store, self.clock, lambda: self.now)


class Counting(TestCase):
    """Over both engines' SQL; the PostgreSQL class below runs the same."""

    engine = "sqlite"

    async def case(self) -> Case:
        return Case(await world(self, engine=self.engine))

    async def test_progress(self) -> None:
        case = await self.case()
        progress = Progress()
        case.figures.start(progress)
        for state, destination in (("delivered", "a.example"), ("delivered", ""), ("deferred", "a.example"), ("bounced", "a.example")):
            progress.tell(step(state, destination))
        series = await case.figures.series(FINE, 12)
        self.assertEqual([series.total(name) for name in NAMES], [1, 1, 1, 1, 0, 0])
        await case.figures.stop()
        series = await case.figures.series(FINE, 12)
        self.assertEqual([series.total(name) for name in NAMES], [1, 1, 1, 1, 0, 0])

    async def test_spans(self) -> None:
        case = await self.case()
        case.now = NOON - 3600
        case.figures.note(CALLS, 5)
        await case.figures.stop()
        case.now = NOON + 10
        case.figures.note(CALLS, 2)
        fine = await case.figures.series(FINE, 13)
        self.assertEqual(fine.counts[CALLS], [5, *[0] * 11, 2])
        self.assertEqual((fine.since, fine.step), (int(NOON) - 3600, FINE))
        wide = await case.figures.series(FINE, 2, of=12)
        self.assertEqual(wide.counts[CALLS], [5, 2])
        self.assertEqual((await case.figures.series(COARSE, 2)).counts[CALLS], [5, 2])
        self.assertEqual((await case.figures.series(COARSE, 2)).total(SENT, LOCAL), 0)

    async def test_several_nodes_add_up(self) -> None:
        case = await self.case()
        other = Case(case.world)
        for each in (case, other, case):
            each.figures.note(SENT, 3)
            await each.figures.stop()
        self.assertEqual((await case.figures.series(COARSE, 1)).total(SENT), 9)

    async def test_written_by_and_by(self) -> None:
        case = await self.case()
        case.figures.start()
        case.figures.note(SENT)
        case.clock.advance(10)
        await case.figures.series(FINE, 1)
        self.assertEqual(await case.world.store.read(count), len(KEPT))
        await case.figures.stop()
        self.assertEqual(case.clock.getDelayedCalls(), [])

    async def test_pruned(self) -> None:
        case = await self.case()
        case.now = NOON - KEPT[COARSE] - 7200
        case.figures.note(SENT)
        await case.figures.stop()
        later = Case(case.world)
        later.figures.start()
        later.figures.note(SENT)
        later.clock.advance(10)
        await later.figures.series(FINE, 1)
        self.assertEqual(await case.world.store.read(count), len(KEPT))
        await later.figures.stop()


class CountingOnPostgres(Counting):
    """The same on PostgreSQL."""

    engine = "postgresql"


class Trouble(TestCase):
    """The store cannot answer."""

    async def test_counts_wait(self) -> None:
        case = Case(await world(self))
        real = case.world.store.write

        def away(*args: Any) -> Any:
            raise Unavailable("disk full")

        self.patch(case.world.store, "write", away)
        case.figures.start()
        case.figures.note(SENT, 4)
        case.clock.advance(10)
        self.patch(case.world.store, "write", real)
        case.clock.advance(10)
        self.assertEqual((await case.figures.series(FINE, 1)).total(SENT), 4)
        self.assertEqual(await case.world.store.read(count), len(KEPT))
        await case.figures.stop()
