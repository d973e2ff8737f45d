"""The sealed message: an RFC 5322 message whose only part is a sealed container.

Its fields say what carrying it needs and nothing of what is inside: From for the sender's domain to vouch for, To for those of
one destination who know of each other anyway, Date, a Message-ID of its own, a subject that is always the same. So queue, DKIM,
SMTP, storage and IMAP treat it like any other. Pure; failure means :class:`Malformed`.
"""

import re
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Iterable, Iterator, Sequence
from secrets import token_hex

from mailx.identity.encoding import Malformed
from mailx.mail.address import Address
from mailx.mail.times import date_field

TYPE = "application/mailx-sealed"
SUBJECT = "Sealed message"
VERSION = 1

_LINE = 76  # characters of base64 (RFC 2045 6.8)
_OCTETS = _LINE // 4 * 3
_LINES = 700  # written at a time: 40 KB
_FIELDS_LIMIT = 262144  # octets of header fields that are read
_CONTENT_TYPE = re.compile(rb"^content-type[ \t]*:((?:[^\r\n]|\r?\n[ \t])*)", re.IGNORECASE | re.MULTILINE)
_ENCODING = re.compile(rb"^content-transfer-encoding[ \t]*:[ \t\r\n]*base64[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
_SEALED = re.compile(rb"\s*application/mailx-sealed\s*(?:;|\Z)", re.IGNORECASE)
_VERSION = re.compile(rb";\s*version\s*=\s*\"?([0-9]{1,9})\"?\s*(?:;|\Z)", re.IGNORECASE)
_END = re.compile(rb"\r?\n\r?\n")
_BLANK = bytes.maketrans(b"", b"")


def head(sender: Address, recipients: Sequence[Address], now: int) -> bytes:
    """The fields of a new sealed message and the empty line; without ``recipients`` nobody is named."""
    to = ",\r\n ".join([str(address) for address in recipients]) if recipients else "undisclosed-recipients:;"
    domain = sender.domain if sender.domain.isascii() and not sender.domain.startswith("[") else "sealed.invalid"
    return (
        f"From: {sender}\r\nTo: {to}\r\nDate: {date_field(now)}\r\nMessage-ID: <{token_hex(16)}@{domain or 'sealed.invalid'}>\r\n"
        f"Subject: {SUBJECT}\r\nMIME-Version: 1.0\r\nContent-Type: {TYPE}; version={VERSION}\r\n"
        "Content-Transfer-Encoding: base64\r\n\r\n"
    ).encode()


def encoded(container: Iterable[bytes]) -> Iterator[bytes]:
    """``container`` as the lines of the body."""
    waiting = bytearray()
    whole = _OCTETS * _LINES
    for piece in container:
        waiting += piece
        while len(waiting) >= whole:
            yield _lines(waiting[:whole])
            del waiting[:whole]
    if waiting:
        yield _lines(waiting)


def _lines(data: bytes | bytearray) -> bytes:
    text = b2a_base64(data, newline=False)
    return b"\r\n".join([text[start : start + _LINE] for start in range(0, len(text), _LINE)]) + b"\r\n"


def is_sealed(content: bytes) -> bool:
    """Whether a message that begins with ``content`` is a sealed one, of whatever version."""
    fields = content[: _fields_end(content)]
    if b"mailx-sealed" not in fields.lower():
        return False
    return bool(_SEALED.match(_unfolded(fields))) and _ENCODING.search(fields) is not None


def split(pieces: Iterable[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """The header fields of a sealed message, and the container that its body writes; raises Malformed, also while that is read."""
    source = iter(pieces)
    held = b""
    while (found := _END.search(held)) is None:
        if len(held) > _FIELDS_LIMIT or not (piece := next(source, b"")):
            raise Malformed("not a sealed message")
        held += piece
    fields = held[: found.start()] + b"\r\n"
    if not is_sealed(fields + b"\r\n"):
        raise Malformed("not a sealed message")
    version = _VERSION.search(_unfolded(fields))
    if version is None or int(version[1]) != VERSION:
        raise Malformed("sealed in a version that is not known")
    return fields, _decoded(held[found.end() :], source)


def _decoded(first: bytes, source: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    ended = False  # by padding, wherever the pieces begin
    piece: bytes | None = first
    while piece is not None:
        text = rest + piece.translate(_BLANK, b"\r\n\t ")
        whole = len(text) & ~3
        if whole:
            if ended:
                raise Malformed("not base64")
            ended = text[whole - 1 : whole] == b"="
            try:
                yield a2b_base64(text[:whole], strict_mode=True)
            except Base64Error:
                raise Malformed("not base64") from None
        rest = text[whole:]
        piece = next(source, None)
    if rest:
        raise Malformed("not base64")


def _unfolded(fields: bytes) -> bytes:
    """The value of the only Content-Type field; empty if there are several or none."""
    values = _CONTENT_TYPE.findall(fields)
    return re.sub(rb"\r?\n", b"", values[0]) if len(values) == 1 else b""


def _fields_end(content: bytes) -> int:
    found = _END.search(content, 0, _FIELDS_LIMIT)
    return found.end() if found else min(len(content), _FIELDS_LIMIT)
