"""Trying an IMAP mailbox elsewhere out: what it says, what it hides, and hosts that mean no good."""

from base64 import b64encode
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailx.core import conversation, faults, probing, reaching
from mailx.core.conversation import Call, Conversation, Trust
from mailx.core.faults import ADVICE, Fault
from mailx.core.probing import IMAP, IMAPS, MailboxProbes, Probe, Transcript
from mailx.core.reaching import Patience
from mailx.imap import probe as probes
from mailx.imap.probe import IMAPProbe
from tests.core.mail_hosts import Answer, Host, Names, begin_tls, converse, listen, reactor
from tests.outbound.authorities import authority, served

USER, PASSWORD = "bounces", "very secret"
SOON = 0.2  # seconds after which a host that says nothing is given up
SCRIPT: Mapping[bytes, Answer] = {
    b"": b"* OK [CAPABILITY IMAP4rev1] Hello\r\n",
    b"CAPABILITY": b"* CAPABILITY IMAP4rev1 IDLE\r\nTAG OK Done\r\n",
    b"LOGIN": b"TAG OK Logged in\r\n",
    b"LIST": b'* LIST (\\HasNoChildren) "/" INBOX\r\n* LIST () "/" {5}\r\nSt{1}\r\nTAG OK Done\r\n',
    b"STATUS": b"* STATUS INBOX (MESSAGES 17)\r\nTAG OK Done\r\n",
    b"LOGOUT": b"* BYE\r\nTAG OK Done\r\n",
}


class ProbeTests(TestCase):
    def setUp(self) -> None:
        self.patch(reaching, "_GUESS_SECONDS", 30.0)
        self.patch(reaching.Patience, "now", lambda *_: 30.0)  # to connect: only answers are waited for briefly, where none comes

    async def attempt(self, port: int, **fields: Any) -> Probe:
        given = {"kind": IMAP, "host": "127.0.0.1", "username": USER, "password": PASSWORD, "verify": True, "timeout": 30, **fields}
        directory = Path(self.mktemp())
        directory.mkdir()
        probe = MailboxProbes(IMAPProbe(Names(), reactor, Trust(authority().file(directory))), None)  # type: ignore[arg-type]
        found = await probe.try_mailbox(port=port, **given)
        for secret in (given["password"], b64encode(given["password"].encode()).decode()):
            self.assertNotIn(secret, repr(found))
        return found

    async def scripted(self, script: Mapping[bytes, Answer] = {}, *, implicit: Any = None, **fields: Any) -> Probe:  # noqa: B006
        merged = {**SCRIPT, **script}
        self.host = Host(sorted(merged.items(), reverse=True), True, implicit)
        return await self.attempt(listen(self, self.host), **fields)

    def failed(self, probe: Probe, kind: str, said: str = "") -> None:
        self.assertFalse(probe.ok)
        self.assertEqual(probe.remedy, ADVICE[kind][1], probe)
        self.assertIn(said, probe.summary)


class Success(ProbeTests):
    async def test_plain(self) -> None:
        probe = await self.scripted()
        self.assertEqual((probe.ok, probe.summary), (True, "Logged in: 2 folders, 17 messages in INBOX."))
        self.assertIn("C: a2 LOGIN (hidden)", probe.transcript)
        self.assertIn(b'a2 LOGIN "bounces" "very secret"', self.host.lines)
        self.assertIn("-- the password goes unencrypted (UNSAFE)", probe.transcript)
        self.assertNotIn(USER, repr(probe))

    async def test_starttls(self) -> None:
        tls = served("mail.example.org", by=authority()).options()
        script: dict[bytes, Answer] = {
            b"CAPABILITY": lambda session: (
                b"* CAPABILITY IMAP4rev1 " + (b"AUTH=PLAIN" if session.tls else b"STARTTLS LOGINDISABLED") + b"\r\nTAG OK Done\r\n"
            ),
            b"STARTTLS": begin_tls(tls, b"TAG OK Begin\r\n"),
        }
        probe = await self.scripted(script, host="mail.example.org")
        self.assertTrue(probe.ok, probe)
        self.assertIn("TLS: the certificate is trusted", probe.transcript)

    async def test_tls(self) -> None:
        probe = await self.scripted(implicit=served("127.0.0.1", by=authority()).options(), kind=IMAPS)
        self.assertTrue(probe.ok, probe)
        self.assertTrue(probe.transcript[1].startswith("TLS: TLSv1.3"))

    async def test_words_that_need_care(self) -> None:
        probe = await self.scripted(username='a"b\\c', password='"\\ {5}')
        self.assertTrue(probe.ok, probe)
        self.assertIn(b'a2 LOGIN "a\\"b\\\\c" "\\"\\\\ {5}"', self.host.lines)

    async def test_words_beyond_ascii(self) -> None:
        password = "PÄSSWÖRT!!"
        script: dict[bytes, Answer] = {
            b"LOGIN": b"+ go on\r\n",
            b"{": b"+ go on\r\n",
            password.encode(): b"a2 OK Logged in\r\n",
        }
        probe = await self.scripted(script, username="grüße", password=password)
        self.assertTrue(probe.ok, probe)
        self.assertIn("C: a2 LOGIN {7}", probe.transcript)
        self.assertIn("C: (hidden) {12}", probe.transcript)

    async def test_authenticate(self) -> None:
        script = {
            b"CAPABILITY": b"* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\nTAG OK Done\r\n",
            b"AUTHENTICATE": b"+ \r\n",
            b64encode("\0grüße\0very secret".encode()).upper(): b"a2 OK Logged in\r\n",
        }
        probe = await self.scripted(script, username="grüße")
        self.assertTrue(probe.ok, probe)
        self.assertIn("C: a2 AUTHENTICATE PLAIN", probe.transcript)
        self.assertIn("C: (hidden)", probe.transcript)

    async def test_preauth_and_a_goodbye_without_words(self) -> None:
        probe = await self.scripted({b"": b"* PREAUTH Hello\r\n", b"LOGOUT": None})
        self.assertTrue(probe.ok, probe)
        self.assertNotIn("LOGIN", repr(probe))

    async def test_the_log(self) -> None:
        with capturedLogs() as logs:
            await self.scripted()
        self.assertEqual([each.get("event") for each in logs if each.get("event")], ["probe.mailbox"])
        self.assertNotIn(PASSWORD, repr(logs))


class Failures(ProbeTests):
    async def test_reaching(self) -> None:
        for host, kind in (("nowhere.example.org", faults.NO_NAME), ("away.example.org", faults.NO_DNS), ("a..b", faults.NO_NAME)):
            self.failed(await self.attempt(143, host=host), kind)

    async def test_greetings(self) -> None:
        self.failed(await self.scripted({b"": b"* BYE Too many\r\n"}), faults.NOT_WELCOME, "Too many")
        for greeting in (b"220 smtp\r\n", b"+OK pop3\r\n", b"* NO\r\n", b"\r\n", b"*\r\n"):
            self.failed(await self.scripted({b"": greeting}), faults.BABBLE)
        self.failed(await self.scripted({b"": None}), faults.CLOSED)
        self.patch(reaching, "_GUESS_SECONDS", SOON)
        self.failed(await self.scripted({b"": b""}, timeout=SOON), faults.SILENT)

    async def test_tls_and_ports(self) -> None:
        self.failed(await self.scripted(kind=IMAPS), faults.PLAIN_PORT)
        implicit = served("127.0.0.1", by=authority()).options()
        self.failed(await self.scripted({b"": b""}, implicit=implicit, timeout=SOON), faults.TLS_PORT)

    async def test_certificates(self) -> None:
        for made, said in ((served("other.example", by=authority()), "not for the name"), (served("127.0.0.1"), "signed by itself")):
            probe = await self.scripted(implicit=made.options(), kind=IMAPS)
            self.failed(probe, faults.CERTIFICATE, said)
            self.assertEqual(self.host.lines, [])
            self.assertTrue((await self.scripted(implicit=made.options(), kind=IMAPS, verify=False)).ok)

    async def test_starttls_that_is_refused_or_lies(self) -> None:
        offer = {b"CAPABILITY": b"* CAPABILITY IMAP4rev1 STARTTLS\r\nTAG OK Done\r\n"}
        self.failed(await self.scripted({**offer, b"STARTTLS": b"TAG NO Not now\r\n"}), faults.TLS_BROKEN)
        early = {**offer, b"STARTTLS": b"TAG OK Begin\r\n* OK said in the clear\r\n"}
        self.failed(await self.scripted(early), faults.BABBLE)
        self.assertFalse(any(b"LOGIN" in line for line in self.host.lines))

    async def test_no_password_in_the_clear(self) -> None:
        self.patch(probes, "is_loopback", lambda address: False)
        self.failed(await self.scripted(), faults.NO_STARTTLS)
        self.assertFalse(any(b"LOGIN" in line for line in self.host.lines))
        self.assertTrue((await self.scripted(verify=False)).ok)
        disabled = {b"CAPABILITY": b"* CAPABILITY IMAP4rev1 LOGINDISABLED\r\nTAG OK Done\r\n"}
        self.failed(await self.scripted(disabled, verify=False), faults.AUTH_NEEDS_TLS)

    async def test_logins(self) -> None:
        for answer, kind in (
            (b"TAG NO [AUTHENTICATIONFAILED] Wrong\r\n", faults.WRONG_PASSWORD),
            (b"TAG NO Wrong\r\n", faults.WRONG_PASSWORD),
            (b"TAG NO [UNAVAILABLE] Later\r\n", faults.LOGIN_REFUSED),
            (b"TAG NO [PRIVACYREQUIRED] TLS\r\n", faults.AUTH_NEEDS_TLS),
            (b"TAG BAD What\r\n", faults.LOGIN_REFUSED),
            (b"a99 OK other tag\r\n", faults.BABBLE),
            (b"+ go on\r\n", faults.BABBLE),
            (b"TAG MAYBE\r\n", faults.BABBLE),
            (None, faults.CLOSED),
        ):
            self.failed(await self.scripted({b"LOGIN": answer}), kind)

    async def test_a_host_that_repeats_the_password(self) -> None:
        probe = await self.scripted({b"LOGIN": b"TAG NO " + PASSWORD.upper().encode() + b" is wrong\r\n"})
        self.failed(probe, faults.WRONG_PASSWORD, "(hidden)")
        self.assertNotIn(PASSWORD.upper(), repr(probe))

    async def test_a_host_that_repeats_the_command(self) -> None:
        """The password stands there as a quoted string."""
        password = 'ab"cdefg\\hi"jk'
        said = b'TAG BAD LOGIN "u" "ab\\"cdefg\\\\hi\\"jk"\r\n'
        probe = await self.scripted({b"LOGIN": said}, password=password)
        self.failed(probe, faults.LOGIN_REFUSED, "(hidden)")
        self.assertNotIn("cdefg", repr(probe))

    async def test_lines_in_name_or_password(self) -> None:
        for wrong in ({"username": "a\r\nA1 LOGOUT"}, {"password": "a\nb"}, {"username": "a\0b"}):
            self.failed(await self.scripted(**wrong), faults.WRONG_CREDENTIALS)
            self.assertFalse(any(b"LOGIN" in line for line in self.host.lines))


class Floods(ProbeTests):
    async def test_each(self) -> None:
        self.patch(conversation, "LIMIT", 100000)
        for script in (
            {b"": b"* OK " + b"x" * 10000 + b"\r\n"},
            {b"": b"x" * 9000},
            {b"LIST": b'* LIST () "/" x\r\n' * 20000},
            {b"LIST": b'* LIST () "/" {99999999}\r\n'},
            {b"LIST": b'* LIST () "/" {1}\r\nx' * 1},
            {b"CAPABILITY": b"* CAPABILITY " + b"{0}\r\n" * 300},
        ):
            probe = await self.scripted(script, timeout=SOON)
            self.assertFalse(probe.ok)
            self.assertLess(len(probe.transcript), 402)
            self.assertLess(len(repr(probe)), 300000)

    async def test_many_lines_at_once(self) -> None:
        """Others have their turn between, and secrets are looked for only in what is shown."""
        looked: list[str] = []
        self.patch(probing, "repeats", lambda text, secrets: bool(looked.append(text)))
        clock = Clock()
        made = Conversation(Transcript(("secret",)), Patience(10, 40), clock)
        transport = StringTransport()
        transport.abortConnection = transport.loseConnection  # type: ignore[method-assign]
        made.makeConnection(transport)
        read: list[bytes] = []

        async def reading() -> None:
            while True:
                read.append(await made.line())

        running = Deferred.fromCoroutine(reading())
        made.dataReceived(b"x\n" * 5000)
        self.assertLess(len(read), 300)
        for _ in range(30):
            clock.advance(0)
        self.assertEqual((len(read), len(looked)), (5000, 400))
        made.close()
        self.failureResultOf(running, Fault)  # type: ignore[attr-defined]

    async def test_drops(self) -> None:
        """A host that says a little now and then is given up in the end."""
        clock = Clock()
        transcript = Transcript()
        made = Conversation(transcript, Patience(10, 40), clock)
        transport = StringTransport()
        transport.abortConnection = transport.loseConnection  # type: ignore[method-assign]
        made.makeConnection(transport)
        reading = Deferred.fromCoroutine(made.line())
        for _ in range(7):
            clock.advance(6)
            if not transport.disconnecting:
                made.dataReceived(b"x")
        fault = self.failureResultOf(reading, Fault).value  # type: ignore[attr-defined]
        self.assertEqual(fault.kind, faults.SLOW)
        self.assertEqual(clock.getDelayedCalls(), [])


class Hostile(SynchronousTestCase):
    @settings(max_examples=200)
    @given(
        st.lists(
            st.sampled_from([b"* OK x", b"* CAPABILITY IMAP4rev1", b"a1 OK", b"a2 OK", b"a3 NO", b"+", b"{3}", b"\xff\x00"])
            | st.binary(max_size=20)
        )
    )
    def test_any_lines(self, lines: list[bytes]) -> None:
        """Whatever comes, the end is a fault or an answer, and nothing waits for ever."""

        def session(call: Call) -> Coroutine[Any, Any, str]:
            return probes._Session(call, call.conversation.transcript, True).run(USER, PASSWORD)

        converse(self, 143, PASSWORD, session, lines)
