"""How much one word is like another, and the expressions that find phrases, beginnings and patterns of words. Pure.

A word is like one that contains it, whatever marks its letters bear; or like one from which it differs by a wrong, missing,
additional or exchanged letter, from eight letters on by two, if the first half (third) or the last is the same.
"""

import re
import unicodedata
from functools import lru_cache

from mailx.mail.words import DENSE

_LETTER = f"[^\\W_{DENSE}]"
_NO_LETTER_BEFORE, _NO_LETTER_AFTER = f"(?<!{_LETTER})", f"(?!{_LETTER})"
_RUN = re.compile(f"[{DENSE}]+|{_LETTER}+")
_IS_DENSE = re.compile(f"[{DENSE}]")
EXACT, BEGINS, CONTAINS, NEAR, FAR = 1.0, 0.8, 0.6, 0.5, 0.3


@lru_cache(maxsize=4096)
def bare(word: str) -> str:
    """``word`` without marks on its letters, compatible forms replaced: ``resume`` for ``r\u00e9sum\u00e9``."""
    if word.isascii():
        return word
    return "".join(letter for letter in unicodedata.normalize("NFKD", word) if not unicodedata.combining(letter)).casefold()


def errors(word: str) -> int:
    """How many letters may differ."""
    return 0 if len(word) < 4 else 1 if len(word) < 8 else 2


def ends(word: str) -> tuple[str, str]:
    """The beginning and the end of a bare word, one of which a word that differs must have."""
    share = len(word) // (errors(word) + 1)
    return word[:share], word[len(word) - share :]


def likeness(wanted: str, word: str) -> float:
    """How much ``word`` is like the bare word ``wanted``: 0 not, 1 the same."""
    word = bare(word)
    if wanted in word:
        return EXACT if len(wanted) == len(word) else BEGINS if word.startswith(wanted) else CONTAINS
    limit = errors(wanted)
    if not limit or abs(len(word) - len(wanted)) > limit:
        return 0.0
    letters, others = set(wanted), set(word)
    if len(letters - others) > limit or len(others - letters) > limit:  # cheaper than to count errors
        return 0.0
    head, tail = ends(wanted)
    if not word.startswith(head) and not word.endswith(tail):
        return 0.0
    distance = _distance(wanted, word)
    return 0.0 if distance > limit else NEAR if distance == 1 else FAR


def _distance(a: str, b: str) -> int:
    """Letters to change, insert, leave out, or exchange with the next, to make one from the other."""
    before: list[int] = []
    last = list(range(len(b) + 1))
    for row, letter in enumerate(a, 1):
        now = [row]
        for column, other in enumerate(b, 1):
            least = min(last[column] + 1, now[-1] + 1, last[column - 1] + (letter != other))
            if row > 1 and column > 1 and letter == b[column - 2] and a[row - 2] == other:
                least = min(least, before[column - 2] + 1)
            now.append(least)
        before, last = last, now
    return last[-1]


def runs(text: str) -> list[str]:
    """The runs of letters and digits of a folded ``text``."""
    return _RUN.findall(text)


def phrase(text: str, goes_on: bool = False) -> "re.Pattern[str] | None":
    """What finds the words of ``text`` one after another, the last as the beginning of a word if it ``goes_on``; None: it has none."""
    found = runs(text)
    if not found:
        return None
    pieces = []
    for number, run in enumerate(found):
        dense = _IS_DENSE.match(run)
        piece = re.escape(run)
        if not dense:
            piece = _NO_LETTER_BEFORE + piece
            if not goes_on or number < len(found) - 1:
                piece += _NO_LETTER_AFTER
        pieces.append(piece)
    return re.compile("[\\W_]*+".join(pieces))


def wildcard(pattern: str) -> "re.Pattern[str] | None":
    """What finds a word like ``pattern``; None: it has no letters and digits."""
    if not runs(pattern):
        return None
    parts = [_STAR_TEXT if each == "*" else _LETTER if each == "?" else re.escape(each) for each in re.sub(r"\*+", "*", pattern)]
    return re.compile(_NO_LETTER_BEFORE + "".join(parts) + _NO_LETTER_AFTER)


_STAR_TEXT = f"{_LETTER}*"
