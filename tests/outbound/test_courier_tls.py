"""What the courier demands of encryption, against real servers and real look-ups on loopback."""

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from mailx.config import Outbound
from mailx.core.courier import DANE, ENCRYPTED, PLAIN, VERIFIED
from mailx.outbound import downgrade
from mailx.outbound.courier import HEADER_LIMIT
from mailx.outbound.mx import Own
from mailx.outbound.plan import TTL_LEAST, Plans
from tests import dns
from tests.outbound.scene import ANNOUNCED, DAY, POLICY, REPORTED, ZONE, Scene, Spool, day, scene
from tests.outbound.servers import Issued, MailServer, issue, listen, root


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
        reports = await here.courier.reports.report(day(here), "Here", "postmaster@here.test")
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
        (report,) = await here.courier.reports.report(day(here), "Here", "postmaster@here.test")
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
        reports = await here.courier.reports.report(day(here), "Here", "postmaster@here.test")
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
        reports = await here.courier.reports.report(day(here), "Here", "postmaster@here.test")
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
