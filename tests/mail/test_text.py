"""Decoded text: charsets, transfer encodings, HTML, search and preview."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.mail import charset, mime
from mailx.mail.sections import Sections, pack
from mailx.mail.summary import Summary, summarise
from mailx.mail.text import decode_transfer, preview, searchable, strip_html
from tests.mail.hostile import HEAD


def _preview(content: bytes) -> str:
    return preview(content, mime.parse(content))


class Charsets(SynchronousTestCase):
    def test_names(self) -> None:
        cases = {
            (b"\xc3\xa4", "UTF-8"): "ä",
            (b"\xc3\xa4", ""): "ä",
            (b"\xe4\x80", "ISO-8859-1"): "ä€",
            (b"\xe4", ""): "ä",
            (b"\xe4", "x-nothing"): "ä",
            (b"\xe4", '"iso-8859-1"'): "ä",
            (b"\xc1", "koi8-r"): "а",
            (b"\xc1", "KOI8-U"): "а",
            (b"\xff", "utf-8"): "\ufffd",
            (b"abc", "idna"): "abc",
            (b"\x1b$B4A;z", "iso-2022-jp"): "漢字",
        }
        for (octets, name), expected in cases.items():
            self.assertEqual(charset.decode_text(octets, name), expected, (octets, name))

    @given(
        st.binary(),
        st.sampled_from(["utf-8", "utf-7", "utf-16", "iso-2022-kr", "gb2312", "hz", "big5", "cp037", "utf-32", "cp65001", "mbcs", "uu"]),
    )
    def test_never_raises(self, octets: bytes, name: str) -> None:
        charset.decode_text(octets, name)

    @given(st.text())
    def test_every_name_is_taken(self, name: str) -> None:
        charset.decode_text(b"abc", name)

    def test_folding(self) -> None:
        self.assertEqual(charset.fold("ABC"), "abc")
        self.assertEqual(charset.fold("Straße"), "strasse")
        self.assertEqual(charset.fold("A\u0308"), charset.fold("Ä"))


class Transfer(SynchronousTestCase):
    def test_encodings(self) -> None:
        self.assertEqual(decode_transfer(b"YWJj\r\nZGVm\r\n", "base64"), b"abcdef")
        self.assertEqual(decode_transfer(b"a=3Db=\r\nc  \r\n", "quoted-printable"), b"a=bc\r\n")
        self.assertEqual(decode_transfer(b"a=3D", "7bit"), b"a=3D")
        self.assertEqual(decode_transfer(b"a=3D", "x-unknown"), b"a=3D")

    @given(st.binary())
    def test_never_raises(self, body: bytes) -> None:
        decode_transfer(body, "base64")
        decode_transfer(body, "quoted-printable")


class HTML(SynchronousTestCase):
    def test_only_text_stays(self) -> None:
        page = (
            "<html><head><title>Title</title><STYLE>p {x: y}</STYLE><script>if (a < b) {}</script></head>"
            "<body><!-- no --><p>One<br>two &lt;&auml;&gt; <b>th</b>ree</p></body>"
        )
        self.assertEqual(strip_html(page).split(), ["One", "two", "<ä>", "three"])

    def test_what_never_closes(self) -> None:
        self.assertEqual(strip_html("one<style>p").split(), ["one"])
        self.assertEqual(strip_html("one <!-- two").split(), ["one"])
        self.assertEqual(strip_html("a < b and c").split(), ["a", "<", "b", "and", "c"])

    @given(st.lists(st.sampled_from(["<", ">", "<!--", "-->", "<style>", "</style>", "<p", "x", "&", "&amp;", "&#1", ";", '"'])))
    def test_never_raises(self, pieces: list[str]) -> None:
        strip_html("".join(pieces))


class Search(SynchronousTestCase):
    content = (
        HEAD
        + b"X-Note: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\npreamble\r\n--b\r\n"
        + b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\nw4RwZmVs\r\n--b\r\n"
        + b"Content-Type: text/html\r\n\r\n<p class=hidden>Birnen</p>\r\n--b\r\n"
        + b"Content-Type: application/pdf; name*=utf-8''Gesch%C3%A4ft.PDF\r\n\r\nbinary Octets\r\n--b\r\n"
        + b"Content-Type: message/rfc822\r\n\r\nSubject: Enclosed\r\n\r\nInner TEXT\r\n--b--\r\n"
    )

    def test_what_is_found(self) -> None:
        words = "\n".join(searchable(self.content, Summary(summarise(self.content)).sections()))
        for needle in (
            "ann@example.org",
            "hostile",
            "grüsse",
            "äpfel",
            "birnen",
            "geschäft.pdf",
            "enclosed",
            "inner text",
        ):
            self.assertIn(needle, words)
        for needle in ("preamble", "hidden", "binary"):
            self.assertNotIn(needle, words)

    def test_without_the_header(self) -> None:
        """SEARCH BODY leaves out the message's own header, but not those inside it."""
        words = "\n".join(searchable(self.content, Sections(*pack(mime.parse(self.content))), with_header=False))
        self.assertNotIn("hostile", words)
        self.assertIn("enclosed", words)
        self.assertIn("äpfel", words)


class Preview(SynchronousTestCase):
    def test_plain(self) -> None:
        self.assertEqual(_preview(HEAD + b"\r\n  Hello\r\n\r\n  there,\tyou.  \r\n"), "Hello there, you.")

    def test_is_cut(self) -> None:
        text = _preview(HEAD + b"\r\n" + b"word " * 1000)
        self.assertEqual((len(text), text[:9]), (199, "word word"))

    def test_html_when_there_is_nothing_else(self) -> None:
        page = b"<style>" + b"p {}" * 1000 + b"</style><p>Hello</p>"
        self.assertEqual(_preview(HEAD + b"Content-Type: text/html\r\n\r\n" + page), "Hello")

    def test_plain_text_first_and_no_attachments(self) -> None:
        content = (
            HEAD
            + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Disposition: attachment\r\n\r\nattached\r\n"
            + b"--b\r\nContent-Type: text/html\r\n\r\npage\r\n--b\r\n\r\nplain\r\n--b--"
        )
        self.assertEqual(_preview(content), "plain")

    def test_no_text(self) -> None:
        self.assertEqual(_preview(HEAD + b"Content-Type: image/png\r\n\r\nxxx"), "")
        self.assertEqual(_preview(b""), "")
