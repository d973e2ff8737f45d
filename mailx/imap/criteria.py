"""Search keys (RFC 9051 6.4.4, RFC 5032, RFC 6203, RFC 7162, RFC 8474, RFC 8514, RFC 9738) as values of the core."""

from collections.abc import Callable
from datetime import date

from mailx.core.search import (
    All,
    And,
    Body,
    EmailId,
    Flagged,
    Fuzzy,
    Header,
    Larger,
    ModSeq,
    New,
    Not,
    Old,
    Older,
    Or,
    Query,
    Received,
    Recent,
    Relation,
    Saved,
    SaveDateSupported,
    Sent,
    Sequence,
    Smaller,
    Subject,
    Text,
    ThreadId,
    Uid,
    Younger,
)
from mailx.imap.answers import Bad
from mailx.imap.tokens import MODSEQ_LIMIT, NESTING_LIMIT, NUMBER_LIMIT, SAVED, Tokens

KEYS_LIMIT = 1000  # criteria of one search
OBJECT_ID_LIMIT = 255  # RFC 8474 7


class Criteria:
    """The search keys of one command: bounded in number and nesting."""

    def __init__(self, tokens: Tokens, charset: str) -> None:
        self._tokens = tokens
        self._charset = charset
        self._left = KEYS_LIMIT
        self.modseq = False
        self.saved = False  # the result of an earlier search was named
        self.numbers = False  # sequence numbers were named
        self.fuzzy = False

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
        if tokens.peek() == b"$" or tokens.peek().isdigit() or tokens.peek() == b"*":
            ranges = tokens.sequence_set()
            if ranges == SAVED:
                self.saved = True
            else:
                self.numbers = True
            return Sequence(ranges)
        word = tokens.keyword()
        if word in _FLAGS:
            return _FLAGS[word]
        if word == b"NOT":
            tokens.space()
            return Not(self._key(depth + 1))
        if word == b"FUZZY":
            tokens.space()
            self.fuzzy = True
            return Fuzzy(self._key(depth + 1))
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
        ranges = self._tokens.sequence_set()
        self.saved = self.saved or ranges == SAVED
        return Uid(ranges)

    def beyond(self, after: bool) -> Query:
        """UIDs above or below one (RFC 9738 3.2)."""
        uid = self._tokens.number()
        beyond = NUMBER_LIMIT + 1  # what no UID is
        return Uid(((uid + 1, beyond),)) if after else Uid(((1, uid - 1) if uid > 1 else (beyond, beyond),))

    def seconds(self) -> int:
        """A number of seconds above zero (RFC 5032 3)."""
        seconds = self._tokens.number(NUMBER_LIMIT)
        if not seconds:
            raise Bad(b"Number expected")
        return seconds

    def object_id(self) -> str:
        """What is no identifier of this server's matches nothing."""
        identifier = self._tokens.atom()
        if len(identifier) > OBJECT_ID_LIMIT:
            raise Bad(b"Identifier too long")
        return identifier.decode("ascii")

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

    def date(self, kind: type[Received] | type[Saved] | type[Sent], relation: Relation) -> Query:
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
    b"SAVEDATESUPPORTED": SaveDateSupported(),
}
_ARGUMENTS: dict[bytes, Callable[[Criteria], Query]] = {
    b"BCC": lambda criteria: Header("bcc", criteria.text()),
    b"CC": lambda criteria: Header("cc", criteria.text()),
    b"FROM": lambda criteria: Header("from", criteria.text()),
    b"TO": lambda criteria: Header("to", criteria.text()),
    b"SUBJECT": lambda criteria: Subject(criteria.text()),
    b"BODY": lambda criteria: Body(criteria.text()),
    b"TEXT": lambda criteria: Text(criteria.text()),
    b"HEADER": Criteria.header,
    b"KEYWORD": lambda criteria: criteria.keyword(True),
    b"UNKEYWORD": lambda criteria: criteria.keyword(False),
    b"LARGER": lambda criteria: Larger(criteria.number()),
    b"SMALLER": lambda criteria: Smaller(criteria.number()),
    b"UID": Criteria.uid,
    b"UIDAFTER": lambda criteria: criteria.beyond(True),
    b"UIDBEFORE": lambda criteria: criteria.beyond(False),
    b"MODSEQ": Criteria.modification,
    b"OLDER": lambda criteria: Older(criteria.seconds()),
    b"YOUNGER": lambda criteria: Younger(criteria.seconds()),
    b"EMAILID": lambda criteria: EmailId(criteria.object_id()),
    b"THREADID": lambda criteria: ThreadId(criteria.object_id()),
    b"BEFORE": lambda criteria: criteria.date(Received, "before"),
    b"ON": lambda criteria: criteria.date(Received, "on"),
    b"SINCE": lambda criteria: criteria.date(Received, "since"),
    b"SAVEDBEFORE": lambda criteria: criteria.date(Saved, "before"),
    b"SAVEDON": lambda criteria: criteria.date(Saved, "on"),
    b"SAVEDSINCE": lambda criteria: criteria.date(Saved, "since"),
    b"SENTBEFORE": lambda criteria: criteria.date(Sent, "before"),
    b"SENTON": lambda criteria: criteria.date(Sent, "on"),
    b"SENTSINCE": lambda criteria: criteria.date(Sent, "since"),
}
