"""Trace fields: Return-Path and Received, put before a message when it comes in (RFC 5321 4.4).

Pure text. Nothing a client says reaches the fields unchecked: what is no domain, address or literal is left out, and
every line stays within 78 columns where the words allow it and far within the 998 octets of RFC 5322 2.1.1.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

from mailx.mail.address import Address
from mailx.mail.envelope import WEBHOOK, Origin
from mailx.mail.times import date_field

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}\Z")  # A-labels: EHLO comes before SMTPUTF8 is asked for (RFC 6531 3.7.1)
_LITERAL = re.compile(r"\[[A-Za-z0-9.:_-]{1,100}\]\Z")
_COMMENT = re.compile(r"[^A-Za-z0-9._ -]")
_SUITE = re.compile(r"TLS_[A-Z0-9_]+\Z")
_COLUMNS = 78


def return_path(sender: Address | None) -> bytes:
    """The Return-Path field; None is the null reverse-path."""
    return f"Return-Path: <{sender or ''}>\r\n".encode()


def received(
    hostname: str,
    origin: Origin,
    envelope_id: str,
    sender: Address | None,
    recipients: Sequence[Address],
    now: float,
) -> bytes:
    """The trace header of one message, the ``head`` that :meth:`Reception.content` takes: Return-Path, then Received.

    ``hostname`` is this server's name, ``now`` seconds since 1970. ``origin.protocol`` is the keyword after ``with``
    (RFC 3848, RFC 6531); a cipher suite in ``origin.tls`` that has its registered name becomes the ``tls`` clause of
    RFC 8314 7.4, one that has OpenSSL's name stands in a comment. The ``for`` clause stands only with a
    single recipient, so that no recipient learns of another (RFC 5321 7.2). An authenticated client's address is
    not given away: what a person or a program submits tells the world only that it was authenticated.
    """
    version, _, suite = origin.tls.partition(" ")
    known = origin.account is not None or origin.protocol == WEBHOOK
    words = [*_client(known, origin.helo, origin.address), f"by {hostname}", f"with {origin.protocol}"]
    if origin.tls:
        words.append(f"({_COMMENT.sub('', version if _SUITE.match(suite) else origin.tls)})")
    words.append(f"id {envelope_id}")
    if len(recipients) == 1:
        words.append(f"for <{recipients[0]}>")
    if _SUITE.match(suite):
        words.append(f"tls {suite}")
    words[-1] += ";"
    words.append(date_field(int(now)))
    return return_path(sender) + _fold("Received:", words)


@lru_cache(maxsize=256)  # who delivers much says the same each time
def _client(authenticated: bool, helo: str, address: str) -> tuple[str, ...]:
    """The ``from`` clause: the name the client gave and, for strangers, the address it came from."""
    if authenticated:
        return ("from authenticated",)
    name = helo if _NAME.match(helo) or _LITERAL.match(helo) else ""
    literal = address_literal(address)
    if literal:
        return f"from {name or literal}", f"({literal})"
    return (f"from {name or 'unknown'}",)


def address_literal(address: str) -> str:
    """``address`` (IPv4 or IPv6 text) as an address literal of RFC 5321 4.1.3; empty for anything else."""
    literal = f"[IPv6:{address}]" if ":" in address else f"[{address}]"
    return literal if _LITERAL.match(literal) else ""


def _fold(name: str, words: Sequence[str]) -> bytes:
    """The field ``name`` with ``words``, a new line before a word that would pass the last column."""
    lines: list[str] = []
    line = name
    for word in words:
        if len(line) + 1 + len(word) > _COLUMNS and line != name:
            lines.append(line)
            line = f"\t{word}"
        else:
            line = f"{line} {word}"
    lines.append(line)
    return "\r\n".join(lines).encode() + b"\r\n"
