"""The courier against real servers and real look-ups on loopback."""

from twisted.trial.unittest import TestCase

from mailx.core.courier import ENCRYPTED, PLAIN, VERIFIED
from mailx.mail.address import Address
from tests import dns
from tests.outbound.scene import ANNOUNCED, POLICY, ZONE, scene
from tests.outbound.servers import MailServer, issue, listen, root


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
