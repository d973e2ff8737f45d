"""API keys: shown once, good until they are revoked or expire, and nothing of them is kept that could be used."""

from typing import Any

from twisted.trial.unittest import TestCase

from mailx.core.api_keys import READ, SCOPES, ApiKeys
from mailx.core.audit import Actor, Log, Recording, acting
from mailx.core.users import DirectoryError
from mailx.store import Txn
from tests.scenery import world

NOW = 1_800_000_000.0
ADA = Actor("admin", "ada")


def rows(txn: Txn) -> str:
    return repr(txn.all("SELECT * FROM api_keys")) + repr(txn.all("SELECT * FROM audit"))


class Keys(TestCase):
    engine = "sqlite"

    async def open(self) -> tuple[ApiKeys, Any]:
        self.here = await world(self, engine=self.engine)
        self.time = NOW
        self.writes = 0
        self.log = Log(self.here.store, self.here.cipher, self.here.reactor)
        store = Recording(self.here.store, self.here.cipher)
        return ApiKeys(store, self.here.cipher, lambda: self.time), store

    async def test_made_used_revoked(self) -> None:
        keys, store = await self.open()
        with acting(ADA, "apikey.add"):
            key, text = await keys.add("Deploy", ["queue:write", READ, READ])
        self.assertEqual((key.name, key.scopes, key.creator), ("deploy", ("queue:write", "read"), "ada"))
        self.assertTrue(text.startswith(key.prefix + "_"))
        found = await keys.authenticate(text)
        assert found is not None
        self.assertTrue(found.may("queue:write"))
        self.assertFalse(found.may("access:write"))
        stored = await store.read(rows)
        self.assertNotIn(text.removeprefix(key.prefix), stored)
        self.assertNotIn(text, stored)
        with acting(ADA, "apikey.revoke"):
            await keys.revoke("deploy")
        self.assertIsNone(await keys.authenticate(text))
        with self.assertRaises(DirectoryError):
            await keys.revoke("deploy")
        await keys.delete("deploy")
        self.assertEqual(await keys.list(), [])
        self.assertEqual([entry.action for entry in await self.log.list()], ["apikey.revoke", "apikey.add"])

    async def test_wrong_ones(self) -> None:
        keys, _ = await self.open()
        key, text = await keys.add("one", [READ])
        _, other = await keys.add("two", [READ])
        mixed = key.prefix + other[len(key.prefix) :]
        for wrong in ("", key.prefix, text[:-1], text + "x", text + "\n", text.upper(), mixed, "mailx_aaaaaaaa_" + "A" * 43, "\ud800"):
            self.assertIsNone(await keys.authenticate(wrong), wrong)

    async def test_it_expires(self) -> None:
        keys, _ = await self.open()
        _, text = await keys.add("one", [READ], int(NOW) + 60)
        self.assertIsNotNone(await keys.authenticate(text))
        self.time += 60
        self.assertIsNone(await keys.authenticate(text))

    async def test_its_use_is_noted_once_a_minute(self) -> None:
        keys, _ = await self.open()
        _, text = await keys.add("one", [READ])
        used = []
        for seconds in (0, 30, 29, 1, 1):
            self.time += seconds
            with acting(ADA, "queue.retry") as act:
                await keys.authenticate(text)
            self.assertFalse(act.recorded)
            used.append((await keys.find("one")).last_used)
        self.assertEqual(used, [NOW, NOW, NOW, NOW + 60, NOW + 60])

    async def test_what_is_refused(self) -> None:
        keys, _ = await self.open()
        await keys.add("one", SCOPES)
        for name, scopes, expires, code in (
            ("", [READ], None, "invalid"),
            ("a b", [READ], None, "invalid"),
            ("two", [], None, "invalid"),
            ("two", ["all"], None, "invalid"),
            ("two", [READ], int(NOW), "invalid"),
            ("two", [READ], 2**62, "invalid"),
            ("ONE", [READ], None, "exists"),
        ):
            with self.assertRaises(DirectoryError) as raised:
                await keys.add(name, scopes, expires)
            self.assertEqual(raised.exception.code, code)
        for name in ("none", "", "\0"):
            with self.assertRaises(DirectoryError):
                await keys.delete(name)


class KeysOnPostgreSQL(Keys):
    engine = "postgresql"
