"""Canonical forms and tag lists: against dkimpy's, in stretches, and in linear time."""

import hashlib
import time

from dkim.canonicalization import Relaxed, Simple
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.checks import canonical, tags
from mailx.checks.canonical import Wanted, hash_body

_TEXT = st.lists(st.sampled_from([b" ", b"\t", b"\r\n", b"\r\n\r\n", b"a", b"b.", b"\xff", b"  \t ", b"\r", b"\n"]), max_size=40).map(
    b"".join
)


def digest(body: bytes, relaxed: bool, length: int | None = None) -> Wanted:
    wanted = Wanted(relaxed, length)
    hash_body(b"head" + body, 4, [wanted])
    return wanted


class Bodies(SynchronousTestCase):
    @given(_TEXT, st.booleans())
    def test_as_dkimpy(self, body: bytes, relaxed: bool) -> None:
        form = Relaxed if relaxed else Simple
        # dkimpy leaves blanks at the end of a last line that has no end
        whole = body if body.endswith(b"\r\n") or not body else body + b"\r\n"
        self.assertEqual(digest(body, relaxed).digest, hashlib.sha256(form.canonicalize_body(whole)).digest())

    @given(_TEXT, st.booleans(), st.integers(1, 9))
    def test_stretches(self, body: bytes, relaxed: bool, stretch: int) -> None:
        whole = digest(body, relaxed).digest
        self.patch(canonical, "_STRETCH", stretch)
        self.assertEqual(digest(body, relaxed).digest, whole)

    def test_examples_of_the_standard(self) -> None:  # RFC 6376 3.4.5
        body = b" C \r\nD \t E\r\n\r\n\r\n"
        self.assertEqual(digest(body, True).digest, hashlib.sha256(b" C\r\nD E\r\n").digest())
        self.assertEqual(digest(body, False).digest, hashlib.sha256(b" C \r\nD \t E\r\n").digest())

    def test_empty(self) -> None:
        for body in (b"", b"\r\n", b"\r\n\r\n\r\n"):
            self.assertEqual(digest(body, True).digest, hashlib.sha256(b"").digest())
            self.assertEqual(digest(body, False).digest, hashlib.sha256(b"\r\n").digest())

    def test_length(self) -> None:
        part = digest(b"one\r\ntwo\r\n", True, 5)
        self.assertEqual(part.digest, hashlib.sha256(b"one\r\n").digest())
        self.assertEqual((part.whole, part.enough), (False, True))
        whole = digest(b"one\r\ntwo\r\n", True, 10)
        self.assertEqual((whole.whole, whole.enough), (True, True))
        more = digest(b"one\r\ntwo\r\n", True, 11)
        self.assertEqual((more.whole, more.enough), (True, False))
        none = digest(b"one\r\n", True, 0)
        self.assertEqual((none.digest, none.whole), (hashlib.sha256(b"").digest(), False))

    def test_several_at_once(self) -> None:
        wanted = [Wanted(relaxed, length) for relaxed in (True, False) for length in (None, 0, 3, 3)]
        hash_body(b"a  b\r\n", 0, wanted)
        self.assertEqual([each.digest for each in wanted], [digest(b"a  b\r\n", each.relaxed, each.length).digest for each in wanted])

    def test_linear(self) -> None:
        """Bodies that take a verifier with a careless expression hours."""
        bodies = [
            b" " * 2_000_000,
            (b" " * 60_000 + b"\r\n") * 30 + b"x",
            b"\r\n" * 1_000_000 + b"x",
            b"\r\n" * 1_000_000,
            b"\r" * 1_000_000,
            b"\r\r\n" * 500_000,
            b" \r\n" * 500_000,
            b"\t x" * 500_000,
        ]
        for body in bodies:
            for relaxed in (True, False):
                started = time.process_time()
                digest(body, relaxed)
                self.assertLess(time.process_time() - started, 2.0)


class Tags(SynchronousTestCase):
    def test_lists(self) -> None:
        self.assertEqual(
            tags.parse(" v=1;\r\n\ta = rsa-sha256 ; b=Zm8=\r\n\tbar ; x_1="), {"v": "1", "a": "rsa-sha256", "b": "Zm8=\r\n\tbar", "x_1": ""}
        )
        self.assertEqual(tags.parse("a=1;A=2; "), {"a": "1", "A": "2"})
        self.assertEqual(tags.compact(" Zm\r\n\t8= "), "Zm8=")

    def test_malformed(self) -> None:
        for text in ("", ";", "a", "a=1;;b=2", "a=1;a=2", "1=a", "=a", "a-b=1", "a=1; b", ";".join(f"a{n}=" for n in range(100))):
            self.assertRaises(tags.MalformedTags, tags.parse, text)

    @given(st.text())
    def test_anything(self, text: str) -> None:
        try:
            found = tags.parse(text)
        except tags.MalformedTags:
            return
        self.assertTrue(found)
