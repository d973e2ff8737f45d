"""Decoding in pieces, binary messages made storable, and surrogates for fields in UTF-8."""

from base64 import encodebytes
from binascii import b2a_qp

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from mailx.mail import binary, mime, surrogate
from mailx.mail.text import decode_transfer
from mailx.mail.transfer import decoder, unchanged

_OCTETS = st.binary(max_size=400)
_CUTS = st.lists(st.integers(0, 500), max_size=6)


def fed(encoding: str, octets: bytes, cuts: list[int]) -> bytes:
    """What a decoder makes of ``octets`` cut at ``cuts``."""
    made = decoder(encoding)
    assert made is not None
    edges = [0, *sorted(min(cut, len(octets)) for cut in cuts), len(octets)]
    return b"".join([made.feed(octets[start:end]) for start, end in zip(edges, edges[1:], strict=False)]) + made.finish()


class DecoderTests(TestCase):
    @given(_OCTETS, _CUTS)
    def test_base64(self, octets: bytes, cuts: list[int]) -> None:
        self.assertEqual(fed("base64", encodebytes(octets).replace(b"\n", b"\r\n"), cuts), octets)

    @given(_OCTETS, _CUTS)
    def test_quoted_printable(self, octets: bytes, cuts: list[int]) -> None:
        self.assertEqual(fed("quoted-printable", b2a_qp(octets, istext=False), cuts), octets)

    @given(st.text("=AF0 \t\r\n-x", max_size=200).map(str.encode), _CUTS)
    def test_pieces_make_no_difference(self, octets: bytes, cuts: list[int]) -> None:
        for encoding in ("base64", "quoted-printable", "8bit"):
            self.assertEqual(fed(encoding, octets, cuts), fed(encoding, octets, []))
        self.assertEqual(fed("quoted-printable", octets, []), decode_transfer(octets, "quoted-printable"))

    def test_long_line(self) -> None:
        line = b"=41" * 60000
        self.assertEqual(fed("quoted-printable", line, [*range(0, len(line), 65536)]), b"A" * 60000)

    def test_unknown(self) -> None:
        self.assertIsNone(decoder("x-odd"))
        self.assertTrue(unchanged("binary"))
        self.assertFalse(unchanged("base64"))


class StorableTests(TestCase):
    def test_part(self) -> None:
        made = binary.storable(
            b"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: binary\n\n"
            b"--b\nContent-Type: image/png\nContent-Transfer-Encoding: binary\n\n\x00\r\n\n\xff\n--b\n\ntext\n--b--\n"
        )
        root = mime.parse(made)
        self.assertNotIn(b"\0", made)
        self.assertFalse(binary.uneven(made))
        self.assertEqual(root.encoding, b"8bit")
        picture, words = root.children
        self.assertEqual(decode_transfer(made[picture.body_start : picture.body_end], picture.encoding.decode()), b"\x00\r\n\n\xff")
        self.assertEqual(made[words.body_start : words.body_end], b"text")

    def test_nowhere_to_put_it(self) -> None:
        for content in (
            b"A: \0\r\n\r\nx",
            b"Content-Transfer-Encoding: base64\r\n\r\nAA\0A",
            b"Content-Transfer-Encoding: x-odd\r\n\r\n\0",
        ):
            self.assertRaises(binary.NotStorable, binary.storable, content)

    @given(st.binary(max_size=300), st.sampled_from([b"", b"Content-Transfer-Encoding: binary\r\n"]))
    def test_decoded_it_is_what_it_was(self, body: bytes, said: bytes) -> None:
        made = binary.storable(b"Content-Type: application/x\r\n" + said + b"\r\n" + body)
        self.assertNotIn(b"\0", made)
        self.assertFalse(binary.uneven(made))
        part = mime.parse(made)
        decoded = decode_transfer(made[part.body_start : part.body_end], part.encoding.decode())
        self.assertEqual(decoded, body if part.encoding == b"base64" else binary.lines(body))


class SurrogateTests(TestCase):
    @given(
        st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=60),
        st.sampled_from(["Subject", "From", "X-A", "Date", "To"]),
    )
    def test_seven_bits(self, value: str, name: str) -> None:
        octets = f"{name}: {value}\r\nB: b\r\n\r\n".encode()
        made = surrogate.block(octets)
        self.assertTrue(made.isascii())
        self.assertTrue(made.endswith(b"B: b\r\n\r\n"))
        if octets.isascii():
            self.assertEqual(made, octets)
        self.assertTrue(surrogate.envelope(octets).isascii())

    def test_what_is_no_utf8_stays(self) -> None:
        octets = b"Subject: Gr\xfc\xdfe\r\n\r\n"
        self.assertEqual(surrogate.block(octets), octets)

    def test_addresses(self) -> None:
        made = surrogate.block("From: Jörg <jö@example.org>, Ann <ann@example.org>\r\n\r\n".encode())
        self.assertEqual(
            made, b"From: =?utf-8?B?SsO2cmc=?= <internationalized-address@address.invalid>,\r\n =?utf-8?B?QW5u?= <ann@example.org>\r\n\r\n"
        )
