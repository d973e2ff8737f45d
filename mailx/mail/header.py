"""Header blocks: fields, their selection, unfolding, and decoding for people (RFC 5322 2.2, RFC 2047).

A header block is taken as it is: lines that are no field are skipped, and nothing here ever raises. All work is
linear in the block.
"""

import re
from binascii import Error, a2b_base64, a2b_qp
from collections.abc import Collection, Iterable
from itertools import islice

from mailx.mail.charset import decode_text

FIELDS_LIMIT = 1000  # fields kept of one header block
BLOCK_LIMIT = 1 << 20  # octets of one header block that are looked at

Field = tuple[bytes, bytes, bytes]  # raw lines with their end, name as written, raw value

# A field: name, colon, and all lines that continue it (RFC 5322 2.2.3). Blanks before the colon are obsolete syntax (4.5).
# Here and in the whole package: a group is made atomic by (?>...), never by a possessive repeat such as (...)*+, which
# Python before 3.11.5 takes wrongly (gh-106052).
_FIELD = re.compile(rb"(?m)^(([!-9;-~]++)[ \t]*+:([^\n]*+(?>(?:\n[ \t][^\n]*+)*))\n?)")
_FOLD = re.compile(rb"\r*\n")
# Fields that may stand several times although RFC 5322 3.6 says once, and whose addresses then all count.
_JOINED = frozenset((b"to", b"cc", b"bcc"))
_SMALL = 65536


def split(content: bytes, start: int, end: int, limit: int = FIELDS_LIMIT) -> list[Field]:
    """The fields between the offsets ``start`` and ``end`` of ``content``, at most ``limit``, in their order."""
    if end - start <= _SMALL:
        return _FIELD.findall(content, start, end)[:limit]
    found = _FIELD.finditer(content, start, min(end, start + BLOCK_LIMIT))
    return [match.groups() for match in islice(found, limit)]  # type: ignore[misc]


def first(fields: Iterable[Field]) -> dict[bytes, bytes]:
    """Lower-case name to raw value: the first field of a name counts; several To, Cc or Bcc are joined by commas."""
    found: dict[bytes, bytes] = {}
    more: dict[bytes, list[bytes]] = {}
    for _, name, value in fields:
        name = name.lower()
        if name not in found:
            found[name] = value
        elif name in _JOINED:
            more.setdefault(name, [found[name]]).append(value)
    for name, values in more.items():
        found[name] = b",".join(values)
    return found


def unfold(value: bytes) -> bytes:
    """``value`` on one line, without surrounding blanks (RFC 5322 2.2.3)."""
    if b"\n" in value:
        value = _FOLD.sub(b"", value)
    return value.strip()


def fields(block: bytes, names: Collection[bytes], but_not: bool = False) -> bytes:
    """What HEADER.FIELDS (``names``, lower case) or, with ``but_not``, HEADER.FIELDS.NOT selects of a raw header block.

    The lines are as they stand in the block, and the empty line that ends the block follows (RFC 9051 6.4.5).
    Unlike the parser this counts no fields: only the first BLOCK_LIMIT octets are looked at, but all that is there.
    """
    if len(block) <= _SMALL:
        return _ended(b"".join([raw for raw, name, _ in _FIELD.findall(block) if (name.lower() in names) is not but_not]))
    chosen = bytearray()  # not a list: millions of short fields fit into a header
    for match in _FIELD.finditer(block, 0, BLOCK_LIMIT):
        if (match[2].lower() in names) is not but_not:
            chosen += match[1]
    return _ended(bytes(chosen))


def _ended(lines: bytes) -> bytes:
    """``lines`` as one header block: the last one ended, then the empty line."""
    if lines and not lines.endswith(b"\n"):
        lines = lines.rstrip(b"\r") + b"\r\n"
    return lines + b"\r\n"


# RFC 2047 2: =?charset[*language]?encoding?text?=. Blanks inside the text are an error that mailers make: taken.
_WORD = re.compile(rb"=\?([^?\s*]{1,60})(?:\*[^?\s]{0,60})?\?([bBqQ])\?([^?\r\n]*+)\?=")
_BETWEEN = re.compile(rb"[ \t\r\n]*\Z")
_NOT_BASE64 = bytes(c for c in range(256) if not (chr(c).isascii() and (chr(c).isalnum() or chr(c) in "+/")))


def decode(value: bytes) -> str:
    """``value`` of a field as a person reads it: unfolded, encoded words decoded (RFC 2047), octets above 127 as UTF-8.

    Neighbouring words of one charset are decoded together, because mailers cut characters in two.
    """
    value = unfold(value)
    if b"=?" not in value:
        return value.decode("ascii") if value.isascii() else decode_text(value, "")
    pieces: list[str] = []
    charset, pending = "", b""  # of the encoded words just seen
    position = 0
    for match in _WORD.finditer(value):
        between = value[position : match.start()]
        word = _decode_word(match[2], match[3])
        name = match[1].decode("ascii", "replace").lower()
        if pending and _BETWEEN.match(between):  # RFC 2047 6.2: blanks between encoded words are not shown
            if name == charset:
                pending += word
            else:
                pieces.append(decode_text(pending, charset))
                charset, pending = name, word
        else:
            if pending:
                pieces.append(decode_text(pending, charset))
            pieces.append(decode_text(between, ""))
            charset, pending = name, word
        position = match.end()
    if pending:
        pieces.append(decode_text(pending, charset))
    pieces.append(decode_text(value[position:], ""))
    return "".join(pieces)


def _decode_word(encoding: bytes, text: bytes) -> bytes:
    if encoding in b"qQ":
        return a2b_qp(text, header=True)
    return decode_base64(text)


def decode_base64(text: bytes) -> bytes:
    """The octets of base64 ``text``; what is no base64 is skipped, a broken end is cut off (RFC 2045 6.8)."""
    try:
        return a2b_base64(text)
    except Error:
        letters = text.partition(b"=")[0].translate(None, _NOT_BASE64)
        spare = len(letters) % 4
        if spare == 1:
            letters = letters[:-1]
        return a2b_base64(letters + b"=" * (-len(letters) % 4))
