"""Texts of the summaries of documents, joined and looked through."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.store.texts import Damaged, Texts


class Joined(SynchronousTestCase):
    @given(
        st.lists(st.text(st.sampled_from("ab\u00e9"), max_size=4).map(str.encode), min_size=1, max_size=30),
        st.sampled_from([b"a", b"ab", b"\xc3"]),
    )
    def test_those_that_contain_a_string_are_found(self, texts: list[bytes], needle: bytes) -> None:
        texts *= 8
        opened = Texts(Texts.pack(([b""] * len(texts), texts, [b"a"] * len(texts), texts)))
        for column in 1, 3:
            self.assertEqual(opened.having(column, needle), [order for order, text in enumerate(texts) if needle in text])
        self.assertEqual(opened.having(0, needle), [])
        self.assertEqual(opened.split()[1], texts)

    def test_damage_is_noticed(self) -> None:
        packed = Texts.pack(([b"one"], [b""], [b""], [b"two"]))
        for octets in b"", packed[:7], packed[:-1], packed + b"x":
            self.assertRaises(Damaged, Texts, octets)
