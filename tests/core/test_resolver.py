"""The resolver against an authority on loopback, and its parts against hostile messages."""

import gc
import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailx.config import DNS
from mailx.core import dns_wire, resolver
from mailx.core.dns_exchange import Exchange, NoAnswer
from mailx.core.dns_wire import RECORDS_LIMIT, Foreign, Malformed, ascii_name
from mailx.core.resolver import MX, TLSA, Answer, DNSFailure, Resolver, endpoint, system_servers
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
                ("_25._tcp.a.example.org", "TLSA"): ["3 1 1 " + "ab" * 32, "3 1 1 00"],
                ("1.2.0.192.in-addr.arpa", "PTR"): ["a.example.org."],
                ("null.example.org", "MX"): ["0 ."],
                ("_imaps._tcp.example.org", "SRV"): ["0 1 993 imap.example.org."],
            },
        )
        self.assertEqual(await resolver.mx("Example.ORG."), [MX(10, "a.example.org"), MX(20, "b.example.org")])
        self.assertEqual(await resolver.texts("example.org"), [b"v=spf1 -all", b"x" * 600])
        self.assertEqual(await resolver.addresses("a.example.org"), ["2001:db8::1", "192.0.2.1", "192.0.2.2"])
        tlsa = (await resolver.query("_25._tcp.a.example.org", "TLSA")).records
        self.assertEqual(tlsa, (TLSA(3, 1, 1, b"\xab" * 32), TLSA(3, 1, 1, b"\0")))
        self.assertEqual((await resolver.query("1.2.0.192.in-addr.arpa", "PTR")).records, ("a.example.org",))
        self.assertEqual(await resolver.mx("null.example.org"), [MX(0, ".")])
        self.assertEqual((await resolver.query("_imaps._tcp.example.org", "SRV")).records, ("0 1 993 imap.example.org.",))

    async def test_what_is_not_there(self) -> None:
        resolver = await dns.resolver(self, {("a.example.org", "A"): ["192.0.2.1"]})
        self.assertEqual(await resolver.query("a.example.org", "MX"), Answer("a.example.org", (), False, 60, True))
        self.assertEqual((await resolver.query("example.org", "MX")).exists, True, "there is a name below it")
        self.assertEqual((await resolver.query("b.example.org", "A")).exists, False)
        self.assertEqual(await resolver.addresses("b.example.org"), [])

    async def test_names_that_cannot_be(self) -> None:
        authority = await dns.serve(self, {})
        resolver = dns.ask(self, authority)
        for name in ("", ".", "a..b", ".a", "x" * 64, ".".join(["x" * 60] * 5), "\N{SNOWMAN}." + "x" * 80):
            answer = await resolver.query(name, "A")
            self.assertEqual((answer.records, answer.exists), ((), False), name)
        self.assertEqual(authority.asked, [])
        with self.assertRaises(ValueError):
            await resolver.query("example.org", "NONSENSE")

    async def test_nowhere(self) -> None:
        """Names that cannot exist are asked of nobody: RFC 6761 6.4, RFC 7686 2."""
        authority = await dns.serve(self, {("a.invalid", "A"): ["192.0.2.1"], ("invalid.test", "A"): ["192.0.2.2"]})
        resolver = dns.ask(self, authority)
        for name in ("a.invalid", "_mta-sts.A.Invalid", "mail.onion"):
            answer = await resolver.query(name, "A")
            self.assertEqual((answer.records, answer.exists), ((), False), name)
        self.assertEqual(authority.asked, [])
        self.assertEqual(await resolver.addresses("invalid.test"), ["192.0.2.2"])

    async def test_international(self) -> None:
        resolver = await dns.resolver(self, {("xn--bcher-kva.example", "A"): ["192.0.2.1"]})
        self.assertEqual(await resolver.addresses("Bücher.example"), ["192.0.2.1"])

    async def test_aliases(self) -> None:
        zone: dict[Any, Any] = {(f"a{number}.test", "CNAME"): [f"a{number + 1}.test."] for number in range(12)}
        zone |= {("a12.test", "A"): ["192.0.2.1"], ("x.test", "CNAME"): ["y.test."], ("y.test", "CNAME"): ["x.test."]}
        resolver = await dns.resolver(self, zone)
        answer = await resolver.query("a4.test", "A")
        self.assertEqual((answer.name, answer.records, answer.aliases), ("a12.test", ("192.0.2.1",), 8))
        self.assertEqual((await resolver.query("a4.test", "MX")).exists, True)
        self.assertEqual((await resolver.query("a4.test", "CNAME")).records, ("a5.test",))
        for name in ("a3.test", "x.test"):
            with self.assertRaises(DNSFailure):
                await resolver.query(name, "A")

    async def test_failures(self) -> None:
        zone = {
            ("a.test", "A"): dns.SERVFAIL,
            ("b.test", "A"): dns.REFUSED,
            ("c.test", "A"): dns.CLOSED,
            ("c.test", "AAAA"): ["2001:db8::1"],
        }
        authority = await dns.serve(self, zone)
        resolver = dns.ask(self, authority)
        for name in ("a.test", "b.test", "c.test"):
            for _ in range(2):
                with self.assertRaises(DNSFailure):
                    await resolver.query(name, "A")
        self.assertEqual(authority.asked.count(("a.test", "A")), 1, "it is not asked again at once")
        self.assertEqual(await resolver.addresses("c.test"), ["2001:db8::1"], "one family is enough")
        with self.assertRaises(DNSFailure):
            await resolver.addresses("a.test")

    async def test_no_answer(self) -> None:
        resolver = await dns.resolver(self, {("a.test", "A"): dns.TIMEOUT, ("b.test", "A"): dns.GARBAGE}, timeout=0.15)
        for name in ("a.test", "b.test"):
            with self.assertRaises(DNSFailure):
                await resolver.query(name, "A")

    async def test_a_server_with_an_ipv6_address(self) -> None:
        zone = {("a.test", "A"): ["192.0.2.1"], ("b.test", "A"): dns.truncated("192.0.2.2")}
        asking = dns.ask(self, await dns.serve(self, zone, interface="::1"), validating=True)
        self.assertTrue(asking.validating)
        self.assertEqual([await asking.addresses(name) for name in ("a.test", "b.test")], [["192.0.2.1"], ["192.0.2.2"]])

    async def test_the_next_server(self) -> None:
        silent, good = await dns.serve(self, {("a.test", "A"): dns.TIMEOUT}), await dns.serve(self, {("a.test", "A"): ["192.0.2.1"]})
        asking = Resolver(DNS(servers=("127.0.0.1:1", silent.address, good.address), timeout=0.15), reactor)  # type: ignore[arg-type]
        self.addCleanup(lambda: Deferred.fromCoroutine(asking.stop()))
        self.assertEqual(await asking.addresses("a.test"), ["192.0.2.1"])
        self.assertEqual(silent.asked.count(("a.test", "A")), 2, "once more when nothing came")
        asking.clear()
        self.assertEqual(await asking.addresses("a.test"), ["192.0.2.1"])
        self.assertEqual(silent.asked.count(("a.test", "A")), 2, "who failed is asked last")

    async def test_secure_only_from_a_validating_resolver(self) -> None:
        zone = {
            ("a.test", "A"): ["192.0.2.1"],
            ("b.test", "CNAME"): ["a.test."],
            ("c.test", "CNAME"): ["d.test."],
            ("d.test", "A"): ["192.0.2.2"],
        }
        authority = await dns.serve(self, zone, {"a.test", "b.test", "c.test", "none.test"})
        plain, validating = dns.ask(self, authority), dns.ask(self, authority, validating=True)
        for name, secure in {"a.test": True, "b.test": True, "c.test": False, "d.test": False, "none.test": True}.items():
            self.assertEqual((await validating.query(name, "A")).secure, secure, name)
            self.assertEqual((await plain.query(name, "A")).secure, False)
        elsewhere = Resolver(DNS(validating="192.0.2.53"), reactor)
        self.assertFalse(elsewhere.validating, "its answers may be changed on the way")


class Hostile(TestCase):
    """Answers made to harm."""

    async def test_truncated(self) -> None:
        authority = await dns.serve(self, {("a.test", "TXT"): dns.truncated("over TCP"), ("b.test", "TXT"): [b"x" * 60000]})
        resolver = dns.ask(self, authority)
        self.assertEqual(await resolver.texts("a.test"), [b"over TCP"])
        self.assertEqual(await resolver.texts("b.test"), [b"x" * 60000])
        self.assertEqual(authority.streams, 2)

    async def test_spoofed(self) -> None:
        authority = await dns.serve(self, {("a.test", "A"): dns.spoofed("192.0.2.1"), ("b.test", "A"): dns.flooded("192.0.2.2")})
        resolver = dns.ask(self, authority)
        self.assertEqual(await resolver.addresses("a.test"), ["192.0.2.1"])
        self.assertEqual(authority.streams, 0)
        self.assertEqual(await resolver.addresses("b.test"), ["192.0.2.2"])
        self.assertEqual(authority.streams, 1, "somebody was guessing")

    async def test_a_connection_nobody_waits_for(self) -> None:
        """A server that neither takes nor refuses it: it is not left behind."""
        clock: Any = MemoryReactorClock()
        asking = Deferred.fromCoroutine(Exchange("192.0.2.1", 53, 5.0, clock)._tcp(QUESTION))
        clock.tcpClients[0][2].startedConnecting(clock.connectors[0])
        clock.advance(5)
        self.failureResultOf(asking, NoAnswer)
        self.assertTrue(clock.connectors[0].stoppedConnecting)

    async def test_thousands_of_records(self) -> None:
        resolver = await dns.resolver(self, {("a.test", "MX"): [f"{number} m{number}.a.test." for number in range(2500)]})
        self.assertEqual(len(await resolver.mx("a.test")), RECORDS_LIMIT)

    async def test_other_ports_and_ids(self) -> None:
        """What an attacker would have to guess is different each time."""
        authority = await dns.serve(self, {})
        resolver = dns.ask(self, authority)
        seen = []
        answers = authority.answers
        authority.answers = lambda wire, stream: seen.append(wire[:2]) or answers(wire, stream)  # type: ignore[method-assign, func-returns-value]
        for number in range(20):
            await resolver.query(f"{number}.test", "A")
        self.assertGreater(len(set(seen)), 15)


class Later:
    """The reactor, ``by`` seconds later."""

    by = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)

    def seconds(self) -> float:
        return reactor.seconds() + self.by  # type: ignore[attr-defined, no-any-return]


class Remembering(TestCase):
    """The cache."""

    async def test_asked_once(self) -> None:
        authority = await dns.serve(self, {("a.test", "A"): ["192.0.2.1"]})
        resolver = dns.ask(self, authority)
        answers = await gatherResults([Deferred.fromCoroutine(resolver.query("a.test", "A")) for _ in range(50)])
        self.assertEqual({answer.records for answer in answers}, {("192.0.2.1",)})
        await resolver.query("A.test.", "A")
        await resolver.query("none.test", "A")
        await resolver.query("none.test", "A")
        self.assertEqual(authority.asked, [("a.test", "A"), ("none.test", "A")])
        resolver.clear()
        await resolver.query("a.test", "A")
        self.assertEqual(len(authority.asked), 3)

    async def test_times(self) -> None:
        zone = {("a.test", "A"): ["192.0.2.1"], ("b.test", "CNAME"): ["a.test."]}
        authority = await dns.serve(self, zone)
        for told, kept in ((0, resolver.TTL_LEAST), (300, 300), (10**9, resolver.TTL_MOST), (2**31 + 5, resolver.TTL_LEAST)):
            authority.ttl = told
            asking = dns.ask(self, authority)
            self.assertEqual((await asking.query("a.test", "A")).ttl, kept)
            self.assertEqual((await asking.query("b.test", "A")).ttl, kept)
            self.assertEqual((await asking.query("none.test", "A")).ttl, 60 if 60 < told < 2**31 else resolver.TTL_LEAST)

    async def test_it_ends(self) -> None:
        authority = await dns.serve(self, {("a.test", "A"): ["192.0.2.1"]})
        later = Later()
        asking = Resolver(DNS(servers=(authority.address,)), later)
        self.addCleanup(lambda: Deferred.fromCoroutine(asking.stop()))
        await asking.query("a.test", "A")
        later.by = 298
        self.assertLessEqual((await asking.query("a.test", "A")).ttl, 2)
        self.assertEqual(len(authority.asked), 1)
        later.by = 301
        await asking.query("a.test", "A")
        self.assertEqual(len(authority.asked), 2)

    async def test_bounded(self) -> None:
        authority = await dns.serve(self, {(f"{number}.test", "TXT"): [b"x" * 5000] for number in range(30)})
        self.patch(resolver, "_CACHE_OCTETS", 60000)
        asking = dns.ask(self, authority)
        for number in range(30):
            await asking.query(f"{number}.test", "TXT")
        self.assertLess(len(asking._kept), 12)
        self.assertEqual(asking._octets, sum(kept.octets for kept in asking._kept.values()))
        self.patch(resolver, "_CACHE_OCTETS", 10**9)
        few = dns.ask(self, authority, cache=100)
        for number in range(150):
            await few.query(f"{number}.none.test", "A")
        self.assertEqual(len(few._kept), 100)

    async def test_whoever_asked_has_gone(self) -> None:
        """What becomes of his questions is nobody's trouble any more."""
        resolver = await dns.resolver(self, {("a.test", "A"): dns.SERVFAIL, ("a.test", "AAAA"): dns.SERVFAIL})
        asking = Deferred.fromCoroutine(resolver.addresses("a.test"))
        asking.addErrback(lambda failure: failure.trap(CancelledError) and None)
        asking.cancel()
        del asking
        for kind in ("A", "AAAA"):
            with self.assertRaises(DNSFailure):
                await resolver.query("a.test", kind)
        gc.collect()
        self.assertEqual(self.flushLoggedErrors(DNSFailure), [])

    async def test_stopped(self) -> None:
        authority = await dns.serve(self, {("a.test", "A"): dns.TIMEOUT, ("b.test", "A"): dns.TIMEOUT})
        asking = Resolver(DNS(servers=(authority.address,), timeout=60), reactor)
        waiting = [Deferred.fromCoroutine(asking.query(name, "A")) for name in ("a.test", "a.test", "b.test")]
        await asking.stop()
        for deferred in waiting:
            with self.assertRaises(DNSFailure):
                await deferred
        with self.assertRaises(DNSFailure):
            await asking.query("c.test", "A")


QUESTION = dns_wire.question("example.org", "MX")


def reply(answers: int = 0, flags: int = 0x8180, number: int = 7, rest: bytes = b"") -> bytes:
    return number.to_bytes(2) + flags.to_bytes(2) + b"\0\1" + answers.to_bytes(2) + b"\0\0\0\0" + QUESTION + rest


class Messages(SynchronousTestCase):
    """dns_wire alone."""

    def test_foreign(self) -> None:
        for message in (
            reply(number=8),
            reply(flags=0x0180),
            reply(flags=0xA980),
            reply().replace(b"org", b"net"),
            reply()[:12] + QUESTION[:-4] + b"\0\1\0\1",
            reply()[:4] + b"\0\2" + reply()[6:],
            reply()[:4] + b"\0\0\0\0\0\0\0\0",
        ):
            self.assertFalse(dns_wire.fits(message, 7, QUESTION))
            with self.assertRaises(Foreign):
                dns_wire.read(message, 7, QUESTION)
        self.assertTrue(dns_wire.fits(reply().replace(b"example", b"eXaMPLe"), 7, QUESTION))

    def test_malformed(self) -> None:
        loop = b"\xc0" + bytes([len(reply())])
        for message in (b"", reply()[:11], reply(1), reply(1, rest=loop), reply(1, rest=b"\xc0\x0c\0\x0f\0\1\0\0\0\0\xff\xff\0")):
            with self.assertRaises(Malformed):
                dns_wire.read(message, 7, QUESTION)

    def test_aliases_out_of_order_and_in_a_loop(self) -> None:
        def record(owner: bytes, kind: int, data: bytes) -> bytes:
            return owner + kind.to_bytes(2) + b"\0\1\0\0\1\0" + len(data).to_bytes(2) + data

        a, b = b"\1a\0", b"\1b\0"
        mx = record(b, 15, b"\0\5" + a)
        chain = [mx, record(a, 5, b), record(b"\xc0\x0c", 5, a)]
        reading = dns_wire.read(reply(3, rest=b"".join(chain)), 7, QUESTION)
        self.assertEqual((reading.name, reading.records, reading.aliases, reading.ttl), ("b", (MX(5, "a"),), 2, 256))
        loop = record(b"\xc0\x0c", 5, a) + record(a, 5, b) + record(b, 5, a)
        self.assertGreater(dns_wire.read(reply(3, rest=loop), 7, QUESTION).aliases, dns_wire.CHAIN_LIMIT)

    def test_records_of_others_do_not_count(self) -> None:
        stranger = b"\3foo\0\0\x0f\0\1\0\0\1\0\0\5\0\1\1a\0"
        self.assertEqual(dns_wire.read(reply(1, rest=stranger), 7, QUESTION).records, ())

    @given(st.binary(max_size=200), st.integers(0, 4))
    def test_anything(self, rest: bytes, answers: int) -> None:
        for message in (rest, reply(answers, rest=rest)):
            try:
                reading = dns_wire.read(message, 7, QUESTION)
            except (Malformed, Foreign):
                continue
            self.assertLessEqual(len(reading.records), answers)

    @given(st.randoms(use_true_random=False))
    def test_changed_messages(self, dice: random.Random) -> None:
        good = reply(1, rest=b"\xc0\x0c\0\x0f\0\1\0\0\1\0\0\5\0\1\1a\0")
        bad = bytearray(good)
        for _ in range(3):
            bad[dice.randrange(len(bad))] = dice.randrange(256)
        try:
            dns_wire.read(bytes(bad), 7, QUESTION)
        except (Malformed, Foreign):
            pass

    @given(st.text(max_size=80))
    def test_any_name(self, name: str) -> None:
        canonical = ascii_name(name)
        if canonical is not None:
            self.assertEqual(ascii_name(canonical), canonical)
            self.assertLessEqual(len(dns_wire.question(canonical, "A")), 259)


class Servers(SynchronousTestCase):
    def test_endpoints(self) -> None:
        for text, expected in {
            "127.0.0.1": ("127.0.0.1", 53),
            "127.0.0.1:5353": ("127.0.0.1", 5353),
            "::1": ("::1", 53),
            "[::1]": ("::1", 53),
            "[::1]:5353": ("::1", 5353),
            "localhost:5353": ("127.0.0.1", 5353),
        }.items():
            self.assertEqual(endpoint(text), expected)
        for text in ("ns.example.org", "ns.example.org:53", "127.0.0.1:x"):
            with self.assertRaises(ValueError):
                endpoint(text)

    def test_of_a_system_that_names_none_by_address(self) -> None:
        self.assertEqual(
            system_servers(lambda: "nameserver ns.example.org\nnameserver 192.0.2.53\nnameserver fe80::1%eth0\n"), ["192.0.2.53"]
        )
        self.assertEqual(system_servers(lambda: "nameserver ns.example.org\n"), ["127.0.0.1"])

    def test_of_the_system(self) -> None:
        text = "# comment\nsearch example.org\nnameserver 192.0.2.1\nnameserver\nnameserver fe80::1%eth0\nnameserver 2001:db8::1\n"
        self.assertEqual(system_servers(lambda: text), ["192.0.2.1", "2001:db8::1"])
        self.assertEqual(system_servers(lambda: ""), ["127.0.0.1"])

        def missing() -> str:
            raise FileNotFoundError

        self.assertEqual(system_servers(missing), ["127.0.0.1"])
