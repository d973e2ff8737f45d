"""What the index is asked for a search key. Failure: none; a key that it cannot help with is told as None."""

import re

from mailx.core import search as keys
from mailx.core.lookup import About, Field, Lookup, Part, Pattern
from mailx.core.search import Query
from mailx.core.wording import PLACES, expression, fuzzy_text, place, wanted
from mailx.mail.charset import fold
from mailx.mail.likeness import runs
from mailx.mail.words import BODY, DENSE_LETTER, EDGE, Shape, shape
from mailx.store.postings import ANYWHERE

_COLUMNS = {"subject": 0, "from": 1, "to": 2, "cc": 3}  # of the texts of a segment


def lookup_for(query: Query) -> Lookup | None:
    """What to look for in the segments; None: the index does not help."""
    match query:
        case keys.Text(text):
            return _part(text, ANYWHERE)
        case keys.Body(text):
            return _part(text, BODY)
        case keys.Subject(text):
            return _field("subject", text)
        case keys.Header(name, text) if name.lower() in _COLUMNS:
            return _field(name.lower(), text)
        case keys.AttachmentName(text) if text:
            found = shape(fold(text))
            return Part(found, ANYWHERE, False) if found.runs else None
    where = place(query)
    if where is None or where == "to":
        return None  # the index has no words of Bcc apart
    if isinstance(query, keys.Fuzzy):
        asked = wanted(fuzzy_text(query))
        return About(tuple(asked), PLACES[where]) if asked else None
    return _worded(query, PLACES[where])


def _worded(query: Query, where: int) -> Lookup | None:
    """For a phrase, a beginning or a pattern of words: where it is one run without dense scripts the answer is sure."""
    found = expression(query)
    match query:
        case keys.Phrase(text) | keys.Prefix(text):
            asked = [run for run in runs(fold(text))]
            if not asked or any(map(DENSE_LETTER.match, asked)):
                return None
            last = EDGE + asked[-1].encode() + (b"" if isinstance(query, keys.Prefix) else EDGE)
            words = [*(EDGE + run.encode() + EDGE for run in asked[:-1]), last]
            return Part(Shape(tuple(words), (0,) * (len(words) - 1), False), where, len(words) == 1)
        case keys.Wildcard(pattern) if found is not None:
            pattern = fold(pattern)
            if DENSE_LETTER.search(pattern) or "".join(runs(pattern)) != pattern.replace("*", "").replace("?", ""):
                return None
            pieces = [piece.encode() for piece in re.split(r"[*?]", pattern)]
            pieces[0] = EDGE + pieces[0]
            pieces[-1] += EDGE
            return Pattern(found, max(pieces, key=len), where)
    return None


def _field(name: str, text: str) -> Lookup | None:
    needle = fold(text).encode("utf-8", "surrogatepass")
    return Field(needle, _COLUMNS[name]) if needle else None


def _part(text: str, where: int) -> Lookup | None:
    found = shape(fold(text))
    return Part(found, where, found.sure) if found.runs else None
