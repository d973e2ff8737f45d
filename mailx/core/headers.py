"""What reception changes in the header section of a message; it changes nothing else.

Pure functions over octets with CRLF line ends. A stale Return-Path goes (RFC 5321 4.4), and so does what others say in
this server's name (RFC 8601 5); of a submitted message Bcc goes, and Date and Message-ID come if they are missing
(RFC 6409 8.1 to 8.3). Every other field keeps its octets and its place.
"""

import re
from itertools import islice
from secrets import token_hex

from mailx.mail.times import date_field

# A field with its folded lines. White space before the colon is obsolete but seen (RFC 5322 4.5).
_FIELD = rb"^%s[ \t]*:[^\n]*\n?(?:[ \t][^\n]*\n?)*"
_RETURN_PATH = re.compile(_FIELD % rb"return-path", re.IGNORECASE | re.MULTILINE)
_BCC = re.compile(_FIELD % rb"(?:resent-)?bcc", re.IGNORECASE | re.MULTILINE)
_DATE = re.compile(rb"^date[ \t]*:", re.IGNORECASE | re.MULTILINE)
_MESSAGE_ID = re.compile(rb"^message-id[ \t]*:", re.IGNORECASE | re.MULTILINE)
_IDENTIFIER = re.compile(rb"^message-id[ \t]*:\s*<([^<>\s]{1,900})>", re.IGNORECASE | re.MULTILINE)
_RECEIVED = re.compile(rb"^received[ \t]*:", re.MULTILINE)
_RESULTS = re.compile(_FIELD % rb"authentication-results", re.IGNORECASE | re.MULTILINE)
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"?|\\.?|[();]|[^\s"\\();]+', re.DOTALL)
_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)
_FIELDS_READ = 30  # of Authentication-Results; what more there are all go
_TOKENS = 30  # before the first semicolon of one
_OCTETS = 1024  # of one, to find that semicolon in
_STARTS = re.compile(rb">?From |[!-9;-~]+[ \t]*:|\r\n|\Z")  # how a header section begins; an mbox line is no part of the text either


def end(content: bytes) -> int | None:
    """Where the header fields of ``content`` end: the offset of the empty line, 0 if it begins with no field, or None.

    None: no empty line is there (yet).
    """
    if not _STARTS.match(content) or content[:2] == b"\r\n":
        return 0
    found = content.find(b"\r\n\r\n")
    return None if found < 0 else found + 2


def incoming(fields: bytes, hostname: str = "") -> bytes:
    """``fields`` without Return-Path: whoever put one in was not the final delivery.

    With a ``hostname`` every Authentication-Results field goes that claims to be from that server.
    """
    lowered = fields.lower()
    if b"return-path" in lowered:
        fields = _RETURN_PATH.sub(b"", fields)
    return unclaimed(fields, hostname) if hostname and b"authentication-results" in lowered else fields


def unclaimed(fields: bytes, hostname: str) -> bytes:
    """``fields`` without every Authentication-Results in the name of ``hostname``; bounded, for it runs in the reactor's thread."""
    ours = re.compile(re.escape(hostname.lower().encode()) + rb"\.?(?![a-z0-9_.-])")
    kept: list[bytes] = []
    position = 0
    for match in islice(_RESULTS.finditer(fields), _FIELDS_READ):
        kept += (fields[position : match.start()], b"" if _claims(fields, match, ours) else match[0])
        position = match.end()
    return b"".join((*kept, _RESULTS.sub(b"", fields[position:])))


def _claims(fields: bytes, field: re.Match[bytes], ours: re.Pattern[bytes]) -> bool:
    """Whether an Authentication-Results ``field`` stands under ``ours``, or in a form that readers may take for it.

    The name may stand among nested comments, and in quotes with escapes (RFC 8601 2.2). A field that takes this server too long to
    read claims it.
    """
    depth = 0
    name = b""
    start = field.start() + field[0].index(b":") + 1
    for count, token in enumerate(_TOKEN.finditer(fields, start, min(field.end(), start + _OCTETS))):
        word = token[0]
        if word == b";" and not depth:
            return False
        if count > _TOKENS:
            return True
        if word in b"()":
            depth = depth + 1 if word == b"(" else max(0, depth - 1)
        elif not depth:
            word = _ESCAPE.sub(rb"\1", word).strip(b'"').strip().lower()
            name += word
            if ours.match(word) or ours.match(name):
                return True
    return field.end() - start > _OCTETS


def hops(fields: bytes) -> int:
    """How many servers the message has passed: the number of its Received fields."""
    lowered = fields.lower()
    return len(_RECEIVED.findall(lowered)) if b"received" in lowered else 0


def message_id(content: bytes) -> bytes:
    """The identifier of the message, without its angle brackets; empty if there is none."""
    fields = content[: end(content)]
    found = _IDENTIFIER.search(fields)
    return found[1] if found else b""


def top(content: bytes) -> int:
    """Where trace fields may be put into a stored message: behind its Return-Path, which stays the first line."""
    return content.find(b"\n") + 1 if content[:12] == b"Return-Path:" else 0


def submitted(fields: bytes, hostname: str, now: float) -> bytes:
    """``fields`` as the submission server ``hostname`` passes them on.

    A missing Date becomes ``now`` (seconds since 1970), a missing Message-ID a random one at ``hostname``.
    """
    fields = incoming(fields, hostname)
    lowered = fields.lower()
    if b"bcc" in lowered:
        fields = _BCC.sub(b"", fields)
    added = b""
    if not _DATE.search(lowered):
        added += f"Date: {date_field(int(now))}\r\n".encode()
    if not _MESSAGE_ID.search(lowered):
        added += f"Message-ID: <{token_hex(16)}@{hostname}>\r\n".encode()
    return added + fields


def separator(rest: bytes) -> bytes:
    """What must stand between trace fields and a message that has no fields, so that its text stays its text."""
    return b"" if _STARTS.match(rest) else b"\r\n"
