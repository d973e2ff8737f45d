"""Timelines over a real store: what is noted is found, in order, and never disturbs mail."""

from typing import Any
from unittest.mock import patch

from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import TestCase

from mailx.core import metrics
from mailx.core import timeline as module
from mailx.core.timeline import Timeline, Trace
from mailx.mail.reply import Unavailable
from mailx.store import timeline as pages
from tests.scenery import World, world

DAY = 86400


class Clocked:
    """A reactor whose time is the test's own; threads are the real one's."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.clock.advance(20000 * DAY)
        self.seconds = self.clock.seconds
        self.callLater = self.clock.callLater
        self.callFromThread = reactor.callFromThread  # type: ignore[attr-defined]
        self.getThreadPool = reactor.getThreadPool  # type: ignore[attr-defined]


class Failing:
    """A store whose writes fail ``failures`` times."""

    def __init__(self, store: Any, failures: int) -> None:
        self.failures = failures
        self.read = store.read
        self._store = store

    def write(self, *args: Any) -> Any:
        if self.failures:
            self.failures -= 1
            raise Unavailable("disk full")
        return self._store.write(*args)


class Base(TestCase):
    engine = "sqlite"
    world: World

    async def open(self, failures: int = 0) -> Timeline:
        self.world = await world(self, engine=self.engine)
        self.reactor = Clocked()
        self.store = Failing(self.world.store, failures)
        self.timeline = Timeline(self.store, self.world.cipher, self.reactor, 30)  # type: ignore[arg-type]
        return self.timeline

    async def pages(self) -> int:
        rows, _ = await self.world.store.read(pages.scan, [], None, 100000)
        assert rows == []
        return int((await self.world.store.read(lambda txn: txn.one("SELECT count(*) FROM timeline")))[0])

    def events(self, trace: Trace) -> list[str]:
        return [event.event for event in trace.events]


class Tracing(Base):
    async def test_a_message_is_found_whole_by_each_of_its_keys(self) -> None:
        timeline = await self.open()
        timeline.note("id1", "accepted", ["Ada@Example.org", "bob@example.net", "<M1@x>"], sender="Ada@Example.org", size=1)
        timeline.note("id2", "accepted", ["ada@example.org"], size=2)
        await timeline.flush()
        self.reactor.clock.advance(5)
        timeline.note("id1", "delivered", reply="250 OK")
        for what in ("id1", "bob@example.net", "<m1@X>", "M1@x", " BOB@example.NET"):
            (trace,) = await timeline.trace(what)
            self.assertEqual((trace.envelope, self.events(trace)), ("id1", ["accepted", "delivered"]), what)
        self.assertEqual(trace.events[0].facts, {"sender": "Ada@Example.org", "size": 1})
        self.assertEqual(trace.events[1].time - trace.events[0].time, 5)
        self.assertEqual([trace.envelope for trace in await timeline.trace("ada@example.org")], ["id1", "id2"])
        self.assertEqual(await timeline.trace("nobody@example.org"), [])
        await timeline.stop()

    async def test_events_of_many_pages_stand_in_order(self) -> None:
        timeline = await self.open()
        timeline.note("id", "accepted", ["ada@example.org"])
        for number in range(5):
            self.reactor.clock.advance(1)
            timeline.note("other", "attempt", number=number)
            timeline.note("id", "attempt", number=number)
            await timeline.flush()
        (trace,) = await timeline.trace("ada@example.org")
        self.assertEqual([event.facts.get("number") for event in trace.events], [None, 0, 1, 2, 3, 4])
        await timeline.stop()

    async def test_the_newest_are_told_when_there_are_too_many(self) -> None:
        timeline = await self.open()
        for number in range(30):
            self.reactor.clock.advance(1)
            timeline.note(f"id{number}", "accepted", ["ada@example.org"])
            if number % 4 == 0:
                await timeline.flush()
        self.assertEqual([trace.envelope for trace in await timeline.trace("ada@example.org", 3)], ["id27", "id28", "id29"])
        await timeline.stop()

    async def test_the_newest_messages(self) -> None:
        timeline = await self.open()
        self.assertEqual(await timeline.recent(), [])
        for number in range(5):
            timeline.note(f"id{number}", "accepted", [f"a{number}@example.org"])
            await timeline.flush()
            self.reactor.clock.advance(1)
        timeline.note("id1", "delivered")
        traces = await timeline.recent(3)
        self.assertEqual(
            [(trace.envelope, self.events(trace)) for trace in traces],
            [
                ("id1", ["accepted", "delivered"]),
                ("id3", ["accepted"]),
                ("id4", ["accepted"]),
            ],
        )
        await timeline.stop()

    async def test_a_hash_that_lies(self) -> None:
        timeline = await self.open()
        timeline.note("id", "accepted", ["ada@example.org"])
        with patch.object(pages, "found_by", lambda cipher, key: 7):
            self.assertEqual(await timeline.trace("bob@example.org"), [])
            self.assertEqual(len(await timeline.trace("ada@example.org")), 1)
        await timeline.stop()

    async def test_a_damaged_page_costs_itself_only(self) -> None:
        timeline = await self.open()
        timeline.note("id1", "accepted", ["ada@example.org"])
        await timeline.flush()
        timeline.note("id2", "accepted", ["ada@example.org"])
        await timeline.flush()
        damage = evolve(pages.sealed(self.world.cipher, 20000, [("id3", ["ada@example.org"], [])]), events=b"damage")
        await self.world.store.write(pages.add, damage)
        self.assertEqual(len(await timeline.trace("ada@example.org")), 2)
        await timeline.stop()


class TracingOnPostgreSQL(Tracing):
    engine = "postgresql"


class Writing(Base):
    async def until(self, condition: Any) -> None:
        """Let the threads work until ``condition`` holds."""
        while not condition():
            await deferLater(reactor, 0.001)

    async def test_notes_are_gathered(self) -> None:
        timeline = await self.open()
        timeline.note("id1", "accepted")
        timeline.note("id2", "accepted")
        self.reactor.clock.advance(0.5)
        self.assertTrue(timeline._notes)
        self.reactor.clock.advance(0.5)
        await self.until(lambda: not timeline._running)
        self.assertEqual((timeline._notes, await self.pages()), ([], 1))
        await timeline.stop()

    async def test_many_notes_wait_for_no_time(self) -> None:
        timeline = await self.open()
        for number in range(module._PAGE + 1):
            timeline.note(f"id{number}", "accepted")
        self.reactor.clock.advance(0)
        await self.until(lambda: not timeline._running)
        self.assertEqual((len(timeline._notes), await self.pages()), (1, 1))
        await timeline.stop()
        self.assertEqual(await self.pages(), 2)
        self.assertEqual(self.reactor.clock.getDelayedCalls(), [])

    async def test_a_failed_flush_is_tried_again(self) -> None:
        timeline = await self.open(failures=2)
        timeline.note("id", "accepted")
        with self.assertRaises(Unavailable):
            await timeline.flush()
        timeline.note("id", "delivered")
        self.reactor.clock.advance(2)
        await self.until(lambda: not timeline._running)
        self.assertEqual(len(timeline._notes), 2, "it failed twice")
        self.reactor.clock.advance(4)
        await self.until(lambda: not timeline._running)
        self.assertEqual(timeline._notes, [])
        (trace,) = await timeline.trace("id")
        self.assertEqual(self.events(trace), ["accepted", "delivered"])
        await timeline.stop()

    async def test_what_cannot_be_written_keeps_nothing_else(self) -> None:
        timeline = await self.open()
        with patch.object(module, "_page", side_effect=[RuntimeError("a fault of the program")]):
            timeline.note("one", "accepted")
            await timeline.flush()
        timeline.note("two", "accepted")
        self.assertEqual([(await timeline.trace(one)) == [] for one in ("one", "two")], [True, False])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        await timeline.stop()

    async def test_memory_is_bounded(self) -> None:
        timeline = await self.open(failures=1)
        before = metrics.TIMELINE_LOST._value.get()
        with patch.object(module, "_LIMIT", 5):
            for number in range(8):
                timeline.note(f"id{number}", "accepted")
        self.assertEqual((len(timeline._notes), metrics.TIMELINE_LOST._value.get() - before), (5, 3))
        with self.assertRaises(Unavailable):
            await timeline.flush()
        await timeline.stop()
        self.assertEqual(await self.pages(), 1)

    async def test_stop_while_the_store_is_away(self) -> None:
        timeline = await self.open(failures=9)
        timeline.note("id", "accepted")
        await timeline.stop()
        timeline.note("id", "delivered")
        self.assertEqual(self.reactor.clock.getDelayedCalls(), [])


class Keeping(Base):
    async def day(self, timeline: Timeline, *ids: str) -> None:
        for id in ids:
            timeline.note(id, "accepted", [f"{id}@example.org", "all@example.org"])
            await timeline.flush()

    async def test_old_days_are_dropped(self) -> None:
        timeline = await self.open()
        await self.day(timeline, "old")
        self.reactor.clock.advance(30 * DAY)
        await self.day(timeline, "new")
        self.assertEqual(await timeline.prune(), 0)
        self.reactor.clock.advance(DAY)
        self.assertEqual(await timeline.prune(), 1)
        self.assertEqual([trace.envelope for trace in await timeline.trace("all@example.org")], ["new"])
        await timeline.stop()

    async def test_small_pages_of_past_days_are_merged(self) -> None:
        timeline = await self.open()
        await self.day(timeline, "a", "b", "a")
        self.reactor.clock.advance(DAY)
        await self.day(timeline, "c", "d")
        self.reactor.clock.advance(DAY)
        await self.day(timeline, "e", "f")
        self.assertEqual(await self.pages(), 7)
        with patch.object(module, "_PAUSE", 0):
            done = Deferred.fromCoroutine(timeline.prune())
            while not done.called:
                await deferLater(reactor, 0.001)
                self.reactor.clock.advance(0)
            await done
        self.assertEqual(await self.pages(), 4, "one of each past day, today's as they were")
        (trace,) = await timeline.trace("a@example.org")
        self.assertEqual(self.events(trace), ["accepted", "accepted"])
        self.assertEqual([trace.envelope for trace in await timeline.trace("all@example.org")], ["a", "b", "c", "d", "e", "f"])
        await timeline.stop()


class KeepingOnPostgreSQL(Keeping):
    engine = "postgresql"
