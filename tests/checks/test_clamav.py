"""The virus scanner: what clamd is told, what its answers mean, and every way in which it can be away."""

from typing import Any

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailx.checks import clamav
from mailx.checks.clamav import AWAY, Away, ClamAV, Scan, verdict
from mailx.config import ClamAV as Settings
from mailx.core.policy import Findings
from mailx.mail.address import Address
from mailx.mail.envelope import Envelope, Filing, Origin
from mailx.mail.message import Message

CONTENT = b"Subject: x\r\n\r\nMALICIOUS\r\n"


def envelope(content: Any = CONTENT, size: int = 0) -> Envelope:
    origin = Origin("ESMTP", "c1", "192.0.2.1", 25, "client.example")
    return Envelope("e1", None, (Address.parse("bob@example.net"),), Message(content, size or len(content)), origin)


class Answers(SynchronousTestCase):
    def test_verdicts(self) -> None:
        self.assertEqual(verdict(b"stream: OK"), "")
        self.assertEqual(verdict(b"stream: Win.Test.EICAR_HDB-1 FOUND"), "Win.Test.EICAR_HDB-1")
        self.assertEqual(verdict(b"stream: a\xff <b>\t(1) FOUND"), "a___b___1_")
        self.assertEqual(len(verdict(b"stream: " + b"x" * 900 + b" FOUND")), 100)

    def test_no_verdicts(self) -> None:
        for answer in (
            b"",
            b"stream: ",
            b"stream: OK FOUND?",
            b"INSTREAM size limit exceeded. ERROR",
            b"UNKNOWN COMMAND",
            b"stream: x ERROR",
            b"OK",
            b"stream:  FOUND"[:8],
        ):
            self.assertRaises(Away, verdict, answer)

    @given(st.binary(max_size=60))
    def test_anything(self, answer: bytes) -> None:
        try:
            name = verdict(answer)
        except Away:
            return
        self.assertTrue(name.isascii() and name.isprintable() and " " not in name)


class Session(SynchronousTestCase):
    def scan(self, content: bytes) -> tuple[Scan, StringTransport]:
        scan, transport = Scan(content), StringTransport()
        scan.makeConnection(transport)
        return scan, transport

    def test_pieces(self) -> None:
        for size in (0, 1, 65535, 65536, 65537, 200_000):
            content = bytes(range(256)) * (size // 256 + 1)
            content = content[:size]
            scan, transport = self.scan(content)
            while transport.producer is not None:
                transport.producer.resumeProducing()
            sent = transport.value()
            self.assertTrue(sent.startswith(b"zINSTREAM\0"))
            self.assertEqual(_unchunked(sent.removeprefix(b"zINSTREAM\0")), content)

    def test_back_pressure(self) -> None:
        scan, transport = Scan(b"x" * 500_000), StringTransport()
        write = transport.writeSequence

        def full(pieces: Any) -> None:
            write(pieces)
            scan.pauseProducing()

        transport.writeSequence = full  # type: ignore[method-assign]
        scan.makeConnection(transport)
        sizes = []
        while transport.producer is not None:
            sizes.append(len(transport.value()))
            transport.clear()
            scan.resumeProducing()
        self.assertLess(max(sizes), 70_000)
        self.assertEqual(len(sizes), 8)

    def test_answers(self) -> None:
        scan, transport = self.scan(b"x")
        scan.dataReceived(b"stream: ")
        self.assertNoResult(scan.done)
        scan.dataReceived(b"OK\0more")
        self.assertEqual(self.successResultOf(scan.done), b"stream: OK")
        self.assertTrue(transport.disconnecting or transport.disconnected)
        scan.dataReceived(b"again\0")

    def test_ends(self) -> None:
        scan, _ = self.scan(b"x")
        scan.dataReceived(b"x" * 5000)
        self.failureResultOf(scan.done, Away)
        scan, _ = self.scan(b"x")
        scan.connectionLost()
        self.failureResultOf(scan.done, Away)
        scan.connectionLost()


def _unchunked(data: bytes) -> bytes:
    content = b""
    while size := int.from_bytes(data[:4]):
        content += data[4 : 4 + size]
        data = data[4 + size :]
    assert data == b"\0\0\0\0"
    return content


class _Clamd(Protocol):
    """Finds a word; ``manner`` of its factory says what else it does."""

    def __init__(self) -> None:
        self.received = b""

    def dataReceived(self, data: bytes) -> None:
        factory: Any = self.factory
        self.received += data
        if factory.manner == "close":
            self.transport.loseConnection()  # type: ignore[union-attr]
        elif factory.manner == "early":
            self.transport.write(b"INSTREAM size limit exceeded. ERROR\0")  # type: ignore[union-attr]
            self.transport.loseConnection()  # type: ignore[union-attr]
        elif factory.manner == "answer" and self.received.endswith(b"\0\0\0\0"):
            content = _unchunked(self.received.removeprefix(b"zINSTREAM\0"))
            factory.scanned.append(content)
            found = b"Test.Sig-1(x) FOUND" if b"MALICIOUS" in content else b"OK"
            self.transport.write(b"stream: " + found + b"\0")  # type: ignore[union-attr]

    def connectionLost(self, reason: Any = None) -> None:
        self.factory.open.discard(self)  # type: ignore[union-attr]
        self.factory.waiters and self.factory.waiters.pop().callback(None)  # type: ignore[union-attr]

    def connectionMade(self) -> None:
        self.factory.open.add(self)  # type: ignore[union-attr]


class Policy(TestCase):
    def setUp(self) -> None:
        from twisted.internet import reactor

        self.factory: Any = ServerFactory()
        self.factory.noisy = False
        self.factory.protocol = _Clamd
        self.factory.manner, self.factory.scanned, self.factory.open, self.factory.waiters = "answer", [], set(), []
        self.path = "/tmp/" + self.mktemp().replace("/", "-")[-60:]
        for port in (reactor.listenUNIX(self.path, self.factory), reactor.listenTCP(0, self.factory, interface="127.0.0.1")):  # type: ignore[attr-defined]
            self.addCleanup(port.stopListening)
        self.port = port.getHost().port
        self.reactor = reactor
        self.addCleanup(self.gone)

    async def gone(self) -> None:
        """Fires when no connection is open."""
        while self.factory.open:
            waiter: Deferred[None] = Deferred()
            self.factory.waiters.append(waiter)
            await waiter

    async def ask(self, mail: Envelope | None = None, **settings: Any) -> tuple[Any, Findings]:
        findings = Findings()
        policy = ClamAV(Settings(**{"socket": self.path, **settings}), self.reactor)
        return await policy.check(mail or envelope(), findings), findings

    async def test_found(self) -> None:
        reply, findings = await self.ask()
        self.assertEqual((reply.code, reply.enhanced), (550, "5.7.1"))
        self.assertEqual(reply.text, "The message holds malicious software: Test.Sig-1_x_")
        self.assertEqual(findings.verdicts, {"virus": "found Test.Sig-1_x_"})
        reply, findings = await self.ask(found="junk")
        self.assertEqual((reply, findings.junk), (None, True))
        self.assertEqual(self.factory.scanned, [CONTENT, CONTENT])

    async def test_clean(self) -> None:
        for socket in (self.path, f"127.0.0.1:{self.port}", f"localhost:{self.port}"):
            reply, findings = await self.ask(envelope(b"Subject: y\r\n\r\n" + b"z" * 300_000), socket=socket)
            self.assertEqual((reply, findings.verdicts, findings.junk), (None, {"virus": "none"}, False))

    async def test_not_scanned(self) -> None:
        for mail in (envelope(size=5000), evolve(envelope(), filing=Filing("INBOX"))):
            self.assertIsNone((await self.ask(mail, max_size=4096))[0])
        self.assertIsNone((await self.ask(socket=""))[0])
        self.assertEqual(self.factory.scanned, [])

    async def test_spooled(self) -> None:
        class Spooled:
            size = len(CONTENT)

            def read(self) -> bytes:
                return CONTENT

        self.assertEqual((await self.ask(envelope(Spooled(), len(CONTENT))))[0].code, 550)

        class Broken(Spooled):
            def read(self) -> bytes:
                raise OSError

        self.assertEqual((await self.ask(envelope(Broken(), len(CONTENT))))[0], AWAY)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    async def test_away(self) -> None:
        for manner in ("close", "early"):
            self.factory.manner = manner
            for size in (10, 3_000_000):
                reply, findings = await self.ask(envelope(b"x" * size))
                self.assertEqual((reply, findings.verdicts), (AWAY, {"virus": "unknown"}))
            self.assertIsNone((await self.ask(away="accept"))[0])
        for socket in (self.path + "-none", "127.0.0.1:1"):
            self.assertEqual((await self.ask(socket=socket))[0], AWAY)

    async def test_a_crowd(self) -> None:
        self.patch(clamav, "_AT_ONCE", 2)
        policy = ClamAV(Settings(socket=self.path), self.reactor)
        asked = [Deferred.fromCoroutine(policy.check(envelope(), Findings())) for _ in range(20)]
        for each in asked:
            self.assertEqual((await each).code, 550)


class Silence(SynchronousTestCase):
    def test_too_slow(self) -> None:
        """The time counts from the first moment, whether a message waits for its turn, a connection or an answer."""
        clock, scans = Clock(), []

        class Endpoint:
            def connect(self, factory: Any) -> "Deferred[Any]":
                protocol = factory.buildProtocol(None)
                protocol.makeConnection(StringTransport())
                scans.append(protocol)
                done: Deferred[Any] = Deferred()
                done.callback(protocol)
                return done

        self.patch(clamav, "_AT_ONCE", 1)
        policy = ClamAV(Settings(socket="/nowhere", timeout=30), clock)
        policy._endpoint = Endpoint()
        asked = [Deferred.fromCoroutine(policy.check(envelope(), Findings())) for _ in range(2)]
        clock.advance(29)
        self.assertEqual(len(scans), 1)
        clock.advance(1)
        for each in asked:
            self.assertEqual(self.successResultOf(each), AWAY)
        self.assertEqual(clock.getDelayedCalls(), [])
        third = Deferred.fromCoroutine(policy.check(envelope(), Findings()))
        scans[-1].dataReceived(b"stream: OK\0")
        self.assertIsNone(self.successResultOf(third), "turns are given back")
