"""Preparation of passwords, verifiers, and the threads that hash."""

from threading import Event

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailx.core import passwords
from mailx.core.passwords import Busy, PasswordError, Passwords, Verifiers, prepare, saslprep
from mailx.core.scram import derive


class Preparation(SynchronousTestCase):
    def test_opaque_string(self) -> None:
        # RFC 8265 4.3, table 3
        self.assertEqual(prepare("correct horse battery staple"), b"correct horse battery staple")
        self.assertEqual(prepare("Correct Horse"), b"Correct Horse", "case is kept")
        self.assertEqual(prepare("πßå"), "πßå".encode())
        self.assertEqual(prepare("Jack of \u2666s"), "Jack of \u2666s".encode())
        self.assertEqual(prepare("foo\u1680bar"), b"foo bar", "a space that is not ASCII becomes one that is")

    def test_normal_form(self) -> None:
        self.assertEqual(prepare("e\u0301"), prepare("\u00e9"))
        self.assertNotEqual(prepare("\ufb01"), prepare("fi"), "RFC 8265 uses NFC, not NFKC")

    def test_impossible(self) -> None:
        for password in ("", "a\x07b", "a\0b", "a\x7f", "\ud800", "\ue000", "\U000e0fff"):
            self.assertRaises(PasswordError, prepare, password)

    def test_saslprep(self) -> None:
        # RFC 4013 3
        self.assertEqual(saslprep("I\u00adX"), "IX")
        self.assertEqual(saslprep("user"), "user")
        self.assertEqual(saslprep("USER"), "USER")
        self.assertEqual(saslprep("\u00aa"), "a")
        self.assertEqual(saslprep("\u2168"), "IX")
        self.assertRaises(PasswordError, saslprep, "\u0007")
        self.assertRaises(PasswordError, saslprep, "\u0627\u0031")

    def test_generated(self) -> None:
        made = {passwords.generate() for _ in range(50)}
        self.assertEqual(len(made), 50)
        for password in made:
            self.assertEqual(prepare(password).decode(), password)
            self.assertRegex(password, r"\A[a-z2-9]{5}(-[a-z2-9]{5}){3}\Z")


class Kept(TestCase):
    def setUp(self) -> None:
        self.passwords = Passwords(reactor, cost=4, iterations=4096)
        self.addCleanup(self.passwords.stop)

    async def test_round_trip(self) -> None:
        made = await self.passwords.make("grüß \u2168")
        again = Verifiers.decode(made.encode())
        self.assertEqual(again, made)
        self.assertIsNone(made.plain)
        self.assertEqual(again.scram, derive("grüß IX".encode(), again.scram.salt, 4096), "a SCRAM client applies SASLprep")
        self.assertTrue(await self.passwords.verify(again.bcrypt, "gru\u0308ß \u2168"))
        self.assertFalse(await self.passwords.verify(again.bcrypt, "grüß IX"))

    async def test_not_shown(self) -> None:
        made = await self.passwords.make("secret")
        self.assertNotIn("$2b$", repr(made))

    async def test_reversible_only_when_asked(self) -> None:
        reversible = Passwords(reactor, cost=4, reversible=True)
        self.addCleanup(reversible.stop)
        self.assertEqual((await reversible.make("secret")).plain, b"secret")
        self.assertIsNotNone(reversible.decoy().plain)
        self.assertIsNone(self.passwords.decoy().plain)

    async def test_limit_of_bcrypt(self) -> None:
        longest = "x" * 72
        made = await self.passwords.make(longest)
        self.assertTrue(await self.passwords.verify(made.bcrypt, longest))
        self.assertFalse(await self.passwords.verify(made.bcrypt, longest + "y"), "bcrypt alone would say yes")
        with self.assertRaises(PasswordError):
            await self.passwords.make(longest + "y")

    async def test_nothing_fits_the_decoy(self) -> None:
        decoy = self.passwords.decoy()
        self.assertTrue(decoy.bcrypt.startswith(b"$2b$04$"), "as costly as a real one")
        self.assertEqual(len(decoy.bcrypt), 60)
        for password in ("", "-", "secret", "\0"):
            self.assertFalse(await self.passwords.verify(decoy.bcrypt, password))
        self.assertEqual(decoy.with_salt(b"s" * 16).scram.salt, b"s" * 16)

    async def test_default_cost(self) -> None:
        self.assertTrue(Passwords(reactor).decoy().bcrypt.startswith(b"$2b$12$"))


class Pool(TestCase):
    async def test_bounded(self) -> None:
        made = Passwords(reactor, cost=4, threads=1, waiting=1)
        self.addCleanup(made.stop)
        go = Event()
        self.addCleanup(go.set)
        first = Deferred.fromCoroutine(made._run(go.wait))
        second = Deferred.fromCoroutine(made.verify(made.decoy().bcrypt, "x"))
        with self.assertRaises(Busy):
            await made.verify(made.decoy().bcrypt, "x")
        go.set()
        self.assertTrue(await first)
        self.assertFalse(await second)
        self.assertFalse(await made.verify(made.decoy().bcrypt, "x"), "there is room again")

    async def test_stopped(self) -> None:
        made = Passwords(reactor, cost=4)
        await made.verify(made.decoy().bcrypt, "x")
        made.stop()
        made.stop()
        with self.assertRaises(Busy):
            await made.verify(made.decoy().bcrypt, "x")
