"""The audit log: a change and its row are one, whatever fails; and what is found in it."""

import json
from typing import Any

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, gatherResults
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailx.core import audit
from mailx.core.audit import Actor, Filter, Log, Recording, acting, apart, clean, note
from mailx.mail.reply import Unavailable
from mailx.store import Txn, batched
from mailx.store.engine import Conflict
from tests.scenery import World, world

ADA = Actor("admin", "ada", "192.0.2.1")
KEY = Actor("key", "deploy", "192.0.2.2")


def put(txn: Txn, value: str) -> str:
    txn.execute("INSERT INTO domains (name, created) VALUES (?, 0)", (value,))
    return value


def refuse(txn: Txn) -> None:
    put(txn, "undone.test")
    raise KeyError("no")


@batched
def put_many(txn: Txn, calls: list[str]) -> list[Any]:
    return [ValueError(call) if call == "bad" else put(txn, call) for call in calls]


def names(txn: Txn) -> set[str]:
    return {row[0] for row in txn.all("SELECT name FROM domains")}


def plain(txn: Txn) -> list[str]:
    return [repr(row) for row in txn.all("SELECT * FROM audit")]


class Away:
    def write(self, *arguments: Any) -> Any:
        return fail(Unavailable("away"))


class Acts(TestCase):
    engine = "sqlite"

    async def open(self) -> tuple[World, Recording, Log]:
        here = await world(self, engine=self.engine)
        return here, Recording(here.store, here.cipher), Log(here.store, here.cipher, here.reactor)

    async def test_the_first_write_carries_the_row(self) -> None:
        here, store, log = await self.open()
        with acting(ADA, "domain.add") as act:
            note(target="one.test", after={"name": "one.test", "dkim.secret": "s3cret"})
            await store.write(put, "one.test")
            await store.write(put, "two.test")
        (entry,) = await log.list()
        self.assertEqual((entry.actor, entry.action, entry.target), (ADA, "domain.add", "one.test"))
        self.assertEqual((entry.before, entry.after), (None, {"name": "one.test", "dkim.secret": audit.HIDDEN}))
        self.assertTrue(act.recorded)
        self.assertNotIn("192.0.2.1", "".join(await here.store.read(plain)))
        self.assertNotIn("one.test", "".join(await here.store.read(plain)))

    async def test_a_batched_job_carries_it_too(self) -> None:
        here, store, log = await self.open()
        with acting(ADA, "domain.add"):
            written = store.write(put_many, "one.test")
            other = here.store.write(put_many, "two.test")
            self.assertEqual((await written, await other), ("one.test", "two.test"))
        with acting(ADA, "domain.add"):
            with self.assertRaises(ValueError):
                await store.write(put_many, "bad")
        self.assertEqual(len(await log.list()), 1)

    async def test_a_job_that_fails_leaves_no_row_and_the_next_write_has_it(self) -> None:
        here, store, log = await self.open()
        with acting(ADA, "domain.add", "x"):
            with self.assertRaises(KeyError):
                await store.write(refuse)
            self.assertEqual(await log.list(), [])
            await store.write(put, "one.test")
        self.assertEqual(len(await log.list()), 1)
        self.assertNotIn("undone.test", await here.store.read(names))

    async def test_a_row_that_cannot_be_written_undoes_the_change(self) -> None:
        here, store, log = await self.open()
        with acting(evolve(ADA, name=None), "domain.add"):  # type: ignore[arg-type]
            with self.assertRaises(Conflict):
                await store.write(put, "one.test")
        self.assertNotIn("one.test", await here.store.read(names))
        self.assertEqual(await log.list(), [])

    async def test_a_store_that_is_away_leaves_the_act_open(self) -> None:
        here, store, log = await self.open()
        with acting(ADA, "domain.add") as act:
            with self.assertRaises(Unavailable):
                await Recording(Away(), here.cipher).write(put, "one.test")
            self.assertFalse(act.spent)

    async def test_without_an_act_nothing_is_recorded(self) -> None:
        _, store, log = await self.open()
        note(target="one.test")
        await store.write(put, "one.test")
        with acting(ADA, "domain.add"), apart():
            await store.write(put, "two.test")
        with acting(ADA, "domain.list"):
            await store.read(names)
        self.assertEqual(await log.list(), [])

    async def test_what_was_started_within_goes_on_without_it(self) -> None:
        _, store, log = await self.open()
        later: Deferred[None] = Deferred()

        async def background() -> None:
            await later
            await store.write(put, "later.test")

        with acting(ADA, "domain.add"):
            task = Deferred.fromCoroutine(background())
            await store.write(put, "one.test")
        later.callback(None)
        await task
        with acting(ADA, "domain.add"):
            failing = Deferred.fromCoroutine(self.failing(store))
        with self.assertRaises(KeyError):
            await failing  # its act is over: the failure does not open it again
        self.assertEqual(len(await log.list()), 1)

    async def failing(self, store: Recording) -> None:
        await store.write(refuse)

    async def test_two_at_once_do_not_mix(self) -> None:
        _, store, log = await self.open()

        async def add(actor: Actor, name: str) -> None:
            with acting(actor, "domain.add"):
                note(target=name)
                await store.read(names)
                await store.write(put, name)

        await gatherResults([Deferred.fromCoroutine(add(Actor("admin", f"a{n}"), f"d{n}.test")) for n in range(20)])
        self.assertEqual({(e.actor.name, e.target) for e in await log.list()}, {(f"a{n}", f"d{n}.test") for n in range(20)})

    async def test_conclude_writes_only_what_no_write_did(self) -> None:
        _, store, log = await self.open()
        with acting(ADA, "certificates.reload") as act:
            note(target="tls")
        await log.conclude(act)
        with acting(ADA, "domain.add") as act:
            await store.write(put, "one.test")
        await log.conclude(act)
        self.assertEqual([e.action for e in await log.list()], ["domain.add", "certificates.reload"])

    async def test_filters_and_pages(self) -> None:
        _, _, log = await self.open()
        for n in range(5):
            await log.record(ADA, "user.add", f"u{n}@one.test")
        await log.record(KEY, "domain.add", "one.test")
        await log.record(KEY, "userland", "two.test")
        entries = await log.list()
        self.assertEqual(len(entries), 7)
        for which, count in (
            (Filter(actor="ada"), 5),
            (Filter(action="user."), 5),
            (Filter(action="userland"), 1),
            (Filter(target="ONE.test"), 6),
            (Filter(target="u3@one.test"), 1),
            (Filter(target="nobody"), 0),
            (Filter(actor="deploy", target="one.test"), 1),
            (Filter(since=entries[0].at + 60), 0),
            (Filter(until=entries[0].at + 60), 7),
        ):
            self.assertEqual(len(await log.list(which)), count, which)
        first = await log.list(limit=3)
        second = await log.list(before=first[-1].id, limit=10)
        self.assertEqual([*first, *second], entries)
        self.assertEqual(await log.actions(), ["domain.add", "user.add", "userland"])
        self.patch(audit, "_EXPORTED", 2)
        self.assertEqual([each async for part in log.export(Filter(actor="ada")) for each in part], entries[2:])

    async def test_old_entries_go(self) -> None:
        here, _, log = await self.open()
        store = Recording(here.store, here.cipher, now=lambda: 1000.0)
        with acting(ADA, "domain.add"):
            await store.write(put, "one.test")
        await log.record(ADA, "domain.add", "two.test")
        self.assertEqual(await log.prune(), 1)
        self.assertEqual([e.target for e in await log.list()], ["two.test"])

    async def test_a_row_that_was_altered_shows(self) -> None:
        here, _, log = await self.open()
        await log.record(ADA, "domain.delete", "one.test")
        await here.store.write(alter)
        (entry,) = await log.list()
        self.assertTrue(entry.damaged)
        self.assertEqual((entry.actor.name, entry.target), ("mallory", ""))


class ActsOnPostgreSQL(Acts):
    engine = "postgresql"


def alter(txn: Txn) -> None:
    txn.execute("UPDATE audit SET name = 'mallory'")


TEXT = st.text(max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5),
    max_leaves=20,
)


class Cleaning(SynchronousTestCase):
    def test_secrets_are_hidden(self) -> None:
        shown = {"a.secret_file": "/x", "secret": ""}
        secret = {"smarthost.password": "p", "webhook.secret": "s", "session_token": ["t"], "codes": 1}
        self.assertEqual(clean(shown | secret), shown | {key: audit.HIDDEN for key in secret})
        self.assertEqual(clean({"a": {"password": {"x": 1}}}), {"a": {"password": audit.HIDDEN}})
        self.assertEqual(clean({"password": False}), {"password": False})

    def test_length_and_depth_are_bounded(self) -> None:
        value: Any = "x"
        for _ in range(50):
            value = {"a": value}
        self.assertLess(len(repr(clean(value))), 100)
        self.assertLess(len(repr(clean({str(n): "y" * 5000 for n in range(1000)}))), 60_000)
        self.assertEqual(clean(["y"] * 102)[-1], "... 2 more")

    @given(VALUES)
    def test_whatever_is_noted_can_be_kept(self, value: Any) -> None:
        json.dumps(clean(value)).encode()
