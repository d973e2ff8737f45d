"""The smart host: fail-over, TLS and login as configured, and what is never its mail's fault."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from mailx.config import Outbound, Relay
from mailx.core import courier
from mailx.core.courier import Attempt, ICourier
from mailx.core.resolver import DNSFailure, system_addresses
from mailx.mail.address import Address
from mailx.mail.reply import Reply
from mailx.outbound import relay
from mailx.outbound.pool import Pool
from mailx.outbound.relay import NO_DNS, NO_HOST, NO_NAME, RelayCourier, endpoint
from mailx.outbound.tls import Contexts
from tests.outbound.authorities import authority, served
from tests.outbound.peers import ADA, BOB, EHLO, Outgoing, Sinks, envelope, listen, pool
from tests.outbound.test_sasl import Guard

STARTTLS = EHLO.replace(b"250-PIPELINING", b"250-STARTTLS\r\n250-PIPELINING")
AUTH = EHLO.replace(b"250-PIPELINING", b"250-AUTH SCRAM-SHA-256 PLAIN\r\n250-PIPELINING")


class Names:
    """A resolver that knows some names."""

    def __init__(self, **known: Sequence[str] | Exception) -> None:
        self.known = {name.replace("_", "."): found for name, found in known.items()}
        self.asked: list[str] = []

    async def addresses(self, name: str) -> list[str]:
        self.asked.append(name)
        found = self.known.get(name, ())
        if isinstance(found, Exception):
            raise found
        return list(found)


class RelayTests(TestCase):
    def courier(self, *hosts: str, resolver: Names | None = None, contexts: Contexts | None = None, **fields: Any) -> RelayCourier:
        from twisted.internet import reactor

        settings = Relay(**{"name": "smart", "hosts": hosts, "security": "plain", "timeout": 5, **fields})
        made = RelayCourier(settings, pool(self, contexts), Outgoing(), resolver or Names(), reactor)
        verifyObject(ICourier, made)
        return made

    async def deliver(self, made: RelayCourier, *recipients: Address) -> Mapping[Address, Attempt]:
        each = recipients or (ADA,)
        found = await made.deliver(envelope(*each), each, "smart")
        self.assertEqual(set(found), set(each))
        return found

    async def one(self, made: RelayCourier) -> Attempt:
        return (await self.deliver(made))[ADA]

    def listen(self, *script: tuple[str, Any], **fields: Any) -> tuple[Sinks, str]:
        sinks = Sinks(script, **fields)
        return sinks, f"127.0.0.1:{listen(self, sinks)}"

    async def dead(self) -> str:
        """An address where nobody listens."""
        from twisted.internet import reactor

        port = reactor.listenTCP(0, Sinks(), interface="127.0.0.1")  # type: ignore[attr-defined]
        number = port.getHost().port
        await port.stopListening()
        return f"127.0.0.1:{number}"


class Plain(RelayTests):
    async def test_passes_on(self) -> None:
        sinks, host = self.listen()
        made = self.courier(host)
        for _ in range(3):
            found = await self.deliver(made, ADA, BOB)
            self.assertEqual({each.reply.code for each in found.values()}, {250})
            self.assertEqual(found[ADA].security, courier.PLAIN)
        self.assertEqual(len(sinks.messages), 3)
        self.assertEqual(len(sinks.sessions), 1)
        await made.stop()

    async def test_no_stays_no(self) -> None:
        sinks, host = self.listen(("RCPT TO:<bob", b"550 5.1.1 No such user"))
        found = await self.deliver(self.courier(host), ADA, BOB)
        self.assertEqual((found[ADA].reply.code, found[BOB].reply), (250, Reply(550, "5.1.1", "No such user")))


class FailOver(RelayTests):
    async def test_unreachable(self) -> None:
        sinks, host = self.listen()
        made = self.courier(await self.dead(), host)
        for _ in range(2):
            self.assertTrue((await self.one(made)).reply.done)
        self.assertEqual(len(sinks.sessions), 1)

    async def test_sessions_that_are_refused(self) -> None:
        for step, answer in (
            ("", b"554 5.3.2 No"),
            ("", b"421 4.3.2 Busy"),
            ("", b"nonsense"),
            ("", None),
            ("EHLO", None),
            ("MAIL", b"421 4.3.2 Busy"),
            ("MAIL", None),
            ("DATA", None),
        ):
            first, one = self.listen((step, answer))
            second, two = self.listen()
            self.assertTrue((await self.one(self.courier(one, two))).reply.done, (step, answer))
            self.assertEqual((len(first.sessions), len(second.messages)), (1, 1))

    async def test_an_uncertain_end_is_not_tried_elsewhere(self) -> None:
        _, one = self.listen(("message", None))
        second, two = self.listen()
        attempt = await self.one(self.courier(one, two))
        self.assertIn("not known", attempt.reply.text)
        self.assertEqual(second.sessions, [])

    async def test_a_session_that_breaks_off_in_the_middle(self) -> None:
        """What was said of one recipient holds; the others are tried elsewhere."""
        first, one = self.listen(("RCPT TO:<ada", b"550 5.1.1 No"), ("RCPT TO:<bob", b"421 4.3.2 Bye"))
        second, two = self.listen()
        found = await self.deliver(self.courier(one, two), ADA, BOB)
        self.assertEqual([found[each].reply.code for each in (ADA, BOB)], [550, 250])
        self.assertEqual([recipients for recipients, _ in second.messages], [("bob@example.net",)])

    async def test_an_answer_is_an_answer(self) -> None:
        for answer in (b"550 5.7.1 No", b"450 4.2.0 Later"):
            _, one = self.listen(("MAIL", answer))
            second, two = self.listen()
            self.assertEqual((await self.one(self.courier(one, two))).reply.code, int(answer[:3]))
            self.assertEqual(second.sessions, [])

    async def test_none_is_left(self) -> None:
        host = await self.dead()
        attempt = await self.one(self.courier(await self.dead(), host))
        self.assertEqual((attempt.reply.code, attempt.host, attempt.unreachable), (451, "", True))
        self.assertIn(host.rpartition(":")[2], attempt.reply.text)

    async def test_a_session_refused_for_good_leaves_the_mail_queued(self) -> None:
        _, host = self.listen(("", b"554 5.7.1 Go away"))
        attempt = await self.one(self.courier(host))
        self.assertEqual(attempt.reply, Reply(451, "4.7.1", "The relay refuses the session: 554 5.7.1 Go away"))
        self.assertTrue(attempt.unreachable)

    async def test_lost_everywhere(self) -> None:
        hosts = [self.listen(("MAIL", None))[1] for _ in range(2)]
        attempt = await self.one(self.courier(*hosts))
        self.assertEqual((attempt.reply.code, attempt.unreachable), (451, False))
        self.assertTrue(attempt.host)

    async def test_a_failed_host_rests(self) -> None:
        first, one = self.listen(("", None))
        second, two = self.listen(("message", b"250 Ok"))
        made = self.courier(one, two)
        made._pool._settings = Outbound(idle_seconds=0)
        for _ in range(3):
            self.assertTrue((await self.one(made)).reply.done)
        self.assertEqual((len(first.sessions), len(second.sessions)), (1, 3))


class Security(RelayTests):
    def setUp(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        self.contexts = Contexts(authority().file(directory))

    async def test_starttls(self) -> None:
        sinks, host = self.listen(ehlo=STARTTLS, ehlo_tls=EHLO, tls=served("127.0.0.1", by=authority()).options())
        attempt = await self.one(self.courier(host, security="starttls", contexts=self.contexts))
        self.assertEqual((attempt.reply.code, attempt.security), (250, courier.VERIFIED))
        self.assertRegex(attempt.tls, "^TLSv1.3 ")

    async def test_tls(self) -> None:
        sinks, host = self.listen(implicit=served("127.0.0.1", by=authority()).options())
        attempt = await self.one(self.courier(host, security="tls", contexts=self.contexts))
        self.assertEqual((attempt.reply.code, attempt.security), (250, courier.VERIFIED))

    async def test_wrong_certificate(self) -> None:
        guard = Guard()
        for shows in (served("127.0.0.1"), served("other.example", by=authority())):
            for security in ("starttls", "tls"):
                tls = {"implicit": shows.options()} if security == "tls" else {"tls": shows.options()}
                sinks, host = self.listen(("AUTH", guard), ehlo=STARTTLS if security == "starttls" else AUTH, ehlo_tls=AUTH, **tls)
                made = self.courier(host, security=security, username="me", password="pass word", contexts=self.contexts)
                attempt = await self.one(made)
                self.assertEqual((attempt.reply.code, attempt.reply.enhanced, attempt.unreachable), (451, "4.7.5", True))
                self.assertEqual(sinks.messages, [])
        self.assertEqual(guard.passwords, [])

    async def test_no_tls(self) -> None:
        sinks, host = self.listen(ehlo=AUTH)
        for fields in ({}, {"verify": False}, {"username": "me", "password": "secret"}):
            attempt = await self.one(self.courier(host, security="starttls", **fields))
            self.assertEqual((attempt.reply.code, attempt.reply.enhanced), (451, "4.7.4"))
        self.assertFalse({"AUTH", "MAIL"} & set(sinks.verbs()))

    async def test_unverified(self) -> None:
        sinks, host = self.listen(ehlo=STARTTLS, ehlo_tls=EHLO, tls=served("other.example").options())
        with capturedLogs() as logs:
            made = self.courier(host, security="starttls", verify=False)
        self.assertEqual([(each["event"], each["relay"]) for each in logs], [("relay.unverified", "smart")])
        attempt = await self.one(made)
        self.assertEqual((attempt.reply.code, attempt.security), (250, courier.ENCRYPTED))

    async def test_login(self) -> None:
        guard = Guard()
        sinks, host = self.listen(("AUTH", guard), ehlo=STARTTLS, ehlo_tls=AUTH, tls=served("127.0.0.1", by=authority()).options())
        made = self.courier(host, security="starttls", username="me", password="pass word", mechanism="PLAIN", contexts=self.contexts)
        for _ in range(2):
            self.assertTrue((await self.one(made)).reply.done)
        self.assertEqual(guard.passwords, [b"pass word"])  # once a session

    async def test_login_refused(self) -> None:
        """The mail waits: whoever mends the password has lost nothing."""
        sinks, host = self.listen(("AUTH", Guard(b"another")), ehlo=AUTH)
        with capturedLogs() as logs:
            attempt = await self.one(self.courier(host, username="me", password="pass word"))
        self.assertEqual((attempt.reply.code, attempt.unreachable), (454, True))
        self.assertEqual([each["event"] for each in logs], ["relay.plaintext_login", "outbound.login_failed", "outbound.unreachable"])
        self.assertNotIn("pass word", repr(logs))

    async def test_login_refused_says_how_it_was_secured(self) -> None:
        tls = served("127.0.0.1", by=authority()).options()
        sinks, host = self.listen(("AUTH", Guard(b"another")), ehlo=STARTTLS, ehlo_tls=AUTH, tls=tls)
        made = self.courier(host, security="starttls", username="me", password="pass word", mechanism="PLAIN", contexts=self.contexts)
        attempt = await self.one(made)
        self.assertEqual((attempt.reply.code, attempt.security, attempt.tls[:7]), (454, courier.VERIFIED, "TLSv1.3"))

    async def test_login_wanted(self) -> None:
        for step in ("MAIL", "RCPT"):
            sinks, host = self.listen((step, b"530 5.7.0 Authentication required"))
            attempt = await self.one(self.courier(host))
            self.assertEqual((attempt.reply.code, attempt.unreachable), (454, True))
            self.assertIn("530 5.7.0", attempt.reply.text)


class Hosts(RelayTests):
    async def test_by_name(self) -> None:
        sinks, host = self.listen()
        port = host.rpartition(":")[2]
        names = Names(relay_example=["127.0.0.1"])
        made = self.courier(f"Relay.Example:{port}", resolver=names)
        for _ in range(2):
            attempt = await self.one(made)
            self.assertEqual(attempt.host, f"relay.example [127.0.0.1]:{port}")
        self.assertEqual(names.asked, ["relay.example"])

    async def test_all_addresses(self) -> None:
        sinks, host = self.listen()
        port = host.rpartition(":")[2]
        names = Names(relay_example=["127.255.255.254", "127.0.0.1"])
        attempt = await self.one(self.courier(f"relay.example:{port}", resolver=names))
        self.assertTrue(attempt.reply.done)

    async def test_localhost(self) -> None:
        sinks, host = self.listen()
        names = Names()
        attempt = await self.one(self.courier(host.replace("127.0.0.1", "localhost"), resolver=names))
        self.assertTrue(attempt.reply.done)
        self.assertEqual(names.asked, [])

    async def test_of_the_hosts_file(self) -> None:
        """As everywhere else on this machine, it comes before DNS."""
        path = Path(self.mktemp())
        path.write_text("# 127.0.0.9 relay.example\n127.0.0.1\tother Relay.Example. # ours\n::1 relay.example\nbad relay.example\n")
        self.patch(relay, "system_addresses", partial(system_addresses, read=path.read_text))
        sinks, host = self.listen()
        names = Names(relay_example=["127.0.0.2"])
        attempt = await self.one(self.courier(host.replace("127.0.0.1", "relay.example"), resolver=names))
        self.assertTrue(attempt.reply.done)
        self.assertEqual(names.asked, [])
        self.assertEqual(system_addresses("relay.example", path.read_text), ["127.0.0.1", "::1"])
        self.assertEqual(system_addresses("example", path.read_text), [])
        self.assertEqual(system_addresses("relay.example", Path(self.mktemp()).read_text), [])

    async def test_ipv6(self) -> None:
        from twisted.internet import reactor

        sinks = Sinks()
        port = reactor.listenTCP(0, sinks, interface="::1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        number = port.getHost().port
        for host in (f"[::1]:{number}", f"relay.example:{number}"):
            attempt = await self.one(self.courier(host, resolver=Names(relay_example=["::1"])))
            self.assertTrue(attempt.reply.done)
            self.assertTrue(attempt.host.endswith(f" [::1]:{number}"))
        self.assertEqual(len(sinks.messages), 2)

    async def test_unknown(self) -> None:
        for known, reply in (((), NO_NAME), (DNSFailure(), NO_DNS)):
            attempt = await self.one(self.courier("relay.example", resolver=Names(relay_example=known)))
            self.assertEqual((attempt.reply, attempt.unreachable), (reply, True))

    async def test_the_next_is_looked_up_too(self) -> None:
        sinks, host = self.listen()
        attempt = await self.one(self.courier("relay.example", host))
        self.assertTrue(attempt.reply.done)

    async def test_no_host(self) -> None:
        self.assertEqual((await self.one(self.courier())).reply, NO_HOST)


class Endpoints(SynchronousTestCase):
    def test_forms(self) -> None:
        for text, expected in (
            ("mail.example.org:2525", ("mail.example.org", 2525)),
            ("mail.example.org", ("mail.example.org", 587)),
            ("192.0.2.1", ("192.0.2.1", 587)),
            ("192.0.2.1:25", ("192.0.2.1", 25)),
            ("[2001:db8::1]:25", ("2001:db8::1", 25)),
            ("2001:db8::1", ("2001:db8::1", 587)),
            ("Mail.Example.Org.", ("mail.example.org", 587)),
            ("m\u00fcller.example:25", ("xn--mller-kva.example", 25)),
        ):
            self.assertEqual(endpoint(text, 587), expected)

    def test_ports(self) -> None:
        reactor: Any = MemoryReactorClock()
        for security, port in (("plain", 25), ("starttls", 587), ("tls", 465)):
            settings = Relay(name="r", hosts=("192.0.2.1",), security=security)
            made = RelayCourier(settings, Pool(Outbound(), "me.example.test", reactor), Outgoing(), Names(), reactor)
            self.assertEqual([host.port for host in made._hosts], [port])
