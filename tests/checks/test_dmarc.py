"""DMARC: records, walks up the tree, alignment and policies (RFC 9989)."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mailx.checks.dmarc import Checker, Identifier, Verdict
from mailx.core.resolver import DNSFailure
from mailx.mail.dmarc import WALK, Record, organization, parents, read
from tests.checks.names import FAULT, Names

SPF = "spf"
DKIM = "dkim"


class Records(SynchronousTestCase):
    def test_records(self) -> None:
        for text, expected in (
            (b"v=DMARC1; p=reject", Record("reject")),
            (
                b"v=DMARC1;p=quarantine;sp=none;np=reject;adkim=s;aspf=s;psd=n;t=y",
                Record("quarantine", "none", "reject", True, True, "n", True),
            ),
            (b"v = DMARC1 ; P = REJECT ; AspF = S; pct=0; x=y; junk", Record("reject", strict_spf=True)),
            (b"v=DMARC1; p=none; p=reject", Record("none")),
            (b"v=DMARC1", Record(applies=False)),
            (b"v=DMARC1; p=maybe", Record(applies=False)),
            (b"v=DMARC1; p=reject; sp=maybe", Record(applies=False)),
            (b"v=DMARC1; rua=mailto:a@example.org", Record()),
            (b"v=DMARC1; p=maybe; rua=nowhere, mailto:a@example.org", Record()),
            (b"v=DMARC1; p=reject; adkim=x; aspf=; t=maybe; psd=Y", Record("reject", psd="y")),
            (b"v=DMARC1; p=reject\xff", Record(applies=False)),
        ):
            self.assertEqual(read(text), expected, text)

    def test_no_records(self) -> None:
        for text in (
            b"",
            b"p=reject; v=DMARC1",
            b"v=DMARC1.1; p=reject",
            b"v=dmarc1; p=reject",
            b"v=DMARC2",
            b"v=spf1 -all",
            b"v=DMARC1;" + b" " * 5000,
        ):
            self.assertIsNone(read(text), text)

    @given(st.binary(max_size=100))
    def test_anything(self, text: bytes) -> None:
        read(text)
        self.assertIsNotNone(read(b"v=DMARC1;" + text))

    def test_records_made_to_cost(self) -> None:
        """They are read in the reactor's thread: of hundreds of tags the first count."""
        more = b"".join(b"a%d=;" % number for number in range(600))
        self.assertEqual(read(b"v=DMARC1; p=reject;" + more), Record("reject"))
        self.assertEqual(read(b"v=DMARC1; " + more + b"p=reject"), Record(applies=False))

    def test_policies(self) -> None:
        record = Record("reject", "quarantine", "none")
        self.assertEqual(
            [record.policy(*where) for where in ((False, True), (True, True), (True, False))], ["reject", "quarantine", "none"]
        )
        self.assertEqual(Record("reject", "quarantine").policy(True, False), "quarantine")
        self.assertEqual(Record("quarantine").policy(True, False), "quarantine")
        self.assertEqual(Record("quarantine", np="reject").policy(True, True), "quarantine")
        self.assertEqual(
            [Record(p, testing=True).policy(False, True) for p in ("reject", "quarantine", "none")], ["quarantine", "none", "none"]
        )


class Walks(SynchronousTestCase):
    def test_names(self) -> None:
        """The examples of RFC 9989 4.10."""
        self.assertEqual(
            parents("a.b.c.d.e.f.g.h.i.j.mail.example.com"),
            ["a.b.c.d.e.f.g.h.i.j.mail.example.com", "g.h.i.j.mail.example.com", "h.i.j.mail.example.com", "i.j.mail.example.com"]
            + ["j.mail.example.com", "mail.example.com", "example.com", "com"],
        )
        self.assertEqual(parents("a.mail.example.com"), ["a.mail.example.com", "mail.example.com", "example.com", "com"])
        self.assertEqual(
            parents("a.b.c.d.e.f.g.h"), ["a.b.c.d.e.f.g.h", "b.c.d.e.f.g.h", "c.d.e.f.g.h", "d.e.f.g.h", "e.f.g.h", "f.g.h", "g.h", "h"]
        )
        self.assertEqual(parents("com"), ["com"])

    def test_organizations(self) -> None:
        """The examples of 4.10.2."""
        plain, no, yes = Record(), Record(psd="n"), Record(psd="y")
        start = "a.mail.example.com"
        for found, expected in (
            ([("mail.example.com", plain), ("example.com", plain)], "example.com"),
            ([("mail.example.com", no)], "mail.example.com"),
            ([("com", yes)], "example.com"),
            ([("example.com", yes)], "mail.example.com"),
            ([("mail.example.com", plain), ("com", yes)], "example.com"),
            ([], start),
            ([(start, plain)], start),
            ([(start, yes)], start),
            ([(start, no)], start),
        ):
            self.assertEqual(organization(start, found), expected, found)


class Checks(SynchronousTestCase):
    def check(self, author: str, records: dict[str, Any], *identifiers: tuple[str, ...], zone: Any = None) -> Verdict:
        """``records`` by domain; identifiers are (domain, by) or (domain, by, result)."""
        whole = {(f"_dmarc.{domain}", "TXT"): text if text == FAULT else [text] for domain, text in records.items()}
        self.names = Names({**whole, **(zone or {})})
        given = [Identifier(*each) if len(each) == 3 else Identifier(*each, "pass") for each in identifiers]
        return self.successResultOf(Deferred.fromCoroutine(Checker(self.names).check(author, given)))

    def result(self, *args: Any, **more: Any) -> tuple[str, str]:
        verdict = self.check(*args, **more)
        return verdict.result, verdict.policy

    def test_no_record(self) -> None:
        self.assertEqual(self.check("mail.example.org", {}, ("mail.example.org", SPF)), Verdict("none", "mail.example.org"))
        self.assertEqual([name for name, _ in self.names.asked], ["_dmarc.mail.example.org", "_dmarc.example.org", "_dmarc.org"])
        self.assertEqual(self.result("example.org", {"example.org": "v=DMARC1"}), ("none", "none"))

    def test_same_domain(self) -> None:
        records = {"example.org": "v=DMARC1; p=reject"}
        self.assertEqual(self.result("example.org", records, ("example.org", SPF)), ("pass", "reject"))
        self.assertEqual(self.names.asked, [("_dmarc.example.org", "TXT")])
        self.assertEqual(self.result("example.org", records, ("example.org", DKIM)), ("pass", "reject"))
        self.assertEqual(self.result("example.org", records), ("fail", "reject"))
        self.assertEqual(self.result("example.org", records, ("example.com", DKIM), ("org", DKIM)), ("fail", "reject"))

    def test_relaxed(self) -> None:
        records = {"example.org": "v=DMARC1; p=reject; sp=quarantine"}
        for author, identifier, expected in (
            ("example.org", "mail.example.org", ("pass", "reject")),
            ("mail.example.org", "example.org", ("pass", "quarantine")),
            ("a.example.org", "b.example.org", ("pass", "quarantine")),
            ("a.example.org", "example.net", ("fail", "quarantine")),
            ("a.example.org", "xexample.org", ("fail", "quarantine")),
        ):
            for by in (SPF, DKIM):
                self.assertEqual(self.result(author, records, (identifier, by), zone={(author, "A"): ["192.0.2.1"]}), expected)

    def test_strict(self) -> None:
        records = {"example.org": "v=DMARC1; p=reject; adkim=s"}
        self.assertEqual(self.result("example.org", records, ("a.example.org", DKIM)), ("fail", "reject"))
        self.assertEqual(self.result("example.org", records, ("a.example.org", SPF)), ("pass", "reject"))
        records = {"example.org": "v=DMARC1; p=reject; aspf=s"}
        self.assertEqual(self.result("example.org", records, ("a.example.org", SPF)), ("fail", "reject"))
        self.assertEqual(self.result("example.org", records, ("a.example.org", DKIM)), ("pass", "reject"))

    def test_organizations_below(self) -> None:
        """A domain that says it is one of its own does not align with those above it, nor beside it."""
        records = {"example.org": "v=DMARC1; p=reject", "a.example.org": "v=DMARC1; p=none; psd=n"}
        self.assertEqual(self.result("example.org", records, ("a.example.org", DKIM)), ("fail", "reject"))
        self.assertEqual(self.result("a.example.org", records, ("example.org", DKIM)), ("fail", "none"))
        self.assertEqual(self.result("x.a.example.org", records, ("a.example.org", DKIM)), ("pass", "none"))

    def test_public_suffixes(self) -> None:
        records = {"example": "v=DMARC1; p=reject; sp=quarantine; np=reject; psd=y"}
        there = {("one.example", "A"): ["192.0.2.1"], ("two.example", "A"): ["192.0.2.2"]}
        self.assertEqual(self.result("one.example", records, ("two.example", DKIM), zone=there), ("fail", "quarantine"))
        self.assertEqual(self.result("one.example", records, ("mail.one.example", DKIM), zone=there), ("pass", "quarantine"))
        self.assertEqual(self.result("three.example", records, zone=there), ("fail", "reject"))
        self.assertEqual(self.result("example", records), ("fail", "reject"))
        own = records | {"one.example": "v=DMARC1; p=none"}
        self.assertEqual(self.result("a.one.example", own), ("fail", "none"))

    def test_domains_that_do_not_exist(self) -> None:
        records = {"example.org": "v=DMARC1; p=none; sp=quarantine; np=reject"}
        self.assertEqual(self.result("ghost.example.org", records), ("fail", "reject"))
        self.assertEqual(self.result("mail.example.org", records, zone={("mail.example.org", "MX"): []}), ("fail", "quarantine"))
        self.assertEqual(self.result("mail.example.org", records, zone={("mail.example.org", "A"): FAULT}), ("fail", "quarantine"))
        self.assertEqual(self.result("example.org", records), ("fail", "none"))

    def test_several_records_are_none(self) -> None:
        zone = {("_dmarc.example.org", "TXT"): ["v=DMARC1; p=reject", "v=DMARC1; p=none"]}
        self.assertEqual(self.result("example.org", {}, zone=zone), ("none", "none"))
        zone = {("_dmarc.example.org", "TXT"): ["v=spf1 -all", "v=DMARC1; p=reject"]}
        self.assertEqual(self.result("example.org", {}, zone=zone), ("fail", "reject"))

    def test_unclear(self) -> None:
        records = {"example.org": "v=DMARC1; p=reject"}
        self.assertEqual(self.result("example.org", records, ("example.org", DKIM, "temperror")), ("temperror", "reject"))
        self.assertEqual(self.result("example.org", records, ("example.org", DKIM, "temperror"), ("example.org", SPF)), ("pass", "reject"))
        self.assertEqual(self.result("example.org", records, ("evil.example", DKIM, "temperror")), ("fail", "reject"))
        # A walk that somebody's silence breaks: what is known of the author's domain holds, and what vouches for it.
        relaxed = ("mail.example.org", DKIM)
        for policy, identifiers, expected in (
            ("reject", (relaxed,), ("temperror", "reject")),
            ("none", (relaxed,), ("temperror", "none")),
            ("reject", (relaxed, ("example.org", SPF)), ("pass", "reject")),
            ("reject", (("evil.example", DKIM), ("example.org", SPF)), ("pass", "reject")),
        ):
            records = {"example.org": f"v=DMARC1; p={policy}", "org": FAULT}
            self.assertEqual(self.result("example.org", records, *identifiers), expected)
        records = {"example.org": "v=DMARC1; p=reject; psd=n", "a.example.org": FAULT}
        self.assertEqual(self.result("example.org", records, ("a.example.org", DKIM), ("b.example.org", DKIM)), ("pass", "reject"))
        self.assertEqual(self.result("example.org", records, ("a.example.org", DKIM)), ("temperror", "reject"))
        names = Names({("_dmarc.example.org", "TXT"): FAULT})
        self.failureResultOf(Deferred.fromCoroutine(Checker(names).check("example.org", [])), DNSFailure)

    def test_long_domains(self) -> None:
        long = ".".join(["a" * 50] * 5)
        self.assertEqual(self.result(long, {}), ("none", "none"))
        self.assertEqual(self.result(".".join("a" * 120), {}, (".".join("a" * 119), DKIM)), ("none", "none"))
        self.assertLessEqual(len(self.names.asked), WALK)
