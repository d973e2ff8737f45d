"""ENVELOPE and BODYSTRUCTURE as IMAP text."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.mail import mime, structure
from mailx.mail.summary import Summary, summarise
from tests.mail import imap_syntax
from tests.mail.hostile import many_parts

ALTERNATIVE = (
    b"From: Ann <ann@example.org>\r\n"
    b'Content-Type: multipart/alternative; boundary="AbC"\r\n'
    b"\r\n"
    b"--AbC\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n"
    b"\r\n"
    b"one\r\ntwo\r\n"
    b"--AbC\r\n"
    b"Content-Type: text/html\r\n"
    b"Content-ID: <x@y>\r\n"
    b'Content-Description: a "page"\r\n'
    b"Content-Transfer-Encoding: Quoted-Printable\r\n"
    b"Content-Disposition: inline; filename=page.html\r\n"
    b"Content-Language: de, en-GB\r\n"
    b"Content-Location: http://x.test/\r\n"
    b"Content-MD5: Q2hlY2s=\r\n"
    b"\r\n"
    b"<p>one\r\n\r\n"
    b"--AbC--\r\n"
    b"epilogue\r\n"
)


class Strings(SynchronousTestCase):
    def test_forms(self) -> None:
        cases = {
            b"": b'""',
            b"plain": b'"plain"',
            b'quo"te': b'"quo\\"te"',
            b"back\\slash": b'"back\\\\slash"',
            b"line\r\nend": b"{9}\r\nline\r\nend",
            b"\xc3\xa4": b"{2}\r\n\xc3\xa4",
            b"nul\0": b'"nul"',
            b"\0\xff": b"{1}\r\n\xff",
            b"tab\t\x7f": b'"tab\t\x7f"',
            b"=?utf-8?q?=C3=A4?=": b'"=?utf-8?q?=C3=A4?="',
        }
        for value, expected in cases.items():
            self.assertEqual(structure.string(value), expected)
        self.assertEqual(structure.nstring(None), b"NIL")

    @given(st.binary())
    def test_any_octets_read_back(self, value: bytes) -> None:
        self.assertEqual(imap_syntax.read(structure.string(value)), value.replace(b"\0", b""))


class BodyStructure(SynchronousTestCase):
    def test_single_text(self) -> None:
        content = b"Subject: x\r\n\r\none\r\ntwo\r\nthree"
        extended, plain = structure.structures(mime.parse(content))
        self.assertEqual(plain, b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 15 2)')
        self.assertEqual(extended, b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 15 2 NIL NIL NIL NIL)')

    def test_multipart(self) -> None:
        extended, plain = structure.structures(mime.parse(ALTERNATIVE))
        one = b'"text" "plain" ("charset" "utf-8") NIL NIL "7bit" 8 1'
        two = b'"text" "html" NIL "<x@y>" "a \\"page\\"" "quoted-printable" 8 1'
        self.assertEqual(plain, b'((%b)(%b) "alternative")' % (one, two))
        self.assertEqual(
            extended,
            b'((%b NIL NIL NIL NIL)(%b "Q2hlY2s=" ("inline" ("filename" "page.html")) ("de" "en-GB") "http://x.test/")'
            b' "alternative" ("boundary" "AbC") NIL NIL NIL)' % (one, two),
        )

    def test_message(self) -> None:
        """A message/rfc822 shows the envelope, the structure and the lines of what it holds."""
        inner = b"From: a@b.test\r\nSubject: inner\r\n\r\ntext\r\n"
        content = b"Content-Type: message/rfc822\r\n\r\n" + inner
        extended, plain = structure.structures(mime.parse(content))
        sender = b'((NIL NIL "a" "b.test"))'
        envelope = b'(NIL "inner" %b %b %b NIL NIL NIL NIL NIL)' % (sender, sender, sender)
        text = b'"text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 6 1'
        head = b'"message" "rfc822" NIL NIL NIL "7bit" %d' % len(inner)
        self.assertEqual(plain, b"(%b %b (%b) 4)" % (head, envelope, text))
        self.assertEqual(extended, b"(%b %b (%b NIL NIL NIL NIL) 4 NIL NIL NIL NIL)" % (head, envelope, text))

    def test_base64_parts_have_no_lines(self) -> None:
        _, plain = structure.structures(mime.parse(b"Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\nYQ==\r\n"))
        self.assertEqual(plain, b'("image" "png" NIL NIL NIL "base64" 6)')

    def test_too_large_is_shown_as_one_part(self) -> None:
        limit = structure.STRUCTURE_LIMIT
        self.patch(structure, "STRUCTURE_LIMIT", 10000)
        content = many_parts(1000)
        self.assertRaises(structure.TooLarge, structure.structures, mime.parse(content))
        summary = Summary(summarise(content))
        self.assertTrue(summary.bodystructure.startswith(b'("application" "octet-stream" '))
        self.assertIsNone(summary.part((2,)))
        self.patch(structure, "STRUCTURE_LIMIT", limit)
        self.assertTrue(Summary(summarise(content)).bodystructure.startswith(b'(("text" '))

    def test_addresses_of_enclosed_messages_are_bounded(self) -> None:
        self.patch(structure, "ADDRESSES_LIMIT", 1000)
        content = b"Content-Type: message/rfc822\r\n\r\nTo: " + b"," * 2000 + b"\r\n\r\n"
        self.assertRaises(structure.TooLarge, structure.structures, mime.parse(content))


class Envelope(SynchronousTestCase):
    def _envelope(self, header: bytes) -> object:
        return imap_syntax.read(Summary(summarise(header + b"\r\n")).envelope)

    def test_example_of_the_rfc(self) -> None:
        """RFC 9051 8: the ENVELOPE of the sample connection."""
        header = (
            b"Date: Wed, 14 Jul 1993 02:23:25 -0700 (PDT)\r\n"
            b"From: Terry Gray <gray@cac.washington.edu>\r\n"
            b"Subject: IMAP4rev2 WG mtg summary and minutes\r\n"
            b"To: imap@cac.washington.edu\r\n"
            b"cc: minutes@CNRI.Reston.VA.US, John Klensin <KLENSIN@JCK.COM>\r\n"
            b"Message-Id: <B27397-0100000@cac.washington.ed>\r\n"
        )
        sender = b'(("Terry Gray" NIL "gray" "cac.washington.edu"))'
        self.assertEqual(
            Summary(summarise(header + b"\r\n")).envelope,
            b'("Wed, 14 Jul 1993 02:23:25 -0700 (PDT)" "IMAP4rev2 WG mtg summary and minutes" %b %b %b '
            b'((NIL NIL "imap" "cac.washington.edu")) ((NIL NIL "minutes" "CNRI.Reston.VA.US")("John Klensin" NIL "KLENSIN" "JCK.COM")) '
            b'NIL NIL "<B27397-0100000@cac.washington.ed>")' % (sender, sender, sender),
        )

    def test_nothing(self) -> None:
        self.assertEqual(self._envelope(b""), [None] * 10)

    def test_sender_and_reply_to_are_own_fields(self) -> None:
        found = self._envelope(b"From: a@b\r\nSender: c@d\r\nReply-To: e@f\r\nIn-Reply-To: <x>\r\n <y>\r\n")
        assert isinstance(found, list)
        self.assertEqual(found[2:5], [[[None, None, b"a", b"b"]], [[None, None, b"c", b"d"]], [[None, None, b"e", b"f"]]])
        self.assertEqual(found[8], b"<x> <y>")

    def test_an_empty_sender_is_from(self) -> None:
        found = self._envelope(b"From: a@b\r\nSender:\r\nReply-To: ,\r\n")
        assert isinstance(found, list)
        self.assertEqual(found[2], found[3])
        self.assertEqual(found[2], found[4])

    def test_empty_fields_are_empty_strings(self) -> None:
        found = self._envelope(b"Subject:\r\nTo:\r\n")
        assert isinstance(found, list)
        self.assertEqual((found[1], found[5]), (b"", None))

    def test_several_recipient_fields_add_up(self) -> None:
        found = self._envelope(b"To: a@b\r\nTo: c@d\r\n")
        assert isinstance(found, list)
        self.assertEqual(found[5], [[None, None, b"a", b"b"], [None, None, b"c", b"d"]])

    def test_folded_subject(self) -> None:
        found = self._envelope(b"Subject: one\r\n two\r\n\tthree \r\n")
        assert isinstance(found, list)
        self.assertEqual(found[1], b"one two\tthree")
