"""The arguments of SEARCH and SORT (RFC 9051 6.4.4, RFC 4731, RFC 5256, RFC 7162) as values of the core."""

from collections.abc import Callable
from datetime import date

from attrs import frozen

from mailx.core.search import (
    All,
    And,
    Body,
    Flagged,
    Header,
    Larger,
    ModSeq,
    New,
    Not,
    Old,
    Or,
    Query,
    Received,
    Recent,
    Relation,
    Sent,
    Sequence,
    Smaller,
    Subject,
    Text,
    Uid,
)
from mailx.core.sort import By, SortKey
from mailx.imap.answers import Bad, No
from mailx.imap.tokens import MODSEQ_LIMIT, NESTING_LIMIT, Tokens

KEYS_LIMIT = 1000  # criteria of one search
CHARSETS = {b"US-ASCII": "utf-8", b"ASCII": "utf-8", b"UTF-8": "utf-8", b"ISO-8859-1": "iso-8859-1"}
RESULTS = frozenset((b"MIN", b"MAX", b"ALL", b"COUNT"))
_BY: dict[bytes, By] = {
    b"ARRIVAL": "arrival",
    b"CC": "cc",
    b"DATE": "date",
    b"FROM": "from",
    b"SIZE": "size",
    b"SUBJECT": "subject",
    b"TO": "to",
}


@frozen
class Search:
    """``results`` is what an ESEARCH response is asked for (RFC 4731), None for a plain SEARCH response."""

    query: Query
    results: frozenset[bytes] | None = None
    modseq: bool = False  # a MODSEQ criterion was used


@frozen
class Sort:
    query: Query
    keys: tuple[SortKey, ...]
    modseq: bool = False


def search(tokens: Tokens) -> Search:
    tokens.space()
    results = None
    if tokens.take_word(b"RETURN"):
        results = _results(tokens)
        tokens.space()
    charset = "utf-8"
    if tokens.take_word(b"CHARSET"):
        tokens.space()
        charset = _charset(tokens)
        tokens.space()
    criteria = _Criteria(tokens, charset)
    query = criteria.all_of()
    tokens.end()
    return Search(query, results, criteria.modseq)


def sort(tokens: Tokens) -> Sort:
    tokens.space()
    tokens.expect(b"(")
    keys = [_sort_key(tokens)]
    while tokens.take(b" "):
        if len(keys) == 2 * len(_BY):
            raise Bad(b"Too many sort criteria", b"LIMIT")
        keys.append(_sort_key(tokens))
    tokens.expect(b")")
    tokens.space()
    charset = _charset(tokens)
    tokens.space()
    criteria = _Criteria(tokens, charset)
    query = criteria.all_of()
    tokens.end()
    return Sort(query, tuple(keys), criteria.modseq)


def _sort_key(tokens: Tokens) -> SortKey:
    word = tokens.keyword()
    reverse = word == b"REVERSE"
    if reverse:
        tokens.space()
        word = tokens.keyword()
    if word not in _BY:
        raise Bad(b"Unknown sort criterion")
    return SortKey(_BY[word], reverse)


def _results(tokens: Tokens) -> frozenset[bytes]:
    """What stands in RETURN (...); none at all means ALL (RFC 4731 3.1)."""
    tokens.expect(b" (")
    if tokens.take(b")"):
        return frozenset((b"ALL",))
    names = {tokens.keyword()}
    while tokens.take(b" "):
        names.add(tokens.keyword())
    tokens.expect(b")")
    if not names <= RESULTS:
        raise Bad(b"Unknown search result option")
    return frozenset(names)


def _charset(tokens: Tokens) -> str:
    charset = CHARSETS.get(tokens.astring().upper())
    if charset is None:
        raise No(b"Charset not supported", b"BADCHARSET (US-ASCII UTF-8 ISO-8859-1)")
    return charset


class _Criteria:
    """The search keys of one command: bounded in number and nesting."""

    def __init__(self, tokens: Tokens, charset: str) -> None:
        self._tokens = tokens
        self._charset = charset
        self._left = KEYS_LIMIT
        self.modseq = False

    def all_of(self, depth: int = 0) -> Query:
        """Keys apart by spaces; all must match."""
        keys = [self._key(depth)]
        while self._tokens.take(b" "):
            keys.append(self._key(depth))
        return keys[0] if len(keys) == 1 else And(tuple(keys))

    def _key(self, depth: int) -> Query:
        self._left -= 1
        if self._left < 0 or depth > NESTING_LIMIT:
            raise Bad(b"Search too complex", b"LIMIT")
        tokens = self._tokens
        if tokens.take(b"("):
            query = self.all_of(depth + 1)
            tokens.expect(b")")
            return query
        if tokens.peek().isdigit() or tokens.peek() == b"*":
            return Sequence(tokens.sequence_set())
        word = tokens.keyword()
        if word in _FLAGS:
            return _FLAGS[word]
        if word == b"NOT":
            tokens.space()
            return Not(self._key(depth + 1))
        if word == b"OR":
            tokens.space()
            first = self._key(depth + 1)
            tokens.space()
            return Or(first, self._key(depth + 1))
        argument = _ARGUMENTS.get(word)
        if argument is None:
            raise Bad(b"Unknown search key")
        tokens.space()
        return argument(self)

    def text(self) -> str:
        try:
            return self._tokens.astring().decode(self._charset)
        except UnicodeDecodeError:
            raise Bad(b"Text is not valid in its charset") from None

    def header(self) -> Query:
        name = self.text()
        self._tokens.space()
        return Header(name, self.text())

    def keyword(self, is_set: bool) -> Query:
        return Flagged(self._tokens.flag(), is_set)

    def number(self) -> int:
        return self._tokens.number(MODSEQ_LIMIT)

    def uid(self) -> Query:
        return Uid(self._tokens.sequence_set())

    def modification(self) -> Query:
        """MODSEQ with an optional entry, which flags share with all metadata here (RFC 7162 3.1.5)."""
        self.modseq = True
        if self._tokens.peek() == b'"':
            self._tokens.string()
            self._tokens.space()
            if self._tokens.keyword() not in (b"PRIV", b"SHARED", b"ALL"):
                raise Bad(b"Unknown entry type")
            self._tokens.space()
        return ModSeq(self.number())

    def date(self, kind: type[Received] | type[Sent], relation: Relation) -> Query:
        year, month, day = self._tokens.date()
        try:
            return kind(relation, date(year, month, day))
        except ValueError:
            raise Bad(b"Invalid date") from None


_FLAGS: dict[bytes, Query] = {
    b"ALL": All(),
    b"ANSWERED": Flagged("\\Answered"),
    b"DELETED": Flagged("\\Deleted"),
    b"DRAFT": Flagged("\\Draft"),
    b"FLAGGED": Flagged("\\Flagged"),
    b"SEEN": Flagged("\\Seen"),
    b"UNANSWERED": Flagged("\\Answered", False),
    b"UNDELETED": Flagged("\\Deleted", False),
    b"UNDRAFT": Flagged("\\Draft", False),
    b"UNFLAGGED": Flagged("\\Flagged", False),
    b"UNSEEN": Flagged("\\Seen", False),
    b"RECENT": Recent(),
    b"NEW": New(),
    b"OLD": Old(),
}
_ARGUMENTS: dict[bytes, Callable[[_Criteria], Query]] = {
    b"BCC": lambda criteria: Header("bcc", criteria.text()),
    b"CC": lambda criteria: Header("cc", criteria.text()),
    b"FROM": lambda criteria: Header("from", criteria.text()),
    b"TO": lambda criteria: Header("to", criteria.text()),
    b"SUBJECT": lambda criteria: Subject(criteria.text()),
    b"BODY": lambda criteria: Body(criteria.text()),
    b"TEXT": lambda criteria: Text(criteria.text()),
    b"HEADER": _Criteria.header,
    b"KEYWORD": lambda criteria: criteria.keyword(True),
    b"UNKEYWORD": lambda criteria: criteria.keyword(False),
    b"LARGER": lambda criteria: Larger(criteria.number()),
    b"SMALLER": lambda criteria: Smaller(criteria.number()),
    b"UID": _Criteria.uid,
    b"MODSEQ": _Criteria.modification,
    b"BEFORE": lambda criteria: criteria.date(Received, "before"),
    b"ON": lambda criteria: criteria.date(Received, "on"),
    b"SINCE": lambda criteria: criteria.date(Received, "since"),
    b"SENTBEFORE": lambda criteria: criteria.date(Sent, "before"),
    b"SENTON": lambda criteria: criteria.date(Sent, "on"),
    b"SENTSINCE": lambda criteria: criteria.date(Sent, "since"),
}
