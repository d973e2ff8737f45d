"""Canonical forms of a message for DKIM and ARC (RFC 6376 3.4), and which header fields a signature covers (5.4.2).

Pure and linear in the octets. Content has CRLF line ends; whatever else it holds, nothing here raises.
"""

import re
from collections.abc import Iterable, Sequence
from hashlib import sha256

from attrs import frozen

_BLANKS = re.compile(rb" {2,}+")
_CRLF = b"\r\n"
_SLICE = 262144
# A field with its folded lines; blanks before the colon are obsolete syntax, which relaxed form takes away (RFC 6376 3.4.2).
_FIELD = re.compile(rb"(?m)^([!-9;-~]++)[ \t]*+:([^\n]*+(?>(?:\n[ \t][^\n]*+)*))\n?")


@frozen
class Field:
    """One header field: its name in lower case, and all of it as it stands, with its line end."""

    name: bytes
    raw: bytes


def split(content: bytes) -> tuple[bytes, bytes]:
    """(header, body): the header with the line end of its last field, the body behind the empty line."""
    if content.startswith(_CRLF):
        return b"", content[2:]
    end = content.find(b"\r\n\r\n")
    return (content, b"") if end < 0 else (content[: end + 2], content[end + 4 :])


def fields(header: bytes, names: Iterable[bytes]) -> list[Field]:
    """The fields of ``header`` called one of ``names`` (lower case), in their order."""
    wanted = frozenset(names)
    found = []
    for match in _FIELD.finditer(header):
        name = match[1].lower()
        if name in wanted:
            found.append(Field(name, match[0]))
    return found


def chosen(fields: Sequence[Field], names: Iterable[bytes]) -> list[Field]:
    """The fields that the list ``names`` of a signature covers, in its order.

    A name that stands several times takes its fields from the last to the first; one too many takes none.
    """
    waiting: dict[bytes, list[Field]] = {}
    for field in fields:
        waiting.setdefault(field.name, []).append(field)
    return [waiting[name].pop() for name in names if waiting.get(name)]


def field_relaxed(raw: bytes) -> bytes:
    """One field in relaxed form (RFC 6376 3.4.2), with its line end."""
    name, _, value = raw.partition(b":")
    value = value.replace(_CRLF, b"").replace(b"\n", b"")
    return name.rstrip(b" \t").lower() + b":" + _squeezed(value).strip(b" ") + _CRLF


def field_simple(raw: bytes) -> bytes:
    """One field in simple form (RFC 6376 3.4.1): as it is."""
    return raw


def body_simple(body: bytes) -> bytes:
    """``body`` in simple form (RFC 6376 3.4.3): one line end at its end, also when it is empty."""
    return _stripped(body) + _CRLF


def body_relaxed(body: bytes) -> bytes:
    """``body`` in relaxed form (RFC 6376 3.4.4): blanks squeezed, none at line ends, no empty lines at the end."""
    body = _stripped(_trimmed(body))
    return body + _CRLF if body else b""


def digest_relaxed(body: bytes) -> bytes:
    """SHA-256 of ``body_relaxed(body)``, worked out in slices, so that a large body holds no other thread up for long."""
    if len(body) <= _SLICE:
        return sha256(body_relaxed(body)).digest()
    hasher = sha256()
    ends = 0  # line ends that count only if more text comes
    begun = False
    start = 0
    while start < len(body):
        stop = body.find(b"\n", start + _SLICE) + 1 or len(body)
        lines = _trimmed(body[start:stop])
        text = _stripped(lines)
        if text:
            hasher.update(_CRLF * ends + text)
            ends, begun = 0, True
        ends += (len(lines) - len(text)) // 2
        start = stop
    if begun:
        hasher.update(_CRLF)
    return hasher.digest()


def _trimmed(body: bytes) -> bytes:
    """``body`` with every run of blanks as one space, and none at the end of a line."""
    body = _squeezed(body)
    if b" \r\n" in body:
        body = body.replace(b" \r\n", _CRLF)
    return body[:-1] if body.endswith(b" ") else body


def _squeezed(text: bytes) -> bytes:
    """``text`` with every run of blanks as one space."""
    if b"\t" in text:
        text = text.replace(b"\t", b" ")
    return _BLANKS.sub(b" ", text) if b"  " in text else text


def _stripped(body: bytes) -> bytes:
    """``body`` without the line ends at its end."""
    if not body.endswith(_CRLF):
        return body
    tail = body[len(body.rstrip(_CRLF)) :]
    # The longest run of whole line ends that ends the tail: it starts behind the last CR or LF that pairs with nothing.
    start = max(tail.rfind(b"\r\r"), tail.rfind(b"\n\n")) + 1
    if tail[start : start + 1] == b"\n":
        start += 1
    return body[: len(body) - len(tail) + start]
