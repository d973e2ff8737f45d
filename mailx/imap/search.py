"""The arguments of SEARCH, SORT, THREAD and CANCELUPDATE as values.

RFC 9051 6.4.4, RFC 4731, RFC 5256, RFC 5267, RFC 5957, RFC 6203 and RFC 9394.
"""

from typing import Literal

from attrs import frozen

from mailx.core.search import Query
from mailx.core.sort import By, SortKey
from mailx.imap import fetch_grammar
from mailx.imap.answers import Bad, No
from mailx.imap.commands import Item, Partial
from mailx.imap.criteria import Criteria
from mailx.imap.tokens import Tokens
from mailx.imap.windows import window

CHARSETS = {b"US-ASCII": "utf-8", b"ASCII": "utf-8", b"UTF-8": "utf-8", b"ISO-8859-1": "iso-8859-1"}
TAGS_LIMIT = 64  # of one CANCELUPDATE
_BY: dict[bytes, By] = {
    b"ARRIVAL": "arrival",
    b"CC": "cc",
    b"DATE": "date",
    b"DISPLAYFROM": "displayfrom",
    b"DISPLAYTO": "displayto",
    b"FROM": "from",
    b"SIZE": "size",
    b"RELEVANCY": "relevancy",
    b"SUBJECT": "subject",
    b"TO": "to",
}
Algorithm = Literal["ORDEREDSUBJECT", "REFERENCES", "REFS"]
_ALGORITHMS: dict[bytes, Algorithm] = {b"ORDEREDSUBJECT": "ORDEREDSUBJECT", b"REFERENCES": "REFERENCES", b"REFS": "REFS"}
_NUMBERS = frozenset((b"MIN", b"MAX", b"ALL", b"COUNT"))
_OPTIONS = frozenset((b"SAVE", b"CONTEXT", b"UPDATE", b"RELEVANCY"))


@frozen
class Returns:
    """What an ESEARCH response is asked for (RFC 4731 3.1, RFC 5182 2.1, RFC 5267 4, RFC 6203 4, RFC 9394 3.1)."""

    numbers: frozenset[bytes] = frozenset()  # of MIN, MAX, ALL and COUNT
    partial: Partial | None = None
    save: bool = False
    update: bool = False
    relevancy: bool = False
    items: tuple[Item, ...] = ()  # to send of each message that an update adds (RFC 5465)

    @property
    def silent(self) -> bool:
        """Whether nothing is to be returned, only kept (RFC 5182 2.1)."""
        return self.save and not (self.numbers or self.partial or self.update or self.relevancy)

    @property
    def ends_only(self) -> bool:
        """Whether the messages asked for are single ones: the first, the last, a window."""
        return not self.numbers & {b"ALL", b"COUNT"} and bool(self.numbers or self.partial)


EVERYTHING = Returns(frozenset((b"ALL",)))  # what RETURN () asks for (RFC 4731 3.1)


@frozen
class Search:
    """``returns`` None asks for a plain SEARCH response."""

    query: Query
    returns: Returns | None = None
    modseq: bool = False  # a MODSEQ criterion was used
    saved: bool = False  # ``$`` was used
    numbers: bool = False  # sequence numbers were used
    charset: bool = False  # a charset was named
    fuzzy: bool = False
    refusal: No | None = None  # the charset is unknown: to be said when the command runs


@frozen
class Sort:
    search: Search
    keys: tuple[SortKey, ...]


@frozen
class Thread:
    search: Search
    algorithm: Algorithm


def search(tokens: Tokens) -> Search:
    tokens.space()
    asked = None
    if tokens.take_word(b"RETURN"):
        asked = returns(tokens)
        tokens.space()
    return program(tokens, asked)


def program(tokens: Tokens, asked: Returns | None) -> Search:
    """An optional charset and the search keys, to the end."""
    refusal = None
    charset = "utf-8"
    named = tokens.take_word(b"CHARSET")
    if named:
        tokens.space()
        charset, refusal = _charset(tokens)
        tokens.space()
    return _criteria(tokens, asked, charset, named, refusal)


def sort(tokens: Tokens) -> Sort:
    tokens.space()
    asked = None
    if tokens.take_word(b"RETURN"):
        asked = returns(tokens)
        tokens.space()
    tokens.expect(b"(")
    keys = [_sort_key(tokens)]
    while tokens.take(b" "):
        if len(keys) == 2 * len(_BY):
            raise Bad(b"Too many sort criteria", b"LIMIT")
        keys.append(_sort_key(tokens))
    tokens.expect(b")")
    tokens.space()
    charset, refusal = _charset(tokens)
    tokens.space()
    return Sort(_criteria(tokens, asked, charset, False, refusal), tuple(keys))


def thread(tokens: Tokens) -> Thread:
    tokens.space()
    algorithm = _ALGORITHMS.get(tokens.keyword())
    if algorithm is None:
        raise Bad(b"Unknown threading algorithm")
    tokens.space()
    charset, refusal = _charset(tokens)
    tokens.space()
    return Thread(_criteria(tokens, None, charset, False, refusal), algorithm)


def cancel_update(tokens: Tokens) -> tuple[bytes, ...]:
    """The tags of searches, as strings (RFC 5267 4.3.5)."""
    tags: list[bytes] = []
    tokens.space()
    tags.append(tokens.string())
    while tokens.take(b" "):
        if len(tags) == TAGS_LIMIT:
            raise Bad(b"Too many tags", b"LIMIT")
        tags.append(tokens.string())
    tokens.end()
    return tuple(tags)


def _criteria(tokens: Tokens, asked: Returns | None, charset: str, named: bool, refusal: No | None) -> Search:
    criteria = Criteria(tokens, charset)
    query = criteria.all_of()
    tokens.end()
    return Search(query, asked, criteria.modseq, criteria.saved, criteria.numbers, named, criteria.fuzzy, refusal)


def _sort_key(tokens: Tokens) -> SortKey:
    word = tokens.keyword()
    reverse = word == b"REVERSE"
    if reverse:
        tokens.space()
        word = tokens.keyword()
    if word not in _BY:
        raise Bad(b"Unknown sort criterion")
    return SortKey(_BY[word], reverse)


def returns(tokens: Tokens) -> Returns:
    """What stands behind RETURN."""
    tokens.expect(b" (")
    if tokens.take(b")"):
        return EVERYTHING
    numbers: set[bytes] = set()
    options: set[bytes] = set()
    partial = None
    items: tuple[Item, ...] = ()
    while True:
        name = tokens.keyword()
        if name in _NUMBERS:
            numbers.add(name)
        elif name in _OPTIONS:
            options.add(name)
        elif name == b"PARTIAL" and partial is None:
            tokens.expect(b" ")
            partial = window(tokens)
        else:
            raise Bad(b"Unknown search result option")
        more = tokens.take(b" ")
        if more and name == b"UPDATE" and tokens.peek() == b"(":  # RFC 5465 6
            items = fetch_grammar.items(tokens)
            more = tokens.take(b" ")
        if not more:
            break
    tokens.expect(b")")
    if partial is not None and b"ALL" in numbers:  # RFC 9394 3.1
        raise Bad(b"PARTIAL and ALL exclude each other")
    if options <= {b"CONTEXT"} and not numbers and partial is None:  # CONTEXT is a hint alone, RFC 5267 4.2
        return EVERYTHING
    return Returns(frozenset(numbers), partial, b"SAVE" in options, b"UPDATE" in options, b"RELEVANCY" in options, items)


def _charset(tokens: Tokens) -> tuple[str, No | None]:
    """The charset, and what is to be said of one that is unknown: a search that would be kept then leaves nothing (RFC 5182 2.1)."""
    charset = CHARSETS.get(tokens.astring().upper())
    if charset is None:
        return "iso-8859-1", No(b"Charset not supported", b"BADCHARSET (US-ASCII UTF-8 ISO-8859-1)")
    return charset, None
