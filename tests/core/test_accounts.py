"""The directory: names, what addresses reach, the cache, block lists, deletion. On both engines."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from mailx.core.accounts import Accounts, DirectoryError, User
from mailx.core.users import Details
from mailx.mail.address import Address
from mailx.mail.mailbox import DEFAULT_MAILBOXES, Change
from tests.scenery import SENDER, World, world

MESSAGE = b"Subject: hello\r\n\r\nHello.\r\n"


class Base(TestCase):
    engine = "sqlite"
    world: World
    accounts: Accounts

    async def open(self, **sections: Any) -> None:
        self.world = await world(self, engine=self.engine, **sections)
        self.accounts = self.world.accounts

    async def reached(self, address: str) -> list[str]:
        """The accounts that ``address`` reaches."""
        local, _, domain = address.rpartition("@")
        resolved = await self.accounts.resolve(Address(local, domain))
        return [] if resolved is None else [str(user.address) for user in resolved.users]

    async def refusal(self, call: Any) -> DirectoryError:
        with self.assertRaises(DirectoryError) as caught:
            await call
        return caught.exception


class Domains(Base):
    async def test_life(self) -> None:
        await self.open()
        self.assertFalse(self.accounts.local("example.net"))
        self.assertEqual(await self.accounts.add_domain("Example.NET."), "example.net")
        self.assertTrue(self.accounts.local("example.net"))
        self.assertEqual((await self.refusal(self.accounts.add_domain("example.net"))).code, "exists")
        self.assertEqual([domain.name for domain in await self.accounts.domains()], ["example.net", "example.test"])
        await self.accounts.delete_domain("example.net")
        self.assertFalse(self.accounts.local("example.net"))
        self.assertEqual((await self.refusal(self.accounts.delete_domain("example.net"))).code, "not_found")

    async def test_international(self) -> None:
        await self.open()
        self.assertEqual(await self.accounts.add_domain("Bücher.test"), "xn--bcher-kva.test")
        self.assertTrue(self.accounts.local("bücher.test"))
        await self.accounts.add_user("me@bücher.test", "secret")
        self.assertEqual(await self.reached("me@bücher.test"), ["me@xn--bcher-kva.test"])
        self.assertEqual(await self.reached("me@xn--bcher-kva.test"), ["me@xn--bcher-kva.test"])

    async def test_names(self) -> None:
        await self.open()
        for name in ("", "a b.test", "-a.test", "a..test", "[192.0.2.1]", "a@b.test", "a" * 300 + ".test"):
            self.assertEqual((await self.refusal(self.accounts.add_domain(name))).code, "invalid", name)

    async def test_in_use(self) -> None:
        await self.open()
        await self.world.user("me@example.test")
        self.assertEqual((await self.refusal(self.accounts.delete_domain("example.test"))).code, "in_use")


class Users(Base):
    async def test_add(self) -> None:
        await self.open()
        user = await self.accounts.add_user("Me.Too@Example.test", "secret")
        self.assertEqual((str(user.address), user.state, user.quota, user.used), ("me.too@example.test", "active", 1 << 30, 0))
        self.assertEqual(await self.reached("ME.too@example.test"), ["me.too@example.test"])
        mailboxes = await self.world.mailboxes.list(user)
        self.assertEqual({(each.name, each.special_use) for each in mailboxes}, set(DEFAULT_MAILBOXES))
        self.assertNotIn(user.credentials_version.hex(), repr(user))

    async def test_roles(self) -> None:
        await self.open()
        first, second = await self.world.user("first@example.test"), await self.world.user("second@example.test")
        self.assertEqual((first.role, second.role), ("admin", "user"), "somebody must have postmaster's mail")
        await self.accounts.set_role("second@example.test", "owner")
        self.assertEqual((await self.accounts.find("second@example.test")).user.role, "owner")
        self.assertEqual((await self.refusal(self.accounts.set_role("second@example.test", "king"))).code, "invalid")
        self.assertEqual((await self.refusal(self.accounts.add_user("a@example.test", "x", role="king"))).code, "invalid")

    async def test_refused(self) -> None:
        await self.open()
        await self.world.user("me@example.test")
        for address, code in (
            ("me@example.test", "exists"),
            ("me@elsewhere.test", "not_found"),
            ("a+b@example.test", "invalid"),
            (".a@example.test", "invalid"),
            ("ü@example.test", "invalid"),
            ("*@example.test", "invalid"),
            ("nobody", "invalid"),
            ('"a b"@example.test', "invalid"),
        ):
            self.assertEqual((await self.refusal(self.accounts.add_user(address, "secret"))).code, code, address)
        for password in ("", "x" * 73, "\0"):
            self.assertEqual((await self.refusal(self.accounts.add_user("new@example.test", password))).code, "invalid")
        self.assertEqual((await self.refusal(self.accounts.add_user("new@example.test", "x", quota=-1))).code, "invalid")
        self.assertEqual(await self.reached("new@example.test"), [])

    async def test_unknown(self) -> None:
        await self.open()
        for call in (
            self.accounts.find("no@example.test"),
            self.accounts.set_password("no@example.test", "secret"),
            self.accounts.set_quota("no@example.test", 5),
            self.accounts.set_state("no@example.test", "active"),
            self.accounts.erase_user("no@example.test"),
            self.accounts.add_alias("a@example.test", ["no@example.test"]),
            self.accounts.block("no@example.test", "x@y.test"),
        ):
            self.assertEqual((await self.refusal(call)).code, "not_found")
        self.assertIsNone(await self.accounts.user(4711))

    async def test_pages(self) -> None:
        await self.open()
        for name in "abcde":
            await self.world.user(f"{name}@example.test")
        await self.world.user("x@example.net")
        first = await self.accounts.users("example.test", limit=3)
        rest = await self.accounts.users("example.test", after=first[-1].user.id, limit=3)
        self.assertEqual([each.user.address.local for each in first + rest], list("abcde"))
        self.assertEqual(len(await self.accounts.users()), 6)
        self.assertEqual(await self.accounts.totals(), (6, 0))

    async def test_quota(self) -> None:
        await self.open(accounts={"quota": 1000})
        user = await self.world.user("me@example.test")
        self.assertEqual(user.quota, 1000)
        self.assertTrue(user.room(1000))
        self.assertFalse(user.room(1001))
        await self.accounts.set_quota("me@example.test", 0)
        details: Details = await self.accounts.find("me@example.test")
        self.assertEqual((details.own_quota, details.user.quota), (0, 0))
        self.assertTrue(details.user.room(1 << 60))
        await self.accounts.set_quota("me@example.test", None)
        self.assertIsNone((await self.accounts.find("me@example.test")).own_quota)


class Addresses(Base):
    async def test_ways(self) -> None:
        await self.open()
        for name in ("boss", "me", "you"):
            await self.world.user(f"{name}@example.test")
        await self.accounts.add_alias("sales@example.test", ["me@example.test", "you@example.test", "me@example.test"])
        for address, reached in (
            ("me@example.test", ["me"]),
            ("ME@EXAMPLE.test".lower(), ["me"]),
            ("me+list@example.test", ["me"]),
            ("sales@example.test", ["me", "you"]),
            ("Sales+Q4@example.test", ["me", "you"]),
            ("postmaster@example.test", ["boss"]),
            ("PostMaster@example.test", ["boss"]),
            ("postmaster@", ["boss"]),
            ("nobody@example.test", []),
            ("+me@example.test", []),
            ("me@example.org", []),
            ("postmaster@example.org", []),
        ):
            for _ in range(2):  # from the database, from memory
                self.assertEqual(await self.reached(address), [f"{name}@example.test" for name in reached], address)

    async def test_catch_all(self) -> None:
        await self.open()
        await self.world.user("boss@example.test")
        await self.world.user("me@example.test")
        self.assertEqual(await self.reached("anything@example.test"), [])
        await self.accounts.add_alias("*@example.test", ["me@example.test"])
        self.assertEqual(await self.reached("anything@example.test"), ["me@example.test"])
        self.assertEqual(await self.reached("boss+tag@example.test"), ["boss@example.test"])
        self.assertEqual(await self.reached("postmaster@example.test"), ["boss@example.test"])
        await self.accounts.delete_alias("*@example.test")
        self.assertEqual(await self.reached("anything@example.test"), [])

    async def test_postmaster_can_be_named(self) -> None:
        await self.open()
        await self.world.user("boss@example.test")
        await self.world.user("me@example.test")
        await self.accounts.add_alias("postmaster@example.test", ["me@example.test"])
        self.assertEqual(await self.reached("postmaster@example.test"), ["me@example.test"])

    async def test_without_separator(self) -> None:
        await self.open(accounts={"separator": ""})
        await self.world.user("me@example.test")
        self.assertEqual(await self.reached("me+tag@example.test"), [])

    async def test_suspended_is_still_reached(self) -> None:
        await self.open()
        await self.world.user("me@example.test")
        await self.accounts.set_state("me@example.test", "suspended")
        resolved = await self.accounts.resolve(Address("me", "example.test"))
        assert resolved is not None
        self.assertFalse(resolved.users[0].active)

    async def test_may_send_as(self) -> None:
        await self.open()
        me, you = await self.world.user("me@example.test"), await self.world.user("you@example.test")
        await self.accounts.add_alias("both@example.test", ["me@example.test", "you@example.test"])
        for user, address, allowed in (
            (me, "me@example.test", True),
            (me, "Me+tag@example.test", True),
            (me, "both@example.test", True),
            (you, "both@example.test", True),
            (you, "me@example.test", False),
            (you, "nobody@example.test", False),
            (you, "you@example.org", False),
        ):
            self.assertIs(await self.accounts.may_send_as(user.id, Address.parse(address)), allowed, (user, address))
        await self.accounts.set_state("me@example.test", "suspended")
        self.assertFalse(await self.accounts.may_send_as(me.id, me.address))
        self.assertFalse(await self.accounts.may_send_as(me.id, None))
        self.assertTrue(await self.accounts.may_send_as(you.id, None))

    async def test_revocation(self) -> None:
        """Who follows hears when those logged in must be no longer."""
        await self.open()
        me, you = await self.world.user("me@example.test"), await self.world.user("you@example.test")
        heard: list[int] = []
        self.accounts.on_revocation(heard.append)
        await self.accounts.set_quota("me@example.test", 5000)
        await self.accounts.set_password("me@example.test", "another")
        self.assertEqual(heard, [me.id])
        await self.accounts.set_state("you@example.test", "suspended")
        await self.accounts.set_state("you@example.test", "active")
        self.assertEqual(heard, [me.id, you.id])
        await self.accounts.erase_user("me@example.test")
        self.assertEqual(heard, [me.id, you.id, me.id])

    async def test_aliases(self) -> None:
        await self.open()
        await self.world.user("me@example.test")
        await self.accounts.add_alias("Grüße@example.test", ["me@example.test"])
        self.assertEqual(await self.reached("gru\u0308ße@example.test"), ["me@example.test"])
        for alias, targets, code in (
            ("grüße@example.test", ["me@example.test"], "exists"),
            ("me@example.test", ["me@example.test"], "exists"),
            ("a@example.org", ["me@example.test"], "not_found"),
            ("a+b@example.test", ["me@example.test"], "invalid"),
            ("a@example.test", [], "invalid"),
        ):
            self.assertEqual((await self.refusal(self.accounts.add_alias(alias, targets))).code, code, alias)
        self.assertEqual((await self.refusal(self.accounts.add_user("me@example.test", "x"))).code, "exists")
        self.assertEqual([str(each.address) for each in await self.accounts.aliases("example.test")], ["grüße@example.test"])
        self.assertEqual((await self.accounts.find("me@example.test")).aliases, ("grüße@example.test",))
        self.assertEqual((await self.refusal(self.accounts.delete_alias("no@example.test"))).code, "not_found")

    async def test_aliases_to_elsewhere(self) -> None:
        """An alias reaches accounts, addresses on other servers, or both; those keep the case of their local part, and are sealed."""
        await self.open()
        await self.world.user("me@example.test")
        made = await self.accounts.add_alias("both@example.test", ["me@example.test", "Ann.B@Example.ORG", "ME@example.test"])
        self.assertEqual([str(target) for target in made.targets], ["me@example.test", "Ann.B@example.org"])
        self.assertEqual([str(target) for target in made.remotes], ["Ann.B@example.org"])
        await self.accounts.add_alias("away@example.test", ["x@b\u00fccher.example", "Ann.B@example.org", "ann.b@example.org"])
        resolved = await self.accounts.resolve(Address("both", "example.test"))
        assert resolved is not None
        self.assertEqual([str(user.address) for user in resolved.users], ["me@example.test"])
        self.assertEqual(resolved.remotes, (Address("Ann.B", "example.org"),))
        for _ in range(2):  # from the store, then from memory
            resolved = await self.accounts.resolve(Address("away+tag", "example.test"))
            assert resolved is not None
            self.assertEqual(
                (resolved.users, [str(each) for each in resolved.remotes]), ((), ["Ann.B@example.org", "x@xn--bcher-kva.example"])
            )
        away, both = await self.accounts.aliases()
        self.assertEqual((away.targets, both.remotes), (resolved.remotes, made.remotes))
        self.assertEqual((await self.refusal(self.accounts.add_alias("n@example.test", ["no@example.test"]))).code, "not_found")
        many = [f"a{n}@example.org" for n in range(101)]
        self.assertEqual((await self.refusal(self.accounts.add_alias("n@example.test", many))).code, "limit")
        stored = await self.world.store.read(lambda txn: txn.all("SELECT hash, sealed FROM alias_remotes"))
        self.assertEqual(len(stored), 3)
        self.assertNotIn(b"example.org", b"".join(bytes(value).lower() for row in stored for value in row))

    async def test_an_alias_outlives_its_accounts_if_it_reaches_others(self) -> None:
        await self.open()
        await self.world.user("me@example.test")
        await self.accounts.add_alias("both@example.test", ["me@example.test", "ann@example.org"])
        await self.accounts.erase_user("me@example.test")
        (alias,) = await self.accounts.aliases()
        self.assertEqual([str(target) for target in alias.targets], ["ann@example.org"])
        await self.accounts.delete_alias("both@example.test")
        self.assertEqual(await self.world.store.read(lambda txn: txn.all("SELECT * FROM alias_remotes")), [])


class Blocks(Base):
    async def test_life(self) -> None:
        await self.open()
        user = await self.world.user("me@example.test")
        other = await self.world.user("you@example.test")

        async def blocked(address: str | None, account: User = user) -> bool:
            return await self.accounts.blocked(account.id, None if address is None else Address.parse(address))

        self.assertFalse(await blocked("spam@example.org"))
        await self.accounts.block("me@example.test", "Spam@Example.org")
        await self.accounts.block("me@example.test", "@bücher.test")
        self.assertTrue(await blocked("spam@example.org"))
        self.assertTrue(await blocked("SPAM@example.org"))
        self.assertTrue(await blocked("anybody@xn--bcher-kva.test"))
        self.assertFalse(await blocked("ham@example.org"))
        self.assertFalse(await blocked("spam@example.org", other))
        self.assertFalse(await blocked(None), "the null sender reports on our own mail")
        patterns = [block.pattern for block in await self.accounts.blocks("me@example.test")]
        self.assertEqual(patterns, ["@xn--bcher-kva.test", "spam@example.org"])
        self.assertEqual((await self.refusal(self.accounts.block("me@example.test", "spam@example.org"))).code, "exists")
        await self.accounts.unblock("me@example.test", "spam@example.org")
        self.assertFalse(await blocked("spam@example.org"))
        self.assertEqual((await self.refusal(self.accounts.unblock("me@example.test", "spam@example.org"))).code, "not_found")

    async def test_sealed(self) -> None:
        await self.open()
        await self.world.user("me@example.test")
        await self.accounts.block("me@example.test", "spammer@example.org")
        row = await self.world.store.read(lambda txn: txn.one("SELECT hash, sealed FROM blocks"))
        self.assertNotIn(b"spammer", bytes(row[0]) + bytes(row[1]))


class Memory(Base):
    async def test_answers_from_memory(self) -> None:
        await self.open()
        user = await self.world.user("me@example.test")
        await self.reached("me@example.test")
        await self.reached("nobody@example.test")
        await self.accounts.blocked(user.id, SENDER)
        self.patch(self.world.store, "read", lambda *args: self.fail("a database trip"))
        self.assertEqual(await self.reached("me@example.test"), ["me@example.test"])
        self.assertEqual(await self.reached("nobody@example.test"), [])
        self.assertEqual(await self.accounts.user(user.id), user)
        self.assertFalse(await self.accounts.blocked(user.id, SENDER))
        self.accounts.note_used(user.id, 4711)
        resolved = await self.accounts.resolve(user.address)
        assert resolved is not None
        self.assertEqual(resolved.users[0].used, 4711)

    async def test_read_again_after_a_minute(self) -> None:
        await self.open()
        clock = Clock()
        settings, passwords = self.world.config.accounts, self.world.passwords
        accounts = Accounts(self.world.store, self.world.cipher, settings, passwords, clock)
        await accounts.load()
        user = await self.world.user("me@example.test")
        await self.world.accounts.add_domain("new.test")
        self.assertIsNotNone(await accounts.resolve(user.address))
        await self.accounts.set_state("me@example.test", "suspended")  # as another process would
        self.assertTrue((await accounts.resolve(user.address)).users[0].active)  # type: ignore[union-attr]
        self.assertFalse(accounts.local("new.test"))
        clock.advance(61)
        self.assertFalse((await accounts.resolve(user.address)).users[0].active)  # type: ignore[union-attr]
        read = accounts._read_domains
        done: Deferred[None] = Deferred()

        async def reading() -> None:
            await read()
            done.callback(None)

        self.patch(accounts, "_read_domains", reading)
        accounts.local("new.test")
        await done
        self.assertTrue(accounts.local("new.test"))

    async def test_a_read_that_a_change_overtook_is_not_kept(self) -> None:
        await self.open()
        user = await self.world.user("me@example.test")
        read = self.world.store.read

        def overtaken(job: Any, *args: Any) -> Any:
            result = read(job, *args)
            result.addCallback(lambda rows: (self.accounts._forget(), rows)[1])
            return result

        patch = self.patch(self.world.store, "read", overtaken)
        self.assertIsNotNone(await self.accounts.resolve(user.address))
        self.assertIsNotNone(await self.accounts.user(user.id))
        patch.restore()
        reads: list[Any] = []
        self.patch(self.world.store, "read", lambda job, *args: (reads.append(job), read(job, *args))[1])
        await self.accounts.user(user.id)
        self.assertEqual(len(reads), 1)


class Deletion(Base):
    async def test_nothing_is_left(self) -> None:
        await self.open()
        me, you = await self.world.user("me@example.test"), await self.world.user("you@example.test")
        await self.accounts.add_alias("mine@example.test", ["me@example.test"])
        await self.accounts.add_alias("ours@example.test", ["me@example.test", "you@example.test"])
        await self.accounts.block("me@example.test", "spam@example.org")
        for _ in range(3):
            await self.world.deliver(["me@example.test", "you@example.test"], MESSAGE)
        notices: list[Change] = []
        self.world.store.listen(notices.append)
        await self.accounts.erase_user("me@example.test")
        self.assertEqual(len({change.mailbox for change in notices if change.gone}), len(DEFAULT_MAILBOXES))
        self.assertEqual(await self.reached("me@example.test"), [])
        self.assertEqual(await self.reached("mine@example.test"), [])
        self.assertEqual(await self.reached("ours@example.test"), ["you@example.test"])
        self.assertEqual([str(each.address) for each in await self.accounts.aliases()], ["ours@example.test"])

        def rows(txn: Any, table: str) -> int:
            return int(txn.one(f"SELECT count(*) FROM {table} WHERE account_id = ?", (me.id,))[0])

        for table in ("mailboxes", "subscriptions", "keywords", "threads", "blocks", "alias_targets"):
            self.assertEqual(await self.world.store.read(rows, table), 0, table)
        references = await self.world.store.read(lambda txn: txn.all("SELECT refs FROM messages"))
        self.assertEqual([refs for (refs,) in references], [1, 1, 1], "the other recipient's")
        self.assertEqual(len(await self.accounts.users()), 1)
        again = await self.world.user("me@example.test")
        self.assertNotEqual(again.id, me.id)
        self.assertNotEqual(again.id, you.id)

    async def test_goes_on_after_a_crash(self) -> None:
        await self.open()
        user = await self.world.user("me@example.test")
        for _ in range(3):
            await self.world.deliver("me@example.test", MESSAGE)
        from mailx.store import accounts as jobs

        await self.world.store.write(jobs.begin_deletion, user.id)
        self.accounts._forget()
        self.assertEqual(await self.reached("me@example.test"), [])
        self.assertEqual(await self.reached(f"*deleted-{user.id}@example.test"), [])
        await self.world.user("me@example.test")
        await self.accounts.load()
        self.assertEqual(await self.world.store.read(jobs.unfinished), [])
        self.assertEqual(len(await self.accounts.users()), 1)


class PostgreSQLUsers(Users):
    engine = "postgresql"


class PostgreSQLAddresses(Addresses):
    engine = "postgresql"


class PostgreSQLDomains(Domains):
    engine = "postgresql"


class PostgreSQLBlocks(Blocks):
    engine = "postgresql"


class PostgreSQLDeletion(Deletion):
    engine = "postgresql"
