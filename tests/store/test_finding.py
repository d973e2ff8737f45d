"""Finding octets in octets."""

from unittest import mock

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.store import finding
from mailx.store.finding import Haystack


class Finding(SynchronousTestCase):
    @given(st.binary(max_size=6), st.integers(0, 6000), st.lists(st.sampled_from([b"a", b"b", b"\0"]), max_size=50), st.integers(0, 6100))
    def test_it_finds_what_bytes_find(self, needle: bytes, before: int, tail: list[bytes], start: int) -> None:
        needle = needle or b"ab"
        text = b"a" * before + needle[:2] + b"".join(tail) + needle
        for octets in text, text[:-1], b"":
            self.assertEqual(Haystack(octets).find(needle, start), octets.find(needle, start))
            with mock.patch.object(finding, "_MEMMEM", None):
                self.assertEqual(Haystack(octets).find(needle, start), octets.find(needle, start))
