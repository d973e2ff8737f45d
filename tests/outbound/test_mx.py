"""Which servers a domain's mail goes to: order, bounds, and everything that DNS can say wrongly."""

from collections.abc import Mapping
from typing import Any

from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailx.core.resolver import MX, Answer, DNSFailure
from mailx.mail.reply import Refused
from mailx.outbound.mx import ADDRESSES_LIMIT, HOSTS_LIMIT, TARGETS_LIMIT, Exchangers, Own, exchangers, is_local, reachable
from tests import dns


@define
class Told:
    """Look-ups answered from a table; what is not in it does not exist."""

    table: Mapping[tuple[str, str], Any]
    asked: list[tuple[str, str]] = field(factory=list)

    async def query(self, name: str, kind: str) -> Answer:
        self.asked.append((name, kind))
        found = self.table.get((name, kind), ())
        if isinstance(found, Exception):
            raise found
        exists = any(owner == name for owner, _ in self.table)
        return Answer(name, tuple(found), False, 300, exists)


def a(*hosts: str) -> dict[tuple[str, str], Any]:
    """An address for each host."""
    return {(host, "A"): [f"192.0.2.{number + 1}"] for number, host in enumerate(hosts)}


class Order(SynchronousTestCase):
    def found(self, table: Mapping[tuple[str, str], Any], domain: str = "example.org", **options: Any) -> Exchangers:
        own = options.pop("own", Own("mx.here.test", []))
        return self.successResultOf(_deferred(exchangers(domain, Told(table), own, 25, **options)))

    def refusal(self, table: Mapping[tuple[str, str], Any], domain: str = "example.org", **options: Any) -> str:
        own = options.pop("own", Own("mx.here.test", []))
        refused = self.failureResultOf(_deferred(exchangers(domain, Told(table), own, 25, **options)), Refused).value
        return f"{refused.reply.code} {refused.reply.enhanced}"

    def names(self, *arguments: Any, **options: Any) -> list[str]:
        return [host.name for host in self.found(*arguments, **options).hosts]

    def test_preference(self) -> None:
        mx = {("example.org", "MX"): [MX(20, "b.test"), MX(10, "a.test"), MX(30, "c.test")]}
        self.assertEqual(self.names({**mx, **a("a.test", "b.test", "c.test")}), ["a.test", "b.test", "c.test"])

    def test_ties_are_mixed(self) -> None:
        mx = {("example.org", "MX"): [MX(10, "a.test"), MX(10, "b.test"), MX(20, "c.test")]}
        table = {**mx, **a("a.test", "b.test", "c.test")}
        self.assertEqual(self.names(table, mix=lambda hosts: None), ["a.test", "b.test", "c.test"])
        self.assertEqual(self.names(table, mix=lambda hosts: hosts.reverse()), ["b.test", "a.test", "c.test"])
        first = {self.names(table)[0] for _ in range(200)}
        self.assertEqual(first, {"a.test", "b.test"})

    def test_implicit(self) -> None:
        found = self.found(a("example.org"))
        self.assertEqual([(host.name, host.preference, host.addresses) for host in found.hosts], [("example.org", 0, ("192.0.2.1",))])

    def test_both_families(self) -> None:
        table = {
            ("example.org", "MX"): [MX(10, "a.test")],
            ("a.test", "A"): ["192.0.2.1", "192.0.2.2"],
            ("a.test", "AAAA"): ["2001:db8::1", "2001:db8::2"],
        }
        addresses = self.found(table).hosts[0].addresses
        self.assertEqual(set(addresses), {"192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"})
        self.assertEqual([":" in each for each in addresses], [True, False, True, False])

    def test_one_family_fails(self) -> None:
        mx = {("example.org", "MX"): [MX(10, "a.test")]}
        self.assertEqual(self.found({**mx, ("a.test", "AAAA"): DNSFailure(), **a("a.test")}).hosts[0].addresses, ("192.0.2.1",))
        self.assertEqual(self.refusal({**mx, ("a.test", "AAAA"): DNSFailure(), ("a.test", "A"): ()}), "451 4.4.3")

    def test_no_mail(self) -> None:
        self.assertEqual(self.refusal({}), "550 5.1.2", "no such domain")
        self.assertEqual(self.refusal({("example.org", "TXT"): [b""]}), "550 5.1.2", "neither MX nor address")
        self.assertEqual(self.refusal({("example.org", "MX"): [MX(0, ".")], **a("example.org")}), "556 5.1.10", "null MX")
        self.assertEqual(self.refusal({("example.org", "MX"): [MX(10, "a.test")]}), "550 5.4.4", "its host does not exist")
        self.assertEqual(self.refusal({("example.org", "MX"): DNSFailure()}), "451 4.4.3")
        self.assertEqual(self.refusal({("example.org", "MX"): [MX(10, "a.test")], ("a.test", "A"): DNSFailure()}), "451 4.4.3")

    def test_no_verdict_while_a_look_up_fails(self) -> None:
        """The host that could not be looked up may be the one that takes the mail."""
        mx = {("example.org", "MX"): [MX(10, "a.test"), MX(20, "b.test")], ("a.test", "A"): DNSFailure()}
        self.assertEqual(self.refusal({**mx, ("b.test", "A"): ["127.0.0.1"]}), "451 4.4.3", "no usable address")
        own = Own("other.test", [("192.0.2.1", 25)])
        self.assertEqual(self.refusal({**mx, **a("b.test")}, own=own), "451 4.4.3", "we are the second")

    def test_null_mx_among_others_is_no_host(self) -> None:
        table = {("example.org", "MX"): [MX(0, "."), MX(10, "a.test")], **a("a.test")}
        self.assertEqual(self.names(table), ["a.test"])

    def test_bad_names(self) -> None:
        bad = ["192.0.2.9", "-a.test", "a..test", "a b.test", "a.test\\000", "*.test", "1", "x" * 64 + ".test", "a." * 130 + "test"]
        table = {("example.org", "MX"): [MX(1, host) for host in bad], **a(*bad)}
        self.assertEqual(self.refusal(table), "550 5.4.4")
        table[("example.org", "MX")].append(MX(9, "under_score.test"))
        table[("under_score.test", "A")] = ["192.0.2.77"]
        self.assertEqual(self.names(table), ["under_score.test"])

    def test_host_named_twice(self) -> None:
        table = {("example.org", "MX"): [MX(30, "a.test"), MX(20, "b.test"), MX(10, "a.test")], **a("a.test", "b.test")}
        self.assertEqual(self.names(table), ["a.test", "b.test"])

    def test_bounded(self) -> None:
        hosts = [f"mx{number}.test" for number in range(10000)]
        told = Told(
            {
                ("example.org", "MX"): [MX(number, host) for number, host in enumerate(hosts)],
                **{(host, "A"): [f"192.0.2.{number}" for number in range(200)] for host in hosts[:50]},
            }
        )
        found = self.successResultOf(_deferred(exchangers("example.org", told, Own("here.test", []), 25)))
        self.assertEqual(len(told.asked), 1 + 2 * HOSTS_LIMIT)
        self.assertEqual([host.name for host in found.hosts], hosts[: TARGETS_LIMIT // ADDRESSES_LIMIT])
        self.assertEqual({len(host.addresses) for host in found.hosts}, {ADDRESSES_LIMIT})

    def test_international(self) -> None:
        self.assertEqual(self.found(a("xn--bcher-kva.example"), "bücher.example").domain, "xn--bcher-kva.example")
        self.assertEqual(self.refusal({}, "x" * 64 + ".example"), "550 5.1.2")

    def test_literals(self) -> None:
        self.assertEqual(self.found({}, "[192.0.2.1]").hosts[0].addresses, ("192.0.2.1",))
        self.assertEqual(self.found({}, "[ipv6:2001:db8::1]").hosts[0].addresses, ("2001:db8::1",))
        for bad in ("[192.0.2.1", "[192.0.2.300]", "[example.org]", "[ipv6:192.0.2.1]", "[2001:db8::1]", "[]", "[1]"):
            self.assertEqual(self.refusal({}, bad), "550 5.1.2", bad)
        self.assertEqual(self.refusal({}, "[127.0.0.1]"), "550 5.4.4")
        self.assertEqual(self.found({}, "[127.0.0.1]", loopback=True).hosts[0].addresses, ("127.0.0.1",))
        self.assertEqual(self.refusal({}, "[127.0.0.1]", loopback=True, own=Own("x", [("127.0.0.1", 25)])), "550 5.4.6")


class Loops(SynchronousTestCase):
    """RFC 5321 5.1: what is not better than ourselves would send the mail back."""

    found = Order.found
    refusal = Order.refusal
    names = Order.names
    table = {
        ("example.org", "MX"): [MX(10, "a.test"), MX(20, "mx.here.test"), MX(20, "b.test"), MX(30, "c.test")],
        **a("a.test", "b.test", "c.test", "mx.here.test"),
    }

    def test_our_name(self) -> None:
        self.assertEqual(self.names(self.table), ["a.test"])
        best = {**self.table, ("example.org", "MX"): [MX(10, "mx.here.test"), MX(20, "a.test")]}
        self.assertEqual(self.refusal(best), "550 5.4.6")
        self.assertEqual(self.refusal(a("mx.here.test"), "mx.here.test"), "550 5.4.6")

    def test_our_name_behind_many(self) -> None:
        many = [MX(5, f"m{number}.test") for number in range(100)]
        table = {("example.org", "MX"): [*many, MX(5, "mx.here.test")], **a(*[record.host for record in many])}
        self.assertEqual(self.refusal(table), "550 5.4.6")

    def test_our_address(self) -> None:
        own = Own("other.test", [("192.0.2.2", 25), ("192.0.2.3", 587)])
        self.assertEqual(self.names(self.table, own=own), ["a.test"])
        self.assertEqual(self.names(self.table, own=Own("other.test", [("192.0.2.3", 587)]))[-1], "c.test", "another port")

    def test_any_address_of_ours(self) -> None:
        table = {("example.org", "MX"): [MX(10, "a.test")], ("a.test", "A"): ["127.0.0.1"]}
        own = Own("other.test", [("0.0.0.0", 25)])
        self.assertEqual(self.refusal(table, own=own, loopback=True), "550 5.4.6")
        self.assertEqual(self.names({**table, ("a.test", "A"): ["192.0.2.1"]}, own=own), ["a.test"])

    def test_local(self) -> None:
        self.assertTrue(is_local("127.0.0.1"))
        self.assertFalse(is_local("192.0.2.1"))
        self.assertFalse(is_local("2001:db8::1"))


class Reachable(SynchronousTestCase):
    def test_what_is_never_tried(self) -> None:
        for address in "0.0.0.0 0.1.2.3 224.0.0.1 239.1.1.1 255.255.255.255 240.0.0.1 169.254.1.1 :: ff02::1 fe80::1 ::2 ::7f00:1".split():
            self.assertFalse(reachable(address, False), address)
            self.assertFalse(reachable(address, True), address)
        for address in "127.0.0.1 127.3.2.1 ::1 ::ffff:127.0.0.1".split():
            self.assertFalse(reachable(address, False), address)
            self.assertTrue(reachable(address, True), address)
        for address in "192.0.2.1 10.0.0.1 2001:db8::1 fd00::1 64:ff9b::c000:201 ::ffff:192.0.2.1".split():
            self.assertTrue(reachable(address, False), address)
        self.assertFalse(reachable("::ffff:0.0.0.0", True))

    def test_hosts_without_a_usable_address_are_left_out(self) -> None:
        table = {
            ("example.org", "MX"): [MX(10, "a.test"), MX(20, "b.test")],
            ("a.test", "A"): ["127.0.0.1", "0.0.0.0"],
            ("b.test", "A"): ["192.0.2.1", "224.0.0.1"],
        }
        found = Order.found(self, table)  # type: ignore[arg-type]
        self.assertEqual([(host.name, host.addresses) for host in found.hosts], [("b.test", ("192.0.2.1",))])
        del table[("b.test", "A")]
        self.assertEqual(Order.refusal(self, table), "550 5.4.4")  # type: ignore[arg-type]


class OverDNS(TestCase):
    """With a real resolver: what CNAMEs and long answers make of it."""

    async def test_aliases(self) -> None:
        resolver = await dns.resolver(
            self,
            {
                ("example.org", "CNAME"): ["real.example.org."],
                ("real.example.org", "MX"): ["10 mail.example.org."],
                ("mail.example.org", "CNAME"): ["host.example.net."],
                ("host.example.net", "A"): ["192.0.2.1"],
                ("loop.example.org", "CNAME"): ["pool.example.org."],
                ("pool.example.org", "CNAME"): ["loop.example.org."],
            },
        )
        found = await exchangers("example.org", resolver, Own("here.test", []), 25)
        self.assertEqual([(host.name, host.addresses) for host in found.hosts], [("mail.example.org", ("192.0.2.1",))])
        with self.assertRaises(Refused) as raised:
            await exchangers("loop.example.org", resolver, Own("here.test", []), 25)
        self.assertEqual(raised.exception.reply.code, 451)

    async def test_thousands_of_exchangers(self) -> None:
        resolver = await dns.resolver(
            self,
            {
                ("example.org", "MX"): [f"{number} m{number}.example.org." for number in range(3000)],
                ("m0.example.org", "A"): ["192.0.2.1"],
            },
        )
        found = await exchangers("example.org", resolver, Own("here.test", []), 25)
        self.assertEqual([host.name for host in found.hosts], ["m0.example.org"])


def _deferred(coroutine: Any) -> Any:
    from twisted.internet.defer import Deferred

    return Deferred.fromCoroutine(coroutine)
