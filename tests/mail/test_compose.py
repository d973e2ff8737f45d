"""Messages made of values are what they say, whatever the values."""

import re
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.mail.address import Address
from mailx.mail.compose import Attachment, ComposeError, compose, mailbox, media_type

SENDER, TO = Address.parse("no-reply@example.test"), Address.parse("user@example.com")
WORDS = st.text(st.characters(blacklist_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=120)
LINES = st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters="".join(map(chr, [*range(9), 11, 12, *range(14, 32), 127])))
)
NAMES = WORDS.filter(lambda name: name and "/" not in name and "\\" not in name)
FIELDS = ["From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type"]


def made(**values: Any) -> bytes:
    given: dict[str, Any] = {"sender": SENDER, "to": TO, "subject": "Hello", "date": 1.7e9, "message_id": "1@example.test", "text": "Hi\n"}
    return compose(**{**given, **values})


def parsed(content: bytes) -> EmailMessage:
    return message_from_bytes(content, policy=policy.default)  # type: ignore[return-value]


def unfolded(text: str) -> str:
    """As a reader of header fields sees it: white space is one blank."""
    return " ".join(text.split())


class Anything(SynchronousTestCase):
    """No value becomes more than a value."""

    @given(WORDS, WORDS, LINES, LINES)
    def test_texts(self, subject: str, name: str, text: str, html: str) -> None:
        content = made(subject=subject, sender_name=name, text=text, html=html)
        self.assertTrue(content.isascii())
        self.assertNotRegex(content, rb"(?<!\r)\n|\r(?!\n)|\0")
        self.assertLessEqual(max(map(len, content.split(b"\r\n"))), 998)
        head = content.partition(b"\r\n\r\n")[0]
        names = [line.partition(b":")[0].decode() for line in head.split(b"\r\n") if line[:1] not in b" \t"]
        self.assertEqual([each for each in names if each != "Content-Transfer-Encoding"], FIELDS)
        message = parsed(content)
        self.assertEqual(unfolded(message["Subject"]), unfolded(subject))
        self.assertEqual(message["From"].addresses[0].addr_spec, str(SENDER))
        leaves = [part for part in message.walk() if not part.is_multipart()]
        self.assertEqual(len(leaves), 2 if html and text else 1)
        for part, expected in zip(leaves, [each for each in (text, html) if each] or [""], strict=True):
            data = part.get_payload(decode=True)
            self.assertEqual(data.decode().removesuffix("\r\n"), re.sub("\r\n?|\n", "\r\n", expected).removesuffix("\r\n"))

    @given(st.lists(st.tuples(NAMES, st.binary(max_size=300), st.booleans()), max_size=4))
    def test_attachments(self, files: list[tuple[str, bytes, bool]]) -> None:
        attachments = [
            Attachment(name, "application/x-test", content, f"id{number}", inline) for number, (name, content, inline) in enumerate(files)
        ]
        content = made(html="<p>x</p>", attachments=attachments)
        self.assertLessEqual(max(map(len, content.split(b"\r\n"))), 998)
        leaves = [part for part in parsed(content).walk() if part.get_content_type() == "application/x-test"]
        self.assertEqual(
            sorted((part.get_filename() or "", part.get_payload(decode=True)) for part in leaves),
            sorted((name.strip(), content) for name, content, _ in files),  # the reader strips blanks
        )

    @given(st.text(max_size=60))
    def test_controls_are_refused(self, text: str) -> None:
        """Whatever the text, one header field stays one."""
        for name in ("subject", "sender_name"):
            try:
                content = made(**{name: text})
            except ComposeError as error:
                self.assertIn(error.name, ("subject", "sender name"))
                continue
            self.assertEqual(set(parsed(content).keys()), {*FIELDS, "Content-Transfer-Encoding"})


class Refused(SynchronousTestCase):
    """What cannot stand in a message, by the name of the value."""

    def test_names(self) -> None:
        for name, values in (
            ("subject", {"subject": "a\r\nBcc: x@example.org"}),
            ("subject", {"subject": "a" * 999}),
            ("subject", {"subject": "\ud800"}),
            ("sender name", {"sender_name": "a\nb"}),
            ("text", {"text": "a\0b"}),
            ("text", {"text": "ä\x1b"}),
            ("html", {"html": "\ud800"}),
            ("filename", {"attachments": [Attachment("a/b", "text/plain", b"")]}),
            ("filename", {"attachments": [Attachment('a"\r\nb', "text/plain", b"")]}),
            ("contentType", {"attachments": [Attachment("a", "text/plain\r\nX: y", b"")]}),
            ("contentType", {"attachments": [Attachment("a", "multipart/mixed", b"")]}),
            ("contentId", {"attachments": [Attachment("a", "text/plain", b"", "a>b")]}),
        ):
            error = self.assertRaises(ComposeError, made, **values)
            assert isinstance(error, ComposeError)
            self.assertEqual(error.name, name, values)


class Forms(SynchronousTestCase):
    """The plain cases stay plain."""

    def test_mailboxes(self) -> None:
        self.assertEqual(mailbox(TO), "user@example.com")
        self.assertEqual(mailbox(TO, "The Example"), "The Example <user@example.com>")
        self.assertEqual(mailbox(TO, 'A "B" <c@d>, \\'), '"A \\"B\\" <c@d>, \\\\" <user@example.com>')
        self.assertEqual(mailbox(TO, "A  B"), '"A  B" <user@example.com>')
        self.assertEqual(mailbox(TO, "=?utf-8?Q?x?="), "=?utf-8?B?PT91dGYtOD9RP3g/PQ==?=\r\n <user@example.com>")

    def test_media_types(self) -> None:
        self.assertEqual(media_type("text/csv; charset=UTF-8"), "text/csv; charset=UTF-8")
        self.assertEqual(media_type("image/svg+xml"), "image/svg+xml")

    def test_plain_text_is_sent_as_it_is(self) -> None:
        content = made(text="Hello\nworld")
        self.assertTrue(content.endswith(b"Content-Transfer-Encoding: 7bit\r\n\r\nHello\r\nworld\r\n"))

    def test_inline_images_are_beside_their_html(self) -> None:
        logo, file = Attachment("l.png", "image/png", b"1", "logo", True), Attachment("f.pdf", "application/pdf", b"2")
        message = parsed(made(html='<img src="cid:logo">', attachments=[logo, file]))
        types = ["multipart/mixed", "multipart/alternative", "text/plain", "multipart/related", "text/html", "image/png", "application/pdf"]
        self.assertEqual([part.get_content_type() for part in message.walk()], types)
