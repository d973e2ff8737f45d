"""What becomes of calls, and how their callers hear of it: over a real store and queue."""

import hmac
import re
from hashlib import sha256
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from mailx.core import call_states
from mailx.core import callbacks as module
from mailx.core.callbacks import WAITS
from mailx.core.ledger import Selection
from mailx.core.posting import NotPosted
from mailx.core.users import DirectoryError
from mailx.mail.reply import Unavailable
from mailx.store import callbacks as rows
from tests.core.calls_scene import URL, scene
from tests.core.mail_out import AWAY, LATER, NEVER

GONE = NotPosted("no connection", unreachable=True)


class Telling(TestCase):
    """Each change of state is told, in order."""

    timeout = 240

    async def test_delivered(self) -> None:
        here = await scene(self)
        await here.start()
        call = await here.call("you@example.org")
        await here.until_state(call, "delivered")
        await here.until_told(call, "done", "done")
        self.assertEqual(here.poster.events(), [(call.id, "queued"), (call.id, "delivered")])
        queued, delivered = here.poster.posts
        self.assertEqual(
            {**queued[1], "event_id": ""},
            {
                "event_id": "",
                "event": "queued",
                "queued_id": call.id,
                "type": "message",
                "to": "you@example.org",
                "at": "2023-11-14T22:13:20Z",
            },
        )
        self.assertEqual((queued[0], delivered[1]["reply"]), (URL, "250 2.0.0 OK"))
        self.assertNotEqual(queued[1]["event_id"], delivered[1]["event_id"])

    async def test_signed(self) -> None:
        here = await scene(self, webhook={"secret": "one", "callback_secret": "two", "header_prefix": "X-Mine"})
        await here.start()
        bodies = []
        post = here.poster.post

        class Seeing:
            async def post(self, url: str, body: bytes, fields: Any) -> int:
                bodies.append(body)
                return await post(url, body, fields)

        self.patch(here.callbacks, "_posting", Seeing())
        await here.call("you@example.org")
        await here.until_posted(1)
        _, told, fields = here.poster.posts[0]
        message = fields["X-Mine-Timestamp"].encode() + b"." + bodies[0]
        self.assertEqual(fields["X-Mine-Signature"], hmac.new(b"two", message, sha256).hexdigest())
        self.assertRegex(fields["X-Mine-Timestamp"], r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\Z")
        self.assertEqual(fields["X-Mine-Event-Id"], told["event_id"])
        self.assertTrue(re.fullmatch("[0-9a-f]{32}", told["event_id"]))

    async def test_deferred_then_bounced(self) -> None:
        here = await scene(self)
        here.office.courier.answers["example.org"] = LATER
        await here.start()
        call = await here.call("you@example.org")
        await here.until_state(call, "deferred")
        await here.until_posted(2)
        here.office.courier.answers["example.org"] = NEVER
        await here.later(300)
        await here.until_state(call, "bounced")
        await here.until_told(call, "done", "done", "done")
        self.assertEqual([told["event"] for _, told, _ in here.poster.posts], ["queued", "deferred", "bounced"])
        self.assertEqual([told.get("reply") for _, told, _ in here.poster.posts], [None, "451 4.7.1 Greylisted", "550 5.1.1 No such user"])

    async def test_deferred_twice_is_told_once(self) -> None:
        here = await scene(self)
        here.office.courier.answers["example.org"] = LATER
        await here.start()
        call = await here.call("you@example.org")
        await here.until_state(call, "deferred")
        await here.later(300)
        await here.office.until(lambda: len(here.office.courier.tried) == 2)
        await here.office.settled(deferred=1)
        del here.office.courier.answers["example.org"]
        await here.later(900)
        await here.until_state(call, "delivered")
        await here.until_told(call, "done", "done", "done")
        self.assertEqual([event for _, event in here.poster.events()], ["queued", "deferred", "delivered"])

    async def test_a_mailbox_here(self) -> None:
        here = await scene(self)
        await here.start()
        call = await here.call("me@example.test")
        self.assertEqual(await here.state(call), "delivered")
        await here.until_told(call, "done", "done")
        self.assertEqual([event for _, event in here.poster.events()], ["queued", "delivered"])

    async def test_an_alias_is_one_recipient(self) -> None:
        here = await scene(self)
        await here.office.world.accounts.add_alias("team@example.test", ["a@one.example", "b@two.example", "me@example.test"])
        waiting: Deferred[Any] = Deferred()
        here.office.courier.answers["two.example"] = waiting
        await here.start()
        call = await here.call("team@example.test")
        await here.office.settled(sent=1, sending=1)
        self.assertEqual(await here.state(call), "queued")
        waiting.callback(NEVER)
        await here.until_state(call, "bounced")
        await here.until_told(call, "done", "done")
        self.assertEqual(await here.suppressions.count(), 0)  # the address that was called for is not the one that failed

    async def test_nobody_wants_to_hear(self) -> None:
        here = await scene(self)
        await here.start()
        call = await here.call("you@example.org", callback=None)
        await here.until_state(call, "delivered")
        self.assertEqual(await here.callbacks.of_call(call.id), [])

    async def test_the_url_of_the_settings(self) -> None:
        here = await scene(self, webhook={"callback_url": "https://all.example.org/"})
        await here.start()
        call = await here.call("you@example.org", callback="")
        await here.until_told(call, "done", "done")
        self.assertEqual({url for url, _, _ in here.poster.posts}, {"https://all.example.org/"})

    async def test_no_url_is_left(self) -> None:
        here = await scene(self)
        await here.start()
        call = await here.call("you@example.org", callback="")
        await here.until_told(call, "given_up", "given_up")
        self.assertEqual(here.poster.posts, [])
        (first, _) = await here.callbacks.of_call(call.id)
        self.assertEqual(first.history, ((1_700_000_000, "no URL is set any more"),))

    async def test_other_mail_costs_nothing(self) -> None:
        here = await scene(self)
        await here.start()
        jobs: list[Any] = []
        write = here.states._store.write
        self.patch(here.states._store, "write", lambda job, *args: (jobs.append(job), write(job, *args))[1])
        await here.office.send("you@example.org")
        await here.office.settled(sent=1)
        self.assertNotIn(rows.derive, jobs)


class Persisting(TestCase):
    """What does not get through is tried again."""

    timeout = 240

    async def test_order_and_schedule(self) -> None:
        here = await scene(self)
        here.poster.answers[URL] = lambda told: 500 if told["event"] == "queued" else 204
        await here.start()
        call = await here.call("you@example.org")
        await here.until_state(call, "delivered")
        await here.until_told(call, "waiting", "behind")
        for number, wait in enumerate(WAITS, 1):
            await here.until_posted(number)
            await here.later(wait - 1)
            await here.callbacks._looking if here.callbacks._looking else None
            self.assertEqual(len(here.poster.posts), number)
            await here.later(1)
        await here.until_posted(len(WAITS) + 1)
        self.assertEqual(len({told["event_id"] for _, told, _ in here.poster.posts[: len(WAITS) + 1]}), 1)
        await here.until_told(call, "given_up", "done")
        first, second = await here.callbacks.of_call(call.id)
        self.assertEqual((first.attempts, len(first.history), second.attempts), (len(WAITS) + 1, len(WAITS) + 1, 1))
        self.assertEqual({said for _, said in first.history}, {"answered 500"})

    async def test_again_by_hand(self) -> None:
        here = await scene(self)
        await here.start()
        call = await here.call("you@example.org", callback="")
        await here.until_told(call, "given_up", "given_up")
        first, _ = await here.callbacks.of_call(call.id)
        self.patch(here.callbacks, "_settings", type(here.settings)((await scene(self, webhook={"callback_url": URL})).office.config))
        await here.callbacks.retry(first.id)
        await here.until_told(call, "done", "given_up")
        with self.assertRaises(DirectoryError):
            await here.callbacks.retry(first.id)

    async def test_a_host_that_is_down(self) -> None:
        here = await scene(self)
        here.poster.answers[URL] = GONE
        await here.start()
        calls = [await here.call(f"you{number}@example.org") for number in range(20)]
        other = await here.call("you@example.org", callback="https://other.example/")
        await here.until_told(other, "done", "done")

        async def put_off() -> bool:
            told = [(await here.callbacks.of_call(call.id))[0] for call in calls]
            return all(each.attempts == 1 and each.due == 1_700_000_030 for each in told)

        await here.office.until(put_off)
        posts = len(here.poster.events(URL))
        self.assertLess(posts, 20)
        del here.poster.answers[URL]
        await here.later(30)
        for call in calls:
            await here.until_told(call, "done", "done")

    async def test_a_host_that_stays_down(self) -> None:
        here = await scene(self)
        here.poster.answers[URL] = GONE
        calls = [await here.call(f"you{number}@example.org") for number in range(5)]
        await here.office.world.store.write(lambda txn: txn.execute("UPDATE callbacks SET attempts = 6"))
        await here.start()
        for call in calls:
            await here.until_state(call, "delivered")

        async def over() -> bool:
            return all([(await here.callbacks.of_call(call.id))[0].state == "given_up" for call in calls])

        await here.office.until(over)
        for call in calls:
            self.assertIn((await here.callbacks.of_call(call.id))[1].state, ("waiting", "posting"))

    async def test_a_clock_that_was_ahead(self) -> None:
        """What was put off by it is not left until then."""
        self.patch(module, "_POLL", 0.05)
        here = await scene(self)
        here.poster.answers[URL] = 500
        await here.start()
        await here.later(365 * 86400)
        call = await here.call("me@example.test")
        await here.until_told(call, "waiting", "behind")
        del here.poster.answers[URL]
        await here.later(-365 * 86400)
        await here.until_told(call, "done", "done")

    async def test_a_host_that_breaks_now_and_then(self) -> None:
        """Only what was tried counts as tried; otherwise a long list would be given up by a few broken connections."""
        here = await scene(self)
        here.poster.answers[URL] = lambda told: GONE if len(here.poster.posts) % 5 == 4 else 200  # whichever of them comes then
        calls = [await here.call(f"you{number}@example.org") for number in range(20)]
        here.callbacks.start()

        async def tried() -> bool:
            return [(await here.callbacks.of_call(call.id))[0].attempts for call in calls] == [1] * 20

        await here.office.until(tried)
        self.assertEqual(len(here.poster.posts), 20)

    async def test_connections_that_break_together(self) -> None:
        """A host that begins anew breaks all that is under way there: that is once, not twice in a row."""
        here = await scene(self)
        under_way: list[Deferred[Any]] = []

        def answer(told: Any) -> Any:
            if not 3 < len(here.poster.posts) <= 7:
                return 200
            under_way.append(Deferred())
            return under_way[-1]

        here.poster.answers[URL] = answer
        calls = [await here.call(f"you{number}@example.org") for number in range(20)]
        here.callbacks.start()
        await here.office.until(lambda: len(under_way) == 4)
        for each in under_way:
            each.callback(GONE)

        async def tried() -> bool:
            return [(await here.callbacks.of_call(call.id))[0].attempts for call in calls] == [1] * 20

        await here.office.until(tried)
        self.assertEqual(len(here.poster.posts), 20)

    async def test_one_that_is_slow_takes_one_place(self) -> None:
        here = await scene(self)
        never: Deferred[Any] = Deferred()
        here.poster.answers[URL] = never
        await here.start()
        slow = [await here.call(f"you{number}@example.org") for number in range(5)]
        quick = await here.call("you@example.org", callback="https://quick.example/")
        await here.until_told(quick, "done", "done")
        self.assertEqual(len(here.poster.events(URL)), 1)
        never.callback(200)
        here.poster.answers.clear()
        for call in slow:
            await here.until_told(call, "done", "done")

    async def test_redirects_are_failures(self) -> None:
        here = await scene(self)
        here.poster.answers[URL] = 302
        await here.start()
        call = await here.call("you@example.org")
        await here.until_posted(1)
        await here.until_state(call, "delivered")
        await here.until_told(call, "waiting", "behind")
        first, _ = await here.callbacks.of_call(call.id)
        self.assertEqual(first.history[0][1], "answered 302, a redirect, which is not followed")


class Crashes(TestCase):
    """A crash loses nothing, and repeats with the same event id."""

    timeout = 240

    async def test_states_are_found_again(self) -> None:
        here = await scene(self)
        here.office.courier.answers.update({"later.example": LATER, "never.example": NEVER, "away.example": AWAY})
        await here.office.start()
        self.patch(here.states, "_step", lambda step: None)
        here.office.progress._steps.clear()  # as if the server died between the commits
        calls = [await here.call(f"you@{name}.example") for name in ("good", "later", "never", "away")]
        await here.office.settled(sent=1, deferred=2, failed=1)
        self.assertEqual([await here.state(call) for call in calls], ["queued"] * 4)
        here.states.start()
        for call, state in zip(calls, ("delivered", "deferred", "bounced", "deferred"), strict=True):
            await here.until_state(call, state)
        self.assertEqual([each.reason for each in await here.suppressions.list()], ["5.1.1"])
        here.callbacks.start()
        for call in calls:
            await here.until_told(call, "done", "done")
        before = len(here.poster.posts)
        await here.office.world.store.write(rows.derive, rows.Derivation(tuple(call.envelope for call in calls), 1))
        self.assertEqual(len(here.poster.posts), before)

    async def test_posted_again_after_a_crash_in_between(self) -> None:
        here = await scene(self)
        await here.start()
        never: Deferred[Any] = Deferred()
        here.poster.answers[URL] = never
        await here.call("you@example.org")
        await here.until_posted(1)
        here.callbacks._started = False
        after = await scene(self, over=await here.office.copied())
        after.callbacks.start()
        await after.until_posted(1)
        self.assertEqual(after.poster.posts[0][1], here.poster.posts[0][1])
        never.callback(200)

    async def test_what_another_server_was_posting_is_taken_from_it(self) -> None:
        here = await scene(self)
        self.patch(here.callbacks, "_single", False)
        await here.call("me@example.test")
        store, now = here.office.world.store, int(here.clock[0])
        (taken,) = await store.write(rows.claim, now, 32, {})
        here.callbacks.start()
        await here.callbacks._looking if here.callbacks._looking else None
        self.assertEqual(here.poster.posts, [])
        await here.later(rows.LEASE)
        await here.until_posted(2)
        self.assertFalse(await store.write(rows.finish, rows.Finished(taken.id, "done", now, "late")))

    async def test_a_store_that_fails_for_a_while(self) -> None:
        self.patch(call_states, "_AGAIN", 0.01)
        here = await scene(self)
        await here.start()
        write = here.states._store.write
        failures = [Unavailable("disk full"), Unavailable("disk full")]

        def failing(job: Any, *args: Any) -> Any:
            if job is rows.derive and failures:
                raise failures.pop()
            return write(job, *args)

        self.patch(here.states._store, "write", failing)
        call = await here.call("you@example.org")
        await here.until_state(call, "delivered")
        self.assertEqual(failures, [])

    async def test_stopped_in_between(self) -> None:
        here = await scene(self)
        await here.start()
        calls = [await here.call(f"you{number}@example.org") for number in range(10)]
        await here.office.queue.stop()
        await here.states.stop()
        counts = await here.office.queue.ledger.counts()
        states = [await here.state(call) for call in calls]
        self.assertEqual(states.count("delivered"), counts["sent"])


class ByHand(TestCase):
    """What administrators do to the queue is seen too."""

    timeout = 240

    async def test_bounced_by_hand(self) -> None:
        here = await scene(self)
        here.office.courier.answers["example.org"] = LATER
        await here.start()
        call = await here.call("you@example.org")
        await here.until_state(call, "deferred")
        await here.office.queue.ledger.bounce(Selection(envelope=call.envelope))
        await here.until_state(call, "bounced")
        self.assertEqual(await here.suppressions.count(), 0)

    async def test_deleted(self) -> None:
        here = await scene(self)
        here.office.courier.answers["example.org"] = LATER
        await here.start()
        call = await here.call("you@example.org")
        await here.until_state(call, "deferred")
        await here.office.queue.ledger.delete(Selection(envelope=call.envelope))
        here.states._looked = float("-inf")
        here.states._look()
        await here.until_state(call, "bounced")

    async def test_a_dead_letter_that_arrives_after_all(self) -> None:
        here = await scene(self)
        here.office.courier.answers["example.org"] = NEVER
        await here.start()
        call = await here.call("you@example.org")
        await here.until_state(call, "bounced")
        del here.office.courier.answers["example.org"]
        await here.office.queue.ledger.retry(Selection(envelope=call.envelope))
        await here.until_state(call, "delivered")
        await here.until_told(call, "done", "done", "done")
        self.assertEqual([event for _, event in here.poster.events()], ["queued", "bounced", "delivered"])


class Rows(TestCase):
    """The jobs, on both databases."""

    timeout = 120

    async def test_postgresql(self) -> None:
        here = await scene(self, engine="postgresql")
        here.office.courier.answers["never.example"] = NEVER
        here.poster.answers["https://down.example/"] = GONE
        await here.start()
        good = await here.call("you@example.org")
        bad = await here.call("you@never.example")
        down = await here.call("you@example.org", callback="https://down.example/")
        await here.until_told(good, "done", "done")
        await here.until_told(bad, "done", "done")
        await here.until_state(down, "delivered")
        await here.until_told(down, "waiting", "behind")
        self.assertEqual([each.address for each in await here.suppressions.list()], ["you@never.example"])
        self.assertEqual(await here.callbacks.counts(), (1, 0))

    async def test_claims(self) -> None:
        here = await scene(self)
        for number in range(300):
            await here.call(f"you{number}@example.org", callback="https://a.example/" if number < 290 else f"https://h{number}.example/")
        store = here.office.world.store
        now = int(here.clock[0])
        key = here.calls.host_key("https://a.example/")
        first = await store.write(rows.claim, now, 32, {})
        self.assertEqual((len(first), len([each for each in first if each.host == key])), (11, 1))
        second = await store.write(rows.claim, now, 3, {key: 4})
        self.assertEqual([each.host for each in second], [key] * 3)
        self.assertFalse({each.id for each in first} & {each.id for each in second})
        self.assertEqual(await store.write(rows.claim, now, 32, {key: 0}), [])
        self.assertEqual(await store.read(rows.due, now), (True, now + rows.LEASE, now + rows.LEASE))

    async def test_who_is_woken(self) -> None:
        for engine in ("sqlite", "postgresql"):
            here = await scene(self, engine=engine)
            await here.office.start()
            here.office.progress._steps.clear()
            quiet, told = await here.call("you@example.org", callback=None), await here.call("me@example.org")
            await here.office.settled(sent=2)
            store = here.office.world.store
            self.assertEqual(await store.write(rows.derive, rows.Derivation((quiet.envelope,), 1)), rows.Derived(1, 0, 0))
            self.assertEqual(await store.write(rows.derive, rows.Derivation((told.envelope, quiet.envelope), 1)), rows.Derived(1, 1, 0))
            self.assertEqual(await store.write(rows.derive, rows.Derivation((told.envelope, "unknown"), 1)), rows.Derived())


class Faults(TestCase):
    """What goes wrong here does not go on for ever."""

    timeout = 240

    async def test_a_fault_counts_as_an_attempt(self) -> None:
        here = await scene(self)
        here.poster.answers[URL] = KeyError("what nobody thought of")
        await here.start()
        call = await here.call("me@example.test")

        async def tried() -> bool:
            return bool((await here.callbacks.of_call(call.id))[0].attempts)

        await here.office.until(tried)
        first, _ = await here.callbacks.of_call(call.id)
        self.assertEqual((first.state, first.history[0][1]), ("waiting", "a fault of this server; its log says more"))
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    async def test_a_record_that_does_not_open(self) -> None:
        here = await scene(self)
        call = await here.call("me@example.test")
        await here.office.world.store.write(lambda txn: txn.execute("UPDATE calls SET details = ?", (b"damaged",)))
        await here.start()
        await here.until_told(call, "given_up", "given_up")
        self.assertEqual(here.poster.posts, [])

    async def test_stopped_while_posting(self) -> None:
        here = await scene(self)
        self.patch(module, "_ENDING", 0.05)
        here.poster.answers[URL] = Deferred()
        await here.start()
        call = await here.call("me@example.test")
        await here.until_posted(1)
        await here.callbacks.stop()
        del here.poster.answers[URL]
        again = await scene(self, over=here.office)
        again.callbacks.start()
        await again.until_posted(1)
        await again.until_told(call, "done", "done")
        self.assertEqual(again.poster.posts[0][1]["event_id"], here.poster.posts[0][1]["event_id"])
