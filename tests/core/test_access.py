"""Password logins: what is asked for, what is remembered, what a stranger can learn (nothing)."""

from typing import Any

import bcrypt
from attrs import evolve
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock
from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import TestCase

from mailx.config import Accounts as Settings
from mailx.core import access
from mailx.core.access import Access, LoginRefused
from mailx.core.accounts import User
from mailx.core.passwords import Busy
from mailx.mail.reply import Unavailable
from tests.scenery import World, world

ME = "me@example.test"


class Base(TestCase):
    world: World
    access: Access
    clock: Clock

    async def open(self, **settings: Any) -> None:
        self.world = await world(self)
        self.user = await self.world.user(ME, "secret")
        self.clock = Clock()
        self.patch(access, "time", self.clock.seconds)
        self.access = Access(self.world.accounts, evolve(Settings(), **settings), self.world.passwords, self.clock)
        self.hashed: list[bytes] = []
        checkpw = bcrypt.checkpw
        self.patch(bcrypt, "checkpw", lambda password, hash: (self.hashed.append(hash), checkpw(password, hash))[1])
        self.events: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def login(self, name: str = ME, password: str = "secret", address: str = "192.0.2.1") -> "Deferred[User]":
        origin = self.world.origin(protocol="IMAPS", address=address)
        return Deferred.fromCoroutine(self.access.login(name, password, origin, "PLAIN"))

    async def refused(self, *args: str) -> LoginRefused:
        return await self.assertFailure(self.login(*args), LoginRefused)  # type: ignore[no-any-return]


class Verdicts(Base):
    async def test_right(self) -> None:
        await self.open()
        self.assertEqual((await self.login()).id, self.user.id)
        self.assertEqual((await self.login(" Me@Example.TEST ")).id, self.user.id)

    async def test_one_answer_for_every_reason(self) -> None:
        await self.open()
        await self.world.user("gone@example.test", "secret")
        await self.world.accounts.set_state("gone@example.test", "suspended")
        opened, reads = [], []
        open_seal, read = self.world.cipher.open, self.world.store.read
        self.patch(self.world.cipher, "open", lambda *args: (opened.append(args[0]), open_seal(*args))[1])
        self.patch(self.world.store, "read", lambda *args: (reads.append(args[0]), read(*args))[1])
        steps = []
        for name, password in (
            (ME, "wrong"),
            ("nobody@example.test", "secret"),
            ("nobody@example.org", "secret"),
            ("no address", "secret"),
            ("gone@example.test", "secret"),
            ("gone@example.test", "wrong"),
            (ME, ""),
            (ME, "x" * 1000),
            (ME, "\0"),
            ("", "secret"),
            ("\udcff", "secret"),
            ("me@example.test\0", "secret"),
            ("x" * 100_000, "secret"),
        ):
            refused = await self.refused(name, password, f"192.0.2.{len(steps)}")
            steps.append((str(refused), refused.temporary, refused.outcome, len(self.hashed), len(opened), len(reads)))
            for each in (self.hashed, opened, reads):
                each.clear()
        self.assertEqual(set(steps), {("Authentication credentials invalid", False, "refused", 1, 1, 1)})

    async def test_one_budget_for_all_spellings(self) -> None:
        await self.open()
        spellings = (ME, '"me"@example.test', '"\\m\\e"@example.test', "me@\uff45xample.test", " Me@Example.test")
        answers = [(await self.refused(name, "wrong")).temporary for name in spellings * 2]
        self.assertEqual(answers, [False] * 5 + [True] * 5)

    async def test_unknown_names_are_hashed_at_the_same_cost(self) -> None:
        await self.open()
        await self.refused(ME, "wrong")
        await self.refused("nobody@example.test", "wrong")
        known, unknown = self.hashed
        self.assertEqual(known[:7], unknown[:7])
        self.assertEqual(len(known), len(unknown))

    async def test_suspended_while_hashing(self) -> None:
        await self.open()
        verify = self.world.passwords.verify

        async def slow(*args: Any) -> bool:
            good = await verify(*args)
            await self.world.accounts.set_state(ME, "suspended")
            return good

        self.patch(self.world.passwords, "verify", slow)
        await self.refused()

    async def test_store_away(self) -> None:
        await self.open()

        async def away(*args: Any) -> Any:
            raise Unavailable("gone")

        patch = self.patch(self.world.store, "read", away)
        for _ in range(9):
            refused = await self.refused()
            self.assertEqual((refused.temporary, refused.outcome), (True, "unavailable"))
        patch.restore()
        await self.login()

    async def test_busy(self) -> None:
        await self.open()

        async def busy(*args: Any) -> bool:
            raise Busy

        patch = self.patch(self.world.passwords, "verify", busy)
        for _ in range(9):
            self.assertTrue((await self.refused()).temporary)
        patch.restore()
        await self.login()


class Remembered(Base):
    async def test_costs_one_hash(self) -> None:
        await self.open()
        for _ in range(5):
            await self.login()
        self.assertEqual(len(self.hashed), 1)

    async def test_needs_no_database(self) -> None:
        await self.open()
        await self.login()
        self.patch(self.world.store, "read", lambda *args: self.fail("a database trip"))
        await self.login()

    async def test_outlives_the_memory_of_the_account(self) -> None:
        await self.open()
        await self.login()
        self.world.accounts._forget()
        await self.login()
        self.assertEqual(len(self.hashed), 1)

    async def test_wrong_password_is_not_helped(self) -> None:
        await self.open()
        await self.login()
        await self.refused(ME, "secret2")
        self.assertEqual(len(self.hashed), 2)

    async def test_forgotten_after_its_time(self) -> None:
        await self.open()
        await self.login()
        self.clock.advance(299)
        await self.login()
        self.assertEqual(len(self.hashed), 1)
        self.clock.advance(2)
        await self.login()
        self.assertEqual(len(self.hashed), 2)

    async def test_off(self) -> None:
        await self.open(login_cache=0)
        await self.login()
        await self.login()
        self.assertEqual(len(self.hashed), 2)

    async def test_new_password(self) -> None:
        await self.open()
        await self.login()
        await self.world.accounts.set_password(ME, "another")
        await self.refused()
        await self.login(ME, "another")

    async def test_same_password_set_again_is_hashed_again(self) -> None:
        await self.open()
        await self.login()
        await self.world.accounts.set_password(ME, "secret")
        await self.login()
        self.assertEqual(len(self.hashed), 2)

    async def test_suspended(self) -> None:
        await self.open()
        await self.login()
        await self.world.accounts.set_state(ME, "suspended")
        await self.refused()
        await self.world.accounts.set_state(ME, "active")
        await self.login()

    async def test_deleted(self) -> None:
        await self.open()
        await self.login()
        await self.world.accounts.erase_user(ME)
        await self.refused()

    async def test_together(self) -> None:
        """A client opens eight connections at once: one hash, no throttle."""
        await self.open()
        users = await gatherResults([self.login() for _ in range(8)])
        self.assertEqual({user.id for user in users}, {self.user.id})
        self.assertEqual(len(self.hashed), 1)

    async def test_together_and_wrong(self) -> None:
        await self.open()
        await gatherResults([self.assertFailure(self.login(ME, "wrong"), LoginRefused) for _ in range(8)])
        self.assertEqual(len(self.hashed), 1)
        await self.login()


class Throttled(Base):
    async def test_before_hashing(self) -> None:
        await self.open()
        for number in range(5):
            self.assertFalse((await self.refused(ME, f"wrong{number}")).temporary)
        self.assertEqual(len(self.hashed), 5)
        refused = await self.refused(ME, "wrong")
        self.assertEqual((refused.temporary, refused.outcome), (True, "throttled"))
        self.assertTrue((await self.refused(ME, "secret")).temporary, "the right password is not told from a wrong one")
        self.assertEqual(len(self.hashed), 5)
        await self.login(address="192.0.2.2")
        self.clock.advance(3601)
        await self.login()

    async def test_same_for_unknown_names(self) -> None:
        await self.open()
        answers = []
        for name in (ME, "nobody@example.test", "no address"):
            answers.append([str(await self.refused(name, f"wrong{number}", "192.0.2.77")) for number in range(8)])
        self.assertEqual(answers[0], answers[1])
        self.assertEqual(answers[0], answers[2])

    async def test_guesses_at_the_same_time(self) -> None:
        await self.open()
        await gatherResults([self.assertFailure(self.login(ME, f"wrong{number}"), LoginRefused) for number in range(40)])
        self.assertEqual(len(self.hashed), 5)

    async def test_remembered_login_is_no_oracle(self) -> None:
        """While the owner's login is remembered, a stranger who is throttled cannot test passwords against the memory."""
        await self.open()
        await self.login(address="203.0.113.1")
        for number in range(5):
            await self.refused(ME, f"wrong{number}")
        self.assertTrue((await self.refused(ME, "secret")).temporary)

    async def test_success_resets_nothing(self) -> None:
        await self.open()
        for number in range(4):
            await self.refused(ME, f"wrong{number}")
        await self.login()
        await self.refused(ME, "wrong4")
        self.assertTrue((await self.refused(ME, "wrong5")).temporary)

    async def test_own_account_buys_no_guesses(self) -> None:
        await self.open(failures_per_address=7)
        await self.world.user("attacker@example.test", "mine")
        for number in range(7):
            await self.login("attacker@example.test", "mine")
            await self.refused(f"user{number}@example.test", "guess")
        self.assertTrue((await self.refused("user8@example.test", "guess")).temporary)

    async def test_owner_is_not_locked_out(self) -> None:
        await self.open(failures_per_account=10)
        await self.login(address="203.0.113.1")
        for number in range(12):
            await self.refused(ME, "guess", f"198.51.100.{number}")
        self.assertTrue((await self.refused(ME, "secret", "198.51.100.200")).temporary)
        await self.login(address="203.0.113.1")

    async def test_new_password_pardons(self) -> None:
        await self.open()
        for number in range(6):
            await self.refused(ME, f"wrong{number}")
        await self.world.accounts.set_password(ME, "another")
        await self.login(ME, "another")


class LastLogin(Base):
    async def last(self) -> int | None:
        return (await self.world.accounts.find(ME)).last_login

    async def written(self) -> None:
        """Wait for what was handed to the writer before."""
        await self.world.store.write(lambda txn: None)

    async def test_written_together(self) -> None:
        await self.open()
        writes: list[Any] = []
        note = self.world.accounts.note_logins
        self.patch(self.world.accounts, "note_logins", lambda logins: (writes.append(list(logins)), note(logins))[1])
        self.clock.advance(1_000_000)
        await self.login()
        self.assertEqual(writes, [])
        self.clock.advance(0)
        await self.written()
        self.assertEqual(await self.last(), 1_000_000)
        for _ in range(50):
            self.clock.advance(1)
            await self.login()
        self.assertEqual(len(writes), 1)
        self.clock.advance(11)
        await self.written()
        self.assertEqual(writes, [[(self.user.id, 1_000_000)], [(self.user.id, 1_000_050)]])
        self.assertEqual(await self.last(), 1_000_050)

    async def test_not_for_failures(self) -> None:
        await self.open()
        await self.refused(ME, "wrong")
        await self.access.stop()
        self.assertIsNone(await self.last())

    async def test_written_at_the_end(self) -> None:
        await self.open()
        self.clock.advance(5)
        await self.login()
        await self.access.stop()
        self.assertEqual(await self.last(), 5)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    async def test_other_failures_are_logged(self) -> None:
        await self.open()

        async def broken(logins: Any) -> None:
            raise RuntimeError("broken")

        self.patch(self.world.accounts, "note_logins", broken)
        await self.login()
        self.clock.advance(0)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    async def test_kept_while_the_store_is_away(self) -> None:
        await self.open()

        async def away(logins: Any) -> None:
            raise Unavailable("gone")

        patch = self.patch(self.world.accounts, "note_logins", away)
        self.clock.advance(7)
        await self.login()
        self.clock.advance(0)
        patch.restore()
        await self.access.stop()
        self.assertEqual(await self.last(), 7)


class Logged(Base):
    def of(self, event: str) -> list[dict[str, Any]]:
        return [each for each in self.events if each.get("event") == event]

    async def test_fields(self) -> None:
        await self.open()
        await self.login()
        await self.refused(ME, "wrong")
        await self.refused("nobody@example.test", "wrong")
        (success,) = self.of("auth.success")
        self.assertEqual((success["user_id"], success["email"], success["ip_address"]), (self.user.id, ME, "192.0.2.1"))
        self.assertEqual((success["auth_method"], success["log_level"]), ("PLAIN", LogLevel.info))
        wrong, unknown = self.of("auth.failure")
        self.assertEqual((wrong["error"], wrong["email"], wrong["log_level"]), ("invalid_credentials", ME, LogLevel.warn))
        self.assertEqual((unknown["error"], unknown["email"]), ("user_not_found", "nobody@example.test"))
        for field in ("ip_address", "auth_method", "session_id", "connection_id", "duration_ms"):
            self.assertIn(field, success)
            self.assertIn(field, wrong)

    async def test_no_passwords(self) -> None:
        await self.open()
        await self.login()
        await self.refused(ME, "hunter2")
        await self.refused("hunter2", "hunter2")
        self.assertNotIn("hunter2", repr(self.events))
        self.assertNotIn("secret", repr([{**each, "log_logger": None, "log_source": None} for each in self.events]))
