"""The summary: what it keeps, and that its sections are those that IMAP numbers."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.mail import header
from mailx.mail.summary import SUMMARY_FIELDS, Summary, summarise

NESTED = (
    b"Subject: outer\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    b"--b\r\nContent-Type: text/plain\r\n\r\none\r\n"
    b"--b\r\nContent-Type: message/rfc822\r\n\r\n"
    b"Subject: inner\r\nContent-Type: multipart/alternative; boundary=c\r\n\r\n"
    b"--c\r\n\r\ntwo-one\r\n--c\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\nPGI+\r\n--c--\r\n\r\n"
    b"--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: last\r\n\r\nthree\r\n"
    b"--b--\r\n"
)


def _read(content: bytes) -> Summary:
    return Summary(summarise(content))


class Sections(SynchronousTestCase):
    """RFC 9051 6.4.5.1: how parts are numbered."""

    def _body(self, *path: int) -> bytes | None:
        part = _read(NESTED).part(path)
        return None if part is None else NESTED[part.body_start : part.body_end]

    def test_numbers(self) -> None:
        self.assertEqual(self._body(1), b"one")
        self.assertEqual(self._body(2, 1), b"two-one")
        self.assertEqual(self._body(2, 2), b"PGI+")
        self.assertEqual(self._body(3, 1), b"three")
        for path in ((0,), (4,), (1, 1), (2, 3), (3, 2), (3, 1, 1), (2, 1, 1)):
            self.assertIsNone(self._body(*path), path)

    def test_messages_in_parts(self) -> None:
        part = _read(NESTED).part((2,))
        assert part is not None and part.nested is not None
        self.assertTrue(part.message)
        self.assertEqual(NESTED[part.header_start : part.header_end], b"Content-Type: message/rfc822\r\n\r\n")
        self.assertEqual(NESTED[part.nested.header_start : part.nested.header_end].splitlines()[0], b"Subject: inner")
        self.assertTrue(NESTED[part.nested.body_start : part.nested.body_end].startswith(b"--c\r\n"))

    def test_the_message_itself(self) -> None:
        part = _read(NESTED).part(())
        assert part is not None
        self.assertEqual((part.header_start, part.body_start, part.body_end), (0, _read(NESTED).header_length, len(NESTED)))
        self.assertTrue(part.multipart)

    def test_part_one_of_a_single_text(self) -> None:
        content = b"Content-Type: text/plain; charset=UTF-8\r\nContent-Transfer-Encoding: BASE64\r\n\r\nYQ==\r\n"
        part = _read(content).part((1,))
        assert part is not None
        self.assertEqual((part.mime_type, part.encoding, part.charset), ("text/plain", "base64", "UTF-8"))
        self.assertEqual(content[part.body_start : part.body_end], b"YQ==\r\n")
        self.assertIsNone(_read(content).part((2,)))
        self.assertIsNone(_read(content).part((1, 1)))

    def test_a_message_in_a_message(self) -> None:
        content = b"Content-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\ntext"
        part = _read(content).part((1,))
        assert part is not None and part.nested is not None
        inner = _read(content).part((1, 1))
        assert inner is not None
        self.assertEqual(content[inner.body_start : inner.body_end], b"text")

    def test_leaves(self) -> None:
        self.assertEqual([part.mime_type for part in _read(NESTED).parts()], ["text/plain", "text/plain", "text/html", "text/plain"])


class Fields(SynchronousTestCase):
    content = b"Received: x\r\nFrom: a@b\r\nTo: c@d,\r\n e@f\r\nSUBJECT:  s\r\nX-Other: y\r\nTo: g@h\r\n\r\ntext\r\n"

    def test_selection(self) -> None:
        names = frozenset((b"from", b"to", b"subject", b"list-id"))
        self.assertEqual(_read(self.content).fields(names), b"From: a@b\r\nTo: c@d,\r\n e@f\r\nSUBJECT:  s\r\nTo: g@h\r\n\r\n")
        self.assertEqual(_read(self.content).fields(frozenset((b"cc",))), b"\r\n")

    def test_what_a_summary_cannot_tell(self) -> None:
        summary = _read(self.content)
        self.assertIsNone(summary.fields(frozenset((b"from", b"received"))))
        self.assertIsNone(summary.fields(frozenset((b"from",)), but_not=True))
        self.assertIsNone(_read(b"X: y\r\n" * 2000 + b"\r\n").fields(frozenset((b"from",))))
        self.assertIsNone(_read(b"Subject: " + b"x" * 100000 + b"\r\n\r\n").fields(frozenset((b"subject",))))

    @given(
        st.lists(st.tuples(st.sampled_from(["From", "to", "CC", "Date", "X-Other", "List-Id"]), st.text("ab \t", max_size=10)), max_size=8),
        st.sets(st.sampled_from(sorted(SUMMARY_FIELDS))),
    )
    def test_like_the_header_itself(self, fields: list[tuple[str, str]], names: set[bytes]) -> None:
        block = "".join(f"{name}:{value}\r\n" for name, value in fields).encode() + b"\r\n"
        self.assertEqual(_read(block + b"text").fields(frozenset(names)), header.fields(block, names))


class Values(SynchronousTestCase):
    def test_what_is_kept(self) -> None:
        summary = _read(
            b"From: =?utf-8?q?J=C3=96RG?= <Joerg@Example.Org>\r\nTo: Team: Bob <bob@x.test>;\r\nCc: C@d\r\nBcc: <Hidden@x.test>\r\n"
            b"Subject: Re: [list] =?utf-8?b?R1LDnMOfRQ==?= (fwd)\r\nDate: Mon, 6 Jan 2025 00:30:00 +0100\r\n"
            b"Message-ID: <m@x>\r\nIn-Reply-To: <p@x>\r\nReferences: <r@x>\r\n <p@x>\r\n\r\nHello\r\n there\r\n"
        )
        self.assertEqual(summary.subject_text, "re: [list] grüsse (fwd)")
        self.assertEqual(summary.base_subject, "grüsse")
        self.assertEqual(summary.from_text, "jörg <joerg@example.org>")
        self.assertEqual((summary.to_text, summary.cc_text, summary.bcc_text), ("team: bob <bob@x.test>;", "c@d", "<hidden@x.test>"))
        self.assertEqual((summary.sort_from, summary.sort_to, summary.sort_cc), ("joerg", "team", "c"))
        self.assertEqual((summary.display_from, summary.display_to), ("jörg", "team"))
        self.assertEqual((summary.date, summary.date_zone), (1736119800, 3600))
        self.assertEqual((summary.message_id, summary.in_reply_to, summary.references), (b"m@x", (b"p@x",), (b"r@x", b"p@x")))
        self.assertEqual((summary.preview, summary.lines, summary.attachments), ("Hello there", 2, 0))

    def test_addresses_are_found_without_their_comments(self) -> None:
        """SEARCH FROM looks at the envelope's address (RFC 9051 6.4.4)."""
        text = _read(b'From: "An \\"A\\" n" <ann (at work)@ (home) example.org>\r\n\r\n').from_text
        for wanted in ("ann@example.org", 'an "a" n', "at work"):
            self.assertIn(wanted, text)

    def test_nothing(self) -> None:
        summary = _read(b"")
        self.assertEqual(
            (summary.date, summary.date_zone, summary.message_id, summary.in_reply_to, summary.references), (None, 0, b"", (), ())
        )
        self.assertEqual((summary.subject_text, summary.base_subject, summary.sort_from, summary.display_from, summary.preview), ("",) * 5)

    def test_display_falls_back_to_the_address(self) -> None:
        """RFC 5957 3."""
        self.assertEqual(_read(b"From: A@B.test\r\n\r\n").display_from, "a@b.test")

    def test_attachments(self) -> None:
        def count(*parts: bytes) -> int:
            return _read(
                b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"".join(b"--b\r\n%b\r\nx\r\n" % part for part in parts) + b"--b--"
            ).attachments

        self.assertEqual(count(b"", b"Content-Type: text/html\r\n"), 0)
        self.assertEqual(count(b"", b"Content-Type: application/pdf\r\n"), 1)
        self.assertEqual(count(b"", b"Content-Disposition: attachment\r\n"), 1)
        self.assertEqual(count(b"Content-Type: text/html\r\n", b"Content-Type: image/png\r\nContent-ID: <x>\r\n"), 0)
        self.assertEqual(count(b"", b"Content-Type: application/pgp-signature\r\n"), 0)
        self.assertEqual(count(b"", b"Content-Type: message/rfc822\r\n\r\nContent-Type: image/png\r\n"), 1)

    def test_another_format_is_refused(self) -> None:
        data = summarise(b"")
        self.assertRaises(ValueError, Summary, bytes([data[0] + 1]) + data[1:])
