"""The queue when servers end, in whichever way, several on one database, and clocks that jump."""

from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import TestCase

from mailx.core.ledger import Selection
from mailx.mail.reply import Unavailable
from mailx.store.queue import settle
from tests.core.mail_out import AWAY, LATER, NEVER, TAKEN, office


class Restarts(TestCase):
    """Nothing is lost and nothing skipped when a server ends, in whichever way."""

    timeout = 240

    async def test_killed_while_sending(self) -> None:
        here = await office(self)
        await here.start()
        never: Deferred[object] = Deferred()
        here.courier.answers["example.org"] = never
        await here.send("you@example.org")
        await here.settled(sending=1)
        here.courier.answers.clear()
        again = here.again()
        await again.start()  # the first queue is as good as dead
        await again.settled(sent=1)
        never.callback(AWAY)

    async def test_stopped_while_sending(self) -> None:
        here = await office(self, queue={"shutdown_seconds": 0})
        await here.start()
        here.courier.answers["example.org"] = Deferred
        for number in range(5):
            await here.send(f"user{number}@example.org")
        await here.queue.stop()
        states = sorted((await here.states()).values())
        self.assertEqual(states, ["pending"] * 4 + ["sending"])
        here.courier.answers.clear()
        again = here.again()
        await again.start()
        await again.settled(sent=5)

    async def test_killed_in_every_state(self) -> None:
        here = await office(self, queue={"retry": ("5m",), "shutdown_seconds": 0})
        await here.start()
        here.courier.answers.update({"later.example": LATER, "never.example": NEVER, "away.example": AWAY, "slow.example": Deferred})
        for name in ("taken", "later", "never", "away", "away", "slow"):
            await here.send(f"{name}{len(here.courier.tried)}@{name}.example")
        await here.settled(sent=1, deferred=2, failed=1, pending=1, sending=1)
        await here.queue.ledger.hold(Selection(destination="later.example"))
        killed = await here.copied()
        await here.queue.stop()
        here.courier.answers.clear()
        here.courier.tried.clear()
        here.clock[0] += 300
        await killed.start()
        await killed.settled(sent=4, held=1, failed=1)
        self.assertEqual(sorted(each[0] for each in here.courier.tried), ["away.example", "away.example", "slow.example"])
        self.assertEqual(await killed.queue.ledger.retry(Selection(states=("held", "failed"))), 2)
        await killed.settled(sent=6, held=0, failed=0)
        self.assertEqual(len(await killed.reports()), 1)

    async def test_fault_of_the_program(self) -> None:
        here = await office(self)
        await here.start()
        self.patch(here.queue._sending._settling, "conclude", lambda *_: 1 / 0)
        await here.send("a@example.org")
        await here.settled(held=1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(here.queue._budget.used, 0)

    async def test_store_that_does_not_answer(self) -> None:
        here = await office(self)
        await here.start()
        write, failures = here.world.store.write, [Unavailable("gone")]

        def failing(job, *args):  # type: ignore[no-untyped-def]
            return fail(failures.pop()) if job is settle and failures else write(job, *args)

        self.patch(here.world.store, "write", failing)
        await here.send("a@example.org")
        await here.settled(sent=1)
        self.assertEqual((len(here.courier.tried), failures), (1, []))

    async def test_memory_is_given_back(self) -> None:
        here = await office(self)
        await here.start()
        here.courier.answers.update({"later.example": LATER, "never.example": NEVER, "away.example": AWAY})
        for name in ("taken", "later", "never", "away"):
            await here.send(*[f"{name}{number}@{name}.example" for number in range(3)])
        await here.settled(sent=3, deferred=6, failed=3)
        await here.until(lambda: not here.queue._settling._count)
        sending = here.queue._sending
        self.assertEqual((here.queue._budget.used, here.queue._budget.held, sending._loading.room.used, sending._claimed), (0, 0, 0, 0))

    async def test_row_that_does_not_open(self) -> None:
        here = await office(self)
        await here.send("a@example.org")
        await here.send("b@example.org")

        def damage(txn):  # type: ignore[no-untyped-def]
            txn.execute("UPDATE queue SET recipient = ? WHERE id = 1", (b"0",))

        await here.world.store.write(damage)
        await here.start()
        await here.settled(held=1, sent=1)
        self.assertEqual(len(here.courier.tried), 1)

    async def test_content_that_does_not_open(self) -> None:
        here = await office(self)
        await here.send("a@example.org")

        def damage(txn):  # type: ignore[no-untyped-def]
            txn.execute("UPDATE bodies SET content = ?", (b"0",))

        await here.world.store.write(damage)
        await here.start()
        await here.settled(held=1)
        self.assertEqual(here.courier.tried, [])


class PostgreSQL(TestCase):
    """Several nodes on one database."""

    timeout = 240

    async def test_outcomes(self) -> None:
        here = await office(self, engine="postgresql")
        await here.start()
        here.courier.answers.update({"later.example": LATER, "never.example": NEVER, "away.example": AWAY})
        for name in ("taken", "later", "never", "away", "away"):
            await here.send(f"{name}{len(here.courier.tried)}@{name}.example")
        await here.settled(sent=1, deferred=2, failed=1, pending=1)
        self.assertEqual(len(await here.reports()), 1)
        here.courier.answers.clear()
        self.assertEqual(await here.queue.ledger.retry(Selection()), 4)
        await here.settled(sent=5)

    async def test_a_dead_node_loses_what_it_was_sending(self) -> None:
        here = await office(self, engine="postgresql", queue={"shutdown_seconds": 0})
        await here.start()
        here.courier.answers["example.org"] = Deferred
        await here.send("you@example.org")
        await here.settled(sending=1)
        here.courier.answers.clear()
        self.patch(here.world.store, "node", "other")
        other = here.again()
        await other.start()
        await other.queue._timetable._upkeep()
        await other.settled(sending=1)
        await here.world.store.write(lambda txn: txn.execute("UPDATE nodes SET seen = seen - 121 WHERE node <> 'other'"))
        await other.queue._timetable._upkeep()
        await other.settled(sent=1)

    async def test_a_node_that_stood_still_sends_nothing_that_others_took(self) -> None:
        here = await office(self, engine="postgresql")
        await here.start()
        never: Deferred[object] = Deferred()
        here.courier.answers["example.org"] = never
        await here.send("first@example.org")
        await here.send("second@example.org")
        await here.settled(sending=2)
        timetable = here.queue._timetable
        await here.until(lambda: timetable._round is not None and not timetable._busy)
        timetable._round.cancel()  # a sign of life on its way would undo what follows
        node = here.world.store.node
        self.patch(here.world.store, "node", "other")
        other = here.again()
        here.courier.answers.clear()
        timetable._beat_at -= 200
        await here.world.store.write(lambda txn: txn.execute("UPDATE nodes SET seen = seen - 200 WHERE node = ?", (node,)))
        await other.start()
        await other.settled(sent=2)
        never.callback(TAKEN)
        await here.until(lambda: not here.queue._sending._busy)
        self.assertEqual(sorted(each[2][0] for each in here.courier.tried), ["first@example.org"] * 2 + ["second@example.org"])
        await timetable._upkeep()
        self.assertTrue(timetable.leased())

    async def test_a_node_that_ends_leaves_it_at_once(self) -> None:
        here = await office(self, engine="postgresql", queue={"shutdown_seconds": 0})
        await here.start()
        here.courier.answers["example.org"] = Deferred
        await here.send("you@example.org")
        await here.queue.stop()
        here.courier.answers.clear()
        self.patch(here.world.store, "node", "other")
        other = here.again()
        await other.start()
        await other.settled(sent=1)


class Clock(TestCase):
    """The time of day jumps."""

    timeout = 240

    async def test_ahead_at_the_last_run(self) -> None:
        here = await office(self)
        await here.start()
        here.courier.answers["example.org"] = LATER
        await here.send("you@example.org")
        await here.settled(deferred=1)
        await here.queue.stop()
        here.clock[0] -= 10 * 365 * 86400
        here.courier.answers.clear()
        again = here.again()
        await again.start()
        await again.settled(sent=1)

    async def test_set_back(self) -> None:
        here = await office(self)
        await here.start()
        here.courier.answers["example.org"] = LATER
        await here.send("you@example.org")
        await here.settled(deferred=1)
        here.clock[0] -= 3600
        await here.queue._timetable._mind_clock()
        (entry,) = await here.entries()
        self.assertEqual(entry.due, here.clock[0] + 300)

    async def test_set_forward_gives_nobody_up(self) -> None:
        here = await office(self)
        await here.start()
        here.courier.answers["example.org"] = LATER
        await here.send("you@example.org")
        await here.settled(deferred=1)
        here.clock[0] += 365 * 86400
        here.queue._timetable.expect(0)
        await here.until(lambda: len(here.courier.tried) == 2)
        await here.settled(deferred=1, sending=0)
