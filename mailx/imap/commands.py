"""The arguments of IMAP commands as values: what :mod:`mailx.imap.grammar` makes and the commands run on."""

from enum import Enum

from attrs import frozen

from mailx.core.edits import Mode
from mailx.imap.tokens import Ranges


@frozen
class Login:
    username: str
    password: str


@frozen
class Authenticate:
    mechanism: str
    initial: bytes | None  # still in base64; None: none given


@frozen
class Create:
    mailbox: str
    special_use: str


@frozen
class Rename:
    old: str
    new: str


@frozen
class Listing:
    """LIST with everything RFC 5258 and RFC 5819 add to it."""

    reference: str
    patterns: tuple[str, ...]
    subscribed: bool = False  # list subscribed names
    special_use: bool = False  # list only mailboxes with a special use
    recursive: bool = False  # RECURSIVEMATCH
    children: bool = True  # return \HasChildren and \HasNoChildren
    show_subscribed: bool = False  # return \Subscribed
    status: tuple[bytes, ...] = ()
    my_rights: bool = False  # RFC 8440
    metadata: tuple[str, ...] = ()  # entries to return (RFC 9590)
    extended: bool = False  # asked with anything of RFC 5258


@frozen
class Status:
    mailbox: str
    items: tuple[bytes, ...]


class Data(Enum):
    """FETCH items that are no body sections; the value is the name in the response."""

    UID = b"UID"
    FLAGS = b"FLAGS"
    INTERNALDATE = b"INTERNALDATE"
    SIZE = b"RFC822.SIZE"
    MODSEQ = b"MODSEQ"
    ENVELOPE = b"ENVELOPE"
    BODY = b"BODY"
    BODYSTRUCTURE = b"BODYSTRUCTURE"
    EMAILID = b"EMAILID"
    THREADID = b"THREADID"
    SAVEDATE = b"SAVEDATE"
    PREVIEW = b"PREVIEW"


class Text(Enum):
    """What of a message or part a section names (RFC 9051 6.4.5.1)."""

    ALL = b""
    HEADER = b"HEADER"
    TEXT = b"TEXT"
    MIME = b"MIME"
    FIELDS = b"HEADER.FIELDS"
    FIELDS_NOT = b"HEADER.FIELDS.NOT"


@frozen
class Section:
    """A body section item. ``label`` is how the response names it, origin octet included."""

    label: bytes
    path: tuple[int, ...]
    text: Text
    fields: frozenset[bytes] = frozenset()  # lower case
    offset: int = 0
    count: int | None = None  # octets; None: all
    peek: bool = True  # leaves \Seen alone
    decoded: bool = False  # out of its transfer encoding (RFC 3516)


@frozen
class BinarySize:
    """BINARY.SIZE (RFC 3516 4.3): the octets of a part out of its transfer encoding."""

    section: Section  # decoded; its label is that of the size


Item = Data | Section | BinarySize


@frozen
class Partial:
    """A window on the results, both ends within: counted from the first one or, ``from_end``, from the last (RFC 9394 3.1)."""

    first: int
    last: int
    from_end: bool = False


@frozen
class Fetch:
    ranges: Ranges
    items: tuple[Item, ...]
    changed_since: int | None = None
    vanished: bool = False  # tell what was removed since, too (RFC 7162 3.2.6)
    partial: Partial | None = None  # of the messages, only these (RFC 9394 3.4)


@frozen
class StoreFlags:
    ranges: Ranges
    mode: Mode
    silent: bool
    flags: int
    keywords: tuple[str, ...]
    unchanged_since: int | None = None


@frozen
class Copy:
    ranges: Ranges
    mailbox: str
