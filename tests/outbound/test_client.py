"""The dialogue octet by octet, against a server in memory: what is written, and what each answer leads to."""

from collections.abc import Mapping

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mailx.core.courier import PLAIN, Attempt
from mailx.mail.address import Address
from mailx.mail.envelope import Demands, Notify, Wish
from mailx.mail.lines import dot_stuff
from mailx.mail.reply import Reply
from mailx.outbound import commands
from mailx.outbound.client import NOT_SEVEN_BIT, OUT_OF_PLACE, RECIPIENTS
from tests.outbound.peers import ADA, BOB, CONTENT, EHLO, Memory

SIZE = len(CONTENT)
MAIL = b"MAIL FROM:<me@example.test> SIZE=%d\r\n" % SIZE
GROUP = MAIL + b"RCPT TO:<ada@example.net>\r\nDATA\r\n"
OK, GO = b"250 2.0.0 Ok\r\n", b"354 Go\r\n"
STUFFED = dot_stuff(CONTENT) + b".\r\n"
CHUNKING = EHLO.replace(b"250-PIPELINING", b"250-CHUNKING\r\n250-PIPELINING")
STEPS = EHLO.replace(b"250-PIPELINING\r\n", b"")
HOST = "mx.example.net [192.0.2.1]:25"

Delivery = Deferred[Mapping[Address, Attempt]]


class ClientTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.server = Memory()

    def replies(self, delivery: Delivery) -> dict[Address, Reply]:
        return {recipient: attempt.reply for recipient, attempt in self.successResultOf(delivery).items()}

    def codes(self, delivery: Delivery) -> list[int]:
        return [reply.code for reply in self.replies(delivery).values()]


class OneMessage(ClientTests):
    def test_pipelined(self) -> None:
        delivery = self.server.deliver()
        self.server.greet()
        self.assertEqual(self.server.said(), GROUP)
        self.server.say(OK + b"250 2.1.5 Fine\r\n" + GO)
        self.assertEqual(self.server.said(), STUFFED)
        self.server.say(b"250 2.0.0 Queued as 1\r\n")
        self.assertEqual(self.successResultOf(delivery), {ADA: Attempt(Reply(250, "2.0.0", "Queued as 1"), HOST, PLAIN, "", reports=True)})
        self.assertTrue(self.server.transport.open)

    def test_step_by_step(self) -> None:
        delivery = self.server.deliver(ADA, BOB)
        self.server.greet(STEPS)
        for said, say in (
            (MAIL, OK),
            (b"RCPT TO:<ada@example.net>\r\n", OK),
            (b"RCPT TO:<bob@example.net>\r\n", b"550 5.1.1 No\r\n"),
            (b"DATA\r\n", GO),
            (STUFFED, OK),
        ):
            self.assertEqual(self.server.said(), said)
            self.server.say(say)
        self.assertEqual(self.codes(delivery), [250, 550])

    def test_chunking(self) -> None:
        delivery = self.server.deliver()
        self.server.greet(CHUNKING)
        self.assertEqual(self.server.said(), MAIL + b"RCPT TO:<ada@example.net>\r\nBDAT %d LAST\r\n" % SIZE + CONTENT)
        self.server.say(OK * 3)
        self.assertEqual(self.codes(delivery), [250])

    def test_chunking_step_by_step(self) -> None:
        delivery = self.server.deliver()
        self.server.greet(CHUNKING.replace(b"250-PIPELINING\r\n", b""))
        for said in (MAIL, b"RCPT TO:<ada@example.net>\r\n", b"BDAT %d LAST\r\n" % SIZE + CONTENT):
            self.assertEqual(self.server.said(), said)
            self.server.say(OK)
        self.assertEqual(self.codes(delivery), [250])

    def test_helo(self) -> None:
        delivery = self.server.deliver()
        self.server.connect()
        self.server.say(b"220-several\r\n220 lines\r\n")
        self.server.say(b"502 5.5.1 What?\r\n")
        self.assertEqual(self.server.said(), b"EHLO me.example.test\r\nHELO me.example.test\r\n")
        self.server.say(OK)
        self.assertEqual(self.server.said(), b"MAIL FROM:<me@example.test>\r\n")
        self.server.say(OK * 1)
        self.server.say(OK)
        self.server.say(GO)
        self.server.say(OK)
        self.assertEqual(self.codes(delivery), [250])

    def test_unended_content_is_ended(self) -> None:
        delivery = self.server.deliver(content=b"Subject: x\r\n\r\nno end")
        self.server.greet()
        self.assertIn(b"SIZE=22\r\n", self.server.said())
        self.server.say(OK * 2 + GO)
        self.assertEqual(self.server.said(), b"Subject: x\r\n\r\nno end\r\n.\r\n")
        self.server.say(OK)
        self.assertEqual(self.codes(delivery), [250])

    def test_a_last_line_without_cr_is_ended(self) -> None:
        """What comes behind a bare LF would not be the end for the server, and neither of us would say anything more."""
        delivery = self.server.deliver(content=b"Subject: x\r\n\r\nbare\n")
        self.server.greet()
        self.server.said()
        self.server.say(OK * 2 + GO)
        self.assertTrue(self.server.said().endswith(b"\r\n.\r\n"))
        self.server.say(OK)
        self.assertEqual(self.codes(delivery), [250])

    def test_the_next_message_uses_the_session(self) -> None:
        for _ in range(3):
            delivery = self.server.deliver()
            if not self.server.transports:
                self.server.greet()
            self.assertEqual(self.server.said(), GROUP)
            self.server.say(OK * 2 + GO)
            self.server.said()
            self.server.say(OK)
            self.assertEqual(self.codes(delivery), [250])
        self.assertEqual(len(self.server.transports), 1)

    def test_dsn(self) -> None:
        wishes = {ADA: Wish(Notify.FAILURE, "rfc822;ada@example.org")}
        self.server.deliver(demands=Demands(returns="FULL", id="q1"), wishes=wishes)
        self.server.greet()
        self.assertEqual(
            self.server.said(),
            MAIL.replace(b"\r\n", b" RET=FULL ENVID=q1\r\n")
            + b"RCPT TO:<ada@example.net> NOTIFY=FAILURE ORCPT=rfc822;ada@example.org\r\nDATA\r\n",
        )

    def test_answers_in_any_pieces(self) -> None:
        delivery = self.server.deliver(ADA, BOB)
        self.server.greet()
        for octet in OK + b"250-2.1.5 a\r\n250 2.1.5 b\r\n" + OK + GO:
            self.server.say(bytes([octet]))
        self.assertEqual(self.server.said().partition(b"DATA\r\n")[2], STUFFED)
        for octet in OK:
            self.server.say(bytes([octet]))
        self.assertEqual(self.codes(delivery), [250, 250])


class Refusals(ClientTests):
    def deliver(self, *answers: bytes, ehlo: bytes = EHLO, to: tuple[Address, ...] = (ADA, BOB)) -> Delivery:
        delivery = self.server.deliver(*to)
        self.server.greet(ehlo)
        for answer in answers:
            self.server.said()
            self.server.say(answer)
        return delivery

    def test_some_recipients(self) -> None:
        delivery = self.deliver(OK + b"450 4.2.0 Greylisted\r\n" + OK + GO, OK)
        self.assertEqual(self.replies(delivery), {ADA: Reply(450, "4.2.0", "Greylisted"), BOB: Reply(250, "2.0.0", "Ok")})

    def test_all_recipients(self) -> None:
        delivery = self.deliver(OK + b"550 5.1.1 No\r\n451 Later\r\n503 5.5.1 Nobody\r\n")
        self.assertEqual(self.replies(delivery), {ADA: Reply(550, "5.1.1", "No"), BOB: Reply(451, "", "Later")})

    def test_all_recipients_and_yet_go_ahead(self) -> None:
        delivery = self.deliver(OK + b"550 5.1.1 No\r\n550 5.1.1 No\r\n" + GO)
        self.assertEqual(self.server.said(), b".\r\n")  # RFC 2920 3.1
        self.server.say(b"554 5.5.1 No recipients\r\n")
        self.assertEqual(self.codes(delivery), [550, 550])
        next_one = self.server.deliver()
        self.assertEqual(self.server.said(), b"RSET\r\n" + GROUP)
        self.server.say(OK * 3 + GO)
        self.server.say(OK)
        self.assertEqual(self.codes(next_one), [250])

    def test_sender(self) -> None:
        for code in (451, 550, 552):
            self.server = Memory()
            delivery = self.deliver(b"%d No\r\n503 a\r\n503 b\r\n503 c\r\n" % code)
            self.assertEqual(self.codes(delivery), [code, code])

    def test_sender_and_yet_go_ahead(self) -> None:
        delivery = self.deliver(b"550 No\r\n" + OK * 2 + GO)
        self.assertEqual(self.server.said(), b".\r\n")
        self.server.say(OK)  # what the server makes of it is its affair: nobody is told "delivered"
        self.assertEqual(self.codes(delivery), [550, 550])

    def test_data(self) -> None:
        delivery = self.deliver(OK + OK + b"550 5.1.1 No\r\n" + b"451 4.3.0 Not now\r\n")
        self.assertEqual(self.replies(delivery), {ADA: Reply(451, "4.3.0", "Not now"), BOB: Reply(550, "5.1.1", "No")})

    def test_data_with_a_yes(self) -> None:
        delivery = self.deliver(OK * 4)
        self.assertEqual(self.replies(delivery), {ADA: OUT_OF_PLACE, BOB: OUT_OF_PLACE})
        self.assertTrue(self.server.transport.aborted)

    def test_content(self) -> None:
        for code in (452, 554):
            self.server = Memory()
            self.assertEqual(self.codes(self.deliver(OK * 3 + GO, b"%d No\r\n" % code)), [code, code])
            self.assertTrue(self.server.transport.open)

    def test_chunk(self) -> None:
        delivery = self.deliver(OK * 3 + b"554 5.7.1 Spam\r\n", ehlo=CHUNKING)
        self.assertEqual(self.codes(delivery), [554, 554])
        self.server.deliver()
        self.assertTrue(self.server.said().startswith(b"RSET\r\nMAIL "))

    def test_chunk_for_nobody(self) -> None:
        delivery = self.deliver(OK + b"550 5.1.1 a\r\n550 5.1.1 b\r\n503 5.5.1 Nobody\r\n", ehlo=CHUNKING)
        self.assertEqual(self.codes(delivery), [550, 550])

    def test_at_the_end_of_the_message_a_go_ahead(self) -> None:
        delivery = self.deliver(OK * 3 + GO, GO)
        self.assertEqual(self.codes(delivery), [451, 451])
        self.assertTrue(self.server.transport.aborted)

    def test_closing_at_every_step(self) -> None:
        bye = b"421 4.3.2 Closing\r\n"
        for answers in ((bye,), (OK + bye,), (OK * 2 + bye,), (OK * 3 + bye,), (OK * 3 + GO, bye)):
            self.server = Memory()
            delivery = self.deliver(*answers)
            self.assertEqual(self.codes(delivery)[-1], 421)
            again = self.server.deliver()
            self.assertNoResult(again)
            self.assertEqual(len(self.server.reactor.tcpClients), 2)

    def test_closing_keeps_what_was_said(self) -> None:
        delivery = self.deliver(OK + b"550 5.1.1 No\r\n421 4.3.2 Closing\r\n")
        self.assertEqual(self.codes(delivery), [550, 421])

    def test_closing_step_by_step(self) -> None:
        delivery = self.deliver(OK, b"421 4.3.2 Closing\r\n", ehlo=STEPS)
        self.assertEqual(self.codes(delivery), [421, 421])
        self.assertFalse(self.server.transport.open)


class Beforehand(ClientTests):
    """What is refused without asking the server."""

    def refused(self, ehlo: bytes, *to: Address, **fields: object) -> dict[Address, Reply]:
        delivery = self.server.deliver(*to, **fields)  # type: ignore[arg-type]
        self.server.greet(ehlo)
        self.assertEqual(self.server.said(), b"")
        return self.replies(delivery)

    def test_size(self) -> None:
        self.assertEqual(self.refused(EHLO.replace(b"50000000", b"10")), {ADA: commands.TOO_LARGE})

    def test_size_unlimited(self) -> None:
        for text in (b"SIZE", b"SIZE 0", b"SIZE many", b"SIZE 99999999999999999999"):
            self.server = Memory()
            self.server.deliver()
            self.server.greet(EHLO.replace(b"SIZE 50000000", text))
            self.assertEqual(self.server.said(), GROUP)

    def test_eight_bit(self) -> None:
        content = "Subject: x\r\n\r\nGr\u00fc\u00dfe\r\n".encode()
        self.assertEqual(self.refused(EHLO.replace(b"250-8BITMIME\r\n", b""), content=content), {ADA: NOT_SEVEN_BIT})
        self.server = Memory()
        self.server.deliver(content=content)
        self.server.greet()
        self.assertTrue(self.server.said().startswith(b"MAIL FROM:<me@example.test> SIZE=%d BODY=8BITMIME\r\n" % len(content)))

    def test_utf8(self) -> None:
        greek = Address("\u03b1", "example.net")
        self.assertEqual(self.refused(EHLO, greek), {greek: commands.NO_UTF8})

    def test_utf8_header(self) -> None:
        content = "Subject: Gr\u00fc\u00dfe\r\n\r\nx\r\n".encode()
        self.assertEqual(self.refused(EHLO, content=content, demands=Demands(utf8=True)), {ADA: commands.NO_UTF8})

    def test_utf8_not_needed_after_all(self) -> None:
        self.server.deliver(demands=Demands(utf8=True))
        self.server.greet()
        self.assertEqual(self.server.said(), GROUP)

    def test_utf8_one_recipient_only(self) -> None:
        greek = Address("\u03b1", "example.net")
        delivery = self.server.deliver(greek, ADA)
        self.server.greet()
        self.assertEqual(self.server.said(), GROUP)
        self.server.say(OK * 2 + GO)
        self.server.say(OK)
        self.assertEqual(self.replies(delivery), {greek: commands.NO_UTF8, ADA: Reply(250, "2.0.0", "Ok")})

    def test_utf8_taken(self) -> None:
        self.server.deliver(Address("\u03b1", "example.net"))
        self.server.greet(EHLO.replace(b"250-8BITMIME", b"250-SMTPUTF8\r\n250-8BITMIME"))
        self.assertIn(" SMTPUTF8\r\nRCPT TO:<\u03b1@example.net>".encode(), self.server.said())

    def test_requiretls(self) -> None:
        self.assertEqual(self.refused(EHLO, demands=Demands(require_tls=True)), {ADA: commands.NO_REQUIRETLS})

    def test_the_session_can_be_used_again(self) -> None:
        self.refused(EHLO, demands=Demands(require_tls=True))
        self.server.deliver()
        self.assertEqual(self.server.said(), GROUP)


class ManyRecipients(ClientTests):
    def test_in_transactions(self) -> None:
        everybody = tuple(Address(f"u{number}", "example.net") for number in range(RECIPIENTS + 1))
        delivery = self.server.deliver(*everybody)
        self.server.greet()
        self.assertEqual(self.server.said().count(b"RCPT"), RECIPIENTS)
        self.server.say(OK * (RECIPIENTS + 1) + GO)
        self.assertEqual(self.server.said(), STUFFED)
        self.server.say(OK)
        self.assertEqual(self.server.said(), MAIL + b"RCPT TO:<u100@example.net>\r\nDATA\r\n")
        self.server.say(OK * 2 + GO)
        self.server.say(b"554 No\r\n")
        self.assertEqual(self.codes(delivery), [250] * RECIPIENTS + [554])

    def test_announced_limit(self) -> None:
        self.server.deliver(ADA, BOB)
        self.server.greet(EHLO.replace(b"250-8BITMIME", b"250-LIMITS RCPTMAX=1 MAILMAX=1\r\n250-8BITMIME"))
        self.assertEqual(self.server.said().count(b"RCPT"), 1)

    def test_announced_limit_of_domains(self) -> None:
        """RFC 9422 4.3."""
        carl = Address("carl", "example.org")
        delivery = self.server.deliver(ADA, carl, BOB)
        self.server.greet(EHLO.replace(b"250-8BITMIME", b"250-LIMITS RCPTDOMAINMAX=1\r\n250-8BITMIME"))
        for recipients in ((ADA, BOB), (carl,)):
            said = self.server.said()
            self.assertEqual(
                [b"<%b>" % str(each).encode() in said for each in (ADA, carl, BOB)], [each in recipients for each in (ADA, carl, BOB)]
            )
            self.server.say(OK * (1 + len(recipients)) + GO)
            self.server.said()
            self.server.say(OK)
        self.assertEqual(self.codes(delivery), [250] * 3)

    def test_too_many_at_a_time(self) -> None:
        """Whom the server does not take with the others it is given again, as long as it takes some each time."""
        carl = Address("carl", "example.net")
        for too_many in (b"452 4.5.3 Too many\r\n", b"552 Too many recipients\r\n"):
            self.server = Memory()
            delivery = self.server.deliver(ADA, BOB, carl)
            self.server.greet()
            self.server.say(OK * 2 + too_many * 2 + GO)
            self.server.said()
            self.server.say(OK)
            self.assertEqual(self.server.said(), MAIL + b"RCPT TO:<bob@example.net>\r\nRCPT TO:<carl@example.net>\r\nDATA\r\n")
            self.server.say(OK + too_many + OK + GO)
            self.server.say(OK)
            self.server.said()
            self.server.say(OK + too_many + b"503 Nobody\r\n")
            self.assertEqual(self.codes(delivery), [250, int(too_many[:3]), 250])

    def test_a_full_mailbox_is_not_too_many(self) -> None:
        delivery = self.server.deliver(ADA, BOB)
        self.server.greet()
        self.server.say(OK * 2 + b"552 5.2.2 Full\r\n" + GO)
        self.server.say(OK)
        self.assertEqual(self.codes(delivery), [250, 552])

    def test_lost_in_the_second(self) -> None:
        """What the first transaction brought stands, and is not tried again."""
        everybody = tuple(Address(f"u{number}", "example.net") for number in range(RECIPIENTS + 1))
        self.server.deliver()
        self.server.greet()
        self.server.say(OK * 2 + GO)
        self.server.say(OK)
        delivery = self.server.deliver(*everybody)
        self.server.say(OK * (RECIPIENTS + 1) + GO)
        self.server.say(OK)
        self.server.drop()
        self.assertEqual(self.codes(delivery), [250] * RECIPIENTS + [451])
        self.assertEqual(len(self.server.reactor.tcpClients), 1)
