"""What reception changes in the header section of a message; it changes nothing else.

Pure functions over octets with CRLF line ends. A stale Return-Path goes (RFC 5321 4.4); of a submitted message Bcc
goes, and Date and Message-ID come if they are missing (RFC 6409 8.1 to 8.3). Every other field keeps its octets and its place.
"""

import re
from email.utils import formatdate
from secrets import token_hex

# A field with its folded lines. White space before the colon is obsolete but seen (RFC 5322 4.5).
_FIELD = rb"^%s[ \t]*:[^\n]*\n?(?:[ \t][^\n]*\n?)*"
_RETURN_PATH = re.compile(_FIELD % rb"return-path", re.IGNORECASE | re.MULTILINE)
_BCC = re.compile(_FIELD % rb"(?:resent-)?bcc", re.IGNORECASE | re.MULTILINE)
_DATE = re.compile(rb"^date[ \t]*:", re.IGNORECASE | re.MULTILINE)
_MESSAGE_ID = re.compile(rb"^message-id[ \t]*:", re.IGNORECASE | re.MULTILINE)
_STARTS = re.compile(rb">?From |[!-9;-~]+[ \t]*:|\r\n|\Z")  # how a header section begins; an mbox line is no part of the text either


def end(content: bytes) -> int | None:
    """Where the header fields of ``content`` end: the offset of the empty line, 0 if it begins with no field, or None.

    None: no empty line is there (yet).
    """
    if not _STARTS.match(content) or content[:2] == b"\r\n":
        return 0
    found = content.find(b"\r\n\r\n")
    return None if found < 0 else found + 2


def incoming(fields: bytes) -> bytes:
    """``fields`` without Return-Path: whoever put one in was not the final delivery."""
    return _RETURN_PATH.sub(b"", fields) if b"return-path" in fields.lower() else fields


def submitted(fields: bytes, hostname: str, now: float) -> bytes:
    """``fields`` as a submission server passes them on.

    A missing Date becomes ``now`` (seconds since 1970), a missing Message-ID a random one at ``hostname``.
    """
    fields = incoming(fields)
    lowered = fields.lower()
    if b"bcc" in lowered:
        fields = _BCC.sub(b"", fields)
    added = b""
    if not _DATE.search(lowered):
        added += f"Date: {formatdate(now).replace('-0000', '+0000')}\r\n".encode()
    if not _MESSAGE_ID.search(lowered):
        added += f"Message-ID: <{token_hex(16)}@{hostname}>\r\n".encode()
    return added + fields


def separator(rest: bytes) -> bytes:
    """What must stand between trace fields and a message that has no fields, so that its text stays its text."""
    return b"" if _STARTS.match(rest) else b"\r\n"
