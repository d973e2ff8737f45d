"""The tree of mailboxes, and what sessions do with their messages."""

from twisted.trial.unittest import TestCase

from mailx.core.fetch import Need
from mailx.core.mailboxes import MailboxError
from mailx.mail.mailbox import DEFAULT_MAILBOXES, Flag
from tests.scenery import world


def message(subject: str, body: str = "Hello\r\n") -> bytes:
    head = f"From: a@example.org\r\nTo: me@example.test\r\nSubject: {subject}\r\nDate: Fri, 20 Nov 2026 09:00:00 +0000\r\n"
    return f"{head}\r\n{body}".encode()


class TreeTests(TestCase):
    async def setUp(self) -> None:
        self.world = await world(self)
        self.user = await self.world.user("me@example.test")
        self.mailboxes = self.world.mailboxes

    async def names(self) -> list[str]:
        return [mailbox.name for mailbox in await self.mailboxes.list(self.user)]

    async def refused(self, code: str, attempt: object) -> None:
        try:
            await attempt
        except MailboxError as error:
            self.assertEqual(error.code, code)
        else:
            self.fail(f"not refused with {code}")

    async def test_a_new_account_has_its_folders_subscribed(self) -> None:
        made = await self.mailboxes.list(self.user)
        self.assertEqual({(mailbox.name, mailbox.special_use) for mailbox in made}, set(DEFAULT_MAILBOXES))
        self.assertEqual(made[0].name, "INBOX")
        self.assertTrue(all(mailbox.subscribed for mailbox in made))
        self.assertEqual(len({mailbox.uidvalidity for mailbox in made}), len(made))

    async def test_create_makes_what_is_missing_above(self) -> None:
        made = await self.mailboxes.create(self.user, "Projects/2026/MailX/")
        self.assertEqual(made.name, "Projects/2026/MailX")
        self.assertFalse(made.subscribed)
        names = await self.names()
        self.assertEqual(names[names.index("Projects") :][:3], ["Projects", "Projects/2026", "Projects/2026/MailX"])

    async def test_names_have_one_spelling(self) -> None:
        await self.mailboxes.create(self.user, "Gro\u0308\u00dfe")
        self.assertEqual((await self.mailboxes.status(self.user, "Gr\u00f6\u00dfe")).name, "Gr\u00f6\u00dfe")
        self.assertEqual((await self.mailboxes.status(self.user, "inBox")).name, "INBOX")
        await self.refused("ALREADYEXISTS", self.mailboxes.create(self.user, "inbox"))
        await self.mailboxes.create(self.user, "inbox/lists")
        self.assertIn("INBOX/lists", await self.names())

    async def test_names_that_are_refused(self) -> None:
        for name in ("", "/", "a//b", "/a", "a\r\nb", "a\0", "a*", "50%", " a", "a /b"):
            await self.refused("CANNOT", self.mailboxes.create(self.user, name))
        await self.refused("LIMIT", self.mailboxes.create(self.user, "x" * 256))
        await self.refused("LIMIT", self.mailboxes.create(self.user, "/".join("abcdefghijklmnopqrstu")))

    async def test_a_special_use_is_given_once(self) -> None:
        await self.refused("USEATTR", self.mailboxes.create(self.user, "Bin", "\\Trash"))
        await self.refused("USEATTR", self.mailboxes.create(self.user, "Everything", "\\All"))
        await self.mailboxes.delete(self.user, "Trash")
        self.assertEqual((await self.mailboxes.create(self.user, "Bin", "\\Trash")).special_use, "\\Trash")
        self.assertEqual((await self.mailboxes.status(self.user, "Bin")).special_use, "\\Trash")

    async def test_a_name_made_anew_has_a_higher_uidvalidity(self) -> None:
        first = await self.mailboxes.create(self.user, "a")
        for _ in range(3):
            await self.mailboxes.delete(self.user, "a")
            again = await self.mailboxes.create(self.user, "a")
            self.assertGreater(again.uidvalidity, first.uidvalidity)
            first = again

    async def test_delete_leaves_children(self) -> None:
        await self.mailboxes.create(self.user, "a/b")
        await self.mailboxes.delete(self.user, "a")
        self.assertIn("a/b", await self.names())
        self.assertNotIn("a", await self.names())
        await self.refused("HASCHILDREN", self.mailboxes.delete(self.user, "a"))
        await self.mailboxes.delete(self.user, "a/b")
        await self.refused("NONEXISTENT", self.mailboxes.delete(self.user, "a"))
        await self.refused("CANNOT", self.mailboxes.delete(self.user, "Inbox"))

    async def test_rename_takes_children_along_and_makes_parents(self) -> None:
        await self.mailboxes.create(self.user, "a/b/c")
        before = await self.mailboxes.status(self.user, "a/b/c")
        await self.mailboxes.rename(self.user, "a", "x/y")
        names = await self.names()
        self.assertEqual([name for name in names if name[0] in "ax"], ["x", "x/y", "x/y/b", "x/y/b/c"])
        after = await self.mailboxes.status(self.user, "x/y/b/c")
        self.assertEqual((after.id, after.uidvalidity), (before.id, before.uidvalidity))

    async def test_renames_that_are_refused(self) -> None:
        await self.mailboxes.create(self.user, "a/b")
        await self.mailboxes.create(self.user, "c")
        await self.refused("ALREADYEXISTS", self.mailboxes.rename(self.user, "a", "c"))
        await self.refused("NONEXISTENT", self.mailboxes.rename(self.user, "missing", "d"))
        await self.refused("CANNOT", self.mailboxes.rename(self.user, "a", "a/b/a"))
        await self.refused("ALREADYEXISTS", self.mailboxes.rename(self.user, "c", "inbox"))
        await self.refused("LIMIT", self.mailboxes.rename(self.user, "a", "x" * 254))

    async def test_rename_of_inbox_moves_its_messages(self) -> None:
        await self.mailboxes.create(self.user, "INBOX/child")
        await self.world.deliver("me@example.test", message("one"))
        await self.mailboxes.rename(self.user, "INBOX", "old/2026")
        inbox, old = await self.mailboxes.status(self.user, "INBOX"), await self.mailboxes.status(self.user, "old/2026")
        self.assertEqual((inbox.messages, inbox.unseen, inbox.size), (0, 0, 0))
        self.assertEqual((old.messages, old.unseen), (1, 1))
        self.assertIn("INBOX/child", await self.names())

    async def test_subscriptions_outlive_mailboxes(self) -> None:
        await self.mailboxes.create(self.user, "a")
        await self.mailboxes.subscribe(self.user, "a")
        await self.mailboxes.subscribe(self.user, "not/there")
        await self.mailboxes.subscribe(self.user, "a")
        await self.mailboxes.delete(self.user, "a")
        self.assertLessEqual({"a", "not/there"}, set(await self.mailboxes.subscriptions(self.user)))
        await self.mailboxes.unsubscribe(self.user, "a")
        self.assertNotIn("a", await self.mailboxes.subscriptions(self.user))

    async def test_another_account_sees_nothing(self) -> None:
        other = await self.world.user("you@example.test")
        await self.mailboxes.create(self.user, "secret")
        await self.refused("NONEXISTENT", self.mailboxes.status(other, "secret"))
        self.assertNotIn("secret", [mailbox.name for mailbox in await self.mailboxes.list(other)])

    async def test_lists_are_true_after_every_change(self) -> None:
        async def subscribed(name: str) -> bool:
            return {mailbox.name: mailbox.subscribed for mailbox in await self.mailboxes.list(self.user)}[name]

        await self.names()
        await self.mailboxes.create(self.user, "a")
        self.assertFalse(await subscribed("a"))
        await self.mailboxes.subscribe(self.user, "a")
        self.assertTrue(await subscribed("a"))
        self.assertTrue((await self.mailboxes.status(self.user, "a")).subscribed)
        await self.mailboxes.unsubscribe(self.user, "a")
        self.assertFalse((await self.mailboxes.status(self.user, "a")).subscribed)
        await self.mailboxes.rename(self.user, "a", "b")
        await self.refused("NONEXISTENT", self.mailboxes.status(self.user, "a"))
        self.assertFalse(await subscribed("b"))
        await self.mailboxes.delete(self.user, "b")
        self.assertNotIn("b", await self.names())
        for count in range(1, 4):
            await self.world.deliver("me@example.test", message("x"))
            self.assertEqual((await self.mailboxes.status(self.user, "INBOX")).messages, count)
            self.assertEqual((await self.mailboxes.list(self.user))[0].messages, count)

    async def test_a_deletion_cut_short_is_finished(self) -> None:
        await self.mailboxes.create(self.user, "a")
        await self.world.file(self.user, message("one"), "a")
        used = (await self.mailboxes.quota(self.user)).used
        self.assertGreater(used, 0)
        from mailx.store import mailboxes as boxes

        await self.world.store.write(boxes.bury, boxes.Names(self.world.cipher), self.user.id, "a")
        self.assertNotIn("a", await self.names())
        await self.mailboxes.create(self.user, "a")
        await self.mailboxes.resume()
        self.assertEqual((await self.mailboxes.quota(self.user)).used, 0)
        self.assertEqual(await self.world.store.read(boxes.buried), [])
        self.assertIn("a", await self.names())


class SessionTests(TestCase):
    async def setUp(self) -> None:
        self.world = await world(self)
        self.user = await self.world.user("me@example.test")
        self.mailboxes = self.world.mailboxes

    async def fill(self, count: int) -> None:
        for number in range(count):
            await self.world.deliver("me@example.test", message(f"message {number}"))

    async def test_a_new_message_is_recent_in_one_session_only(self) -> None:
        await self.fill(2)
        looking = await self.mailboxes.select(self.user, "INBOX", True)
        self.assertEqual(looking.recent, {1, 2})
        first = await self.mailboxes.select(self.user, "INBOX", False)
        second = await self.mailboxes.select(self.user, "INBOX", False)
        self.assertEqual((first.recent, second.recent), ({1, 2}, set()))
        await self.fill(1)
        updates = [session.updates(True) for session in (first, second, looking)]
        self.assertEqual([update.exists for update in updates], [3, 3, 3])
        self.assertEqual([update.recent for update in updates], [3, 0, 2])
        status = await self.mailboxes.status(self.user, "INBOX")
        self.assertEqual(await self.mailboxes.recent(status), 0)
        for session in (looking, first, second):
            session.close()
        again = await self.mailboxes.select(self.user, "INBOX", False)
        self.assertEqual(again.recent, set())
        again.close()

    async def test_flags_of_another_session_are_seen_at_once_and_told_once(self) -> None:
        await self.fill(3)
        one = await self.mailboxes.select(self.user, "INBOX", False)
        two = await self.mailboxes.select(self.user, "INBOX", False)
        told: list[int] = []
        two.on_change = lambda: told.append(1)
        one.on_change = lambda: self.fail("a session is not told of its own STORE")
        stored = await self.mailboxes.store(one, [2], "add", Flag.SEEN, ("$Forwarded",))
        self.assertEqual((stored.changed, stored.failed), ([2], []))
        self.assertEqual(one.names(one.flags[1]), ("\\Seen", "$Forwarded"))
        self.assertEqual(two.names(two.flags[1]), ("\\Seen", "$Forwarded"))
        self.assertEqual(told, [1])
        self.assertEqual(one.updates(True).flagged, [])
        self.assertEqual(two.updates(True).flagged, [1])
        self.assertEqual(two.updates(True).flagged, [])
        self.assertEqual(one.modseqs[1], stored.modseq)
        one.close()
        two.close()

    async def test_counters_follow_the_flags(self) -> None:
        await self.fill(3)
        session = await self.mailboxes.select(self.user, "INBOX", False)
        await self.mailboxes.store(session, [1, 2], "replace", Flag.SEEN | Flag.DELETED, ())
        await self.mailboxes.store(session, [2], "remove", Flag.SEEN, ())
        await self.mailboxes.store(session, [3], "add", Flag.FLAGGED, ())
        status = await self.mailboxes.status(self.user, "INBOX")
        self.assertEqual((status.messages, status.unseen, status.deleted), (3, 2, 2))
        await self.mailboxes.expunge(session, [1])
        status = await self.mailboxes.status(self.user, "INBOX")
        self.assertEqual((status.messages, status.unseen, status.deleted), (2, 2, 1))
        self.assertEqual(status.size, session.sizes[1] + session.sizes[2])
        session.close()

    async def test_unchanged_since(self) -> None:
        await self.fill(3)
        one = await self.mailboxes.select(self.user, "INBOX", False)
        before = one.modseq
        await self.mailboxes.store(one, [2], "add", Flag.FLAGGED, ())
        stored = await self.mailboxes.store(one, [1, 2, 3], "add", Flag.SEEN, (), unchanged_since=before)
        self.assertEqual((stored.changed, stored.failed), ([1, 3], [2]))
        self.assertEqual([bool(flags & Flag.SEEN) for flags in one.flags], [True, False, True])
        one.close()

    async def test_a_store_that_changes_nothing_raises_no_modseq(self) -> None:
        await self.fill(1)
        one = await self.mailboxes.select(self.user, "INBOX", False)
        first = await self.mailboxes.store(one, [1], "add", Flag.SEEN, ())
        second = await self.mailboxes.store(one, [1], "add", Flag.SEEN, ())
        self.assertEqual((first.modseq, second.changed), (second.modseq, [1]))
        one.close()

    async def test_expunged_messages_keep_their_places_until_told(self) -> None:
        await self.fill(4)
        one = await self.mailboxes.select(self.user, "INBOX", False)
        two = await self.mailboxes.select(self.user, "INBOX", False)
        await self.mailboxes.store(one, [2, 4], "add", Flag.DELETED, ())
        self.assertEqual(await self.mailboxes.expunge(one), [2, 4])
        await self.fill(1)
        self.assertEqual(list(two.uids), [1, 2, 3, 4])
        quiet = two.updates(False)
        self.assertEqual((quiet.expunged, quiet.exists), ([], 5))
        told = two.updates(True)
        self.assertEqual((told.expunged, told.vanished, told.exists), ([4, 2], [2, 4], None))
        self.assertEqual(list(two.uids), [1, 3, 5])
        self.assertEqual(one.updates(True).expunged, [4, 2])
        one.close()
        two.close()

    async def test_copy_keeps_flags_and_charges_the_quota(self) -> None:
        await self.fill(3)
        one = await self.mailboxes.select(self.user, "INBOX", False)
        await self.mailboxes.store(one, [2], "add", Flag.FLAGGED, ("work",))
        before = await self.mailboxes.quota(self.user)
        copied = await self.mailboxes.copy(one, [1, 2, 99], "Archive")
        self.assertEqual((copied.source, copied.target), ([1, 2], [1, 2]))
        archive = await self.mailboxes.select(self.user, "Archive", False)
        self.assertEqual(copied.uidvalidity, archive.mailbox.uidvalidity)
        self.assertEqual(archive.names(archive.flags[1]), ("\\Flagged", "work"))
        self.assertEqual(archive.received, one.received[:2])
        after = await self.mailboxes.quota(self.user)
        self.assertAlmostEqual(after.used, before.used * 5 / 3, delta=5)
        rows = [row async for batch in self.mailboxes.fetch(archive, [1, 2], Need.CONTENT) for row in batch]
        self.assertIn(b"message 1", rows[1].content)
        await self.mailboxes.store(archive, [1, 2], "add", Flag.DELETED, ())
        await self.mailboxes.expunge(archive)
        self.assertEqual((await self.mailboxes.quota(self.user)).used, before.used)
        one.close()
        archive.close()

    async def test_copy_into_the_same_mailbox(self) -> None:
        await self.fill(2)
        one = await self.mailboxes.select(self.user, "INBOX", False)
        copied = await self.mailboxes.copy(one, [1, 2], "INBOX")
        self.assertEqual(copied.target, [3, 4])
        self.assertEqual(one.updates(True).exists, 4)
        one.close()

    async def test_copies_beyond_the_quota_leave_nothing(self) -> None:
        await self.fill(3)
        one = await self.mailboxes.select(self.user, "INBOX", False)
        used = (await self.mailboxes.quota(self.user)).used
        await self.world.accounts.set_quota("me@example.test", used + used // 2)
        self.patch(__import__("mailx.core.edits").core.edits, "SLICE", 1)
        for uids in ([1, 2, 3], [3, 2]):
            try:
                await self.mailboxes.copy(one, uids, "Archive")
            except MailboxError as error:
                self.assertEqual(error.code, "OVERQUOTA")
            else:
                self.fail("copied beyond the quota")
        self.assertEqual((await self.mailboxes.status(self.user, "Archive")).messages, 0)
        self.assertEqual((await self.mailboxes.quota(self.user)).used, used)
        one.close()

    async def test_a_copy_that_fails_late_is_taken_back(self) -> None:
        await self.fill(3)
        one = await self.mailboxes.select(self.user, "INBOX", False)
        edits = __import__("mailx.core.edits").core.edits
        self.patch(edits, "SLICE", 1)
        copy, calls = edits.copies.copy, []

        def failing(*args: object) -> object:
            calls.append(args)
            if len(calls) == 3:
                raise MailboxError("OVERQUOTA", "full")
            return copy(*args)

        self.patch(edits.copies, "copy", failing)
        used = (await self.mailboxes.quota(self.user)).used
        try:
            await self.mailboxes.copy(one, [1, 2, 3], "Archive")
        except MailboxError:
            pass
        self.assertEqual(len(calls), 3)
        status = await self.mailboxes.status(self.user, "Archive")
        self.assertEqual((status.messages, status.unseen, status.size), (0, 0, 0))
        self.assertEqual(status.uidnext, 3, "UIDs are not used again")
        self.assertEqual((await self.mailboxes.quota(self.user)).used, used)
        one.close()

    async def test_move(self) -> None:
        await self.fill(3)
        one = await self.mailboxes.select(self.user, "INBOX", False)
        used = (await self.mailboxes.quota(self.user)).used
        moved = await self.mailboxes.move(one, [1, 3], "Archive")
        self.assertEqual((moved.source, moved.target), ([1, 3], [1, 2]))
        self.assertEqual(one.updates(True).vanished, [1, 3])
        self.assertEqual((await self.mailboxes.status(self.user, "INBOX")).messages, 1)
        self.assertEqual((await self.mailboxes.status(self.user, "Archive")).messages, 2)
        self.assertEqual((await self.mailboxes.quota(self.user)).used, used)
        one.close()

    async def test_a_missing_target(self) -> None:
        await self.fill(1)
        one = await self.mailboxes.select(self.user, "INBOX", False)
        for attempt in (self.mailboxes.copy, self.mailboxes.move):
            try:
                await attempt(one, [1], "missing")
            except MailboxError as error:
                self.assertEqual(error.code, "TRYCREATE")
            else:
                self.fail("there is no such mailbox")
        one.close()

    async def test_a_deleted_mailbox_is_gone_for_its_sessions(self) -> None:
        await self.mailboxes.create(self.user, "a")
        await self.world.file(self.user, message("one"), "a")
        one = await self.mailboxes.select(self.user, "a", False)
        told: list[int] = []
        one.on_change = lambda: told.append(1)
        await self.mailboxes.delete(self.user, "a")
        self.assertEqual(told, [1])
        self.assertTrue(one.updates(True).gone)
        try:
            await self.mailboxes.store(one, [1], "add", Flag.SEEN, ())
        except MailboxError as error:
            self.assertEqual(error.code, "NONEXISTENT")
        one.close()

    async def test_read_only(self) -> None:
        await self.fill(1)
        one = await self.mailboxes.select(self.user, "INBOX", True)
        for attempt in (
            self.mailboxes.store(one, [1], "add", Flag.SEEN, ()),
            self.mailboxes.expunge(one),
            self.mailboxes.move(one, [1], "Archive"),
        ):
            try:
                await attempt
            except MailboxError as error:
                self.assertEqual(error.code, "NOPERM")
            else:
                self.fail("a mailbox selected read-only was changed")
        one.close()

    async def test_keywords_are_limited_and_freed_when_unused(self) -> None:
        await self.fill(2)
        one = await self.mailboxes.select(self.user, "INBOX", False)
        await self.mailboxes.store(one, [1], "add", 0, tuple(f"k{number}" for number in range(57)))
        await self.mailboxes.store(one, [2], "add", 0, ("Last",))
        await self.mailboxes.store(one, [2], "add", 0, ("LAST",))
        self.assertEqual(len(one.keyword_names()), 58)
        try:
            await self.mailboxes.store(one, [2], "add", 0, ("more",))
        except MailboxError as error:
            self.assertEqual(error.code, "LIMIT")
        else:
            self.fail("a 59th keyword was taken")
        self.assertEqual(one.names(one.flags[1]), ("Last",))
        await self.mailboxes.store(one, [2], "replace", 0, ())
        await self.mailboxes.store(one, [2], "add", 0, ("more",))
        self.assertEqual(one.names(one.flags[1]), ("more",))
        self.assertNotIn("Last", one.keyword_names())
        one.close()

    async def test_rows(self) -> None:
        await self.fill(3)
        one = await self.mailboxes.select(self.user, "INBOX", False)
        await self.fill(1)
        one.updates(True)
        for need in (Need.NONE, Need.SUMMARY, Need.CONTENT, Need.GUID, Need.SUMMARY | Need.CONTENT):
            rows = [row async for batch in self.mailboxes.fetch(one, [1, 3, 4, 77], need) for row in batch]
            self.assertEqual([(row.uid, row.index) for row in rows], [(1, 0), (3, 2), (4, 3)])
            self.assertTrue(all(row.received and row.saved and row.message_id and row.thread_id for row in rows))
            if need & Need.SUMMARY:
                self.assertIn(b"message 2", rows[1].summary.envelope)
            if need & Need.CONTENT:
                self.assertIn(b"message 0", rows[2].content)
                self.assertEqual(await self.mailboxes.read(rows[2].content, 2, 5), rows[2].content[2:7])
            self.assertEqual(len({row.guid for row in rows}), 3 if need else 1)
        one.close()

    async def test_large_contents_are_read_in_pieces(self) -> None:
        large = message("large", "".join(f"line {number}\r\n" for number in range(40000)))
        await self.world.deliver("me@example.test", large)
        one = await self.mailboxes.select(self.user, "INBOX", False)
        [row] = [row async for batch in self.mailboxes.fetch(one, [1], Need.CONTENT) for row in batch]
        self.assertEqual(row.content.size, row.size)
        whole = await self.mailboxes.read(row.content)
        self.assertTrue(whole.endswith(large))
        self.assertEqual(await self.mailboxes.read(row.content, 100_000, 70_000), whole[100_000:170_000])
        one.close()
