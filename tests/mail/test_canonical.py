"""Canonical forms, against dkimpy's."""

from hashlib import sha256
from time import process_time

from dkim.canonicalization import Relaxed, Simple
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.mail import canonical
from mailx.mail.canonical import body_relaxed, body_simple, chosen, digest_relaxed, field_relaxed, field_simple, fields, split

PIECES = st.lists(st.sampled_from((b"\r\n", b" ", b"\t", b"a", b"b:", b"\r", b"\n", b"  ", b"\xe9", b"\r\n\r\n")), max_size=40).map(
    b"".join
)
VALUES = st.lists(st.sampled_from((b"\r\n ", b"\r\n\t", b" ", b"\t", b"a", b":", b"\xe9")), max_size=20).map(b"".join)


class Bodies(SynchronousTestCase):
    @settings(max_examples=500)
    @given(PIECES)
    def test_simple_as_dkimpy(self, body: bytes) -> None:
        self.assertEqual(body_simple(body), Simple.canonicalize_body(body))

    @settings(max_examples=500)
    @given(PIECES)
    def test_relaxed_as_dkimpy(self, body: bytes) -> None:
        body += b"\r\n"  # without it dkimpy keeps a blank at the end, which RFC 6376 3.4.4 takes away
        self.assertEqual(body_relaxed(body), Relaxed.canonicalize_body(body))

    def test_examples_of_the_standard(self) -> None:
        """RFC 6376 3.4.5, and the empty bodies of 3.4.3 and 3.4.4."""
        body = b" C \r\nD \t E\r\n\r\n\r\n"
        self.assertEqual(body_relaxed(body), b" C\r\nD E\r\n")
        self.assertEqual(body_simple(body), b" C \r\nD \t E\r\n")
        self.assertEqual((body_simple(b""), body_relaxed(b""), body_relaxed(b" \r\n")), (b"\r\n", b"", b""))

    @settings(max_examples=500)
    @given(PIECES, st.integers(0, 7))
    def test_slices_make_no_difference(self, body: bytes, size: int) -> None:
        before, canonical._SLICE = canonical._SLICE, size
        try:
            self.assertEqual(digest_relaxed(body), sha256(body_relaxed(body)).digest())
        finally:
            canonical._SLICE = before

    def test_work_is_linear(self) -> None:
        started = process_time()
        for body in (b"\r\n", b" ", b"\t \r\n", b"\n\r", b"x" * 70000 + b" "):
            digest_relaxed(body * ((4 << 20) // len(body)))
        self.assertLess(process_time() - started, 5)


class Fields(SynchronousTestCase):
    @given(st.sampled_from((b"Subject", b"SUBJECT ", b"X-y\t")), VALUES)
    def test_relaxed_as_dkimpy(self, name: bytes, value: bytes) -> None:
        ((expected, rest),) = Relaxed.canonicalize_headers([(name, value + b"\r\n")])
        self.assertEqual(field_relaxed(name + b":" + value + b"\r\n"), expected + b":" + rest)

    def test_simple_is_as_it_is(self) -> None:
        self.assertEqual(field_simple(b"A: x  \r\n"), b"A: x  \r\n")

    def test_which_are_chosen(self) -> None:
        """RFC 6376 5.4.2: the last of a name first; one too many is nothing."""
        header = b"A: 1\r\nB: 2\r\n folded\r\nno field\r\na : 3\r\nC:\r\n"
        found = fields(header, (b"a", b"b", b"d"))
        self.assertEqual([each.raw for each in found], [b"A: 1\r\n", b"B: 2\r\n folded\r\n", b"a : 3\r\n"])
        self.assertEqual(
            [each.raw for each in chosen(found, (b"a", b"b", b"a", b"a", b"d"))], [b"a : 3\r\n", b"B: 2\r\n folded\r\n", b"A: 1\r\n"]
        )

    def test_header_and_body(self) -> None:
        self.assertEqual(split(b"A: 1\r\n\r\nx\r\n\r\n"), (b"A: 1\r\n", b"x\r\n\r\n"))
        self.assertEqual(split(b"\r\nx"), (b"", b"x"))
        self.assertEqual(split(b"A: 1\r\n"), (b"A: 1\r\n", b""))
