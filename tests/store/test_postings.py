"""Segments in memory: built, packed, merged, searched."""

from array import array

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.mail.words import EDGE, patterns, words
from mailx.store.postings import Damaged, Draft, Segment, merge, unpack_postings

TEXTS = st.lists(st.text(st.sampled_from("ab0 .\u00e9\u6f22\u5b57"), max_size=12), max_size=8)


def built(texts: list[str], first: int = 0) -> "tuple[Segment, array[int]]":
    """A segment whose documents ``1000 + n`` are ``texts``."""
    draft = Draft()
    for number, text in enumerate(texts, first):
        draft.add(number, 1000 + number, words([text], 10**6) or ())
    packed, postings = draft.packed()
    return Segment(packed), unpack_postings(postings)


def lacking(pair: "tuple[Segment, array[int]]", needle: str) -> set[int]:
    segment, postings = pair
    return set(segment.without(patterns(needle), lambda: postings))


def fits(text: str, needle: str) -> bool:
    return all(any(pattern in EDGE + word + EDGE for word in words([text], 10**6) or ()) for pattern in patterns(needle))


class Segments(SynchronousTestCase):
    @given(TEXTS, TEXTS, st.text(st.sampled_from("ab0 .\u00e9\u6f22\u5b57"), max_size=5), st.sets(st.integers(1000, 1016)))
    def test_a_search_finds_what_the_words_say(self, first: list[str], second: list[str], needle: str, gone: set[int]) -> None:
        one, two = built(first), built(second, len(first))
        texts = {1000 + number: text for number, text in enumerate(first + second)}
        expected = {id for id, text in texts.items() if not fits(text, needle)}
        self.assertEqual(lacking(one, needle) | lacking(two, needle), expected)
        packed, postings = merge([one, two], gone).packed()
        joined = Segment(packed), unpack_postings(postings)
        self.assertEqual(set(joined[0].ids), set(texts) - gone)
        self.assertEqual(lacking(joined, needle), expected - gone)

    def test_what_matches_nearly_every_word_tells_nothing(self) -> None:
        texts = [f"q{number}x" for number in range(5000)]
        pair = built([" ".join(texts), "other"])
        self.assertEqual(lacking(pair, "q"), set())
        self.assertEqual(lacking(pair, "q17x"), {1001})
        self.assertEqual(lacking(pair, "q other"), {1000, 1001})

    def test_words_only_of_deleted_messages_go(self) -> None:
        merged = merge([built(["secret plan", "plan"])], {1000})
        self.assertEqual(set(merged.postings), {b"plan"})

    def test_damage_is_noticed(self) -> None:
        draft = Draft()
        draft.add(0, 1, [b"word"])
        packed, postings = draft.packed()
        for octets in (b"", packed[:7], packed[:12], packed[:-1], b"\xff" * 40):
            self.assertRaises(Damaged, Segment, octets)
        self.assertRaises(Damaged, unpack_postings, postings[:-1])
