"""SRS: every rewritten sender comes back, nobody else's address does."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailx.core.srs import DAY, SRS, VALID_DAYS, rewritten
from mailx.mail.address import LOCAL_LIMIT, Address, AddressError
from mailx.store.cipher import Cipher, Keys
from tests.scenery import world

OURS = "example.test"
CIPHER = Cipher(Keys({1: b"k" * 32}, 1, b"l" * 32))


class NoStore:
    """A store that must not be asked."""

    def read(self, *arguments: object) -> object:
        raise AssertionError("the store was asked")

    write = read


def made(time: float = 1_000_000_000.0, cipher: Cipher = CIPHER) -> SRS:
    return SRS(NoStore(), cipher, lambda: time)  # type: ignore[arg-type]


def run(coroutine: object) -> object:
    """What a coroutine returns that waits for nothing."""
    try:
        coroutine.send(None)  # type: ignore[attr-defined]
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits")


LOCALS = st.text('abcXYZ019.+=-_ "\\<>@\u00fc', min_size=1, max_size=20)


class Pure(SynchronousTestCase):
    def test_example(self) -> None:
        found = run(made().rewrite(Address("bob", "example.org"), OURS))
        assert isinstance(found, Address)
        self.assertRegex(str(found), r"\ASRS0=[A-Z2-7]{8}=[A-Z2-7]{2}=example\.org=bob@example\.test\Z")
        self.assertTrue(rewritten(found))
        self.assertEqual(run(made().reverse(found)), Address("bob", "example.org"))

    @settings(max_examples=200, deadline=None)
    @given(LOCALS, st.booleans())
    def test_there_and_back(self, local: str, lower: bool) -> None:
        """Any sender comes back, and if only the letters' case changed on the way, to the same mailbox."""
        try:
            sender = Address.parse(str(Address(local, "example.org")))
        except AddressError:
            return
        found = run(made().rewrite(sender, OURS))
        assert isinstance(found, Address)
        self.assertEqual(Address.parse(str(found)), found)
        if lower:
            found = Address(found.local.lower(), found.domain)
            sender = Address(sender.local.lower(), sender.domain)
        if rewritten(sender):
            return
        self.assertEqual(run(made().reverse(found)), sender)

    def test_second_forwarder(self) -> None:
        """A sender that another forwarder rewrote goes back to that one, whatever came in between, as it made it."""
        for first in ("SRS0=abcd=XY=example.org=bob", "srs0+abcd=XY=example.org=bob", "SRS0-abcd=XY=example.org=bob"):
            once = run(made().rewrite(Address(first, "one.example"), "two.example"))
            assert isinstance(once, Address)
            self.assertRegex(once.local, r"\ASRS1=[A-Z2-7]{8}=one\.example=[=+-]abcd=XY=example\.org=bob\Z")
            self.assertEqual(run(made().reverse(once)), Address("SRS0" + first[4:], "one.example"))
            other = Cipher(Keys({1: b"o" * 32}, 1, b"p" * 32))
            again = run(made(cipher=other).rewrite(once, "three.example"))
            assert isinstance(again, Address)
            self.assertEqual(run(made(cipher=other).reverse(again)), Address("SRS0" + first[4:], "one.example"))
            self.assertIsNone(run(made().reverse(again)), "the second did not make it")

    def test_time(self) -> None:
        start = 1_000_000_000.0
        found = run(made(start).rewrite(Address("bob", "example.org"), OURS))
        assert isinstance(found, Address)
        self.assertIsNotNone(run(made(start + VALID_DAYS * DAY).reverse(found)))
        self.assertIsNone(run(made(start + (VALID_DAYS + 1) * DAY).reverse(found)))
        self.assertIsNone(run(made(start - DAY).reverse(found)), "made tomorrow")
        cycle = 1024 * DAY // 2
        self.assertIsNone(run(made(start + cycle).reverse(found)))

    def test_forged(self) -> None:
        """What was changed in any place, cut, or made up is nobody's."""
        found = run(made().rewrite(Address("bob", "example.org"), OURS))
        assert isinstance(found, Address)
        local = found.local
        for place in range(5, len(local)):
            letter = "7" if local[place] != "7" else "A"
            self.assertIsNone(run(made().reverse(Address(local[:place] + letter + local[place + 1 :], OURS))), place)
            self.assertIsNone(run(made().reverse(Address(local[:place], OURS))), place)
        for text in (
            "SRS0=",
            "SRS1=",
            "SRS0====",
            "SRS1====",
            "SRS1=a=b",
            "SRS1=a==x",
            "SRS0=\u00fc=AA=b=c",
            "SRS0=AAAAAAAA=A\u00fc==\u00fc",
            "bob",
        ):
            self.assertIsNone(run(made().reverse(Address(text, OURS))), text)

    @settings(max_examples=200, deadline=None)
    @given(st.text(min_size=0, max_size=60))
    def test_any_text(self, text: str) -> None:
        for head in ("SRS0=", "SRS1=", "srs0+", "SRS1-"):
            self.assertIsNone(run(made().reverse(Address(head + text, OURS))))


class Long(TestCase):
    engine = "sqlite"

    async def test_long_sender(self) -> None:
        """A sender whose rewritten form would be too long for a local part is kept, sealed, and found again."""
        here = await world(self, engine=self.engine)
        now = [1_000_000_000.0]
        srs = SRS(here.store, here.cipher, lambda: now[0])
        for sender in (
            Address("bounce-123456789_html-abcdefghijklmnopqrstuvwxyz-42", "mail.newsletter.example.org"),
            Address("SRS0=abcd=XY=another.example.org=somebody.with.a.name", "forwarder.example.net"),
            Address("\u00fc" * 30, "example.org"),
        ):
            found = await srs.rewrite(sender, OURS)
            self.assertLessEqual(len(found.local), LOCAL_LIMIT)
            self.assertEqual(await srs.rewrite(sender, OURS), found)
            self.assertEqual(await srs.reverse(found), sender)
            self.assertEqual(await srs.reverse(Address(found.local.lower(), OURS)), sender)
            self.assertIsNone(
                await srs.reverse(Address(found.local[:-2] + ("B" if found.local[-2] == "A" else "A") + found.local[-1], OURS))
            )
        rows = await here.store.read(lambda txn: txn.all("SELECT hash, sealed FROM senders"))
        self.assertEqual(len(rows), 3)
        self.assertNotIn(b"example", b"".join(bytes(value) for row in rows for value in row))
        now[0] += (VALID_DAYS + 3) * DAY
        self.assertIsNone(await srs.reverse(found))
        await srs.rewrite(Address("x" * 60, "example.org"), OURS)
        rows = await here.store.read(lambda txn: txn.all("SELECT hash FROM senders"))
        self.assertEqual(len(rows), 1, "what expired has gone")


class PostgreSQLLong(Long):
    engine = "postgresql"
