"""The session that breaks off, speaks unasked or takes a large message, octet by octet, against a server in memory."""

from twisted.internet.defer import CancelledError, Deferred

from mailx.mail.envelope import Envelope
from mailx.mail.lines import dot_stuff
from mailx.mail.reply import Reply
from mailx.outbound.client import PIECE, UNCERTAIN
from mailx.outbound.hop import NONE, Security, Unreachable
from mailx.outbound.wire import EARLY, LOST
from tests.outbound.peers import ADA, BOB, EHLO, Memory, Outgoing, Transport, envelope
from tests.outbound.test_client import CHUNKING, GO, HOST, OK, STEPS, ClientTests, Delivery


class Lost(ClientTests):
    """The connection ends at every step."""

    def test_before_the_session(self) -> None:
        for say in (b"", b"220 hello\r\n"):
            self.server = Memory()
            delivery = self.server.deliver()
            self.server.connect()
            if say:
                self.server.say(say)
            self.server.drop()
            failure = self.failureResultOf(delivery, Unreachable)
            self.assertEqual((failure.value.reply, failure.value.host), (LOST, HOST))
            self.assertTrue(failure.value.attempt().unreachable)

    def test_in_the_transaction(self) -> None:
        for say in (b"", b"25", OK, OK * 2):
            self.server = Memory()
            delivery = self.server.deliver()
            self.server.greet()
            if say:
                self.server.say(say)
            self.server.drop()
            self.assertEqual(self.replies(delivery), {ADA: LOST})

    def test_refusals_said_before_count(self) -> None:
        delivery = self.server.deliver(ADA, BOB)
        self.server.greet()
        self.server.say(OK + b"550 5.1.1 No\r\n450 4.2.0 Later\r\n")
        self.server.drop()
        self.assertEqual(self.replies(delivery), {ADA: Reply(550, "5.1.1", "No"), BOB: LOST})

    def test_sender_refused_before(self) -> None:
        delivery = self.server.deliver(ADA, BOB)
        self.server.greet()
        self.server.say(b"550 5.7.1 No\r\n")
        self.server.drop()
        self.assertEqual(self.codes(delivery), [550, 550])

    def test_after_the_message(self) -> None:
        """Nobody knows whether it was taken: it is tried again, and the text says so."""
        delivery = self.server.deliver()
        self.server.greet()
        self.server.say(OK * 2 + GO)
        self.server.drop()
        self.assertEqual(self.replies(delivery), {ADA: UNCERTAIN})

    def test_after_the_chunk(self) -> None:
        delivery = self.server.deliver(ADA, BOB)
        self.server.greet(CHUNKING)
        self.server.say(OK + b"550 5.1.1 No\r\n")
        self.server.drop()
        self.assertEqual(self.replies(delivery), {ADA: Reply(550, "5.1.1", "No"), BOB: UNCERTAIN})

    def test_step_by_step(self) -> None:
        for answers in (0, 1, 2):
            self.server = Memory()
            delivery = self.server.deliver()
            self.server.greet(STEPS)
            for _ in range(answers):
                self.server.say(OK)
            self.server.drop()
            self.assertEqual(self.replies(delivery), {ADA: LOST})

    def test_a_session_that_had_ended_is_replaced(self) -> None:
        for ehlo in (EHLO, CHUNKING, STEPS):
            for end in (b"", b"421 4.4.2 Idle for too long\r\n"):
                self.server = Memory()
                first = self.server.deliver()
                self.server.greet(ehlo)
                for _ in range(2):
                    self.server.say(OK)
                for answer in (OK,) if ehlo is CHUNKING else (GO, OK):
                    self.server.say(answer)
                self.assertEqual(self.codes(first), [250])
                delivery = self.server.deliver()
                if end:
                    self.server.say(end)
                self.server.drop()
                self.assertNoResult(delivery)
                self.server.greet()
                self.server.say(OK * 2 + GO)
                self.server.say(OK)
                self.assertEqual(self.codes(delivery), [250])
                self.assertEqual(len(self.server.reactor.tcpClients), 2)

    def test_but_only_once(self) -> None:
        self.server.deliver()
        self.server.greet()
        self.server.say(OK * 2 + GO)
        self.server.say(OK)
        delivery = self.server.deliver()
        self.server.drop()
        self.server.greet()
        self.server.drop()
        self.assertEqual(self.replies(delivery), {ADA: LOST})


class Cancelled(ClientTests):
    def test_the_session_ends(self) -> None:
        delivery = self.server.deliver()
        self.server.greet()
        delivery.cancel()
        self.failureResultOf(delivery, CancelledError)
        self.assertTrue(self.server.transport.aborted)


class Unasked(ClientTests):
    """Answers to nothing: a server that is not in step with us is left."""

    def test_with_the_greeting(self) -> None:
        delivery = self.server.deliver()
        self.server.connect()
        self.server.say(b"220 hello\r\n" + OK)
        self.assertEqual(self.failureResultOf(delivery, Unreachable).value.reply, EARLY)
        self.assertFalse(self.server.transport.open)

    def test_with_the_extensions(self) -> None:
        delivery = self.server.deliver()
        self.server.greet(EHLO + OK)
        self.assertEqual(self.replies(delivery), {ADA: EARLY})

    def test_before_the_message(self) -> None:
        delivery = self.server.deliver()
        self.server.greet()
        self.server.said()
        self.server.say(OK * 2 + GO + OK)
        self.assertEqual(self.server.said(), b"")
        self.assertEqual(self.codes(delivery), [451])

    def test_closing_before_anything_is_asked(self) -> None:
        """The message takes a while to be made ready, and the server does not wait."""
        ready: Deferred[None] = Deferred()

        class Later(Outgoing):
            async def render(self, envelope: Envelope, eight_bit: bool) -> bytes | None:
                await ready
                return await super().render(envelope, eight_bit)

        hop, sent = self.server.hop, envelope()
        delivery = Deferred.fromCoroutine(self.server.pool.deliver("k", hop, Security(NONE), None, 30.0, sent, (ADA,), Later()))
        self.server.greet()
        self.server.say(b"421 4.4.2 Bye\r\n")
        ready.callback(None)
        self.assertEqual(self.replies(delivery), {ADA: Reply(421, "4.4.2", "Bye")})

    def test_a_session_that_is_not_reset(self) -> None:
        """What the server says to the next message then is not about it."""
        for ehlo in (EHLO, STEPS):
            self.server = Memory()
            delivery = self.server.deliver()
            self.server.greet(ehlo)
            self.server.say(b"550 5.7.1 No\r\n")
            if ehlo is EHLO:
                self.server.say(b"503 5.5.1 MAIL first\r\n" * 2)
            self.assertEqual(self.codes(delivery), [550])
            delivery = self.server.deliver()
            self.server.say(b"502 5.5.1 RSET is not known\r\n")
            if ehlo is EHLO:
                self.server.say(b"503 5.5.1 Nested MAIL\r\n" + OK + GO)
            self.assertFalse(self.server.transport.open)
            self.server.greet(ehlo)
            self.server.say(OK)
            self.server.say(OK)
            self.server.say(GO)
            self.server.say(OK)
            self.assertEqual(self.codes(delivery), [250])

    def test_what_is_no_answer_behind_the_last(self) -> None:
        """A "yes" that was said in full counts: the message would arrive once more with each attempt."""
        for stray in (b"\r\n", b"Bye\r\n", b"250-half of\r\n250x\r\n"):
            self.server = Memory()
            delivery = self.server.deliver()
            self.server.greet()
            self.server.say(OK * 2 + GO)
            self.server.say(OK + stray)
            self.assertEqual(self.codes(delivery), [250])
            self.assertFalse(self.server.transport.open)

    def test_half_an_answer_before_the_message(self) -> None:
        delivery = self.server.deliver()
        self.server.greet()
        self.server.said()
        self.server.say(OK * 2 + GO + b"250 O")
        self.assertEqual(self.server.said(), b"")
        self.assertEqual(self.codes(delivery), [451])

    def test_closing_before_the_message(self) -> None:
        delivery = self.server.deliver()
        self.server.greet()
        self.server.say(OK * 2 + GO + b"421 4.3.2 Bye\r\n")
        self.assertEqual(self.replies(delivery), {ADA: Reply(421, "4.3.2", "Bye")})

    def test_while_idle(self) -> None:
        for data in (OK, b"2", b"421 4.4.2 Idle for too long\r\n"):
            self.server = Memory()
            self.server.deliver()
            self.server.greet()
            self.server.say(OK * 2 + GO)
            self.server.say(OK)
            self.assertTrue(self.server.transport.open)
            self.server.say(data)
            self.assertFalse(self.server.transport.open)
            self.server.deliver()
            self.assertEqual(len(self.server.reactor.tcpClients), 2)

    def test_behind_the_last_answer(self) -> None:
        delivery = self.server.deliver()
        self.server.greet()
        self.server.say(OK * 2 + GO)
        self.server.say(OK * 2)
        self.assertEqual(self.codes(delivery), [250])
        self.assertFalse(self.server.transport.open)


class Large(ClientTests):
    """Content that is written as fast as the server takes it."""

    CONTENT = b"Subject: x\r\n\r\n" + b".A line with a dot\r\n" * 20000

    def begin(self, ehlo: bytes) -> Delivery:
        delivery = self.server.deliver(content=self.CONTENT)
        self.server.greet(ehlo)
        self.server.said()
        self.server.say(OK * 2 + (GO if ehlo is EHLO else b""))
        return delivery

    def test_refused_before_it_has_all_gone(self) -> None:
        """What lies in buffers goes first, whatever comes next."""
        delivery = self.begin(EHLO)
        self.pull()
        self.server.say(b"552 5.3.4 Too much\r\n")
        self.assertEqual(self.codes(delivery), [552])
        self.assertTrue(self.server.transport.open)

    def pull(self) -> bytes:
        """What is written until all has gone, one full buffer at a time."""
        taken = b""
        transport = self.server.transport
        while transport.producer is not None:
            data = self.server.said()
            self.assertLess(len(data), Transport.FULL + 2 * PIECE)
            taken += data
            transport.producer.resumeProducing()
        return taken + self.server.said()

    def test_data(self) -> None:
        delivery = self.begin(EHLO)
        self.assertEqual(self.pull(), dot_stuff(self.CONTENT) + b".\r\n")
        self.server.say(OK)
        self.assertEqual(self.codes(delivery), [250])

    def test_chunk(self) -> None:
        delivery = self.begin(CHUNKING)
        self.assertEqual(self.pull(), b"BDAT %d LAST\r\n" % len(self.CONTENT) + self.CONTENT)
        self.server.say(OK)
        self.assertEqual(self.codes(delivery), [250])
