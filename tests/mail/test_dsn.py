"""Delivery status notifications: readable by people and programs, whatever the other side wrote."""

from email import message_from_bytes
from email.message import Message
from typing import Any

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.mail.address import Address, AddressError
from mailx.mail.dsn import ACTIONS, FULL_LIMIT, HEADER_LIMIT, Notice, Outcome, printable, render, status

ORIGINAL = (
    b"From: Ada <ada@example.org>\r\nTo: bob@example.net\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n"
    b"Message-ID: <m1@example.org>\r\n\r\nHello Bob\r\n"
)
OUTCOME = Outcome(
    "bob@example.net",
    "failed",
    "5.1.1",
    "rfc822;Bob@example.net",
    "mx.example.net",
    "550 5.1.1 <bob@example.net>: Recipient address rejected: User unknown in virtual mailbox table",
    1_700_000_000,
)
NOTICE = Notice(
    "mail.example.org",
    Address.parse("ada@example.org"),
    "report@mail.example.org",
    "b0undary",
    1_700_000_100,
    "0123456789abcdef",
    (OUTCOME,),
    ORIGINAL,
    arrived=1_699_999_999,
    envelope_id="QQ314159",
)


def parts(octets: bytes) -> tuple[Message, list[Message]]:
    message = message_from_bytes(octets)
    payload = message.get_payload()
    assert isinstance(payload, list), payload
    return message, payload


class Rendering(SynchronousTestCase):
    def test_a_failure(self) -> None:
        message, (text, machine, returned) = parts(render(NOTICE))
        self.assertEqual(message.get_content_type(), "multipart/report")
        self.assertEqual(message.get_param("report-type"), "delivery-status")
        self.assertEqual(message["From"], "Mail Delivery System <MAILER-DAEMON@mail.example.org>")
        self.assertEqual(message["To"], "<ada@example.org>")
        self.assertEqual(message["Auto-Submitted"], "auto-replied")
        self.assertEqual((message["In-Reply-To"], message["References"]), ("<m1@example.org>", "<m1@example.org>"))
        self.assertEqual(message["Message-ID"], "<report@mail.example.org>")
        self.assertEqual(message["Date"], "Tue, 14 Nov 2023 22:15:00 +0000")
        whole, per = machine.get_payload()  # type: ignore[misc]
        self.assertEqual(machine.get_content_type(), "message/delivery-status")
        self.assertEqual(
            whole.items(),  # type: ignore[union-attr]
            [
                ("Original-Envelope-Id", "QQ314159"),
                ("Reporting-MTA", "dns; mail.example.org"),
                ("Arrival-Date", "Tue, 14 Nov 2023 22:13:19 +0000"),
            ],
        )
        self.assertEqual(
            [(name, value.replace("\r\n", "")) for name, value in per.items()],  # type: ignore[union-attr]
            [
                ("Original-Recipient", "rfc822; Bob@example.net"),
                ("Final-Recipient", "rfc822; bob@example.net"),
                ("Action", "failed"),
                ("Status", "5.1.1"),
                ("Remote-MTA", "dns; mx.example.net"),
                ("Diagnostic-Code", f"smtp; {OUTCOME.diagnostic}"),
                ("Last-Attempt-Date", "Tue, 14 Nov 2023 22:13:20 +0000"),
                ("Final-Log-ID", "0123456789abcdef"),
            ],
        )
        self.assertEqual(returned.get_content_type(), "text/rfc822-headers")
        self.assertEqual(returned.get_payload(decode=True), ORIGINAL.partition(b"\r\n\r\n")[0] + b"\r\n")
        told = " ".join(text.get_payload(decode=True).decode().split())  # type: ignore[union-attr]
        for words in ("Grüße", "bob@example.net", "There is no such mailbox.", "typing errors", "mx.example.net said:", "User unknown"):
            self.assertIn(words, told)
        self.assertIn("0123456789abcdef", told)
        self.assertNotIn("Hello Bob", told)

    def test_a_delay(self) -> None:
        late = evolve(OUTCOME, action="delayed", status="4.4.1", remote="", diagnostic="No answer", retry_until=1_700_100_000)
        octets = render(evolve(NOTICE, outcomes=(late,)))
        message, (text, machine, _) = parts(octets)
        self.assertEqual(message["Subject"], "Your message is delayed")
        self.assertIn(b"Will-Retry-Until: Thu, 16 Nov 2023 02:00:00 +0000", octets)
        self.assertIn(b"Diagnostic-Code: x-mailx; No answer", octets)
        self.assertNotIn(b"Remote-MTA", octets)
        self.assertIn("need not send it again", " ".join(str(text.get_payload()).split()))

    def test_success_and_several_recipients(self) -> None:
        outcomes = tuple(Outcome(f"{action}@example.net", action, "2.1.5") for action in ACTIONS[2:])
        message, (text, machine, _) = parts(render(evolve(NOTICE, outcomes=outcomes)))
        self.assertEqual(message["Subject"], "Your message was delivered")
        self.assertEqual([part["Action"] for part in machine.get_payload()[1:]], ["delivered", "relayed", "expanded"])  # type: ignore[index,union-attr]
        for action in ACTIONS[2:]:
            self.assertIn(f"{action}@example.net", str(text.get_payload()))

    def test_the_whole_message(self) -> None:
        octets = render(evolve(NOTICE, full=True))
        self.assertTrue(octets.isascii())
        self.assertIn(b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n\r\n" + ORIGINAL, octets)
        eight = ORIGINAL + "Grüße\r\n".encode()
        octets = render(evolve(NOTICE, full=True, content=eight))
        self.assertIn(b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + eight, octets)
        self.assertEqual(message_from_bytes(octets)["Content-Transfer-Encoding"], "8bit")

    def test_what_cannot_be_returned_whole(self) -> None:
        for bad in (b"x" * 999 + b"\r\n", b"bare\nline\r\n", b"bare\rreturn\r\n", b"nul\0\r\n"):
            octets = render(evolve(NOTICE, full=True, content=ORIGINAL + bad))
            self.assertIn(b"text/rfc822-headers", octets)
            self.assertNotIn(b"Hello Bob", octets)
            self.assertIn(b"The header of your message is attached.", octets)

    def test_sizes_are_bounded(self) -> None:
        content = b"Subject: x\r\n" + b"X-Long: y\r\n" * 100_000 + b"\r\n"
        self.assertLess(len(render(evolve(NOTICE, content=content))), HEADER_LIMIT + 5000)
        content = ORIGINAL + b"Hello\r\n" * 1_000_000
        self.assertLess(len(render(evolve(NOTICE, content=content, full=True))), FULL_LIMIT + 5000)

    def test_international_addresses(self) -> None:
        outcome = evolve(OUTCOME, recipient="grüße@bücher.example", original="utf-8;grüße@bücher.example", diagnostic="550 übel")
        octets = render(evolve(NOTICE, outcomes=(outcome,), utf8=True, content="Subject: Grüße\r\n\r\nx\r\n".encode()))
        self.assertTrue(octets.isascii(), "the path back may be of 7 bits")
        _, (text, machine, returned) = parts(octets)
        self.assertEqual(machine.get_content_type(), "message/global-delivery-status")
        self.assertEqual(machine["Content-Transfer-Encoding"], "quoted-printable")
        self.assertEqual(returned.get_content_type(), "message/global-headers")
        self.assertIn(b"Final-Recipient: utf-8; gr=C3=BC=C3=9Fe@b=C3=BCcher.example\r\n", octets)
        self.assertIn("grüße@bücher.example", text.get_payload(decode=True).decode())  # type: ignore[union-attr]
        ascii_only = render(evolve(NOTICE, outcomes=(evolve(OUTCOME, diagnostic="550 übel"),)))
        self.assertIn(b"Diagnostic-Code: smtp; 550 ?bel\r\n", ascii_only)

    def test_an_international_sender(self) -> None:
        octets = render(evolve(NOTICE, to=Address.parse("grüße@example.org")))
        self.assertIn("To: <grüße@example.org>\r\n".encode(), octets)
        octets = render(evolve(NOTICE, to=Address.parse("\u2028@example.org")))
        self.assertEqual(message_from_bytes(octets)["To"], "undisclosed-recipients:;")

    def test_a_message_id_that_is_none(self) -> None:
        for bad in (b"m1", b"<m 1>", b"<m1>\r\n\tX: y", b"<" + b"m" * 501 + b">", b"<\xff>"):
            message, _ = parts(render(evolve(NOTICE, content=b"Message-ID: " + bad + b"\r\n\r\n")))
            self.assertNotIn("References", message)

    def test_a_guessed_boundary(self) -> None:
        content = b"Subject: x\r\n--b0undary--\r\nX: y\r\n\r\n"
        _, found = parts(render(evolve(NOTICE, content=content)))
        self.assertEqual(len(found), 3)

    def test_what_cannot_stand_in_a_field_is_left_out(self) -> None:
        outcome = evolve(OUTCOME, original="rfc822;a\r\nX-Evil: 1", remote="mx\r\nX-Evil: 1", recipient='"a\x85b"@example.net')
        octets = render(evolve(NOTICE, outcomes=(outcome,), envelope_id="a\nX-Evil: 1"))
        self.assertNotIn(b"\r\nX-Evil", octets)
        for name in (b"Original-Recipient", b"Remote-MTA", b"Original-Envelope-Id"):
            self.assertNotIn(name, octets)
        self.assertIn(rb'utf-8; "a\x{85}b"@example.net', octets)

    def test_status(self) -> None:
        self.assertEqual(status("5.7.30", 550), "5.7.30")
        self.assertEqual([status(bad, 451) for bad in ("", "9.9.9", "4.4", "4.4.1\n", "٤.4.1")], ["4.0.0"] * 5)
        self.assertEqual((status("", 250), status("", 700)), ("2.0.0", "5.0.0"))

    def test_printable(self) -> None:
        self.assertEqual(printable("a\r\n b\x00\u202e\u2028c\ud800"), "a b?? c?")
        self.assertEqual(len(printable("x" * 10_000)), 900)


HOSTILE = st.text(st.sampled_from('aé\r\n\t :;<>@-=?"\\.\x00\x7f\x85\u2028\u202e\ud800\U0001f600'), max_size=40) | st.text(max_size=1200)
OCTETS = st.binary(max_size=300) | st.lists(
    st.sampled_from([b"Subject: ", b"Message-ID: <", b">", b"=?utf-8?b?", b"?=", b"\r\n", b"\r", b"\n", b" ", b"--x", b"\xff", b"y" * 400]),
    max_size=20,
).map(b"".join)


def address(text: str) -> Address:
    try:
        return Address.parse(text)
    except AddressError:
        return Address.parse('"\\" \u2028\u00e9"@example.org')


OUTCOMES = st.builds(
    Outcome,
    recipient=HOSTILE.map(lambda text: str(address(text))),
    action=st.sampled_from(ACTIONS),
    status=st.sampled_from(["5.1.1", "4.4.7", "5.7.999", "2.0.0"]),
    original=HOSTILE | HOSTILE.map(lambda text: f"rfc822;{text}"),
    remote=HOSTILE,
    diagnostic=HOSTILE,
    attempted=st.none() | st.integers(0, 2**33),
    retry_until=st.none() | st.integers(0, 2**33),
)
NOTICES = st.builds(
    Notice,
    hostname=st.just("mail.example.org"),
    to=HOSTILE.map(address),
    message_id=st.just("id@mail.example.org"),
    boundary=st.sampled_from(["x", "b0undary"]),
    now=st.integers(0, 2**33),
    log_id=st.just("0123456789abcdef"),
    outcomes=st.lists(OUTCOMES, min_size=1, max_size=3).map(tuple),
    content=OCTETS,
    full=st.booleans(),
    arrived=st.none() | st.integers(0, 2**33),
    envelope_id=HOSTILE,
    utf8=st.booleans(),
)
HEAD = [
    "Content-Transfer-Encoding",
    "Date",
    "From",
    "To",
    "Subject",
    "Message-ID",
    "In-Reply-To",
    "References",
    "Auto-Submitted",
    "MIME-Version",
    "Content-Type",
]
FIELDS = {
    *("Original-Envelope-Id", "Reporting-MTA", "Arrival-Date", "Original-Recipient", "Final-Recipient", "Action", "Status"),
    *("Remote-MTA", "Diagnostic-Code", "Last-Attempt-Date", "Final-Log-ID", "Will-Retry-Until"),
}


class Hostile(SynchronousTestCase):
    @given(NOTICES)
    def test_always_a_report_of_three_parts(self, notice: Any) -> None:
        octets = render(notice)
        self.assertLessEqual(max(map(len, octets.split(b"\r\n"))), 998)
        self.assertEqual(octets.replace(b"\r\n", b"").count(b"\r") + octets.replace(b"\r\n", b"").count(b"\n"), 0)
        self.assertNotIn(b"\0", octets)
        message, found = parts(octets)
        self.assertEqual([name for name in message.keys() if name not in HEAD], [])
        self.assertEqual(len(set(message.keys())), len(message.keys()))
        self.assertEqual(message["Auto-Submitted"], "auto-replied")
        self.assertEqual((message.defects, len(found)), ([], 3))
        self.assertEqual(found[0].get_content_type(), "text/plain")
        found[0].get_payload(decode=True).decode("utf-8")  # type: ignore[union-attr]

    @given(NOTICES)
    def test_programs_read_what_was_meant(self, notice: Any) -> None:
        machine = parts(render(notice))[1][1]
        if machine.get_content_type() == "message/delivery-status":
            groups: Any = machine.get_payload()
            self.assertEqual(len(groups), 1 + len(notice.outcomes))
            self.assertEqual({name for group in groups for name in group.keys()} - FIELDS, set())
            self.assertEqual([group["Action"] for group in groups[1:]], [outcome.action for outcome in notice.outcomes])
            self.assertEqual([group["Status"] for group in groups[1:]], [outcome.status for outcome in notice.outcomes])
            self.assertTrue(all(group["Final-Recipient"] and not group.defects for group in groups[1:]))
