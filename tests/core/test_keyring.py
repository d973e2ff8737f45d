"""Keys are in memory as long as they may be, and no longer; wraps open for the right secret alone."""

import secrets

from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import VerifyKey
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailx.core import wrapping
from mailx.core.keyring import ENTERING, Keyring
from mailx.core.wrapping import WrongSecret
from mailx.store.cipher import Cipher, Keys

CIPHER = Cipher(Keys({1: b"d" * 32}, 1, b"l" * 32))
ANN, BOB = 1, 2


class Holding(SynchronousTestCase):
    """Who is here, and for how long."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.ring = Keyring(CIPHER, self.clock, 100.0)
        self.keys = wrapping.fresh(ANN).keys
        self.closed: list[int] = []
        self.ring.on_close(self.closed.append)

    def test_a_login_without_a_session(self) -> None:
        self.ring.put(self.keys)
        self.clock.advance(99)
        self.assertIs(self.ring.get(ANN), self.keys)
        self.assertIsNone(self.ring.get(BOB))
        self.clock.advance(2)
        self.assertIsNone(self.ring.get(ANN))
        self.assertIsNone(self.ring.vault(ANN))
        self.assertEqual(self.closed, [ANN])

    def test_sessions(self) -> None:
        self.ring.put(self.keys)
        self.ring.hold(ANN)
        self.ring.hold(ANN)
        self.clock.advance(10_000)
        self.ring.release(ANN)
        self.clock.advance(10_000)
        self.assertIsNotNone(self.ring.get(ANN))
        self.ring.release(ANN)
        self.clock.advance(50)
        self.ring.hold(ANN)  # somebody comes back
        self.clock.advance(10_000)
        self.assertIsNotNone(self.ring.get(ANN))
        self.ring.release(ANN)
        self.clock.advance(101)
        self.assertEqual((self.ring.accounts(), self.closed), ([], [ANN]))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_another_login_during_a_session(self) -> None:
        self.ring.put(self.keys)
        self.ring.hold(ANN)
        self.ring.put(self.keys)
        self.clock.advance(10_000)
        self.assertIsNotNone(self.ring.get(ANN))

    def test_where_logins_are_not_remembered(self) -> None:
        ring = Keyring(CIPHER, self.clock, 0)
        ring.put(self.keys)
        self.clock.advance(ENTERING - 1)
        self.assertIsNotNone(ring.get(ANN))
        ring.hold(ANN)
        self.clock.advance(10_000)
        ring.release(ANN)
        self.clock.advance(0)
        self.assertIsNone(ring.get(ANN))

    def test_dropped_at_once_and_sessions_end_later(self) -> None:
        self.ring.put(self.keys)
        self.ring.hold(ANN)
        self.ring.drop(ANN)
        self.ring.drop(ANN)
        self.assertEqual((self.ring.get(ANN), self.closed), (None, [ANN]))
        self.ring.release(ANN)
        self.ring.release(BOB)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_ordinary_accounts_leave_nothing(self) -> None:
        for account in range(100):
            self.ring.hold(account)
            self.ring.release(account)
        self.assertEqual((self.ring._sessions, self.clock.getDelayedCalls()), ({}, []))

    def test_who_opens_waits_for_what_follows_and_never_fails(self) -> None:
        slow: Deferred[None] = Deferred()
        failing: Deferred[None] = Deferred()
        self.ring.on_open(lambda account: slow)
        self.ring.on_open(lambda account: failing)
        self.ring.on_open(lambda account: None)
        done = self.ring.put(self.keys)
        self.assertNoResult(done)
        failing.errback(RuntimeError("no"))
        self.assertNoResult(done)
        slow.callback(None)
        self.assertIsNone(self.successResultOf(done))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_stop(self) -> None:
        self.ring.put(self.keys)
        self.ring.stop()
        self.assertEqual((self.ring.accounts(), self.clock.getDelayedCalls()), ([], []))


class Wraps(SynchronousTestCase):
    """What a thief finds."""

    def test_a_bundle_opens_under_its_key_for_its_account(self) -> None:
        fresh = wrapping.fresh(ANN)
        opened = wrapping.unpack(fresh.key, ANN, fresh.bundle())
        self.assertEqual(
            (opened.sealing, opened.vault, opened.signing.seed), (fresh.keys.sealing, fresh.keys.vault, fresh.keys.signing.seed)
        )
        VerifyKey(opened.signing.public).verify(b"text", opened.signing.sign(b"text"))
        self.assertRaises(WrongSecret, wrapping.unpack, fresh.key, BOB, fresh.bundle())
        self.assertRaises(WrongSecret, wrapping.unpack, secrets.token_bytes(32), ANN, fresh.bundle())
        self.assertRaises(WrongSecret, wrapping.unpack, fresh.key, ANN, b"")

    def test_renewed_keys_remember_the_former_ones(self) -> None:
        keys = wrapping.fresh(ANN).keys
        first = keys.sealing
        for _ in range(30):
            keys = wrapping.renewed(keys)
        self.assertEqual(len(keys.former), 20)
        self.assertNotIn(first, keys.former)
        self.assertEqual(wrapping.unpack(b"k" * 32, ANN, wrapping.pack(b"k" * 32, keys)).former, keys.former)

    def test_a_wrap_opens_for_its_seed_and_account(self) -> None:
        seed, key = secrets.token_bytes(32), secrets.token_bytes(32)
        wrapped = wrapping.wrap(wrapping.public_of(seed), ANN, key)
        self.assertEqual(wrapping.unwrap(seed, ANN, wrapped), key)
        for wrong in ((secrets.token_bytes(32), ANN, wrapped), (seed, BOB, wrapped), (seed, ANN, wrapped[:-1]), (seed, ANN, b"")):
            self.assertRaises(WrongSecret, wrapping.unwrap, *wrong)

    def test_codes_are_read_however_they_are_typed(self) -> None:
        for make, read in ((wrapping.app_password, wrapping.app_secret), (wrapping.recovery_code, wrapping.recovery_secret)):
            code = make()
            plain = code.replace("-", "").encode()
            for typed in (code, code.upper(), f"  {code}\n", code.replace("-", " "), code.replace("-", "")):
                self.assertEqual(read(typed), plain)
            for other in ("", "secret", code + "x", code[:-1], "é" * len(plain), code.replace(code[0], "1")):
                self.assertIsNone(read(other))

    @given(st.text(max_size=500))
    def test_no_text_breaks_it(self, text: str) -> None:
        for read in (wrapping.app_secret, wrapping.recovery_secret):
            found = read(text)
            self.assertIn(type(found), (type(None), bytes))

    def test_nothing_of_it_is_shown(self) -> None:
        fresh = wrapping.fresh(ANN)
        for shown in (repr(fresh), repr(fresh.keys), str(fresh.keys)):
            self.assertNotIn("sealing=", shown)
            self.assertNotIn(repr(fresh.keys.vault), shown)
