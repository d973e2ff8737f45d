"""Texts cut into words for the search index, and what the words of a message must be like to contain a search string. Pure.

A word is a longest run of letters and digits; scripts that are written without blanks go by pairs of characters. Where
a run begins and ends depends on nothing but its own characters, in a text as in a part of it: so every run inside a search
string is a whole word of any text that contains it, the run at its beginning ends a word, and the run at its end begins one.
All texts and search strings are folded (:func:`mailx.mail.charset.fold`).
"""

import re
from collections.abc import Iterable, Iterator
from itertools import accumulate

from attrs import Factory, define, frozen

# Where a word of a message stands; texts of the summary stand in the header as well.
HEADER, BODY, SUBJECT, FROM, TO, CC = 1, 2, 4, 8, 16, 32

BODY_FROM = 8192  # positions from here on are of the body, those before of the message's own header
ROOM = 4096  # no position is so near to the end of the 65536 that there may be
_END = 65536 - ROOM
_BLANK, _OTHER, _APART = 1, 2, 3  # from a word to the next: with one blank between, with anything else, where scripts meet

_SLICE = 65536  # characters cut at a time, so that no single expression keeps other threads waiting
DENSE = (  # Thai, Lao, Burmese, Khmer; kana, Han and their extensions
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u312f\u31a0-\u31ff\u3400-\u9fff\uf900-\ufaff\uff66-\uff9d"
    "\U0001b000-\U0001b16f\U00020000-\U0003ffff"
)
_ASCII_BREAK = re.compile(rb"[^0-9A-Za-z]")
_ASCII_SPLIT = re.compile(rb"([0-9A-Za-z]+)")
_WORD = re.compile(r"[^\W_]+")
_SPLIT = re.compile(r"([^\W_]+)")
_BREAK = re.compile(r"[\W_]")
_RUN = re.compile(f"[{DENSE}]+|[^{DENSE}]+")
DENSE_LETTER = re.compile(f"[{DENSE}]")

EDGE = b"\n"  # in patterns: here a word begins or ends


@define(eq=False)
class Standing:
    """The words of one message, and where they stand."""

    words: list[bytes] = Factory(list)  # in their order
    positions: list[int] = Factory(list)  # of each word, rising; not all are true unless ``complete``
    marks: dict[bytes, int] = Factory(dict)  # words that stand in texts of the summary: SUBJECT to CC
    texts: tuple[str, ...] = ("", "", "", "")  # of the summary: subject, From, To, Cc
    complete: bool = True

    def take(self, texts: Iterable[str], body: bool, limit: int) -> int | None:
        """Take in the words of the header, or of the body; what is left of ``limit`` characters, None: nothing."""
        position, end = (BODY_FROM, _END) if body else (0, BODY_FROM - _APART)
        for text in texts:
            limit -= len(text)
            if limit < 0:
                return None
            for words, steps in _plain(text.encode("ascii")) if text.isascii() else _any(text):
                stood = list(accumulate(steps, initial=position))[1:]
                position = stood[-1] if stood else position + _OTHER
                if position > end:
                    self.complete = False
                    stood = [min(each, end - 1) for each in stood]
                    position = end
                self.words += words
                self.positions += stood[: len(words)]
            position += _APART
        return limit

    def mark(self, text: str, place: int) -> None:
        """``text`` of the summary stands at ``place``."""
        for words, _ in _plain(text.encode("ascii")) if text.isascii() else _any(text):
            for word in words:
                self.marks[word] = self.marks.get(word, 0) | place


@frozen
class Shape:
    """What the words of a text are like that contains a search string."""

    runs: tuple[bytes, ...]  # in their order: for each at least one word that, between two EDGEs, contains it
    steps: tuple[int, ...]  # from each to the next, between positions; 0: not known
    sure: bool  # a text that has such words at such distances does contain the search string


def shape(needle: str) -> Shape:
    """The shape of a folded search string; without runs when it has no letters and digits."""
    runs: list[bytes] = []
    steps: list[int] = []
    end, was_dense, whole = 0, False, True
    for start, run in _runs(needle):
        dense = DENSE_LETTER.match(run) is not None
        if runs:
            steps.append(0 if dense or was_dense or start == end else _BLANK if needle[end:start] == " " else _OTHER)
        whole = whole and (start == 0 or bool(runs))
        end, was_dense = start + len(run), dense
        if dense and len(run) > 1:
            pairs = [EDGE + pair.encode() + EDGE for pair in _pairs(run)]
            runs += pairs
            steps += [_BLANK] * (len(pairs) - 1)
        else:
            runs.append((EDGE if start else b"") + run.encode() + (EDGE if end < len(needle) else b""))
    return Shape(tuple(runs), tuple(steps), whole and end == len(needle) and all(step == _BLANK for step in steps))


def words(texts: Iterable[str], limit: int) -> set[bytes] | None:
    """The different words of ``texts`` in UTF-8; None when the texts have more than ``limit`` characters together."""
    standing = Standing()
    return None if standing.take(texts, True, limit) is None else set(standing.words)


def _plain(text: bytes) -> Iterator[tuple[list[bytes], list[int]]]:
    """The words of a folded ``text``, some at a time, and the step to each."""
    start = 0
    while start < len(text):
        gap = _ASCII_BREAK.search(text, start + _SLICE)
        stop = gap.start() if gap else len(text)
        parts = _ASCII_SPLIT.split(text[start:stop])
        yield parts[1::2], [_BLANK if each == b" " else _OTHER for each in parts[:-1:2]]
        start = stop


def _any(text: str) -> Iterator[tuple[list[bytes], list[int]]]:
    start = 0
    while start < len(text):
        gap = _BREAK.search(text, start + _SLICE)
        stop = gap.start() if gap else len(text)
        found: list[bytes] = []
        steps: list[int] = []
        apart = False  # what comes next stands apart from what came last
        parts = _SPLIT.split(text[start:stop])
        for between, word in zip(parts[::2], parts[1::2], strict=False):
            step = _BLANK if between == " " else _OTHER
            for run in [word] if word.isascii() else _RUN.findall(word):
                dense = not run.isascii() and DENSE_LETTER.match(run) is not None
                pieces = [pair.encode() for pair in _pairs(run)] if dense else [run.encode()]
                steps.append(_APART if apart or dense else step)
                steps += [_BLANK] * (len(pieces) - 1)
                found += pieces
                apart = dense
                step = _APART  # inside a word scripts meet
        yield found, steps
        start = stop


def _runs(text: str) -> Iterator[tuple[int, str]]:
    """The runs of ``text`` with where they begin."""
    for word in _WORD.finditer(text):
        for run in _RUN.finditer(word[0]):
            yield word.start() + run.start(), run[0]


def _pairs(run: str) -> Iterator[str]:
    """Each two neighbours; a character that stands alone as it is."""
    if len(run) == 1:
        yield run
    for position in range(len(run) - 1):
        yield run[position : position + 2]
