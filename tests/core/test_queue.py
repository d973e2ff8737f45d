"""The queue over a real store: both paths, every outcome, restarts, and mail to dead destinations beside mail to live ones."""

from email.utils import formatdate
from functools import partial

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from mailx.core import queue
from mailx.core.ledger import Selection
from mailx.mail.envelope import Notify, Wish
from tests.core.mail_out import AWAY, GREETING, LATER, NEVER, TAKEN, Office, office


class Outcomes(TestCase):
    """What becomes of recipients."""

    timeout = 240

    async def test_sent_at_once(self) -> None:
        here = await office(self)
        await here.start()
        await here.send("you@example.org")
        await here.settled(sent=1, sending=0)
        self.assertEqual([destination for destination, _, _ in here.courier.tried], ["example.org"])
        self.assertEqual(await here.world.store.read(lambda txn: txn.one("SELECT count(*) FROM messages")), (0,))

    async def test_waits_until_started(self) -> None:
        here = await office(self)
        await here.send("you@example.org")
        self.assertEqual(await here.states(), {"you@example.org": "pending"})
        await here.start()
        await here.settled(sent=1)
        self.assertTrue(here.courier.contents[0].endswith(GREETING))

    async def test_one_attempt_for_all_recipients_of_a_destination(self) -> None:
        here = await office(self)
        await here.start()
        await here.send("a@example.org", "b@example.org", "c@example.net")
        await here.settled(sent=3)
        self.assertEqual(sorted(each[2] for each in here.courier.tried), [("a@example.org", "b@example.org"), ("c@example.net",)])

    async def test_deferred_and_tried_again(self) -> None:
        here = await office(self)
        await here.start()
        here.courier.answers["example.org"] = LATER
        await here.send("you@example.org")
        await here.settled(deferred=1)
        (entry,) = await here.entries()
        self.assertEqual((entry.attempts, entry.due), (1, 1_700_000_300))
        assert entry.last is not None
        self.assertEqual(entry.last.attempt.reply.code, 451)
        del here.courier.answers["example.org"]
        here.clock[0] += 300
        here.queue._timetable.expect(0)
        await here.settled(sent=1)
        shown = await here.queue.ledger.show(entry.id)
        self.assertEqual([past.attempt.reply.code for past in shown.history], [451, 250])

    async def test_failed_with_its_report(self) -> None:
        here = await office(self)
        await here.start()
        here.courier.answers["example.org"] = NEVER
        await here.send("you@example.org")
        await here.settled(failed=1)
        (report,) = await here.reports()
        self.assertIn(b"550 5.1.1 No such user", report)
        self.assertEqual(await here.world.store.read(lambda txn: txn.one("SELECT count(*) FROM messages")), (2,))  # with the dead letter

    async def test_the_timeline_is_in_order(self) -> None:
        """Also where the attempt is over before its message's acceptance has been told."""
        here = await office(self)
        await here.start()
        here.courier.answers["example.org"] = NEVER
        await here.world.accounts.resolve(here.user.address)  # so that nobody has to wait for the directory
        id = await here.send("you@example.org")
        await here.settled(failed=1)
        (trace,) = [each for each in await here.timeline.trace(id) if each.envelope == id]  # the report is found by it too
        self.assertEqual([each.event for each in trace.events], ["accepted", "queued", "reported", "bounced"])

    async def test_each_recipient_by_itself(self) -> None:
        here = await office(self)
        await here.start()
        here.courier.answers["example.org"] = {"a@example.org": TAKEN, "b@example.org": LATER, "c@example.org": NEVER}
        await here.send("a@example.org", "b@example.org", "c@example.org", "d@example.org")
        await here.settled(sent=1, deferred=2, failed=1)
        states = await here.states()
        self.assertEqual([states[f"{each}@example.org"] for each in "abcd"], ["sent", "deferred", "failed", "deferred"])

    async def test_given_up_after_the_last_wait(self) -> None:
        here = await office(self, queue={"retry": ("5m", "15m"), "warn_after": ""})
        await here.start()
        here.courier.answers["example.org"] = LATER
        await here.send("you@example.org")
        tried: list[int] = []
        for wait in (300, 900):
            await here.settled(deferred=1, sending=0)
            (entry,) = await here.entries()
            self.assertEqual(entry.due, here.clock[0] + wait)
            here.clock[0] += wait
            here.queue._timetable.expect(0)
            tried.append(len(here.courier.tried))
            await here.until(lambda: len(here.courier.tried) > tried[-1])
        await here.settled(failed=1)
        self.assertEqual(len(here.courier.tried), 3)
        (report,) = await here.reports()
        self.assertIn(b"Greylisted", report)

    async def test_courier_that_fails(self) -> None:
        here = await office(self)
        await here.start()
        here.courier.answers["example.org"] = ZeroDivisionError("secret")
        await here.send("you@example.org")
        await here.settled(deferred=1)
        (entry,) = await here.entries()
        assert entry.last is not None
        self.assertEqual(str(entry.last.attempt.reply), "451 4.3.0 Local error in delivery")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_success_is_reported_where_nobody_else_will(self) -> None:
        here = await office(self)
        await here.start()
        await here.send("you@example.org", wishes={"you@example.org": Wish(Notify.SUCCESS)})
        await here.settled(sent=1)
        await here.until(lambda: _some(here.reports()))

    async def test_never_is_obeyed(self) -> None:
        here = await office(self)
        await here.start()
        here.courier.answers["example.org"] = NEVER
        await here.send("you@example.org", wishes={"you@example.org": Wish(Notify.NEVER)})
        await here.settled(failed=1)
        self.assertEqual(await here.reports(), [])

    async def test_delay_is_reported_once(self) -> None:
        here = await office(self)
        await here.start()
        here.courier.answers["example.org"] = AWAY
        await here.send("you@example.org")
        await here.settled(deferred=1)
        here.clock[0] += 4 * 3600
        await here.queue._timetable._upkeep()
        await here.until(lambda: _some(here.reports()))
        await here.queue._timetable._upkeep()
        (report,) = await here.reports()
        self.assertIn(b"Action: delayed", report)

    async def test_a_delay_says_until_when_it_is_tried(self) -> None:
        here = await office(self, queue={"retry": ("5m", "15m"), "warn_after": "1m"})
        await here.start()
        here.courier.answers["example.org"] = LATER
        await here.send("you@example.org")
        await here.settled(deferred=1)
        tried, end = (formatdate(here.clock[0] + later).encode().removesuffix(b"-0000") for later in (0, 300 + 900))
        here.clock[0] += 60
        await here.queue._timetable._upkeep()
        await here.until(lambda: _some(here.reports()))
        (report,) = await here.reports()
        self.assertIn(b"\r\nWill-Retry-Until: " + end, report)
        self.assertIn(b"\r\nLast-Attempt-Date: " + tried, report)

    async def test_large_message_from_its_file(self) -> None:
        here = await office(self, store={"file_above": 1024})
        content = GREETING + 400 * (b"x" * 60 + b"\r\n")
        await here.send("you@example.org", content=content)
        self.assertEqual(len(here.world.files()), 1)
        await here.start()
        await here.settled(sent=1)
        self.assertEqual(here.courier.contents[0].size, len(content))
        await here.until(lambda: not here.world.files())

    async def test_copies_of_a_large_message_are_bounded(self) -> None:
        """Each attempt may make a copy of what it sends, so many destinations of a large message have their turns by and by."""
        here = await office(self)
        await here.start()
        domains = [f"d{number}.test" for number in range(24)]
        running: list[Deferred[object]] = []
        most = 0

        def held() -> Deferred[object]:
            nonlocal most
            running.append(Deferred())
            most = max(most, sum(here.courier.running.values()))
            return running[-1]

        here.courier.answers.update(dict.fromkeys(domains, held))
        await here.send(*(f"you@{domain}" for domain in domains), content=GREETING + 65536 * (b"x" * 62 + b"\r\n"))
        for _ in domains:
            await here.until(lambda: bool(running))
            running.pop(0).callback(TAKEN)
        await here.settled(sent=24)
        self.assertLessEqual(most, 64 // 4)

    async def test_relay(self) -> None:
        from mailx.config import Relay, Route

        relays = (Relay(name="smart", hosts=("smart.example.net",)),)
        here = await office(self, outbound={"relays": relays, "routes": (Route(recipients=("*.example.org",), relay="smart"),)})
        await here.start()
        await here.send("a@example.org", "b@sub.example.org")
        await here.settled(sent=2)
        self.assertEqual([each[0] for each in here.relay.tried], ["smart"])
        self.assertEqual([each[0] for each in here.courier.tried], ["example.org"])


async def _some(answer: object) -> bool:
    return bool(await answer)  # type: ignore[misc]


class Dead(TestCase):
    """Destinations that do not work."""

    timeout = 240

    async def test_all_is_put_off_by_one_attempt(self) -> None:
        here = await office(self)
        here.courier.answers["dead.example"] = AWAY
        for number in range(30):
            await here.send(f"user{number}@dead.example")
        await here.start()
        await here.settled(deferred=30)
        self.assertEqual(len(here.courier.tried), 1)
        self.assertEqual({entry.due for entry in await here.entries()}, {1_700_000_300})
        self.assertEqual({entry.attempts for entry in await here.entries()}, {1})

    async def test_fresh_mail_waits_with_the_rest(self) -> None:
        here = await office(self)
        await here.start()
        here.courier.answers["dead.example"] = AWAY
        await here.send("a@dead.example")
        await here.settled(deferred=1)
        await here.send("b@dead.example")
        self.assertEqual((await here.states())["b@dead.example"], "pending")
        self.assertEqual(len(here.courier.tried), 1)

    async def test_all_is_given_up_together(self) -> None:
        here = await office(self, queue={"retry": ("5m",), "warn_after": ""})
        here.courier.answers["dead.example"] = AWAY
        for number in range(5):
            await here.send(f"user{number}@dead.example")
        await here.start()
        await here.settled(deferred=5)
        for lane in here.queue._lanes.lanes:
            here.queue._lanes.revive(lane)
        here.clock[0] += 300
        here.queue._timetable.expect(0)
        await here.settled(failed=5)
        self.assertEqual(len(here.courier.tried), 2)
        self.assertEqual(len(await here.reports()), 5)

    async def test_live_beside_black_holes(self) -> None:
        here = await office(self, outbound={"connections": 20})
        holes: list[Deferred[object]] = []

        def hole() -> "Deferred[object]":
            holes.append(Deferred())
            return holes[-1]

        for number in range(40):
            here.courier.answers[f"dead{number}.example"] = hole
            await here.send(f"user@dead{number}.example")
        here.queue._lanes._reserve_every = 0.1
        await here.start()
        await here.until(lambda: len(holes) >= 8)
        for _ in range(20):
            await here.send("me@live.example")
        await here.settled(sent=20)
        self.assertLess(len(holes), 20)
        for each in holes:
            each.callback(AWAY)
        here.courier.answers.clear()

    async def test_concurrency(self) -> None:
        here = await office(self, outbound={"per_destination": 3})
        waiting: list[Deferred[object]] = []
        for number in range(20):
            await here.send(f"user{number}@busy.example")
        here.courier.answers["busy.example"] = lambda: waiting.append(Deferred()) or waiting[-1]
        await here.start()
        for _ in range(20):
            await here.until(lambda: bool(waiting))
            waiting.pop(0).callback(TAKEN)
        await here.settled(sent=20)
        self.assertEqual(here.courier.most["busy.example"], 3)


class Backlog(TestCase):
    """More than memory holds."""

    timeout = 240

    async def test_who_waits_in_the_store_has_a_turn_though_new_mail_keeps_coming(self) -> None:
        here = await office(self, outbound={"per_destination": 2})
        await here.start()
        await here.send("first@example.org")
        await here.settled(sent=1)
        waiting: list[Deferred[object]] = []
        here.courier.answers["example.org"] = lambda: waiting.append(Deferred()) or waiting[-1]
        for number in range(110):
            await here.send(f"early{number}@example.org")
        states = await here.states()
        overflow = [recipient for recipient, state in states.items() if state == "pending"]
        self.assertGreater(len(overflow), 4)
        for number in range(150):
            await here.until(lambda: bool(waiting))
            waiting.pop(0).callback(TAKEN)
            await here.send(f"late{number}@example.org")
        tried = {recipient for _, _, recipients in here.courier.tried for recipient in recipients}
        self.assertEqual(set(overflow) - tried, set())
        here.courier.answers.clear()
        while waiting:
            waiting.pop().callback(TAKEN)

    async def test_paced(self) -> None:
        self.patch(queue, "_LANE_JOBS_NEW", 1)  # others wait in the store
        here = await office(self, outbound={"per_minute": 80})
        await here.start()
        began = here.world.reactor.seconds()
        for number in range(3):
            await here.send(f"user{number}@example.org")
        self.assertIn("pending", (await here.states()).values())
        await here.settled(sent=3)
        self.assertGreater(here.world.reactor.seconds() - began, 1.4)


class ByHand(TestCase):
    """What the administrator does."""

    timeout = 240

    async def test_hold_and_release(self) -> None:
        here = await office(self)
        await here.send("you@example.org")
        self.assertEqual(await here.queue.ledger.hold(Selection()), 1)
        await here.start()
        await here.settled(held=1)
        self.assertEqual(await here.queue.ledger.release(Selection(states=("held",))), 1)
        await here.settled(sent=1)

    async def test_retry(self) -> None:
        here = await office(self)
        await here.start()
        here.courier.answers["example.org"] = AWAY
        await here.send("you@example.org")
        await here.settled(deferred=1)
        here.courier.answers.clear()
        self.assertEqual(await here.queue.ledger.retry(Selection(destination="example.org")), 1)
        await here.settled(sent=1)

    async def test_who_retries_often_makes_nothing_bounce(self) -> None:
        for answer in (AWAY, LATER):
            here = await office(self, queue={"retry": ("5m", "15m"), "warn_after": ""})
            await here.start()
            here.courier.answers["example.org"] = answer
            await here.send("you@example.org")
            await here.settled(deferred=1)
            for number in range(2, 6):
                self.assertEqual(await here.queue.ledger.retry(Selection()), 1)
                await here.until(partial(self._tried, here, number))
            (entry,) = await here.entries()
            self.assertEqual((entry.state, entry.attempts, entry.due - int(here.clock[0])), ("deferred", 1, 300))

    async def _tried(self, here: Office, times: int) -> bool:
        return len(here.courier.tried) == times and (await here.entries())[0].state == "deferred"

    async def test_retry_of_a_dead_letter(self) -> None:
        here = await office(self)
        await here.start()
        here.courier.answers["example.org"] = NEVER
        await here.send("you@example.org")
        await here.settled(failed=1)
        here.courier.answers.clear()
        self.assertEqual(await here.queue.ledger.retry(Selection(states=("failed",))), 1)
        await here.settled(sent=1, failed=0)
        self.assertTrue(here.courier.contents[-1].endswith(GREETING))

    async def test_bounce(self) -> None:
        here = await office(self)
        await here.send("you@example.org")
        await here.start()
        await here.settled(sent=1)
        here.courier.answers["example.net"] = AWAY
        await here.send("you@example.net")
        await here.settled(deferred=1)
        self.assertEqual(await here.queue.ledger.bounce(Selection(states=("deferred",))), 1)
        await here.settled(failed=1)
        (report,) = await here.reports()
        self.assertIn(b"Returned by the administrator", report)

    async def test_delete(self) -> None:
        here = await office(self)
        await here.send("a@example.org", "b@example.org")
        (first, _) = await here.entries()
        self.assertEqual(await here.queue.ledger.delete(Selection(ids=(first.id,))), 1)
        await here.start()
        await here.settled(sent=1)
        self.assertEqual(await here.queue.ledger.purge(), 1)
        self.assertEqual(await here.entries(), [])
        counts = await here.world.store.read(
            lambda txn: [txn.one(f"SELECT count(*) FROM {table}")[0] for table in ("dispatches", "messages", "bodies")]
        )
        self.assertEqual(counts, [0, 0, 0])
