"""Whose a message claims to be."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.checks.author import DOMAINS, domains
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
            self.assertEqual(domains(Mail(f"From: {value}\r\n\r\n".encode())), expected, value)

    def test_fields(self) -> None:
        self.assertEqual(domains(Mail(b"")), [])
        self.assertEqual(domains(Mail(b"To: a@one.example\r\n\r\n")), [])
        self.assertEqual(domains(Mail(b"From: a@one.example\r\nFROM : b@two.example\r\n\r\n")), ["one.example", "two.example"])
        self.assertEqual(domains(Mail(b"X: y\r\n" * 5000 + b"From: a@one.example\r\n\r\n")), ["one.example"])
        many = b"From: " + b", ".join(b"a@d%d.example" % n for n in range(5000)) + b"\r\n\r\n"
        self.assertEqual(len(domains(Mail(many))), DOMAINS + 1)

    @given(st.binary(max_size=200))
    def test_anything(self, value: bytes) -> None:
        domains(Mail(b"From: " + value + b"\r\n\r\n"))
