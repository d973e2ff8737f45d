"""MTA-STS: policies read, remembered, refreshed, and fetched over real HTTPS on loopback."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.server import NOT_DONE_YET

from mailx.core.remembered import Remembered
from mailx.outbound import sts_fetch
from mailx.outbound.sts import AGE_MOST, ENFORCE, NONE, NotFetched, Policies, Policy, PolicyError, Standing, identifier, parse
from mailx.outbound.sts_fetch import OCTETS_LIMIT, Fetcher
from tests import dns
from tests.outbound.servers import Issued, issue, root
from tests.scenery import world
from tests.sites import site, trust

reactor: Any = _reactor
GOOD = "version: STSv1\r\nmode: enforce\r\nmx: mail.example.org\r\nmx: *.example.net\r\nmax_age: 604800\r\n"


class Reading(SynchronousTestCase):
    """RFC 8461 3.1, 3.2."""

    def test_policy(self) -> None:
        policy = parse(GOOD)
        self.assertEqual(policy, Policy(ENFORCE, ("mail.example.org", "*.example.net"), 604800))
        self.assertEqual(parse("\r\n".join(policy.lines())), policy)

    def test_lenient_where_the_standard_is(self) -> None:
        text = "mode:testing \nfuture: x\nmode: enforce\nversion:\tSTSv1\nmx: A.Example.ORG.\nmx: a.example.org\nmax_age: 9999999999"
        self.assertEqual(parse(text), Policy("testing", ("a.example.org",), AGE_MOST))
        self.assertEqual(parse("version: STSv1\nmode: none\nmax_age: 0\n"), Policy(NONE, (), 0))

    def test_wrong(self) -> None:
        for text in (
            "",
            "<html>",
            GOOD.replace("STSv1", "STSv2"),
            GOOD.replace("version: STSv1\r\n", ""),
            GOOD.replace("enforce", "Enforce"),
            GOOD.replace("604800", "-1"),
            GOOD.replace("604800", "12345678901"),
            GOOD.replace("604800", ""),
            GOOD.replace("mail.example.org", "*.*.example.org"),
            GOOD.replace("mail.example.org", "192.0.2.1:25"),
            GOOD.replace("mail.example.org", "mail..org"),
            GOOD.replace("mx: ", "no mx: "),
            GOOD + "no field",
            GOOD + "x: a\0b",
            GOOD + "".join(f"mx: m{number}.test\n" for number in range(200)),
        ):
            with self.assertRaises(PolicyError, msg=text):
                parse(text)

    @given(st.text(max_size=300) | st.text("version: STSv1modenforcx_ag0\r\n*.", max_size=300))
    def test_any_text(self, text: str) -> None:
        try:
            policy = parse(text)
        except PolicyError:
            return
        self.assertEqual(parse("\n".join(policy.lines())), policy)

    def test_patterns(self) -> None:
        policy = parse(GOOD)
        for host, matches in {
            "mail.example.org": True,
            "example.org": False,
            "x.mail.example.org": False,
            "a.example.net": True,
            "a.b.example.net": False,
            "example.net": False,
            "aexample.net": False,
        }.items():
            self.assertEqual(policy.matches(host), matches, host)

    def test_identifiers(self) -> None:
        for records, expected in (
            ([b"v=STSv1; id=20160831085700Z;"], "20160831085700Z"),
            ([b"v=spf1 -all", b"v=STSv1;id=1"], "1"),
            ([b"v=STSv1; future=x; id=2 ; "], "2"),
            ([b"v=STSv1; id=1;", b"v=STSv1; id=1;"], ""),
            ([b"v=STSv1; id=no-dashes"], ""),
            ([b"v=STSv1; id=" + b"1" * 33], ""),
            ([b"v=STSv1;"], ""),
            ([b"v=STSv10; id=1"], ""),
            ([b" v=STSv1; id=1"], ""),
            ([b"v=STSv1; id=\xff"], ""),
            ([], ""),
        ):
            self.assertEqual(identifier(records), expected, records)


class Texts:
    """Gives the policies of a table, when it is told to."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.fetched: list[str] = []
        self.gate: Deferred[None] | None = None

    async def fetch(self, domain: str) -> str:
        self.fetched.append(domain)
        if self.gate is not None:
            await self.gate
        if domain not in self.texts:
            raise NotFetched("sts-policy-fetch-error", "status 404")
        return self.texts[domain]


class Remembering(TestCase):
    """RFC 8461 3.3."""

    async def there(self, **zone: Any) -> None:
        here = await world(self)
        self.authority = await dns.serve(self, {("_mta-sts.example.org", "TXT"): ["v=STSv1; id=1;"]})
        self.resolver = dns.ask(self, self.authority)
        self.texts = Texts()
        self.texts.texts["example.org"] = GOOD
        self.time = 1_800_000_000.0
        self.remembered = Remembered(here.store, here.cipher, lambda: self.time)
        self.policies = self.anew()

    def anew(self) -> Policies:
        return Policies(self.resolver, self.remembered, self.texts, lambda: self.time)

    def announce(self, *records: str) -> None:
        self.authority.zone["_mta-sts.example.org", "TXT"] = list(records)
        self.resolver.clear()

    async def test_fetched_once(self) -> None:
        await self.there()
        self.texts.gate = Deferred()
        waiting = [Deferred.fromCoroutine(self.policies.standing("example.org")) for _ in range(5)]
        while not self.texts.fetched:
            await self.resolver.query("nothing.test", "A")
            self.resolver.clear()
        self.texts.gate.callback(None)
        self.assertEqual(await gatherResults(waiting), [Standing(parse(GOOD))] * 5)
        self.assertEqual(await self.anew().standing("example.org"), Standing(parse(GOOD)))
        self.assertEqual(self.texts.fetched, ["example.org"])
        self.assertEqual(await self.policies.standing("example.net"), Standing())

    async def test_a_new_policy(self) -> None:
        await self.there()
        await self.policies.standing("example.org")
        self.texts.texts["example.org"] = GOOD.replace("enforce", "none")
        self.assertEqual(await self.policies.standing("example.org"), Standing(parse(GOOD)), "nothing new is announced")
        self.announce("v=STSv1; id=2;")
        standing = await self.policies.standing("example.org")
        self.assertEqual(standing.policy.mode if standing.policy else "", "none")

    async def test_what_is_wrong_replaces_nothing(self) -> None:
        await self.there()
        await self.policies.standing("example.org")
        self.texts.texts["example.org"] = "<html>"
        self.announce("v=STSv1; id=2;")
        self.assertEqual(await self.policies.standing("example.org"), Standing(parse(GOOD), "sts-policy-invalid"))
        del self.texts.texts["example.org"]
        self.announce("v=STSv1; id=3;")
        self.assertEqual(await self.policies.standing("example.org"), Standing(parse(GOOD), "sts-policy-fetch-error"))
        await self.policies.standing("example.org")
        self.assertEqual(len(self.texts.fetched), 3, "it is not tried again at once")
        self.time += 301
        self.texts.texts["example.org"] = GOOD.replace("enforce", "testing")
        standing = await self.policies.standing("example.org")
        self.assertEqual(standing.policy.mode if standing.policy else "", "testing")

    async def test_refreshed_while_it_is_used(self) -> None:
        await self.there()
        await self.policies.standing("example.org")
        self.time += 86401
        await self.policies.standing("example.org")
        self.assertEqual(len(self.texts.fetched), 2)
        await self.remembered.put("test", "", None, 0)  # behind the policy
        self.time += 600000
        self.announce()
        self.assertEqual(await self.policies.standing("example.org"), Standing(parse(GOOD)), "it ends later now")
        self.time += 10000
        self.assertEqual(await self.policies.standing("example.org"), Standing())

    async def test_a_fault_costs_the_policy_not_the_mail(self) -> None:
        await self.there()
        self.texts.gate = Deferred()
        self.texts.gate.errback(KeyError("a fault of the program"))
        self.assertEqual(await self.policies.standing("example.org"), Standing(None, "sts-policy-fetch-error"))
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)


class Fetching(TestCase):
    """Over HTTPS."""

    async def fetcher(self, serve: Any, certificate: Issued | None = None) -> Fetcher:
        port = await site(self, serve, certificate or issue("mta-sts.example.org", issuer=root()))
        resolver = await dns.resolver(self, {("mta-sts.example.org", "A"): ["127.0.0.66", "127.0.0.1"]})
        return Fetcher(resolver, reactor, loopback=True, port=port, trust=trust())

    async def failure(self, serve: Any, certificate: Issued | None = None) -> str:
        fetcher = await self.fetcher(serve, certificate)
        with self.assertRaises(NotFetched) as raised:
            await fetcher.fetch("example.org")
        return raised.exception.failure

    async def test_fetched(self) -> None:
        def serve(request: Any) -> bytes:
            self.assertEqual(
                (request.uri, request.getHeader("host").partition(":")[0]), (b"/.well-known/mta-sts.txt", "mta-sts.example.org")
            )
            request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
            return GOOD.encode()

        self.assertEqual(await (await self.fetcher(serve)).fetch("example.org"), GOOD)

    async def test_not_a_policy(self) -> None:
        def status(request: Any) -> bytes:
            request.setResponseCode(404)
            return b""

        def redirect(request: Any) -> bytes:
            request.redirect(b"/elsewhere")
            return b""

        def html(request: Any) -> bytes:
            return GOOD.encode()

        def latin(request: Any) -> bytes:
            request.setHeader(b"Content-Type", b"text/plain")
            return b"version: \xff"

        self.assertEqual(await self.failure(status), "sts-policy-fetch-error")
        self.assertEqual(await self.failure(redirect), "sts-policy-fetch-error")
        self.assertEqual(await self.failure(html), "sts-policy-invalid")
        self.assertEqual(await self.failure(latin), "sts-policy-invalid")

    async def test_certificates(self) -> None:
        def serve(request: Any) -> bytes:
            request.setHeader(b"Content-Type", b"text/plain")
            return GOOD.encode()

        for certificate in (
            issue("mta-sts.example.org"),
            issue("example.org", issuer=root()),
            issue("mta-sts.example.org", issuer=root(), days=-1),
        ):
            self.assertEqual(await self.failure(serve, certificate), "sts-webpki-invalid")

    async def test_endless(self) -> None:
        def body(request: Any) -> Any:
            request.setHeader(b"Content-Type", b"text/plain")
            request.write(b"x" * (OCTETS_LIMIT + 1))
            return NOT_DONE_YET

        self.assertEqual(await self.failure(body), "sts-policy-invalid")
        headers = Factory.forProtocol(Headers)
        self.assertEqual(await self.failure(headers), "sts-policy-fetch-error")

    async def test_silent(self) -> None:
        self.patch(sts_fetch, "TIMEOUT", 0.2)
        self.assertEqual(await self.failure(lambda request: NOT_DONE_YET), "sts-policy-fetch-error")

    async def test_nobody(self) -> None:
        resolver = await dns.resolver(self, {("mta-sts.a.test", "A"): ["127.0.0.1"], ("mta-sts.b.test", "A"): dns.SERVFAIL})
        for domain in ("a.test", "b.test", "c.test"):
            with self.assertRaises(NotFetched):
                await Fetcher(resolver, reactor, port=1, loopback=domain == "a.test").fetch(domain)

    async def test_names_that_no_certificate_has(self) -> None:
        domains = ("a_b.test", "ab--c.test", "-a.test", "xn--a.test")
        resolver = await dns.resolver(self, {(f"mta-sts.{domain}", "A"): ["127.0.0.1"] for domain in domains})
        for domain in domains:
            with self.assertRaises(NotFetched):
                await Fetcher(resolver, reactor, port=1, loopback=True).fetch(domain)

    async def test_connecting_takes_too_long(self) -> None:
        resolver = await dns.resolver(self, {("mta-sts.example.org", "A"): ["127.0.0.1"]})
        await resolver.addresses("mta-sts.example.org")
        clock: Any = MemoryReactorClock()
        fetching = Deferred.fromCoroutine(Fetcher(resolver, clock, loopback=True).fetch("example.org"))
        self.assertEqual(len(clock.tcpClients), 1)
        clock.advance(sts_fetch.TIMEOUT)
        self.failureResultOf(fetching, NotFetched)


class Headers(Protocol):
    """A server of header fields without end."""

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100000)  # type: ignore[union-attr]
