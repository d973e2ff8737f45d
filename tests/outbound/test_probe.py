"""The test of a smart host: what it shows, what it hides, and what it makes of every way to fail."""

from base64 import b64encode
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailx.config import Smarthost
from mailx.core import faults, reaching
from mailx.core.faults import ADVICE
from mailx.core.probing import Probe, Transcript
from mailx.core.resolver import DNSFailure
from mailx.mail.address import Address
from mailx.outbound.client import Connection
from mailx.outbound.dialogue import Opening
from mailx.outbound.hop import NONE, Hop, Login, Security, Unreachable
from mailx.outbound.probe import MailOutProbe
from mailx.outbound.tls import Contexts
from mailx.outbound.traced import TracedWire
from tests.outbound.authorities import authority, served
from tests.outbound.peers import ADA as ADDRESS
from tests.outbound.peers import EHLO, Outgoing, Sinks, envelope, listen
from tests.outbound.test_sasl import Guard, threads

reactor: Any = _reactor

ADA = Address.parse("ada@example.test")
BOB = Address.parse("bob@example.org")
PASSWORD = "pass word"
SOON = 0.2  # seconds after which a host that says nothing is given up
STARTTLS = EHLO.replace(b"250-PIPELINING", b"250-STARTTLS\r\n250-PIPELINING")
AUTH = EHLO.replace(b"250-PIPELINING", b"250-AUTH PLAIN LOGIN\r\n250-PIPELINING")
STEPWISE = EHLO.replace(b"250-PIPELINING\r\n", b"")


class Names:
    async def addresses(self, name: str) -> list[str]:
        if name == "away.example.org":
            raise DNSFailure("no answer")
        return ["127.0.0.1"] if name == "relay.example.org" else []


class Silent(Protocol):
    """Says nothing, or ``words`` and nothing more."""

    words = b""

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self.words)


class ProbeTests(TestCase):
    def setUp(self) -> None:
        self.patch(reaching, "_GUESS_SECONDS", 30.0)
        self.patch(reaching.Patience, "now", lambda *_: 30.0)  # to connect: only answers are waited for briefly, where none comes

    async def attempt(self, port: int, **fields: Any) -> Probe:
        smarthost = Smarthost(**{"host": "127.0.0.1", "port": port, "security": "plain", "timeout": 30, **fields})
        path = Path(self.mktemp())
        path.mkdir()
        probe = MailOutProbe("me.example.test", Outgoing(), Names(), reactor, authority().file(path))
        found = await probe.try_smarthost(smarthost, ADA, BOB)
        self.assertNotIn(PASSWORD, repr(found))
        self.assertNotIn(b64encode(PASSWORD.encode()).decode(), repr(found))
        return found

    async def scripted(self, *script: tuple[str, Any], ehlo: bytes = EHLO, **fields: Any) -> Probe:
        keys = {key: fields.pop(key) for key in ("tls", "implicit", "ehlo_tls") if key in fields}
        self.sinks = Sinks(script, ehlo, **keys)
        return await self.attempt(listen(self, self.sinks), **fields)

    def failed(self, probe: Probe, kind: str, said: str = "") -> None:
        summary, remedy = ADVICE[kind]
        self.assertFalse(probe.ok)
        self.assertEqual(probe.remedy, remedy, probe)
        self.assertIn(said, probe.summary)
        self.assertNotIn("{", probe.summary)

    def odd(self, words: bytes = b"") -> int:
        factory = Factory.forProtocol(Silent)
        factory.noisy = False
        made: list[Any] = []

        def build(address: object) -> Silent:
            silent = Silent()
            silent.words = words
            made.append(silent)
            return silent

        factory.buildProtocol = build  # type: ignore[method-assign, assignment]
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.addCleanup(lambda: [each.transport.abortConnection() for each in made])
        return int(port.getHost().port)


class Success(ProbeTests):
    async def test_plain(self) -> None:
        for ehlo in (EHLO, STEPWISE, EHLO.replace(b"250 DSN", b"250-CHUNKING\r\n250 DSN")):
            probe = await self.scripted(ehlo=ehlo)
            self.assertTrue(probe.ok, probe)
            self.assertIn("took the message for bob@example.org: 250 2.0.0 Taken", probe.summary)
            ((recipients, content),) = self.sinks.messages
            self.assertEqual(recipients, ("bob@example.org",))
            for field in (
                b"From: ada@example.test\r\n",
                b"To: bob@example.org\r\n",
                b"Auto-Submitted: auto-generated\r\n",
                b"Message-ID: <",
            ):
                self.assertIn(field, content)
            lines = probe.transcript
            self.assertEqual(lines[0], f"-- connecting to 127.0.0.1:{lines[0].rpartition(':')[2]}")
            self.assertIn("S: 220 mx.example.net ESMTP", lines)
            self.assertIn("C: EHLO me.example.test", lines)
            self.assertTrue(any(line.startswith("C: MAIL FROM:<ada@example.test>") for line in lines))
            self.assertIn("C: RCPT TO:<bob@example.org>", lines)
            self.assertIn("C: To: bob@example.org", lines)
            self.assertIn("S: 250 2.0.0 Taken", lines)
            self.assertEqual(lines[-2:], ("C: QUIT", "S: 221 2.0.0 Bye"))
            self.assertEqual([line for line in lines if line == "C: ."], [] if b"CHUNKING" in ehlo else ["C: ."])

    async def test_starttls_and_login(self) -> None:
        for mechanism in ("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256"):
            guard = Guard()
            inside = EHLO.replace(b"250-PIPELINING", b"250-AUTH " + mechanism.encode() + b"\r\n250-PIPELINING")
            tls = served("relay.example.org", by=authority()).options()
            probe = await self.scripted(
                ("AUTH", guard),
                ehlo=STARTTLS,
                tls=tls,
                ehlo_tls=inside,
                host="relay.example.org",
                security="starttls",
                username="relay=user,1",
                password=PASSWORD,
            )
            self.assertTrue(probe.ok, probe)
            lines = probe.transcript
            shown = f"C: AUTH {mechanism} (hidden)" if mechanism in ("PLAIN", "SCRAM-SHA-256") else f"C: AUTH {mechanism}"
            self.assertIn(shown, lines)
            self.assertEqual(
                sum(line == "C: (hidden)" for line in lines), {"PLAIN": 0, "LOGIN": 2, "CRAM-MD5": 1, "SCRAM-SHA-256": 2}[mechanism]
            )
            self.assertNotIn("relay=user", repr(probe))
            self.assertTrue(any(line.startswith("TLS: TLSv1.3 ") for line in lines))
            self.assertTrue(any(line.startswith("TLS: certificate for relay.example.org; issued by root; valid until ") for line in lines))
            self.assertIn("TLS: the certificate is trusted", lines)

    async def test_tls_from_the_first_octet(self) -> None:
        probe = await self.scripted(implicit=served("127.0.0.1", by=authority()).options(), security="tls")
        self.assertTrue(probe.ok, probe)
        self.assertLess(probe.transcript.index("-- TLS begins"), probe.transcript.index("S: 220 mx.example.net ESMTP"))

    async def test_a_certificate_that_need_not_be_right(self) -> None:
        probe = await self.scripted(implicit=served("other.example").options(), security="tls", verify=False)
        self.assertTrue(probe.ok, probe)
        self.assertIn("TLS: the certificate cannot be trusted: it is signed by itself and by no authority", probe.transcript)

    async def test_what_the_log_says(self) -> None:
        with capturedLogs() as logs:
            await self.scripted(("AUTH", Guard()), ehlo=AUTH, username="relay=user,1", password=PASSWORD)
        self.assertIn("probe.smarthost", [log.get("event") for log in logs])
        self.assertNotIn(PASSWORD, repr(logs))


class Reaching(ProbeTests):
    async def test_names(self) -> None:
        self.failed(await self.attempt(25, host="nowhere.example.org"), faults.NO_NAME, "nowhere.example.org")
        self.failed(await self.attempt(25, host="a..b"), faults.NO_NAME)
        self.failed(await self.attempt(25, host="away.example.org"), faults.NO_DNS)
        self.failed(await self.attempt(25, host=""), faults.NO_NAME)

    async def test_refused(self) -> None:
        port = reactor.listenTCP(0, Sinks(), interface="127.0.0.1")
        number = port.getHost().port
        await port.stopListening()
        self.failed(await self.attempt(number), faults.REFUSED, str(number))

    async def test_silence(self) -> None:
        self.patch(reaching, "_GUESS_SECONDS", SOON)
        for security in ("plain", "tls"):
            self.failed(await self.attempt(self.odd(), timeout=SOON, security=security), faults.SILENT)

    async def test_other_protocols(self) -> None:
        for words in (b"HTTP/1.1 400 Bad Request\r\n", b"* OK IMAP\r\n", b"\x15\x03\x01\x00\x02\x02\x46\n"):
            self.failed(await self.attempt(self.odd(words)), faults.BABBLE)

    async def test_a_flood(self) -> None:
        probe = await self.attempt(self.odd(b"220-" + b"x" * 300000))
        self.failed(probe, faults.BABBLE)
        self.assertLess(len(repr(probe)), 5000)
        probe = await self.attempt(self.odd(b"220-more\r\n" * 30000))
        self.failed(probe, faults.BABBLE)
        self.assertLess(len(probe.transcript), 402)

    async def test_control_characters(self) -> None:
        probe = await self.scripted(("", b"554 \x1b[31mred\x07 \xe2\x80\xae"))
        self.failed(probe, faults.NOT_WELCOME)
        self.assertTrue(all(line.isprintable() for line in (*probe.transcript, probe.summary)))

    async def test_not_welcome(self) -> None:
        self.failed(await self.scripted(("", b"554 5.7.1 Blocked")), faults.NOT_WELCOME, "Blocked")
        self.failed(await self.scripted(("", b"421 4.3.2 Busy")), faults.NOT_WELCOME, "Busy")
        self.failed(await self.scripted(("EHLO", b"550 No"), ("HELO", b"550 Not you")), faults.NOT_WELCOME, "Not you")
        self.failed(await self.scripted(("EHLO", None)), faults.CLOSED)


class Hostile(SynchronousTestCase):
    @settings(max_examples=150)
    @given(
        st.lists(
            st.sampled_from(
                [b"220 x", b"250-x", b"250 AUTH PLAIN LOGIN", b"334 ", b"334 eA==", b"235 y", b"354 go", b"535 n", b"421 z", b"\xff\x00"]
            )
            | st.binary(max_size=20),
            max_size=12,
        )
    )
    def test_any_lines(self, lines: list[bytes]) -> None:
        """Whatever comes, the session ends, nothing raises but what is expected, and the password is shown nowhere."""
        clock = Clock()
        transcript = Transcript((PASSWORD, b64encode(PASSWORD.encode()).decode()))
        wire = TracedWire(clock.seconds, transcript, "relay.example.org", 10.0)
        transport = StringTransport()
        transport.abortConnection = lambda: None  # type: ignore[method-assign]
        wire.makeConnection(transport)
        hop = Hop("relay.example.org", "192.0.2.1", 25)
        opening = Opening(hop, Security(NONE), Login("me", PASSWORD), "me.example.test", Contexts(), threads)

        async def run() -> None:
            try:
                opened = await opening.open(wire)
            except Unreachable:
                return
            await Connection("k", wire, opened).send(envelope(), (ADDRESS,), Outgoing())

        running = Deferred.fromCoroutine(run())
        for line in lines:
            wire.dataReceived(line + b"\r\n")
        for _ in range(20):
            clock.advance(10)
            wire.look(150.0)
        self.successResultOf(running)
        self.assertNotIn(PASSWORD, repr(transcript.probe("")))
        self.assertNotIn(b64encode(b"\0me\0" + PASSWORD.encode()).decode(), repr(transcript.probe("")))


class TLS(ProbeTests):
    async def test_tls_to_a_plain_port(self) -> None:
        self.failed(await self.scripted(security="tls"), faults.PLAIN_PORT)

    async def test_plain_to_a_tls_port(self) -> None:
        for security in ("plain", "starttls"):
            probe = await self.scripted(implicit=served("127.0.0.1", by=authority()).options(), security=security, timeout=SOON)
            self.failed(probe, faults.TLS_PORT)

    async def test_not_offered(self) -> None:
        self.failed(await self.scripted(security="starttls"), faults.NO_STARTTLS)
        probe = await self.scripted(security="starttls", username="me", password=PASSWORD, verify=False)
        self.failed(probe, faults.NO_STARTTLS)

    async def test_refused(self) -> None:
        self.failed(await self.scripted(("STARTTLS", b"454 4.7.0 Not now"), ehlo=STARTTLS, security="starttls"), faults.TLS_BROKEN)

    async def test_certificates(self) -> None:
        for made, said in (
            (served("other.example", by=authority()), "it is not for the name 127.0.0.1"),
            (served("127.0.0.1"), "signed by itself"),
            (served("127.0.0.1", by=authority("another")), "authority that this system does not know"),
            (served("127.0.0.1", by=authority(), days_ago=30), "it has expired"),
        ):
            for security in ("tls", "starttls"):
                fields = {"implicit": made.options()} if security == "tls" else {"tls": made.options(), "ehlo": STARTTLS}
                probe = await self.scripted(security=security, **fields)
                self.failed(probe, faults.CERTIFICATE, said)
                self.assertTrue(any(line.startswith("TLS: certificate for ") for line in probe.transcript))
                self.assertNotIn("MAIL", self.sinks.verbs())


class Logins(ProbeTests):
    async def log_in(self, *script: tuple[str, Any], ehlo: bytes = AUTH, **fields: Any) -> Probe:
        return await self.scripted(*script, ehlo=ehlo, **{"username": "me", "password": PASSWORD, **fields})

    async def test_wrong_password(self) -> None:
        self.failed(await self.log_in(("AUTH", Guard(b"another"))), faults.WRONG_PASSWORD, "535 5.7.8 Wrong")

    async def test_not_offered(self) -> None:
        self.failed(await self.log_in(ehlo=EHLO), faults.NO_AUTH)
        self.failed(await self.log_in(ehlo=STARTTLS), faults.AUTH_NEEDS_TLS)
        self.failed(await self.log_in(ehlo=AUTH.replace(b"PLAIN LOGIN", b"XOAUTH2")), faults.NO_MECHANISM, "XOAUTH2")

    async def test_refused_otherwise(self) -> None:
        self.failed(await self.log_in(("AUTH", b"454 4.7.0 Later")), faults.LOGIN_REFUSED, "Later")
        self.failed(await self.log_in(("AUTH", b"538 5.7.11 Encrypt")), faults.AUTH_NEEDS_TLS)
        self.failed(await self.log_in(("AUTH", b"534 5.7.9 Stronger")), faults.NO_MECHANISM)
        self.failed(await self.log_in(("AUTH", b"334 eA==")), faults.LOGIN_REFUSED)
        self.failed(await self.log_in(("AUTH", None)), faults.CLOSED)

    async def test_a_server_that_repeats_the_password(self) -> None:
        guard = Guard(b"another", answer=b"535 5.7.8 " + PASSWORD.encode() + b" is wrong")
        self.failed(await self.log_in(("AUTH", guard)), faults.WRONG_PASSWORD, "(hidden)")

        def echo(session: Any) -> bytes:
            return b"501 5.5.2 What is " + session.factory.lines[-1].split()[-1].encode() + b"?"

        probe = await self.log_in(("AUTH", echo))
        self.failed(probe, faults.LOGIN_REFUSED, "(hidden)")

    async def test_a_login_that_cannot_be_sent(self) -> None:
        for fields in ({"username": "a\0b"}, {"password": "a\r\nRSET"}):
            self.failed(await self.log_in(**fields), faults.WRONG_CREDENTIALS)
            self.assertEqual(self.sinks.sessions, [])


class Refusals(ProbeTests):
    async def test_each(self) -> None:
        for ehlo in (EHLO, STEPWISE):
            for step, answer, kind in (
                ("MAIL", b"553 5.1.8 Sender refused", faults.SENDER),
                ("MAIL", b"530 5.7.0 Authentication required", faults.LOGIN_WANTED),
                ("MAIL", b"452 4.3.1 Full", faults.LATER),
                ("RCPT", b"554 5.7.1 <bob@example.org>: Relay access denied", faults.RELAY_DENIED),
                ("RCPT", b"550 5.7.1 No", faults.RELAY_DENIED),
                ("RCPT", b"553 5.7.1 Sender address rejected: not owned by user", faults.SENDER),
                ("RCPT", b"550 5.1.1 No such user", faults.RECIPIENT),
                ("RCPT", b"450 4.7.1 Greylisted", faults.LATER),
                ("DATA", b"554 5.5.0 No", faults.CONTENT),
                ("message", b"550 5.7.26 No SPF", faults.CONTENT),
                ("message", b"451 4.7.0 Later", faults.LATER),
                ("message", None, faults.CLOSED),
            ):
                probe = await self.scripted((step, answer), ehlo=ehlo)
                self.failed(probe, kind, answer.decode() if answer else "")
                self.assertFalse(any(content for _, content in self.sinks.messages))

    async def test_login_that_helps_with_relaying(self) -> None:
        probe = await self.scripted(("AUTH", Guard()), ("RCPT", b"550 5.7.1 No"), ehlo=AUTH, username="me", password=PASSWORD)
        self.failed(probe, faults.RECIPIENT)
