"""Jelly: the plain values of Python as Banana (Twisted's "Jelly"): None, booleans, integers, octets, texts, lists, dictionaries.

Nothing else is spoken: no classes, instances, functions, references (so no cycles), sets or floats. What has another form
raises :class:`~mailx.federation.banana_limits.Violation`; what of ours cannot be said raises TypeError or ValueError, before
anything of it is sent. Encoding makes octets at once, without the nested lists between.
"""

from collections.abc import Mapping
from typing import cast

from mailx.federation.banana import LIST, Expression, head, integer, number, string
from mailx.federation.banana_limits import BananaLimits, Violation
from mailx.federation.service import INTEGER, Fields, Plain

_DEPTH = 12  # of values within values, ours and theirs; each is one or two lists deep
_AROUND = 16  # items of an expression around its fields
LIMITS = BananaLimits()  # of what is said; every peer takes as much
_NAME = 100  # octets of a field's name
_NONE = b"\x01\x80\x01\x87"
_TRUE = b"\x02\x80\x07\x82boolean\x04\x82true"
_FALSE = b"\x02\x80\x07\x82boolean\x05\x82false"
_TEXT = b"\x02\x80\x07\x82unicode"
_PAIR = b"\x02\x80"
_LIST = b"\x08\x87"
_DICTIONARY = b"\x05\x87"
NOTHING = b"\x01\x80\x0b\x87"  # an empty tuple


def encode(fields: Fields, begin: bytes = b"") -> bytes:
    """A dictionary as Banana after ``begin``. Raises TypeError for what is not plain, ValueError for what is too large."""
    out = [begin]
    items = _dictionary(fields, out, _DEPTH)
    encoded = b"".join(out)
    if len(encoded) > LIMITS.octets or items > LIMITS.items - _AROUND:
        raise ValueError("an expression is too large")
    return encoded


def _dictionary(fields: Fields, out: list[bytes], depth: int) -> int:
    """Append the pieces; how many items of lists they are."""
    if not isinstance(fields, Mapping):
        raise TypeError("no fields")
    if not depth:
        raise ValueError("values are nested too deep")
    items = 1
    out.append(head(LIST, len(fields) + 1) + _DICTIONARY)
    for name, value in fields.items():
        if not isinstance(name, str):
            raise TypeError("the name of a field is no text")
        out.append(_PAIR + _TEXT + string(name.encode()))
        items += 5 + _value(value, out, depth - 1)
    return items


def _value(value: Plain, out: list[bytes], depth: int) -> int:
    """Append the pieces; how many items of lists they are, besides itself."""
    if isinstance(value, (bytes, str)):
        return _string(value, out)
    if value is None:
        out.append(_NONE)
        return 1
    if isinstance(value, bool):
        out.append(_TRUE if value else _FALSE)
        return 2
    if isinstance(value, int):
        if not -INTEGER <= value <= INTEGER:
            raise ValueError("a number is too large")
        out.append(integer(value))
        return 0
    if isinstance(value, (list, tuple)):
        if not depth:
            raise ValueError("values are nested too deep")
        out.append(head(LIST, len(value) + 1) + _LIST)
        return 1 + len(value) + sum(_value(each, out, depth - 1) for each in value)
    return _dictionary(value, out, depth)


def _string(value: bytes | str, out: list[bytes]) -> int:
    if len(value) > LIMITS.string:
        raise ValueError("a string is too long")
    if isinstance(value, str):
        out.append(_TEXT + string(value.encode()))
        return 2
    out.append(number(len(value)) + b"\x82")
    out.append(value)
    return 0


def decode(expression: Expression) -> dict[str, Plain]:
    """The dictionary that ``expression`` is. Raises Violation."""
    value = _plain(expression, _DEPTH)
    if not isinstance(value, dict):
        raise Violation("a dictionary was expected")
    return value


def _plain(expression: Expression, depth: int) -> Plain:
    if isinstance(expression, bytes):
        return expression
    if isinstance(expression, int):
        if not -INTEGER <= expression <= INTEGER:
            raise Violation("a number is longer than 64 bits")
        return expression
    if not depth:
        raise Violation("values are nested too deep")
    kind = expression[0] if expression else None
    if kind == b"unicode":
        return _text(expression)
    if kind == b"dictionary":
        return _fields(expression, depth)
    if kind == b"list":
        return [_plain(each, depth - 1) for each in expression[1:]]
    if kind == b"boolean" and len(expression) == 2 and expression[1] in (b"true", b"false"):
        return expression[1] == b"true"
    if kind == b"None" and len(expression) == 1:
        return None
    raise Violation("a value is of a type that is not spoken here")


def _text(expression: list[Expression]) -> str:
    if len(expression) == 2 and isinstance(expression[1], bytes):
        try:
            return expression[1].decode()
        except UnicodeDecodeError:
            pass
    raise Violation("a text is not UTF-8")


def _fields(expression: list[Expression], depth: int) -> dict[str, Plain]:
    fields: dict[str, Plain] = {}
    for pair in expression[1:]:
        if not isinstance(pair, list) or len(pair) != 2:
            raise Violation("a dictionary has an item that is no pair")
        name = pair[0]
        if isinstance(name, list):
            if len(name) != 2 or name[0] != b"unicode":
                raise Violation("the name of a field is no text")
            text = _text(name)
        elif isinstance(name, bytes):  # Python 2 peers of PB, and those that save octets
            text = _text([b"unicode", name])
        else:
            raise Violation("the name of a field is no text")
        if len(text) > _NAME:
            raise Violation("the name of a field is too long")
        if text in fields:
            raise Violation("a field is given twice")
        fields[text] = _plain(pair[1], depth - 1)
    return fields


def empty(expression: Expression) -> bool:
    """Whether it is a tuple without items: methods take named arguments only."""
    return cast(object, expression) == [b"tuple"]
