"""Metadata: limits, what is sealed, whom it is charged to, and who hears of it."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from mailx.core.mailboxes import MailboxError
from mailx.core.metadata import VALUE_LIMIT
from mailx.mail.mailbox import AccountChange
from mailx.store import metadata
from tests.scenery import World, world

PROJECTS = "Users/anna@example.test/Projects"


class MetadataTests(TestCase):
    """Over a real store."""

    engine = "sqlite"

    async def setting(self) -> World:
        made = await world(self, engine=self.engine)
        self.anna = await made.user("anna@example.test")
        self.bert = await made.user("bert@example.test")
        await made.mailboxes.create(self.anna, "Projects")
        return made

    async def refused(self, code: str, awaitable: Any) -> None:
        try:
            await awaitable
        except MailboxError as error:
            self.assertEqual(error.code, code)
        else:
            self.fail("nothing was refused")

    def test_limits(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._limits())

    async def _limits(self) -> None:
        made = await self.setting()
        held = made.mailboxes.metadata
        put = held.put
        await put(self.anna, "Projects", {"/private/a": b"x" * VALUE_LIMIT})
        await self.refused(f"METADATA MAXSIZE {VALUE_LIMIT}", put(self.anna, "Projects", {"/private/a": b"x" * (VALUE_LIMIT + 1)}))
        self.patch(metadata, "ENTRIES_LIMIT", 2)
        await put(self.anna, "Projects", {"/private/b": b""})
        await self.refused("METADATA TOOMANY", put(self.anna, "Projects", {"/private/c": b""}))
        await put(self.anna, "Projects", {"/private/c": b"", "/private/b": None, "/shared/b": b"", "/shared/c": b""})
        await self.refused("METADATA TOOMANY", put(self.anna, "Projects", {"/private/a": None, "/shared/a": b""}))
        # All or none
        self.assertEqual(sorted((await held.get(self.anna, "Projects"))[1]), ["/private/a", "/private/c", "/shared/b", "/shared/c"])
        self.patch(metadata, "STORAGE_LIMIT", VALUE_LIMIT + 10)
        await put(self.anna, "INBOX", {"/private/a": b"0123456789"})
        await self.refused("OVERQUOTA", put(self.anna, "", {"/private/a": b"0"}))
        await put(self.anna, "INBOX", {"/private/a": b"012345678"})
        await put(self.anna, "", {"/private/a": b"0"})

    def test_guests_pay_for_what_is_theirs(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._pay())

    async def _pay(self) -> None:
        made = await self.setting()
        held = made.mailboxes.metadata
        await made.mailboxes.sharing.grant(self.anna, "Projects", "bert@example.test", "lrw")
        await held.put(self.bert, PROJECTS, {"/private/a": b"12345", "/shared/a": b"123"})
        self.assertEqual([(await held.used(user))[0] for user in (self.anna, self.bert)], [3, 5])
        self.assertEqual((await held.get(self.anna, "Projects"))[1], {"/shared/a": b"123"})
        # Without rights nothing is told; what was private is still there when they come back.
        await made.mailboxes.sharing.withdraw(self.anna, "Projects", "bert@example.test")
        await self.refused("NONEXISTENT", held.get(self.bert, PROJECTS))
        await made.mailboxes.sharing.grant(self.anna, "Projects", "bert@example.test", "lr")
        self.assertEqual(await held.get(self.bert, PROJECTS), (PROJECTS, {"/private/a": b"12345", "/shared/a": b"123"}))
        await made.mailboxes.delete(self.anna, "Projects")
        self.assertEqual([(await held.used(user))[0] for user in (self.anna, self.bert)], [0, 0])

    def test_nothing_is_plain(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._plain())

    async def _plain(self) -> None:
        made = await self.setting()
        await made.mailboxes.metadata.put(self.anna, "Projects", {"/private/vendor/zebra": b"crocodile"})
        rows = await made.store.read(lambda txn: txn.all("SELECT hash, guid, sealed FROM metadata"))
        text = b"".join([bytes(value) for row in rows for value in row])
        self.assertEqual((b"zebra" in text, b"crocodile" in text, len(rows)), (False, False, 1))

    def test_who_follows_the_account_hears(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._hears())

    async def _hears(self) -> None:
        made = await self.setting()
        heard: list[AccountChange | None] = []
        self.addCleanup(made.changes.follow_account(self.anna.id, heard.append))
        await made.mailboxes.metadata.put(self.anna, "Projects", {"/shared/a": b"1", "/shared/b": None})
        await made.mailboxes.sharing.grant(self.anna, "Projects", "anyone", "l")
        mailbox = (await made.mailboxes.status(self.anna, "Projects")).id
        await made.mailboxes.sharing.grant(self.anna, "Projects", "anyone", "lr")
        await made.mailboxes.metadata.put(self.bert, PROJECTS, {"/private/mine": b"1"})
        kinds = [(change.kind, change.mailbox, change.entries[:2]) for change in heard if change is not None]
        self.assertEqual(kinds[0], ("metadata", mailbox, ("/shared/a", "/shared/b")))
        self.assertEqual([kind[:2] for kind in kinds[1:]], [("acl", mailbox)] * 2)


class PostgreSQLMetadataTests(MetadataTests):
    """The same on the other engine."""

    engine = "postgresql"
