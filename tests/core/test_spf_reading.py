"""What a published SPF record says of one address."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from mailx.core.resolver import Answer, DNSFailure
from mailx.core.spf_reading import BROKEN, FAIL, NEUTRAL, NONE, PASS, SOFTFAIL, UNKNOWN, authorises, is_spf
from tests import dns

ME = "192.0.2.7"
ZONE: dict[tuple[str, str], Any] = {
    ("mx.example.org", "A"): [ME],
    ("mx.example.org", "AAAA"): ["2001:db8::7"],
    ("example.org", "MX"): ["10 mx.example.org."],
    ("example.org", "A"): ["192.0.2.99"],
    ("null.example", "MX"): ["0 ."],
    ("us.example", "TXT"): ["v=spf1 ip4:192.0.2.0/24 -all"],
    ("others.example", "TXT"): ["v=spf1 ip4:198.51.100.1 ~all"],
    ("none.example", "TXT"): ["nothing to do with it"],
    ("two.example", "TXT"): ["v=spf1 -all", "V=SPF1 +all"],
    ("loop.example", "TXT"): ["v=spf1 include:loop.example -all"],
    ("round.example", "TXT"): ["v=spf1 redirect=round.example"],
    ("gone.example", "TXT"): dns.SERVFAIL,
}


class Reading(TestCase):
    async def said(self, text: str, address: str = ME) -> str:
        resolver = await dns.resolver(self, {**ZONE, ("x.example", "TXT"): [text]})
        return await authorises(resolver, "x.example", address)

    async def test_mechanisms(self) -> None:
        for text, result in (
            ("v=spf1 ip4:192.0.2.7 -all", PASS),
            ("v=spf1 ip4:192.0.2.0/29 -all", PASS),
            ("v=spf1 ip4:192.0.2.0/30 -all", FAIL),
            ("V=SPF1 A:mx.example.org ~ALL", PASS),
            ("v=spf1 a:example.org ~all", SOFTFAIL),
            ("v=spf1 a:example.org/24 ~all", PASS),
            ("v=spf1 mx:example.org ?all", PASS),
            ("v=spf1 mx:null.example ?all", NEUTRAL),
            ("v=spf1 mx -all", FAIL),
            ("v=spf1 -mx:example.org +all", FAIL),
            ("v=spf1 include:us.example -all", PASS),
            ("v=spf1 include:others.example -all", FAIL),
            ("v=spf1 redirect=us.example", PASS),
            ("v=spf1 redirect=us.example -all", FAIL),
            ("v=spf1", NEUTRAL),
            ("v=spf1 exp=x.example -all", FAIL),
            ("v=spf1 moo=x +all", PASS),
            ("v=spf1 a:no1.example a:no2.example ip4:192.0.2.7 -all", PASS),
            ("v=spf1 a:no1.example a:no2.example a:no3.example ip4:192.0.2.7 -all", BROKEN),
            ("v=spf1 --all", BROKEN),
            ("v=spf1 ip4:2001:db8::1 +all", BROKEN),
        ):
            self.assertEqual(await self.said(text), result, text)

    async def test_version_6(self) -> None:
        for text, result in (
            ("v=spf1 ip6:2001:db8::/32 -all", PASS),
            ("v=spf1 ip4:192.0.2.7 -all", FAIL),
            ("v=spf1 a:mx.example.org//64 -all", PASS),
            ("v=spf1 a:mx.example.org/24//48 -all", PASS),
        ):
            self.assertEqual(await self.said(text, "2001:db8::8" if "//" in text else "2001:db8::7"), result, text)

    async def test_what_hangs_on_the_message(self) -> None:
        for text, result in (
            ("v=spf1 exists:%{i}.example -all", UNKNOWN),
            ("v=spf1 ptr -all", UNKNOWN),
            ("v=spf1 include:%{d}.example -all", UNKNOWN),
            ("v=spf1 redirect=%{d}.example", UNKNOWN),
            ("v=spf1 exists:%{i}.example ip4:192.0.2.7 -all", PASS),
        ):
            self.assertEqual(await self.said(text), result, text)

    async def test_what_is_broken(self) -> None:
        resolver = await dns.resolver(self, ZONE)
        for domain, result in (
            ("none.example", NONE),
            ("nobody.example", NONE),
            ("two.example", BROKEN),
            ("loop.example", BROKEN),
            ("round.example", BROKEN),
        ):
            self.assertEqual(await authorises(resolver, domain, ME), result, domain)
        for text in (
            "v=spf1 ip4:300.1.1.1 -all",
            "v=spf1 moo -all",
            "v=spf1 include:nobody.example -all",
            "v=spf1 redirect=nobody.example",
            "v=spf1 a:mx.example.org/99 -all",
            "v=spf1 " + "a:nobody.example " * 11 + "-all",
        ):
            self.assertEqual(await self.said(text), BROKEN, text)

    async def test_no_answer(self) -> None:
        resolver = await dns.resolver(self, ZONE)
        with self.assertRaises(DNSFailure):
            await authorises(resolver, "gone.example", ME)

    def test_which_records(self) -> None:
        for text, answer in ((b"v=spf1", True), (b"V=SPF1 -all", True), (b"v=spf10", False), (b"v=spf1-all", False), (b" v=spf1", False)):
            self.assertIs(is_spf(text), answer)

    @given(st.text("v=spf1 ai4mx:/.%+-~?0129", max_size=40))
    def test_whatever_it_says(self, text: str) -> None:
        class Fixed:
            async def texts(self, name: str) -> list[bytes]:
                return [b"v=spf1 " + text.encode()]

            async def mx(self, name: str) -> list[Any]:
                return []

            async def query(self, name: str, kind: str) -> Answer:
                return Answer(name, (ME,), False, 60, True)

        said = self.successResultOf(Deferred.fromCoroutine(authorises(Fixed(), "example.org", ME)))  # type: ignore[arg-type]
        self.assertIn(said, (PASS, FAIL, SOFTFAIL, NEUTRAL, BROKEN, UNKNOWN))
