"""Sessions under every cut of their octets, under waiting, under hang-ups, at their limits."""

import re
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.logger import LogLevel, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mailx.mail.reply import Refused, Reply, Unavailable
from mailx.smtp.door import LMTP, SUBMISSIONS, Door
from mailx.smtp.session import Session
from tests.smtp.fakes import Scene, Transport

LOST = Failure(ConnectionLost())
HELLO = b"EHLO client.example\r\n"
TRANSACTION = b"MAIL FROM:<a@client.example>\r\nRCPT TO:<me@example.test>\r\n"
SESSIONS = (
    HELLO + TRANSACTION + b"RCPT TO:<nobody@example.test>\r\nDATA\r\nSubject: x\r\n\r\n..\r\n.x\r\n.\r\nNOOP\r\nQUIT\r\n",
    HELLO + TRANSACTION + b"BDAT 8\r\none\r\n.\r\n" + b"BDAT 0\r\nBDAT 5 LAST\r\nlast\n" + b"BDAT 3\r\nabcBAD\r\n\r\nVRFY x\nQUIT\r\n",
    HELLO + TRANSACTION + b"BDAT 4\r\none\r" + b"BDAT 1\r\n\n" + b"BDAT 0 LAST\r\n" + TRANSACTION + b"RSET\r\n" + b"DATA\r\nQUIT\r\n",
    HELLO
    + TRANSACTION
    + b"DATA\r\n\n.\n\r\n.\r.\r\n\r\n.\r\n"
    + b"N" * 3000
    + b"\r\nNOOP\r\n"
    + TRANSACTION
    + b"DATA\r\nx\r\n.\r\nQUIT\r\n",
    HELLO
    + TRANSACTION
    + b"DATA\r\n"
    + b"y" * 1500
    + b"\r\n.\r\n"
    + b"A\0\r\nB\rC\r\nHELP\r\nMAIL FROM:<b@client.example> X=1\r\nSTARTTLS\r\n",
)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % len(data) for place in places)})
    return [data[start:end] for start, end in pairwise(edges)]


def without_ids(text: bytes) -> bytes:
    return re.sub(rb"delivery \w{16}", b"delivery ID", text)


def play(chunks: list[bytes], waiting: bool = False) -> tuple[bytes, list[bytes], bool]:
    """The replies to ``chunks``, the messages taken, whether the server hung up."""
    scene = Scene(line_octets=1000)
    if waiting:
        scene.reception.pending = []
    session, transport = scene.connect()
    for number, chunk in enumerate(chunks):
        session.dataReceived(chunk)
        if number % 2:
            settle(scene)
    settle(scene)
    return without_ids(transport.take()), scene.reception.messages, transport.disconnecting


def settle(scene: Scene) -> None:
    scene.clock.advance(0)
    while scene.reception.pending:
        scene.reception.pending.pop(0).callback(None)


class ChunkingTests(SynchronousTestCase):
    """However the octets of a session arrive, it says and takes the same."""

    @settings(max_examples=150, deadline=None)
    @given(st.sampled_from(SESSIONS), st.lists(st.integers(0, 5000), max_size=20), st.booleans())
    def test_cuts(self, stream: bytes, places: list[int], waiting: bool) -> None:
        self.assertEqual(play(cut(stream, places), waiting), play([stream]))

    def test_octet_by_octet(self) -> None:
        for stream in SESSIONS:
            self.assertEqual(play([bytes([octet]) for octet in stream]), play([stream]))

    @settings(max_examples=200, deadline=None)
    @given(
        st.lists(
            st.sampled_from(
                [
                    HELLO,
                    TRANSACTION,
                    b"DATA\r\n",
                    b"BDAT 5\r\n",
                    b"BDAT 3 LAST\r\n",
                    b"x",
                    b"\r\n",
                    b".\r\n",
                    b"\n",
                    b"\r",
                    b"RSET\r\n",
                    b"abc\r\n",
                ]
                + [b"\0", b"\xff", b"MAIL FROM:<>\r\n", b"QUIT\r\n", b"STARTTLS\r\n", b"y" * 2500]
            ),
            max_size=25,
        ).map(b"".join),
        st.lists(st.integers(0, 5000), max_size=10),
    )
    def test_soup(self, stream: bytes, places: list[int]) -> None:
        """Random input: the same replies in any chunks, whole lines only, codes from the RFC, nothing left behind."""
        if b"STARTTLS\r\n" in stream:  # what is pipelined behind it and what comes later are told apart by design
            stream = stream.partition(b"STARTTLS\r\n")[0]
        if not stream:
            return
        replies, messages, ended = play(cut(stream, places))
        self.assertEqual((replies, messages, ended), play([stream]))
        self.assertTrue(replies.endswith(b"\r\n"))
        for line in replies.split(b"\r\n")[:-1]:
            self.assertRegex(line, rb"\A[2345][0-5][0-9][ -][\x20-\x7e]*\Z")
        for message in messages:
            self.assertNotRegex(message, rb"\0|\r(?!\n)|(?<!\r)\n")


class HangUpTests(SynchronousTestCase):
    def test_every_octet(self) -> None:
        """A client that vanishes anywhere leaves nothing behind, and only whole messages are taken."""
        for stream in SESSIONS[:3]:
            for end in range(len(stream)):
                scene = Scene()
                session, transport = scene.connect()
                session.dataReceived(stream[:end])
                session.connectionLost(LOST)
                self.check(scene)
                whole = b"\r\n.\r\n" in stream[:end] or re.search(rb"BDAT \d LAST\r\n(last\n)?\Z", stream[:end]) is not None
                if not whole and b"LAST" not in stream[:end]:
                    self.assertEqual(scene.reception.envelopes, [])

    def test_while_waiting(self) -> None:
        """The same with an answer outstanding; the end of DATA is not handed over for a client that has gone."""
        for stream in SESSIONS[:3]:
            scene = Scene()
            scene.reception.pending = []
            session, transport = scene.connect()
            session.dataReceived(stream)
            session.connectionLost(LOST)
            settle(scene)
            self.check(scene)
            self.assertEqual(scene.reception.envelopes, [])

    def check(self, scene: Scene) -> None:
        self.assertEqual(scene.listener.sessions, set())
        self.assertEqual(scene.listener.gate.count, 0)
        self.assertNotIn("open", [content.state for content in scene.reception.contents])
        finished = [content for content in scene.reception.contents if content.state == "finished"]
        self.assertEqual(len(finished), len(scene.reception.envelopes))


class PressureTests(SynchronousTestCase):
    def connect(self, door: Door | None = None, **settings: Any) -> tuple[Scene, Session, Transport]:
        scene = Scene(door, **settings) if door else Scene(**settings)
        session, transport = scene.connect()
        session.dataReceived(HELLO)
        transport.take()
        return scene, session, transport

    def test_slow_store(self) -> None:
        """While the content asks to wait the socket is not read, and nothing is lost."""
        scene, session, transport = self.connect()
        session.dataReceived(TRANSACTION + b"DATA\r\n")
        blocked: Deferred[None] = Deferred()
        scene.reception.blocked = blocked
        session.dataReceived(b"one\r\n")
        self.assertEqual(transport.producerState, "paused")
        scene.reception.blocked = None
        session.dataReceived(b"two\r\n.\r\n")
        self.assertEqual(scene.reception.messages, [])
        blocked.callback(None)
        self.assertEqual(transport.producerState, "producing")
        self.assertEqual(scene.reception.messages, [b"one\r\ntwo\r\n"])

    def test_slow_store_at_the_end(self) -> None:
        scene, session, transport = self.connect()
        session.dataReceived(TRANSACTION)
        blocked: Deferred[None] = Deferred()
        scene.reception.blocked = blocked
        session.dataReceived(b"BDAT 5 LAST\r\none\r\nNOOP\r\n")
        self.assertNotIn(b"accepted", transport.take())
        blocked.callback(None)
        self.assertIn(b"accepted", transport.take())
        self.assertEqual(scene.reception.messages, [b"one\r\n"])

    def test_flood_behind_a_command(self) -> None:
        """What is pipelined behind a waiting command is held up to a bound, then the socket is not read."""
        scene, session, transport = self.connect()
        scene.reception.pending = []
        session.dataReceived(TRANSACTION)
        session.dataReceived(b"NOOP\r\n" * 5000)
        self.assertEqual(transport.producerState, "producing")
        session.dataReceived(b"NOOP\r\n" * 9000)
        self.assertEqual(transport.producerState, "paused")
        settle(scene)
        scene.clock.pump([0] * 300)
        self.assertEqual(transport.take().count(b"250 2.0.0 OK\r\n"), 14000)
        self.assertEqual(transport.producerState, "producing")

    def test_unread_replies(self) -> None:
        """A client that never reads is not served without bound."""
        scene, session, transport = self.connect()
        session.dataReceived(b"HELP\r\n" * 10000)
        scene.clock.pump([0] * 200)
        self.assertTrue(transport.streaming)
        session.pauseProducing()
        transport.take()
        session.dataReceived(b"HELP\r\n" * 10)
        self.assertEqual(transport.take(), b"")
        session.resumeProducing()
        self.assertEqual(transport.take().count(b"214"), 10)
        session.dataReceived(b"QUIT\r\n")
        self.assertIsNone(transport.producer)

    def test_one_write(self) -> None:
        """Replies to a group of commands leave together (RFC 2920)."""
        scene, session, transport = self.connect()
        writes: list[bytes] = []
        transport.write = writes.append  # type: ignore[method-assign,assignment]
        session.dataReceived(TRANSACTION * 1 + b"RCPT TO:<you@example.test>\r\nDATA\r\n")
        self.assertEqual(len(writes), 1)

    def test_others_between(self) -> None:
        """A long pipeline does not hold the reactor: it is executed in slices."""
        scene, session, transport = self.connect()
        session.dataReceived(b"NOOP\r\n" * 1000)
        self.assertLess(transport.take().count(b"250"), 100)
        scene.clock.pump([0] * 30)
        self.assertGreater(transport.take().count(b"250"), 900)


class RefusalTests(SynchronousTestCase):
    """What the reception and the store refuse."""

    def deliver(self, failure: Exception, door: Door | None = None) -> tuple[Scene, bytes]:
        scene = Scene(door) if door else Scene()
        scene.reception.failure = failure
        session, transport = scene.connect()
        session.dataReceived(
            (b"LHLO" if door is LMTP else b"EHLO") + b" client.example\r\n" + TRANSACTION + b"RCPT TO:<you@example.test>\r\nDATA\r\n"
        )
        transport.take()
        session.dataReceived(b"x\r\n.\r\nNOOP\r\n")
        return scene, transport.take()

    def test_refused(self) -> None:
        _, said = self.deliver(Refused(Reply(552, "5.2.2", "Mailbox full"), "private"))
        self.assertEqual(said, b"552 5.2.2 Mailbox full\r\n250 2.0.0 OK\r\n")

    def test_store_away(self) -> None:
        """A locked, full or read-only database is 451, whatever it said."""
        _, said = self.deliver(Unavailable("database is locked"))
        self.assertEqual(said, b"451 4.3.0 Requested action aborted: local error\r\n250 2.0.0 OK\r\n")

    def test_defect(self) -> None:
        """An unexpected failure is logged; its text stays here."""
        _, said = self.deliver(RuntimeError("secret"))
        self.assertEqual(said, b"451 4.3.0 Requested action aborted: local error\r\n250 2.0.0 OK\r\n")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_lmtp(self) -> None:
        """In LMTP every recipient hears of it."""
        _, said = self.deliver(Unavailable("x"), LMTP)
        self.assertEqual(said.count(b"451 4.3.0"), 2)

    def test_defect_before_a_chunk(self) -> None:
        """A chunk that cannot be taken is on its way all the same: the session ends before its octets are commands."""
        scene = Scene()
        scene.reception.content = None  # type: ignore[assignment, method-assign]
        session, transport = scene.connect()
        session.dataReceived(HELLO + TRANSACTION)
        transport.take()
        session.dataReceived(b"BDAT 6 LAST\r\nNOOP\r\nVRFY x\r\n")
        self.assertEqual(transport.take(), b"421 4.3.0 Local error; closing\r\n")
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_reply_is_one_line(self) -> None:
        _, said = self.deliver(Refused(Reply(550, "5.7.1", "two\r\nlines\0")))
        self.assertEqual(said.split(b"\r\n")[0], b"550 5.7.1 two  lines ")


class OriginTests(SynchronousTestCase):
    """How a message came is told truly."""

    def test_protocols(self) -> None:
        scene = Scene()
        session, transport = scene.connect()
        session.dataReceived(b"HELO client.example\r\n" + TRANSACTION + b"DATA\r\nx\r\n.\r\n")
        session.dataReceived(HELLO + TRANSACTION + b"DATA\r\nx\r\n.\r\n")
        session.dataReceived(b"STARTTLS\r\n")
        transport.handshake()
        session.dataReceived(HELLO + TRANSACTION + b"DATA\r\nx\r\n.\r\n")
        session.dataReceived(TRANSACTION.replace(b"example>\r", b"example> SMTPUTF8\r") + b"DATA\r\nx\r\n.\r\n")
        origins = [envelope.origin for envelope in scene.reception.envelopes]
        self.assertEqual([origin.protocol for origin in origins], ["SMTP", "ESMTP", "ESMTPS", "UTF8SMTPS"])
        self.assertEqual([origin.tls for origin in origins], ["", "", *["TLSv1.3 TLS_AES_256_GCM_SHA384"] * 2])
        self.assertEqual(
            {(origin.address, origin.helo, origin.connection) for origin in origins}, {("192.0.2.1", "client.example", session.connection)}
        )

    def test_submission(self) -> None:
        scene = Scene(SUBMISSIONS)
        session, transport = scene.connect()
        transport.handshake()
        session.dataReceived(HELLO + b"AUTH PLAIN AG1lQGV4YW1wbGUudGVzdABzZWNyZXQ=\r\n" + TRANSACTION + b"DATA\r\nx\r\n.\r\n")
        (envelope,) = scene.reception.envelopes
        self.assertEqual((envelope.origin.protocol, envelope.origin.account), ("ESMTPSA", 7))

    def test_trace(self) -> None:
        """The Received field names the client and the envelope's id, which the reply repeats."""
        scene = Scene()
        session, transport = scene.connect()
        session.dataReceived(HELLO + TRANSACTION + b"DATA\r\nx\r\n.\r\n")
        (envelope,) = scene.reception.envelopes
        head = scene.reception.contents[0].head
        self.assertIn(b"from client.example ([192.0.2.1])", head)
        self.assertIn(envelope.id.encode(), head)
        self.assertIn(b"250 2.0.0 Message accepted for delivery " + envelope.id.encode() + b"\r\n", transport.take())

    def test_bare_postmaster(self) -> None:
        """Its Received field names it as the client did."""
        scene = Scene()
        session, _ = scene.connect()
        session.dataReceived(HELLO + b"MAIL FROM:<>\r\nRCPT TO:<POSTMASTER>\r\nDATA\r\nx\r\n.\r\n")
        self.assertIn(b"for <postmaster>", scene.reception.contents[0].head)
        self.assertEqual(len(scene.reception.envelopes), 1)


class SecretsTests(SynchronousTestCase):
    def test_log(self) -> None:
        """No password, no response and no text of a message reaches the log."""
        events: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        scene = Scene(SUBMISSIONS)
        scene.listener.tracing = True
        session, transport = scene.connect()
        transport.handshake()
        session.dataReceived(HELLO + b"AUTH LOGIN\r\nbWVAZXhhbXBsZS50ZXN0\r\nc2VjcmV0\r\n" + TRANSACTION + b"DATA\r\nconfidential\r\n.\r\n")
        session.dataReceived(b"c2VjcmV0 confidential\r\n")
        text = repr(events)
        self.assertNotIn("confidential", text)
        self.assertNotIn("secret", text.replace("secret_file", ""))
        self.assertNotIn("c2vjcmv0", text.lower())
        accepted = [event for event in events if event.get("event") == "smtp.accepted"]
        self.assertEqual(
            [(event["from"], event["recipients_count"], event["size_bytes"]) for event in accepted], [("a@client.example", 1, 14)]
        )
        self.assertEqual({event["connection_id"] for event in events if "connection_id" in event}, {session.connection})
        self.assertIn(LogLevel.debug, [event["log_level"] for event in events])
