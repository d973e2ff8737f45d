"""Which TLSA records count (RFC 7672 2.2, 3.1)."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailx.core.resolver import TLSA, DNSFailure
from mailx.outbound.dane import RECORDS_LIMIT, Vouched, usable, vouched
from mailx.outbound.mx import Own, exchangers
from tests import dns

KEY = "3 1 1 " + "ab" * 32


class Records(SynchronousTestCase):
    def test_usable(self) -> None:
        good = [TLSA(3, 1, 1, b"x" * 32), TLSA(2, 0, 2, b"x" * 64), TLSA(3, 0, 0, b"certificate")]
        bad = [
            TLSA(0, 1, 1, b"x" * 32),
            TLSA(1, 1, 1, b"x" * 32),
            TLSA(4, 1, 1, b"x" * 32),
            TLSA(3, 2, 1, b"x" * 32),
            TLSA(3, 1, 3, b"x" * 32),
            TLSA(3, 1, 1, b"x" * 31),
            TLSA(3, 1, 2, b"x" * 32),
            TLSA(3, 1, 0, b""),
            TLSA(255, 255, 255, b""),
        ]
        self.assertEqual(usable([*bad, *good, *good]), tuple(good))
        self.assertEqual(len(usable(TLSA(3, 1, 1, number.to_bytes(32)) for number in range(1000))), RECORDS_LIMIT)


class LookingUp(TestCase):
    """Over a validating resolver."""

    async def found(self, zone: dns.Zone, secure: Any = True) -> Vouched | None:
        resolver = await dns.resolver(self, {("example.org", "MX"): ["1 mx.example.org."], **zone}, secure)
        there = await exchangers("example.org", resolver, Own("here.test", []), 25)
        return await vouched(there.hosts[0], 25, resolver)

    async def test_found(self) -> None:
        zone = {("mx.example.org", "A"): ["192.0.2.1"], ("_25._tcp.mx.example.org", "TLSA"): [KEY]}
        self.assertEqual(await self.found(zone), Vouched("mx.example.org", (TLSA(3, 1, 1, b"\xab" * 32),)))
        self.assertIsNone(await self.found({("mx.example.org", "A"): ["192.0.2.1"]}))
        insecure = {**zone, ("mx.example.org", "AAAA"): ["2001:db8::1"]}
        self.assertIsNone(await self.found(insecure, {"_25._tcp.mx.example.org"}), "the addresses are not secure")

    async def test_aliases(self) -> None:
        zone = {("mx.example.org", "CNAME"): ["host.test."], ("host.test", "A"): ["192.0.2.1"]}
        behind = {**zone, ("_25._tcp.host.test", "TLSA"): [KEY], ("_25._tcp.mx.example.org", "TLSA"): ["3 1 1 " + "00" * 32]}
        found = await self.found(behind)
        self.assertEqual(found and found.base, "host.test", "behind the CNAME first")
        before = {**zone, ("_25._tcp.mx.example.org", "TLSA"): [KEY]}
        found = await self.found(before)
        self.assertEqual(found and found.base, "mx.example.org")

    async def test_failures(self) -> None:
        for fault in (dns.SERVFAIL, dns.REFUSED):
            with self.assertRaises(DNSFailure):
                await Deferred.fromCoroutine(
                    self.found({("mx.example.org", "A"): ["192.0.2.1"], ("_25._tcp.mx.example.org", "TLSA"): fault})
                )
