"""Mail from a client's socket into real mailboxes: real store, directory, reception and access, real TLS."""

import hashlib
import smtplib
import socket
import ssl
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from mailx.config import TLS
from mailx.ops.certificates import Certificates
from mailx.smtp.door import LMTP, MX, SUBMISSION, SUBMISSIONS, Door
from mailx.smtp.server import SMTPService
from mailx.store import Txn
from tests.core.test_scram import client_final
from tests.scenery import World, world

HOST = "localhost.test"
LETTER = b"From: sender@example.org\r\nTo: me@example.test\r\nSubject: x\r\n\r\nbody\r\n"


class DeliveryTests(TestCase):
    async def scene(self, door: Door, **sections: Any) -> tuple[World, int]:
        """A world and the port of a listener into it."""
        made = await world(self, **sections)
        self.certificates = Certificates(TLS(), Path(self.mktemp()), HOST)
        service = SMTPService(made.config.smtp, made.config.server, made.reception, made.access, self.certificates, reactor)
        port = reactor.listenTCP(0, service.factory(door, 2525), interface="127.0.0.1")  # type: ignore[attr-defined]
        service.ports[door.name] = port
        self.addCleanup(service.stopService)
        self.listener = service.listeners[0]
        return made, port.getHost().port

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.certificates.generated))

    def submit(self, port: int, content: bytes, sender: str = "me@example.test", mechanism: str = "PLAIN") -> Any:
        with smtplib.SMTP("127.0.0.1", port, timeout=20) as server:
            server._host = HOST  # type: ignore[attr-defined]
            server.starttls(context=self.context())
            server.ehlo()
            server.user, server.password = "me@example.test", "secret"
            server.auth(mechanism, getattr(server, f"auth_{mechanism.lower()}"))
            return server.sendmail(sender, ["me@example.test"], content)

    def send(self, port: int, recipients: list[str], content: bytes = LETTER, client: type[smtplib.SMTP] = smtplib.SMTP) -> Any:
        with client("127.0.0.1", port, timeout=20) as server:
            return server.sendmail("sender@example.org", recipients, content)

    def test_mx(self) -> "Deferred[Any]":
        async def run() -> None:
            made, port = await self.scene(MX)
            me = await made.user("me@example.test")
            other = await made.user("other@example.test")
            refused = await deferToThread(
                self.send, port, ["me@example.test", "other+tag@EXAMPLE.test", "nobody@example.test", "x@elsewhere.example"]
            )
            self.assertEqual(
                {address: (code, text[:5]) for address, (code, text) in refused.items()},
                {
                    "nobody@example.test": (550, b"5.1.1"),
                    "x@elsewhere.example": (550, b"5.7.1"),
                },
            )
            for user in (me, other):
                (content,) = await made.contents(user)
                self.assertTrue(content.startswith(b"Return-Path: <sender@example.org>\r\nReceived: from "))
                self.assertTrue(content.endswith(LETTER))

        return ensureDeferred(run())

    def test_large(self) -> "Deferred[Any]":
        """A large message goes through a spool file and comes out as it went in."""
        letter = LETTER + b"".join(b"%070d\r\n" % number for number in range(40000))

        async def run() -> None:
            made, port = await self.scene(MX)
            me = await made.user("me@example.test")
            await deferToThread(self.send, port, ["me@example.test"], letter)
            (content,) = await made.contents(me)
            self.assertTrue(content.endswith(letter))
            self.assertEqual(len(made.files()), 1)

        return ensureDeferred(run())

    def test_large_under_tls(self) -> "Deferred[Any]":
        letter = LETTER + b"".join(b"%070d\r\n" % number for number in range(60000))

        async def run() -> None:
            made, port = await self.scene(SUBMISSION)
            me = await made.user("me@example.test")
            await deferToThread(self.submit, port, letter)
            (content,) = await made.contents(me)
            self.assertTrue(content.endswith(letter[-4000000:]))

        return ensureDeferred(run())

    def test_gone_in_the_middle(self) -> "Deferred[Any]":
        """A client that vanishes in the middle of a large message leaves no file and no message."""

        def client(port: int) -> None:
            with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
                stream = connection.makefile("rwb")
                for line in (b"HELO x", b"MAIL FROM:<>", b"RCPT TO:<me@example.test>", b"DATA"):
                    stream.readline()
                    stream.write(line + b"\r\n")
                    stream.flush()
                stream.readline()
                connection.sendall(LETTER + b"0123456789\r\n" * 300000)

        async def run() -> None:
            made, port = await self.scene(MX)
            me = await made.user("me@example.test")
            await deferToThread(client, port)
            await self.listener.drain()
            while made.files():  # a thread removes it
                await deferLater(reactor, 0.01)  # type: ignore[arg-type]
            self.assertEqual(await made.contents(me), [])

        return ensureDeferred(run())

    def test_too_large(self) -> "Deferred[Any]":
        async def run() -> None:
            made, port = await self.scene(MX, smtp={"message_size": 70000})
            await made.user("me@example.test")
            with self.assertRaises(smtplib.SMTPSenderRefused) as announced:
                await deferToThread(self.send, port, ["me@example.test"], LETTER + b"0123456789\r\n" * 6000)
            self.assertEqual((announced.exception.smtp_code, announced.exception.smtp_error[:5]), (552, b"5.3.4"))

        return ensureDeferred(run())

    def test_refusals(self) -> "Deferred[Any]":
        async def run() -> None:
            made, port = await self.scene(MX)
            full = await made.user("full@example.test")
            away = await made.user("away@example.test")
            await made.accounts.set_quota(full.address, 10)
            await made.accounts.set_state(away.address, "suspended")
            with self.assertRaises(smtplib.SMTPRecipientsRefused) as refused:
                await deferToThread(self.send, port, ["full@example.test", "away@example.test"])
            self.assertEqual(
                {address: (code, text[:5]) for address, (code, text) in refused.exception.recipients.items()},
                {"full@example.test": (552, b"5.2.2"), "away@example.test": (550, b"5.2.1")},
            )

        return ensureDeferred(run())

    def test_full_disk(self) -> "Deferred[Any]":
        """A store that cannot take the message says so for the time being; later the same message comes in, once."""
        letter = LETTER + b"0123456789\r\n" * 9000

        def room(txn: Txn, pages: int) -> None:
            (count,) = txn.one("PRAGMA page_count") or (0,)
            txn.execute(f"PRAGMA max_page_count = {count + pages}")

        async def run() -> None:
            made, port = await self.scene(MX, engine="sqlite")
            me = await made.user("me@example.test")
            await made.store.write(room, 5)
            with self.assertRaises(smtplib.SMTPDataError) as refused:
                await deferToThread(self.send, port, ["me@example.test"], letter)
            self.assertEqual(refused.exception.smtp_code // 10, 45)
            self.assertNotIn(b"sql", refused.exception.smtp_error.lower())  # type: ignore[union-attr]
            self.assertEqual(await made.contents(me), [])
            await made.store.write(room, 100000)
            await deferToThread(self.send, port, ["me@example.test"], letter)
            self.assertEqual(len(await made.contents(me)), 1)

        return ensureDeferred(run())

    def test_submission(self) -> "Deferred[Any]":
        """Who submits is known, sends as himself only, and his message is completed."""

        async def run() -> None:
            made, port = await self.scene(SUBMISSION)
            me = await made.user("me@example.test")
            for mechanism in ("PLAIN", "LOGIN"):
                await deferToThread(self.submit, port, b"Bcc: secret@example.org\r\nSubject: mine\r\n\r\nbody\r\n", mechanism=mechanism)
            contents = await made.contents(me)
            self.assertEqual(len(contents), 2)
            for content in contents:
                self.assertIn(b"with ESMTPSA", content)
                self.assertIn(b"\r\nDate: ", content)
                self.assertIn(b"\r\nMessage-ID: <", content)
                self.assertNotIn(b"secret@example.org", content)
            with self.assertRaises(smtplib.SMTPSenderRefused) as refused:
                await deferToThread(self.submit, port, LETTER, "boss@example.test")
            self.assertEqual((refused.exception.smtp_code, refused.exception.smtp_error[:5]), (550, b"5.7.1"))

        return ensureDeferred(run())

    def test_scram_plus(self) -> "Deferred[Any]":
        """The exchange is bound to the channel that STARTTLS made."""

        def client(port: int) -> tuple[int, bytes]:
            with smtplib.SMTP("127.0.0.1", port, timeout=20) as server:
                server._host = HOST  # type: ignore[attr-defined]
                server.starttls(context=self.context())
                server.ehlo()
                certificate = server.sock.getpeercert(True)  # type: ignore[union-attr]
                first, answers = b"p=tls-server-end-point,,n=me@example.test,r=rOprNGfwEbeRWgbNEkqO", [b""]

                def respond(challenge: bytes | None = None) -> str:
                    if challenge is None:
                        return first.decode()
                    if challenge.startswith(b"v="):
                        answers.append(challenge)
                        return ""
                    final, answers[0] = client_final(b"secret", first, challenge, hashlib.sha256(certificate).digest())
                    return final.decode()

                verdict = server.auth("SCRAM-SHA-256-PLUS", respond)
                assert answers[0] == answers[1], "the server does not know the password"
                return verdict

        async def run() -> None:
            made, port = await self.scene(SUBMISSION, accounts={"channel_binding": True})
            await made.user("me@example.test")
            code, _ = await deferToThread(client, port)
            self.assertEqual(code, 235)

        return ensureDeferred(run())

    def test_wrong_password(self) -> "Deferred[Any]":
        def client(port: int) -> None:
            context = self.context()
            context.check_hostname = False
            with smtplib.SMTP_SSL("127.0.0.1", port, timeout=20, context=context) as server:
                server.login("me@example.test", "wrong")

        async def run() -> None:
            made, port = await self.scene(SUBMISSIONS)
            await made.user("me@example.test")
            with self.assertRaises(smtplib.SMTPAuthenticationError) as refused:
                await deferToThread(client, port)
            self.assertEqual(refused.exception.smtp_code, 535)

        return ensureDeferred(run())

    def test_lmtp(self) -> "Deferred[Any]":
        """One recipient that is full meanwhile does not keep the other from having the message."""

        def client(port: int) -> list[bytes]:
            with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
                connection.sendall(
                    b"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<full@example.test>\r\nRCPT TO:<me@example.test>\r\nDATA\r\n"
                    + LETTER
                    + b"0123456789\r\n" * 500
                    + b".\r\nQUIT\r\n"
                )
                received = b""
                while chunk := connection.recv(4096):
                    received += chunk
                return received.split(b"\r\n")

        async def run() -> None:
            made, port = await self.scene(LMTP)
            me = await made.user("me@example.test")
            full = await made.user("full@example.test")
            await made.accounts.set_quota(full.address, 2000)
            said = await deferToThread(client, port)
            self.assertEqual([line[:9] for line in said[-5:-1]], [b"354 Start", b"552 5.2.2", b"250 2.0.0", b"221 2.0.0"])
            self.assertEqual(len(await made.contents(me)), 1)
            self.assertEqual(await made.contents(full), [])

        return ensureDeferred(run())

    def test_postmaster(self) -> "Deferred[Any]":
        async def run() -> None:
            made, port = await self.scene(MX)
            admin = await made.user("root@example.test", role="admin")
            await deferToThread(self.send, port, ["postmaster", "Postmaster@example.test"])
            (content,) = await made.contents(admin)
            self.assertTrue(content.endswith(LETTER))

        return ensureDeferred(run())
