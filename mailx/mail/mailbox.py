"""Values of a mailbox: its flags as bits, its state, and the change notices that sessions follow."""

from collections.abc import Sequence
from enum import IntFlag
from typing import Literal

from attrs import frozen

DELIMITER = "/"


class Flag(IntFlag):
    """System flags (RFC 9051 2.3.2) as bits; keywords take the bits from KEYWORD_BIT up to 62."""

    SEEN = 1
    ANSWERED = 2
    FLAGGED = 4
    DELETED = 8
    DRAFT = 16


SYSTEM_FLAGS = {
    "\\Seen": Flag.SEEN,
    "\\Answered": Flag.ANSWERED,
    "\\Flagged": Flag.FLAGGED,
    "\\Deleted": Flag.DELETED,
    "\\Draft": Flag.DRAFT,
}
KEYWORD_BIT = 5
KEYWORDS_LIMIT = 58  # keywords of one account: a flags column is one signed 64-bit integer

# The folders of a new account with their special use (RFC 6154); decisions table of the requirements.
DEFAULT_MAILBOXES = (
    ("INBOX", ""),
    ("Requests", ""),
    ("Drafts", "\\Drafts"),
    ("Sent", "\\Sent"),
    ("Archive", "\\Archive"),
    ("Spam", "\\Junk"),
    ("Trash", "\\Trash"),
)


OWNER_RIGHTS = frozenset("lrswipkxtea")  # all there are: see mailx.mail.rights


@frozen
class Mailbox:
    """One mailbox and its counters, as of one moment."""

    id: int
    account: int
    name: str  # full path, "/" between levels; INBOX in capitals
    uidvalidity: int
    uidnext: int
    modseq: int  # HIGHESTMODSEQ
    messages: int
    unseen: int
    deleted: int
    size: int  # octets of all its messages
    first_recent: int  # UIDs from here on are \Recent for the next session that selects
    special_use: str = ""
    subscribed: bool = False
    rights: frozenset[str] = OWNER_RIGHTS  # of whoever asked for it (RFC 4314)


NO_MAILBOX = -1  # in Change.mailbox: it tells of an account


@frozen
class AccountChange:
    """What happened to the names of an account's mailboxes, or to what hangs on the names.

    ``kind``: "name" (a mailbox was made, deleted or renamed), "subscription", "metadata" (``entries`` were set), "acl",
    "sessions" (those logged in must be no longer; ``entries`` tell that it happened in this process).
    Other nodes hear only ``account``, ``kind`` and ``mailbox``, and read the rest.
    """

    account: int
    kind: Literal["name", "subscription", "metadata", "acl", "sessions"]
    mailbox: int = 0  # 0: several, none (a subscription), or the server itself
    entries: tuple[str, ...] = ()


@frozen
class Change:
    """What one transaction did to one mailbox. ``modseq`` is the mailbox's new HIGHESTMODSEQ.

    Each transaction raises a mailbox's mod-sequence by exactly one, so a gap tells a listener that it missed
    something (another node wrote); ``partial`` says that the details are not carried and must be read.
    """

    mailbox: int
    modseq: int
    added: tuple[tuple[int, int, int], ...] = ()  # (uid, flags, size), uids rising
    flagged: Sequence[int] = ()  # uids
    flags: Sequence[int] = ()  # of each of these
    removed: tuple[int, ...] = ()  # uids
    gone: bool = False  # the mailbox itself was deleted
    partial: bool = False
    account: AccountChange | None = None  # tells of this and nothing else; ``mailbox`` is NO_MAILBOX


def of_account(change: AccountChange) -> Change:
    """``change`` in the form in which a transaction publishes it."""
    return Change(NO_MAILBOX, 0, account=change)
