"""The parameters of SELECT and EXAMINE that bring a client up to date (RFC 7162 3.1.8, 3.2.5)."""

from attrs import frozen

from mailx.core.resync import Spans, merged
from mailx.imap.answers import Bad
from mailx.imap.tokens import MODSEQ_LIMIT, SAVED, Ranges, Tokens

MATCHES_LIMIT = 16384  # sequence numbers with their UIDs that are looked at


@frozen
class Known:
    """QRESYNC: what the client knows of the mailbox."""

    uidvalidity: int
    modseq: int
    uids: Ranges | None = None  # None: all
    matches: tuple[tuple[int, int], ...] = ()  # (sequence number, UID), rising


@frozen
class Select:
    mailbox: str
    condstore: bool = False
    known: Known | None = None


def select(tokens: Tokens) -> Select:
    tokens.space()
    name = tokens.mailbox()
    condstore, known = False, None
    if tokens.take(b" "):
        tokens.expect(b"(")
        while True:
            word = tokens.keyword()
            if word == b"CONDSTORE" and not condstore:
                condstore = True
            elif word == b"QRESYNC" and known is None:
                known = _known(tokens)
            else:
                raise Bad(b"Unknown SELECT parameter")
            if not tokens.take(b" "):
                break
        tokens.expect(b")")
    tokens.end()
    return Select(name, condstore, known)


def _known(tokens: Tokens) -> Known:
    tokens.expect(b" (")
    uidvalidity = tokens.number()
    if not uidvalidity:
        raise Bad(b"Invalid UIDVALIDITY")
    tokens.space()
    modseq = tokens.number(MODSEQ_LIMIT)
    if not modseq:
        raise Bad(b"Invalid mod-sequence")
    uids: Ranges | None = None
    matches: tuple[tuple[int, int], ...] = ()
    if tokens.take(b" "):
        if tokens.peek() != b"(":
            uids = _plain(tokens)
        if (uids is None or tokens.take(b" ")) and tokens.take(b"("):
            numbers = merged(_plain(tokens), 0)
            tokens.space()
            theirs = merged(_plain(tokens), 0)
            if sum(high - low for low, high in numbers) + len(numbers) != sum(high - low for low, high in theirs) + len(theirs):
                raise Bad(b"As many UIDs as sequence numbers expected")
            matches = tuple(zip(_counted(numbers), _counted(theirs), strict=True))
            tokens.expect(b")")
    tokens.expect(b")")
    return Known(uidvalidity, modseq, uids, matches)


def _plain(tokens: Tokens) -> Ranges:
    """A set of numbers without ``*`` and ``$``."""
    ranges = tokens.sequence_set()
    if ranges == SAVED or any(low is None or high is None for low, high in ranges):
        raise Bad(b"Numbers expected")
    return ranges


def _counted(ranges: Spans) -> list[int]:
    """The numbers in ``ranges``, rising; of too many the last ones, which say most."""
    numbers: list[int] = []
    for low, high in reversed(ranges):
        first = max(low, high - (MATCHES_LIMIT - len(numbers)) + 1)
        numbers.extend(range(high, first - 1, -1))
        if len(numbers) >= MATCHES_LIMIT:
            break
    numbers.reverse()
    return numbers
