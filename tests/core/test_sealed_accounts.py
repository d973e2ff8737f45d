"""Accounts that only their owners' logins open."""

import os
from typing import ClassVar

from twisted.internet.defer import Deferred, ensureDeferred, gatherResults
from twisted.trial.unittest import TestCase

from mailx.core import search as keys
from mailx.core.sasl import LoginRefused
from mailx.core.sort import SortKey
from mailx.core.users import DirectoryError
from mailx.mail.names import MailboxError
from mailx.mail.reply import Unavailable
from tests.core.owners_scene import ADDRESS, PASSWORD, Owners, owners


def mail(number: int, text: str = "", more: str = "") -> bytes:
    """A message."""
    return (
        f"From: Eve <eve@example.org>\r\nTo: ann@example.test\r\nSubject: news {number}\r\nMessage-ID: <{number}@example.org>\r\n{more}"
        f"Date: Mon, 1 Jan 2024 00:00:{number % 60:02} +0000\r\n\r\nquicksilver {number} {text}\r\n"
    ).encode()


class Case(TestCase):
    """A server with sealed accounts."""

    options: ClassVar[dict[str, str]] = {}
    here: Owners

    async def setUp(self) -> None:
        self.here = await owners(self, **self.options)

    async def refused(self, running: object, *words: str) -> None:
        with self.assertRaises(DirectoryError) as caught:
            await running  # type: ignore[misc]
        for word in words:
            self.assertIn(word, f"{caught.exception.text} {caught.exception.remedy}")


class Arriving(Case):
    """Mail comes while nobody is there, and while somebody is."""

    async def test_it_waits_and_becomes_entries_at_login(self) -> None:
        user = await self.here.sealed_user()
        for number in range(3):
            await self.here.world.deliver(ADDRESS, mail(number))
        self.assertEqual(await self.here.count("waiting"), 3)
        self.assertEqual(await self.here.count("entries"), 0)
        user = await self.here.login(user)
        self.assertEqual(await self.here.count("waiting"), 0)
        rows = await self.here.rows(user)
        self.assertEqual([row.uid for row in rows], [1, 2, 3])
        self.assertEqual([row.summary.subject_text for row in rows if row.summary], ["news 0", "news 1", "news 2"])
        texts = await self.here.texts(user)
        self.assertTrue(all(b"quicksilver %d" % number in text for number, text in enumerate(texts)))
        self.assertIn(b"Authentication-Results", texts[0])
        self.assertEqual([row.size for row in rows], [len(text) for text in texts])

    async def test_what_comes_while_the_owner_is_here_is_there_at_once(self) -> None:
        user = await self.here.login(await self.here.sealed_user())
        selected = await self.here.world.mailboxes.select(user, "INBOX", False)
        told: Deferred[None] = Deferred()
        selected.on_change = lambda: told.callback(None)
        await self.here.world.deliver(ADDRESS, mail(7))
        await told
        self.assertEqual(selected.updates(True).exists, 1)
        selected.close()

    async def test_each_once_whoever_opens(self) -> None:
        user = await self.here.sealed_user()
        for number in range(20):
            await self.here.world.deliver(ADDRESS, mail(number))
        sealed = self.here.keyring
        await self.here.login(user)
        keys = sealed.get(user.id)
        assert keys is not None
        for number in range(20, 40):
            await self.here.world.deliver(ADDRESS, mail(number))
        other = self.here.opening
        await gatherResults(
            [sealed.put(keys), Deferred.fromCoroutine(other._open_all(user.id)), Deferred.fromCoroutine(other._open_all(user.id))]
        )
        self.assertEqual(await self.here.count("waiting"), 0)
        rows = await self.here.rows(user)
        self.assertEqual(len(rows), 40)
        self.assertEqual(sorted(row.summary.subject_text for row in rows if row.summary), sorted(f"news {number}" for number in range(40)))
        self.assertEqual(await self.here.count("messages"), 40)

    async def test_the_quota_counts_it_from_the_first_moment(self) -> None:
        user = await self.here.sealed_user()
        await self.here.world.deliver(ADDRESS, mail(1, "x" * 20000))
        self.assertGreater((await self.here.now(user)).used, 20000)
        user = await self.here.login(user)
        (row,) = await self.here.rows(user)
        self.assertEqual((await self.here.now(user)).used, row.size * 105 // 100)

    async def test_into_inbox_when_its_mailbox_is_gone(self) -> None:
        user = await self.here.sealed_user()
        await self.here.world.deliver(ADDRESS, mail(1))

        def move(txn: object) -> None:
            txn.execute("UPDATE waiting SET mailbox_id = 123456")  # type: ignore[attr-defined]

        await self.here.world.store.write(move)
        user = await self.here.login(user)
        self.assertEqual(len(await self.here.rows(user)), 1)

    async def test_large_ones_lie_in_files_and_are_read_in_parts(self) -> None:
        user = await self.here.sealed_user()
        text = os.urandom(150_000).hex()
        lines = "\r\n".join(text[start : start + 70] for start in range(0, len(text), 70))
        await self.here.world.deliver(ADDRESS, mail(1, lines))
        self.assertEqual(len(self.here.world.files()), 1)
        user = await self.here.login(user)
        (row,) = await self.here.rows(user)
        self.assertEqual(len(self.here.world.files()), 1)
        assert row.content is not None
        whole = await self.here.world.mailboxes.read(row.content)
        self.assertIn(lines.encode(), whole)
        for offset, length in ((0, 10), (65530, 12), (100_000, 70_000), (len(whole) - 5, 100), (len(whole) + 1, 5)):
            self.assertEqual(await self.here.world.mailboxes.read(row.content, offset, length), whole[offset : offset + length])
        self.here.logout(user)
        for name in self.here.world.files():
            self.assertNotIn(text[:100].encode(), self.here.world.blobs.read(name))

    async def test_a_file_that_cannot_be_read_keeps_nothing_else_waiting(self) -> None:
        user = await self.here.sealed_user()
        await self.here.world.deliver(ADDRESS, mail(1, "x" * 300_000))
        await self.here.world.deliver(ADDRESS, mail(2))
        (name,) = self.here.world.files()
        self.here.world.blobs.unlink(name)
        user = await self.here.login(user)
        self.assertEqual(len(await self.here.rows(user)), 1)
        self.assertEqual(await self.here.count("waiting"), 1)

    async def test_threads_meet_and_the_server_does_not_know_them(self) -> None:
        user = await self.here.sealed_user()
        await self.here.world.deliver(ADDRESS, mail(1))
        await self.here.world.deliver(ADDRESS, mail(2, more="In-Reply-To: <1@example.org>\r\n"))
        user = await self.here.login(user)
        first, second = await self.here.rows(user)
        self.assertEqual(first.thread_id, second.thread_id)

        def hashes(txn: object) -> list[tuple[bytes]]:
            return txn.all("SELECT hash FROM threads")  # type: ignore[attr-defined,no-any-return]

        self.assertEqual({len(hash) for (hash,) in await self.here.world.store.read(hashes)}, {17})

    async def test_an_ordinary_account_beside_it(self) -> None:
        user = await self.here.sealed_user()
        other = await self.here.world.user("bob@example.test")
        await self.here.world.deliver([ADDRESS, "bob@example.test"], mail(1))
        self.assertEqual(len(await self.here.rows(other)), 1)
        user = await self.here.login(user)
        self.assertEqual(len(await self.here.rows(user)), 1)


class Reading(Case):
    """What sessions do with it."""

    async def setUp(self) -> None:
        await super().setUp()
        self.user = await self.here.login(await self.here.sealed_user())

    async def test_append_search_sort_copy_move(self) -> None:
        here, user = self.here, self.user
        boxes = here.world.mailboxes
        for number in (3, 1, 2):
            await here.world.file(user, mail(number, "needle" if number == 2 else ""))
        selected = await boxes.select(user, "INBOX", False)
        self.assertEqual(await boxes.search(selected, keys.Text("needle")), [3])
        self.assertEqual(await boxes.search(selected, keys.Subject("news 1")), [2])
        self.assertEqual(await boxes.search(selected, keys.Body("quicksilver")), [1, 2, 3])
        self.assertEqual(await boxes.search(selected, keys.Header("message-id", "<3@")), [1])
        self.assertEqual(await boxes.sort(selected, [SortKey("subject")], keys.All()), [2, 3, 1])
        await boxes.copy(selected, [1], "Archive")
        await boxes.move(selected, [2], "Trash")
        selected.close()
        self.assertIn(b"quicksilver 3", (await here.texts(user, "Archive"))[0])
        self.assertIn(b"quicksilver 1", (await here.texts(user, "Trash"))[0])
        self.assertEqual(await here.count("messages"), 3)

    async def test_search_in_a_large_one(self) -> None:
        await self.here.world.file(self.user, mail(1, "\r\n".join(["filler words here"] * 10_000) + " needle"))
        await self.here.world.file(self.user, mail(2, "\r\n".join(["filler words here"] * 10_000)))
        self.assertEqual(len(self.here.world.files()), 2)
        selected = await self.here.world.mailboxes.select(self.user, "INBOX", True)
        self.assertEqual(await self.here.world.mailboxes.search(selected, keys.Body("needle")), [1])
        selected.close()

    async def test_nothing_is_read_without_the_key(self) -> None:
        await self.here.world.file(self.user, mail(1))
        self.here.logout(self.user)
        self.assertEqual(await self.here.rows(self.user), [])
        selected = await self.here.world.mailboxes.select(self.user, "INBOX", True)
        self.assertEqual(await self.here.world.mailboxes.search(selected, keys.Text("quicksilver")), [])
        self.assertEqual(await self.here.world.mailboxes.search(selected, keys.Subject("news")), [])
        selected.close()
        with self.assertRaises(Unavailable):
            await self.here.world.file(self.user, mail(2))

    async def test_a_mailbox_that_is_not_there(self) -> None:
        with self.assertRaises(MailboxError):
            await self.here.world.file(self.user, mail(2, "x" * 300_000), "Nowhere")
        self.assertEqual(self.here.world.files(), [])


class Logins(Case):
    """Who comes in, and by what."""

    async def test_the_key_is_forgotten_after_the_last_session(self) -> None:
        user = await self.here.sealed_user()
        await self.here.login(user)
        await self.here.login(user)
        await self.here.conversion.through(user.id)  # which looked whether there is anything to do
        self.here.world.access.release(user)
        self.assertIsNotNone(self.here.keyring.get(user.id))
        self.assertIsNone(self.here.keyring._open[user.id].ending)
        self.here.world.access.release(user)
        ending = self.here.keyring._open[user.id].ending
        assert ending is not None
        self.assertLessEqual(ending.getTime() - self.here.world.reactor.seconds(), 60)

    async def test_a_remembered_login_opens_again(self) -> None:
        user = await self.here.sealed_user()
        await self.here.login(user)
        self.here.logout(user)
        self.assertIsNone(self.here.keyring.get(user.id))
        await self.here.login(user)
        self.assertIsNotNone(self.here.keyring.get(user.id))

    async def test_many_at_once_pay_for_one(self) -> None:
        user = await self.here.sealed_user()
        await self.here.login(user)
        self.here.logout(user)
        stretched = 0
        stretch = self.here.world.passwords.stretch

        async def counted(password: str, salt: bytes, cost: str) -> bytes:
            nonlocal stretched
            stretched += 1
            return await stretch(password, salt, cost)

        self.patch(self.here.world.passwords, "stretch", counted)
        await gatherResults([Deferred.fromCoroutine(self.here.login(user)) for _ in range(10)])
        self.assertEqual(stretched, 1)

    async def test_a_wrong_password_opens_nothing(self) -> None:
        user = await self.here.sealed_user()
        with self.assertRaises(LoginRefused):
            await self.here.login(user, "wrong")
        self.assertIsNone(self.here.keyring.get(user.id))

    async def test_no_proofs(self) -> None:
        user = await self.here.world.user(ADDRESS)
        _, before = await self.here.world.accounts.verifiers(ADDRESS, user.address)
        self.assertIsNotNone(before.plain)
        await self.here.seal(user)
        _, after = await self.here.world.accounts.verifiers(ADDRESS, user.address)
        self.assertNotEqual(after.scram, before.scram)
        self.assertNotIn(PASSWORD.encode(), after.encode())
        claim = await self.here.world.access.claim(ADDRESS, self.here.world.origin(), "SCRAM-SHA-256")
        with self.assertRaises(LoginRefused) as caught:
            await self.here.world.access.settle(claim, True)
        self.assertFalse(caught.exception.temporary)

    async def test_suspended_at_once(self) -> None:
        user = await self.here.login(await self.here.sealed_user())
        await self.here.world.accounts.set_state(user.address, "suspended")
        self.assertIsNone(self.here.keyring.get(user.id))

    async def test_app_passwords_of_an_ordinary_account(self) -> None:
        user = await self.here.world.user(ADDRESS)
        made, text = await self.here.apps.add(ADDRESS, "phone")
        await self.here.login(user, text)
        await self.here.login(user, text.upper().replace("-", " "))
        await self.here.login(user)
        self.assertEqual([each.name for each in await self.here.apps.every(ADDRESS)], ["phone"])
        await self.here.apps.revoke(ADDRESS, "phone")
        with self.assertRaises(LoginRefused):
            await self.here.login(user, text)
        self.assertEqual(await self.here.apps.every(ADDRESS), [])

    async def test_an_app_password_does_not_decide_over_keys(self) -> None:
        """What one program was given must not replace what is sealed to; neither once it was seen to be good, nor beside a login by it."""
        user = await self.here.world.user(ADDRESS)
        _, text = await self.here.apps.add(ADDRESS, "phone")
        login, origin = self.here.world.access.login, self.here.world.origin()
        for _ in range(2):
            asked = [ensureDeferred(login(ADDRESS, text, origin)), ensureDeferred(login(ADDRESS, text, origin, "BASIC", owner=True))]
            self.assertEqual((await asked[0]).id, user.id)
            await self.assertFailure(asked[1], LoginRefused)
            self.assertEqual((await login(ADDRESS, PASSWORD, origin, "BASIC", owner=True)).id, user.id)

    async def test_app_passwords_open_a_sealed_account(self) -> None:
        user = await self.here.world.user(ADDRESS)
        _, earlier = await self.here.apps.add(ADDRESS, "phone")
        await self.here.seal(user)
        await self.refused(self.here.apps.add(ADDRESS, "laptop"), "password")
        await self.refused(self.here.apps.add(ADDRESS, "laptop", "wrong"), "not the password")
        _, later = await self.here.apps.add(ADDRESS, "laptop", PASSWORD)
        self.here.keyring.drop(user.id)
        await self.here.world.deliver(ADDRESS, mail(1))
        for number, text in enumerate((earlier, later), 1):
            found = await self.here.login(user, text)
            self.assertEqual(len(await self.here.rows(found)), 1, number)
            self.here.logout(found)

    async def test_app_passwords_of_others_do_not_fit(self) -> None:
        await self.here.world.user("bob@example.test")
        _, text = await self.here.apps.add("bob@example.test", "phone")
        with self.assertRaises(LoginRefused):
            await self.here.login(await self.here.world.user(ADDRESS), text)

    async def test_limits_of_app_passwords(self) -> None:
        await self.here.world.user(ADDRESS)
        await self.here.apps.add(ADDRESS, "phone")
        await self.refused(self.here.apps.add(ADDRESS, "phone"), "of that name")
        await self.refused(self.here.apps.add(ADDRESS, " "), "name")
        await self.refused(self.here.apps.add(ADDRESS, "a\nb"), "name")
        await self.refused(self.here.apps.revoke(ADDRESS, "laptop"), "no app password")
        for number in range(49):
            await self.here.apps.add(ADDRESS, f"program {number}")
        await self.refused(self.here.apps.add(ADDRESS, "one more"), "50")


class Passwords(Case):
    """Changing what opens the account."""

    async def setUp(self) -> None:
        await super().setUp()
        self.user = await self.here.world.user(ADDRESS)
        self.code = await self.here.seal(self.user)
        await self.here.world.file(await self.here.now(self.user), mail(1))
        self.here.keyring.drop(self.user.id)

    async def opens(self, password: str, count: int = 1) -> None:
        user = await self.here.login(self.user, password)
        self.assertEqual(len(await self.here.rows(user)), count)
        self.here.logout(user)

    async def test_an_administrator_alone_cannot(self) -> None:
        await self.refused(self.here.sealed.set_password(ADDRESS, "new"), "sealed", "recovery code")
        await self.refused(self.here.world.accounts.set_password(ADDRESS, "new"), "sealed", "recovery code")
        await self.opens(PASSWORD)

    async def test_by_the_old_password(self) -> None:
        await self.refused(self.here.sealed.set_password(ADDRESS, "new", old="wrong"), "not the password")
        await self.here.sealed.set_password(ADDRESS, "new", old=PASSWORD)
        with self.assertRaises(LoginRefused):
            await self.here.login(self.user)
        await self.opens("new")

    async def test_by_the_recovery_code(self) -> None:
        await self.refused(self.here.sealed.set_password(ADDRESS, "new", recovery="wrong"), "not the recovery code")
        await self.here.sealed.set_password(ADDRESS, "new", recovery=self.code.upper())
        await self.opens("new")

    async def test_a_new_recovery_code(self) -> None:
        await self.refused(self.here.sealed.recovery_code(ADDRESS, ""), "password")
        code = await self.here.sealed.recovery_code(ADDRESS, PASSWORD)
        await self.refused(self.here.sealed.set_password(ADDRESS, "new", recovery=self.code), "not the recovery code")
        await self.here.sealed.set_password(ADDRESS, "new", recovery=code)
        await self.opens("new")

    async def test_giving_the_mail_up(self) -> None:
        await self.here.world.deliver(ADDRESS, mail(2))
        before = await self.here.ring.users.of(self.user.address)
        code = await self.here.sealed.set_password(ADDRESS, "new", lose=True)
        after = await self.here.ring.users.of(self.user.address)
        assert before is not None and after is not None
        self.assertNotEqual(before.sealing, after.sealing)
        await self.opens("new", 0)
        self.assertEqual((await self.here.now(self.user)).used, 0)
        await self.here.world.deliver(ADDRESS, mail(3))
        await self.opens("new", 1)
        await self.here.sealed.set_password(ADDRESS, "newer", recovery=code)
        await self.opens("newer", 1)

    async def test_a_right_password_loses_nothing(self) -> None:
        self.assertEqual(await self.here.sealed.set_password(ADDRESS, "new", old=PASSWORD, lose=True), "")
        await self.opens("new")

    async def test_other_keys(self) -> None:
        await self.here.world.deliver(ADDRESS, mail(2))
        before = await self.here.ring.users.of(self.user.address)
        await self.refused(self.here.sealed.renew_keys(ADDRESS, "wrong"), "not the password")
        await self.here.sealed.renew_keys(ADDRESS, PASSWORD)
        after = await self.here.ring.users.of(self.user.address)
        assert before is not None and after is not None
        self.assertNotEqual((before.sealing, before.signing), (after.sealing, after.signing))
        self.assertEqual(await self.here.sealed.public(self.user.id), after.sealing)
        await self.here.world.deliver(ADDRESS, mail(3))
        await self.opens(PASSWORD, 3)
        await self.here.sealed.set_password(ADDRESS, "new", recovery=self.code)
        await self.opens("new", 3)

    async def test_two_at_once(self) -> None:
        both = [Deferred.fromCoroutine(self.here.sealed.set_password(ADDRESS, new, old=PASSWORD)) for new in ("one", "two")]
        outcomes = [await each.addErrback(lambda failure: failure.trap(DirectoryError)) for each in both]
        self.assertEqual(sorted(str(each) for each in outcomes), ["", str(DirectoryError)])
        good = "one" if outcomes[0] == "" else "two"
        await self.opens(good)


class Deleting(Case):
    """Nothing of a deleted account stays."""

    async def test_all_of_it(self) -> None:
        user = await self.here.sealed_user(logged_in=True)
        await self.here.apps.add(ADDRESS, "phone", PASSWORD)
        await self.here.world.file(user, mail(1))
        self.here.keyring.drop(user.id)
        await self.here.world.deliver(ADDRESS, mail(2))
        await self.here.world.accounts.erase_user(ADDRESS)
        for table in ("waiting", "account_keys", "account_wraps", "app_passwords", "entries", "threads"):
            self.assertEqual(await self.here.count(table), 0, table)

    async def test_the_sweep_spares_what_waits(self) -> None:
        await self.here.sealed_user()
        await self.here.world.deliver(ADDRESS, mail(1, "x" * 300_000))
        await self.here.world.sweep.orphans()
        self.assertEqual(len(self.here.world.files()), 1)


class ArrivingPostgreSQL(Arriving):
    options: ClassVar[dict[str, str]] = {"engine": "postgresql"}


class ReadingPostgreSQL(Reading):
    options: ClassVar[dict[str, str]] = {"engine": "postgresql"}


class PasswordsPostgreSQL(Passwords):
    options: ClassVar[dict[str, str]] = {"engine": "postgresql"}


class DeletingPostgreSQL(Deleting):
    options: ClassVar[dict[str, str]] = {"engine": "postgresql"}
