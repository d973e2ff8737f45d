"""Counters that are wrong are found and put right, whatever else goes on."""

from typing import Any

from twisted.trial.unittest import TestCase

from mailx.mail.mailbox import Flag
from mailx.store import Txn
from mailx.store import recounts as rows
from tests.core.lives_scene import Lives, lives
from tests.scenery import World, world

ME = "me@example.test"


class Base(TestCase):
    engine = "sqlite"
    world: World
    lives: Lives

    async def open(self) -> None:
        self.world = await world(self, engine=self.engine)
        self.lives = lives(self, self.world)
        user = await self.world.user(ME)
        for number in range(4):
            await self.world.file(user, b"Subject: x\r\n\r\n" + b"x" * 100 * number, flags=Flag.SEEN if number else Flag(0))
        await self.world.file(user, b"Subject: y\r\n\r\ny", "Trash")
        self.user = user

    async def sql(self, statement: str) -> None:
        def job(txn: Txn) -> None:
            txn.execute(statement)

        await self.world.store.write(job)

    async def counters(self) -> list[Any]:
        def job(txn: Txn) -> list[Any]:
            return [
                *txn.all("SELECT used FROM accounts ORDER BY id"),
                *txn.all("SELECT messages, unseen, deleted, size, expunged, uidnext FROM mailboxes ORDER BY id"),
            ]

        return [tuple(row) for row in await self.world.store.read(job)]


class Drift(Base):
    async def test_none(self) -> None:
        await self.open()
        before = await self.counters()
        found = await self.lives.lifecycle.recounting.account(ME)
        self.assertEqual((found.messages, found.used, found.mailboxes, found.drifted), (5, 0, 0, False))
        self.assertEqual(await self.counters(), before)

    async def test_of_everything(self) -> None:
        await self.open()
        before = await self.counters()
        await self.sql("UPDATE accounts SET used = used + 1234")
        await self.sql("UPDATE mailboxes SET messages = messages + 1, unseen = 7, deleted = 2, size = 0, expunged = 9, uidnext = 1")
        found = await self.lives.lifecycle.recounting.account(ME)
        self.assertEqual((found.used, found.mailboxes), (-1234, 7))
        self.assertEqual([row[:5] for row in await self.counters()], [row[:5] for row in before])
        self.assertFalse((await self.lives.lifecycle.recounting.account(ME)).drifted)
        uid = await self.world.file(self.user, b"Subject: z\r\n\r\nz")
        self.assertEqual(uid, 5)

    async def test_while_mail_comes(self) -> None:
        await self.open()
        await self.sql("UPDATE accounts SET used = 0")
        await self.sql("UPDATE mailboxes SET messages = 100")
        drift = await self.world.store.read(rows.compare, self.user.id)
        await self.world.file(self.user, b"Subject: between\r\n\r\nbetween")
        self.assertTrue(await self.world.store.write(rows.mend, drift))
        self.assertFalse((await self.lives.lifecycle.recounting.account(ME)).drifted)

    async def test_by_two_at_once(self) -> None:
        await self.open()
        await self.sql("UPDATE accounts SET used = used + 10")
        drift = await self.world.store.read(rows.compare, self.user.id)
        self.assertTrue(await self.world.store.write(rows.mend, drift))
        self.assertFalse(await self.world.store.write(rows.mend, drift))
        self.assertFalse((await self.lives.lifecycle.recounting.account(ME)).drifted)

    async def test_what_waits_is_charged(self) -> None:
        await self.open()
        await self.sql(
            "INSERT INTO waiting (account_id, mailbox_id, guid, size, flags, received, saved) SELECT id, 1, credentials_guid, 100, 0, 1, 1"
            " FROM accounts"
        )
        self.assertEqual((await self.lives.lifecycle.recounting.account(ME)).used, 105)

    async def test_pages(self) -> None:
        await self.open()
        for name in "abc":
            await self.world.user(f"{name}@example.test")
        await self.sql("UPDATE accounts SET used = used + 1")
        found, following = await self.lives.lifecycle.recounting.page(0, 3)
        self.assertEqual([one.used for one in found], [-1, -1, -1])
        found, following = await self.lives.lifecycle.recounting.page(following or 0, 3)
        self.assertEqual(([one.used for one in found], following), ([-1], None))


class PostgreSQL(Drift):
    engine = "postgresql"
