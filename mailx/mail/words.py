"""Texts cut into words for the search index, and what the words of a message must be like to contain a search string. Pure.

A word is a longest run of letters and digits; scripts that are written without blanks go by pairs of characters. Where
a run begins and ends depends on nothing but its own characters, in a text as in a part of it: so every run inside a search
string is a whole word of any text that contains it, the run at its beginning ends a word, and the run at its end begins one.
All texts and search strings are folded (:func:`mailx.mail.charset.fold`).
"""

import re
from collections.abc import Iterable, Iterator

_SLICE = 65536  # characters cut at a time, so that no single expression keeps other threads waiting
_DENSE = (  # Thai, Lao, Burmese, Khmer; kana, Han and their extensions
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u312f\u31a0-\u31ff\u3400-\u9fff\uf900-\ufaff\uff66-\uff9d"
    "\U0001b000-\U0001b16f\U00020000-\U0003ffff"
)
_ASCII_WORD = re.compile(rb"[0-9A-Za-z]+")
_ASCII_BREAK = re.compile(rb"[^0-9A-Za-z]")
_WORD = re.compile(r"[^\W_]+")
_BREAK = re.compile(r"[\W_]")
_RUN = re.compile(f"[{_DENSE}]+|[^{_DENSE}]+")
_IS_DENSE = re.compile(f"[{_DENSE}]")

EDGE = b"\n"  # in patterns: here a word begins or ends


def words(texts: Iterable[str], limit: int) -> set[bytes] | None:
    """The different words of ``texts`` in UTF-8; None when the texts have more than ``limit`` characters together."""
    found: set[bytes] = set()
    for text in texts:
        limit -= len(text)
        if limit < 0:
            return None
        if text.isascii():
            _plain(text.encode("ascii"), found)
        else:
            _any(text, found)
    return found


def patterns(needle: str) -> tuple[bytes, ...]:
    """What words a text that contains ``needle`` has: for each pattern at least one word that, between two EDGEs, contains it.

    The most telling first; none when the needle has no letters and digits.
    """
    found: dict[bytes, None] = {}
    for start, run in _runs(needle):
        if len(run) > 1 and _IS_DENSE.match(run):
            found.update((EDGE + pair.encode() + EDGE, None) for pair in _pairs(run))
        else:
            left = EDGE if start else b""
            right = EDGE if start + len(run) < len(needle) else b""
            pattern = left + run.encode() + right
            if len(pattern) > 1:  # a single letter somewhere is in every message
                found[pattern] = None
    return tuple(sorted(found, key=len, reverse=True))


def _plain(text: bytes, found: set[bytes]) -> None:
    start = 0
    while start < len(text):
        gap = _ASCII_BREAK.search(text, start + _SLICE)
        stop = gap.start() if gap else len(text)
        found.update(_ASCII_WORD.findall(text, start, stop))
        start = stop


def _any(text: str, found: set[bytes]) -> None:
    start = 0
    while start < len(text):
        gap = _BREAK.search(text, start + _SLICE)
        stop = gap.start() if gap else len(text)
        for word in set(_WORD.findall(text, start, stop)):
            if word.isascii():
                found.add(word.encode("ascii"))
            else:
                for _, run in _runs(word):
                    if _IS_DENSE.match(run):
                        found.update(pair.encode() for pair in _pairs(run))
                    else:
                        found.add(run.encode())
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
