"""Tests of texts for the search keys that look for words: phrases, beginnings, patterns, and words that are about the same. Pure.

They say of a text what the index says of its words.
"""

import re
from collections.abc import Callable, Iterable

from mailx.core import search as keys
from mailx.core.search import Query, Where
from mailx.mail.charset import fold
from mailx.mail.likeness import bare, likeness, phrase, runs, wildcard
from mailx.mail.words import BODY, CC, FROM, HEADER, SUBJECT, TO, words

PLACES: dict[str, int] = {"text": HEADER | BODY, "body": BODY, "header": HEADER, "subject": SUBJECT, "from": FROM, "to": TO | CC}
_LIMIT = 4 * 1024 * 1024  # characters
_LONGEST = 200  # characters of a pattern that are believed
_STARS = 4

Test = Callable[[Iterable[str]], bool]


def place(query: Query) -> Where | None:
    """Where the words of a key stand; None: it does not look for words."""
    match query:
        case keys.Phrase(_, where) | keys.Prefix(_, where) | keys.Wildcard(_, where):
            return where
        case keys.Fuzzy(keys.Text()):
            return "text"
        case keys.Fuzzy(keys.Body()):
            return "body"
        case keys.Fuzzy(keys.Subject()):
            return "subject"
        case keys.Fuzzy(keys.Header("from" | "to" as name, _)):
            return "from" if name == "from" else "to"
        case keys.Fuzzy(a):
            return place(a)
    return None


def wanted(text: str) -> list[str]:
    """The bare words that a fuzzy text asks for, each once."""
    return list(dict.fromkeys(filter(None, map(bare, runs(fold(text))))))


def fuzzy_text(query: Query) -> str:
    """The text of a key that is to match about."""
    match query:
        case keys.Text(text) | keys.Body(text) | keys.Subject(text) | keys.Header(_, text) | keys.Phrase(text) | keys.Prefix(text):
            return text
        case keys.Wildcard(text):
            return text.replace("*", " ").replace("?", " ")
        case keys.Fuzzy(a):
            return fuzzy_text(a)
    return ""


def subject_matter(query: Query) -> str:
    """The texts that messages are to have by which they match, all in one; what they are not to have is left out."""
    match query:
        case keys.And(children):
            return " ".join(map(subject_matter, children))
        case keys.Or(a, b):
            return f"{subject_matter(a)} {subject_matter(b)}"
        case keys.Fuzzy(a):
            return subject_matter(a)
    return fuzzy_text(query)


def expression(query: Query) -> "re.Pattern[str] | None":
    """What finds a phrase, a beginning or a pattern in folded text; None: nothing does."""
    match query:
        case keys.Phrase(text):
            return phrase(fold(text))
        case keys.Prefix(text):
            return phrase(fold(text), goes_on=True)
        case keys.Wildcard(pattern) if len(pattern) <= _LONGEST and pattern.count("*") <= _STARS:
            return wildcard(fold(pattern))
    return None


def test_for(query: Query) -> Test:
    """Whether some folded texts have what a key looks for."""
    if isinstance(query, keys.Fuzzy):
        return _about(wanted(fuzzy_text(query)))
    found = expression(query)
    return (lambda texts: False) if found is None else (lambda texts: any(found.search(text) for text in texts))


def _about(asked: list[str]) -> Test:
    def test(texts: Iterable[str]) -> bool:
        if not asked:
            return False
        there = [word.decode("utf-8", "replace") for word in words(texts, _LIMIT) or ()]
        return all(any(likeness(each, word) for word in there) for each in asked)

    return test
