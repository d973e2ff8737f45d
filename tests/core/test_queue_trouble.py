"""Trouble of the rarer kind: answers that get lost, routes that change, couriers that do not end, servers that stumble."""

from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import TestCase

from mailx.config import Route
from mailx.core import loading, sending, settling, timetable
from mailx.core.content import no_space
from mailx.core.ledger import Selection
from mailx.core.policy import Policy
from mailx.core.shipments import SPARED
from mailx.mail.envelope import Notify, Wish
from mailx.mail.reply import Reply, Unavailable
from mailx.store import queue
from mailx.store.delivery import deliver
from tests.core.mail_out import AWAY, GREETING, NEVER, TAKEN, Office, office

WISHES = {"ann@moved.example": Wish(int(Notify.SUCCESS | Notify.FAILURE))}
RELAY = {"routes": (Route(relay="smart"),)}


def lost(here: Office, job: object) -> None:
    """The first answer to ``job`` gets lost although it was committed."""
    write, answers = here.world.store.write, [Unavailable("the connection broke during COMMIT")]

    async def losing(asked: Any, *args: Any) -> Any:
        answer = await write(asked, *args)
        if asked is job and answers:
            raise answers.pop()
        return answer

    here.case.patch(here.world.store, "write", lambda *args: Deferred.fromCoroutine(losing(*args)))


class Forgotten(TestCase):
    """Rows in "sending" that nobody sends."""

    timeout = 240
    engine = ""

    async def test_the_answer_to_a_claim_was_lost(self) -> None:
        self.patch(timetable, "ROUND", 0.02)
        here = await office(self, engine=self.engine)
        await here.send("you@example.org")
        lost(here, queue.claim)
        await here.start()
        await here.settled(sent=1)
        self.assertEqual(len(here.courier.tried), 1)

    async def test_what_is_being_sent_is_not_forgotten(self) -> None:
        here = await office(self, engine=self.engine)
        await here.start()
        never: Deferred[object] = Deferred()
        here.courier.answers["example.org"] = never
        await here.send("you@example.org")
        for _ in range(3):
            await here.queue._timetable._upkeep()
        self.assertEqual(await here.states(), {"you@example.org": "sending"})
        never.callback(TAKEN)
        await here.settled(sent=1)
        self.assertEqual((len(here.courier.tried), here.queue._settling._entrusted), (1, set()))

    async def test_trouble_after_the_commit(self) -> None:
        here = await office(self, engine=self.engine)
        await here.start()
        placed = here.queue.placed
        self.patch(here.queue, "placed", lambda *_: 1 / 0)
        await here.send("you@example.org")
        self.patch(here.queue, "placed", placed)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        for _ in range(2):
            await here.queue._timetable._upkeep()
        await here.settled(sent=1)

    async def test_trouble_in_the_books(self) -> None:
        here = await office(self, engine=self.engine)
        await here.start()
        self.patch(here.reception._arrivals, "placed", lambda *_: 1 / 0)
        await here.send("you@example.org", "me@example.test")  # not refused: it would be sent again
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(len(await here.reports()), 1)
        await here.settled(sent=1)


class ForgottenPostgreSQL(Forgotten):
    """The same on PostgreSQL, where answers do get lost."""

    engine = "postgresql"


class Reports(TestCase):
    """A sender hears of a failure although the store did not answer at first."""

    timeout = 240

    async def test_the_directory_does_not_answer(self) -> None:
        here = await office(self)
        await here.start()
        here.courier.answers["example.org"] = NEVER
        resolve, failures = here.world.accounts.resolve, [Unavailable("gone")]

        def failing(address: Any) -> Any:
            return fail(failures.pop()) if failures else resolve(address)

        self.patch(here.world.accounts, "resolve", failing)
        await here.send("you@example.org")
        await here.settled(failed=1)
        self.assertEqual(len(await here.reports()), 1)

    async def test_nobody_objects(self) -> None:
        here = await office(self)
        await here.start()
        here.courier.answers["example.org"] = NEVER
        await here.send("you@example.org")
        policy = Policy()
        self.patch(policy, "check", lambda *_: succeed(Reply(451, "4.7.1", "The scanner is away")))
        self.patch(here.reception, "_at_end", (policy,))
        await here.settled(failed=1)
        self.assertEqual(len(await here.reports()), 1)

    async def test_full_disk(self) -> None:
        here = await office(self, store={"file_above": 100})
        await here.start()
        here.courier.answers["example.org"] = NEVER
        seal, failures = here.reception._sealing.seal, [no_space(OSError("disk full"))]

        async def failing(message: Any, *args: Any) -> Any:
            if failures and b"could not be delivered" in message.content:
                raise failures.pop()
            return await seal(message, *args)

        self.patch(here.reception._sealing, "seal", failing)
        await here.send("you@example.org")
        await here.settled(failed=1)
        self.assertEqual((len(await here.reports()), failures), (1, []))

    async def test_the_answer_to_a_report_was_lost(self) -> None:
        here = await office(self)
        await here.start()
        here.courier.answers["example.org"] = never = Deferred()
        await here.send("you@example.org")
        await here.until(lambda: len(here.courier.tried) == 1)
        lost(here, deliver)
        never.callback(NEVER)
        await here.settled(failed=1)
        await here.until(lambda: not here.queue._settling._count)
        self.assertEqual(len(await here.reports()), 1)


class Routes(TestCase):
    """The routes changed while mail was waiting."""

    timeout = 240

    async def test_each_domain_goes_its_own_way(self) -> None:
        here = await office(self, outbound=RELAY)
        await here.send("a@one.example", "b@two.example")
        again = here.again(outbound={})
        await again.start()
        await again.settled(sent=2)
        self.assertEqual(
            sorted((destination, recipients) for destination, _, recipients in here.courier.tried),
            [("one.example", ("a@one.example",)), ("two.example", ("b@two.example",))],
        )
        self.assertEqual(here.relay.tried, [])
        self.assertEqual(await here.world.store.read(lambda txn: txn.all("SELECT * FROM destinations")), [])


class Home(TestCase):
    """Mail waits for a domain that becomes one of ours."""

    timeout = 240

    async def test_it_is_delivered_here(self) -> None:
        for above in (1024, 1 << 20):
            here = await office(self, store={"file_above": above}, outbound=RELAY if above == 1024 else {})
            content = GREETING + 400 * (b"x" * 60 + b"\r\n")
            await here.send("ann@moved.example", "nobody@moved.example", "you@example.org", content=content, wishes=WISHES)
            ann = await here.world.user("ann@moved.example")
            here.reception.bounce_with(here.bounces)
            await here.start()
            await here.settled(sent=2, failed=1)
            await here.until(lambda here=here: self._come(here, 2))
            self.assertEqual([len(courier.tried) for courier in (here.courier, here.relay)], [0, 1] if above == 1024 else [1, 0])
            (message,) = await here.world.contents(ann)
            self.assertTrue(message.endswith(content))
            reports = b"".join(await here.reports())
            self.assertEqual((reports.count(b"Action: delivered"), reports.count(b"Action: failed")), (1, 1))
            self.assertEqual(reports.count(b"Action: "), 2)
            self.assertEqual(await here.queue.ledger.retry(Selection()), 1)  # the dead letter still has its content
            await here.until(lambda here=here: self._come(here, 3))
            await here.settled(held=0, failed=1)

    async def _come(self, here: Office, reports: int) -> bool:
        return len(await here.reports()) == reports


class Many(TestCase):
    """A message with many recipients."""

    timeout = 240

    async def test_in_as_many_domains(self) -> None:
        here = await office(self)
        await here.start()
        await here.send(*[f"user@d{number}.example" for number in range(150)])
        self.assertEqual(set((await here.states()).values()), {"pending"})
        await here.settled(sent=150)
        self.assertEqual(len(here.courier.tried), 150)


class Ends(TestCase):
    """The server ends although others do not."""

    timeout = 240

    async def test_courier_that_cannot_be_broken_off(self) -> None:
        self.patch(sending, "_GRACE", 0.01)
        here = await office(self, queue={"shutdown_seconds": 0})
        await here.start()
        deaf: Deferred[object] = Deferred(lambda _: None)
        self.patch(deaf, "errback", lambda *_: None)
        here.courier.answers["example.org"] = deaf
        self.patch(deaf, "cancel", lambda: None)
        await here.send("you@example.org")
        await here.settled(sending=1)
        await here.queue.stop()
        self.assertEqual(await here.states(), {"you@example.org": "sending"})
        deaf.callback(TAKEN)
        await here.settled(sent=1)

    async def test_nobody_waits_for_a_store_that_does_not_answer(self) -> None:
        self.patch(settling, "_AGAIN", 3600.0)  # whoever waited for it would wait longer than this test may
        here = await office(self)
        await here.start()
        write = here.world.store.write
        self.patch(here.world.store, "write", lambda job, *args: fail(Unavailable("gone")) if job is queue.settle else write(job, *args))
        await here.send("you@example.org")
        await here.until(lambda: bool(here.queue._settling._sleeping))
        await here.queue.stop()
        self.patch(here.world.store, "write", write)
        self.assertEqual(await here.states(), {"you@example.org": "sending"})


class Stumbling(TestCase):
    """A destination that worked a moment ago rests for a short while first, and no attempt is counted."""

    timeout = 240

    async def test_live(self) -> None:
        here = await office(self)
        await here.start()
        await here.send("first@example.org")
        await here.settled(sent=1)
        here.courier.answers["example.org"] = AWAY
        await here.send("you@example.org")
        await here.settled(deferred=1)
        await here.send("next@example.org")
        entries = {entry.recipient: entry for entry in await here.entries(states=("pending", "deferred"))}
        self.assertEqual({name: entry.attempts for name, entry in entries.items()}, {"you@example.org": 0, "next@example.org": 0})
        for entry in entries.values():
            self.assertLessEqual(abs(entry.due - here.clock[0] - 30), 1)
        self.assertEqual(len(here.courier.tried), 2)
        here.courier.answers.clear()
        await here.queue.ledger.retry(Selection())
        await here.settled(sent=3)
        (lane,) = here.queue._lanes.lanes
        self.assertEqual((lane.stumbles, lane.until), (0, 0.0))

    async def test_relay(self) -> None:
        here = await office(self, outbound=RELAY)
        here.relay.answers["smart"] = AWAY
        for number in range(3):
            await here.send(f"user{number}@d{number}.example")
        await here.start()
        await here.settled(deferred=1, pending=2)
        (lane,) = here.queue._lanes.lanes
        rests = []
        for _ in range(4):
            rests.append(round(lane.until - here.world.reactor.seconds()))
            lane.until = lane.resting = 0.0
            here.queue._lanes._leave(lane)
            here.clock[0] += 600
            tried = len(here.relay.tried)
            here.queue._timetable.expect(0)
            await here.until(lambda tried=tried: len(here.relay.tried) > tried)
            await here.until(lambda: not here.queue._settling._count and not here.queue._sending._busy)
        self.assertEqual(rests, [30, 60, 120, 240])
        self.assertEqual({entry.attempts for entry in await here.entries()}, {1}, "then it is dead, and all are put off")

    async def test_not_for_ever(self) -> None:
        """Mail at which only this one server breaks off, while other mail passes, is given up in the end."""
        here = await office(self, queue={"retry": ("5m",), "warn_after": ""})
        await here.start()
        here.courier.answers["example.org"] = lambda: AWAY if "bad@example.org" in here.courier.tried[-1][2] else TAKEN
        await here.send("good@example.org")
        await here.settled(sent=1)
        await here.send("bad@example.org")
        for number in range(SPARED + 2):
            await here.until(lambda: not here.queue._settling._count and not here.queue._sending._busy)
            for lane in here.queue._lanes.lanes:
                here.queue._lanes.revive(lane)
            await here.send("good@example.org")
            await here.settled(sent=number + 2)
            here.clock[0] += 300
            here.queue._timetable.expect(0)
            await here.until(lambda number=number: sum("bad@example.org" in each[2] for each in here.courier.tried) >= min(number + 2, 10))
        await here.settled(failed=1)


class Room(TestCase):
    """Contents in memory."""

    timeout = 240

    async def test_small_ones_beside_large_ones_that_take_long(self) -> None:
        here = await office(self, store={"file_above": 1 << 30}, queue={"shutdown_seconds": 0})
        here.courier.answers.update({f"slow{number}.example": Deferred for number in range(3)})
        self.patch(loading, "_OCTETS", 4 << 20)
        here.queue._sending._loading.room.octets = 4 << 20
        for number in range(3):
            await here.send(f"user@slow{number}.example", content=b"Subject: Large\r\n\r\n".ljust(2 << 20, b"x"))
        await here.send("user@quick.example")
        await here.start()
        await here.settled(sent=1)
        await here.until(lambda: len(here.courier.tried) == 2)
        here.courier.answers.clear()
