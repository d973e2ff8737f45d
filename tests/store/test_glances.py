"""Glances: what they see, and when they leave the reading to threads."""

import sqlite3
from typing import Any

from mailx.store import Txn, glances
from tests.store.engines import PostgreSQLCase, SQLiteCase, insert


def named(txn: Txn, id: int) -> str | None:
    row = txn.one("SELECT name FROM things WHERE id = ?", (id,))
    return None if row is None else str(row[0])


def locked(txn: Txn) -> str:
    raise sqlite3.OperationalError("database is locked")


class SQLite(SQLiteCase):
    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        await self.store.write(insert, 1, "one")
        self.assertIsNone(self.store.glance(named, 1))  # the first asks for a connection
        await self.ready()

    async def ready(self) -> None:
        """Until the readers have done what was asked of them."""
        while self.store._glances is None:
            await self.store.read(named, 1)

    def slow(self, blocks: list[int]) -> None:
        """Every glance takes long from now on; each fetches as many ``blocks`` as the next number says."""
        count = [0]

        def fetched() -> int:
            count[0] += blocks.pop(0) if blocks else 0
            return count[0]

        self.patch(glances, "SLOW_SECONDS", 0.0)
        self.patch(glances, "_fetched", fetched)

    async def test_what_was_committed_is_seen_at_once(self) -> None:
        self.assertEqual(self.store.glance(named, 1), "one")
        self.assertIsNone(self.store.glance(named, 2))
        await self.store.write(insert, 2, "two")
        self.assertEqual(self.store.glance(named, id=2), "two")

    async def test_it_writes_nothing(self) -> None:
        self.assertIsNone(self.store.glance(insert, 2, "two"))
        self.assertIsNone(await self.store.read(named, 2))

    async def test_a_disk_that_was_waited_for_is_left_to_the_threads(self) -> None:
        self.slow([0, 8])
        self.assertEqual(self.store.glance(named, 1), "one")
        self.assertIsNone(self.store.glance(named, 1))
        self.assertEqual(await self.store.read(named, 1), "one")

    async def test_it_is_looked_at_again(self) -> None:
        self.slow([0, 8])
        self.patch(glances, "SHARE", 0)
        self.assertEqual([self.store.glance(named, 1) for _ in range(3)], ["one"] * 3)

    async def test_a_busy_processor_is_no_disk(self) -> None:
        self.slow([])
        self.assertEqual([self.store.glance(named, 1) for _ in range(3)], ["one"] * 3)

    async def test_what_would_have_to_wait_is_left_to_the_threads(self) -> None:
        self.assertIsNone(self.store.glance(locked))
        self.assertEqual(self.store.glance(named, 1), "one")

    async def test_a_closed_store(self) -> None:
        await self.store.close()
        self.assertIsNone(self.store.glance(named, 1))


class PostgreSQL(PostgreSQLCase):
    async def test_everything_is_left_to_the_threads(self) -> Any:
        await self.store.write(insert, 1, "one")
        self.assertIsNone(self.store.glance(named, 1))
        self.assertEqual(await self.store.read(named, 1), "one")
