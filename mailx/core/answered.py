"""Which messages a report or an automatic answer answers, by what it says of them. Pure.

Reports of other servers come from nobody (the null reverse-path), so nobody can be asked whether they are known. What they carry
is the header of what they report on (RFC 3462), its envelope id (RFC 3464 2.2.1), or its Message-ID as an answer (RFC 3834 3.1.5).
"""

import re
from collections.abc import Iterator

from mailx.mail import mime, threads
from mailx.mail.mime import Part

OCTETS = 262144  # of a report that are looked through
MOST = 8  # identifiers
_LENGTH = 500  # octets of one
_HEAD = 65536
_HEADERS = (b"rfc822-headers", b"global-headers")
_STATUS = (b"delivery-status", b"global-delivery-status")
_MESSAGE_ID = re.compile(rb"^message-id:[ \t]*(?:\r?\n[ \t]+)?(<[^<>\r\n]{1,500}>)", re.IGNORECASE | re.MULTILINE)
_ENVELOPE_ID = re.compile(rb"^original-envelope-id:[ \t]*([!-~]{1,100})[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)


def answered(content: bytes) -> tuple[str, ...]:
    """Message-IDs and envelope ids that ``content`` says it answers, at most MOST."""
    content = content[:OCTETS]
    root = mime.parse(content)
    found: dict[bytes, None] = {}
    for identifier in _identifiers(content, root):
        if len(identifier) <= _LENGTH:
            found[identifier] = None
        if len(found) == MOST:
            break
    return tuple([identifier.decode("utf-8", "replace") for identifier in found])


def _identifiers(content: bytes, root: Part) -> Iterator[bytes]:
    for part in root.walk():
        if part.type == b"message" and part.message is not None:
            yield threads.message_id(part.message.named.get(b"message-id", b""))
        elif part.type in (b"text", b"message") and part.subtype in _HEADERS:
            yield from _first(_MESSAGE_ID, content, part)
        elif part.type == b"message" and part.subtype in _STATUS:
            yield from _first(_ENVELOPE_ID, content, part)
    for name in (b"in-reply-to", b"references"):
        yield from threads.message_ids(root.named.get(name, b""))[-MOST:]


def _first(pattern: "re.Pattern[bytes]", content: bytes, part: Part) -> Iterator[bytes]:
    found = pattern.search(content, part.body_start, min(part.body_end, part.body_start + _HEAD))
    if found is not None:
        yield found[1].removeprefix(b"<").removesuffix(b">")
