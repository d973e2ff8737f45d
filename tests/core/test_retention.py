"""Mail whose time is over goes, and no other."""

from os import urandom
from typing import Any

from twisted.trial.unittest import TestCase

from mailx.core.users import DirectoryError, User
from mailx.store import retention as rows
from tests.core.lives_scene import Lives, lives
from tests.scenery import World, world

ME = "me@example.test"
OTHER = "other@example.test"


def message(number: int) -> bytes:
    return b"Subject: %d\r\n\r\nbody\r\n" % number


class Base(TestCase):
    world: World
    lives: Lives
    user: User

    async def open(self, **sections: Any) -> None:
        self.world = await world(self, **sections)
        self.lives = lives(self, self.world)
        self.user = await self.world.user(ME)

    async def count(self, mailbox: str, user: User | None = None) -> int:
        return (await self.world.mailboxes.status(user or self.user, mailbox)).messages

    async def waits(self, mailbox: str, user: User) -> None:
        """A message of the mailbox waits for its owner, as if the account were sealed."""
        box = await self.world.mailboxes.status(user, mailbox)
        when = int(self.lives.now)
        await self.world.store.write(
            lambda txn: txn.execute(
                "INSERT INTO waiting (account_id, mailbox_id, guid, size, flags, received, saved, file, content)"
                " VALUES (?, ?, ?, 100, 0, ?, ?, NULL, ?)",
                (user.id, box.id, b"g" * 16, when, when, b"sealed"),
            )
        )
        await self.world.store.write(lambda txn: txn.execute("UPDATE accounts SET used = used + 105 WHERE id = ?", (user.id,)))


class Purging(Base):
    async def test_trash_and_spam_after_their_days(self) -> None:
        await self.open(lifecycle={"trash_days": 10, "spam_days": 20})
        for mailbox in ("INBOX", "Trash", "Spam"):
            await self.world.file(self.user, message(1), mailbox)
        self.assertEqual(await self.lives.lifecycle.retention.purge(), 0)
        self.lives.later(10.1)
        self.assertEqual(await self.lives.lifecycle.retention.purge(), 1)
        self.assertEqual([await self.count(each) for each in ("INBOX", "Trash", "Spam")], [1, 0, 1])
        self.lives.later(10)
        self.assertEqual(await self.lives.lifecycle.retention.purge(), 1)
        self.lives.later(36000)
        self.assertEqual(await self.lives.lifecycle.retention.purge(), 0)
        self.assertEqual([await self.count(each) for each in ("INBOX", "Trash", "Spam")], [1, 0, 0])

    async def test_never(self) -> None:
        await self.open(lifecycle={"trash_days": 0, "spam_days": 0})
        for mailbox in ("INBOX", "Trash", "Spam"):
            await self.world.file(self.user, message(1), mailbox)
        self.lives.later(36000)
        self.assertEqual(await self.lives.lifecycle.retention.purge(), 0)

    async def test_the_time_in_trash_counts(self) -> None:
        await self.open()
        await self.world.file(self.user, message(1), received=1_000_000_000)
        view = await self.world.mailboxes.select(self.user, "INBOX", read_only=False)
        await self.world.mailboxes.move(view, [1], "Trash")
        view.close()
        self.assertEqual(await self.lives.lifecycle.retention.purge(), 0)
        self.lives.later(30.1)
        self.assertEqual(await self.lives.lifecycle.retention.purge(), 1)

    async def test_what_it_frees_is_no_longer_charged_and_swept(self) -> None:
        await self.open()
        await self.world.file(self.user, message(1) + urandom(300_000).hex().encode(), "Trash")
        self.assertEqual(len(self.world.files()), 1)
        self.lives.later(31)
        await self.lives.lifecycle.retention.purge()
        self.assertEqual((await self.world.mailboxes.quota(self.user)).used, 0)
        await self.world.sweep.messages()
        self.assertEqual(self.world.files(), [])

    async def test_sessions_hear_of_it(self) -> None:
        await self.open()
        for number in range(3):
            await self.world.file(self.user, message(number), "Trash")
        view = await self.world.mailboxes.select(self.user, "Trash", read_only=False)
        self.lives.later(31)
        await self.lives.lifecycle.retention.purge()
        await view.settle()
        updates = view.updates(True)
        self.assertEqual(len(updates.expunged), 3)
        view.close()

    async def test_in_slices_and_stopped_between_them(self) -> None:
        await self.open()
        self.patch(rows, "SLICE", 2)
        for number in range(5):
            await self.world.file(self.user, message(number), "Trash")
        self.lives.later(31)
        retention = self.lives.lifecycle.retention
        write = self.world.store.write

        async def once(job: Any, *args: Any) -> Any:
            retention.stop()
            return await write(job, *args)

        self.patch(self.world.store, "write", once)
        self.assertEqual(await retention.purge(), 2)
        self.assertEqual(await self.count("Trash"), 3)
        retention._stopped = False
        self.patch(self.world.store, "write", write)
        self.assertEqual(await retention.purge(), 3)

    async def test_a_message_that_came_meanwhile_stays(self) -> None:
        await self.open()
        await self.world.file(self.user, message(1), "Trash")
        box = await self.world.mailboxes.status(self.user, "Trash")
        before = int(self.lives.now) - 100
        self.assertEqual(await self.world.store.write(rows.purge, box.id, [1], before), 0)
        self.assertEqual(await self.count("Trash"), 1)

    async def test_what_waits_for_the_owner_of_a_sealed_account(self) -> None:
        await self.open()
        await self.waits("Trash", self.user)
        await self.waits("INBOX", self.user)
        self.lives.later(31)
        self.assertEqual(await self.lives.lifecycle.retention.purge(), 1)
        self.assertEqual((await self.world.mailboxes.quota(self.user)).used, 105)

    async def test_deleted_accounts_wait(self) -> None:
        await self.open()
        await self.world.file(self.user, message(1), "Trash")
        await self.lives.lifecycle.departures.delete(ME)
        self.lives.later(31)
        self.assertEqual(await self.lives.lifecycle.retention.purge(), 0)


class Keeping(Base):
    async def test_of_server_account_and_mailbox(self) -> None:
        await self.open(lifecycle={"retention_days": 100})
        other = await self.world.user(OTHER)
        for user in (self.user, other):
            for mailbox in ("INBOX", "Archive", "Trash"):
                await self.world.file(user, message(1), mailbox)
        keep = self.lives.lifecycle.retention.keep
        await keep(ME, 50)
        await keep(ME, 0, "Archive")
        await keep(OTHER, 5, "Trash")
        self.lives.later(6)
        await self.lives.lifecycle.retention.purge()
        self.assertEqual([await self.count(each, other) for each in ("INBOX", "Archive", "Trash")], [1, 1, 0])
        self.lives.later(45)
        await self.lives.lifecycle.retention.purge()
        self.assertEqual([await self.count(each) for each in ("INBOX", "Archive", "Trash")], [0, 1, 0])
        self.assertEqual([await self.count(each, other) for each in ("INBOX", "Archive", "Trash")], [1, 1, 0])
        self.lives.later(50)
        await self.lives.lifecycle.retention.purge()
        self.assertEqual([await self.count(each) for each in ("INBOX", "Archive", "Trash")], [0, 1, 0])
        self.assertEqual([await self.count(each, other) for each in ("INBOX", "Archive", "Trash")], [0, 0, 0])

    async def test_shown_and_taken_back(self) -> None:
        await self.open()
        retention = self.lives.lifecycle.retention
        await retention.keep(ME, 7)
        await retention.keep(ME, 9, "inbox")
        own = await retention.own(ME)
        self.assertEqual((own.account, own.mailboxes), (7, {"INBOX": 9}))
        await retention.keep(ME, None)
        await retention.keep(ME, None, "INBOX")
        own = await retention.own(ME)
        self.assertEqual((own.account, own.mailboxes), (None, {}))

    async def test_a_renamed_mailbox_keeps_it(self) -> None:
        await self.open()
        await self.world.mailboxes.create(self.user, "Bills")
        await self.lives.lifecycle.retention.keep(ME, 9, "Bills")
        await self.world.mailboxes.rename(self.user, "Bills", "Invoices")
        self.assertEqual((await self.lives.lifecycle.retention.own(ME)).mailboxes, {"Invoices": 9})

    async def test_refused(self) -> None:
        await self.open()
        keep = self.lives.lifecycle.retention.keep
        for address, days, mailbox in ((ME, -1, ""), (ME, 40000, ""), (ME, 1, "Nowhere"), ("no@example.test", 1, "")):
            with self.assertRaises(DirectoryError):
                await keep(address, days, mailbox)


class PostgreSQL(Base):
    async def test_all_kinds(self) -> None:
        await self.open(lifecycle={"retention_days": 60}, **{"engine": "postgresql"})
        await self.world.file(self.user, message(1), "Trash")
        await self.world.file(self.user, message(2))
        await self.waits("Trash", self.user)
        await self.lives.lifecycle.retention.keep(ME, 40)
        self.lives.later(31)
        self.assertEqual(await self.lives.lifecycle.retention.purge(), 2)
        self.lives.later(10)
        self.assertEqual(await self.lives.lifecycle.retention.purge(), 1)
        self.assertEqual((await self.world.mailboxes.quota(self.user)).used, 0)
