"""What is remembered: found by its key alone, sealed, changed by one at a time, gone after its time."""

import json
import os
from typing import Any

from twisted.internet.defer import gatherResults

from mailx.store import Txn, remembered
from mailx.store.cipher import Cipher, CipherError
from mailx.store.keys import load_or_create
from mailx.store.remembered import JSON
from tests.store.engines import PostgreSQLCase, SQLiteCase


def rows(txn: Txn) -> list[Any]:
    return txn.all("SELECT kind, hash, sealed, expires FROM remembered ORDER BY expires")


def one_more(value: JSON) -> JSON:
    return value + 1 if isinstance(value, int) else 1


class Promises:
    """Mixed into a case of each engine."""

    store: Any
    mktemp: Any
    assertEqual: Any
    assertIsNone: Any
    assertNotIn: Any
    assertRaises: Any

    async def cipher(self) -> Cipher:
        return Cipher(await load_or_create(os.path.join(self.mktemp(), "secret"), self.store))

    async def test_put_get_forget(self) -> None:
        cipher = await self.cipher()
        await self.store.write(remembered.put, cipher, "a", "example.org", {"mode": "enforce"}, 100)
        await self.store.write(remembered.put, cipher, "b", "example.org", ["other"], 100)
        self.assertEqual(await self.store.read(remembered.get, cipher, "a", "example.org", 99), ({"mode": "enforce"}, 100))
        self.assertIsNone(await self.store.read(remembered.get, cipher, "a", "example.org", 100), "its time is over")
        self.assertIsNone(await self.store.read(remembered.get, cipher, "a", "example.net", 99))
        await self.store.write(remembered.put, cipher, "a", "example.org", None, 200)
        self.assertEqual(await self.store.read(remembered.get, cipher, "a", "example.org", 100), (None, 200))
        await self.store.write(remembered.forget, cipher, "a", "example.org")
        self.assertIsNone(await self.store.read(remembered.get, cipher, "a", "example.org", 1))
        self.assertEqual(await self.store.read(remembered.get, cipher, "b", "example.org", 1), (["other"], 100))

    async def test_nothing_lies_plain_and_nothing_moves(self) -> None:
        cipher = await self.cipher()
        await self.store.write(remembered.put, cipher, "a", "example.org", "secret word", 100)
        await self.store.write(remembered.put, cipher, "a", "example.net", "another", 101)
        first, second = await self.store.read(rows)
        for row in (first, second):
            for column in row:
                self.assertNotIn(b"example", bytes(column) if isinstance(column, bytes | memoryview) else str(column).encode())
                self.assertNotIn(b"secret", bytes(column) if isinstance(column, bytes | memoryview) else str(column).encode())
        await self.store.write(lambda txn: txn.execute("UPDATE remembered SET sealed = ? WHERE hash = ?", (first[2], second[1])))
        with self.assertRaises(CipherError):
            await self.store.read(remembered.get, cipher, "a", "example.net", 1)

    async def test_changes_do_not_overwrite_each_other(self) -> None:
        cipher = await self.cipher()
        await gatherResults([self.store.write(remembered.change, cipher, "n", "x", one_more, 100, 1) for _ in range(20)])
        self.assertEqual(await self.store.read(remembered.get, cipher, "n", "x", 1), (20, 100))

    async def test_all_and_prune(self) -> None:
        cipher = await self.cipher()
        for number in range(10):
            await self.store.write(remembered.put, cipher, "a", f"{number}", number, 100 + number)
        self.assertEqual(await self.store.read(remembered.all, cipher, "a", 105, 100), [("6", 6), ("7", 7), ("8", 8), ("9", 9)])
        self.assertEqual(await self.store.write(remembered.prune, 105, 4), 4)
        self.assertEqual(await self.store.write(remembered.prune, 105, 4), 2)
        self.assertEqual(len(await self.store.read(rows)), 4)
        self.assertEqual(json.dumps(await self.store.read(remembered.all, cipher, "b", 0, 100)), "[]")


class SQLiteRemembered(Promises, SQLiteCase):
    pass


class PostgreSQLRemembered(Promises, PostgreSQLCase):
    pass
