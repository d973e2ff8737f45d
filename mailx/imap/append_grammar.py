"""The arguments of APPEND and REPLACE, read while they arrive (RFC 9051 6.3.12, RFC 3502, RFC 4469, RFC 6855 4, RFC 8508)."""

from attrs import frozen

from mailx.imap.answers import Bad
from mailx.imap.grammar import sort_flags
from mailx.imap.tokens import Ranges, Tokens

TEXT, URL, UTF8 = b"TEXT", b"URL", b"UTF8"  # what a piece of a message is


@frozen
class Opening:
    """What stands before a message. ``flags`` and ``keywords`` as :class:`mailx.mail.envelope.Filing` wants them."""

    flags: int
    keywords: tuple[str, ...]
    received: int | None
    catenate: bool  # its pieces come in a list
    utf8: bool  # it comes as UTF8 (~{...})


def unread(tokens: Tokens) -> Tokens:
    """The tokens themselves: the command takes them while they arrive."""
    return tokens


def replaced(tokens: Tokens) -> Ranges:
    """The message that REPLACE is about."""
    tokens.space()
    return tokens.sequence_set()


def mailbox(tokens: Tokens) -> str:
    tokens.space()
    return tokens.mailbox()


def opening(tokens: Tokens) -> Opening:
    """Everything before a message's first octets."""
    tokens.space()
    flags = 0
    keywords: tuple[str, ...] = ()
    if tokens.peek() == b"(":
        flags, keywords = sort_flags(tokens.flag_list())
        tokens.space()
    received = None
    if tokens.peek() == b'"':
        received = tokens.date_time()
        tokens.space()
    catenate = tokens.take_word(b"CATENATE")
    utf8 = not catenate and tokens.take_word(b"UTF8")
    if catenate or utf8:
        tokens.space()
        tokens.expect(b"(")
    return Opening(flags, keywords, received, catenate, utf8)


def piece(tokens: Tokens) -> bytes:
    """What the next piece of a CATENATE is: TEXT, URL, or UTF8, behind which a list is open (RFC 4469, RFC 6855 4)."""
    kind = next((kind for kind in (URL, TEXT, UTF8) if tokens.take_word(kind)), None)
    if kind is None:
        raise Bad(b"TEXT or URL expected")
    tokens.space()
    if kind is UTF8:
        tokens.expect(b"(")
    return kind
