"""The mail that an account has already, sealed when the account is, and opened again."""

from pathlib import Path
from typing import Any, ClassVar

from twisted.internet.task import deferLater

from mailx.mail.reply import Unavailable
from tests.core.owners_scene import ADDRESS, PASSWORD
from tests.core.test_sealed_accounts import Case, mail


class Converting(Case):
    """Older mail, there and back."""

    async def test_there(self) -> None:
        here = self.here
        user, other = await here.world.user(ADDRESS), await here.world.user("bob@example.test")
        await here.world.deliver(ADDRESS, mail(1))
        await here.world.deliver(ADDRESS, mail(2, more="In-Reply-To: <1@example.org>\r\n"))
        await here.world.deliver([ADDRESS, "bob@example.test"], mail(3))
        await here.world.deliver(ADDRESS, mail(4, "x" * 300_000))
        before = await here.rows(user)
        old = await here.texts(user)
        await here.seal(user)
        user = await here.login(await here.now(user))
        after = await here.rows(user)
        self.assertEqual([row.uid for row in before], [row.uid for row in after])
        self.assertEqual([row.thread_id for row in before], [row.thread_id for row in after])
        self.assertEqual([row.guid for row in before], [row.guid for row in after])
        self.assertEqual(await here.texts(user), old)
        await here.world.file(user, mail(5, more="In-Reply-To: <2@example.org>\r\n"))
        self.assertEqual((await here.rows(user))[-1].thread_id, before[0].thread_id)
        here.logout(user)
        self.assertEqual(await here.rows(user), [])
        self.assertIn(b"quicksilver 3", (await here.texts(other))[0])

        def hashes(txn: object) -> list[tuple[bytes]]:
            return txn.all("SELECT hash FROM threads WHERE account_id = ?", (user.id,))  # type: ignore[attr-defined,no-any-return]

        self.assertEqual({len(hash) for (hash,) in await here.world.store.read(hashes)}, {17})

    async def test_what_was_read_before_is_not_read_from_memory(self) -> None:
        here = self.here
        user = await here.world.user(ADDRESS)
        await here.world.file(user, mail(1))
        self.assertEqual(len(await here.rows(user)), 1)
        await here.seal(user)
        here.keyring.drop(user.id)
        self.assertEqual(await here.rows(await here.now(user)), [])
        selected = await here.world.mailboxes.select(user, "INBOX", True)
        held = here.world.mailboxes._reader._held(user.id, None)
        self.assertEqual(held.get_all(list(selected.message_ids)), [None])
        selected.close()

    async def test_and_back(self) -> None:
        here = self.here
        user = await here.sealed_user(logged_in=True)
        await here.world.file(user, mail(1))
        await here.world.file(user, mail(2, "x" * 300_000))
        here.keyring.drop(user.id)
        await here.world.deliver(ADDRESS, mail(3))
        await self.refused(here.sealed.open_for_good(ADDRESS, "wrong"), "not the password")
        await here.sealed.open_for_good(ADDRESS, PASSWORD)
        await here.conversion.through(user.id)
        user = await here.now(user)
        self.assertEqual((user.sealed, here.keyring.get(user.id)), ("", None))
        texts = await here.texts(user)
        self.assertEqual(len(texts), 3)
        await here.world.deliver(ADDRESS, mail(4))
        self.assertEqual(len(await here.texts(user)), 4)
        self.assertEqual(here.ring.users.holder(user.id), "")
        await here.login(user)

    async def test_a_stop_between(self) -> None:
        here = self.here
        user = await here.world.user(ADDRESS)
        for number in range(70):
            await here.world.deliver(ADDRESS, mail(number))
        texts = await here.texts(user)
        stopping = here.conversion
        one, count = stopping._one, 0

        async def some(*args: object) -> int:
            nonlocal count
            count += 1
            if count > 40:
                stopping._stopped = True
                return 0
            return await one(*args)  # type: ignore[arg-type]

        self.patch(stopping, "_one", some)
        await here.seal(user)
        user = await here.login(await here.now(user))
        self.assertEqual(await here.texts(user), texts)  # half and half
        self.patch(stopping, "_one", one)
        stopping._stopped = False
        here.logout(user)
        user = await here.login(user)
        await here.conversion.through(user.id)
        self.assertEqual(await here.texts(user), texts)
        here.logout(user)
        self.assertEqual(await here.rows(user), [])

    async def test_back_before_it_is_through(self) -> None:
        here = self.here
        user = await here.world.user(ADDRESS)
        for number in range(40):
            await here.world.deliver(ADDRESS, mail(number))
        texts = await here.texts(user)
        await here.sealed.seal(ADDRESS, PASSWORD)
        await here.sealed.open_for_good(ADDRESS, PASSWORD)
        await here.conversion.through(user.id)
        user = await here.now(user)
        self.assertEqual(user.sealed, "")
        self.assertEqual(await here.texts(user), texts)
        await here.seal(user)
        self.assertEqual((await here.now(user)).sealed, "server")

    async def test_one_that_does_not_open_holds_up_none(self) -> None:
        here = self.here
        user = await here.world.user(ADDRESS)
        for number in range(3):
            await here.world.deliver(ADDRESS, mail(number))

        def damage(txn: Any) -> None:
            txn.execute("UPDATE messages SET summary = ? WHERE id = 2", (b"x" * 100,))

        await here.world.store.write(damage)
        await here.seal(user)
        user = await here.login(await here.now(user))
        self.assertEqual(len(await here.rows(user)), 2)
        here.logout(user)
        self.assertEqual(await here.rows(user), [])

    async def test_only_ordinary_accounts_and_by_their_password(self) -> None:
        user = await self.here.world.user(ADDRESS)
        await self.refused(self.here.sealed.seal(ADDRESS, "wrong"), "not the password")
        await self.here.seal(user)
        await self.refused(self.here.sealed.seal(ADDRESS, PASSWORD), "already")
        await self.refused(self.here.sealed.open_for_good("bob@example.test", PASSWORD), "no account")

    async def test_attested_after_a_crash(self, by_login: bool = False) -> None:
        user = await self.here.world.user(ADDRESS)

        async def crash(account: int) -> None:
            raise Unavailable("the process ended")

        self.patch(self.here.sealed, "_bind", crash)
        self.assertTrue(await self.here.sealed.seal(ADDRESS, PASSWORD))  # the recovery code is told nevertheless
        self.assertEqual(self.here.ring.users.holder(user.id), "")
        del self.here.sealed._bind
        if by_login:
            self.here.keyring.drop(user.id)
            await self.here.login(user)
        else:
            await self.here.sealed.load()
        self.assertEqual(self.here.ring.users.holder(user.id), "server")

    async def test_attested_at_the_next_login(self) -> None:
        await self.test_attested_after_a_crash(by_login=True)


class NotRemembered(Case):
    """Where logins are not remembered, the keys end with the last session."""

    options: ClassVar[dict[str, Any]] = {"accounts": {"login_cache": 0}}

    async def test_a_login_has_time_to_become_a_session(self) -> None:
        here = self.here
        user = await here.sealed_user()
        await here.world.access.login(ADDRESS, PASSWORD, here.world.origin(), "PLAIN")
        await here.conversion.through(user.id)
        await deferLater(here.world.reactor, 0.01)
        self.assertIsNotNone(here.keyring.get(user.id))


class Erasing(Case):
    """What the server's secret opened is overwritten."""

    async def test_in_the_database(self) -> None:
        here = self.here
        user = await here.world.user(ADDRESS)
        for number in range(20):
            await here.world.deliver(ADDRESS, mail(number, "x" * 500 * number))

        def kept(txn: Any) -> list[bytes]:
            rows = txn.all("SELECT content FROM bodies UNION ALL SELECT summary FROM messages UNION ALL SELECT hash FROM threads")
            return [bytes(value)[-16:] for (value,) in rows]

        before = await here.world.store.read(kept)
        self.assertEqual(len(before), 60)
        await here.seal(user)
        here.keyring.drop(user.id)
        await here.world.store.close()  # with it the write-ahead log goes
        (path,) = [path for path in Path(here.world.directory).iterdir() if path.suffix == ".db"]
        octets = path.read_bytes()
        self.assertEqual([value for value in before if value in octets], [])


class ConvertingPostgreSQL(Converting):
    options: ClassVar[dict[str, str]] = {"engine": "postgresql"}
