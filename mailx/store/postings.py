"""Segments of the search index in memory: which documents of one account have which words, and where.

A segment is octet strings that are sealed apart, because most searches need the first only. All numbers are little-endian.

- *words*: four counts (u32 each): of documents, of common words, of octets of their vocabulary, of octets of rare words; for each
  document its number (u16), its message id (i64), how many words it has (u32), 1 if not all their positions are known (u8); for the
  common words, those of the most documents first, and one more for the end: where each begins in the vocabulary, where
  its postings begin, where its places begin (u32 each); the vocabulary: every word in UTF-8 with a line feed before it and one
  after the last. Rare words stand once in one document, are ASCII, and stand in no text of the summary: where those of the header and
  those of the body of each document begin (u32, and one more for the end), and they themselves, written as the vocabulary.
- *postings*: the numbers (u16) of the documents that have the word, word after word; then a mark (u8) for each of them: in the lower six
  bits where it stands there (:mod:`mailx.mail.words`), in the upper two how often: once, up to three, up to seven times, more.
- *places*, in pieces: where each common word stands, word after word: the number of the document, shifted by 16 bits, and the position
  in it (u32). The last piece has those of the rare words.

An account's documents are numbered in the order in which they were indexed, the lower 16 bits stand in a segment, and
a segment holds documents of one stretch of 65,536 only: merging segments is joining octet strings.
"""

import sys
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import cached_property
from itertools import accumulate, compress, pairwise, repeat
from operator import or_
from struct import Struct, error

from attrs import define, field, frozen

from mailx.mail.likeness import bare
from mailx.mail.words import BODY, BODY_FROM, EDGE, HEADER, Standing
from mailx.store.finding import Haystack
from mailx.store.texts import Damaged, Texts

STRETCH = 1 << 16
PIECE = 32768  # places that make a piece full
ANYWHERE = HEADER | BODY
_HEAD = Struct("<IIII")
_STEP = 4096  # words split at a time
_WHERE = 63
_RARE_MARKS = (HEADER, BODY)

Postings = tuple["array[int]", bytes]  # numbers of documents, and their marks


@frozen
class Packed:
    """The octets of a segment. ``places``: each piece with the number of its first common word; the last has the rare words'."""

    words: bytes
    postings: bytes
    places: tuple[tuple[int, bytes], ...]
    texts: bytes


@define(eq=False)
class Draft:
    """A segment in the making."""

    documents: dict[int, tuple[int, int, int]] = field(factory=dict)  # number -> message id, words, 1 if positions lack
    entries: dict[bytes, tuple[bytes, bytes, bytes]] = field(factory=dict)  # word -> numbers, marks, places
    texts: tuple[list[bytes], ...] = field(factory=lambda: ([], [], [], []))  # of the documents: subject, From, To, Cc
    _stood: defaultdict[bytes, list[int]] = field(factory=lambda: defaultdict(list))  # of what was added
    _marked: "defaultdict[bytes, list[tuple[int, int]]]" = field(factory=lambda: defaultdict(list))  # numbers and marks of the summary

    def add(self, number: int, message_id: int, standing: Standing) -> None:
        """Add one document, whose number is above those that are there."""
        number %= STRETCH
        self.documents[number] = message_id, len(standing.words), int(not standing.complete)
        stood = self._stood
        for word, place in zip(standing.words, map((number << 16).__or__, standing.positions), strict=True):
            stood[word].append(place)
        for word, mark in standing.marks.items():
            self._marked[word].append((number, mark))
        for column, text in zip(self.texts, standing.texts, strict=True):
            column.append(text.encode("utf-8", "surrogatepass"))

    def _settle(self) -> None:
        """Make entries of what was added."""
        entries, marked = self.entries, self._marked
        for word, stood in self._stood.items():
            if len(stood) == 1 and word not in marked:
                place = stood[0].to_bytes(4, "little")
                entries[word] = place[2:], _HALVES[place[1]], place
                continue
            places = array("I", stood)
            numbers, marks = _numbered(places)
            if word in marked:
                _mark(numbers, marks, marked.pop(word))
            entries[word] = _little(numbers), bytes(marks), _little(places)
        for word, told in marked.items():  # the header was too long, or told otherwise
            numbers, marks = array("H"), bytearray()
            _mark(numbers, marks, told)
            entries[word] = _little(numbers), bytes(marks), b""
        self._stood.clear()
        marked.clear()

    def packed(self) -> Packed:
        self._settle()
        documents = self.documents
        order = {number: index for index, number in enumerate(documents)}
        common: list[tuple[bytes, tuple[bytes, bytes, bytes]]] = []
        rare: list[list[bytes]] = [[] for _ in range(2 * len(order))]
        stood: list[list[bytes]] = [[] for _ in range(2 * len(order))]
        for word, entry in self.entries.items():
            numbers, marks, places = entry
            if len(numbers) == 2 and len(places) == 4 and marks[0] in _RARE_MARKS and word.isascii():
                block = 2 * order[int.from_bytes(numbers, "little")] + (marks[0] == BODY)
                rare[block].append(word)
                stood[block].append(places)
            else:
                common.append((word, entry))
        common.sort(key=lambda each: len(each[1][1]), reverse=True)
        vocabulary = EDGE + EDGE.join([*(word for word, _ in common), b""])
        blocks = [EDGE + EDGE.join(block) if block else b"" for block in rare]
        columns = (
            array("H", documents),
            array("q", [id for id, _, _ in documents.values()]),
            array("I", [length for _, length, _ in documents.values()]),
            array("B", [lacking for _, _, lacking in documents.values()]),
            array("I", accumulate((len(word) + 1 for word, _ in common), initial=1)),
            array("I", accumulate((len(entry[1]) for _, entry in common), initial=0)),
            array("I", accumulate((len(entry[2]) // 4 for _, entry in common), initial=0)),
            array("I", accumulate(map(len, blocks), initial=0)),
        )
        text = b"".join(blocks) + EDGE
        head = _HEAD.pack(len(documents), len(common), len(vocabulary), len(text))
        packed = b"".join([entry[0] for _, entry in common]) + b"".join([entry[1] for _, entry in common])
        return Packed(
            head + b"".join(map(_little, columns)) + vocabulary + text,
            packed,
            (*_pieces([entry[2] for _, entry in common]), (len(common), b"".join(b"".join(each) for each in stood))),
            Texts.pack(self.texts),
        )


class Segment:
    """An opened segment."""

    def __init__(self, words: bytes) -> None:
        """``words`` as ``packed``; raises Damaged."""
        try:
            documents, common, vocabulary, rare = _HEAD.unpack_from(words)
            position = _HEAD.size
            columns = []
            for code, length in zip("HqIBIIII", [documents] * 4 + [common + 1] * 3 + [2 * documents + 1], strict=True):
                column = array(code)
                size = length * column.itemsize
                column.frombytes(words[position : position + size])
                if len(column) != length:
                    raise Damaged("a segment is cut short")
                columns.append(_native(column))
                position += size
        except (error, ValueError) as reason:
            raise Damaged(f"not a segment: {reason}") from None
        self.numbers, self.ids, self.lengths, lacking, self._starts, self.bounds, self.places, self._blocks = columns
        self.incomplete = frozenset(number for number, each in zip(self.numbers, lacking, strict=True) if each)
        self._vocabulary = Haystack(words[position : position + vocabulary])
        self._rare = Haystack(words[position + vocabulary :])
        if len(self._vocabulary.octets) != vocabulary or self._starts[-1] != vocabulary or len(self._rare.octets) != rare:
            raise Damaged("a segment is cut short")

    @property
    def octets(self) -> int:
        """Memory that it takes, about."""
        return len(self._vocabulary.octets) + len(self._rare.octets) + 12 * len(self._starts) + 23 * len(self.ids)

    @property
    def common(self) -> int:
        """How many common words there are."""
        return len(self._starts) - 1

    def fitting(self, pattern: bytes) -> Iterator[int]:
        """The common words that match, the most frequent first."""
        vocabulary, starts = self._vocabulary, self._starts
        inside = pattern.startswith(EDGE)
        last = len(starts) - 1
        position = vocabulary.find(pattern)
        while position >= 0:
            index = bisect_right(starts, position + inside) - 1
            if index >= last:
                return
            yield index
            position = vocabulary.find(pattern, starts[index + 1] - 1)

    @cached_property
    def accented(self) -> tuple[int, ...]:
        """The common words with letters that bear marks."""
        vocabulary = self._vocabulary.octets
        if vocabulary.isascii():
            return ()
        found = []
        for index, word in enumerate(self._split(vocabulary)):
            if not word.isascii() and bare(text := word.decode("utf-8", "replace")) != text:
                found.append(index)
        return tuple(found)

    def word(self, index: int) -> bytes:
        """A common word."""
        return self._vocabulary.octets[self._starts[index] : self._starts[index + 1] - 1]

    def seldom(self, pattern: bytes, where: int) -> Iterator[int]:
        """The numbers of documents with a rare word that matches and stands there."""
        rare, blocks = self._rare, self._blocks
        last = len(blocks) - 1
        position = rare.find(pattern) if where & ANYWHERE else -1
        while position >= 0:
            block = bisect_right(blocks, position) - 1
            if block >= last:
                return
            if _RARE_MARKS[block & 1] & where:
                yield self.numbers[block >> 1]
                position = rare.find(pattern, blocks[(block | 1) + 1])
            else:
                position = rare.find(pattern, blocks[block + 1])

    def rare(self, pattern: bytes, where: int) -> Iterator[tuple[int, bytes]]:
        """All rare words that match and stand there, with the number of their document."""
        rare = self._rare.octets
        for block, inside, end in self._rarely(pattern, where):
            yield self.numbers[block >> 1], rare[rare.rfind(EDGE, 0, inside) + 1 : end]

    def rare_ordinals(self, pattern: bytes, where: int) -> tuple[list[int], list[int]]:
        """Which of the rare words match and stand there, and the numbers of their documents."""
        blocks, rare, before = self._blocks, self._rare.octets, self._rare_before
        found = list(self._rarely(pattern, where))
        ordinals = [before[block] + rare.count(EDGE, blocks[block], inside) - 1 for block, inside, _ in found]
        return ordinals, [self.numbers[block >> 1] for block, _, _ in found]

    @cached_property
    def _rare_before(self) -> "array[int]":
        """How many rare words stand before each block."""
        blocks, rare = self._blocks, self._rare.octets
        return array("I", accumulate((rare.count(EDGE, begin, end) for begin, end in pairwise(blocks)), initial=0))

    def _rarely(self, pattern: bytes, where: int) -> Iterator[tuple[int, int, int]]:
        """Rare words that match and stand there: the block, somewhere in the word, its end."""
        rare, blocks = self._rare, self._blocks
        last = len(blocks) - 1
        position = rare.find(pattern) if where & ANYWHERE else -1
        while position >= 0:
            inside = position + pattern.startswith(EDGE)
            block = bisect_right(blocks, position) - 1
            if block >= last:
                return
            end = rare.octets.find(EDGE, inside)
            if _RARE_MARKS[block & 1] & where:
                yield block, inside, end
            position = rare.find(pattern, end)

    def having(self, pattern: bytes, where: int, postings: Callable[[], Postings]) -> set[int]:
        """The numbers of documents with a word that matches and stands there. ``postings`` are read if it takes them."""
        found = self.commonly(pattern, where, postings)
        if len(found) < len(self.numbers):
            found.update(self.seldom(pattern, where))
        return found

    def commonly(self, pattern: bytes, where: int, postings: Callable[[], Postings]) -> set[int]:
        """Of ``having`` those where it is a common word."""
        found: set[int] = set()
        every = len(self.numbers)
        for index in self.fitting(pattern):
            found.update(self.standing(index, where, postings))
            if len(found) == every:
                break
        return found

    def standing(self, index: int, where: int, postings: Callable[[], Postings]) -> Iterable[int]:
        """The numbers of documents that have a common word there."""
        numbers, marks = postings()
        begin, end = self.bounds[index], self.bounds[index + 1]
        if where & ANYWHERE == ANYWHERE:
            return numbers[begin:end]
        return compress(numbers[begin:end], marks[begin:end].translate(_wanted(where)))

    def entries(self, postings: Postings, places: bytes, rare: bytes) -> Iterator[tuple[bytes, bytes, bytes, bytes]]:
        """Each word with its postings, marks and places packed; ``places`` are all pieces joined, ``rare`` the last piece."""
        bounds, stand = self.bounds, self.places
        numbers, marks = _little(postings[0]), postings[1]
        for index, word in enumerate(self._split(self._vocabulary.octets)):
            begin, end = bounds[index], bounds[index + 1]
            yield word, numbers[2 * begin : 2 * end], marks[begin:end], places[4 * stand[index] : 4 * stand[index + 1]]
        at = 0
        for block in range(len(self._blocks) - 1):
            begin, end = self._blocks[block], self._blocks[block + 1]
            number = self.numbers[block >> 1].to_bytes(2, "little")
            mark = _MARKS[_RARE_MARKS[block & 1]]
            for word in self._rare.octets[begin + 1 : end].split(EDGE) if begin < end else ():
                yield word, number, mark, rare[at : at + 4]
                at += 4

    def _split(self, text: bytes) -> Iterator[bytes]:
        starts, last = self._starts, len(self._starts) - 1
        for begin in range(0, last, _STEP):
            end = min(begin + _STEP, last)
            yield from text[starts[begin] : starts[end] - 1].split(EDGE)


def unpack_postings(packed: bytes) -> Postings:
    """*postings* opened; raises Damaged."""
    count, left = divmod(len(packed), 3)
    if left:
        raise Damaged("postings are cut short")
    numbers = array("H")
    numbers.frombytes(packed[: 2 * count])
    return _native(numbers), packed[2 * count :]


def unpack_places(packed: bytes) -> "array[int]":
    """A piece of the *places* of common words; raises Damaged."""
    places = array("I")
    try:
        places.frombytes(packed)
    except ValueError:
        raise Damaged("places are cut short") from None
    return _native(places)


Whole = tuple[Segment, Postings, bytes, bytes, Texts]  # with its places: the pieces joined, and the last one


def merge(segments: Iterable[Whole], gone: Collection[int] = ()) -> Draft:
    """One segment for all of ``segments``, in order and of one stretch.

    Without the messages ``gone`` and the words that only they had.
    """
    draft = Draft()
    joined = draft.entries
    get = joined.get
    for segment, postings, places_of, rare, texts in segments:
        dead = {number for number, id in zip(segment.numbers, segment.ids, strict=True) if id in gone}
        for number, id, length in zip(segment.numbers, segment.ids, segment.lengths, strict=True):
            if number not in dead:
                draft.documents[number] = id, length, int(number in segment.incomplete)
        for column, each in zip(draft.texts, texts.split(), strict=True):
            column += compress(each, [number not in dead for number in segment.numbers])
        for word, numbers, marks, places in segment.entries(postings, places_of, rare):
            if dead:
                numbers, marks, places = _without(numbers, marks, places, dead)
                if not numbers:
                    continue
            known = get(word)
            joined[word] = (numbers, marks, places) if known is None else (known[0] + numbers, known[1] + marks, known[2] + places)
    return draft


def _without(numbers: bytes, marks: bytes, places: bytes, dead: Collection[int]) -> tuple[bytes, bytes, bytes]:
    """An entry without the documents ``dead``."""
    documents = _native(array("H", numbers))
    keep = [number not in dead for number in documents]
    if all(keep):
        return numbers, marks, places
    stood = array("I", [place for place in _native(array("I", places)) if place >> 16 not in dead])
    return _little(array("H", compress(documents, keep))), bytes(compress(marks, keep)), _little(stood)


def _pieces(places: list[bytes]) -> Iterator[tuple[int, bytes]]:
    """The places of common words in pieces."""
    first = octets = 0
    for index, each in enumerate(places):
        octets += len(each)
        if octets >= 4 * PIECE:
            yield first, b"".join(places[first : index + 1])
            first, octets = index + 1, 0
    if first < len(places):
        yield first, b"".join(places[first:])


def _numbered(places: "array[int]") -> "tuple[array[int], bytearray]":
    """The numbers of the documents that have ``places`` of one word, and their marks."""
    octets = _little(places)
    numbers = _native(array("H", octets))[1::2]
    where = octets[1::4].translate(_HALF)
    counts = Counter(numbers)
    if len(counts) == len(numbers):
        return numbers, bytearray(where)
    often = map(_OFTEN.get, counts.values(), repeat(192))
    if where.count(where[:1]) == len(where):
        return array("H", counts), bytearray(map(where[0].__or__, often))
    first, last = dict(zip(reversed(numbers), reversed(where), strict=True)), dict(zip(numbers, where, strict=True))
    return array("H", counts), bytearray(
        map(or_, map(or_, last.values(), reversed(first.values())), often)
    )  # all in the order of documents


def _mark(numbers: "array[int]", marks: bytearray, told: list[tuple[int, int]]) -> None:
    """Add what summaries tell of a word to its ``numbers`` and ``marks``."""
    for number, mark in told:
        at = bisect_left(numbers, number)
        if at == len(numbers) or numbers[at] != number:
            numbers.insert(at, number)
            marks.insert(at, 0)
        marks[at] |= mark


_MARKS = tuple(bytes([mark]) for mark in range(256))
_HALF = bytes(HEADER if high < BODY_FROM >> 8 else BODY for high in range(256))  # by the upper octet of a position
_OFTEN = {1: 0, 2: 64, 3: 64, **dict.fromkeys(range(4, 8), 128)}  # marks by how often a word stands in a document
_HALVES = tuple(_MARKS[mark] for mark in _HALF)
_TABLES: dict[int, bytes] = {}


def _wanted(where: int) -> bytes:
    """Translates marks: 1 for those that stand in one of the places ``where``."""
    table = _TABLES.get(where)
    if table is None:
        table = _TABLES[where] = bytes(int(mark & where & _WHERE != 0) for mark in range(256))
    return table


def _native(column: "array[int]") -> "array[int]":
    if sys.byteorder == "big":
        column.byteswap()
    return column


def _little(column: "array[int]") -> bytes:
    if sys.byteorder == "big":
        column = column[:]
        column.byteswap()
    return column.tobytes()
