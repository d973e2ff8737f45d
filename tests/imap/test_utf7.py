"""Modified UTF-7: every name goes there and back, and only its one spelling is taken."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.imap.utf7 import UTF7Error, decode, encode

NAMES = st.text(st.characters(blacklist_categories=("Cs",)), max_size=40)


class UTF7Tests(SynchronousTestCase):
    def test_examples(self) -> None:
        """The examples of RFC 3501 5.1.3, and characters beyond the first plane."""
        for text, raw in (
            ("~peter/mail/台北/日本語", b"~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
            ("Tom & Jerry", b"Tom &- Jerry"),
            ("Entwürfe", b"Entw&APw-rfe"),
            ("\U0001f4e7", b"&2D3c5w-"),
            ("", b""),
        ):
            self.assertEqual(encode(text), raw)
            self.assertEqual(decode(raw), text)

    def test_malformed(self) -> None:
        for raw in (
            b"&",
            b"&Jjo",
            b"&Jjo!",
            b"a&b",
            b"&AGEAYg-",  # ASCII in a shift
            b"&U,BTFw-&ZeVnLIqe-",  # two shifts where one does
            b"&2D0-",  # half a surrogate pair
            b"&AA-",  # no whole UTF-16 unit
            b"&Jjp-",  # bits after the last unit
            b"\xc3\xa4",
            b"a\x00b",
            b"a\x7f",
            b"&/w-",
        ):
            self.assertRaises(UTF7Error, decode, raw)

    def test_surrogate(self) -> None:
        self.assertRaises(UTF7Error, encode, "\ud800")

    @given(NAMES)
    def test_round_trip(self, name: str) -> None:
        self.assertEqual(decode(encode(name)), name)

    @given(st.binary(max_size=30) | st.text("&-,+/AZaz0 ~ä", max_size=20).map(str.encode))
    def test_one_spelling(self, raw: bytes) -> None:
        """Whatever is taken is what the name is written as."""
        try:
            text = decode(raw)
        except UTF7Error:
            return
        self.assertEqual(encode(text), raw)
