"""Who is logged in must be no longer, wherever: while a login is under way, and on another node of the same database."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from mailx.core.access import Access, LoginRefused
from mailx.core.accounts import Accounts
from mailx.core.quotas import Quotas
from mailx.mail.names import MailboxError
from mailx.store import accounts as rows
from mailx.store.postgres import open_store
from tests.scenery import World, world

ME = "me@example.test"


class Revocations(TestCase):
    def login(self, made: World, access: Access, password: str = "secret") -> Any:
        return Deferred.fromCoroutine(access.login(ME, password, made.origin(), "PLAIN"))

    async def test_a_login_under_way_when_the_account_is_suspended(self) -> None:
        made = await world(self)
        user = await made.user(ME)
        read = made.store.read
        before: list[Any] = []

        async def late(job: Any, *args: Any) -> Any:
            row = await read(job, *args)
            if job is rows.by_id and not before:
                before.append(row[4])
                await made.accounts.set_state(ME, "suspended")
            return row

        self.patch(made.store, "read", lambda job, *args: Deferred.fromCoroutine(late(job, *args)))
        made.accounts._users.pop(user.id)
        await self.assertFailure(self.login(made, made.access), LoginRefused)
        self.assertEqual(before, ["active"])

    async def test_a_role_ends_in_a_session(self) -> None:
        """What an administrator's session holds of the account is from its login."""
        made = await world(self)
        boss, you = await made.user("boss@example.test"), await made.user("you@example.test")
        await made.accounts.set_role(boss.address, "admin")
        found = await made.accounts.user(boss.id)
        assert found is not None
        quotas = Quotas(made.mailboxes, made.accounts)
        root, entry = f"Users/{you.address}", {"/shared/comment": b"x"}
        await quotas.set(found, root, {"MESSAGE": 1}, "192.0.2.1")
        await made.mailboxes.metadata.put(found, "", entry)
        await made.accounts.set_role(boss.address, "user")
        for code, attempt in (
            ("NOPERM", quotas.set(found, root, {"MESSAGE": 2}, "192.0.2.1")),
            ("NONEXISTENT", quotas.get(found, root)),
            ("NOPERM", made.mailboxes.metadata.put(found, "", entry)),
        ):
            with self.assertRaises(MailboxError) as caught:
                await attempt
            self.assertEqual(caught.exception.code, code)

    async def test_another_node(self) -> None:
        made = await world(self, engine="postgresql")
        user = await made.user(ME)
        store = await open_store(made.store._store._notices._connect.args[0], "", 1, made.reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(store.close()))
        accounts = Accounts(store, made.cipher, made.config.accounts, made.passwords, made.reactor)
        await accounts.load()
        access = Access(accounts, made.config.accounts, made.passwords, made.reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(access.stop()))
        ended: list[Deferred[int]] = []
        accounts.on_revocation(lambda account: ended[-1].callback(account))
        here: list[int] = []
        made.accounts.on_revocation(here.append)

        async def elsewhere(change: Any) -> None:
            ended.append(Deferred())
            await change
            self.assertEqual(await ended[-1].addTimeout(10, made.reactor), user.id)

        for _ in range(2):
            await self.login(made, access)  # the second time it is remembered
        await elsewhere(made.accounts.set_password(ME, "another"))
        await self.assertFailure(self.login(made, access), LoginRefused)
        await self.login(made, access, "another")
        await elsewhere(made.accounts.set_state(ME, "suspended"))
        await self.assertFailure(self.login(made, access, "another"), LoginRefused)
        self.assertEqual(here, [user.id] * 2)  # once each, by who made the change
