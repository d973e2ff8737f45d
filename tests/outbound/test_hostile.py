"""Servers that are slow, endless, out of step or full of tricks: every wait ends, memory stays small, the mail stays queued."""

import tracemalloc
from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailx.core.courier import Attempt
from mailx.mail.lines import dot_stuff
from mailx.mail.reply import Reply
from mailx.outbound.client import COMMAND_TIME, UNCERTAIN
from mailx.outbound.dialogue import GREETING_TIME, HELLO_TIME
from mailx.outbound.hop import NONE, Hop, Security, Unreachable
from mailx.outbound.wire import BABBLE, BLOCK_TIME, EARLY, END_TIME, GROUP_FACTOR, LINGER, LOST, MINIMUM_RATE, SLOW, STUCK
from tests.outbound.peers import ADA, BOB, CONTENT, EHLO, Memory, Outgoing, Sinks, envelope, listen, pool, turn

OK, GO = b"250 2.0.0 Ok\r\n", b"354 Go\r\n"
LARGE = b"Subject: x\r\n\r\n" + b".A line with a dot\r\n" * 20000


class Slow(SynchronousTestCase):
    """A server that does not answer is given up, neither before nor long after its time (RFC 5321 4.5.3.2)."""

    def setUp(self) -> None:
        self.server = Memory()

    def wait(self, delivery: "Deferred[Any]", seconds: float) -> None:
        self.server.pass_time(seconds - 2)
        self.assertNoResult(delivery)
        self.server.pass_time(4)

    def reply(self, delivery: "Deferred[Mapping[Any, Attempt]]") -> Reply:
        return self.successResultOf(delivery)[ADA].reply

    def test_greeting(self) -> None:
        delivery = self.server.deliver()
        self.server.connect()
        self.wait(delivery, GREETING_TIME)
        self.assertEqual(self.failureResultOf(delivery, Unreachable).value.reply, SLOW)

    def test_endless_greeting(self) -> None:
        """Lines that come every minute do not make the answer take any longer."""
        delivery = self.server.deliver()
        self.server.connect()
        for _ in range(6):
            self.server.say(b"220-wait\r\n")
            self.server.pass_time(60)
        self.assertEqual(self.failureResultOf(delivery, Unreachable).value.reply, SLOW)

    def test_extensions(self) -> None:
        delivery = self.server.deliver()
        self.server.connect()
        self.server.say(b"220 hello\r\n")
        self.wait(delivery, HELLO_TIME)
        self.assertEqual(self.failureResultOf(delivery, Unreachable).value.reply, SLOW)

    def test_transaction(self) -> None:
        for said in (b"", OK, OK * 2):
            self.server = Memory()
            delivery = self.server.deliver()
            self.server.greet()
            if said:
                self.server.say(said)
            self.wait(delivery, COMMAND_TIME)
            self.assertEqual(self.reply(delivery), SLOW)
            self.assertTrue(self.server.transport.aborted)

    def test_answers_that_drip(self) -> None:
        everybody = (ADA, BOB) * 40
        recipients = tuple(dict.fromkeys(each.__class__(f"{each.local}{place}", each.domain) for place, each in enumerate(everybody)))
        delivery = self.server.deliver(*recipients)
        self.server.greet()
        waited = 0.0
        while self.server.transport.open:
            self.server.say(OK)
            self.server.pass_time(COMMAND_TIME - 5)
            waited += COMMAND_TIME - 5
        self.assertLess(waited, COMMAND_TIME * (GROUP_FACTOR + 1))
        self.assertEqual({attempt.reply for attempt in self.successResultOf(delivery).values()}, {SLOW})

    def test_end_of_the_message(self) -> None:
        delivery = self.server.deliver()
        self.server.greet()
        self.server.say(OK * 2 + GO)
        self.wait(delivery, END_TIME)
        self.assertEqual(self.reply(delivery), UNCERTAIN)

    def test_end_of_a_message_that_went_with_the_commands(self) -> None:
        """All answers may come together, after the server has looked at the message (RFC 2920 3.2)."""
        delivery = self.server.deliver()
        self.server.greet(EHLO.replace(b"250-PIPELINING", b"250-CHUNKING\r\n250-PIPELINING"))
        self.wait(delivery, END_TIME)
        self.assertEqual(self.reply(delivery), UNCERTAIN)

    def test_whoever_is_slow_is_not_asked_twice(self) -> None:
        """Not even over another connection, as when an idle one had ended: he may still be taking the message."""
        first = self.server.deliver()
        self.server.greet(EHLO.replace(b"250-PIPELINING", b"250-CHUNKING\r\n250-PIPELINING"))
        self.server.say(OK * 3)
        self.assertEqual(self.reply(first).code, 250)
        delivery = self.server.deliver()
        self.wait(delivery, END_TIME)
        self.assertEqual(self.reply(delivery), UNCERTAIN)
        self.assertEqual(len(self.server.transports), 1)

    def test_content_that_is_not_taken(self) -> None:
        delivery = self.server.deliver(content=LARGE)
        self.server.greet()
        self.server.say(OK * 2 + GO)
        self.assertIsNotNone(self.server.transport.producer)
        self.wait(delivery, BLOCK_TIME)
        self.assertEqual(self.reply(delivery), STUCK)
        self.assertIsNone(self.server.transport.producer)

    def test_content_that_is_taken_in_drops(self) -> None:
        """Each piece goes in time, all of them together do not."""
        content = LARGE * 20
        delivery = self.server.deliver(content=content)
        self.server.greet()
        self.server.say(OK * 2 + GO)
        waited = 0.0
        while not delivery.called:
            self.server.pass_time(BLOCK_TIME - 10)
            waited += BLOCK_TIME - 10
            self.server.said()
            if self.server.transport.producer is not None:
                self.server.transport.producer.resumeProducing()
        self.assertEqual(self.reply(delivery), STUCK)
        self.assertLess(waited, BLOCK_TIME + END_TIME + len(content) / MINIMUM_RATE + BLOCK_TIME)

    def test_goodbye(self) -> None:
        self.server.deliver()
        self.server.greet()
        self.server.say(OK * 2 + GO)
        self.server.say(OK)
        self.server.said()
        self.server.pass_time(12)  # idle for too long
        self.assertEqual(self.server.said(), b"QUIT\r\n")
        self.assertTrue(self.server.transport.open)
        self.server.pass_time(LINGER + 2)
        self.assertTrue(self.server.transport.aborted)
        self.server.pass_time(3)
        self.assertEqual(self.server.reactor.getDelayedCalls(), [])


class Babbling(SynchronousTestCase):
    """What is no SMTP ends the session at once."""

    def setUp(self) -> None:
        self.server = Memory()

    NONSENSE = (
        b"HTTP/1.1 400 Bad Request\r\n",
        b"999 What\r\n",
        b"150 Wait\r\n",
        b"\0\0\0\0\r\n",
        b"\x16\x03\x01\x00\n",
        b"250-a\r\n251 b\r\n",
        b"2" * 300_000,
        b"250-x\r\n" * 50_000,
    )

    def test_greeting(self) -> None:
        for nonsense in self.NONSENSE:
            self.server = Memory()
            delivery = self.server.deliver()
            self.server.connect()
            self.server.say(nonsense)
            self.assertEqual(self.failureResultOf(delivery, Unreachable).value.reply, BABBLE)
            self.assertTrue(self.server.transport.aborted)

    def test_transaction(self) -> None:
        for nonsense in self.NONSENSE:
            self.server = Memory()
            delivery = self.server.deliver(ADA, BOB)
            self.server.greet()
            self.server.say(OK + b"550 5.1.1 No\r\n" + nonsense)
            replies = [attempt.reply for attempt in self.successResultOf(delivery).values()]
            self.assertEqual(replies, [BABBLE, BABBLE])  # nobody knows which answers were true

    def test_greeting_refused(self) -> None:
        for greeting, code in (
            (b"554 5.3.2 No service\r\n", 554),
            (b"421 4.3.2 Busy\r\n", 421),
            (b"250 Odd\r\n", 451),
            (b"354 Odd\r\n", 451),
        ):
            self.server = Memory()
            delivery = self.server.deliver()
            self.server.connect()
            self.server.say(greeting)
            failure = self.failureResultOf(delivery, Unreachable).value
            self.assertEqual((failure.reply.code, failure.host), (code, "mx.example.net [192.0.2.1]:25"))

    def test_extensions_refused(self) -> None:
        for answers, code in (((b"421 Busy\r\n",), 421), ((b"450 Later\r\n",), 450), ((b"550 No\r\n", b"550 No\r\n"), 550)):
            self.server = Memory()
            delivery = self.server.deliver()
            self.server.connect()
            self.server.say(b"220 hello\r\n")
            for answer in answers:
                self.server.say(answer)
            self.assertEqual(self.failureResultOf(delivery, Unreachable).value.reply.code, code)

    def test_hostile_extensions(self) -> None:
        many = b"".join(b"250-X%d %b\r\n" % (place, b"y" * 1000) for place in range(120))
        odd = b"250-SIZE \x00\x1b[2J\r\n250-=\r\n250-\r\n250-LIMITS RCPTMAX=-1 =5 MAILMAX=x RCPTMAX\r\n"
        delivery = self.server.deliver()
        self.server.greet(many + odd + EHLO)
        self.server.say(OK * 2 + GO)
        self.server.say(OK)
        self.assertTrue(self.successResultOf(delivery)[ADA].reply.done)

    def test_replies_are_made_safe(self) -> None:
        delivery = self.server.deliver()
        self.server.greet()
        self.server.say(OK + b"550 5.1.1 \x1b]0;evil\x07\xff\r and more" + b"x" * 5000 + b"\r\n" + b"503 x\r\n")
        reply = self.successResultOf(delivery)[ADA].reply
        self.assertTrue(reply.text.isprintable())
        self.assertEqual((reply.code, reply.enhanced, len(reply.text)), (550, "5.1.1", 500))

    def test_memory(self) -> None:
        """An endless answer in small pieces keeps a few kilobytes."""
        delivery = self.server.deliver()
        self.server.greet()
        tracemalloc.start()
        try:
            for _ in range(100):
                self.server.say(b"x" * 1000 if self.server.transport.open else b"")
            for _ in range(3):
                self.server.say(b"250-" + b"y" * 60_000)
            self.assertLess(tracemalloc.get_traced_memory()[1], 300_000)
        finally:
            tracemalloc.stop()
        self.server.drop()
        self.successResultOf(delivery)


# What a server may do next: say something, say it in pieces, say nothing for a while, take some content, close.
SAYINGS = st.sampled_from(
    [
        OK,
        OK,
        OK,
        GO,
        b"220 hello\r\n",
        b"250-a\r\n",
        b"250 SIZE\r\n",
        b"450 4.2.0 Later\r\n",
        b"550 5.1.1 No\r\n",
        b"421 4.3.2 Bye\r\n",
        b"2",
        b"50",
        b" ",
        b"\r\n",
        b"\n",
        b"334 eA==\r\n",
        b"999 \xff\r\n",
        b"\0",
    ]
)
ACTS = st.lists(st.one_of(SAYINGS, st.sampled_from(["wait", "take", "close"]), st.integers(1, 700)), max_size=40)
EHLOS = st.sampled_from([EHLO, EHLO.replace(b"PIPELINING", b"PIPELINING\r\n250-CHUNKING"), EHLO.replace(b"250-PIPELINING\r\n", b"")])


class Anything(SynchronousTestCase):
    @given(EHLOS, st.integers(-1, 6), ACTS, st.booleans())
    def test_whatever_the_server_does(self, ehlo: bytes, good: int, acts: list[Any], large: bool) -> None:
        """The delivery ends, every recipient has its answer, each reply is safe, and "yes" was said to a whole message."""
        server = Memory()
        content = LARGE if large else CONTENT
        delivery = server.deliver(ADA, BOB, content=content)
        written = b""
        if good < 0:
            server.connect()
        else:
            server.greet(ehlo)
        as_it_should = [OK, OK, OK, OK if b"CHUNKING" in ehlo else GO, "all", OK]
        for act in as_it_should[: max(good, 0)] + acts:  # well at first, and then anything
            written += self.act(server, act)
        for _ in range(30):  # and then nothing more
            server.pass_time(END_TIME)
            if server.transport.open and server.transport.producer is None and delivery.called:
                break
            written += server.said()
        result = delivery.result if delivery.called else None
        if isinstance(result, Failure):
            self.assertTrue(self.failureResultOf(delivery, Unreachable).value.reply.code >= 400)
            return
        found = self.successResultOf(delivery)
        self.assertEqual(list(found), [ADA, BOB])
        for attempt in found.values():
            self.assertTrue(attempt.reply.done or 400 <= attempt.reply.code < 600)
            self.assertTrue(attempt.reply.text.isprintable())
            if attempt.reply.done:
                self.assertIn(content if b"BDAT" in written else dot_stuff(content) + b".\r\n", written)

    def act(self, server: Memory, act: Any) -> bytes:
        if not server.transport.open:
            return b""
        written = server.said()
        if isinstance(act, bytes):
            server.say(act)
        elif isinstance(act, int):
            server.pass_time(act)
        elif act == "wait":
            server.pass_time(BLOCK_TIME + 5)
        elif act == "close":
            server.drop()
        elif act == "all":
            while server.transport.producer is not None:
                server.transport.producer.resumeProducing()
                written += server.said()
        elif server.transport.producer is not None:
            server.transport.producer.resumeProducing()
        return written + server.said()


class TooEarly(SynchronousTestCase):
    """Answers while the content still flows."""

    def begin(self) -> tuple[Memory, "Deferred[Any]"]:
        server = Memory()
        delivery = server.deliver(content=LARGE)
        server.greet()
        server.say(OK * 2 + GO)
        return server, delivery

    def test_a_yes_to_half_a_message(self) -> None:
        for early in (OK, GO, b"250 O"):
            server, delivery = self.begin()
            server.say(early)
            if early == b"250 O":
                server.drop()
            self.assertEqual(self.successResultOf(delivery)[ADA].reply, LOST if early == b"250 O" else EARLY)
            self.assertFalse(server.transport.open)

    def test_a_no(self) -> None:
        server, delivery = self.begin()
        server.say(b"552 5.3.4 Too much\r\n")
        self.assertEqual(self.successResultOf(delivery)[ADA].reply, Reply(552, "5.3.4", "Too much"))
        self.assertTrue(server.transport.aborted)

    def test_closing(self) -> None:
        server, delivery = self.begin()
        server.say(b"421 4.3.2 Bye\r\n")
        self.assertEqual(self.successResultOf(delivery)[ADA].reply, Reply(421, "4.3.2", "Bye"))

    def test_lost_in_the_middle(self) -> None:
        server, delivery = self.begin()
        server.drop()
        self.assertEqual(self.successResultOf(delivery)[ADA].reply, LOST)


class RealSockets(TestCase):
    """The same over loopback: connections dropped at every step, and content against a server that reads slowly."""

    async def deliver(self, sinks: Sinks, **fields: Any) -> Attempt | Unreachable:
        connections = pool(self)
        hop = Hop("mx.example.net", "127.0.0.1", listen(self, sinks))
        try:
            found = await connections.deliver("k", hop, Security(NONE), None, 5.0, envelope(**fields), (ADA,), Outgoing())
        except Unreachable as unreachable:
            return unreachable
        return found[ADA]

    async def test_dropped_at_every_step(self) -> None:
        for ehlo in (EHLO, EHLO.replace(b"250-PIPELINING\r\n", b""), EHLO.replace(b"PIPELINING", b"PIPELINING\r\n250-CHUNKING")):
            for step in ("", "EHLO", "MAIL", "RCPT", "DATA", "message"):
                sinks = Sinks([(step, None)], ehlo)
                found = await self.deliver(sinks)
                if isinstance(found, Unreachable):
                    self.assertIn(step, ("", "EHLO"))
                    found = found.attempt()
                    self.assertTrue(found.unreachable)
                if step == "DATA" and b"CHUNKING" in ehlo:  # is not said
                    self.assertTrue(found.reply.done)
                    continue
                self.assertTrue(found.reply.temporary, (step, found))
                self.assertEqual(sinks.messages, [])
                if step == "message":
                    self.assertEqual(found.reply, UNCERTAIN)

    async def test_refused(self) -> None:
        from twisted.internet import reactor

        port = reactor.listenTCP(0, Sinks(), interface="127.0.0.1")  # type: ignore[attr-defined]
        number = port.getHost().port
        await port.stopListening()
        with self.assertRaises(Unreachable) as caught:
            await pool(self).connection("k", Hop("mx.example.net", "127.0.0.1", number), Security(NONE), None, 5.0)
        self.assertEqual(caught.exception.reply, Reply(451, "4.4.1", f"Connection refused: mx.example.net [127.0.0.1]:{number}"))
        self.assertEqual(caught.exception.host, "")

    async def test_large_against_a_slow_reader(self) -> None:
        """20 MB to a server that stops reading now and then: it arrives whole, and little of it lies in buffers."""
        content = b"Subject: x\r\n\r\n" + b".0123456789\r\n" * 1_600_000

        def pause(session: Any) -> bytes:
            session.transport.pauseProducing()
            session.transport.reactor.callLater(0.05, session.transport.resumeProducing)
            return b"354 Go"

        tracemalloc.start()
        try:
            for ehlo in (EHLO, EHLO.replace(b"PIPELINING", b"PIPELINING\r\n250-CHUNKING")):
                sinks = Sinks([("DATA", pause)], ehlo)
                sinks.keep = False
                found = await self.deliver(sinks, content=content)
                assert isinstance(found, Attempt)
                self.assertTrue(found.reply.done, found)
                self.assertEqual(sinks.sizes, [len(content)])
            self.assertLess(tracemalloc.get_traced_memory()[1], 12_000_000)
        finally:
            tracemalloc.stop()
        await turn()
