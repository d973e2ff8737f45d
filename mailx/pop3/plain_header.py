"""Header sections for clients that never said UTF8 (RFC 6856 3.1): what is not ASCII becomes encoded words where words may stand.

Where none may (an address with a name in UTF-8, a trace field) the octets become question marks: RFC 6858 calls that a
surrogate, which shows the message and cannot be answered. The message itself stays as it is.
"""

import re

from mailx.mail.field_words import Unwritable, seven_bit_field

_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:([^\n]*\n?(?:[ \t][^\n]*\n?)*)|[^\n]*\n?")
_HIGH = re.compile(rb"[\x80-\xff]+")


def in_ascii(head: bytes) -> bytes:
    """``head`` (fields with their line ends) with nothing above 127 left."""
    if head.isascii():
        return head
    return b"".join([_plain(match) for match in _FIELD.finditer(head)])


def _plain(match: "re.Match[bytes]") -> bytes:
    field = match[0]
    if field.isascii():
        return field
    if match[1] is not None:
        try:
            written = seven_bit_field(match[1], match[2].strip(b" \t\r\n"))
        except Unwritable:
            pass
        else:
            if written.isascii():
                return written
    return _HIGH.sub(lambda found: b"?" * _characters(found[0]), field)


def _characters(octets: bytes) -> int:
    return len(octets.decode("utf-8", "replace"))
