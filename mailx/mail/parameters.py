"""Values with parameters: Content-Type and Content-Disposition (RFC 2045 5.1, RFC 2183, RFC 2231).

Parameters keep the form in which the message carries them, with two exceptions: names are lower case, and the
numbered continuations of RFC 2231 3 are joined. Nothing raises; at most PARAMETERS_LIMIT parameters are kept.
"""

import re
from functools import lru_cache
from itertools import islice
from urllib.parse import unquote_to_bytes

from mailx.mail.charset import decode_text
from mailx.mail.header import decode, unfold

PARAMETERS_LIMIT = 100
_VALUE_LIMIT = 65536  # octets of a value that are read: matching takes some 200 times what a quoted string does
_CACHED_LENGTH = 64  # octets; most parts say one of a few short values
Parameters = tuple[tuple[bytes, bytes], ...]  # (lower-case name, value without quoting)

_TYPE = re.compile(rb"\s*+([^\x00-\x20\x7f/;]++)\s*+/\s*+([^\x00-\x20\x7f/;]++)")
_TOKEN = re.compile(rb"\s*+\"?([^\x00-\x20\x7f;\"]++)")
# After the semicolon: name = "quoted" or anything up to the next semicolon (blanks in a bare value: a mailers' error).
_PARAMETER = re.compile(rb';\s*+([^\s=;"]++)\s*+=\s*+(?:"((?>(?:[^"\\]++|\\[\s\S])*))"?+|([^;]*+))')
_ESCAPE = re.compile(rb"\\([\s\S])")
_SECTION = re.compile(rb"([^*]++)\*(\d{1,4})(\*?)\Z")  # RFC 2231 3 and 4.1: name*0 and name*0*
_OUTSIDE = re.compile(rb'[^"(]*+(?>(?:"(?>(?:[^"\\]++|\\[\s\S])*)(?:"|\Z)[^"(]*+)*)')
_COMMENT = re.compile(rb"[()]|\\[\s\S]")


def content_type(value: bytes) -> tuple[bytes, bytes, Parameters] | None:
    """Type, subtype (both lower case) and parameters of a raw Content-Type value; None if it is malformed."""
    return _known_type(value) if len(value) <= _CACHED_LENGTH and b"oundary" not in value else _content_type(value)


def _content_type(value: bytes) -> tuple[bytes, bytes, Parameters] | None:
    value = value[:_VALUE_LIMIT]
    if b"(" in value:
        value = without_comments(value)
    match = _TYPE.match(value)
    if match is None:
        return None
    kind, subtype = match.groups()
    return kind.lower(), subtype.lower(), parse(value, match.end())


_known_type = lru_cache(maxsize=1024)(_content_type)


def disposition(value: bytes) -> tuple[bytes, Parameters] | None:
    """The lower-case token and the parameters of a raw Content-Disposition value; None if it is empty."""
    value = value[:_VALUE_LIMIT]
    if b"(" in value:
        value = without_comments(value)
    match = _TOKEN.match(value)
    if match is None:
        return None
    return match[1].lower(), parse(value, match.end())


def encoding(value: bytes) -> bytes:
    """The lower-case word of a raw Content-Transfer-Encoding value; 7bit, the default, if it has none (RFC 2045 6.1)."""
    return (_known_token(value) if len(value) <= _CACHED_LENGTH else token(value)) or b"7bit"


def token(value: bytes) -> bytes:
    """The lower-case first word of a raw value, ``b""`` if there is none."""
    if b"(" in value:
        value = without_comments(value)
    match = _TOKEN.match(value)
    return match[1].lower() if match else b""


_known_token = lru_cache(maxsize=256)(token)


def parse(value: bytes, start: int) -> Parameters:
    """The parameters of ``value`` from offset ``start`` on; the first of two with the same name counts."""
    if value.find(b";", start) < 0:
        return ()
    if b"\n" in value:
        value = unfold(value[start:])
        start = 0
    found: dict[bytes, bytes] = {}
    numbered = False
    for match in islice(_PARAMETER.finditer(value, start), PARAMETERS_LIMIT):
        name, quoted, bare = match.groups()
        name = name.lower()
        if name in found:
            continue
        if quoted is None:
            found[name] = bare.strip()
        else:
            quoted = quoted.removesuffix(b"\r")  # of a line end, where the quotation never closes
            found[name] = _ESCAPE.sub(rb"\1", quoted) if b"\\" in quoted else quoted
        numbered = numbered or b"*" in name
    return _joined(found) if numbered else tuple(found.items())


def _joined(found: dict[bytes, bytes]) -> Parameters:
    """``found`` with the continuations of RFC 2231 3 put together: ``name`` if plain, ``name*`` if a section is encoded."""
    joined: dict[bytes, bytes] = {}
    sections: dict[bytes, dict[int, tuple[bool, bytes]]] = {}
    for name, value in found.items():
        match = _SECTION.match(name)
        if match is None:
            joined[name] = value
        else:
            sections.setdefault(match[1], {}).setdefault(int(match[2]), (bool(match[3]), value))
    for name, numbers in sections.items():
        if 0 not in numbers or name in joined:
            joined.update((b"%b*%d%b" % (name, number, b"*" if encoded else b""), value) for number, (encoded, value) in numbers.items())
            continue
        run = [numbers[number] for number in range(len(numbers)) if number in numbers]
        if any(encoded for encoded, _ in run):
            prefix = b"" if run[0][0] else b"''"  # the first section carries charset'language'
            joined[name + b"*"] = prefix + b"".join(text if encoded else text.replace(b"%", b"%25") for encoded, text in run)
        else:
            joined[name] = b"".join(text for _, text in run)
    return tuple(joined.items())


def text(parameters: Parameters, name: bytes) -> str:
    """Parameter ``name`` as a person reads it: RFC 2231 if it is there, else RFC 2047 as mailers misuse it; ``""`` if absent."""
    plain = b""
    for key, value in parameters:
        if key == name:
            plain = value
        elif key[:-1] == name and key.endswith(b"*"):
            charset, quote, rest = value.partition(b"'")
            _, second, encoded = rest.partition(b"'")
            if quote and second:
                return decode_text(unquote_to_bytes(encoded), charset.decode("ascii", "replace"))
            return decode_text(unquote_to_bytes(value), "")
    return decode(plain)


def without_comments(value: bytes) -> bytes:
    """``value`` with each comment (RFC 5322 3.2.2, nested ones too) replaced by a blank; quoted strings are kept."""
    pieces: list[bytes] = []
    position, end = 0, len(value)
    while position < end:
        match = _OUTSIDE.match(value, position)
        stop = match.end() if match else end
        pieces.append(value[position:stop])
        if stop >= end:
            break
        position = comment_end(value, stop)
        if position < 0:  # no comment then, and what follows is too precious to lose
            pieces[-1] += value[stop:]
            break
    return b" ".join(pieces)


def comment_end(value: bytes, start: int) -> int:
    """The offset after the comment that opens at ``start``; -1 if it never closes."""
    depth = 0
    for match in _COMMENT.finditer(value, start):
        if match[0] == b"(":
            depth += 1
        elif match[0] == b")":
            depth -= 1
            if depth == 0:
                return match.end()
    return -1
