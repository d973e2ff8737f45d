"""From tokens to values: the arguments of every command but FETCH, SEARCH and SORT.

Each function takes the tokens behind the command's name and returns its value, or raises ``Bad``.
"""

from attrs import evolve

from mailx.core.edits import Mode
from mailx.imap.answers import Bad, No
from mailx.imap.commands import Authenticate, Copy, Create, Listing, Login, Rename, Status, StoreFlags
from mailx.imap.tokens import MODSEQ_LIMIT, Ranges, Tokens, remembered
from mailx.mail.mailbox import DELIMITER, SYSTEM_FLAGS

STATUS_ITEMS = frozenset(
    b"MESSAGES RECENT UIDNEXT UIDVALIDITY UNSEEN DELETED SIZE HIGHESTMODSEQ APPENDLIMIT DELETED-STORAGE MAILBOXID".split(),
)
ID_LIMIT = 30  # field-value pairs, RFC 2971 3.3
_SYSTEM = {name.lower(): bit for name, bit in SYSTEM_FLAGS.items()}
_MODES: dict[bytes, Mode] = {b"FLAGS": "replace", b"+FLAGS": "add", b"-FLAGS": "remove"}


def nothing(tokens: Tokens) -> None:
    """No arguments."""
    tokens.end()


def login(tokens: Tokens) -> Login:
    tokens.space()
    username = tokens.astring()
    tokens.space()
    password = tokens.astring()
    tokens.end()
    try:
        return Login(username.decode(), password.decode())
    except UnicodeDecodeError:
        raise No(b"Authentication failed", b"AUTHENTICATIONFAILED") from None


def authenticate(tokens: Tokens) -> Authenticate:
    tokens.space()
    mechanism = tokens.keyword().decode("ascii")
    initial = None
    if tokens.take(b" "):
        initial = tokens.base64()
    tokens.end()
    return Authenticate(mechanism, initial)


def mailbox(tokens: Tokens) -> str:
    tokens.space()
    name = tokens.mailbox()
    tokens.end()
    return name


def create(tokens: Tokens) -> Create:
    """A trailing delimiter says only that children will follow (RFC 9051 6.3.4)."""
    tokens.space()
    name = tokens.mailbox()
    special_use = ""
    if tokens.take(b" "):
        tokens.expect(b"(")
        if tokens.keyword() != b"USE":
            raise Bad(b"Unknown CREATE parameter")
        tokens.expect(b" ")
        uses = tokens.flag_list()
        tokens.expect(b")")
        if len(uses) > 1:
            raise No(b"A mailbox has one special use", b"USEATTR")
        special_use = uses[0] if uses else ""
    tokens.end()
    if len(name) > 1:
        name = name.removesuffix(DELIMITER)
    return Create(name, special_use)


def rename(tokens: Tokens) -> Rename:
    tokens.space()
    old = tokens.mailbox()
    tokens.space()
    new = tokens.mailbox()
    tokens.end()
    return Rename(old, new.removesuffix(DELIMITER) if len(new) > 1 else new)


def lsub(tokens: Tokens) -> Listing:
    tokens.space()
    reference = tokens.pattern()
    tokens.space()
    pattern = tokens.pattern()
    tokens.end()
    return Listing(reference, (pattern,), subscribed=True, children=False)


def status(tokens: Tokens) -> Status:
    tokens.space()
    name = tokens.mailbox()
    tokens.space()
    items = status_items(tokens)
    tokens.end()
    return Status(name, items)


def status_items(tokens: Tokens) -> tuple[bytes, ...]:
    tokens.expect(b"(")
    items: dict[bytes, None] = {}
    while True:
        item = tokens.keyword()
        if item not in STATUS_ITEMS:
            raise Bad(b"Unknown STATUS item")
        items[item] = None
        if not tokens.take(b" "):
            break
    tokens.expect(b")")
    return tuple(items)


def sort_flags(names: tuple[str, ...]) -> tuple[int, tuple[str, ...]]:
    """System flags as bits, and the keywords among ``names``; raises Bad for other flags with a backslash."""
    flags = 0
    keywords: dict[str, str] = {}
    for name in names:
        if not name.startswith("\\"):
            keywords.setdefault(name.lower(), name)
        elif name.lower() != "\\recent":  # never a client's to set, and in what many clients append
            bit = _SYSTEM.get(name.lower())
            if bit is None:
                raise Bad(b"Unknown system flag")
            flags |= int(bit)
    return flags, tuple(keywords.values())


def store(tokens: Tokens) -> StoreFlags:
    tokens.space()
    ranges = tokens.sequence_set()
    tokens.space()
    return evolve(_store(tokens), ranges=ranges)


@remembered
def _store(tokens: Tokens) -> StoreFlags:
    """Everything behind the set."""
    unchanged_since = None
    if tokens.take(b"("):
        if tokens.keyword() != b"UNCHANGEDSINCE":
            raise Bad(b"Unknown STORE modifier")
        tokens.expect(b" ")
        unchanged_since = tokens.number(MODSEQ_LIMIT)
        tokens.expect(b")")
        tokens.space()
    item, dot, suffix = tokens.keyword().partition(b".")
    if item not in _MODES or (dot and suffix != b"SILENT"):
        raise Bad(b"Unknown STORE item")
    tokens.space()
    names = tokens.flag_list() if tokens.peek() == b"(" else tokens.flags()
    tokens.end()
    flags, keywords = sort_flags(names)
    return StoreFlags((), _MODES[item], bool(dot), flags, keywords, unchanged_since)


def copy(tokens: Tokens) -> Copy:
    tokens.space()
    ranges = tokens.sequence_set()
    tokens.space()
    name = tokens.mailbox()
    tokens.end()
    return Copy(ranges, name)


def uid_expunge(tokens: Tokens) -> Ranges:
    tokens.space()
    ranges = tokens.sequence_set()
    tokens.end()
    return ranges


def enable(tokens: Tokens) -> frozenset[bytes]:
    tokens.space()
    names = {tokens.keyword()}
    while tokens.take(b" "):
        names.add(tokens.keyword())
    tokens.end()
    return frozenset(names)


def identity(tokens: Tokens) -> None:
    """ID (RFC 2971): its content is checked and forgotten."""
    tokens.space()
    if not tokens.take(b"("):
        if tokens.nstring() is not None:
            raise Bad(b"List expected")
    elif not tokens.take(b")"):
        for _ in range(ID_LIMIT):
            tokens.string()
            tokens.space()
            tokens.nstring()
            if not tokens.take(b" "):
                break
        tokens.expect(b")")
    tokens.end()
