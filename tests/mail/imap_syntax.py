"""A strict reader of the IMAP data that the server sends: what the rendering is checked with (RFC 9051 9)."""

import re
from itertools import takewhile

from attrs import frozen

Value = bytes | int | None | list["Value"]

_QUOTED = re.compile(rb'"((?:[^"\\\r\n\0\x80-\xff]|\\["\\])*)"')
_LITERAL = re.compile(rb"\{(\d+)\}\r\n")
_NUMBER = re.compile(rb"\d+")


class SyntaxFault(AssertionError):
    """The octets are not what RFC 9051 allows."""


def read(data: bytes) -> Value:
    """The one value that ``data`` writes: lists, strings (bytes), numbers, None for NIL."""
    value, end = _value(data, 0)
    if end != len(data):
        raise SyntaxFault(f"octets after the value: {data[end : end + 20]!r}")
    return value


def _value(data: bytes, position: int) -> tuple[Value, int]:
    if data.startswith(b"(", position):
        return _list(data, position + 1)
    if data.startswith(b"NIL", position):
        return None, position + 3
    if match := _QUOTED.match(data, position):
        return re.sub(rb"\\(.)", rb"\1", match[1]), match.end()
    if match := _LITERAL.match(data, position):
        end = match.end() + int(match[1])
        text = data[match.end() : end]
        if len(text) != int(match[1]) or b"\0" in text:
            raise SyntaxFault("a literal that is cut short or holds NUL")
        return text, end
    if match := _NUMBER.match(data, position):
        return int(match[0]), match.end()
    raise SyntaxFault(f"no value at {position}: {data[position : position + 20]!r}")


def _list(data: bytes, position: int) -> tuple[list[Value], int]:
    found: list[Value] = []
    while not data.startswith(b")", position):
        if found and data.startswith(b" ", position):
            position += 1
        elif found and not (isinstance(found[-1], list) and data.startswith(b"(", position)):  # 1*body, 1*address: no blanks
            raise SyntaxFault(f"no blank at {position}: {data[position - 10 : position + 10]!r}")
        value, position = _value(data, position)
        found.append(value)
    return found, position + 1


@frozen
class Body:
    """What a BODYSTRUCTURE says of one part."""

    type: bytes
    subtype: bytes
    params: dict[bytes, bytes]
    encoding: bytes = b""
    octets: int = 0
    lines: int | None = None
    disposition: Value = None
    children: tuple["Body", ...] = ()
    envelope: Value = None
    message: "Body | None" = None


def body(value: Value, extended: bool = True) -> Body:
    """``value`` read as body (RFC 9051 9: body-type-1part and body-type-mpart); checks the form of every element."""
    assert isinstance(value, list) and value
    if isinstance(value[0], list):
        children = [body(item, extended) for item in takewhile(lambda item: isinstance(item, list), value)]
        value = value[len(children) :]
        subtype = _string(value[0])
        if not extended:
            assert len(value) == 1, value
            return Body(b"multipart", subtype, {}, children=tuple(children))
        assert len(value) == 5, value
        _disposition(value[2]), _language(value[3]), _nstring(value[4])
        return Body(b"multipart", subtype, _params(value[1]), disposition=value[2], children=tuple(children))
    kind, subtype, params = _string(value[0]), _string(value[1]), _params(value[2])
    _nstring(value[3]), _nstring(value[4])
    encoding, octets, rest = _string(value[5]), value[6], value[7:]
    assert isinstance(octets, int)
    lines, inner, message = None, None, None
    if kind == b"message" and subtype in (b"rfc822", b"global"):
        inner, message = rest[0], body(rest[1], extended)
        envelope(inner)
        rest = rest[2:]
    if kind == b"text" or message is not None:
        assert isinstance(rest[0], int)
        lines, rest = rest[0], rest[1:]
    if not extended:
        assert rest == [], rest
        return Body(kind, subtype, params, encoding, octets, lines, None, (), inner, message)
    assert len(rest) == 4, rest
    _nstring(rest[0]), _disposition(rest[1]), _language(rest[2]), _nstring(rest[3])
    return Body(kind, subtype, params, encoding, octets, lines, rest[1], (), inner, message)


def envelope(value: Value) -> list[Value]:
    """``value`` checked as an ENVELOPE: ten elements, of which six are address lists."""
    assert isinstance(value, list) and len(value) == 10, value
    for place in (0, 1, 8, 9):
        _nstring(value[place])
    for place in range(2, 8):
        entries = value[place]
        if entries is None:
            continue
        assert isinstance(entries, list) and entries
        grouped = False
        for entry in entries:
            assert isinstance(entry, list) and len(entry) == 4, entry
            for item in entry:
                _nstring(item)
            if entry[3] is None:
                assert grouped is (entry[2] is None), entry
                grouped = not grouped
        assert not grouped
    return value


def _string(value: Value) -> bytes:
    assert isinstance(value, bytes), value
    return value


def _nstring(value: Value) -> None:
    assert value is None or isinstance(value, bytes), value


def _params(value: Value) -> dict[bytes, bytes]:
    if value is None:
        return {}
    assert isinstance(value, list) and value and len(value) % 2 == 0, value
    return {_string(name): _string(text) for name, text in zip(value[::2], value[1::2], strict=True)}


def _disposition(value: Value) -> None:
    if value is not None:
        assert isinstance(value, list) and len(value) == 2, value
        _string(value[0]), _params(value[1])


def _language(value: Value) -> None:
    assert value is None or isinstance(value, bytes) or (isinstance(value, list) and all(isinstance(item, bytes) for item in value)), value
