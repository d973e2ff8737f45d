"""SPF: the suite of RFC 7208, and what is ours around pyspf."""

from time import process_time
from typing import Any

import spf as pyspf
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mailx.checks import spf
from mailx.checks.spf import SPF, Claim, Verdict
from mailx.mail.address import Address
from tests.checks import vectors
from tests.checks.names import FAULT, Names, at_once

SUITE = ("pyspf-2.0.14.tar.gz", "test/rfc7208-tests.yml")
TESTS_IN_SUITE = 203
ALICE = Address.parse("alice@example.org")


class Suite(SynchronousTestCase):
    """Every test of the openspf.org suite for RFC 7208, as it comes in pyspf's source distribution."""

    def test_rfc_7208(self) -> None:
        ran = 0
        for scenario in vectors.scenarios(vectors.member(*SUITE)):
            names = _Zone(scenario["zonedata"])
            for title, test in scenario["tests"].items():
                with self.subTest(title):
                    self.one(names, test)
                ran += 1
        self.assertEqual(ran, TESTS_IN_SUITE)

    def subTest(self, title: str) -> Any:
        return _Titled(self, title)

    def one(self, names: Names, test: dict[str, Any]) -> None:
        local, _, domain = test["mailfrom"].partition("@")
        if not domain:
            local, domain = "", local or test["helo"]
        claim = Claim(test["host"], local or "postmaster", domain, test["helo"])
        checker = SPF("receiver.example", at_once)
        for _ in range(2):  # the second time with the questions of the first
            result, _, explanation = self.successResultOf(Deferred.fromCoroutine(checker.evaluate(names, claim, explain=True)))
            expected = test["result"]
            self.assertIn(result, expected if isinstance(expected, list) else [expected])
            if test.get("explanation", "DEFAULT") != "DEFAULT":
                self.assertEqual(explanation, test["explanation"])


class _Titled:
    def __init__(self, test_case: SynchronousTestCase, title: str) -> None:
        self.title = title

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> bool:
        if isinstance(error, AssertionError):
            raise AssertionError(f"{self.title}: {error}") from error
        return False


class _Zone(Names):
    """The zone data of a scenario: SPF records stand for TXT where there are none, TIMEOUT for silence."""

    def __init__(self, data: dict[str, list[Any]]) -> None:
        zone: dict[tuple[str, str], Any] = {}
        for name, entries in data.items():
            records = [entry for entry in entries if isinstance(entry, dict)]
            twofold = not any("TXT" in record for record in records)
            zone[name, "exists"] = ()
            for record in records:
                for kind, value in record.items():
                    self._add(zone, name, "TXT" if kind == "SPF" and twofold else kind, value)
            if "TIMEOUT" in entries:
                for kind in ("TXT", "A", "AAAA", "MX", "PTR"):
                    zone.setdefault((name, kind), FAULT)
        for kind in ("TXT", "A", "AAAA", "MX", "PTR"):
            zone["error.example.com", kind] = zone.get(("error.example.com", kind), FAULT)
        super().__init__(zone)

    @staticmethod
    def _add(zone: dict[tuple[str, str], Any], name: str, kind: str, value: Any) -> None:
        if value == "NONE":
            return
        if value == "TIMEOUT":
            zone[name, kind] = FAULT
            return
        if kind == "TXT":
            value = value if isinstance(value, str) else "".join(value)
        elif kind == "MX":
            value = (value[0], value[1].lower())
        else:
            value = value.lower().rstrip(".")
        zone.setdefault((name, kind), [])
        zone[name, kind].append(value)


class Checking(SynchronousTestCase):
    def check(self, zone: Any, address: str = "192.0.2.1", sender: Address | None = ALICE, helo: str = "client.example") -> Verdict:
        self.names = Names(zone)
        return self.successResultOf(Deferred.fromCoroutine(SPF("mx.example.net", at_once).check(self.names, address, sender, helo)))


class Checks(Checking):
    def test_identities(self) -> None:
        zone = {("example.org", "TXT"): ["v=spf1 ip4:192.0.2.1 -all"], ("client.example", "TXT"): ["v=spf1 -all"]}
        self.assertEqual(self.check(zone), Verdict("pass", "example.org", "mailfrom"))
        self.assertEqual(self.check(zone, sender=None), Verdict("fail", "client.example", "helo"))
        self.assertEqual(self.check(zone, "::ffff:192.0.2.1").result, "pass")
        for name in ("", "localhost", "[192.0.2.1]", "a..b", "x" * 64 + ".example"):
            self.assertEqual(self.check(zone, sender=None, helo=name), Verdict("none", "", "helo"))
        self.assertEqual(self.check(zone, sender=Address("a", "[192.0.2.1]")), Verdict("none", "", "mailfrom"))

    def test_domain_of_a_quoted_local_part(self) -> None:
        zone = {("evil.example", "TXT"): ["v=spf1 -all"], ("good.example", "TXT"): ["v=spf1 +all"]}
        self.assertEqual(self.check(zone, sender=Address.parse('"a@good.example"@evil.example')).result, "fail")

    def test_internationalized_domain(self) -> None:
        zone = {("xn--bcher-kva.example", "TXT"): ["v=spf1 +all"]}
        self.assertEqual(self.check(zone, sender=Address.parse("a@bücher.example")), Verdict("pass", "xn--bcher-kva.example", "mailfrom"))

    def test_faults(self) -> None:
        self.assertEqual(self.check({("example.org", "TXT"): FAULT}).result, "temperror")
        self.assertEqual(self.check({("example.org", "TXT"): ["v=spf1 mx -all"], ("example.org", "MX"): FAULT}).result, "temperror")
        zone = {("example.org", "TXT"): ["v=spf1 ptr -all"], ("1.2.0.192.in-addr.arpa", "PTR"): FAULT}
        self.assertEqual(self.check(zone).result, "fail")  # RFC 7208 5.5
        zone = {
            ("example.org", "TXT"): ["v=spf1 ptr -all"],
            ("1.2.0.192.in-addr.arpa", "PTR"): ["a.example.org", "b.example.org"],
            ("a.example.org", "A"): FAULT,
            ("b.example.org", "A"): ["192.0.2.1"],
        }
        self.assertEqual(self.check(zone).result, "pass")

    def test_explanations_are_not_fetched(self) -> None:
        self.check({("example.org", "TXT"): ["v=spf1 -all exp=why.example.org"]})
        self.assertEqual(self.names.asked, [("example.org", "TXT")])

    def test_questions_of_last_time_come_first(self) -> None:
        names = Names({("example.org", "TXT"): ["v=spf1 a:one.example mx -all"], ("one.example", "A"): ["192.0.2.7"]})
        checker = SPF("mx.example.net", at_once)
        starts = []
        self.patch(spf, "_Query", lambda *args: starts.append(args) or _QUERY(*args))
        for expected in (4, 1):
            starts.clear()
            self.successResultOf(Deferred.fromCoroutine(checker.check(names, "192.0.2.1", ALICE, "client.example")))
            self.assertEqual(len(starts), expected)

    def test_a_failing_library_is_a_temperror(self) -> None:
        self.patch(pyspf.query, "check0", lambda *_: 1 / 0)
        self.assertEqual(
            self.check({("example.org", "TXT"): ["v=spf1 -all"]}), Verdict("temperror", "example.org", "mailfrom", "internal error")
        )
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


_QUERY = spf._Query


class Hostile(Checking):
    """Policies written to cost."""

    def test_more_terms_than_ten(self) -> None:
        zone = {("example.org", "TXT"): ["v=spf1 " + " ".join(f"a:a{n}.example" for n in range(20)) + " -all"]}
        zone |= {(f"a{n}.example", "A"): ["192.0.2.9"] for n in range(20)}
        self.assertEqual(self.check(zone).result, "permerror")
        self.assertLess(len(self.names.asked), 13)

    def test_void_lookups(self) -> None:
        zone = {("example.org", "TXT"): ["v=spf1 a:a.example a:b.example a:c.example +all"]}
        self.assertEqual(self.check(zone).result, "permerror")

    def test_includes_that_turn_around(self) -> None:
        zone = {(f"{a}.example.org", "TXT"): [f"v=spf1 include:{b}.example.org -all"] for a, b in ("ab", "ba")}
        self.assertEqual(self.check(zone, sender=Address.parse("a@a.example.org")).result, "permerror")
        zone = {("example.org", "TXT"): ["v=spf1 redirect=example.org"]}
        self.assertEqual(self.check(zone).result, "permerror")

    def test_many_hosts(self) -> None:
        zone: dict[tuple[str, str], Any] = {("example.org", "TXT"): ["v=spf1 " + " ".join(f"mx:m{n}.example" for n in range(10)) + " -all"]}
        for n in range(10):
            zone[f"m{n}.example", "MX"] = [(10, f"h{n}-{m}.example") for m in range(10)]
            zone |= {(f"h{n}-{m}.example", "A"): ["192.0.2.9"] for m in range(10)}
        self.assertEqual(self.check(zone).result, "fail")
        self.assertLessEqual(len(self.names.asked), spf.QUESTIONS)
        zone["m3.example", "MX"] = [(10, f"h{m}.example") for m in range(1000)]
        self.assertEqual(self.check(zone).result, "permerror")

    def test_many_addresses(self) -> None:
        """Hosts with hundreds of addresses are no work for the reactor's thread, nor much for any other."""
        zone: dict[tuple[str, str], Any] = {("example.org", "TXT"): ["v=spf1 " + " ".join(f"mx:m{n}.example" for n in range(10)) + " -all"]}
        for n in range(10):
            zone[f"m{n}.example", "MX"] = [(10, f"h{n}-{m}.example") for m in range(10)]
            zone |= {(f"h{n}-{m}.example", "A"): ["198.51.100.9"] * 50 for m in range(10)}
        threads = _Threads()
        checker = SPF("mx.example.net", threads)
        seconds = []
        for _ in range(3):  # a busy machine takes longer now and then
            started = process_time()
            asked = Deferred.fromCoroutine(checker.check(Names(zone), "192.0.2.1", ALICE, "client.example"))
            self.assertEqual(self.successResultOf(asked).result, "fail")
            seconds.append(process_time() - started)
        self.assertLess(min(seconds), 0.5)
        self.assertGreater(threads.calls, 10)

    def test_networks(self) -> None:
        for policy, address, expected in (
            ("a:h.example/24", "192.0.2.200", "pass"),
            ("a:h.example/25", "192.0.2.200", "fail"),
            ("a:h.example/0", "203.0.113.1", "pass"),
            ("a:h.example//64", "2001:db8::5", "pass"),
            ("a:h.example//127", "2001:db8::5", "fail"),
            ("ip4:192.0.2.1", "::ffff:192.0.2.1", "pass"),
            ("ip4:192.0.2.256", "192.0.2.1", "permerror"),
            ("ip6:2001:db8::/32", "2001:db8:1::1", "pass"),
            ("ip6:2001:db8::/32", "192.0.2.1", "fail"),
        ):
            zone = {
                ("example.org", "TXT"): [f"v=spf1 {policy} -all"],
                ("h.example", "A"): ["192.0.2.1"],
                ("h.example", "AAAA"): ["2001:db8::1"],
            }
            self.assertEqual(self.check(zone, address).result, expected, (policy, address))

    def test_a_large_record_is_none(self) -> None:
        zone = {("example.org", "TXT"): ["v=spf1 " + "ip4:192.0.2.9 " * 10_000 + "-all"]}
        self.assertEqual(self.check(zone).result, "none")

    def test_many_large_records_are_none(self) -> None:
        """Seven included policies of 4000 octets each."""
        zone = {(f"i{n}.example", "TXT"): ["v=spf1 " + "ip4:198.51.100.1 " * 230] for n in range(7)}
        zone["example.org", "TXT"] = ["v=spf1 " + " ".join(f"include:i{n}.example" for n in range(7)) + " +all"]
        self.assertEqual(self.check(zone), Verdict("permerror", "example.org", "mailfrom", "policy too large"))

    def test_threads(self) -> None:
        """Short policies are evaluated on the spot, long ones and those with many macros are not."""
        for text, expected in (
            ("v=spf1 -all", 0),
            ("v=spf1 " + "ip4:198.51.100.1 " * 100 + "-all", 1),
            ("v=spf1 -exists:" + "%{d}." * 60 + "x -all", 2),
        ):
            threads = _Threads()
            checked = SPF("mx.example.net", threads).check(Names({("example.org", "TXT"): [text]}), "192.0.2.1", ALICE, "c.example")
            self.assertEqual(self.successResultOf(Deferred.fromCoroutine(checked)).result, "fail")
            self.assertEqual(threads.calls, expected)

    def test_odd_records(self) -> None:
        for text in (
            "v=spf1 exists:%{d99999999999999999999}.example -all",
            "v=spf1 " + "exists:" + "%{l}" * 900 + ".example -all",
            "v=spf1 a:" + "." * 4000,
            "v=spf1 a:" + "%%" * 1900 + " -all",
            "v=spf1 ip6:::1 ip6:" + ":" * 900 + " -all",
            "v=spf1 " + "a" * 4000,
            "v=spf1 \udcff-all".encode("utf-8", "surrogateescape").decode("latin-1"),
        ):
            self.assertIn(self.check({("example.org", "TXT"): [text]}).result, ("permerror", "fail", "none", "temperror", "neutral"))
            self.flushLoggedErrors()


class _Threads:
    """Counts the calls, and makes them at once."""

    def __init__(self) -> None:
        self.calls = 0

    async def __call__(self, call: Any) -> Any:
        self.calls += 1
        return call()
