"""The server secret and the data keys: made once, opened ever after, and clear words when that fails."""

import os
from pathlib import Path
from typing import Any

from mailx.store import Txn
from mailx.store.cipher import Cipher
from mailx.store.keys import KeysError, create_secret, load_or_create, load_secret
from tests.store.engines import PostgreSQLCase, SQLiteCase


class Promises:
    """Mixed into a case of each engine."""

    store: Any
    open: Any
    mktemp: Any
    fail: Any
    assertEqual: Any
    assertIn: Any
    assertNotIn: Any
    assertNotEqual: Any
    assertRaises: Any

    async def refusal(self, secret_file: str) -> str:
        try:
            await load_or_create(secret_file, self.store)
        except KeysError as error:
            return str(error)
        return self.fail("the keys were opened")  # type: ignore[no-any-return]

    async def test_made_once(self) -> None:
        path = os.path.join(self.mktemp(), "mailx.secret")
        keys = await load_or_create(path, self.store)
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        written = Path(path).read_bytes()
        self.assertEqual(await load_or_create(path, self.store), keys)
        self.assertEqual(Path(path).read_bytes(), written)
        self.assertEqual((keys.current, len(keys.data[1]), len(keys.lookup)), (1, 32, 32))
        self.assertNotEqual(keys.data[1], keys.lookup)
        sealed = Cipher(keys).seal(b"p", b"c", b"plain")
        self.assertEqual(Cipher(await load_or_create(path, self.store)).open(b"p", b"c", sealed), b"plain")

    async def test_nothing_of_the_keys_lies_plain(self) -> None:
        path = self.mktemp()
        keys = await load_or_create(path, self.store)
        rows = await self.store.read(lambda txn: txn.all("SELECT wrapped FROM keys"))
        for (wrapped,) in rows:
            for key in (keys.data[1], keys.lookup, load_secret(path)):
                self.assertNotIn(key, bytes(wrapped))

    async def test_a_missing_secret_is_not_made_anew(self) -> None:
        path = self.mktemp()
        await load_or_create(path, self.store)
        os.unlink(path)
        text = await self.refusal(path)
        self.assertIn(path, text)
        self.assertIn("put it back", text)
        self.assertEqual(os.path.exists(path), False)

    async def test_the_wrong_secret(self) -> None:
        await load_or_create(self.mktemp(), self.store)
        other = self.mktemp()
        create_secret(other)
        text = await self.refusal(other)
        self.assertIn("secret of another database", text)
        self.assertIn(other, text)

    async def test_a_secret_made_before(self) -> None:
        path = self.mktemp()
        create_secret(path)
        written = Path(path).read_bytes()
        await load_or_create(path, self.store)
        self.assertEqual(Path(path).read_bytes(), written)

    async def test_damage(self) -> None:
        path = self.mktemp()
        await load_or_create(path, self.store)
        whole = Path(path).read_text()
        for text in ("", "secret", whole[:-10], whole.upper(), whole.replace(":", ":@", 1), "mailx-secret-1:\xff"):
            Path(path).write_text(text, "latin-1")
            self.assertIn("secret file", await self.refusal(path))
        Path(path).write_text(whole)

        def damage(txn: Txn) -> None:
            txn.execute("UPDATE keys SET id = 5 WHERE kind = 'data'")

        await self.store.write(damage)
        self.assertIn("does not open", await self.refusal(path))
        await self.store.write(lambda txn: txn.execute("DELETE FROM keys WHERE kind = 'data'"))
        self.assertIn("incomplete", await self.refusal(path))

    async def test_an_unreadable_secret(self) -> None:
        directory = self.mktemp()
        os.mkdir(directory)
        self.assertIn("cannot be read", await self.refusal(directory))
        self.assertRaises(KeysError, create_secret, "/proc/mailx/secret")

    async def test_a_secret_is_never_overwritten(self) -> None:
        directory = self.mktemp()
        path = os.path.join(directory, "mailx.secret")
        create_secret(path)
        written = Path(path).read_bytes()
        self.assertRaises(KeysError, create_secret, path)
        self.assertEqual(Path(path).read_bytes(), written)
        self.assertEqual(os.listdir(directory), ["mailx.secret"])

    async def test_two_that_start_at_once_agree(self) -> None:
        from twisted.internet.defer import Deferred, gatherResults

        path = self.mktemp()
        create_secret(path)
        keys = await gatherResults([Deferred.fromCoroutine(load_or_create(path, self.store)) for _ in range(4)])
        self.assertEqual(keys, [keys[0]] * 4)


class SQLiteKeys(Promises, SQLiteCase):
    pass


class PostgreSQLKeys(Promises, PostgreSQLCase):
    pass
