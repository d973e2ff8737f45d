"""Where the messages of a mailbox lie among the documents of an account's segments, and which of them some marks mean.

A mailbox holds its messages by UID, segments hold documents in the order in which they were indexed; mostly that is nearly the
same. Pure computation in a reader's thread, in steps of less than a millisecond where the interpreter is not given away.
"""

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from itertools import compress, count, repeat

from attrs import frozen

_SLICE = 8192  # messages handled at a time
_AGAIN = 140  # octets that a pair of indexes takes,
_UNKNOWN = 48  # and an index in a list
_FEW = 16  # one in so many: fewer are better found one by one


@frozen(eq=False)
class Arrangement:
    """Of the messages ``ids`` of a mailbox and the documents ``there``, whose message ids those are; both as long as nothing changes."""

    ids: "array[int]"
    there: "array[int]"
    same: bool  # one document after another is a message, and there are no others
    documents: "array[int]"  # of each message its document, behind the last: none; empty if they are the ``same``
    messages: "array[int]"  # of each document the message, by index, behind the last: none
    again: tuple[tuple[int, int], ...]  # a message that is in the mailbox more than once: the index in ``messages``, and another
    unknown: Sequence[int]  # indexes of messages that are no document, rising

    @property
    def octets(self) -> int:
        """Memory that it takes, about."""
        return 12 * len(self.ids) + 12 * len(self.there) + _AGAIN * len(self.again) + _UNKNOWN * len(self.unknown)

    def fits(self, ids: "array[int]", there: "array[int]") -> bool:
        """Whether it still holds."""
        return self.ids == ids and self.there == there

    def marked(self, marks: bytearray) -> list[int]:
        """The indexes of the messages, rising, whose documents are marked: 1 in ``marks``, which has 0 for the others."""
        number = marks.count(1)
        if number * _FEW < len(marks):
            return self._few(marks)
        found: list[int] = []
        marks.append(0)  # of no document
        for start in range(0, len(self.ids), _SLICE):
            part: Sequence[int] = marks[start : start + _SLICE]
            if not self.same:
                part = bytes(map(marks.__getitem__, self.documents[start : start + _SLICE]))
            found += compress(range(start, start + _SLICE), part)
        marks.pop()
        return found

    def _few(self, marks: bytearray) -> list[int]:
        found: list[int] = []
        place = marks.find(1)
        while place >= 0:
            found.append(place)
            place = marks.find(1, place + 1)
        if self.same:
            return found
        messages, nowhere = self.messages, len(self.ids)
        found = sorted([messages[place] for place in found])
        del found[bisect_left(found, nowhere) :]
        if self.again and found:
            inside = set(found)
            found = sorted([*found, *(other for index, other in self.again if index in inside)])
        return found


def arranged(ids: "array[int]", there: "array[int]") -> Arrangement:
    """The arrangement of the messages ``ids`` of a mailbox and the documents of the messages ``there``, each of which is there once."""
    if ids == there:
        return Arrangement(ids, there, True, array("I"), array("I"), (), ())
    known, held = _places(there), _places(ids)
    documents, messages = _looked_up(known, ids, len(there)), _looked_up(held, there, len(ids))
    unknown: list[int] = []
    if documents.count(len(there)):
        unknown = [index for index, place in enumerate(documents) if place == len(there)]
    again: tuple[tuple[int, int], ...] = ()
    if len(held) < len(ids):
        again = tuple((held[id], index) for index, id in enumerate(ids) if held[id] != index)
    return Arrangement(ids, there, False, documents, messages, again, unknown)


def _places(ids: "array[int]") -> dict[int, int]:
    places: dict[int, int] = {}
    for start in range(0, len(ids), _SLICE):
        places.update(zip(ids[start : start + _SLICE], count(start)))
    return places


def _looked_up(places: dict[int, int], ids: "array[int]", nowhere: int) -> "array[int]":
    """The place of each of ``ids``, ``nowhere`` for what has none."""
    found = array("I")
    for start in range(0, len(ids), _SLICE):
        found.extend(map(places.get, ids[start : start + _SLICE], repeat(nowhere)))
    return found
