"""The arguments of GETMETADATA and SETMETADATA (RFC 5464)."""

import re

from attrs import evolve, frozen

from mailx.imap.answers import Bad
from mailx.imap.tokens import Tokens

ENTRIES_LIMIT = 64  # of one command

_TOP = re.compile(rb"/(?:private|shared)\Z", re.IGNORECASE)
_ENTRY = re.compile(rb"/(?:private|shared)(?:/[\x21-\x24\x26-\x29\x2b-\x2e\x30-\x7e]+)+\Z", re.IGNORECASE)
ENTRY_LIMIT = 255  # octets of a name
DEPTHS = {b"0": 0, b"1": 1, b"INFINITY": -1}


@frozen
class Get:
    """``mailbox`` empty: the server. ``depth`` -1: everything below."""

    mailbox: str
    entries: tuple[str, ...]
    depth: int = 0
    max_size: int | None = None


@frozen
class Set:
    """Entries and their values; None removes."""

    mailbox: str
    values: tuple[tuple[str, bytes | None], ...]


def get(tokens: Tokens) -> Get:
    """Options stand before the mailbox (RFC 5464 5); the examples of the RFC have them behind it, as have programs."""
    tokens.space()
    asked = Get("", ())
    if tokens.take(b"("):
        asked = _options(tokens, asked)
        tokens.space()
    asked = evolve(asked, mailbox=mailbox(tokens))
    tokens.space()
    found: tuple[str, ...] = ()
    if tokens.take(b"("):
        if tokens.peek() in (b"/", b'"', b"{"):
            found = _rest(tokens, top=True)
        else:
            asked = _options(tokens, asked)
            tokens.space()
    if not found:
        found = entries(tokens, top=True) if tokens.peek() == b"(" else (entry(tokens, top=True),)
    tokens.end()
    if not asked.depth and not {"/private", "/shared"}.isdisjoint(found):
        raise Bad(b"No entry has that name")
    return evolve(asked, entries=found)


def put(tokens: Tokens) -> Set:
    tokens.space()
    name = mailbox(tokens)
    tokens.space()
    tokens.expect(b"(")
    values: dict[str, bytes | None] = {}
    while True:
        if len(values) == ENTRIES_LIMIT:
            raise Bad(b"Too many entries", b"LIMIT")
        key = entry(tokens)
        tokens.space()
        values[key] = tokens.octets()
        if not tokens.take(b" "):
            break
    tokens.expect(b")")
    tokens.end()
    return Set(name, tuple(values.items()))


def entries(tokens: Tokens, top: bool = False) -> tuple[str, ...]:
    """A parenthesised list of entries; ``top``: also of ``/private`` and ``/shared``, which have others below them alone."""
    tokens.expect(b"(")
    return _rest(tokens, top)


def _rest(tokens: Tokens, top: bool) -> tuple[str, ...]:
    found = {entry(tokens, top): None}
    while tokens.take(b" "):
        if len(found) == ENTRIES_LIMIT:
            raise Bad(b"Too many entries", b"LIMIT")
        found[entry(tokens, top)] = None
    tokens.expect(b")")
    return tuple(found)


def entry(tokens: Tokens, top: bool = False) -> str:
    """The name of an entry, in lower case: case makes no difference (RFC 5464 3.1)."""
    raw = tokens.astring()
    if len(raw) > ENTRY_LIMIT or not (_ENTRY.match(raw) or top and _TOP.match(raw)) or b"//" in raw:
        raise Bad(b"An entry begins with /private/ or /shared/")
    return raw.decode("ascii").lower()


def mailbox(tokens: Tokens) -> str:
    """The empty name stands for the server."""
    if tokens.take(b'""'):
        return ""
    return tokens.mailbox()


def _options(tokens: Tokens, asked: Get) -> Get:
    while True:
        option = tokens.keyword()
        tokens.expect(b" ")
        if option == b"MAXSIZE":
            asked = evolve(asked, max_size=tokens.number())
        elif option == b"DEPTH":
            depth = DEPTHS.get(tokens.keyword())
            if depth is None:
                raise Bad(b"DEPTH is 0, 1 or infinity")
            asked = evolve(asked, depth=depth)
        else:
            raise Bad(b"Unknown GETMETADATA option")
        if not tokens.take(b" "):
            break
    tokens.expect(b")")
    return asked
