"""A search as a person writes it, as a query: for search fields, not for IMAP. Pure.

Words that stand side by side must all match; ``OR`` between two means either, a ``-`` or ``NOT`` before one that it must not; ``(`` and
``)`` group. ``word`` is looked for as the beginning of a word; ``"exact phrase"`` as it stands; ``pre*`` and ``w?ld*`` by pattern;
``fuzzy~`` about. Names before a colon say where or what: ``from: to: cc: subject: body: header: filename: before: since: on: larger:
smaller: has:attachment is:read is:unread is:flagged is:answered``. What is wrong raises SearchLineError, whose text is for the person.
"""

import re
from collections.abc import Callable
from datetime import date

from attrs import define

from mailx.core import search as keys
from mailx.core.search import Query, Where

LONGEST = 1000  # characters
TERMS = 50
DEPTH = 10

_TOKEN = re.compile(
    r"""\s*(?:(?P<open>\()|(?P<close>\))|(?P<not>-)(?=\S)|(?P<name>[A-Za-z]+):(?=\S)|"(?P<quoted>[^"]*)(?P<end>"?)|(?P<word>[^\s()"]+))"""
)
_SIZE = re.compile(r"(\d{1,12})([kmg]?)b?\Z", re.IGNORECASE)
_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
_FLAGS: dict[str, Query] = {
    "read": keys.Flagged("\\Seen"),
    "unread": keys.Flagged("\\Seen", False),
    "flagged": keys.Flagged("\\Flagged"),
    "answered": keys.Flagged("\\Answered"),
    "draft": keys.Flagged("\\Draft"),
}
_PLACES: dict[str, Where] = {"from": "from", "to": "to", "subject": "subject", "body": "body", "header": "header", "text": "text"}


class SearchLineError(Exception):
    """The line cannot be understood; the text tells the person why."""


def parse(line: str) -> Query:
    """The query that ``line`` means; an empty one is every message. Raises SearchLineError."""
    if len(line) > LONGEST:
        raise SearchLineError(f"the search is longer than {LONGEST} characters")
    reader = _Reader(line)
    query = reader.either(0)
    if reader.kind != "":
        raise SearchLineError("a ) has no ( before it")
    return query


@define
class _Reader:
    """The line, of which the token at hand is ``kind`` and ``text``; an empty kind is the end."""

    line: str
    position: int = 0
    kind: str = ""
    text: str = ""
    terms: int = 0

    def __attrs_post_init__(self) -> None:
        self.next()

    def next(self) -> None:
        match = _TOKEN.match(self.line, self.position)
        if match is None:
            self.kind = self.text = ""
            return
        self.position = match.end()
        found = match.groupdict()
        if found["quoted"] is not None:
            if not found["end"]:
                raise SearchLineError('a " has no other after it')
            self.kind, self.text = "quoted", found["quoted"]
            return
        self.kind, self.text = next((name, text) for name, text in found.items() if text)
        if self.kind == "word" and self.text in ("OR", "AND", "NOT"):
            self.kind = self.text.lower()

    def either(self, depth: int) -> Query:
        if depth > DEPTH:
            raise SearchLineError(f"more than {DEPTH} ( stand within each other")
        query = self.all(depth)
        while self.kind == "or":
            self.next()
            query = keys.Or(query, self.all(depth))
        return query

    def all(self, depth: int) -> Query:
        found: list[Query] = []
        while self.kind not in ("", "or", "close"):
            if self.kind == "and":
                self.next()
                continue
            found.append(self.one(depth))
        if not found:
            if self.kind == "" and not self.terms:
                return keys.All()
            raise SearchLineError("something is missing beside OR or between ( and )")
        return found[0] if len(found) == 1 else keys.And(tuple(found))

    def one(self, depth: int) -> Query:
        self.terms += 1
        if self.terms > TERMS:
            raise SearchLineError(f"the search has more than {TERMS} terms")
        kind, text = self.kind, self.text
        self.next()
        if kind == "not":
            if self.kind in ("", "or", "and", "close"):
                raise SearchLineError("nothing follows a NOT")
            negated = 1
            while self.kind == "not":
                negated += 1
                self.next()
            query = self.one(depth)
            return keys.Not(query) if negated % 2 else query
        if kind == "open":
            query = self.either(depth + 1)
            if self.kind != "close":
                raise SearchLineError("a ( has no ) after it")
            self.next()
            return query
        if kind == "name":
            return self._named(text.lower())
        return term(text, kind == "quoted", "text")

    def _named(self, name: str) -> Query:
        kind, text = self.kind, self.text
        if kind not in ("word", "quoted"):
            raise SearchLineError(f"nothing follows {name}:")
        self.next()
        if name in _PLACES:
            return term(text, kind == "quoted", _PLACES[name])
        if name == "cc":
            return keys.Header("cc", text)
        if name == "filename":
            return keys.AttachmentName(text)
        if name in _RELATIONS:
            return _RELATIONS[name](text)
        if name == "is" and text.lower() in _FLAGS:
            return _FLAGS[text.lower()]
        if name == "has" and text.lower() == "attachment":
            return keys.AttachmentName("")
        raise SearchLineError(f"{name}:{text} is nothing to search for")


def term(text: str, quoted: bool, where: Where) -> Query:
    """One word or phrase."""
    if quoted:
        return keys.Phrase(text, where)
    if text.endswith("~") and len(text) > 1:
        return keys.Fuzzy(keys.Prefix(text[:-1], where))
    if text.endswith("*") and not set("*?") & set(text[:-1]):
        return keys.Prefix(text[:-1], where)
    if set("*?") & set(text):
        return keys.Wildcard(text, where)
    return keys.Prefix(text, where)


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise SearchLineError(f"{text} is no date: write 2026-01-31") from None


def _octets(text: str) -> int:
    match = _SIZE.match(text)
    if match is None:
        raise SearchLineError(f"{text} is no size: write 500k or 2M")
    return int(match[1]) * _UNITS[match[2].lower()]


_RELATIONS: dict[str, Callable[[str], Query]] = {
    "before": lambda text: keys.Received("before", _date(text)),
    "since": lambda text: keys.Received("since", _date(text)),
    "on": lambda text: keys.Received("on", _date(text)),
    "larger": lambda text: keys.Larger(_octets(text)),
    "smaller": lambda text: keys.Smaller(_octets(text)),
}
