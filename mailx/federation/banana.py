"""Banana: nested lists of octet strings and numbers as octets, with limits (Twisted's "Banana" specification, dialect "pb").

A token is a number in base 128, lowest digit first, then one octet above 127 that says what it is: a list of so many
items, a string of so many octets, the number itself, or a word of the vocabulary. Floats are not spoken here.

:class:`Reader` decodes as octets arrive. A long string is put together once, whatever pieces it came in. What exceeds the
limits, or is no Banana, raises :class:`~mailx.federation.banana_limits.Violation`; the reader is of no use afterwards.
"""

from collections.abc import Iterator
from typing import TypeAlias

from mailx.federation.banana_limits import BananaLimits, Violation

Expression: TypeAlias = "int | bytes | list[Expression]"

LIST, INT, STRING, NEG, FLOAT, LONGINT, LONGNEG, VOCAB = range(0x80, 0x88)

# The words of the dialect "pb" that are spoken here. Others of its vocabulary name what is refused anyway.
WORDS = {1: b"None", 5: b"dictionary", 8: b"list", 11: b"tuple", 19: b"version", 26: b"message", 27: b"answer", 28: b"error"}
REFUSED_WORDS = {
    **{2: b"class", 3: b"dereference", 4: b"reference", 6: b"function", 7: b"instance", 9: b"module", 10: b"persistent"},
    **{12: b"unpersistable", 13: b"copy", 14: b"cache", 15: b"cached", 16: b"remote", 17: b"local", 18: b"lcache", 20: b"login"},
    **{21: b"password", 22: b"challenge", 23: b"logged_in", 24: b"not_logged_in", 25: b"cachemessage", 29: b"decref"},
    **{30: b"decache", 31: b"uncache"},
}
VOCABULARY = {**WORDS, **REFUSED_WORDS}
TURN = 2048  # tokens that are read at once: about two milliseconds
_SMALL = tuple(bytes((number,)) for number in range(128))
_PIECE = 4096  # octets; smaller pieces of a string are joined at once
_LARGEST_INT = 2**31 - 1  # beyond it numbers are "long"


def number(value: int) -> bytes:
    """``value`` (0 or more) in base 128."""
    if value < 128:
        return _SMALL[value]
    digits = bytearray()
    while value:
        digits.append(value & 0x7F)
        value >>= 7
    return bytes(digits)


def head(kind: int, value: int) -> bytes:
    """The token of ``kind`` with the number ``value``."""
    return number(value) + bytes((kind,))


def integer(value: int) -> bytes:
    """A whole number as one token."""
    if value >= 0:
        return number(value) + (b"\x81" if value <= _LARGEST_INT else b"\x85")
    return number(-value) + (b"\x83" if value >= -_LARGEST_INT - 1 else b"\x86")


def string(value: bytes) -> bytes:
    """Octets as one token; for short ones, as they are copied."""
    return number(len(value)) + b"\x82" + value


class Reader:
    """Decodes the octets of one connection. ``limits`` may be replaced between expressions."""

    def __init__(self, limits: BananaLimits) -> None:
        self.limits = limits
        self._lists: list[list[Expression]] = []  # those that are not full yet, the outermost first
        self._open: list[int] = []  # how many items each of them still lacks
        self._items = 0  # announced so far in this expression
        self._octets = 0  # of this expression, those of strings as soon as they are announced
        self._rest = b""  # the beginning of a token whose end has not come
        self._later = b""  # what is not looked at yet
        self._parts: list[bytes] = []  # of a string whose end has not come
        self._lacks = 0  # octets of it
        self._complete: Expression = b""

    @property
    def within(self) -> bool:
        """Whether an expression has begun and its end has not come."""
        return bool(self._lists or self._lacks or self._rest or self._later)

    @property
    def more(self) -> bool:
        """Whether there is more to read without more octets: ``feed`` again, at another turn of the reactor."""
        return bool(self._later)

    def feed(self, data: bytes) -> Iterator[tuple[Expression, int]]:
        """The expressions that are complete with ``data``, each with its size in octets. At most TURN tokens are read at once."""
        if self._later:
            data, self._later = self._later + data, b""
        elif self._lacks:
            if len(data) < self._lacks:
                self._lacks -= len(data)
                self._keep(data)
                return
            self._parts.append(data[: self._lacks] if len(data) > self._lacks else data)
            data = data[self._lacks :]
            whole = b"".join(self._parts)
            self._parts, self._lacks = [], 0
            if self._add(whole):
                yield self._done()
        if self._rest:
            data = self._rest + data
            self._rest = b""
        yield from self._tokens(data)

    def _keep(self, data: bytes) -> None:
        """One more piece of a string; small ones are joined, so that a string in single octets costs no more than another."""
        if self._parts and len(data) + len(self._parts[-1]) <= _PIECE:
            self._parts[-1] += data
        else:
            self._parts.append(data)

    def _tokens(self, data: bytes) -> Iterator[tuple[Expression, int]]:
        at, end = 0, len(data)
        digits, left = self.limits.digits, TURN
        while at < end:
            if not left:
                self._later = data[at:]
                return
            left -= 1
            value, shift, begin = 0, 0, at
            octet = data[at]
            while octet < 0x80:
                value |= octet << shift
                shift += 7
                at += 1
                if at - begin > digits:
                    raise Violation("a number is too long")
                if at == end:
                    self._rest = data[begin:]
                    return
                octet = data[at]
            if at == begin:
                raise Violation("a token has no number")
            at += 1
            self._octets += at - begin
            if octet == STRING:
                self._announce(value)
                if value > end - at:
                    if at < end:
                        self._parts.append(data[at:])
                    self._lacks = value - (end - at)
                    return
                complete = self._add(data[at : at + value])
                at += value
            else:
                complete = self._token(octet, value)
            if complete:
                yield self._done()
                digits = self.limits.digits

    def _announce(self, length: int) -> None:
        if length > self.limits.string:
            raise Violation(f"a string is longer than {self.limits.string} octets")
        self._octets += length
        if self._octets > self.limits.octets:
            raise Violation(f"an expression is longer than {self.limits.octets} octets")

    def _token(self, kind: int, value: int) -> bool:
        """One token that is no string; whether it completes an expression."""
        if self._octets > self.limits.octets:
            raise Violation(f"an expression is longer than {self.limits.octets} octets")
        if kind == LIST:
            return self._begin(value)
        if kind in (INT, LONGINT):
            return self._add(value)
        if kind == VOCAB:
            word = VOCABULARY.get(value)
            if word is None:
                raise Violation("a word is not in the vocabulary")
            return self._add(word)
        if kind in (NEG, LONGNEG):
            return self._add(-value)
        raise Violation("floats are not spoken here" if kind == FLOAT else "a token is of no known kind")

    def _begin(self, length: int) -> bool:
        self._items += length
        if self._items > self.limits.items:
            raise Violation(f"an expression has more than {self.limits.items} items")
        if len(self._lists) >= self.limits.depth:
            raise Violation(f"lists are nested more than {self.limits.depth} deep")
        if not length:
            return self._add([])
        self._lists.append([])
        self._open.append(length)
        return False

    def _add(self, item: Expression) -> bool:
        """Put ``item`` where it belongs; whether the expression is complete with it."""
        lists, left = self._lists, self._open
        while lists:
            lists[-1].append(item)
            left[-1] -= 1
            if left[-1]:
                return False
            item = lists.pop()
            left.pop()
        self._complete = item
        return True

    def _done(self) -> tuple[Expression, int]:
        """The complete expression and its size; the next one may begin."""
        done = self._complete, self._octets
        self._complete = b""
        self._octets = self._items = 0
        return done
