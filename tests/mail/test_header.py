"""Header blocks: splitting, selection, decoding."""

from email.header import Header, make_header
from email.header import decode_header as stdlib_decode

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.mail import header

BLOCK = b"From: a@b\r\nTo: c@d,\r\n\te@f\r\nX-Empty:\r\nnot a field\r\nSubject : blanks before the colon\r\nTo: g@h\r\n\r\n"


class Splitting(SynchronousTestCase):
    def test_fields(self) -> None:
        found = header.split(BLOCK, 0, len(BLOCK))
        self.assertEqual([name for _, name, _ in found], [b"From", b"To", b"X-Empty", b"Subject", b"To"])
        self.assertEqual(found[1][0], b"To: c@d,\r\n\te@f\r\n")
        self.assertEqual(header.unfold(found[1][2]), b"c@d,\te@f")

    def test_first_of_a_name_counts_but_recipients_add_up(self) -> None:
        named = header.first(header.split(BLOCK + b"From: later@b\r\n", 0, len(BLOCK) + 15))
        self.assertEqual(header.unfold(named[b"from"]), b"a@b")
        self.assertEqual(b"".join(named[b"to"].split()), b"c@d,e@f,g@h")

    def test_limits(self) -> None:
        block = b"X: y\r\n" * 5000
        self.assertEqual(len(header.split(block, 0, len(block))), header.FIELDS_LIMIT)
        block *= 20
        self.assertEqual(len(header.split(block, 0, len(block))), header.FIELDS_LIMIT)


class Selection(SynchronousTestCase):
    """HEADER.FIELDS, RFC 9051 6.4.5."""

    def test_lines_are_kept_as_they_stand(self) -> None:
        self.assertEqual(
            header.fields(BLOCK, {b"to", b"subject"}), b"To: c@d,\r\n\te@f\r\nSubject : blanks before the colon\r\nTo: g@h\r\n\r\n"
        )

    def test_but_not(self) -> None:
        self.assertEqual(header.fields(BLOCK, {b"to", b"subject", b"x-empty"}, but_not=True), b"From: a@b\r\n\r\n")

    def test_nothing_found_is_the_empty_line(self) -> None:
        self.assertEqual(header.fields(BLOCK, {b"cc"}), b"\r\n")
        self.assertEqual(header.fields(b"", {b"cc"}), b"\r\n")

    def test_a_block_that_breaks_off_is_ended(self) -> None:
        self.assertEqual(header.fields(b"To: a@b", {b"to"}), b"To: a@b\r\n\r\n")
        self.assertEqual(header.fields(b"To: a@b\r", {b"to"}), b"To: a@b\r\n\r\n")

    def test_no_limit_of_fields(self) -> None:
        self.assertEqual(header.fields(b"X: y\r\n" * 5000, {b"x"}).count(b"X"), 5000)


class Decoding(SynchronousTestCase):
    """RFC 2047."""

    def test_examples_of_the_rfc(self) -> None:
        """RFC 2047 8."""
        cases = {
            b"(=?ISO-8859-1?Q?a?=)": "(a)",
            b"=?ISO-8859-1?Q?a?= b": "a b",
            b"=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=": "ab",
            b"=?ISO-8859-1?Q?a?=  \r\n  =?ISO-8859-1?Q?b?=": "ab",
            b"=?ISO-8859-1?Q?a_b?=": "a b",
            b"=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=": "a b",
            b"=?US-ASCII?Q?Keith_Moore?= <moore@cs.utk.edu>": "Keith Moore <moore@cs.utk.edu>",
            b"=?ISO-8859-1?B?SWYgeW91IGNhbiByZWFkIHRoaXMgeW8=?=\r\n"
            b" =?ISO-8859-2?B?dSB1bmRlcnN0YW5kIHRoZSBleGFtcGxlLg==?=": "If you can read this you understand the example.",
        }
        for value, expected in cases.items():
            self.assertEqual(header.decode(value), expected, value)

    def test_what_mailers_do(self) -> None:
        cases = {
            "plain ä".encode(): "plain ä",
            b"\xe4": "ä",  # not UTF-8: windows-1252
            b"=?utf-8?q?=C3?= =?utf-8?q?=A4?=": "ä",  # a character cut in two
            b"=?utf-8?b?ww?= =?utf-8?b?pA==?=": "ä",
            b"=?utf-8*de?q?=C3=A4?=": "ä",  # RFC 2231 5: language
            b"=?x-nothing?q?=C3=A4?=": "ä",
            b"=?utf-8?q?a b?=": "a b",
            b"=?utf-8?q?a?==?utf-8?q?b?=": "ab",
            b"=?utf-8?z?a?=": "=?utf-8?z?a?=",
            b"=?utf-8?q?unfinished": "=?utf-8?q?unfinished",
            b"a=?utf-8?q?b?=c": "abc",
            b"=?utf-8?b?!!!!?=": "",
            b"=?gb2312?b?1tDOxA==?=": "中文",
            b"=?iso-8859-1?q?=80?=": "€",
        }
        for value, expected in cases.items():
            self.assertEqual(header.decode(value), expected, value)

    def test_codecs_that_are_no_charsets(self) -> None:
        for charset in (b"idna", b"punycode", b"unicode_escape", b"hex", b"rot13", b"undefined", b"../../etc"):
            self.assertEqual(header.decode(b"=?%b?q?abc?=" % charset), "abc")

    @given(
        st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=200),
        st.sampled_from(["utf-8", "iso-8859-15", "koi8-r", "shift_jis"]),
    )
    def test_like_the_standard_library(self, text: str, charset: str) -> None:
        try:
            text.encode(charset)
        except UnicodeEncodeError:
            return
        written = Header(text, charset, maxlinelen=70).encode().replace("\n", "\r\n")
        self.assertEqual(header.decode(written.encode()).split(), str(make_header(stdlib_decode(written.replace("\r\n", "\n")))).split())

    @given(st.binary())
    def test_never_raises(self, value: bytes) -> None:
        header.decode(b"=?" + value.replace(b"?", b"?q?") + b"?=")
        header.decode(value)
        header.decode_base64(value)

    @given(st.binary())
    def test_base64_comes_back(self, octets: bytes) -> None:
        from base64 import encodebytes

        self.assertEqual(header.decode_base64(encodebytes(octets)), octets)
        self.assertEqual(header.decode_base64(encodebytes(octets).replace(b"=", b"")), octets)
