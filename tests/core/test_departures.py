"""An account is deleted, had back, erased; what was written about its owner elsewhere goes with it."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailx.core import audit
from mailx.core.alerts import QUOTA, Alerts
from mailx.core.audit import Actor, Filter
from mailx.core.calls import Calls
from mailx.core.courier import Attempt
from mailx.core.forgetting import NOBODY, redacted, replacing
from mailx.core.progress import Step
from mailx.core.sasl import LoginRefused
from mailx.core.suppressions import Suppressions
from mailx.core.users import DirectoryError, User
from mailx.mail.address import Address
from mailx.mail.reply import Refused, Reply
from mailx.store import Txn
from mailx.store import accounts as rows
from mailx.store.calls import Call, Register
from tests.core.lives_scene import Lives, lives
from tests.scenery import World, world

ME = "me@example.test"
OTHER = "other@example.test"


class Base(TestCase):
    engine = "sqlite"
    world: World
    lives: Lives
    user: User

    async def open(self, **sections: Any) -> None:
        self.world = await world(self, engine=self.engine, **sections)
        self.lives = lives(self, self.world)
        self.departures = self.lives.lifecycle.departures
        self.user = await self.world.user(ME)
        await self.world.deliver(ME, b"Subject: x\r\n\r\nx")

    async def refusal(self, to: str = ME) -> str:
        with self.assertRaises(Refused) as caught:
            await self.world.deliver(to, b"Subject: x\r\n\r\nx")
        return str(caught.exception.reply)

    async def rows(self) -> dict[str, int]:
        """How many rows of each table there are that belong to an account or tell of its mail."""
        tables = ("accounts", "mailboxes", "entries", "messages", "subscriptions", "threads", "waiting", "logins", "contacts")
        return {name: (await self.world.store.read(lambda txn, name=name: txn.one(f"SELECT count(*) FROM {name}")))[0] for name in tables}


class Grace(Base):
    async def test_deleted(self) -> None:
        await self.open()
        details = await self.departures.delete(ME)
        self.assertEqual((details.user.state, details.deleted), ("deleted", int(self.lives.now)))
        self.assertEqual(self.departures.ends(details), int(self.lives.now) + 30 * 86400)
        self.assertIn("5.2.1", await self.refusal())
        with self.assertRaises(LoginRefused):
            await self.world.access.login(ME, "secret", self.world.origin())
        with self.assertRaises(DirectoryError):  # the address is not free
            await self.world.user(ME)

    async def test_sessions_end(self) -> None:
        await self.open()
        ended: list[int] = []
        self.world.accounts.on_revocation(ended.append)
        await self.departures.delete(ME)
        self.assertEqual(ended, [self.user.id])

    async def test_had_back(self) -> None:
        await self.open()
        await self.departures.delete(ME)
        self.lives.later(29)
        self.assertEqual(await self.departures.erase_due(), 0)
        details = await self.departures.restore(ME)
        self.assertEqual((details.user.state, details.deleted), ("active", None))
        await self.world.access.login(ME, "secret", self.world.origin())
        await self.world.deliver(ME, b"Subject: y\r\n\r\ny")
        self.assertEqual(len(await self.world.contents(self.user)), 2)
        self.lives.later(300)
        self.assertEqual(await self.departures.erase_due(), 0)

    async def test_erased_when_it_is_over(self) -> None:
        await self.open()
        other = await self.world.user(OTHER)
        await self.world.deliver(OTHER, b"Subject: x\r\n\r\nx")
        await self.departures.delete(ME)
        self.lives.later(30.1)
        self.assertEqual(await self.departures.erase_due(), 1)
        self.assertIn("5.1.1", await self.refusal())
        await self.world.sweep.messages()
        found = await self.rows()
        self.assertEqual((found["accounts"], found["entries"], found["messages"]), (1, 1, 1))
        self.assertEqual(len(await self.world.contents(other)), 1)
        await self.world.user(ME)

    async def test_had_back_while_others_are_erased(self) -> None:
        """Who is restored after it was seen that the grace is over keeps everything; who is being erased cannot be restored."""
        await self.open()
        await self.departures.delete(ME)
        self.lives.later(31)
        read, forget = self.world.store.read, self.lives.forgetting.forget
        refused: list[str] = []

        async def restored_meanwhile(job: Any, *args: Any) -> Any:
            found = await read(job, *args)
            if job is rows.deleted and not refused:
                self.patch(self.world.store, "read", read)
                await self.departures.restore(ME)
            return found

        self.patch(self.world.store, "read", restored_meanwhile)
        self.assertEqual(await self.departures.erase_due(), 0)
        self.assertEqual(len(await self.world.contents(self.user)), 1)

        async def restored_too_late(addresses: Any) -> Any:
            with self.assertRaises(DirectoryError) as caught:
                await self.departures.restore(ME)
            refused.append(str(caught.exception))
            return await forget(addresses)

        self.patch(self.lives.forgetting, "forget", restored_too_late)
        await self.departures.erase(ME)
        self.assertIn("is being erased", refused[0])
        self.assertIn("5.1.1", await self.refusal())

    async def test_of_no_days(self) -> None:
        await self.open(lifecycle={"grace_days": 0})
        await self.departures.delete(ME)
        await self.world.sweep.messages()
        self.assertEqual(set((await self.rows()).values()), {0})

    async def test_refused(self) -> None:
        await self.open()
        with self.assertRaises(DirectoryError):
            await self.departures.restore(ME)
        await self.departures.delete(ME)
        for call in (self.departures.delete, lambda name: self.world.accounts.set_state(name, "active")):
            with self.assertRaises(DirectoryError):
                await call(ME)
        with self.assertRaises(DirectoryError):
            await self.departures.erase("no@example.test")


class Erased(Base):
    async def test_nothing_stays(self) -> None:
        await self.open()
        await self.world.access.login(ME, "secret", self.world.origin())
        self.lives.person.logins.note(self.user.id, "192.0.2.7", "PLAIN")
        await self.lives.person.logins.flush()
        await self.departures.erase(ME)
        await self.world.sweep.messages()
        self.assertEqual(set((await self.rows()).values()), {0})
        self.assertEqual(self.world.files(), [])

    async def test_a_crash_in_the_middle_is_taken_up(self) -> None:
        await self.open()
        write = self.world.store.write
        jobs: list[str] = []

        async def failing(job: Any, *args: Any) -> Any:
            name = getattr(job, "__name__", "")
            jobs.append(name)
            if name == "begin_deletion":
                raise OSError("killed")
            return await write(job, *args)

        self.patch(self.world.store, "write", failing)
        with self.assertRaises(OSError):
            await self.departures.erase(ME)
        self.assertIn("condemn", jobs)
        self.patch(self.world.store, "write", write)
        self.assertIn("5.2.1", await self.refusal())
        self.assertEqual(await self.departures.erase_due(), 1)  # whatever days of grace there are
        self.assertIn("5.1.1", await self.refusal())

    async def test_a_crash_among_its_mail_is_taken_up(self) -> None:
        await self.open()
        await self.world.store.write(rows.condemn, self.user.id)
        await self.world.store.write(rows.begin_deletion, self.user.id)
        self.assertEqual((await self.rows())["entries"], 1)
        await self.world.accounts.load()
        self.assertEqual((await self.rows())["entries"], 0)

    async def test_the_logs(self) -> None:
        await self.open()
        await self.world.accounts.add_alias("alias@example.test", [ME])
        timeline, deliveries = self.lives.timeline, self.lives.delivery_log
        timeline.note("q1", "accepted", (ME, OTHER), sender=ME, recipients=["ME+tag@Example.test", OTHER])
        timeline.note("q2", "accepted", (OTHER,), sender=OTHER, recipients=["alias@example.test"])
        timeline.note("q3", "accepted", (OTHER, "home@example.test"), sender=OTHER, recipients=["home@example.test"])
        for number, to in enumerate((ME, OTHER)):
            deliveries.note(_step(f"d{number}", Address.parse(to)))
        with audit.acting(Actor("admin", "ada"), "user.quota"):
            await self.world.accounts.set_quota(ME, 5)
        with audit.acting(Actor("admin", "ada"), "user.erase", ME):
            await self.departures.erase(ME)
        for name in (ME, "me+tag@example.test", "alias@example.test"):
            self.assertEqual(await timeline.trace(name), [])
            self.assertEqual((await deliveries.search(name)).entries, ())
            self.assertEqual(await self.lives.person.audit.list(Filter(target=name)), [])
        traces = await timeline.trace(OTHER)
        self.assertEqual([trace.envelope for trace in traces], ["q1", "q2", "q3"])
        self.assertEqual(traces[0].events[0].facts, {"sender": NOBODY, "recipients": [NOBODY, OTHER]})
        self.assertEqual(traces[2].events[0].facts["recipients"], ["home@example.test"])
        self.assertEqual([entry.recipient for entry in (await deliveries.search()).entries], [OTHER, NOBODY])
        entries = await self.lives.person.audit.list()
        self.assertEqual([entry.action for entry in entries], ["user.erase", "user.quota"])
        self.assertEqual(entries[0].target, f"account {self.user.id} of example.test")
        self.assertNotIn("me@", repr(entries).replace("home@", ""))
        deliveries.note(_step("d9", Address.parse(OTHER)))
        self.assertEqual(len((await deliveries.search()).entries), 3)

    async def test_calls_suppressions_alerts_and_what_others_changed(self) -> None:
        await self.open()
        world = self.world
        calls = Calls(world.store, world.cipher, world.reactor)
        for name, to in (("e1", ME), ("e2", OTHER)):
            record = calls.posted(name, type="x", to=to, subject=f"For {to}", sender="", queued_at="", created=1, digest=b"d").record
            await world.store.write(_enter, record)
        suppressions = Suppressions(world.store, world.cipher, world.settings, world.reactor)
        await suppressions.add(ME, "by hand", 1)
        await suppressions.add(OTHER, f"as {ME} asked", 1)
        alerts = Alerts(world.store, world.cipher, world.settings, "mx.example.test", world.reactor)
        await alerts.settle(QUOTA, {ME: f"{ME} is full", OTHER: f"{OTHER} is full"})
        await alerts.settle(QUOTA, {OTHER: ""})
        await world.user(OTHER)
        with audit.acting(Actor("admin", "ada"), "alias.add"):
            await world.accounts.add_alias("team@example.test", [ME, OTHER])
        with audit.acting(Actor("user", ME), "user.quota"):
            await world.accounts.set_quota(OTHER, 5)
        await self.departures.erase(ME)
        self.assertEqual([(call.to, call.subject) for call in await calls.latest()], [(OTHER, f"For {OTHER}"), (NOBODY, f"For {NOBODY}")])
        self.assertEqual([(one.address, one.said) for one in await suppressions.list()], [(OTHER, f"as {NOBODY} asked")])
        self.assertEqual([alert.subject for alert in [*await alerts.past(), *await alerts.open()]], [NOBODY, OTHER])
        quota, alias = await self.lives.person.audit.list()
        self.assertEqual((quota.actor, quota.target), (Actor("user", NOBODY), OTHER))
        self.assertEqual((alias.target, alias.after), ("team@example.test", {"targets": [NOBODY, OTHER]}))
        self.assertEqual([entry.target for entry in await self.lives.person.audit.list(Filter(target=OTHER))], [OTHER])

    async def test_a_grace_that_is_over_leaves_its_row(self) -> None:
        await self.open()
        await self.departures.delete(ME)
        self.lives.later(31)
        await self.lives.lifecycle.run()
        (entry,) = await self.lives.person.audit.list(Filter(action="user.erase"))
        self.assertEqual((entry.actor.kind, entry.target), ("server", f"account {self.user.id} of example.test"))


class ErasedOnPostgreSQL(Erased):
    engine = "postgresql"


class GraceOnPostgreSQL(Grace):
    engine = "postgresql"


class Replacing(SynchronousTestCase):
    def test_where_an_address_ends(self) -> None:
        replace = replacing([ME], "+")
        for text, wanted in (
            (f"<{ME}>", f"<{NOBODY}>"),
            ("me+x@example.test,", f"{NOBODY},"),
            ("ME@EXAMPLE.TEST.", f"{NOBODY}."),
            ("home@example.test", "home@example.test"),
            ("me@example.test.org", "me@example.test.org"),
            ("me@example.tests", "me@example.tests"),
            ("a.me@example.test", "a.me@example.test"),
        ):
            self.assertEqual(replace(text), wanted)

    @given(st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
    def test_what_has_no_address_stays(self, value: Any) -> None:
        self.assertEqual(redacted(value, lambda text: text), value)


def _enter(txn: Txn, record: Call) -> None:
    """A call that is over, as reception writes it."""
    register = Register(txn, [record])
    register.enter(record, "delivered")
    register.write()


def _step(envelope: str, recipient: Address) -> Step:
    attempt = Attempt(Reply(250, "2.0.0", "OK"))
    return Step(envelope, 1, recipient, "delivered", attempt, "", None, "ESMTP", recipient, Address.parse("sender@example.org"), 100, 1, 0)
