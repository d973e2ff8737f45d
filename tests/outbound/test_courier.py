"""The courier against real servers and real look-ups on loopback."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import define
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import TestCase

from mailx.config import Outbound
from mailx.core.courier import DANE, ENCRYPTED, PLAIN, VERIFIED, Attempt
from mailx.core.remembered import Remembered
from mailx.core.resolver import Resolver
from mailx.mail.address import Address
from mailx.mail.envelope import Demands, Envelope, Origin, new_id
from mailx.mail.message import Message
from mailx.outbound import downgrade
from mailx.outbound.courier import HEADER_LIMIT, SMTPCourier
from mailx.outbound.mx import Own
from mailx.outbound.plan import TTL_LEAST, Plans
from mailx.outbound.pool import Pool
from mailx.outbound.sts import NotFetched
from mailx.outbound.tls import Contexts
from tests import dns
from tests.outbound.servers import Issued, MailServer, issue, listen, root
from tests.scenery import world

SENDER = Address.parse("ada@example.test")
RECIPIENT = Address.parse("bob@example.org")
CONTENT = b"Return-Path: <ada@example.test>\r\nSubject: Hello\r\n\r\nIt works.\r\n"


class Outgoing:
    """Renders nothing anew."""

    async def render(self, envelope: Envelope, eight_bit: bool) -> bytes:
        content = envelope.message.content
        content = content if isinstance(content, bytes) else (content.content or b"")  # type: ignore[attr-defined]
        return content.partition(b"\r\n")[2]


class Spool:
    """Content in a file, which does not open if it is None."""

    def __init__(self, content: bytes | None) -> None:
        self.content = content
        self.size = len(content or b"")
        self.lengths: list[int | None] = []

    def read(self, length: int | None = None) -> bytes:
        self.lengths.append(length)
        if self.content is None:
            raise OSError("damaged")
        return self.content[:length]

    def discard(self) -> None:
        raise AssertionError


class Policies:
    """Policies as HTTPS would give them."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.fetched: list[str] = []

    async def fetch(self, domain: str) -> str:
        self.fetched.append(domain)
        if domain not in self.texts:
            raise NotFetched("sts-policy-fetch-error", "status 404")
        return self.texts[domain]


@define
class Scene:
    """A courier with everything around it. ``clock`` counts seconds since 1970."""

    test_case: TestCase
    authority: dns.Authority
    resolver: Resolver
    remembered: Remembered
    policies: Policies
    time: list[float]
    port: int
    courier: Any = None
    pool: Any = None

    def make(self, **settings: Any) -> None:
        """A courier anew, as after a restart."""
        outbound = Outbound(**{"port": self.port, "loopback": True, "connect_timeout": 2, **settings})
        self.pool = Pool(outbound, "mx.here.test", reactor, believing(self.test_case))
        self.courier = SMTPCourier(
            outbound,
            "mx.here.test",
            self.pool,
            Outgoing(),
            self.resolver,
            self.remembered,
            [("127.0.0.9", self.port)],
            reactor,
            fetcher=self.policies,  # type: ignore[arg-type]
            now=lambda: self.time[0],
        )
        self.test_case.addCleanup(lambda courier, pool: Deferred.fromCoroutine(closed(courier, pool)), self.courier, self.pool)

    async def send(
        self, to: Address = RECIPIENT, destination: str = "", content: bytes | Spool = CONTENT, require_tls: bool = False
    ) -> Attempt:
        envelope = Envelope(
            new_id(),
            SENDER,
            (to,),
            Message(content, len(content) if isinstance(content, bytes) else content.size),
            Origin("ESMTPSA", "c"),
            demands=Demands(require_tls=require_tls),
        )
        found: Mapping[Address, Attempt] = await self.courier.deliver(envelope, [to], destination or to.domain)
        await self.remembered.put("test", "", None, 0)  # behind what the courier is writing down
        return found[to]

    async def fresh(self, to: Address = RECIPIENT, **options: Any) -> Attempt:
        """Send over a new connection and with nothing remembered in memory but what outlives a restart."""
        self.resolver.clear()
        self.make(**options)
        return await self.send(to)


def believing(test_case: TestCase) -> Contexts:
    path = Path(test_case.mktemp())
    path.write_bytes(root().pem)
    return Contexts(str(path))


async def closed(courier: SMTPCourier, pool: Pool) -> None:
    await courier.stop()
    pool.abort()
    await deferLater(reactor, 0)  # type: ignore[arg-type]


ZONE = {("example.org", "MX"): ["10 mx.example.org."], ("mx.example.org", "A"): ["127.0.0.1"]}
POLICY = "version: STSv1\r\nmode: {mode}\r\nmx: {mx}\r\nmax_age: 86400\r\n"
ANNOUNCED = {("_mta-sts.example.org", "TXT"): ["v=STSv1; id=1;"]}
REPORTED = {("_smtp._tls.example.org", "TXT"): ["v=TLSRPTv1; rua=mailto:tls@example.org"]}
DAY = 86400.0


async def scene(test_case: TestCase, port: int, zone: dns.Zone, secure: Any = (), **settings: Any) -> Scene:
    """A courier that knows ``zone``; a resolver that validates if any name is ``secure``."""
    here = await world(test_case)
    authority = await dns.serve(test_case, zone, secure)
    resolver = dns.ask(test_case, authority, validating=bool(secure), timeout=1)
    time = [1_800_000_000.0]
    remembered = Remembered(here.store, here.cipher, lambda: time[0])
    made = Scene(test_case, authority, resolver, remembered, Policies(), time, port)
    made.make(**settings)
    return made


class Delivering(TestCase):
    """Servers in turn."""

    async def test_delivered(self) -> None:
        server = listen(self, MailServer())
        here = await scene(self, server.port, ZONE)
        attempt = await here.send()
        self.assertEqual(attempt.reply.code, 250)
        self.assertEqual(attempt.host, f"mx.example.org [127.0.0.1]:{server.port}")
        self.assertEqual(attempt.security, PLAIN)
        self.assertEqual(server.messages, [("ada@example.test", ["bob@example.org"], b"Subject: Hello\r\n\r\nIt works.\r\n")])

    async def test_the_connection_is_shared(self) -> None:
        server = listen(self, MailServer())
        zone = {**ZONE, ("example.net", "MX"): ["5 mx.example.org."]}
        here = await scene(self, server.port, zone)
        for domain in ("example.org", "example.net", "example.org"):
            self.assertEqual((await here.send(Address("bob", domain))).reply.code, 250)
        self.assertEqual((server.sessions, len(server.messages)), (1, 3))

    async def test_the_next_server(self) -> None:
        first = listen(self, MailServer(greeting="421 busy"))
        second = listen(self, MailServer(), "127.0.0.2", first.port)
        zone = {
            ("example.org", "MX"): ["1 dead.example.org.", "2 busy.example.org.", "3 mx.example.org."],
            ("dead.example.org", "A"): ["127.0.0.66"],
            ("busy.example.org", "A"): ["127.0.0.1"],
            ("mx.example.org", "A"): ["127.0.0.2"],
        }
        here = await scene(self, first.port, zone, idle_seconds=0)
        for _ in range(3):
            self.assertEqual((await here.send()).host, f"mx.example.org [127.0.0.2]:{first.port}")
        self.assertEqual((first.sessions, second.sessions), (1, 3), "what could not be reached is tried last for a while")

    async def test_nobody(self) -> None:
        server = listen(self, MailServer(greeting="554 go away"))
        zone = {**ZONE, ("example.net", "MX"): ["1 mx.example.org.", "2 dead.example.org."], ("dead.example.org", "A"): ["127.0.0.66"]}
        here = await scene(self, server.port, zone)
        refused = await here.send()
        self.assertEqual((refused.reply.code, refused.unreachable), (554, False))
        waiting = await here.send(Address("bob", "example.net"))
        self.assertTrue(waiting.reply.temporary, "one of them may take it later")
        self.assertTrue(waiting.unreachable)

    async def test_what_a_server_says_of_a_recipient_is_final(self) -> None:
        first = listen(self, MailServer(rcpt="450 4.2.1 grey"))
        second = listen(self, MailServer(), "127.0.0.2", first.port)
        zone = {
            ("example.org", "MX"): ["1 mx.example.org.", "2 mx2.example.org."],
            ("mx.example.org", "A"): ["127.0.0.1"],
            ("mx2.example.org", "A"): ["127.0.0.2"],
        }
        here = await scene(self, first.port, zone)
        attempt = await here.send()
        self.assertEqual((attempt.reply.code, attempt.unreachable, second.sessions), (450, False, 0))

    async def test_a_session_that_breaks_off(self) -> None:
        """Who says 421 in mid-session has not taken the message, and somebody else may."""
        first = listen(self, MailServer(rcpt="421 4.3.2 busy"))
        second = listen(self, MailServer(), "127.0.0.2", first.port)
        zone = {
            ("example.org", "MX"): ["1 mx.example.org.", "2 mx2.example.org."],
            ("mx.example.org", "A"): ["127.0.0.1"],
            ("mx2.example.org", "A"): ["127.0.0.2"],
        }
        here = await scene(self, first.port, zone, idle_seconds=0)
        for _ in range(2):
            self.assertEqual((await here.send()).host, f"mx2.example.org [127.0.0.2]:{first.port}")
        self.assertEqual((first.sessions, second.sessions), (1, 2), "who broke off is tried last for a while")
        second.rcpt = "421 4.3.2 busy too"
        attempt = await here.send()
        self.assertEqual((attempt.reply.code, attempt.unreachable), (421, False))

    async def test_no_way(self) -> None:
        server = listen(self, MailServer())
        zone = {
            ("null.test", "MX"): ["0 ."],
            ("away.test", "MX"): dns.SERVFAIL,
            ("here.test", "MX"): ["5 mx.here.test."],
            ("mx.here.test", "A"): ["127.0.0.1"],
            ("there.test", "MX"): ["5 other.test."],
            ("other.test", "A"): ["127.0.0.9"],
        }
        here = await scene(self, server.port, zone)
        expected = {"none.test": 550, "null.test": 556, "away.test": 451, "here.test": 550, "there.test": 550, "[127.0.0.9]": 550}
        for domain, code in expected.items():
            attempt = await here.send(Address("bob", domain))
            self.assertEqual((attempt.reply.code, attempt.unreachable, attempt.host), (code, code == 451, ""), domain)
        self.assertEqual(server.sessions, 0)

    async def test_loopback_is_refused(self) -> None:
        server = listen(self, MailServer())
        here = await scene(self, server.port, ZONE, loopback=False)
        self.assertEqual(str((await here.send()).reply)[:9], "550 5.4.4")
        self.assertEqual(server.sessions, 0)

    async def test_literal(self) -> None:
        server = listen(self, MailServer(certificate=issue("whoever.test")))
        here = await scene(self, server.port, {})
        attempt = await here.send(Address("bob", "[127.0.0.1]"))
        self.assertEqual((attempt.reply.code, attempt.security), (250, ENCRYPTED))
        self.assertEqual(here.authority.asked, [], "nothing is looked up")

    async def test_ipv6(self) -> None:
        server = listen(self, MailServer(certificate=issue("mx.example.org", issuer=root())), "::1")
        zone = {**ZONE, ("mx.example.org", "A"): ["127.0.0.66"], ("mx.example.org", "AAAA"): ["::1"], **ANNOUNCED}
        here = await scene(self, server.port, zone)
        here.policies.texts["example.org"] = POLICY.format(mode="enforce", mx="mx.example.org")
        attempt = await here.send()
        self.assertEqual((attempt.host, attempt.security), (f"mx.example.org [::1]:{server.port}", VERIFIED))
        attempt = await here.send(Address("bob", "[ipv6:::1]"))
        self.assertEqual((attempt.reply.code, attempt.host), (250, f"::1 [::1]:{server.port}"))

    async def test_a_server_that_closes_after_each_message(self) -> None:
        server = listen(self, MailServer(closes=True))
        here = await scene(self, server.port, ZONE)
        for _ in range(3):
            self.assertEqual((await here.send()).reply.code, 250)
        self.assertEqual((server.sessions, len(server.messages)), (3, 3))

    async def test_records_made_to_harm(self) -> None:
        server = listen(self, MailServer())
        zone = {
            ("example.org", "MX"): [f"{number} m{number}.example.org." for number in range(2000)],
            ("m3.example.org", "A"): ["127.0.0.1"],
            ("m1.example.org", "A"): dns.GARBAGE,
            ("m2.example.org", "A"): dns.SERVFAIL,
            ("m4.example.org", "A"): [f"127.1.{number // 250}.{number % 250}" for number in range(1000)],
            ("_mta-sts.example.org", "TXT"): [b"v=STSv1; id=" + b"1" * 60000],
            ("_smtp._tls.example.org", "CNAME"): ["again.example.org."],
            ("again.example.org", "CNAME"): ["_smtp._tls.example.org."],
        }
        here = await scene(self, server.port, zone)
        self.assertEqual((await here.send()).host, f"m3.example.org [127.0.0.1]:{server.port}")
        self.assertLess(len(here.authority.asked), 40)


class Encrypting(TestCase):
    """outbound.tls, and the memory of who speaks TLS."""

    async def test_levels(self) -> None:
        server = listen(self, MailServer(certificate=issue("whoever.test")))
        here = await scene(self, server.port, ZONE)
        self.assertEqual((await here.send()).security, ENCRYPTED)
        self.assertEqual((await here.fresh(tls="required")).security, ENCRYPTED)
        self.assertEqual((await here.fresh(tls="off")).security, PLAIN)
        server.certificate = None
        self.assertEqual((await here.fresh(tls="off")).security, PLAIN)
        refused = await here.fresh(tls="required")
        self.assertTrue(refused.reply.temporary)
        self.assertEqual(len(server.messages), 4)

    async def test_downgrade(self) -> None:
        server = listen(self, MailServer(certificate=issue("whoever.test")))
        here = await scene(self, server.port, ZONE)
        self.assertEqual((await here.send()).security, ENCRYPTED)
        certificate, server.certificate = server.certificate, None
        self.assertEqual((await here.fresh()).security, PLAIN, "once is no habit")
        server.certificate = certificate
        await here.fresh()
        here.time[0] += downgrade.STEADY
        await here.fresh()
        server.certificate = None
        got = len(server.messages)
        self.assertTrue((await here.fresh()).reply.temporary)
        here.time[0] += downgrade.PATIENCE / 2
        self.assertTrue((await here.fresh()).unreachable)
        self.assertEqual(len(server.messages), got)
        server.certificate = certificate
        self.assertEqual((await here.fresh()).security, ENCRYPTED, "it was a passing trouble")
        server.certificate = None
        self.assertTrue((await here.fresh()).reply.temporary)
        here.time[0] += downgrade.PATIENCE
        self.assertTrue((await here.fresh()).reply.temporary, "this failure ends the patience")
        attempt = await here.fresh()
        self.assertEqual((attempt.reply.code, attempt.security), (250, PLAIN))

    async def test_downgrade_of_who_tests_a_policy(self) -> None:
        """It ends as all others do: a policy that is being tested keeps no mail back."""
        server = listen(self, MailServer(certificate=issue("whoever.test")))
        here = await scene(self, server.port, {**ZONE, **ANNOUNCED})
        here.policies.texts["example.org"] = POLICY.format(mode="testing", mx="mx.example.org").replace("86400", "8640000")
        await here.send()
        here.time[0] += downgrade.STEADY
        self.assertEqual((await here.fresh()).security, ENCRYPTED)
        server.certificate = None
        self.assertTrue((await here.fresh()).reply.temporary)
        here.time[0] += downgrade.PATIENCE
        await here.fresh()
        attempt = await here.fresh()
        self.assertEqual((attempt.reply.code, attempt.security), (250, PLAIN))

    async def test_a_destination_that_mixes_is_not_held_to_tls(self) -> None:
        server = listen(self, MailServer(certificate=issue("whoever.test")))
        here = await scene(self, server.port, ZONE)
        certificate = server.certificate
        for server.certificate in (certificate, None, certificate):
            await here.fresh()
            here.time[0] += downgrade.STEADY / 2
        server.certificate = None
        self.assertEqual((await here.fresh()).security, PLAIN)

    async def test_tls_not_required(self) -> None:
        server = listen(self, MailServer(certificate=issue("whoever.test")))
        here = await scene(self, server.port, ZONE)
        await here.send()
        here.time[0] += downgrade.STEADY
        await here.fresh()
        server.certificate = None
        here.make()
        self.assertEqual((await here.send(content=b"Return-Path: <>\r\nTLS-Required: No\r\n\r\n")).security, PLAIN)
        self.assertTrue((await here.send(content=b"Return-Path: <>\r\nX: y\r\n\r\nTLS-Required: No\r\n")).reply.temporary)
        self.assertTrue((await here.fresh()).reply.temporary, "the memory stays")
        here.make()
        spooled = Spool(b"Return-Path: <>\r\ntls-required:no\r\n\r\n")
        self.assertEqual((await here.send(content=spooled)).security, PLAIN)
        self.assertEqual(spooled.lengths, [HEADER_LIMIT])
        here.make()
        self.assertTrue((await here.send(content=Spool(None))).reply.temporary, "what cannot be read waives nothing")

    async def test_one_session_is_no_habit(self) -> None:
        server = listen(self, MailServer(certificate=issue("whoever.test")))
        here = await scene(self, server.port, ZONE)
        await here.send()
        here.time[0] += 7 * DAY
        server.certificate = None
        self.assertEqual((await here.fresh()).security, PLAIN)


class MTASTS(TestCase):
    """Policies of the recipients' domains."""

    def server(self, certificate: Issued | None) -> MailServer:
        return listen(self, MailServer(certificate=certificate))

    async def test_enforce(self) -> None:
        server = self.server(issue("mx.example.org", issuer=root()))
        here = await scene(self, server.port, {**ZONE, **ANNOUNCED, **REPORTED})
        here.policies.texts["example.org"] = POLICY.format(mode="enforce", mx="*.example.org")
        self.assertEqual((await here.send()).security, VERIFIED)
        self.assertEqual(server.names, [b"mx.example.org"])
        for wrong in (issue("mx.example.org"), issue("other.test", issuer=root()), issue("mx.example.org", issuer=root(), days=-1), None):
            server.certificate = wrong
            self.assertTrue((await here.fresh()).reply.temporary)
        self.assertEqual((len(server.messages), here.policies.fetched), (1, ["example.org"]))
        reports = await here.courier.reports.report(_day(here), "Here", "postmaster@here.test")
        policy = reports[0].content["policies"][0]
        self.assertEqual(policy["policy"]["policy-type"], "sts")
        self.assertEqual(policy["failure-details"][0]["result-type"], "starttls-not-supported", "of this courier")

    async def test_hosts_that_the_policy_does_not_name(self) -> None:
        server = self.server(issue("mx.example.org", "evil.test", issuer=root()))
        zone = {
            **ZONE,
            **ANNOUNCED,
            **REPORTED,
            ("example.org", "MX"): ["1 evil.test.", "2 mx.example.org."],
            ("evil.test", "A"): ["127.0.0.1"],
        }
        here = await scene(self, server.port, zone)
        here.policies.texts["example.org"] = POLICY.format(mode="enforce", mx="mx.example.org")
        self.assertEqual((await here.send()).host.partition(" ")[0], "mx.example.org")
        (report,) = await here.courier.reports.report(_day(here), "Here", "postmaster@here.test")
        self.assertEqual(
            report.content["policies"][0]["failure-details"],
            [{"result-type": "validation-failure", "receiving-mx-hostname": "evil.test", "failed-session-count": 1}],
        )
        here.authority.zone["example.org", "MX"] = ["1 evil.test."]
        attempt = await here.fresh()
        self.assertEqual((str(attempt.reply)[:9], attempt.unreachable), ("451 4.7.5", True))

    async def test_testing(self) -> None:
        server = self.server(issue("other.test"))
        here = await scene(self, server.port, {**ZONE, **ANNOUNCED, **REPORTED})
        here.policies.texts["example.org"] = POLICY.format(mode="testing", mx="mx.example.org")
        self.assertEqual((await here.send()).security, ENCRYPTED)
        reports = await here.courier.reports.report(_day(here), "Here", "postmaster@here.test")
        self.assertEqual(reports[0].places, ("mailto:tls@example.org",))
        (policy,) = reports[0].content["policies"]
        self.assertEqual(policy["policy"]["policy-string"][1], "mode: testing")
        self.assertEqual(policy["summary"], {"total-successful-session-count": 0, "total-failure-session-count": 1})
        self.assertIn(policy["failure-details"][0]["result-type"], ("certificate-not-trusted", "certificate-host-mismatch"))
        self.assertEqual(policy["failure-details"][0]["receiving-mx-hostname"], "mx.example.org")

    async def test_what_was_promised_holds(self) -> None:
        server = self.server(issue("mx.example.org", issuer=root()))
        here = await scene(self, server.port, {**ZONE, **ANNOUNCED})
        here.policies.texts["example.org"] = POLICY.format(mode="enforce", mx="mx.example.org")
        await here.send()
        server.certificate = None
        del here.policies.texts["example.org"]
        for gone in (["v=STSv1; id=2;"], [], dns.SERVFAIL):
            here.authority.zone["_mta-sts.example.org", "TXT"] = gone
            self.assertTrue((await here.fresh()).reply.temporary)
        here.time[0] += DAY + 1
        self.assertEqual((await here.fresh()).security, PLAIN, "the policy has ended")

    async def test_not_fetched(self) -> None:
        server = self.server(None)
        here = await scene(self, server.port, {**ZONE, **ANNOUNCED, **REPORTED})
        self.assertEqual((await here.send()).security, PLAIN)
        reports = await here.courier.reports.report(_day(here), "Here", "postmaster@here.test")
        types = {detail["result-type"] for policy in reports[0].content["policies"] for detail in policy["failure-details"]}
        self.assertEqual(types, {"sts-policy-fetch-error", "starttls-not-supported"})

    async def test_off(self) -> None:
        server = self.server(None)
        here = await scene(self, server.port, {**ZONE, **ANNOUNCED}, mta_sts=False)
        here.policies.texts["example.org"] = POLICY.format(mode="enforce", mx="mx.example.org")
        self.assertEqual((await here.send()).security, PLAIN)
        self.assertEqual(here.policies.fetched, [])


class DANETests(TestCase):
    """Keys that DNSSEC vouches for."""

    async def there(self, server: MailServer, tlsa: Any, secure: Any = True, **zone: Any) -> Scene:
        listen(self, server)
        return await scene(self, server.port, {**ZONE, (f"_{server.port}._tcp.mx.example.org", "TLSA"): tlsa}, secure)

    async def test_vouched(self) -> None:
        certificate = issue("whatever.test")
        server = MailServer(certificate=certificate)
        here = await self.there(server, [certificate.tlsa])
        self.assertEqual((await here.send()).security, DANE)
        self.assertEqual(server.names, [b"mx.example.org"])
        server.certificate = issue("mx.example.org", issuer=root())
        self.assertTrue((await here.fresh()).reply.temporary, "another key")
        server.certificate = None
        self.assertTrue((await here.fresh()).reply.temporary, "no TLS")
        self.assertEqual((await here.fresh(dane=False)).security, PLAIN)

    async def test_insecure_answers_vouch_for_nothing(self) -> None:
        server = MailServer(certificate=issue("whatever.test"))
        here = await self.there(server, ["3 1 1 " + "00" * 32])
        tlsa = f"_{server.port}._tcp.mx.example.org"
        for secure in ({"mx.example.org", tlsa}, {"example.org", tlsa}, {"example.org", "mx.example.org"}):
            here.authority.secure = secure
            self.assertEqual((await here.fresh()).security, ENCRYPTED, secure)
        here.authority.secure = True
        self.assertTrue((await here.fresh()).reply.temporary)

    async def test_the_look_up_fails(self) -> None:
        server = MailServer(certificate=issue("whatever.test"))
        here = await self.there(server, dns.SERVFAIL)
        clock = Clock()
        here.courier._plans = Plans(
            Outbound(port=server.port, loopback=True),
            Own("mx.here.test", []),
            here.resolver,
            None,
            downgrade.Downgrades(here.remembered, clock.seconds),
            here.courier.reports,
            True,
            clock.seconds,
        )
        attempt = await here.send()
        self.assertEqual((str(attempt.reply)[:9], attempt.unreachable, server.sessions), ("451 4.7.5", True, 0))
        here.authority.zone[f"_{server.port}._tcp.mx.example.org", "TLSA"] = [server.certificate.tlsa if server.certificate else ""]
        here.resolver.clear()
        clock.advance(TTL_LEAST)
        self.assertEqual((await here.send()).security, DANE, "it is looked up again soon")

    async def test_unusable_records_ask_for_tls(self) -> None:
        server = MailServer(certificate=issue("whatever.test"))
        here = await self.there(server, ["1 1 1 " + "00" * 32, "3 1 1 00", "3 1 9 00"])
        self.assertEqual((await here.send()).security, ENCRYPTED)
        server.certificate = None
        self.assertTrue((await here.fresh()).reply.temporary)

    async def test_dane_comes_before_mta_sts(self) -> None:
        certificate = issue("mx.example.org")
        server = MailServer(certificate=certificate)
        here = await self.there(server, [certificate.tlsa])
        here.authority.zone |= ANNOUNCED
        here.policies.texts["example.org"] = POLICY.format(mode="enforce", mx="elsewhere.test")
        self.assertEqual((await here.send()).security, DANE)


class RequireTLS(TestCase):
    """RFC 8689: only over a protected way."""

    async def test_needs_a_trusted_name(self) -> None:
        server = listen(self, MailServer(certificate=issue("mx.example.org", issuer=root()), extensions=["REQUIRETLS"]))
        here = await scene(self, server.port, ZONE)
        self.assertEqual(str((await here.send(require_tls=True)).reply)[:10], "550 5.7.10")
        here.authority.zone |= ANNOUNCED
        here.policies.texts["example.org"] = POLICY.format(mode="enforce", mx="mx.example.org")
        here.resolver.clear()
        here.make()
        self.assertEqual((await here.send(require_tls=True)).security, VERIFIED)
        server.extensions = []
        here.make()
        self.assertEqual(str((await here.send(require_tls=True)).reply)[:10], "550 5.7.30")
        waived = b"TLS-Required: No\r\n\r\n"
        server.certificate = None
        here.make()
        self.assertTrue((await here.send(require_tls=True, content=waived)).reply.temporary, "the header does not count then")

    async def test_what_it_asks_for_is_its_own_affair(self) -> None:
        """A server that cannot be trusted with it still has all other mail: the destination is not called unreachable."""
        server = listen(self, MailServer(certificate=issue("mx.example.org"), extensions=["REQUIRETLS"]))
        here = await scene(self, server.port, ZONE, True)
        attempt = await here.send(require_tls=True)
        self.assertEqual((attempt.reply.code, attempt.reply.enhanced, attempt.unreachable), (451, "4.7.5", False))
        here.authority.zone[f"_{server.port}._tcp.mx.example.org", "TLSA"] = dns.SERVFAIL
        here.resolver.clear()
        here.make()
        self.assertFalse((await here.send(require_tls=True)).unreachable)
        self.assertTrue((await here.send()).unreachable)

    async def test_dnssec_vouches_for_the_name(self) -> None:
        server = listen(self, MailServer(certificate=issue("mx.example.org", issuer=root()), extensions=["REQUIRETLS"]))
        here = await scene(self, server.port, ZONE, True)
        self.assertEqual((await here.send(require_tls=True)).security, VERIFIED)
        here.make(tls="off")
        self.assertEqual(str((await here.send(require_tls=True)).reply)[:10], "550 5.7.10")


def _day(here: Scene) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(here.time[0], UTC).date().isoformat()
