"""The second factor of administrators: one-time and recovery codes, each good once, and few guesses."""

from collections.abc import Callable
from typing import Any

import pyotp
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailx.core import second_factor
from mailx.core.admin_sessions import CHALLENGE_SECONDS
from mailx.core.admins import NotLoggedIn, Throttled
from mailx.core.users import DirectoryError
from mailx.mail.reply import Unavailable
from tests.core.admins_scene import HERE, PASSWORD, office, settled


class SecondFactors(TestCase):
    engine = "sqlite"

    async def test_a_login_owes_it(self) -> None:
        here = await office(self, "ada", engine=self.engine)
        totp, _ = await here.second()
        begun = await here.sessions.begin("ada", PASSWORD, HERE)
        self.assertTrue(begun.second)
        self.assertIsNone(await here.sessions.find(begun.token))
        with self.assertRaises(NotLoggedIn):
            await here.sessions.confirm(begun.token, "000000", HERE)
        done = await here.sessions.confirm(begun.token, totp.at(int(here.time)), HERE)
        self.assertIsNotNone(await here.sessions.find(done.token))
        self.assertIn("admin.second_factor_failed", await here.actions())

    async def test_a_code_is_used_once_also_at_once(self) -> None:
        here = await office(self, "ada", engine=self.engine)
        totp, _ = await here.second()
        tokens = [(await here.sessions.begin("ada", PASSWORD, HERE)).token for _ in range(4)]
        code = totp.at(int(here.time))
        calls = [Deferred.fromCoroutine(here.sessions.confirm(token, code, HERE)) for token in tokens]
        outcomes = [await settled(call) for call in calls]
        self.assertEqual(sorted(type(each).__name__ for each in outcomes), ["Begun", "NotLoggedIn", "NotLoggedIn", "NotLoggedIn"])
        with self.assertRaises(NotLoggedIn):  # nor one before it
            await here.sessions.confirm(tokens[0], totp.at(int(here.time) - 30), HERE)

    async def test_one_step_of_drift(self) -> None:
        here = await office(self, "ada", engine=self.engine)
        totp, _ = await here.second()
        for offset, good in ((60, False), (-60, False), (30, True)):
            begun = await here.sessions.begin("ada", PASSWORD, HERE)
            outcome = await settled(Deferred.fromCoroutine(here.sessions.confirm(begun.token, totp.at(int(here.time) + offset), HERE)))
            self.assertEqual(not isinstance(outcome, NotLoggedIn), good, offset)

    async def test_recovery_codes_are_used_once(self) -> None:
        here = await office(self, "ada", engine=self.engine)
        _, codes = await here.second()
        self.assertEqual(len(set(codes)), 10)
        begun = await here.sessions.begin("ada", PASSWORD, HERE)
        calls = [Deferred.fromCoroutine(here.sessions.confirm(begun.token, codes[0].upper(), HERE)) for _ in range(3)]
        outcomes = [await settled(call) for call in calls]
        self.assertEqual(sum(not isinstance(each, Exception) for each in outcomes), 1)
        self.assertEqual((await here.admins.find("ada")).codes, 9)
        fresh = await here.admins.new_codes("ada", PASSWORD, HERE)
        with self.assertRaises(NotLoggedIn):
            await here.sessions.confirm(begun.token, codes[1], HERE)
        await here.sessions.confirm(begun.token, fresh[1].replace("-", " "), HERE)

    async def test_a_challenge_ends(self) -> None:
        here = await office(self, "ada", engine=self.engine)
        totp, _ = await here.second()
        begun = await here.sessions.begin("ada", PASSWORD, HERE)
        here.time += CHALLENGE_SECONDS + 1
        with self.assertRaises(NotLoggedIn):
            await here.sessions.confirm(begun.token, totp.at(int(here.time)), HERE)
        begun = await here.sessions.begin("ada", PASSWORD, HERE)
        await here.admins.set_password("ada", PASSWORD)
        with self.assertRaises(NotLoggedIn):
            await here.sessions.confirm(begun.token, totp.at(int(here.time)), HERE)

    async def test_guesses_are_few(self) -> None:
        here = await office(self, "ada", engine=self.engine)
        totp, _ = await here.second()
        begun = await here.sessions.begin("ada", PASSWORD, HERE)
        for _ in range(5):
            with self.assertRaises(NotLoggedIn):
                await here.sessions.confirm(begun.token, "000000", HERE)
        with self.assertRaises(Throttled):
            await here.sessions.confirm(begun.token, totp.at(int(here.time)), HERE)

    async def test_whoever_knows_the_password_locks_nobody_out(self) -> None:
        here = await office(self, "ada", engine=self.engine)
        totp, codes = await here.second()
        await here.sessions.confirm((await here.sessions.begin("ada", PASSWORD, HERE)).token, codes[0], HERE)
        for restarted in (False, True):
            if restarted:
                here.reopen()
                await here.load()
            stolen = await here.sessions.begin("ada", PASSWORD, "203.0.113.1")
            for place in range(20):
                with self.assertRaises(NotLoggedIn):
                    await here.sessions.confirm(stolen.token, "000000", f"203.0.113.{place}")
            with self.assertRaises(Throttled):
                await here.sessions.confirm(stolen.token, "000000", "203.0.113.99")
            begun = await here.sessions.begin("ada", PASSWORD, HERE)
            await here.sessions.confirm(begun.token, codes[1 + restarted], HERE)
        await here.admins.set_password("ada", PASSWORD + "!")  # and what the stolen one was good for is forgiven
        begun = await here.sessions.begin("ada", PASSWORD + "!", "198.51.100.1")
        await here.sessions.confirm(begun.token, codes[3], "198.51.100.1")

    async def test_a_store_that_is_away_costs_no_guesses(self) -> None:
        here = await office(self, "ada", engine=self.engine)
        totp, _ = await here.second()
        token = (await here.sessions.begin("ada", PASSWORD, HERE)).token
        write = here.store.write

        def away(job: Callable[..., Any], *args: Any) -> "Deferred[Any]":
            return fail(Unavailable("disk I/O error"))

        self.patch(here.store, "write", away)
        for _ in range(10):
            with self.assertRaises(Unavailable):
                await here.sessions.confirm(token, totp.at(int(here.time)), HERE)
        self.patch(here.store, "write", write)
        await here.sessions.confirm(token, totp.at(int(here.time)), HERE)

    async def test_taking_it_away_takes_the_password(self) -> None:
        here = await office(self, "ada", engine=self.engine)
        await here.second()
        with self.assertRaises(NotLoggedIn):
            await here.admins.end_totp("ada", "wrong wrong", HERE, 0)
        await here.admins.end_totp("ada", PASSWORD, HERE, 0)
        self.assertFalse((await here.sessions.begin("ada", PASSWORD, HERE)).second)
        with self.assertRaises(DirectoryError):
            await here.admins.reset_totp("ada")

    async def test_an_offer_needs_its_first_code(self) -> None:
        here = await office(self, "ada", engine=self.engine)
        offer = await here.admins.offer_totp("ada", PASSWORD, HERE, "mail.example")
        self.assertEqual(await here.admins.offered_totp("ada", "mail.example"), offer)
        self.assertIn("mail.example", offer.uri)
        with self.assertRaises(DirectoryError):
            await here.admins.begin_totp("ada", "000000", HERE, 0)
        self.assertFalse((await here.sessions.begin("ada", PASSWORD, HERE)).second)

    async def test_an_offer_ends(self) -> None:
        """Whoever finds a session open another day has not given the password for it."""
        here = await office(self, "ada", engine=self.engine)
        offer = await here.admins.offer_totp("ada", PASSWORD, HERE, "mail.example")
        here.time += 901
        self.assertIsNone(await here.admins.offered_totp("ada", "mail.example"))
        with self.assertRaises(DirectoryError):
            await here.admins.begin_totp("ada", pyotp.TOTP(offer.secret).at(int(here.time)), HERE, 0)
        self.assertFalse((await here.admins.find("ada")).second_factor)


class SecondFactorsOnPostgreSQL(SecondFactors):
    engine = "postgresql"


class Codes(SynchronousTestCase):
    @given(st.text(max_size=80))
    def test_any_text_can_be_typed(self, text: str) -> None:
        second_factor.normal_code(text)
        second_factor.is_one_time(text)
        self.assertIn(second_factor.matching_step("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", text, 0, 1e9), (0, *range(33333332, 33333335)))

    def test_vectors_of_rfc_6238(self) -> None:
        """Appendix B, SHA-1, the last six digits."""
        secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
        for when, code in ((59, "287082"), (1111111109, "081804"), (1234567890, "005924"), (20000000000, "353130")):
            self.assertEqual(second_factor.matching_step(secret, code, 0, when), when // 30)

    def test_misread_letters(self) -> None:
        self.assertEqual(second_factor.normal_code("OL-b 018"), "olbolb")
