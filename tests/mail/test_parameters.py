"""Content-Type, Content-Disposition and their parameters."""

from email.message import Message

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.mail import parameters
from mailx.mail.parameters import content_type, disposition


class ContentType(SynchronousTestCase):
    def test_forms(self) -> None:
        cases = {
            b"text/plain": (b"text", b"plain", ()),
            b' Text/HTML; Charset="UTF-8" ': (b"text", b"html", ((b"charset", b"UTF-8"),)),
            b"text/plain;charset=us-ascii;format=flowed": (b"text", b"plain", ((b"charset", b"us-ascii"), (b"format", b"flowed"))),
            b"text/plain; charset=us-ascii (Plain text)": (b"text", b"plain", ((b"charset", b"us-ascii"),)),
            b'multipart/mixed;\r\n\tboundary="a;b"; x=y': (b"multipart", b"mixed", ((b"boundary", b"a;b"), (b"x", b"y"))),
            b'a/b; c="d\\"e\\\\f"': (b"a", b"b", ((b"c", b'd"e\\f'),)),
            b"a/b; name=two words.pdf; c=d": (b"a", b"b", ((b"name", b"two words.pdf"), (b"c", b"d"))),
            b"a/b; c=1; C=2": (b"a", b"b", ((b"c", b"1"),)),
            b"a/b;;; c = d ;": (b"a", b"b", ((b"c", b"d"),)),
            b'a/b; c="open; d=e': (b"a", b"b", ((b"c", b"open; d=e"),)),
            b'a/b; c="open; d=e\r': (b"a", b"b", ((b"c", b"open; d=e"),)),
            b"text/plain; x=(open; charset=utf-8": (b"text", b"plain", ((b"x", b"(open"), (b"charset", b"utf-8"))),
            b"text": None,
            b"": None,
            b"/": None,
        }
        for value, expected in cases.items():
            self.assertEqual(content_type(value), expected, value)

    def test_boundaries_keep_their_case(self) -> None:
        found = content_type(b"Multipart/Mixed; Boundary=AbC")
        self.assertEqual(found, (b"multipart", b"mixed", ((b"boundary", b"AbC"),)))

    def test_sections_are_joined(self) -> None:
        """RFC 2231 3 and 4.1."""
        found = content_type(b'a/x; URL*0="ftp://";\r\n URL*1="cs.utk.edu/pub"; x=y')
        self.assertEqual(found, (b"a", b"x", ((b"x", b"y"), (b"url", b"ftp://cs.utk.edu/pub"))))
        value = b"a/x; title*0*=us-ascii'en'This%20is%20even%20more%20; title*1*=%2A%2A%2Afun%2A%2A%2A%20; title*2=\"isn't it!\""
        found = content_type(value)
        assert found is not None
        self.assertEqual(found[2], ((b"title*", b"us-ascii'en'This%20is%20even%20more%20%2A%2A%2Afun%2A%2A%2A%20isn't it!"),))
        self.assertEqual(parameters.text(found[2], b"title"), "This is even more ***fun*** isn't it!")

    def test_sections_in_any_order_and_with_gaps(self) -> None:
        self.assertEqual(content_type(b"a/b; n*1=y; n*0=x"), (b"a", b"b", ((b"n", b"xy"),)))
        self.assertEqual(content_type(b"a/b; n*2=z; n*0=x"), (b"a", b"b", ((b"n", b"x"),)))
        found = content_type(b"a/b; n*1=y")
        self.assertEqual(found, (b"a", b"b", ((b"n*1", b"y"),)))

    def test_at_most_a_hundred(self) -> None:
        found = content_type(b"a/b" + b"".join(b"; p%d=x" % n for n in range(1000)))
        assert found is not None
        self.assertEqual(len(found[2]), parameters.PARAMETERS_LIMIT)

    @given(st.binary())
    def test_never_raises(self, value: bytes) -> None:
        for prefix in (b"", b"a/b;", b'a/b; c="', b"a/b; c*0*="):
            content_type(prefix + value)
            found = disposition(prefix + value)
            if found is not None:
                parameters.text(found[1], b"c")

    @given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=50))
    def test_quoted_values_come_back(self, text: str) -> None:
        message = Message()
        message.add_header("Content-Disposition", "attachment", filename=text)
        written = str(message["Content-Disposition"]).encode()
        found = disposition(written)
        assert found is not None
        self.assertEqual(found[0], b"attachment")
        self.assertEqual(dict(found[1]).get(b"filename", b""), text.encode())

    @given(st.text(st.characters(blacklist_categories=("Cs",)), max_size=50))
    def test_encoded_values_come_back(self, text: str) -> None:
        message = Message()
        message.add_header("Content-Disposition", "attachment", filename=("utf-8", "", text))
        found = disposition(str(message["Content-Disposition"]).encode())
        assert found is not None
        self.assertEqual(parameters.text(found[1], b"filename"), text)


class Disposition(SynchronousTestCase):
    def test_forms(self) -> None:
        self.assertEqual(disposition(b"INLINE"), (b"inline", ()))
        self.assertEqual(disposition(b'attachment; filename="a.pdf"; size=1'), (b"attachment", ((b"filename", b"a.pdf"), (b"size", b"1"))))
        self.assertIsNone(disposition(b"  "))
        self.assertEqual(parameters.text(((b"filename", b"=?utf-8?q?=C3=A4?=.txt"),), b"filename"), "ä.txt")
        self.assertEqual(parameters.text(((b"filename", b"a"), (b"filename*", b"utf-8''%C3%A4")), b"filename"), "ä")

    def test_encodings(self) -> None:
        self.assertEqual(parameters.encoding(b" Base64 (yes)\r\n"), b"base64")
        self.assertEqual(parameters.encoding(b""), b"7bit")
        self.assertEqual(parameters.encoding(b"8bit;"), b"8bit")
