"""The Authentication-Results field: what authres reads back, and nothing that a stranger made up."""

from authres import AuthenticationResultsHeader
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.checks import arc, dkim, dmarc, results, spf
from mailx.mail.address import Address

HOST = "mx.example.net"


class Field(SynchronousTestCase):
    def read(self, *made: object) -> dict[str, tuple[str, dict[str, str]]]:
        lines = [str(each) for each in made]
        field = results.header(HOST, lines)
        self.assertTrue(field.isascii() and field.endswith(b"\r\n"))
        self.assertEqual(field.count(b"\r\n"), 1 + (len(made) or 1))
        self.assertLess(max(map(len, field.split(b"\r\n"))), 998)
        read = AuthenticationResultsHeader.parse(field.decode().replace("\r\n\t", " ").rstrip())
        self.assertEqual(read.authserv_id, HOST)
        again = AuthenticationResultsHeader.parse(f"Authentication-Results: {HOST}; {results.value(lines)}")
        self.assertEqual(list(map(str, again.results)), list(map(str, read.results)))
        return {each.method: (each.result, {f"{p.type}.{p.name}": p.value for p in each.properties}) for each in read.results}

    def test_all(self) -> None:
        sender = Address.parse("alice@example.org")
        found = self.read(
            results.of_spf(spf.Verdict("fail", "example.org", "mailfrom"), sender),
            results.of_dkim(dkim.Verdict("pass", "", "example.org", "s1", "rsa-sha256", "ab/c+d==")),
            results.of_arc(arc.Verdict("pass", "", ("a.example", "b.example")), "2001:db8::1"),
            results.of_dmarc(dmarc.Verdict("fail", "example.org", "reject"), "overridden by the ARC seal of b.example"),
        )
        dkim_found = {"header.d": "example.org", "header.s": "s1", "header.a": "rsa-sha256", "header.b": "ab/c+d=="}
        self.assertEqual(found["spf"], ("fail", {"smtp.mailfrom": "alice@example.org"}))
        self.assertEqual(found["dkim"], ("pass", dkim_found))
        self.assertEqual(found["arc"], ("pass", {"smtp.remote-ip": "2001:db8::1", "header.as-d": "b.example"}))
        self.assertEqual(found["dmarc"], ("fail", {"header.from": "example.org", "policy.dmarc": "reject"}))

    def test_none(self) -> None:
        self.assertEqual(results.header(HOST, []), b"Authentication-Results: mx.example.net;\r\n\tnone\r\n")
        self.assertEqual(results.value([]), "none")
        self.assertEqual(self.read(results.nothing("dkim")), {"dkim": ("none", {})})
        self.assertEqual(
            self.read(results.of_dmarc(dmarc.Verdict("none", "example.org"), "")), {"dmarc": ("none", {"header.from": "example.org"})}
        )

    def test_helo(self) -> None:
        made = results.of_spf(spf.Verdict("pass", "client.example", "helo"), None)
        self.assertEqual(self.read(made), {"spf": ("pass", {"smtp.helo": "client.example"})})

    def test_what_is_no_name_is_left_out(self) -> None:
        odd = Address('a"; dkim=pass (', "example.org")
        self.assertEqual(
            self.read(results.of_spf(spf.Verdict("pass", "example.org", "mailfrom"), odd)),
            {"spf": ("pass", {"smtp.mailfrom": "example.org"})},
        )
        made = results.of_spf(spf.Verdict("none", "[192.0.2.1]", "mailfrom"), odd)
        self.assertEqual(self.read(made), {"spf": ("none", {})})

    @given(st.text(max_size=50))
    def test_nothing_slips_in(self, text: str) -> None:
        """What a broken signature claims goes into no field."""
        made = results.of_dkim(dkim.Verdict("neutral", "malformed signature", text, text, text, text))
        found = self.read(made)
        self.assertEqual(list(found), ["dkim"])
        self.assertEqual(found["dkim"][0], "neutral")
