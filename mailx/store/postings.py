"""Segments of the search index in memory: which documents of one account have which words.

A segment is two octet strings, sealed apart because most searches need the first only. All numbers are little-endian.

- *words*: ``count of documents, count of words`` (u32 each); the number of each document (u16) and its message id (i64);
  where each word begins in the vocabulary and where its postings begin (u32 each, and one more for the end); the
  vocabulary: every word in UTF-8 with a line feed before it and one after the last.
- *postings*: the numbers (u16) of the documents that have the word, word after word.

An account's documents are numbered in the order in which they were indexed, the lower 16 bits stand in a segment, and
a segment holds documents of one stretch of 65,536 only: merging segments is joining octet strings.
"""

import sys
from array import array
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import accumulate
from struct import Struct, error

from attrs import define, field

from mailx.mail.words import EDGE

STRETCH = 1 << 16
_HEAD = Struct("<II")
_TELLING = 4096  # words of a segment that a pattern may match; one that matches more is left out of account
_STEP = 4096  # words split at a time


class Damaged(Exception):
    """Octets that are no segment."""


@define(eq=False)
class Draft:
    """A segment in the making."""

    documents: dict[int, int] = field(factory=dict)  # number -> message id
    postings: dict[bytes, bytes] = field(factory=dict)

    def add(self, number: int, message_id: int, words: Iterable[bytes]) -> None:
        """Add one document, whose number is above those that are there."""
        number %= STRETCH
        self.documents[number] = message_id
        entry = number.to_bytes(2, "little")
        postings = self.postings
        get = postings.get
        for word in words:
            postings[word] = get(word, b"") + entry

    def packed(self) -> tuple[bytes, bytes]:
        """The octets of *words* and *postings*."""
        vocabulary = EDGE + EDGE.join([*self.postings, b""])
        starts = array("I", accumulate((len(word) + 1 for word in self.postings), initial=1))
        bounds = array("I", accumulate((len(entry) // 2 for entry in self.postings.values()), initial=0))
        columns = (array("H", self.documents), array("q", self.documents.values()), starts, bounds)
        head = _HEAD.pack(len(self.documents), len(self.postings))
        return head + b"".join(map(_little, columns)) + vocabulary, b"".join(self.postings.values())


class Segment:
    """An opened segment."""

    def __init__(self, words: bytes) -> None:
        """``words`` as ``packed``; raises Damaged."""
        try:
            documents, count = _HEAD.unpack_from(words)
            position = _HEAD.size
            columns = []
            for code, length in (("H", documents), ("q", documents), ("I", count + 1), ("I", count + 1)):
                column = array(code)
                size = length * column.itemsize
                column.frombytes(words[position : position + size])
                if len(column) != length:
                    raise Damaged("a segment is cut short")
                columns.append(_native(column))
                position += size
        except (error, ValueError) as reason:
            raise Damaged(f"not a segment: {reason}") from None
        self.numbers, self.ids, self._starts, self._bounds = columns
        self._vocabulary = words[position:]
        if self._starts[-1] != len(self._vocabulary):
            raise Damaged("a segment is cut short")

    @property
    def octets(self) -> int:
        """Memory that it takes, about."""
        return len(self._vocabulary) + 8 * len(self._starts) + 10 * len(self.ids)

    def without(self, patterns: Iterable[bytes], postings: "Callable[[], array[int]]") -> list[int]:
        """The ids of the messages here that lack a word for one of ``patterns``. ``postings`` are read if it takes them."""
        chosen: list[list[int]] = []
        for pattern in patterns:
            found = self._words(pattern)
            if found is None:
                continue
            if not found:
                return list(self.ids)
            chosen.append(found)
        if not chosen:
            return []
        entries, bounds = postings(), self._bounds
        left = set(self.numbers)
        for found in chosen:
            having: set[int] = set()
            for word in found:
                having.update(entries[bounds[word] : bounds[word + 1]])
            left &= having
            if not left:
                return list(self.ids)
        return [id for number, id in zip(self.numbers, self.ids, strict=True) if number not in left]

    def entries(self, postings: "array[int]") -> "Iterator[tuple[bytes, bytes]]":
        """Each word with its postings packed."""
        starts, bounds, last = self._starts, self._bounds, len(self._starts) - 1
        packed = _little(postings)
        for begin in range(0, last, _STEP):
            end = min(begin + _STEP, last)
            words = self._vocabulary[starts[begin] : starts[end] - 1].split(EDGE)
            for index, word in enumerate(words, begin):
                yield word, packed[2 * bounds[index] : 2 * bounds[index + 1]]

    def _words(self, pattern: bytes) -> list[int] | None:
        """Which words match, None when there are too many to tell anything."""
        vocabulary, starts = self._vocabulary, self._starts
        inside = pattern.startswith(EDGE)
        last = len(starts) - 1
        found: list[int] = []
        position = vocabulary.find(pattern)
        while position >= 0:
            index = bisect_right(starts, position + inside) - 1
            if index >= last:
                break
            found.append(index)
            if len(found) > _TELLING:
                return None
            position = vocabulary.find(pattern, starts[index + 1] - 1)
        return found


def unpack_postings(packed: bytes) -> "array[int]":
    """*postings* as numbers; raises Damaged."""
    postings = array("H")
    try:
        postings.frombytes(packed)
    except ValueError:
        raise Damaged("postings are cut short") from None
    return _native(postings)


def merge(segments: "Iterable[tuple[Segment, array[int]]]", gone: Collection[int] = ()) -> Draft:
    """One segment for all of ``segments``, which come with their postings, in order and of one stretch.

    Without the messages ``gone`` and the words that only they had.
    """
    draft = Draft()
    joined = draft.postings
    get = joined.get
    for segment, postings in segments:
        dead = {number for number, id in zip(segment.numbers, segment.ids, strict=True) if id in gone}
        draft.documents.update((number, id) for number, id in zip(segment.numbers, segment.ids, strict=True) if number not in dead)
        for word, entry in segment.entries(postings):
            if dead:
                entry = _little(array("H", [number for number in unpack_postings(entry) if number not in dead]))
                if not entry:
                    continue
            joined[word] = get(word, b"") + entry
    return draft


def _native(column: "array[int]") -> "array[int]":
    if sys.byteorder == "big":
        column.byteswap()
    return column


def _little(column: "array[int]") -> bytes:
    if sys.byteorder == "big":
        column = column[:]
        column.byteswap()
    return column.tobytes()
