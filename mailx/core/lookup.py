"""What is looked for in the segments of the index, and which documents of one have it, lack it, or may have it.

Pure computation in a reader's thread. The answer for a search string that is one run of letters and digits, or some with one blank
between, is sure; for any other the documents whose words fit are told as unsure, to be looked at.
"""

import sys
from array import array
from collections.abc import Callable, Hashable, Iterable, Iterator
from functools import lru_cache
from itertools import accumulate, chain, islice
from math import log
from typing import TYPE_CHECKING, ClassVar, Protocol

from attrs import field, frozen

from mailx.mail.likeness import ends, errors, likeness
from mailx.mail.words import BODY, BODY_FROM, EDGE, HEADER, ROOM, SUBJECT, Shape
from mailx.store.postings import ANYWHERE, Postings, Segment
from mailx.store.texts import Texts

if TYPE_CHECKING:
    import re
    from collections.abc import Set as AbstractSet

_K, _B = 1.2, 0.75  # of BM25: what repetition is worth, and how much long messages are held to have more of everything
_OFTEN = (1.0, 2.5, 5.5, 10.0)  # occurrences, by the upper bits of a mark
_ONCE = (1.0, 1.0, 1.0, 1.0)
_SUBJECT = 3.0  # what a word of the subject counts more
_RANKED = 200  # words of a segment that one wanted word may stand for in a ranking
_KNOWN = 100_000  # words whose likeness is kept
_SLICE = 32768  # places handled at a time, about a millisecond: longer ones would keep other threads waiting
_KEPT = 32  # runs, and octets of them, up to which it is kept what was found for a string: whoever searches chooses it
_KEPT_OCTETS = 1000
_PLACES = 4096  # common words that one run may stand for, for their places to be looked at

Answer = tuple["AbstractSet[int]", "AbstractSet[int]"]  # numbers of documents that have it, and of those that may
_NONE: frozenset[int] = frozenset()


@frozen(eq=False)
class Shelf:
    """A segment with what reads the rest of it."""

    segment: Segment
    postings: Callable[[], Postings]
    places: "Callable[[int], tuple[int, array[int]]]"  # of a common word: the piece it is in, and the first word of that
    texts: Callable[[], Texts]


class Lookup(Hashable, Protocol):
    """Something to look for. Equal ones find the same."""

    @property
    def dear(self) -> bool:
        """Whether it may take so long to find that what was found is worth keeping."""

    def find(self, shelf: Shelf) -> Answer:
        """Which documents of a segment have it."""


@frozen
class Part:
    """A string that stands in texts at ``where``; ``shape`` is its. ``sure``: what fits has it."""

    shape: Shape
    where: int
    sure: bool

    @property
    def dear(self) -> bool:
        runs = self.shape.runs
        return 1 < len(runs) <= _KEPT and sum(map(len, runs)) <= _KEPT_OCTETS

    def find(self, shelf: Shelf) -> Answer:
        segment, where, runs = shelf.segment, self.where, self.shape.runs
        if not runs:
            return _NONE, frozenset(segment.numbers)
        if len(runs) == 1:
            having = segment.having(runs[0], where, shelf.postings)
            return (having, _NONE) if self.sure else (_NONE, having)
        if where & ~ANYWHERE or 0 in self.shape.steps:
            left = set(segment.numbers)
            for run in sorted(runs, key=len, reverse=True):
                left &= segment.having(run, where, shelf.postings)
                if not left:
                    return _NONE, _NONE
            return _NONE, left
        return _adjoining(shelf, runs, self.shape.steps, where, self.sure)


@frozen
class Field:
    """A string in texts of the summary; ``column``: in which of them."""

    needle: bytes
    column: int
    dear: ClassVar[bool] = False

    def find(self, shelf: Shelf) -> Answer:
        numbers = shelf.segment.numbers
        return {numbers[order] for order in shelf.texts().having(self.column, self.needle)}, _NONE


@frozen
class Pattern:
    """A word that ``expression`` matches; it has ``piece``."""

    expression: "re.Pattern[str]"
    piece: bytes
    where: int
    dear: ClassVar[bool] = False

    def find(self, shelf: Shelf) -> Answer:
        segment, found = shelf.segment, set[int]()
        fits = lru_cache(None)(lambda word: self.expression.fullmatch(word.decode()) is not None)
        for index in segment.fitting(self.piece):
            if fits(segment.word(index)):
                found.update(segment.standing(index, self.where, shelf.postings))
        found.update(number for number, word in segment.rare(self.piece, self.where) if fits(word))
        return found, _NONE


@frozen(eq=False)
class About:
    """Words each of which is like one of ``asked``.

    ``among``: a guest asks, of these messages, and must not learn what is common in the owner's others. So all words are
    looked for as rare ones are, and what a ranking counts it counts among these.
    """

    asked: tuple[str, ...]
    where: int
    among: "AbstractSet[int] | None" = None
    _known: dict[tuple[str, bytes], float] = field(factory=dict)
    dear: ClassVar[bool] = False

    def find(self, shelf: Shelf) -> Answer:
        left: set[int] | None = None
        for wanted in self.asked:
            found = self._like(shelf, wanted)
            left = found if left is None else left & found
            if not left:
                return _NONE, _NONE
        return left or _NONE, _NONE

    def _like(self, shelf: Shelf, wanted: str) -> set[int]:
        segment, found = shelf.segment, set[int]()
        every = len(segment.numbers)
        for index, _ in self.common(segment, wanted):
            found.update(segment.standing(index, self.where, shelf.postings))
            if len(found) == every:
                return found
        found.update(number for number, _ in self.rare(segment, wanted))
        return found

    def common(self, segment: Segment, wanted: str) -> Iterator[tuple[int, float]]:
        """The common words that are like ``wanted``, and how much."""
        seen: set[int] = set()
        patterns = _patterns(wanted) if self.among is None else _patterns(wanted)[:2]
        for index in chain(*(segment.fitting(pattern) for pattern in patterns), segment.accented if self.among is None else ()):
            if index not in seen:
                seen.add(index)
                likeness = self._likeness(wanted, segment.word(index))
                if likeness:
                    yield index, likeness

    def rare(self, segment: Segment, wanted: str) -> Iterator[tuple[int, float]]:
        """Documents with a rare word that is like ``wanted``, and how much. It must begin the same: most rare words are no words."""
        for pattern in _patterns(wanted)[:2]:
            for number, word in segment.rare(pattern, self.where):
                likeness = self._likeness(wanted, word)
                if likeness:
                    yield number, likeness

    def _likeness(self, wanted: str, word: bytes) -> float:
        key = wanted, word
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = likeness(wanted, word.decode())
            if len(self._known) > _KNOWN:
                self._known.clear()
        return known


@frozen(eq=False)
class Ranking:
    """How much documents are about words: BM25 with the likeness of words as weight; for segments one after another."""

    about: About
    length: float  # words of a document on average

    def scores(self, shelf: Shelf) -> dict[int, float]:
        """By the number of the document."""
        segment, where = shelf.segment, self.about.where
        numbers, marks = shelf.postings()
        among = self.about.among
        counted = {number for number, id in zip(segment.numbers, segment.ids, strict=True) if among is None or id in among}
        long = {number: _K * (1 - _B + _B * length / self.length) for number, length in zip(segment.numbers, segment.lengths, strict=True)}
        often_of, of_subject = (_OFTEN, _SUBJECT) if among is None else (_ONCE, 1.0)
        scores: dict[int, float] = {}
        for wanted in self.about.asked:
            best: dict[int, float] = {}
            for index, alike in islice(self.about.common(segment, wanted), _RANKED):
                begin, end = segment.bounds[index], segment.bounds[index + 1]
                for number, mark in zip(numbers[begin:end], marks[begin:end], strict=True):
                    if mark & where and number in counted:
                        often = often_of[mark >> 6] * (of_subject if mark & SUBJECT else 1)
                        score = alike * often * (_K + 1) / (often + long[number])
                        if score > best.get(number, 0.0):
                            best[number] = score
            for number, alike in self.about.rare(segment, wanted):
                score = alike * (_K + 1) / (1 + long[number])
                if score > best.get(number, 0.0) and number in counted:
                    best[number] = score
            seldom = log(1 + len(counted) / (1 + len(best)))
            for number, score in best.items():
                scores[number] = scores.get(number, 0.0) + score * seldom
        return scores


def _patterns(wanted: str) -> list[bytes]:
    """Of which one fits each word that is like ``wanted``, if its letters bear no marks."""
    patterns = [wanted.encode()]
    if errors(wanted):
        head, tail = ends(wanted)
        patterns += [EDGE + head.encode(), tail.encode() + EDGE]
    return patterns


def _adjoining(shelf: Shelf, runs: tuple[bytes, ...], steps: tuple[int, ...], where: int, sure: bool) -> Answer:
    """Which documents have ``runs`` one after another."""
    segment = shelf.segment
    left = set(segment.numbers)
    rare: dict[bytes, list[int]] = {}
    for run in sorted(runs, key=len, reverse=True):
        having = segment.commonly(run, where, shelf.postings)
        rare[run], numbers = segment.rare_ordinals(run, where)
        having.update(numbers)
        left &= having
        if not left:
            return _NONE, _NONE
    unsure = left & segment.incomplete
    bounds, last = segment.places, sum(steps)
    words = [list(islice(segment.fitting(run), _PLACES + 1)) for run in runs]
    if last > ROOM or max(map(len, words)) > _PLACES:
        return _NONE, left
    many = [sum(bounds[word + 1] - bounds[word] for word in each) for each in words]
    offsets = list(accumulate(steps, initial=0))
    ends: set[int] | None = None  # where the last run would stand
    for which in sorted(range(len(runs)), key=many.__getitem__):
        stood = _places(shelf, words[which])
        if rare[runs[which]]:
            _, piece = shelf.places(segment.common)
            stood.extend([piece[ordinal] for ordinal in rare[runs[which]]])
        before, ends = ends, set()
        for start in range(0, len(stood), _SLICE):
            part = _moved(stood[start : start + _SLICE], last - offsets[which])
            ends.update(part if before is None else before.intersection(part))
        if not ends:
            break
    assert ends is not None
    if where & ANYWHERE == HEADER:
        ends = {place for place in ends if place & 0xFFFF < BODY_FROM}
    elif where & ANYWHERE == BODY:
        ends = {place for place in ends if place & 0xFFFF >= BODY_FROM + last}
    found = {place >> 16 for place in ends} & left
    return (found - unsure, unsure) if sure else (_NONE, found | unsure)


def _moved(places: "array[int]", by: int) -> "array[int]":
    """``places`` with ``by`` added to each, as one addition of long numbers: positions leave ROOM in their documents."""
    if not by or not places:
        return places
    octets = places.tobytes()
    each = by.to_bytes(places.itemsize, sys.byteorder) * len(places)
    total = int.from_bytes(octets, sys.byteorder) + int.from_bytes(each, sys.byteorder)
    return array("I", total.to_bytes(len(octets), sys.byteorder))


def _places(shelf: Shelf, words: Iterable[int]) -> "array[int]":
    """Where the common words stand."""
    stood = array("I")
    first, piece = 0, array("I")
    bounds = shelf.segment.places
    begun = ended = 0  # what of the places of all words the piece has
    for word in words:
        begin, end = bounds[word], bounds[word + 1]
        if begin == end:
            continue
        if begin < begun or end > ended:
            first, piece = shelf.places(word)
            begun = bounds[first]
            ended = begun + len(piece)
        stood += piece[begin - begun : end - begun]
    return stood
