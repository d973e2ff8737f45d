"""Canonical forms: against dkimpy's, in stretches, and in linear time; which fields a signature covers."""

import hashlib
import time

from dkim.canonicalization import Relaxed, Simple
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.mail import canonical
from mailx.mail.canonical import Mail, Wanted, digest_relaxed, field_relaxed, hash_body

_TEXT = st.lists(st.sampled_from([b" ", b"\t", b"\r\n", b"\r\n\r\n", b"a", b"b.", b"\xff", b"  \t ", b"\r", b"\n"]), max_size=40).map(
    b"".join
)
_VALUES = st.lists(st.sampled_from((b"\r\n ", b"\r\n\t", b" ", b"\t", b"a", b":", b"\xe9")), max_size=20).map(b"".join)


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
        expected = hashlib.sha256(form.canonicalize_body(whole)).digest()
        self.assertEqual(digest(body, relaxed).digest, expected)
        if relaxed:
            self.assertEqual(digest_relaxed(b"head" + body, 4), expected)

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


class Fields(SynchronousTestCase):
    @given(st.sampled_from((b"Subject", b"SUBJECT ", b"X-y\t")), _VALUES)
    def test_relaxed_as_dkimpy(self, name: bytes, value: bytes) -> None:
        ((expected, rest),) = Relaxed.canonicalize_headers([(name, value + b"\r\n")])
        self.assertEqual(field_relaxed(name + b":" + value + b"\r\n"), expected + b":" + rest)

    def test_which_are_covered(self) -> None:
        """RFC 6376 5.4.2: the last of a name first; one too many is nothing."""
        mail = Mail(b"A: 1\r\nB: 2\r\n  folded\r\nno field\r\na : 3\r\nC:\r\n\r\nA: body")
        self.assertEqual(mail.covered((b"a", b"b", b"a", b"a", b"d"), False), b"a : 3\r\nB: 2\r\n  folded\r\nA: 1\r\n")
        self.assertEqual(mail.covered((b"a", b"b"), True), b"a:3\r\nb:2 folded\r\n")
        self.assertEqual((mail.count(b"a"), mail.count(b"d")), (2, 0))

    def test_header_and_body(self) -> None:
        for content, fields, body in ((b"A: 1\r\n\r\nx\r\n\r\n", 1, b"x\r\n\r\n"), (b"\r\nx", 0, b"x"), (b"A: 1\r\n", 1, b"")):
            mail = Mail(content)
            self.assertEqual((len(mail.fields), content[mail.body :]), (fields, body))

    def test_nobody_is_held_up(self) -> None:
        """No call holds the interpreter for long, whatever stands in a long field."""
        for value in (b"a  " * 85_000, b"a\t " * 85_000, b" " * 250_000, b"\r\n " * 85_000):
            self.assertLess(min(_seconds(b"X:" + value + b"\r\n") for _ in range(3)), 0.03)


def _seconds(raw: bytes) -> float:
    started = time.process_time()
    field_relaxed(raw)
    return time.process_time() - started
