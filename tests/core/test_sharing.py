"""Shared mailboxes: what nobody may guess, who pays, and when rights end."""

from base64 import encodebytes
from os import urandom
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailx.core import search as keys
from mailx.core.mailboxes import MailboxError, Mailboxes, Need
from mailx.core.sharing import RightsError
from mailx.core.sort import SortKey
from mailx.mail.mailbox import Change, Flag
from mailx.mail.rights import ALL, ORDER, Place, elsewhere, parse, shown, spell
from mailx.store import Txn
from mailx.store.messages import charge
from mailx.store.rights import effective, read, spelled
from tests.core.test_index import Indexed, plain
from tests.scenery import World, world

MESSAGE = b"Subject: shared\r\nMessage-ID: <1@example.org>\r\n\r\nText.\r\n"
INBOX = "Users/anna@example.test/INBOX"


class RightsTests(SynchronousTestCase):
    """Letters and names."""

    def test_letters(self) -> None:
        self.assertEqual(parse("cd"), frozenset("ketx"))
        self.assertEqual(parse(""), frozenset())
        self.assertEqual(shown(parse("lrx")), "lrxd")
        self.assertEqual(shown(ALL), ORDER + "cd")
        for wrong in ("z", "L", "l r", "é", "0"):
            self.assertRaises(RightsError, parse, wrong)

    @given(st.frozensets(st.sampled_from(ORDER)))
    def test_what_is_shown_reads_back_as_itself(self, rights: frozenset[str]) -> None:
        self.assertEqual(parse(spell(rights)), rights)
        self.assertTrue(rights <= parse(shown(rights)))

    def test_names(self) -> None:
        self.assertEqual(elsewhere("Users/Anna@Example.test/inbox/a"), Place("anna", "example.test", "INBOX/a"))
        for own in ("Users", "Users/anna", "Users/anna/INBOX", "INBOX", "users/anna@example.test/INBOX"):
            self.assertIsNone(elsewhere(own))

    @given(st.lists(st.tuples(st.sampled_from([(1, None), (2, None), (None, 7), (None, 8)]), st.booleans(), st.text(ORDER)), max_size=8))
    def test_what_is_taken_away_is_never_had(self, lines: list[tuple[tuple[int | None, int | None], bool, str]]) -> None:
        rows = [(*who, int(negative), rights) for who, negative, rights in lines]
        mine = [row for row in rows if row[0] == 1 or row[1] == 7]
        had = effective(rows, 1, 7)
        self.assertEqual(had, effective(read(spelled(rows)), 1, 7))
        for row in mine:
            if row[2]:
                self.assertTrue(had.isdisjoint(row[3]))
        self.assertTrue(had <= {letter for row in mine if not row[2] for letter in row[3]})


class SharingTests(TestCase):
    """Over a real store."""

    engine = "sqlite"

    async def setting(self, **sections: Any) -> World:
        made = await world(self, engine=self.engine, **sections)
        self.anna = await made.user("anna@example.test")
        self.bert = await made.user("bert@example.test")
        self.carl = await made.user("carl@elsewhere.test")
        return made

    async def refused(self, code: str, awaitable: Any) -> str:
        """The text of the MailboxError ``code`` that it must end in."""
        try:
            await awaitable
        except MailboxError as error:
            self.assertEqual(error.code, code)
            return error.text
        self.fail("nothing was refused")

    def test_absent_and_forbidden_are_alike(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._alike())

    async def _alike(self) -> None:
        made = await self.setting()
        boxes = made.mailboxes
        await boxes.create(self.anna, "Secret")
        names = ["Users/anna@example.test/Secret", "Users/anna@example.test/Absent", "Users/nobody@example.test/Secret"]

        async def answers(*calls: Any) -> None:
            told = set()
            for call in calls:
                try:
                    await call
                except MailboxError as error:
                    told.add((error.code, error.text))
                else:
                    told.add(("OK", ""))
            self.assertEqual(len(told), 1, told)
            self.assertNotIn(("OK", ""), told)

        bert = self.bert
        await answers(*[boxes.status(bert, name) for name in names])
        await answers(*[boxes.select(bert, name, True) for name in names])
        await answers(*[boxes.delete(bert, name) for name in names])
        await answers(*[boxes.rename(bert, name, "Mine") for name in names])
        await answers(*[boxes.rename(bert, name, "Users/anna@example.test/X") for name in names])
        await answers(*[boxes.rename(bert, "Drafts", name) for name in names])
        await answers(*[boxes.create(bert, name) for name in names])
        await answers(*[boxes.create(bert, name + "/Under") for name in names])
        await answers(*[boxes.sharing.grants(bert, name) for name in names])
        await answers(*[boxes.sharing.mine(bert, name) for name in names])
        await answers(*[boxes.sharing.grant(bert, name, "bert@example.test", "lra") for name in names])
        await answers(*[boxes.sharing.withdraw(bert, name, "anna@example.test") for name in names])
        await answers(*[boxes.metadata.get(bert, name) for name in names])
        await answers(*[boxes.metadata.put(bert, name, {"/shared/comment": b"x"}) for name in names])
        await answers(*[made.file(bert, MESSAGE, name) for name in names])
        await made.file(bert, MESSAGE)
        selected = await boxes.select(bert, "INBOX", False)
        await answers(*[boxes.copy(selected, [1], name) for name in names])
        await answers(*[boxes.move(selected, [1], name) for name in names])
        selected.close()
        self.assertEqual(await boxes.sharing.list(bert), [])
        self.assertEqual(made.files(), [])

    def test_nobody_gets_a_mailbox_under_names_of_others(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._names_of_others())

    async def _names_of_others(self) -> None:
        """Not by what lies under a mailbox that is renamed, and not by a guest: nobody could reach such a mailbox."""
        made = await self.setting()
        boxes = made.mailboxes
        await boxes.create(self.anna, "Old/bert@example.test/Box")
        await self.refused("CANNOT", boxes.rename(self.anna, "Old", "Users"))
        await boxes.create(self.anna, "Users/x")
        await boxes.sharing.grant(self.anna, "Users", "bert@example.test", "lrkx")
        await boxes.sharing.grant(self.anna, "Users/x", "bert@example.test", "lrkx")
        own = "Users/anna@example.test/"
        await self.refused("CANNOT", boxes.create(self.bert, own + "Users/bert@example.test/Box"))
        await self.refused("CANNOT", boxes.rename(self.bert, own + "Users/x", own + "Users/bert@example.test/x"))
        names = [mailbox.name for mailbox in await boxes.list(self.anna)]
        self.assertEqual([name for name in names if elsewhere(name)], [])
        self.assertIn("Users/x", names)

    def test_the_owner_pays(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._pays())

    async def _pays(self) -> None:
        made = await self.setting()
        boxes = made.mailboxes
        await boxes.sharing.grant(self.anna, "INBOX", "bert@example.test", "lrswite")
        await made.file(self.bert, MESSAGE, INBOX)
        cost = charge(len(MESSAGE))
        self.assertEqual(((await boxes.quota(self.anna)).used, (await boxes.quota(self.bert)).used), (cost, 0))
        selected = await boxes.select(self.bert, INBOX, False)
        await boxes.copy(selected, [1], "INBOX")
        self.assertEqual(((await boxes.quota(self.anna)).used, (await boxes.quota(self.bert)).used), (cost, cost))
        await boxes.move(selected, [1], "Archive")
        self.assertEqual(((await boxes.quota(self.anna)).used, (await boxes.quota(self.bert)).used), (0, 2 * cost))
        self.assertEqual(await made.contents(self.bert, "Archive"), await made.contents(self.bert))
        selected.close()
        await made.accounts.set_quota("anna@example.test", 1)
        mine = await boxes.select(self.bert, "Archive", False)
        await self.refused("OVERQUOTA", boxes.copy(mine, [1], INBOX))
        await self.refused("OVERQUOTA", boxes.move(mine, [1], INBOX))
        self.assertEqual(len(mine.uids), 1)
        mine.close()
        await self.refused("OVERQUOTA", made.file(self.bert, MESSAGE, INBOX))
        self.assertEqual(await made.store.read(_references), [1, 1])

    def test_anyone_is_the_owners_domain(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._anyone())

    async def _anyone(self) -> None:
        made = await self.setting()
        boxes = made.mailboxes
        await boxes.sharing.grant(self.anna, "INBOX", "anyone", "lr")
        self.assertEqual([box.name for box in await boxes.sharing.list(self.bert)], [INBOX])
        self.assertEqual(await boxes.sharing.list(self.carl), [])
        await self.refused("NONEXISTENT", boxes.status(self.carl, INBOX))
        await boxes.sharing.grant(self.anna, "INBOX", "carl@elsewhere.test", "lr")
        self.assertEqual([box.name for box in await boxes.sharing.list(self.carl)], [INBOX])
        self.assertEqual(await boxes.sharing.list(self.anna), [])
        await self.refused("NONEXISTENT", boxes.status(self.anna, INBOX))

    def test_rights_end_in_the_middle(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._middle())

    async def _middle(self) -> None:
        made = await self.setting()
        boxes = made.mailboxes
        await boxes.sharing.grant(self.anna, "INBOX", "bert@example.test", "lrswite")
        for _ in range(3):
            await made.file(self.anna, MESSAGE)
        selected = await boxes.select(self.bert, INBOX, False)
        told: list[bool] = []
        selected.on_change = lambda: told.append(selected.updates(True).gone)
        fetched = boxes.fetch(selected, [1, 2, 3], Need.CONTENT)
        await boxes.sharing.grant(self.anna, "INBOX", "bert@example.test", "-te")
        await self.refused("NOPERM", boxes.expunge(selected))
        await self.refused("NOPERM", boxes.store(selected, [1], "add", int(Flag.DELETED), ()))
        await self.refused("NOPERM", boxes.move(selected, [1], "INBOX"))
        await boxes.sharing.withdraw(self.anna, "INBOX", "bert@example.test")
        self.assertEqual((selected.barred, told), (True, [True]))
        await self.refused("NOPERM", fetched.__anext__())
        await self.refused("NOPERM", boxes.store(selected, [1], "add", int(Flag.SEEN), ()))
        await self.refused("NOPERM", boxes.copy(selected, [1], "INBOX"))
        await boxes.sharing.grant(self.anna, "Archive", "bert@example.test", "lr")
        self.assertTrue(selected.barred)
        selected.close()

    def test_rights_end_while_they_are_read(self) -> Deferred[None]:
        """What was read before they ended does not give them back."""
        return Deferred.fromCoroutine(self._while_read())

    async def _while_read(self) -> None:
        made = await self.setting()
        boxes = made.mailboxes
        await boxes.sharing.grant(self.anna, "INBOX", "bert@example.test", "lr")
        selected = await boxes.select(self.bert, INBOX, True)
        read, has_read, going_on = boxes.sharing._store.read, Deferred[None](), Deferred[None]()

        async def slow(*args: Any) -> Any:
            found = await read(*args)
            has_read.callback(None)
            await going_on
            return found

        self.patch(boxes.sharing._store, "read", lambda *args: Deferred.fromCoroutine(slow(*args)))
        made.changes._heard(Change(0, 0, partial=True))
        self.patch(boxes.sharing._store, "read", read)
        await has_read
        await boxes.sharing.withdraw(self.anna, "INBOX", "bert@example.test")
        self.assertTrue(selected.barred)
        going_on.callback(None)
        self.assertTrue(selected.barred)
        selected.close()

    def test_rights_end_in_a_search(self) -> Deferred[None]:
        """What was found meanwhile is not told."""
        return Deferred.fromCoroutine(self._in_a_search())

    async def _in_a_search(self) -> None:
        made = await self.setting()
        boxes = made.mailboxes
        await made.file(self.anna, MESSAGE)
        for name in ("matching", "ranked"):
            self.patch(boxes._search, name, self.withdrawing(boxes, getattr(boxes._search, name)))
        for asked in (
            lambda view: boxes.search(view, keys.All()),
            lambda view: boxes.ranked(view, keys.All()),
            lambda view: boxes.sort(view, [SortKey("size")], keys.All()),
            lambda view: boxes.thread(view, "REFERENCES", keys.All()),
        ):
            await boxes.sharing.grant(self.anna, "INBOX", "bert@example.test", "lr")
            view = await boxes.select(self.bert, INBOX, True)
            await self.refused("NOPERM", asked(view))
            view.close()

    def withdrawing(self, boxes: Mailboxes, job: Any) -> Any:
        async def done(*args: Any) -> Any:
            found = await job(*args)
            await boxes.sharing.withdraw(self.anna, "INBOX", "bert@example.test")
            return found

        return done

    def test_what_is_taken_away_before_the_write(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._before_the_write())

    async def _before_the_write(self) -> None:
        """Rights that end after the session was asked and before the transaction: nothing is changed."""
        made = await self.setting()
        boxes, sharing = made.mailboxes, made.mailboxes.sharing
        await made.file(self.anna, MESSAGE, flags=int(Flag.DELETED))
        await made.file(self.bert, MESSAGE)
        own = await boxes.select(self.bert, "INBOX", False)
        self.addCleanup(own.close)
        write = made.store.write

        async def late(attempt: Any) -> None:
            await sharing.grant(self.anna, "INBOX", "bert@example.test", "lrswite")
            selected = await boxes.select(self.bert, INBOX, False)

            async def withdrawn(*args: Any, **options: Any) -> Any:
                made.store.write = write
                await sharing.withdraw(self.anna, "INBOX", "bert@example.test")
                return await write(*args, **options)

            made.store.write = lambda *args, **options: Deferred.fromCoroutine(withdrawn(*args, **options))
            try:
                await self.refused("NOPERM", attempt(selected))
            finally:
                made.store.write = write
                selected.close()

        await late(lambda selected: boxes.store(selected, [1], "add", int(Flag.SEEN), ()))
        await late(lambda selected: boxes.store(selected, [1], "replace", int(Flag.SEEN), ("key",)))
        await late(lambda selected: boxes.expunge(selected))
        await late(lambda selected: boxes.expunge(selected, [1]))
        await late(lambda selected: boxes.copy(selected, [1], "INBOX"))
        await late(lambda selected: boxes.move(selected, [1], "INBOX"))
        await late(lambda selected: boxes.copy(own, [1], INBOX))
        await late(lambda selected: boxes.move(own, [1], INBOX))
        await late(lambda selected: made.file(self.bert, MESSAGE, INBOX))
        self.assertEqual((len(await made.contents(self.anna)), len(await made.contents(self.bert))), (1, 1))
        seen = await boxes.select(self.anna, "INBOX", True)
        self.assertEqual(list(seen.flags), [int(Flag.DELETED)])
        seen.close()

    def test_no_account_no_sharing(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._no_account())

    async def _no_account(self) -> None:
        made = await self.setting()
        boxes = made.mailboxes
        made.accounts.on_revocation(boxes.sharing.ended)
        await boxes.sharing.grant(self.anna, "INBOX", "bert@example.test", "lr")
        selected = await boxes.select(self.bert, INBOX, False)
        gone: Deferred[None] = Deferred()
        selected.on_change = lambda: gone.callback(None)
        await made.accounts.set_state("anna@example.test", "suspended")
        await gone.addTimeout(5, made.reactor)
        self.assertTrue(selected.barred)
        selected.close()
        await self.refused("NONEXISTENT", boxes.status(self.bert, INBOX))
        self.assertEqual(await boxes.sharing.list(self.bert), [])
        await made.accounts.set_state("anna@example.test", "active")
        self.assertEqual(len(await boxes.sharing.list(self.bert)), 1)
        await made.accounts.erase_user("bert@example.test")
        self.assertEqual(len((await boxes.sharing.grants(self.anna, "INBOX"))[1]), 1)
        again = await made.user("bert@example.test")
        self.assertEqual(await boxes.sharing.list(again), [])

    def test_suspended_while_a_guest_selects(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._suspended_meanwhile())

    async def _suspended_meanwhile(self) -> None:
        made = await self.setting()
        boxes = made.mailboxes
        await boxes.sharing.grant(self.anna, "INBOX", "bert@example.test", "lr")
        read = made.store.read

        async def late(job: Any, *args: Any) -> Any:
            found = await read(job, *args)
            if job == boxes._snapshot:
                await made.accounts.set_state("anna@example.test", "suspended")
            return found

        made.store.read = lambda job, *args: Deferred.fromCoroutine(late(job, *args))
        selected = await boxes.select(self.bert, INBOX, False)
        made.store.read = read
        while not selected.barred:  # it is looked at again
            await read(lambda txn: None)
        selected.close()

    def test_sealed_mail_is_not_shared(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._sealed())

    async def _sealed(self) -> None:
        made = await self.setting()
        boxes = made.mailboxes
        await boxes.sharing.grant(self.anna, "INBOX", "bert@example.test", "lrsi")
        await boxes.sharing.grant(self.bert, "INBOX", "anna@example.test", "lrsi")
        await made.file(self.bert, MESSAGE)
        await made.store.write(lambda txn: txn.execute("UPDATE accounts SET sealed = 'server' WHERE id = ?", (self.anna.id,)))
        await self.refused("NOPERM", boxes.sharing.grant(self.anna, "INBOX", "bert@example.test", "lr"))
        await self.refused("NONEXISTENT", boxes.select(self.bert, INBOX, True))
        self.assertEqual(await boxes.sharing.list(self.bert), [])
        bert = await boxes.select(self.bert, "INBOX", True)
        await self.refused("TRYCREATE", boxes.copy(bert, [1], INBOX))
        bert.close()
        guest = await boxes.select(self.anna, "Users/bert@example.test/INBOX", False)
        await self.refused("CANNOT", boxes.copy(guest, [1], "INBOX"))
        guest.close()

    def test_replacing_flags_leaves_those_one_has_no_right_to(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._replacing())

    async def _replacing(self) -> None:
        made = await self.setting()
        boxes = made.mailboxes
        await made.file(self.anna, MESSAGE, flags=int(Flag.SEEN | Flag.DELETED | Flag.FLAGGED), keywords=("old",))
        await boxes.sharing.grant(self.anna, "INBOX", "bert@example.test", "lrs")
        selected = await boxes.select(self.bert, INBOX, False)

        async def replaced(flags: Flag, *keywords: str) -> set[str]:
            await boxes.store(selected, [1], "replace", int(flags), keywords)
            return set(selected.names(selected.flags[0]))

        self.assertEqual(await replaced(Flag(0)), {"\\Deleted", "\\Flagged", "old"})
        self.assertEqual(await replaced(Flag.SEEN | Flag.DRAFT, "new"), {"\\Seen", "\\Deleted", "\\Flagged", "old"})
        await boxes.sharing.grant(self.anna, "INBOX", "bert@example.test", "lrw")
        self.assertEqual(await replaced(Flag.DRAFT, "new"), {"\\Seen", "\\Deleted", "\\Draft", "new"})
        selected.close()

    def test_lists_have_an_end(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._end())

    async def _end(self) -> None:
        from mailx.store import rights

        made = await self.setting()
        self.patch(rights, "IDENTIFIERS_LIMIT", 2)
        grant = made.mailboxes.sharing.grant
        await grant(self.anna, "INBOX", "anyone", "l")
        await grant(self.anna, "INBOX", "-anyone", "r")
        await self.refused("LIMIT", grant(self.anna, "INBOX", "bert@example.test", "l"))
        await grant(self.anna, "INBOX", "anyone", "lr")
        for wrong in ("", "-", "bert", "bert@example.test bert", "Anyone", "@", "x" * 70000):
            await self.refused("CANNOT", grant(self.anna, "INBOX", wrong, "l"))


class CopiedFilesTests(TestCase):
    """A message in a file, in mailboxes of two accounts."""

    def test_the_file_stays_until_both_are_gone(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._stays())

    async def _stays(self) -> None:
        made = await world(self)
        anna, bert = await made.user("anna@example.test"), await made.user("bert@example.test")
        boxes = made.mailboxes
        large = MESSAGE + encodebytes(urandom(120000)).replace(b"\n", b"\r\n")
        await made.file(anna, large)
        await boxes.sharing.grant(anna, "INBOX", "bert@example.test", "lrte")
        selected = await boxes.select(bert, INBOX, False)
        await boxes.move(selected, [1], "INBOX")
        selected.close()
        await made.sweep.messages()
        self.assertEqual((len(made.files()), await made.contents(bert)), (1, [large]))
        mine = await boxes.select(bert, "INBOX", False)
        await boxes.store(mine, [1], "add", int(Flag.DELETED), ())
        await boxes.expunge(mine)
        mine.close()
        await made.sweep.messages()
        self.assertEqual(made.files(), [])


class CopiedWordsTests(Indexed):
    """The index of an account has what came from other people's mailboxes."""

    def test_what_was_copied_is_found(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._found())

    async def _found(self) -> None:
        bert = await self.world.user("bert@example.test")
        boxes = self.world.mailboxes
        await self.world.file(self.user, plain("marmalade"))
        await self.catch_up()
        await boxes.sharing.grant(self.user, "INBOX", "bert@example.test", "lr")
        guest = await boxes.select(bert, "Users/me@example.test/INBOX", True)
        self.assertEqual(await boxes.search(guest, keys.Text("marmalade")), [1])
        await boxes.copy(guest, [1], "INBOX")
        guest.close()
        for _ in range(2):
            mine = await boxes.select(bert, "INBOX", True)
            self.assertEqual(await boxes.search(mine, keys.Text("marmalade")), [1])
            mine.close()
            await self.catch_up()


class GuestsWordsTests(Indexed):
    """What a guest finds, and how relevant that is, says nothing of words in the owner's other mailboxes."""

    def test_nothing_of_other_mailboxes(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._nothing())

    async def _nothing(self) -> None:
        bert = await self.world.user("bert@example.test")
        boxes = self.world.mailboxes
        await boxes.create(self.user, "Secret")
        for text in ("merger", "dinner"):
            await self.world.file(self.user, plain(text))
        for _ in range(5):
            await self.world.file(self.user, plain("dinner"), "Secret")
        await self.catch_up()
        await boxes.sharing.grant(self.user, "INBOX", "bert@example.test", "lr")
        guest = await boxes.select(bert, "Users/me@example.test/INBOX", True)
        self.addCleanup(guest.close)

        def about(text: str) -> keys.Query:
            return keys.Fuzzy(keys.Text(text))

        for text, found in (("merger", [1]), ("dinner", [2]), ("mergers", [1]), ("dinners", [2]), ("nerger", []), ("binner", [])):
            self.assertEqual(await boxes.search(guest, about(text)), found, text)
        self.assertEqual(await boxes.ranked(guest, keys.Or(about("merger"), about("dinner"))), [(1, 100), (2, 100)])

    def test_phrases_are_kept_for_the_owner_alone(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._phrases())

    async def _phrases(self) -> None:
        bert = await self.world.user("bert@example.test")
        boxes = self.world.mailboxes
        await self.world.file(self.user, plain("a merger at dinner"))
        await self.catch_up()
        await boxes.sharing.grant(self.user, "INBOX", "bert@example.test", "lr")
        guest = await boxes.select(bert, "Users/me@example.test/INBOX", True)
        self.addCleanup(guest.close)
        kept: list[str] = []
        marks = self.index.opened.marks
        self.patch(self.index.opened, "marks", lambda *args: kept.append("kept") or marks(*args))
        self.assertEqual(await boxes.search(guest, keys.Text("merger at")), [1])
        self.assertEqual(kept, [])
        await self.both(keys.Text("merger at"))
        self.assertEqual(kept, ["kept"])


class PostgreSQLSharingTests(SharingTests):
    """The same on the other engine."""

    engine = "postgresql"


def _references(txn: Txn) -> list[int]:
    return [refs for (refs,) in txn.all("SELECT refs FROM messages WHERE refs > 0")]
