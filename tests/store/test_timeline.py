"""Pages of timelines, in memory and on both engines."""

import os
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.store import timeline
from mailx.store.cipher import Cipher, CipherError, Keys
from mailx.store.timeline import Changed, Damaged, Place
from tests.store import engines

TEXT = st.text(max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT, lambda inner: st.lists(inner, max_size=3), max_leaves=5
)
EVENTS = st.lists(st.tuples(st.integers(0, 2**43), TEXT, st.dictionaries(TEXT, JSON, max_size=3)), max_size=3)
STORIES = st.lists(st.tuples(TEXT, st.lists(TEXT, max_size=3), EVENTS), max_size=4)


def cipher() -> Cipher:
    return Cipher(Keys({1: os.urandom(32)}, 1, os.urandom(32)))


class Pages(SynchronousTestCase):
    cipher = cipher()

    def opened(self, *stories: Any) -> list[Any]:
        page = timeline.sealed(self.cipher, 1, stories)
        return timeline.opened(self.cipher, page.guid, page.events)

    @given(STORIES)
    def test_what_goes_in_comes_out(self, stories: list[Any]) -> None:
        if stories:
            self.assertEqual(self.opened(*stories), stories)

    @given(STORIES, TEXT)
    def test_a_page_is_found_by_its_keys(self, stories: list[Any], other: str) -> None:
        page = timeline.sealed(self.cipher, 1, stories)
        keys = {key for id, more, _ in stories for key in (id, *more)}
        for key in keys | {other}:
            self.assertEqual(timeline._holds(page.hashes, [timeline.found_by(self.cipher, key)]), key in keys)

    def test_facts_that_are_no_json(self) -> None:
        endless: list[Any] = []
        endless.append(endless)
        self.assertEqual(self.opened(("id", [], [(1, "event", {"endless": endless})])), [("id", [], [(1, "event", {})])])
        self.assertEqual(self.opened(("id", [], [(1, "event", {"class": b"x"})])), [("id", [], [(1, "event", {"class": "b'x'"})])])
        self.assertEqual(self.opened(("id", [], [(1, "event", {"half": "\ud800"})])), [("id", [], [(1, "event", {"half": "?"})])])

    def test_long_facts_are_trimmed(self) -> None:
        facts = {"text": "x" * 100_000, "list": ["y" * 1000] * 1000, "size": 7, "deep": {"z": "z" * 10_000}}
        ((_, _, ((_, _, kept),)),) = self.opened(("id", [], [(1, "event", facts)]))
        self.assertEqual((kept["text"], kept["list"], kept["size"]), ("x" * 500, ["y" * 500] * 50, 7))
        self.assertEqual(len(kept["deep"]), 500)

    def test_damage_is_noticed(self) -> None:
        page = timeline.sealed(self.cipher, 1, [("id", [], [])])
        self.assertRaises(CipherError, timeline.opened, self.cipher, os.urandom(16), page.events)
        for octets in (b"", b"no zlib", b"x\x9c"):
            self.assertRaises(Damaged, timeline.opened, self.cipher, page.guid, self.cipher.seal_bulk(b"timeline", page.guid, octets))

    def test_spellings(self) -> None:
        self.assertEqual(timeline.normal(" <Ada@Example.ORG> "), "ada@example.org")


class Stored:
    """Every test runs on both engines."""

    store: Any
    assertEqual: Any
    assertFailure: Any
    cipher = cipher()

    async def add(self, day: int, *keys: str) -> None:
        await self.store.write(timeline.add, timeline.sealed(self.cipher, day, [(key, [], [(1, "accepted", {})]) for key in keys]))

    async def found(self, *keys: str, limit: int = 100) -> list[int]:
        found: list[int] = []
        before: int | None = None
        while True:
            ids, before = await self.store.read(timeline.scan, [timeline.found_by(self.cipher, key) for key in keys], before, limit)
            found += ids
            if before is None:
                return found

    async def ids(self, rows: list[int]) -> list[str]:
        opened = [timeline.opened(self.cipher, *await self.store.read(timeline.read, id)) for id in rows]
        return [id for stories in opened for id, _, _ in stories]

    async def test_scan_goes_backwards_in_slices(self) -> None:
        for number in range(7):
            await self.add(1, "often", f"only-{number}")
        for limit in (1, 2, 3, 7, 100):
            self.assertEqual(await self.ids(await self.found("only-2", "only-5", limit=limit)), ["often", "only-5", "often", "only-2"])
            self.assertEqual(len(await self.found("often", limit=limit)), 7)
        self.assertEqual(await self.found("never"), [])
        self.assertEqual(await self.store.read(timeline.read, 99), None)

    async def test_days_are_dropped_in_slices(self) -> None:
        for day in (3, 1, 2, 1, 3):
            await self.add(day, "id")
        self.assertEqual(await self.store.write(timeline.drop, 3, 2), 2)
        self.assertEqual(await self.store.write(timeline.drop, 3, 2), 1)
        self.assertEqual(await self.store.write(timeline.drop, 3, 2), 0)
        self.assertEqual(len(await self.found("id")), 2)

    async def test_replace(self) -> None:
        for day in (1, 2, 2, 4):
            await self.add(day, "id")
        places: list[Place] = await self.store.read(timeline.small, 1, 3, 2)
        self.assertEqual([place.day for place in places], [1, 2])
        ids = [place.id for place in await self.store.read(timeline.small, 2, 3, 10)]
        page = timeline.sealed(self.cipher, 2, [("merged", [], [])])
        await self.store.write(timeline.replace, ids, page)
        self.assertEqual(await self.ids(await self.found("id", "merged")), ["id", "merged", "id"])
        try:
            await self.store.write(timeline.replace, ids, page)
        except Changed:
            self.assertEqual(len(await self.found("merged")), 1)
        else:
            raise AssertionError("the pages had gone")


class SQLite(Stored, engines.SQLiteCase):
    pass


class PostgreSQL(Stored, engines.PostgreSQLCase):
    pass
