"""Texts of the summaries of a segment's documents: subject, From, To and Cc, folded. Searches for these fields need nothing else.

Packed: octets of each of the four columns (u32 each, little-endian); then the columns, text after text with an octet 255 between,
which UTF-8 never has. Damage of what was packed is told as Damaged.
"""

from collections.abc import Iterable
from itertools import accumulate, pairwise
from struct import Struct, error

_HEAD = Struct("<IIII")
_APART = b"\xff"


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
        self._columns = [packed[begin:end] for begin, end in pairwise(ends)]

    @staticmethod
    def pack(columns: Iterable[list[bytes]]) -> bytes:
        joined = [_APART.join(column) for column in columns]
        return _HEAD.pack(*map(len, joined)) + b"".join(joined)

    @property
    def octets(self) -> int:
        """Memory that they take, about."""
        return sum(map(len, self._columns))

    def having(self, column: int, needle: bytes) -> list[bool] | None:
        """For each document whether its text contains ``needle``; None: none does."""
        text = self._columns[column]
        return [needle in each for each in text.split(_APART)] if needle in text else None

    def split(self) -> list[list[bytes]]:
        """Each column, text by text."""
        return [column.split(_APART) for column in self._columns]
