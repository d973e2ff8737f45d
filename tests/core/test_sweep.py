"""The sweep: what has no reference left goes, what has one stays, and nothing that is under way is touched."""

from typing import Any
from unittest import mock

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from mailx.core.users import User
from mailx.mail.mailbox import Change
from mailx.mail.reply import Unavailable
from mailx.store import Txn, sweep
from mailx.store.messages import release
from tests.scenery import world

MAIL = b"Subject: s\r\n\r\nhello\r\n"
BIG = MAIL + b"0123456789abcd\r\n" * 20_000


def drop(txn: Txn, uids: range) -> None:
    """Take these entries out, as EXPUNGE does."""
    ids = [id for uid in uids for (id,) in txn.all("SELECT message_id FROM entries WHERE uid = ?", (uid,))]
    txn.execute("DELETE FROM entries WHERE uid BETWEEN ? AND ?", (uids.start, uids.stop - 1))
    release(txn, ids)


class Sweeps:
    """Mixed into a TestCase with an ``engine``."""

    engine = ""

    async def begin(self: Any) -> User:
        self.world = await world(self, engine=self.engine)
        user: User = await self.world.user("ann@example.test")
        return user

    async def count(self: Any, table: str) -> int:
        ((count,),) = await self.world.store.read(lambda txn: txn.all(f"SELECT count(*) FROM {table}"))
        return int(count)

    async def test_messages(self: Any) -> None:
        """Messages without references go with their bodies and files; the others stay whole."""
        ann = await self.begin()
        for content in (MAIL, BIG, MAIL, BIG):
            await self.world.deliver("ann@example.test", content)
        await self.world.store.write(drop, range(1, 3))
        self.assertEqual(await self.world.sweep.messages(), 2)
        self.assertEqual((await self.count("messages"), await self.count("bodies"), len(self.world.files())), (2, 1, 1))
        self.assertTrue((await self.world.contents(ann))[1].endswith(BIG))
        self.assertEqual(await self.world.sweep.messages(), 0)

    async def test_slices(self: Any) -> None:
        """One job removes no more than it is told to."""
        await self.begin()
        for _ in range(5):
            await self.world.deliver("ann@example.test", MAIL)
        await self.world.store.write(drop, range(1, 6))
        write = self.world.store.write
        self.assertEqual([(await write(sweep.remove_unreferenced, 2))[0] for _ in range(4)], [2, 2, 1, 0])

    async def test_file_goes_after_its_row(self: Any) -> None:
        """A file that cannot be removed now is an orphan later, never a row without its file."""
        await self.begin()
        await self.world.deliver("ann@example.test", BIG)
        await self.world.store.write(drop, range(1, 2))
        with mock.patch.object(self.world.blobs, "unlink", side_effect=OSError("I/O error")):
            with self.assertRaises(OSError):
                await self.world.sweep.messages()
        self.assertEqual((await self.count("messages"), len(self.world.files())), (0, 1))
        self.assertEqual(await self.world.sweep.orphans(), 1)
        self.assertEqual(self.world.files(), [])

    async def test_orphans(self: Any) -> None:
        """Files that a message names, and files under way, stay; the others go, finished or not."""
        await self.begin()
        blobs = self.world.blobs
        await self.world.deliver("ann@example.test", BIG)
        (kept,) = self.world.files()
        under_way = blobs.spool()
        finished = blobs.put(b"not yet named")
        lost = blobs.put(b"lost").name
        (unfinished := blobs.spool()).write(b"lost too")
        unfinished_name = unfinished.name
        del unfinished
        self.assertEqual(await self.world.sweep.orphans(), 2)
        self.assertEqual(self.world.files(), sorted([kept, under_way.name + ".tmp", finished.name]))
        self.assertNotIn(lost, self.world.files())
        self.assertNotIn(unfinished_name + ".tmp", self.world.files())
        under_way.abort()

    async def test_wakes_by_itself(self: Any) -> None:
        """It sweeps at its start, and again after a change that removed something."""
        await self.begin()
        await self.world.deliver("ann@example.test", MAIL)
        await self.world.deliver("ann@example.test", MAIL)
        await self.world.store.write(drop, range(1, 2))
        swept: list[Deferred[None]] = [Deferred(), Deferred()]
        waiting = list(swept)
        real = self.world.sweep._ended

        def ended(result: object) -> None:
            real(result)
            waiting.pop(0).callback(None)

        with mock.patch.object(self.world.sweep, "_ended", ended), mock.patch("mailx.core.sweep._DELAY", 0.0):
            self.world.sweep.start()
            await swept[0]
            self.assertEqual(await self.count("messages"), 1)

            def expunge(txn: Txn) -> None:
                drop(txn, range(2, 3))
                txn.publish(Change(1, 9, removed=(2,)))

            await self.world.store.write(expunge)
            await swept[1]
        self.assertEqual(await self.count("messages"), 0)

    async def test_store_unavailable(self: Any) -> None:
        """A store that cannot answer interrupts the sweep; the next one goes on."""
        await self.begin()
        await self.world.deliver("ann@example.test", MAIL)
        await self.world.store.write(drop, range(1, 2))
        with mock.patch.object(self.world.store, "write", side_effect=Unavailable("locked")):
            await self.world.sweep._sweep()
        self.assertEqual(await self.count("messages"), 1)
        await self.world.sweep._sweep()
        self.assertEqual(await self.count("messages"), 0)


class SQLiteSweepTests(Sweeps, TestCase):
    engine = "sqlite"


class PostgreSQLSweepTests(Sweeps, TestCase):
    engine = "postgresql"
