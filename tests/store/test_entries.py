"""Jobs on mailboxes, entries and keywords, on both engines, and two writers at once where there can be two."""

from array import array
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailx.mail.mailbox import KEYWORDS_LIMIT, Change, Flag
from mailx.mail.names import MailboxError
from mailx.store import Txn, copies, entries, keywords
from mailx.store import mailboxes as boxes
from mailx.store.entries import Among
from tests.scenery import world

CONTENT = b"From: a@example.org\r\nSubject: x\r\n\r\nbody\r\n"


class AmongTests(SynchronousTestCase):
    def test_lists_are_padded_so_that_few_statements_are_prepared(self) -> None:
        statements = set()
        for count in range(1, 1001):
            among = Among(list(range(count)))
            statements.add(among.sql())
            self.assertEqual(among.sql().count("?"), len(among.parameters()))
            self.assertEqual(set(among.parameters()), set(range(count)))
        self.assertLess(len(statements), 12)

    def test_a_whole_run_is_a_range(self) -> None:
        among = Among([5, 7, 9], whole=True)
        self.assertEqual((among.sql("e.uid"), among.parameters()), ("e.uid BETWEEN ? AND ?", (5, 9)))


class EntriesTests(TestCase):
    engine = "sqlite"
    timeout = 240

    async def setUp(self) -> None:
        self.world = await world(self, engine=self.engine)
        self.user = await self.world.user("me@example.test")
        self.store = self.world.store
        self.names = boxes.Names(self.world.cipher)
        self.inbox = await self.store.read(boxes.find, self.names, self.user.id, "INBOX")
        self.heard: list[Change] = []
        self.store.listen(self.heard.append)

    async def fill(self, count: int) -> None:
        for _ in range(count):
            await self.world.file(self.user, CONTENT)
        self.heard.clear()

    def flag(self, uids: list[int], mode: Any, mask: int) -> "Deferred[entries.Flagged]":
        return self.store.write(entries.set_flags, self.inbox.id, Among(uids), mode, mask, None, lambda modseq: None)

    def assign(self, *names: str) -> "Deferred[int]":
        return self.store.write(keywords.assign, self.world.cipher, self.user.id, names)

    async def test_each_transaction_raises_the_modseq_by_one(self) -> None:
        await self.fill(6)
        archive = await self.store.read(boxes.find, self.names, self.user.id, "Archive")
        writes: list[Any] = []
        for number in range(1, 7):
            writes.append(self.flag([number], "add", Flag.DELETED))
            writes.append(self.store.write(copies.copy, self.inbox.id, Among([number]), archive.id, 1, 0))
        await gatherResults(writes)
        await gatherResults([self.store.write(entries.expunge, self.inbox.id, Among([number])) for number in range(1, 7)])
        for mailbox in (self.inbox, archive):
            modseqs = [change.modseq for change in self.heard if change.mailbox == mailbox.id]
            self.assertEqual(sorted(modseqs), list(range(min(modseqs), min(modseqs) + len(modseqs))))
        self.assertEqual((await self.store.read(boxes.find, self.names, self.user.id, "Archive")).messages, 6)
        self.assertEqual((await self.store.read(boxes.find, self.names, self.user.id, "INBOX")).messages, 0)

    async def test_what_changed_since(self) -> None:
        await self.fill(4)
        before = (await self.store.read(boxes.find, self.names, self.user.id, "INBOX")).modseq
        await self.flag([2, 3], "add", Flag.SEEN | Flag.DELETED)
        await self.store.write(entries.expunge, self.inbox.id, Among([2]))
        since = await self.store.read(entries.since, self.inbox.id, before)
        self.assertEqual(([row[0] for row in since.changed], since.removed, since.modseq), ([3], [2], before + 2))
        self.assertIsNone(await self.store.read(entries.since, 99999, 0))

    async def test_a_change_tells_flags_as_they_are_then(self) -> None:
        await self.fill(2)
        await self.flag([1, 2], "add", Flag.SEEN)
        await self.flag([1, 2], "add", Flag.SEEN)
        await self.flag([2], "remove", Flag.SEEN | Flag.FLAGGED)
        self.assertEqual([[*zip(change.flagged, change.flags, strict=True)] for change in self.heard], [[(1, 1), (2, 1)], [(2, 0)]])

    async def test_known_flags_count_while_the_mailbox_is_as_it_was(self) -> None:
        """What a session knows spares the reading, and misleads nobody when something came in between."""
        await self.fill(3)
        await self.flag([2], "add", Flag.SEEN)
        modseq = self.heard[-1].modseq

        def flag(mode: Any, mask: int, *flags: int) -> "Deferred[entries.Flagged]":
            known = entries.Known(modseq, array("q", flags))
            among = Among([1, 2, 3], whole=True)
            return self.store.write(entries.set_flags, self.inbox.id, among, mode, mask, None, lambda modseq: None, known)

        done = await flag("add", Flag.SEEN, 0, 1, 0)
        self.assertEqual((done.modseq, done.changed, done.failed), (modseq + 1, [1, 2, 3], []))
        await flag("replace", Flag.DELETED, 0, 1, 0)  # what it knows is old
        inbox = await self.store.read(boxes.find, self.names, self.user.id, "INBOX")
        self.assertEqual((inbox.unseen, inbox.deleted), (3, 3))
        modseq = inbox.modseq
        await flag("remove", Flag.DELETED, 8, 8, 8)
        modseq += 1
        await flag("remove", Flag.DELETED, 0, 0, 0)
        inbox = await self.store.read(boxes.find, self.names, self.user.id, "INBOX")
        self.assertEqual((inbox.unseen, inbox.deleted, inbox.modseq), (3, 0, modseq))
        told = [[*zip(change.flagged, change.flags, strict=True)] for change in self.heard[1:]]
        self.assertEqual(told, [[(1, 1), (3, 1)], [(1, 8), (2, 8), (3, 8)], [(1, 0), (2, 0), (3, 0)]])

    async def test_a_purge_goes_in_slices_and_gives_the_quota_back(self) -> None:
        self.patch(entries, "SLICE", 2)
        await self.world.mailboxes.create(self.user, "a")
        for _ in range(5):
            await self.world.file(self.user, CONTENT, "a")
        mailbox_id = await self.store.write(boxes.bury, self.names, self.user.id, "a")
        steps = 1
        while await self.store.write(entries.purge, mailbox_id):
            steps += 1
        self.assertGreaterEqual(steps, 3)
        used = await self.store.read(lambda txn: txn.one("SELECT used FROM accounts WHERE id = ?", (self.user.id,)))
        self.assertEqual(used, (0,))
        left = await self.store.read(lambda txn: txn.one("SELECT count(*) FROM entries WHERE mailbox_id = ?", (mailbox_id,)))
        self.assertEqual(left, (0,))
        self.assertFalse(await self.store.write(entries.purge, mailbox_id))

    async def test_one_keyword_one_bit_however_many_ask(self) -> None:
        masks = await gatherResults([self.assign(name) for name in ("Work", "WORK", "work", "Home") * 3])
        self.assertEqual(len(set(masks)), 2)
        names = await self.store.read(keywords.names, self.world.cipher, self.user.id)
        self.assertEqual(sorted(name.lower() for name in names.values()), ["home", "work"])
        self.assertEqual(await self.store.read(keywords.find, self.world.cipher, self.user.id, ["wORK", "none"]), masks[0])

    async def test_keywords_are_full_and_freed(self) -> None:
        await self.fill(1)
        mask = await self.assign(*[f"k{number}" for number in range(KEYWORDS_LIMIT)])
        self.assertEqual(mask.bit_length(), 63)
        await self.flag([1], "add", 1 << 62 | 1 << 5)
        error = await self.assertFailure(self.assign("more"), keywords.KeywordsFull)
        self.assertEqual(error.code, "LIMIT")
        self.heard.clear()
        self.assertEqual(await self.store.write(keywords.free, self.user.id), KEYWORDS_LIMIT - 2)
        self.assertTrue(all(change.partial for change in self.heard))
        self.assertEqual(await self.store.read(keywords.names, self.world.cipher, self.user.id), {5: "k0", 62: f"k{KEYWORDS_LIMIT - 1}"})
        self.assertEqual(await self.assign("more"), 1 << 6)

    async def test_a_keyword_too_long(self) -> None:
        await self.assertFailure(self.assign("x" * 101), MailboxError)

    async def test_the_number_of_mailboxes_is_limited(self) -> None:
        self.patch(boxes, "MAILBOXES_LIMIT", 9)
        await self.world.mailboxes.create(self.user, "a/b")
        error = await self.assertFailure(self.store.write(boxes.create, self.names, self.user.id, "c", "", 1), MailboxError)
        self.assertEqual(error.code, "OVERQUOTA")
        for number in range(11):
            await self.store.write(boxes.subscribe, self.names, self.user.id, f"s{number}")
        error = await self.assertFailure(self.store.write(boxes.subscribe, self.names, self.user.id, "t"), MailboxError)
        self.assertEqual(error.code, "LIMIT")

    async def test_names_are_sealed(self) -> None:
        await self.world.mailboxes.create(self.user, "Confidential")
        await self.world.mailboxes.subscribe(self.user, "Confidential")
        await self.assign("Confidential")

        def columns(txn: Txn) -> bytes:
            rows = [row for table in ("mailboxes", "subscriptions", "keywords") for row in txn.all(f"SELECT hash, name FROM {table}")]
            return b"".join(bytes(value) for row in rows for value in row)

        self.assertNotIn(b"onfidential", await self.store.read(columns))


class PostgreSQLEntriesTests(EntriesTests):
    engine = "postgresql"
