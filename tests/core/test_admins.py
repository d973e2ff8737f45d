"""Administrators: who may log in, what guesses cost, and that somebody always can."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from mailx.core.admins import UNKNOWN, NotLoggedIn, SetUpRefused, Throttled
from mailx.core.audit import Actor, acting
from mailx.core.users import DirectoryError
from mailx.store import Txn
from tests.core.admins_scene import HERE, PASSWORD, THERE, Office, office, settled


class FirstOne(TestCase):
    async def test_the_code_makes_one_administrator(self) -> None:
        here = await office(self)
        self.assertTrue(here.admins.empty)
        code = here.admins.set_up_code()
        self.assertEqual(len(code.replace("-", "")) * 5, 80)
        admin = await here.admins.set_up(code.upper().replace("-", " "), "Ada", PASSWORD, HERE)
        self.assertEqual((admin.name, admin.enabled, here.admins.empty), ("ada", True, False))
        with self.assertRaises(SetUpRefused):
            await here.admins.set_up(code, "eve", PASSWORD, HERE)
        (entry,) = await here.log.list()
        self.assertEqual((entry.action, entry.actor), ("admin.set_up", Actor("admin", "ada", HERE)))

    async def test_a_wrong_code_or_none(self) -> None:
        here = await office(self)
        for code in ("", "a" * 16, "é\ud800"):
            with self.assertRaises(SetUpRefused):
                await here.admins.set_up(code, "ada", PASSWORD, HERE)
        first = here.admins.set_up_code()
        here.admins.set_up_code()
        with self.assertRaises(SetUpRefused) as raised:
            await here.admins.set_up(first, "ada", PASSWORD, HERE)
        self.assertTrue(raised.exception.code)
        self.assertEqual(await here.admins.list(), [])

    async def test_guesses_are_throttled_and_lock_nobody_out(self) -> None:
        here = await office(self)
        code = here.admins.set_up_code()
        for _ in range(20):
            with self.assertRaises(SetUpRefused):
                await here.admins.set_up("wrong", "eve", PASSWORD, HERE)
        for _ in range(2):
            with self.assertRaises(Throttled):
                await here.admins.set_up("wrong", "eve", PASSWORD, HERE)
        self.assertEqual(len(await here.log.list()), 0)
        await here.admins.set_up(code, "ada", PASSWORD, HERE)

    async def test_two_at_once_on_two_nodes(self) -> None:
        here = await office(self)
        first, code = here.admins, here.admins.set_up_code()
        here.reopen()
        await here.load()
        other, other_code = here.admins, here.admins.set_up_code()
        calls = (first.set_up(code, "ada", PASSWORD, HERE), other.set_up(other_code, "bob", PASSWORD, HERE))
        outcomes = [await settled(call) for call in [Deferred.fromCoroutine(call) for call in calls]]
        self.assertEqual(sorted(type(outcome).__name__ for outcome in outcomes), ["Admin", "SetUpRefused"])
        self.assertFalse(first.empty or other.empty)

    async def test_another_node_made_the_first_one(self) -> None:
        here = await office(self)
        first = here.admins
        here.reopen()
        await here.load()
        await here.admins.add("ada", PASSWORD)
        self.assertTrue(first.empty)  # and looks
        await here.store.read(count_sessions)
        here.clock.advance(11)
        for _ in range(100):
            if not first.empty:
                break
            await here.store.read(count_sessions)
        self.assertFalse(first.empty)

    async def test_a_bad_password_leaves_the_code_good(self) -> None:
        here = await office(self)
        code = here.admins.set_up_code()
        with self.assertRaises(DirectoryError):
            await here.admins.set_up(code, "ada", "short", HERE)
        await here.admins.set_up(code, "ada", PASSWORD, HERE)


class Directory(TestCase):
    engine = "sqlite"

    async def test_names_and_passwords(self) -> None:
        here = await office(self, "ada", engine=self.engine)
        for name in ("", "a b", "-x", "x" * 65, "ünal", "a\0"):
            with self.assertRaises(DirectoryError):
                await here.admins.add(name, PASSWORD)
        for password in ("", "nine char", "x" * 73, "ä" * 37, "longenoughname", "with\x00nul here"):
            with self.assertRaises(DirectoryError):
                await here.admins.add("longenoughname", password)
        with self.assertRaises(DirectoryError) as raised:
            await here.admins.add("ADA", PASSWORD)
        self.assertEqual(raised.exception.code, "exists")
        await here.admins.add("max@example.org", "x" * 72)
        self.assertEqual([admin.name for admin in await here.admins.list()], ["ada", "max@example.org"])

    async def test_the_last_one_stays(self) -> None:
        here = await office(self, "ada", "bob", engine=self.engine)
        with acting(Actor("mailxctl", "mailxctl"), "admin.disable"):
            await here.admins.disable("bob")
        for change in (here.admins.disable, here.admins.remove):
            with acting(Actor("mailxctl", "mailxctl"), "admin.remove"), self.assertRaises(DirectoryError) as raised:
                await change("ada")
            self.assertEqual(raised.exception.code, "in_use")
        self.assertEqual(await here.actions(), ["admin.disable"])
        await here.admins.enable("bob")
        await here.admins.remove("ada")
        with self.assertRaises(DirectoryError):
            await here.admins.find("ada")

    async def test_two_that_disable_each_other(self) -> None:
        here = await office(self, "ada", "bob", engine=self.engine)
        calls = [Deferred.fromCoroutine(here.admins.disable(name)) for name in ("ada", "bob")]
        outcomes = [await settled(call) for call in calls]
        self.assertEqual(sum(isinstance(outcome, DirectoryError) for outcome in outcomes), 1)
        self.assertEqual(sum(admin.enabled for admin in await here.admins.list()), 1)

    async def test_nothing_secret_is_stored_plain(self) -> None:
        here = await office(self, "ada", engine=self.engine)
        totp, codes = await here.second()
        await here.sessions.confirm((await here.sessions.begin("ada", PASSWORD, HERE)).token, totp.at(int(here.time)), HERE, "Browser 1")
        rows = await here.here.store.read(everything)
        for text in (PASSWORD, totp.secret, codes[0], codes[0].replace("-", ""), HERE, "Browser", "$2b$"):
            self.assertNotIn(text, rows)


def everything(txn: Txn) -> str:
    return "".join(
        repr(txn.all(f"SELECT * FROM {table}")) for table in ("admins", "admin_codes", "admin_sessions", "panel_secret", "audit")
    )


class DirectoryOnPostgreSQL(Directory):
    engine = "postgresql"


class Logins(TestCase):
    engine = "sqlite"

    async def open(self, *names: str, **panel: Any) -> Office:
        return await office(self, *(names or ("ada",)), engine=self.engine, **panel)

    async def test_a_session_and_its_end(self) -> None:
        here = await self.open()
        begun = await here.sessions.begin(" Ada ", PASSWORD, HERE, "Browser")
        self.assertFalse(begun.second)
        session = await here.sessions.find(begun.token)
        assert session is not None
        self.assertEqual((session.name, session.address, session.agent), ("ada", HERE, "Browser"))
        self.assertNotIn(begun.token, session.csrf)
        self.assertNotEqual(session.csrf, "")
        other = await here.sessions.begin("ada", PASSWORD, HERE)
        self.assertNotEqual(other.token, begun.token)
        self.assertNotEqual((await self.session(here, other.token)).csrf, session.csrf)
        await here.sessions.end(begun.token, HERE)
        await here.sessions.end(begun.token, HERE)
        self.assertIsNone(await here.sessions.find(begun.token))
        self.assertEqual(await here.actions(), ["admin.logout", "admin.login", "admin.login"])

    async def session(self, here: Office, token: str) -> Any:
        found = await here.sessions.find(token)
        assert found is not None
        return found

    async def test_wrong_ones_get_the_same_answer(self) -> None:
        here = await self.open("ada", "bob")
        await here.admins.disable("bob")
        hashed: list[bytes] = []
        verify = here.here.passwords.verify

        async def counting(hash: bytes, password: str) -> bool:
            hashed.append(hash[:7])
            return await verify(hash, password)

        self.patch(here.here.passwords, "verify", counting)
        for name, password in (("ada", "wrong wrong"), ("bob", PASSWORD), ("eve", PASSWORD), ("x" * 9999, ""), ("a\0\ud800", "é\0")):
            with self.assertRaises(NotLoggedIn) as raised:
                await here.sessions.begin(name, password, HERE)
            self.assertEqual(str(raised.exception), "")
        self.assertEqual(len(hashed), 5)  # each paid for a hash of the same cost
        self.assertEqual(len(set(hashed)), 1)
        entries = await here.log.list()
        self.assertEqual([entry.action for entry in entries], ["admin.login_failed"] * 5)
        self.assertEqual([entry.actor.name for entry in entries], [UNKNOWN, UNKNOWN, UNKNOWN, "bob", "ada"])
        self.assertEqual(here.alerts.failures, 5)

    async def test_a_stranger_locks_nobody_out(self) -> None:
        here = await self.open()
        for _ in range(5):
            with self.assertRaises(NotLoggedIn):
                await here.sessions.begin("ada", "wrong wrong", THERE)
        with self.assertRaises(Throttled):
            await here.sessions.begin("ada", PASSWORD, THERE)
        await here.sessions.begin("ada", PASSWORD, HERE)
        self.assertIn("admin.locked_out", await here.actions())
        self.assertEqual(here.alerts.kinds, ["security.lockout"])
        here.clock.advance(3601)
        await here.sessions.begin("ada", PASSWORD, THERE)

    async def test_a_new_password_opens_the_usual_places(self) -> None:
        """Also where others share the address and have spent what it may fail, as everybody on this machine does."""
        here = await office(self, "ada", engine=self.engine)
        await here.sessions.begin("ada", PASSWORD, HERE)
        for place in range(20):
            with self.assertRaises(NotLoggedIn):
                await here.sessions.begin(f"nobody{place}", PASSWORD, HERE)
        with self.assertRaises(Throttled):
            await here.sessions.begin("ada", PASSWORD, HERE)
        await here.admins.set_password("ada", PASSWORD + "!")
        await here.sessions.begin("ada", PASSWORD + "!", HERE)

    async def test_usual_places_stay_open_over_a_restart(self) -> None:
        here = await self.open()
        await here.sessions.begin("ada", PASSWORD, HERE)
        here.reopen()
        await here.load()
        self.patch(here.here.passwords, "verify", never)
        for network in range(25):
            for _ in range(5):
                try:
                    await here.sessions.begin("ada", "wrong wrong", f"203.0.113.{network}")
                except (NotLoggedIn, Throttled):
                    continue
        with self.assertRaises(Throttled):
            await here.sessions.begin("ada", PASSWORD, THERE)
        with self.assertRaises(NotLoggedIn):  # judged, not throttled
            await here.sessions.begin("ada", PASSWORD, HERE)

    async def test_idle_and_absolute_time(self) -> None:
        here = await self.open(idle_minutes=30, session_hours=2)
        token = (await here.sessions.begin("ada", PASSWORD, HERE)).token
        for _ in range(4):
            here.time += 29 * 60
            self.assertIsNotNone(await here.sessions.find(token))
        here.time += 5 * 60
        self.assertIsNone(await here.sessions.find(token))  # 2 hours and 1 minute old
        token = (await here.sessions.begin("ada", PASSWORD, HERE)).token
        here.time += 31 * 60
        self.assertIsNone(await here.sessions.find(token))
        here.sessions.start()
        await here.sessions.stop()
        self.assertEqual(await here.here.store.read(count_sessions), 0)

    async def test_what_ends_sessions(self) -> None:
        here = await self.open("ada", "bob")

        async def ends(change: Any) -> None:
            own = (await here.sessions.begin("ada", PASSWORD, HERE)).token
            session = await self.session(here, own)
            other = (await here.sessions.begin("ada", PASSWORD, THERE)).token
            bobs = (await here.sessions.begin("bob", PASSWORD, THERE)).token
            await change(session)
            self.assertIsNone(await here.sessions.find(other))
            self.assertIsNotNone(await here.sessions.find(bobs))
            self.kept = await here.sessions.find(own)

        await ends(lambda session: here.admins.change_password("ada", PASSWORD, PASSWORD, HERE, session.id))
        self.assertIsNotNone(self.kept)
        await ends(lambda session: here.admins.set_password("ada", PASSWORD))
        self.assertIsNone(self.kept)
        await ends(lambda session: here.sessions.end_others(session.admin_id, session.id))
        self.assertIsNotNone(self.kept)
        await ends(lambda session: here.admins.disable("ada"))
        self.assertIsNone(self.kept)

    async def test_one_session_of_ones_own(self) -> None:
        here = await self.open("ada", "bob")
        token = (await here.sessions.begin("ada", PASSWORD, HERE)).token
        session = await self.session(here, token)
        bob = await here.admins.find("bob")
        with self.assertRaises(DirectoryError):
            await here.sessions.end_one(bob.id, session.id)
        self.assertEqual([each.id for each in await here.sessions.of(session.admin_id)], [session.id])
        await here.sessions.end_one(session.admin_id, session.id)
        self.assertIsNone(await here.sessions.find(token))

    async def test_a_new_secret_ends_all_sessions_on_all_nodes(self) -> None:
        here = await self.open()
        await here.second()
        challenge = (await here.sessions.begin("ada", PASSWORD, HERE)).token
        await here.admins.reset_totp("ada")
        token = (await here.sessions.begin("ada", PASSWORD, HERE)).token
        first = here.sessions
        here.reopen()
        await here.load()
        self.assertIsNotNone(await here.sessions.find(token))
        with acting(Actor("admin", "ada", HERE), "panel.session_secret"):
            self.assertEqual(await here.sessions.rotate_secret(), 1)
        for sessions in (first, here.sessions):
            self.assertIsNone(await sessions.find(token))
            with self.assertRaises(NotLoggedIn):
                await sessions.confirm(challenge, "000000", HERE)
        later = (await here.sessions.begin("ada", PASSWORD, HERE)).token
        self.assertIsNotNone(await first.find(later))
        self.assertIn("security.session_secret", here.alerts.kinds)

    async def test_tokens_of_no_session(self) -> None:
        here = await self.open()
        await here.sessions.begin("ada", PASSWORD, HERE)
        for token in ("", "x", "x" * 5000, "\ud800", "é"):
            self.assertIsNone(await here.sessions.find(token))
            with self.assertRaises(NotLoggedIn):
                await here.sessions.confirm(token, "000000", HERE)

    async def test_sessions_are_bounded(self) -> None:
        here = await self.open()
        tokens = []
        for _ in range(23):
            here.time += 1
            tokens.append((await here.sessions.begin("ada", PASSWORD, HERE)).token)
        alive = [await here.sessions.find(token) is not None for token in tokens]
        self.assertEqual(alive, [False] * 3 + [True] * 20)


class LoginsOnPostgreSQL(Logins):
    engine = "postgresql"


async def never(hash: bytes, password: str) -> bool:
    return False


def count_sessions(txn: Txn) -> int:
    row = txn.one("SELECT count(*) FROM admin_sessions")
    assert row is not None
    return int(row[0])
