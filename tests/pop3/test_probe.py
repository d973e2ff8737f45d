"""Trying a POP3 mailbox elsewhere out: what it says, what it hides, and hosts that mean no good."""

from base64 import b64encode
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailx.core import conversation, faults, reaching
from mailx.core.conversation import Call, Trust
from mailx.core.faults import ADVICE
from mailx.core.probing import POP3, POP3S, MailboxProbes, Probe
from mailx.pop3 import probe as probes
from mailx.pop3.probe import POP3Probe
from tests.core.mail_hosts import Answer, Host, Names, begin_tls, converse, listen, reactor
from tests.outbound.authorities import authority, served

USER, PASSWORD = "bounces", "very secret"
SOON = 0.2  # seconds after which a host that says nothing is given up
SCRIPT: Mapping[bytes, Answer] = {
    b"": b"+OK Hello\r\n",
    b"CAPA": b"+OK\r\nUSER\r\nUIDL\r\n.\r\n",
    b"USER": b"+OK\r\n",
    b"PASS": b"+OK Logged in\r\n",
    b"STAT": b"+OK 3 4711\r\n",
    b"QUIT": b"+OK Bye\r\n",
}


class ProbeTests(TestCase):
    def setUp(self) -> None:
        self.patch(reaching, "_GUESS_SECONDS", 30.0)
        self.patch(reaching.Patience, "now", lambda *_: 30.0)  # to connect: only answers are waited for briefly, where none comes

    async def scripted(self, script: Mapping[bytes, Answer] = {}, *, implicit: Any = None, **fields: Any) -> Probe:  # noqa: B006
        self.host = Host(sorted({**SCRIPT, **script}.items(), reverse=True), False, implicit)
        given = {"kind": POP3, "host": "127.0.0.1", "username": USER, "password": PASSWORD, "verify": True, "timeout": 30, **fields}
        directory = Path(self.mktemp())
        directory.mkdir()
        probe = MailboxProbes(None, POP3Probe(Names(), reactor, Trust(authority().file(directory))))  # type: ignore[arg-type]
        found = await probe.try_mailbox(port=listen(self, self.host), **given)
        for secret in (given["password"], b64encode(given["password"].encode()).decode()):
            self.assertNotIn(secret, repr(found))
        return found

    def failed(self, probe: Probe, kind: str, said: str = "") -> None:
        self.assertFalse(probe.ok)
        self.assertEqual(probe.remedy, ADVICE[kind][1], probe)
        self.assertIn(said, probe.summary)


class Success(ProbeTests):
    async def test_plain(self) -> None:
        for script in ({}, {b"CAPA": b"-ERR What\r\n"}, {b"QUIT": None}):
            probe = await self.scripted(script)  # type: ignore[arg-type]
            self.assertEqual((probe.ok, probe.summary), (True, "Logged in: 3 messages of 4711 octets."))
            for line in ("C: USER (hidden)", "C: PASS (hidden)", "S: +OK 3 4711", "-- the password goes unencrypted (UNSAFE)"):
                self.assertIn(line, probe.transcript)
            self.assertEqual([line for line in self.host.lines if line.startswith(b"PASS")], [b"PASS very secret"])
            self.assertNotIn(USER, repr(probe))

    async def test_stls(self) -> None:
        script: dict[bytes, Answer] = {
            b"CAPA": lambda session: b"+OK\r\n" + (b"USER" if session.tls else b"STLS") + b"\r\n.\r\n",
            b"STLS": begin_tls(served("mail.example.org", by=authority()).options(), b"+OK Begin\r\n"),
        }
        probe = await self.scripted(script, host="mail.example.org")
        self.assertTrue(probe.ok, probe)
        self.assertIn("TLS: the certificate is trusted", probe.transcript)

    async def test_tls(self) -> None:
        probe = await self.scripted(implicit=served("127.0.0.1", by=authority()).options(), kind=POP3S)
        self.assertTrue(probe.ok, probe)

    async def test_authenticate(self) -> None:
        response = b64encode("\0grüße\0very secret".encode())
        script: dict[bytes, Answer] = {
            b"CAPA": b"+OK\r\nSASL CRAM-MD5 PLAIN\r\n.\r\n",
            b"AUTH PLAIN": b"+ \r\n",
            response.upper(): b"+OK\r\n",
        }
        probe = await self.scripted(script, username="grüße")
        self.assertTrue(probe.ok, probe)
        self.assertNotIn(response.decode(), repr(probe))
        self.failed(await self.scripted({**script, b"AUTH PLAIN": b"-ERR No\r\n"}, username="grüße"), faults.WRONG_PASSWORD)


class Failures(ProbeTests):
    async def test_greetings(self) -> None:
        self.failed(await self.scripted({b"": b"-ERR Go away\r\n"}), faults.NOT_WELCOME, "Go away")
        for greeting in (b"220 smtp\r\n", b"* OK imap\r\n", b"\r\n", b"+OKAY\r\n"):
            self.failed(await self.scripted({b"": greeting}), faults.BABBLE)
        self.failed(await self.scripted({b"": None}), faults.CLOSED)
        self.patch(reaching, "_GUESS_SECONDS", SOON)
        self.failed(await self.scripted({b"": b""}, timeout=SOON), faults.SILENT)

    async def test_tls_and_ports(self) -> None:
        self.failed(await self.scripted(kind=POP3S), faults.PLAIN_PORT)
        implicit = served("127.0.0.1", by=authority()).options()
        self.failed(await self.scripted({b"": b""}, implicit=implicit, timeout=SOON), faults.TLS_PORT)
        self.failed(await self.scripted(implicit=served("127.0.0.1").options(), kind=POP3S), faults.CERTIFICATE, "signed by itself")

    async def test_stls_that_is_refused_or_lies(self) -> None:
        offer: dict[bytes, Answer] = {b"CAPA": b"+OK\r\nSTLS\r\nUSER\r\n.\r\n"}
        self.failed(await self.scripted({**offer, b"STLS": b"-ERR Not now\r\n"}), faults.TLS_BROKEN)
        self.failed(await self.scripted({**offer, b"STLS": b"+OK\r\n+OK said in the clear\r\n"}), faults.BABBLE)
        self.assertFalse(any(line.startswith((b"USER", b"PASS")) for line in self.host.lines))

    async def test_no_password_in_the_clear(self) -> None:
        self.patch(probes, "is_loopback", lambda address: False)
        self.failed(await self.scripted(), faults.NO_STARTTLS)
        self.assertFalse(any(line.startswith((b"USER", b"PASS")) for line in self.host.lines))
        self.assertTrue((await self.scripted(verify=False)).ok)
        self.failed(await self.scripted({b"CAPA": b"+OK\r\nUIDL\r\n.\r\n"}, verify=False), faults.AUTH_NEEDS_TLS)

    async def test_logins(self) -> None:
        for script, kind in (
            ({b"PASS": b"-ERR [AUTH] Wrong\r\n"}, faults.WRONG_PASSWORD),
            ({b"USER": b"-ERR Nobody\r\n"}, faults.WRONG_PASSWORD),
            ({b"PASS": b"-ERR [IN-USE] Locked\r\n"}, faults.LOGIN_REFUSED),
            ({b"PASS": b"-ERR [SYS/TEMP] Later\r\n"}, faults.LOGIN_REFUSED),
            ({b"PASS": b"250 Fine\r\n"}, faults.BABBLE),
            ({b"PASS": None}, faults.CLOSED),
            ({b"STAT": b"+OK many\r\n"}, faults.BABBLE),
        ):
            self.failed(await self.scripted(script), kind)  # type: ignore[arg-type]

    async def test_a_host_that_repeats_the_password(self) -> None:
        self.failed(await self.scripted({b"PASS": b"-ERR very secret is wrong\r\n"}), faults.WRONG_PASSWORD, "(hidden)")

    async def test_lines_in_name_or_password(self) -> None:
        for wrong in ({"username": "a\r\nDELE 1"}, {"password": "a\nDELE 1"}, {"password": "a\0b"}):
            self.failed(await self.scripted(**wrong), faults.WRONG_CREDENTIALS)
            self.assertFalse(any(line.startswith((b"USER", b"PASS", b"DELE")) for line in self.host.lines))

    async def test_floods(self) -> None:
        self.patch(conversation, "LIMIT", 100000)
        for script in ({b"": b"+OK " + b"x" * 10000 + b"\r\n"}, {b"": b"x" * 9000}, {b"CAPA": b"+OK\r\n" + b"X\r\n" * 40000}):
            probe = await self.scripted(script)  # type: ignore[arg-type]
            self.failed(probe, faults.FLOOD)
            self.assertLess(len(probe.transcript), 402)


class Hostile(SynchronousTestCase):
    @settings(max_examples=200)
    @given(st.lists(st.sampled_from([b"+OK", b"-ERR no", b".", b"STLS", b"+OK 1 2", b"+ ", b"\xff\x00"]) | st.binary(max_size=20)))
    def test_any_lines(self, lines: list[bytes]) -> None:
        """Whatever comes, the end is a fault or an answer, and nothing waits for ever."""

        def session(call: Call) -> Coroutine[Any, Any, str]:
            return probes._Session(call, call.conversation.transcript, True).run(USER, PASSWORD)

        converse(self, 110, PASSWORD, session, lines)
