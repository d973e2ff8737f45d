"""What may be searched for: the keys of SEARCH as values (RFC 9051 6.4.4, RFC 5032, RFC 6203, RFC 7162, RFC 8474, RFC 8514),
and those that a search line has besides (:mod:`mailx.core.search_line`).

Pure. Texts are ``str`` already decoded from the client's charset; they match as substrings without regard to
case, except where words are asked for. Dates are dates: time and zone are disregarded, as the RFC says.
"""

from datetime import date
from typing import Literal

from attrs import frozen

Range = tuple[int | None, int | None]  # inclusive, either order; None is "*", the highest number in use
Relation = Literal["before", "on", "since"]
Where = Literal["text", "body", "subject", "from", "to", "header"]  # "to" has Cc and Bcc too; "header" the message's own fields


@frozen
class All:
    """Every message."""


@frozen
class And:
    """Messages that match each of ``children``; without children every message."""

    children: "tuple[Query, ...]"


@frozen
class Or:
    """Messages that match one or both."""

    a: "Query"
    b: "Query"


@frozen
class Not:
    """Messages that do not match ``a``."""

    a: "Query"


@frozen
class Sequence:
    """Messages whose sequence number lies in one of ``ranges``."""

    ranges: tuple[Range, ...]


@frozen
class Uid:
    """Messages whose UID lies in one of ``ranges``."""

    ranges: tuple[Range, ...]


@frozen
class Flagged:
    """Messages with the flag ``name`` ("\\\\Seen", "$Forwarded") set, or with ``set`` false not set."""

    name: str
    set: bool = True


@frozen
class Recent:
    """Messages that are \\\\Recent in this session."""


@frozen
class New:
    """Messages that are \\\\Recent and not \\\\Seen."""


@frozen
class Old:
    """Messages that are not \\\\Recent."""


@frozen
class Header:
    """Messages with a header field ``name`` whose decoded text contains ``text``; empty: that have the field."""

    name: str
    text: str


@frozen
class Subject:
    """Messages whose Subject contains ``text``."""

    text: str


@frozen
class Body:
    """Messages whose decoded text parts contain ``text``."""

    text: str


@frozen
class Text:
    """Messages whose header or decoded text parts contain ``text``."""

    text: str


@frozen
class Larger:
    """Messages of more than ``octets``."""

    octets: int


@frozen
class Smaller:
    """Messages of less than ``octets``."""

    octets: int


@frozen
class Received:
    """Messages by their internal date."""

    relation: Relation
    date: date


@frozen
class Sent:
    """Messages by their Date field; one without a readable Date never matches."""

    relation: Relation
    date: date


@frozen
class Saved:
    """Messages by the date they came into this mailbox (RFC 8514)."""

    relation: Relation
    date: date


@frozen
class Older:
    """Messages whose internal date is ``seconds`` or more ago (RFC 5032)."""

    seconds: int


@frozen
class Younger:
    """Messages whose internal date is ``seconds`` ago at most (RFC 5032)."""

    seconds: int


@frozen
class ModSeq:
    """Messages changed at ``least`` or later (RFC 7162)."""

    least: int


@frozen
class Phrase:
    """Messages that have the words of ``text`` whole and one after another."""

    text: str
    where: Where = "text"


@frozen
class Prefix:
    """Messages that have a word which begins with ``text``; of several words the last one may go on."""

    text: str
    where: Where = "text"


@frozen
class Wildcard:
    """Messages that have a word like ``pattern``: ``*`` stands for any letters and digits, or none, ``?`` for one."""

    pattern: str
    where: Where = "text"


@frozen
class AttachmentName:
    """Messages with an attachment whose name contains ``text``; empty: with any attachment."""

    text: str


@frozen
class Fuzzy:
    """Messages that match ``a`` about (RFC 6203): letters may be wrong, left out, added or of another form, words in any order."""

    a: "Query"


@frozen
class EmailId:
    """The message whose EMAILID is ``id`` (RFC 8474)."""

    id: str


@frozen
class ThreadId:
    """The messages whose THREADID is ``id`` (RFC 8474)."""

    id: str


@frozen
class SaveDateSupported:
    """Every message, as each mailbox here knows when a message came into it (RFC 8514)."""


Query = (
    All | And | Or | Not | Sequence | Uid | Flagged | Recent | New | Old | Header | Subject | Body | Text
    | Larger | Smaller | Received | Sent | Saved | Older | Younger | ModSeq
    | Phrase | Prefix | Wildcard | AttachmentName | Fuzzy | EmailId | ThreadId | SaveDateSupported
)  # fmt: skip
