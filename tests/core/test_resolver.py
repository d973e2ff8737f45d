"""The resolver against an authority on loopback, and its parts against hostile messages."""

from twisted.trial.unittest import TestCase

from mailx.core.resolver import MX, TLSA
from tests import dns


class Answers(TestCase):
    """What is there, what is not, and what is not known."""

    async def test_typed_records(self) -> None:
        resolver = await dns.resolver(
            self,
            {
                ("example.org", "MX"): ["20 b.example.org.", "10 A.Example.org."],
                ("example.org", "TXT"): ["v=spf1 -all", b"x" * 600],
                ("a.example.org", "A"): ["192.0.2.1", "192.0.2.2"],
                ("a.example.org", "AAAA"): ["2001:db8::1"],
                ("_25._tcp.a.example.org", "TLSA"): ["3 1 1 " + "ab" * 32],
                ("1.2.0.192.in-addr.arpa", "PTR"): ["a.example.org."],
                ("null.example.org", "MX"): ["0 ."],
                ("_imaps._tcp.example.org", "SRV"): ["0 1 993 imap.example.org."],
            },
        )
        self.assertEqual(await resolver.mx("Example.ORG."), [MX(10, "a.example.org"), MX(20, "b.example.org")])
        self.assertEqual(await resolver.texts("example.org"), [b"v=spf1 -all", b"x" * 600])
        self.assertEqual(await resolver.addresses("a.example.org"), ["2001:db8::1", "192.0.2.1", "192.0.2.2"])
        self.assertEqual((await resolver.query("_25._tcp.a.example.org", "TLSA")).records, (TLSA(3, 1, 1, b"\xab" * 32),))
        self.assertEqual((await resolver.query("1.2.0.192.in-addr.arpa", "PTR")).records, ("a.example.org",))
        self.assertEqual(await resolver.mx("null.example.org"), [MX(0, ".")])
        self.assertEqual((await resolver.query("_imaps._tcp.example.org", "SRV")).records, ("0 1 993 imap.example.org.",))
