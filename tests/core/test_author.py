"""Whose a message claims to be."""

from time import process_time

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.core.author import DOMAINS, Authors, authors
from mailx.mail.canonical import Mail


class Domains(SynchronousTestCase):
    def test_domains(self) -> None:
        for value, expected in (
            ("Alice <alice@Example.ORG>", ["example.org"]),
            ("alice@example.org, bob@example.org", ["example.org"]),
            ("a@one.example, B <b@two.example>", ["one.example", "two.example"]),
            ('"x@bank.example" <a@evil.example>', ["evil.example"]),
            ("x@bank.example <a@evil.example>", ["evil.example"]),
            ("a@bücher.example", ["xn--bcher-kva.example"]),
            ("=?utf-8?q?a=40bank.example?= <a@evil.example>", ["evil.example"]),
            ("group: a@one.example, b@two.example;", ["one.example", "two.example"]),
            ("<@relay.example:a@one.example>", ["one.example"]),
            ("a@one.example (b@two.example)", ["one.example"]),
            ("undisclosed:;", []),
            ("nobody", []),
            ("", []),
            ("a@", []),
            ("a@" + "x" * 64 + ".example", []),
            ("\r\n\ta@one.example", ["one.example"]),
        ):
            self.assertEqual(authors(Mail(f"From: {value}\r\n\r\n".encode())).domains, tuple(expected), value)

    def test_fields(self) -> None:
        self.assertEqual(authors(Mail(b"")), Authors())
        self.assertEqual(authors(Mail(b"To: a@one.example\r\n\r\n")), Authors())
        two = authors(Mail(b"From: a@one.example\r\nFROM : b@two.example\r\n\r\n"))
        self.assertEqual(two, Authors(("one.example", "two.example"), False))
        self.assertEqual(authors(Mail(b"X: y\r\n" * 5000 + b"From: a@one.example\r\n\r\n")), Authors(("one.example",), True))
        many = b"From: " + b", ".join(b"a@d%d.example" % n for n in range(50)) + b"\r\n\r\n"
        self.assertEqual((len(authors(Mail(many)).domains), authors(Mail(many)).clear), (DOMAINS, False))

    def test_where_readers_may_see_another(self) -> None:
        """What is signed as evil.example must not pass for an author at bank.example in some reader's eyes."""
        for value in (
            "a@bank.example@evil.example",
            "a@bank.example evil.example",
            "a@bank.example a@evil.example",
            "a@bank.example\x01.evil.example",
            "<a@bank.example> <a@evil.example>",
            "<a@evil.example> <a@bank.example>",
            "<a@evil.example> a@bank.example",
            "a@evil.example, <a@bank..example>",
            "a@evil.example, a@" + "x" * 64 + ".example",
            "<a@=?utf-8?q?bank.example?=>",
            "a@evil.example, <a@[192.0.2.1]>",
            "a@evil.example," + " " * 3000 + "a@bank.example",
            "a@evil.example\r\nFrom: a@evil.example\r\nfrom: a@evil.example" + "\r\nFROM: a@evil.example" * 5 + "\r\nFrom: a@bank.example",
        ):
            self.assertFalse(authors(Mail(f"From: {value}\r\n\r\n".encode())).clear, value)

    def test_clear(self) -> None:
        for value in (
            '"Bank <a@bank.example>" <a@one.example>',
            "Ann (of <bank>) <a@one.example>",
            "a@bank.example via List <a@one.example>",
            "Group: <a@one.example>, Bob <b@ONE.example>;",
            "=?utf-8?q?Z=C3=BCrich?= <a@one.example> (office)",
            "a.b@one.example",
        ):
            self.assertEqual(authors(Mail(f"From: {value}\r\n\r\n".encode())), Authors(("one.example",), True), value)

    def test_work_is_bounded(self) -> None:
        for piece in (b"@a", b"\\", b'"a" ', b"a@b.c,", b"=?utf-8?q?a?= ", b"<", b"(", b"a . "):
            mail = Mail(b"From: " + piece * (60_000 // len(piece)) + b"\r\n\r\n")
            seconds = []
            for _ in range(3):  # a busy machine takes longer now and then
                started = process_time()
                authors(mail)
                seconds.append(process_time() - started)
            self.assertLess(min(seconds), 0.02, piece)

    @given(st.binary(max_size=200))
    def test_anything(self, value: bytes) -> None:
        authors(Mail(b"From: " + value + b"\r\n\r\n"))
