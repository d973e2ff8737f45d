"""Listeners and the service: limits, the shutdown, real sockets with real TLS and a real client."""

import os
import shutil
import smtplib
import socket
import ssl
import tempfile
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import MemoryReactorClock
from twisted.internet.threads import deferToThread
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailx.config import SMTP, TLS, Server
from mailx.core.metrics import REGISTRY
from mailx.core.proxy import ProxyFactory
from mailx.core.unix import SocketInUse
from mailx.ops.certificates import Certificates
from mailx.smtp.door import LMTP, MX, SUBMISSION, SUBMISSIONS, Door
from mailx.smtp.listener import SMTPListener
from mailx.smtp.server import SMTPService
from mailx.smtp.session import Session
from tests.smtp.fakes import FakeAccess, FakeReception, FakeTLS, Scene, Transport

DONE = Failure(ConnectionDone())
BEGUN = b"EHLO client.example\r\nMAIL FROM:<a@client.example>\r\nRCPT TO:<me@example.test>\r\n"


class LimitTests(SynchronousTestCase):
    def test_port(self) -> None:
        scene = Scene(max_connections=3, max_per_address=3)
        connections = [scene.connect(f"192.0.2.{number}") for number in range(3)]
        _, refused = scene.connect("192.0.2.99")
        self.assertEqual(refused.take(), b"421 4.3.2 Too many connections, try again later\r\n")
        self.assertTrue(refused.disconnecting)
        connections[0][0].connectionLost(DONE)
        _, admitted = scene.connect("192.0.2.99")
        self.assertTrue(admitted.take().startswith(b"220 "))

    def test_address(self) -> None:
        scene = Scene(max_connections=10, max_per_address=2)
        sessions = [scene.connect()[0] for _ in range(2)]
        session, refused = scene.connect()
        self.assertEqual(refused.take(), b"421 4.3.2 Too many connections from your address, try again later\r\n")
        session.connectionLost(DONE)  # a refused connection gives back no place
        self.assertEqual(scene.listener.gate.count, 2)
        self.assertTrue(scene.connect("192.0.2.2")[1].take().startswith(b"220 "))
        sessions[0].connectionLost(DONE)
        self.assertTrue(scene.connect()[1].take().startswith(b"220 "))

    def test_guessed_addresses(self) -> None:
        """Who tries name after name is sent away after as many refusals as a message may have recipients."""
        scene = Scene(recipients=100)
        session, transport = scene.connect()
        session.dataReceived(b"HELO x\r\nMAIL FROM:<>\r\n")
        for _ in range(99):
            session.dataReceived(b"RCPT TO:<nobody@example.test>\r\nRCPT TO:<me@example.test>\r\n")
        self.assertFalse(transport.disconnecting)
        session.dataReceived(b"RCPT TO:<nobody@example.test>\r\n")
        self.assertTrue(transport.take().endswith(b"550 5.1.1 No such mailbox here\r\n421 4.7.0 Too many errors; closing\r\n"))

    def test_counters(self) -> None:
        """Commands are counted by their answers."""

        def count(command: str, outcome: str) -> float:
            return REGISTRY.get_sample_value("mailx_commands_total", {"protocol": "smtp", "command": command, "outcome": outcome}) or 0.0

        names = [("data", "3xx"), ("data", "2xx"), ("rcpt", "5xx"), ("unknown", "5xx")]
        before = [count(*name) for name in names]
        scene = Scene()
        session, _ = scene.connect()
        session.dataReceived(BEGUN + b"RCPT TO:<nobody@example.test>\r\nWHAT\r\nDATA\r\nx\r\n.\r\n")
        self.assertEqual([count(*name) for name in names], [number + 1 for number in before])

    def test_refused_that_stays(self) -> None:
        """Who does not go is cut off."""
        scene = Scene(max_connections=1)
        scene.connect()
        _, refused = scene.connect("192.0.2.2")
        refused.take()
        scene.clock.pump([1] * 12)
        self.assertTrue(refused.aborted)

    def test_refused_in_crowds(self) -> None:
        """Who is sent away may linger for its last words, but no more of them than there are places."""
        scene = Scene(max_connections=3)
        transports = [scene.connect(f"192.0.2.{number}")[1] for number in range(8)]
        self.assertEqual([transport.aborted for transport in transports], [False] * 6 + [True] * 2)

    def test_throttled_guesses(self) -> None:
        """Guesses that are not even judged end the session like those that are."""
        scene = Scene(SUBMISSIONS)
        session, transport = scene.connect()
        transport.handshake()
        session.dataReceived(b"EHLO client.example\r\n" + b"AUTH PLAIN AGxhdGVyAHg=\r\n" * 9)
        said = transport.take()
        self.assertEqual(said.count(b"454 4.7.0 Temporary"), 5)
        self.assertTrue(said.endswith(b"421 4.7.0 Too many errors; closing\r\n"))

    def test_no_clock_runs_for_nobody(self) -> None:
        scene = Scene()
        session, _ = scene.connect()
        session.connectionLost(DONE)
        scene.clock.advance(2)
        self.assertEqual(scene.clock.getDelayedCalls(), [])

    def test_handshake_in_time(self) -> None:
        scene = Scene(SUBMISSIONS, command_timeout=30)
        _, transport = scene.connect()
        scene.clock.pump([1] * 33)
        self.assertTrue(transport.disconnecting)

    def test_answer_in_time(self) -> None:
        """A command that is not answered in time ends the session; a message being stored gets the idle time."""
        scene = Scene(command_timeout=30, idle_timeout=300)
        scene.reception.pending = []
        session, transport = scene.connect()
        session.dataReceived(BEGUN)
        scene.clock.pump([1] * 33)
        self.assertTrue(transport.take().endswith(b"421 4.4.2 Timeout; closing\r\n"))
        scene.reception.pending = None
        session, transport = scene.connect()
        session.dataReceived(BEGUN + b"DATA\r\n")
        scene.reception.pending = []
        session.dataReceived(b"x\r\n.\r\n")
        scene.clock.pump([1] * 60)
        self.assertFalse(transport.disconnecting)
        scene.reception.pending.pop().callback(None)
        self.assertIn(b"250 2.0.0 Message accepted", transport.take())


class ServiceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor: Any = MemoryReactorClock()
        self.reception = FakeReception()

    def service(self, **settings: Any) -> SMTPService:
        self.access = FakeAccess()
        return SMTPService(evolve(SMTP(), **settings), Server(), self.reception, self.access, FakeTLS(), self.reactor)

    def start(self, **settings: Any) -> SMTPService:
        service = self.service(**settings)
        service.privilegedStartService()
        service.startService()
        return service

    def connect(self, service: SMTPService) -> tuple[Session, Transport]:
        transport = Transport("192.0.2.1")
        session = service.listeners[0].buildProtocol(transport.getPeer())
        transport.session = session
        session.makeConnection(transport)
        return session, transport

    def test_ports(self) -> None:
        service = self.start(lmtp_port=24)
        self.assertEqual(
            [(port, interface) for port, _, _, interface in self.reactor.tcpServers],
            [(2525, "127.0.0.1"), (2587, "127.0.0.1"), (2465, "127.0.0.1"), (24, "127.0.0.1")],
        )
        self.assertEqual(list(service.ports), ["smtp", "submission", "submissions", "lmtp"])
        factories = [factory for _, factory, _, _ in self.reactor.tcpServers]
        self.assertEqual([type(factory) for factory in factories], [SMTPListener, SMTPListener, TLSMemoryBIOFactory, SMTPListener])

    def test_off(self) -> None:
        self.start(port=0, submission_port=0, submissions_port=0)
        self.assertEqual(self.reactor.tcpServers, [])

    def test_socket(self) -> None:
        self.start(lmtp_socket="lmtp.sock")
        self.assertEqual([path for path, *_ in self.reactor.unixServers], ["var/lmtp.sock"])

    def test_proxied(self) -> None:
        """The PROXY header stands before TLS."""
        self.start(proxy_from=("192.0.2.0/24",))
        factories = [factory for _, factory, _, _ in self.reactor.tcpServers]
        self.assertEqual({type(factory) for factory in factories}, {ProxyFactory})
        self.assertIsInstance(factories[2].wrappedFactory, TLSMemoryBIOFactory)

    def test_stop_when_idle(self) -> None:
        service = self.start()
        session, transport = self.connect(service)
        stopped = service.stopService()
        self.assertTrue(transport.take().endswith(b"421 4.3.2 Server shutting down, try again later\r\n"))
        self.assertTrue(transport.disconnecting)
        self.assertNoResult(stopped)
        session.connectionLost(DONE)
        self.successResultOf(stopped)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_transaction_finishes(self) -> None:
        service = self.start()
        session, transport = self.connect(service)
        session.dataReceived(BEGUN + b"DATA\r\n")
        transport.take()
        stopped = service.stopService()
        self.assertEqual(transport.take(), b"")
        session.dataReceived(b"last words\r\n.\r\n")
        said = transport.take()
        self.assertRegex(said, rb"\A250 2.0.0 Message accepted[^\r]*\r\n421 4.3.2 Server shutting down, try again later\r\n\Z")
        self.assertEqual(self.reception.messages, [b"last words\r\n"])
        session.connectionLost(DONE)
        self.successResultOf(stopped)

    def test_storing_finishes(self) -> None:
        """A message that is being stored when the server stops is answered."""
        service = self.start()
        session, transport = self.connect(service)
        session.dataReceived(BEGUN + b"DATA\r\n")
        self.reception.pending = []
        session.dataReceived(b"x\r\n.\r\n")
        stopped = service.stopService()
        transport.take()
        self.reception.pending.pop().callback(None)
        self.assertRegex(transport.take(), rb"\A250 [^\r]*\r\n421 ")
        session.connectionLost(DONE)
        self.successResultOf(stopped)

    def test_revoked_account(self) -> None:
        """An account that may no longer be here loses its sessions; a message that is being stored gets its reply."""
        service = self.start(port=0, submission_port=0)
        sessions = [self.connect(service) for _ in range(3)]
        for session, transport in sessions:
            transport.handshake()
            session.dataReceived(b"EHLO client.example\r\n")
        for session, _ in (sessions[0], sessions[2]):
            session.dataReceived(b"AUTH PLAIN AG1lQGV4YW1wbGUudGVzdABzZWNyZXQ=\r\n")
        storing, transport = sessions[2]
        storing.dataReceived(b"MAIL FROM:<me@example.test>\r\nRCPT TO:<me@example.test>\r\nDATA\r\n")
        self.reception.pending = []
        storing.dataReceived(b"x\r\n.\r\n")
        for _, each in sessions:
            each.take()
        (tell,) = self.access.revocations
        tell(7)
        self.assertEqual([each.disconnecting for _, each in sessions], [True, False, False])
        self.assertEqual(sessions[0][1].take(), b"421 4.7.0 Account or password changed; log in again\r\n")
        self.reception.pending.pop().callback(None)
        said = transport.take()
        self.assertTrue(said.startswith(b"250 2.0.0 Message accepted") and b"\r\n421 4.7.0 " in said, said)
        tell(8)
        self.assertFalse(sessions[1][1].disconnecting)

    def test_time_is_up(self) -> None:
        service = self.start(shutdown_seconds=30)
        session, transport = self.connect(service)
        session.dataReceived(BEGUN + b"DATA\r\nnever\r\n")
        transport.take()
        stopped = service.stopService()
        self.reactor.pump([1] * 29)
        self.assertFalse(transport.disconnecting)
        self.reactor.pump([1] * 2)
        self.assertEqual(transport.take(), b"421 4.3.2 Server shutting down, try again later\r\n")
        self.reactor.pump([1] * 2)
        self.assertTrue(transport.aborted)
        self.successResultOf(stopped)
        self.assertEqual(self.reception.contents[0].state, "aborted")
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class SocketTests(TestCase):
    """Python's own client over real sockets, TLS verified."""

    def listen(self, door: Door, **settings: Any) -> int:
        self.reception = FakeReception()
        data = Path(self.mktemp())
        self.certificates = Certificates(TLS(), data, "mx.example.test")
        service = SMTPService(
            evolve(SMTP(), **settings), Server(hostname="mx.example.test"), self.reception, FakeAccess(), self.certificates, reactor
        )
        port = reactor.listenTCP(0, service.factory(door, 2525), interface="127.0.0.1")  # type: ignore[attr-defined]
        service.ports[door.name] = port
        service.running = True
        self.addCleanup(service.stopService)
        number: int = port.getHost().port
        return number

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.certificates.generated))

    def test_submission(self) -> "Deferred[Any]":
        port = self.listen(SUBMISSION)

        def client() -> Any:
            with smtplib.SMTP("127.0.0.1", port, timeout=20) as server:
                server._host = "mx.example.test"  # type: ignore[attr-defined]
                server.starttls(context=self.context())
                server.login("me@example.test", "secret")
                server.sendmail(
                    "me@example.test", ["me@example.test", "you@example.test"], b"Subject: x\r\n\r\n.dots\r\n" + b"yyyyyyyy\r\n" * 30000
                )
                return server.esmtp_features

        async def run() -> None:
            features = await deferToThread(client)
            self.assertIn("auth", features)
            self.assertNotIn("starttls", features)
            (envelope,) = self.reception.envelopes
            self.assertEqual([str(recipient) for recipient in envelope.recipients], ["me@example.test", "you@example.test"])
            self.assertEqual(self.reception.messages[0][:22], b"Subject: x\r\n\r\n.dots\r\ny")
            self.assertTrue(envelope.origin.tls.startswith("TLSv1.3 TLS_"))

        return ensureDeferred(run())

    def test_submission_behind_a_proxy(self) -> "Deferred[Any]":
        """STARTTLS after a PROXY header: the session learns of the handshake, and of the client's address."""
        port = self.listen(SUBMISSION, proxy_from=("127.0.0.0/8",))

        class Proxied(smtplib.SMTP):
            def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
                connection = socket.create_connection((host, port), timeout)
                connection.sendall(b"PROXY TCP4 192.0.2.7 192.0.2.8 40000 587\r\n")
                return connection

        def client() -> None:
            with Proxied("127.0.0.1", port, timeout=20) as server:
                server._host = "mx.example.test"  # type: ignore[attr-defined]
                server.starttls(context=self.context())
                server.login("me@example.test", "secret")
                server.sendmail("me@example.test", ["me@example.test"], b"Subject: x\r\n\r\nhi\r\n")

        async def run() -> None:
            await deferToThread(client)
            (envelope,) = self.reception.envelopes
            self.assertEqual(envelope.origin.address, "192.0.2.7")
            self.assertTrue(envelope.origin.tls.startswith("TLSv1.3 TLS_"))

        return ensureDeferred(run())

    def test_submissions(self) -> "Deferred[Any]":
        port = self.listen(SUBMISSIONS, line_octets=1000)

        def client() -> None:
            context = self.context()
            context.check_hostname = False
            with smtplib.SMTP_SSL("127.0.0.1", port, timeout=20, context=context) as server:
                server.login("me@example.test", "secret")
                for _ in range(3):
                    server.sendmail("me@example.test", ["me@example.test"], b"Subject: x\r\n\r\nhi\r\n")

        async def run() -> None:
            await deferToThread(client)
            self.assertEqual(self.reception.messages, [b"Subject: x\r\n\r\nhi\r\n"] * 3)

        return ensureDeferred(run())

    def test_lmtp(self) -> "Deferred[Any]":
        port = self.listen(LMTP)

        def client() -> Any:
            with smtplib.LMTP("127.0.0.1", port) as server:
                return server.sendmail("", ["me@example.test", "nobody@example.test"], b"Subject: x\r\n\r\nhi\r\n")

        async def run() -> None:
            refused = await deferToThread(client)
            self.assertEqual(refused, {"nobody@example.test": (550, b"5.1.1 No such mailbox here")})
            self.assertEqual(self.reception.messages, [b"Subject: x\r\n\r\nhi\r\n"])

        return ensureDeferred(run())

    def test_unix_socket(self) -> "Deferred[Any]":
        """A front MTA on the same machine speaks LMTP over a Unix socket."""
        directory = tempfile.mkdtemp(prefix="mailx-")  # not mktemp: the path of a socket must be short
        self.addCleanup(shutil.rmtree, directory)
        path = str(Path(directory) / "lmtp")

        def client() -> Any:
            with smtplib.LMTP(path) as server:
                return server.sendmail("", ["me@example.test"], b"Subject: x\r\n\r\nhi\r\n")

        async def run() -> None:
            reception = FakeReception()
            settings = evolve(SMTP(), port=0, submission_port=0, submissions_port=0, lmtp_socket=path)
            service = SMTPService(settings, Server(), reception, FakeAccess(), FakeTLS(), reactor)
            service.startService()
            self.assertEqual(await deferToThread(client), {})
            await service.stopService()
            self.assertEqual(len(reception.envelopes), 1)
            self.assertFalse(Path(path).exists())

        return ensureDeferred(run())

    def test_unix_socket_left_behind(self) -> "Deferred[Any]":
        """What a killed server left is no obstacle, whatever process has its number now; a server that answers is one."""
        directory = tempfile.mkdtemp(prefix="mailx-")
        self.addCleanup(shutil.rmtree, directory)
        path = str(Path(directory) / "lmtp")
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(path)
        Path(path + ".lock").symlink_to(str(os.getppid()))
        settings = evolve(SMTP(), port=0, submission_port=0, submissions_port=0, lmtp_socket=path)
        service, second = [SMTPService(settings, Server(), FakeReception(), FakeAccess(), FakeTLS(), reactor) for _ in range(2)]

        async def run() -> None:
            service.startService()
            self.assertRaises(SocketInUse, second.startService)
            await service.stopService()

        return ensureDeferred(run())

    def test_large_replies(self) -> "Deferred[Any]":
        """A client that sends without reading gets every reply in the end, though the socket filled up."""
        port = self.listen(MX)

        def client() -> int:
            with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
                received = connection.recv(4096)
                for _ in range(200):
                    connection.sendall(b"VRFY x\r\n" * 200)
                connection.sendall(b"QUIT\r\n")
                while chunk := connection.recv(65536):
                    received += chunk
                return received.count(b"252 ")

        async def run() -> None:
            self.assertEqual(await deferToThread(client), 40000)

        return ensureDeferred(run())
