"""Texts of the summaries of a segment's documents: subject, From, To and Cc, folded. Searches for these fields need nothing else.

Packed: octets of each of the four columns (u32 each, little-endian); then the columns, text after text with an octet 255 between,
which UTF-8 never has. Damage of what was packed is told as Damaged.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate, pairwise
from struct import Struct, error

from mailx.store.finding import Haystack

_HEAD = Struct("<IIII")
_APART = b"\xff"
_FEW = 100


class Damaged(Exception):
    """Octets that are no segment."""


class Texts:
    """Texts of the summaries of a segment's documents."""

    def __init__(self, packed: bytes) -> None:
        """``packed`` as ``pack`` made it; raises Damaged."""
        try:
            lengths = _HEAD.unpack_from(packed)
        except error as reason:
            raise Damaged(f"no texts: {reason}") from None
        ends = list(accumulate(lengths, initial=_HEAD.size))
        if ends[-1] != len(packed):
            raise Damaged("texts are cut short")
        self._columns = [Haystack(packed[begin:end]) for begin, end in pairwise(ends)]
        self._begin: dict[int, array[int]] = {}  # of a column that was looked into: where each text begins

    @staticmethod
    def pack(columns: Iterable[list[bytes]]) -> bytes:
        joined = [_APART.join(column) for column in columns]
        return _HEAD.pack(*map(len, joined)) + b"".join(joined)

    @property
    def octets(self) -> int:
        """Memory that they take, about."""
        columns = [column.octets for column in self._columns]
        return sum(map(len, columns)) + 4 * len(columns) * (columns[0].count(_APART) + 1)

    def having(self, column: int, needle: bytes) -> list[int]:
        """Which documents have a text that contains ``needle``, by their order."""
        haystack, found = self._columns[column], list[int]()
        position = haystack.find(needle)
        if position < 0:
            return found
        begins = self._begins(column)
        while position >= 0:
            order = bisect_right(begins, position) - 1
            found.append(order)
            if order + 1 == len(begins):
                break
            if len(found) > _FEW:  # it is faster to look into each
                return [order for order, each in enumerate(haystack.octets.split(_APART)) if needle in each]
            position = haystack.find(needle, begins[order + 1])
        return found

    def _begins(self, column: int) -> "array[int]":
        begins = self._begin.get(column)
        if begins is None:
            texts = self._columns[column].octets.split(_APART)
            begins = self._begin[column] = array("I", accumulate((len(text) + 1 for text in texts[:-1]), initial=0))
        return begins

    def split(self) -> list[list[bytes]]:
        """Each column, text by text."""
        return [column.octets.split(_APART) for column in self._columns]
