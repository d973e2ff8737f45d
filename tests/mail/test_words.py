"""Words and patterns: a text that contains a search string has a word for each of its patterns."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.mail.charset import fold
from mailx.mail.words import EDGE, shape, words

TEXTS = st.text(st.sampled_from("abAB01_ .-@\n\u00df\u0130\u0301\u00e9\u6f22\u5b57\u304b\u0e01\uff76\U00020000"), max_size=40)


def fits(text: str, needle: str) -> bool:
    """Whether the words of ``text`` have every pattern of ``needle``."""
    found = words([text], len(text))
    assert found is not None
    return all(any(pattern in EDGE + word + EDGE for word in found) for pattern in shape(needle).runs)


class Words(SynchronousTestCase):
    def test_words_are_runs_of_letters_and_digits(self) -> None:
        self.assertEqual(words(["to be, or_not 2-be", "be"], 100), {b"to", b"be", b"or", b"not", b"2"})
        self.assertEqual(words(["stra\u00dfe 5\u20ac"], 100), {"stra\u00dfe".encode(), b"5"})

    def test_dense_scripts_go_by_pairs(self) -> None:
        self.assertEqual(
            words(["a\u6f22\u5b57\u304bb \u5b57"], 100), {b"a", b"b", *(w.encode() for w in ("\u6f22\u5b57", "\u5b57\u304b", "\u5b57"))}
        )

    def test_too_much_text_has_no_words(self) -> None:
        self.assertIsNone(words(["abc", "de"], 4))

    def test_slices_do_not_cut_words(self) -> None:
        long = "x" * 200_000
        self.assertEqual(words([f"{long} {long} y"], 500_000), {long.encode(), b"y"})
        self.assertEqual(words([f"{long} {long} \u00e9"], 500_000), {long.encode(), "\u00e9".encode()})

    def test_patterns_know_where_words_end(self) -> None:
        self.assertEqual(shape("inner").runs, (b"inner",))
        self.assertEqual(set(shape("bob@example.org").runs), {b"bob\n", b"\nexample\n", b"\norg"})
        self.assertEqual(shape(" word ").runs, (b"\nword\n",))
        self.assertEqual(shape(" -- ").runs, ())
        self.assertEqual(shape("").runs, ())

    def test_what_is_sure(self) -> None:
        for needle in "inner", "two words", "a b c", "\u6f22\u5b57\u304b", "\u6f22":
            self.assertTrue(shape(needle).sure, needle)
        for needle in "two  words", "a.b", " a", "a ", "a\u6f22", "\u6f22 \u5b57":
            self.assertFalse(shape(needle).sure, needle)

    @given(st.lists(TEXTS, min_size=1, max_size=3), st.data())
    def test_no_part_of_a_text_is_missed(self, pieces: list[str], data: st.DataObject) -> None:
        text = fold("".join(pieces))
        start = data.draw(st.integers(0, len(text)))
        needle = text[start : data.draw(st.integers(start, len(text)))]
        self.assertTrue(fits(text, needle), (text, needle))
