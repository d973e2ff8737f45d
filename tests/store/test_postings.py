"""Segments in memory: built, packed, merged, searched."""

from twisted.trial.unittest import SynchronousTestCase

from mailx.mail.words import BODY, HEADER, Standing
from mailx.store.postings import Draft, Packed, Segment, merge, unpack_places, unpack_postings
from mailx.store.texts import Damaged, Texts


def draft(texts: list[str]) -> Draft:
    """A segment whose documents ``1000 + n`` have the bodies ``texts``."""
    made = Draft()
    for number, text in enumerate(texts):
        standing = Standing()
        standing.take([text], True, 10**6)
        made.add(number, 1000 + number, standing)
    return made


def having(packed: Packed, pattern: bytes) -> set[int]:
    return Segment(packed.words).having(pattern, BODY, lambda: unpack_postings(packed.postings))


class Segments(SynchronousTestCase):
    """What searches find in segments is in tests/core/test_lookup.py."""

    def test_common_words_come_first(self) -> None:
        packed = draft([*["usual frequent"] * 3, "frequent single twice twice"]).packed()
        segment = Segment(packed.words)
        self.assertEqual([segment.word(index) for index in range(segment.common)], [b"frequent", b"usual", b"twice"])
        self.assertEqual(list(segment.rare(b"ngl", BODY)), [(3, b"single")])
        self.assertEqual(list(segment.rare(b"ngl", HEADER)), [])

    def test_what_matches_many_words(self) -> None:
        texts = [f"q{number}x" for number in range(5000)]
        packed = draft([" ".join(texts), "other"]).packed()
        self.assertEqual(having(packed, b"q"), {0})
        self.assertEqual(having(packed, b"q17x"), {0})
        self.assertEqual(having(packed, b"e"), {1})

    def test_words_only_of_deleted_messages_go(self) -> None:
        packed = draft(["secret plan plan", "plan"]).packed()
        whole = Segment(packed.words), unpack_postings(packed.postings), packed.places[0][1], packed.places[1][1], Texts(packed.texts)
        merged = merge([whole], {1000})
        self.assertEqual(set(merged.entries), {b"plan"})
        self.assertEqual(merged.documents, {1: (1001, 1, 0)})

    def test_a_message_with_too_many_words_tells_so(self) -> None:
        packed = draft(["a b " * 40_000, "a b"]).packed()
        self.assertEqual(Segment(packed.words).incomplete, {0})

    def test_damage_is_noticed(self) -> None:
        packed = draft(["word"]).packed()
        for octets in (b"", packed.words[:7], packed.words[:20], packed.words[:-1], b"\xff" * 40):
            self.assertRaises(Damaged, Segment, octets)
        self.assertRaises(Damaged, unpack_postings, b"1234")
        self.assertRaises(Damaged, unpack_places, b"12345")
