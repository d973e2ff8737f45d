"""Tokens of one IMAP command (RFC 9051 9): a cursor over its lines and literals.

A command arrives as lines with literals between them; ``Tokens`` walks over both as one text. Whatever the
grammar does not allow raises ``Bad``; the command was collected whole before, so nothing is left in the stream.
"""

import re
from calendar import timegm
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TypeVar

from attrs import frozen

from mailx.imap import utf7
from mailx.imap.answers import Bad, No

SET_LIMIT = 16384  # ranges of one sequence set
FLAGS_LIMIT = 256  # flags of one list
NESTING_LIMIT = 50
NUMBER_LIMIT = 0xFFFFFFFF
MODSEQ_LIMIT = 0x7FFFFFFFFFFFFFFF

Ranges = tuple[tuple[int | None, int | None], ...]
SAVED: Ranges = ((0, 0),)  # what ``$`` stands for, the result of an earlier search (RFC 5182 2.1); zero is in no other set

LITERAL = re.compile(rb"(~?)\{([0-9]+)(\+?)\}\Z")
_ATOM = re.compile(rb'[^\x00-\x20(){%*"\\\]\x7f-\xff]+')
_ASTRING_ATOM = re.compile(rb'[^\x00-\x20(){%*"\\\x7f-\xff]+')
_LIST_ATOM = re.compile(rb'[^\x00-\x20(){"\\\x7f-\xff]+')
_TAG = re.compile(rb'[^\x00-\x20(){%*"\\+\x7f-\xff]+')
_QUOTED = re.compile(rb'"((?:[^"\\\x00\r\n]|\\["\\])*)"')
_ESCAPE = re.compile(rb"\\(.)")
_NUMBER = re.compile(rb"[0-9]{1,19}")
_BASE64 = re.compile(rb"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)|(?:[A-Za-z0-9+/]{4})+|=")
_FLAG = re.compile(rb'\\?[^\x00-\x20(){%*"\\\]\x7f-\xff]+')
_RANGE = rb"(?:[1-9][0-9]{0,9}|\*)(?::(?:[1-9][0-9]{0,9}|\*))?"
_SET = re.compile(_RANGE + rb"(?:," + _RANGE + rb")*(?![0-9:*,])")
_DATE_TIME = re.compile(rb'"([ 0-9][0-9])-([A-Za-z]{3})-([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) ([+-])([0-9]{2})([0-9]{2})"')
_DATE = re.compile(rb'("?)([0-9]{1,2})-([A-Za-z]{3})-([0-9]{4})\1')
_MONTHS = {name: number for number, name in enumerate(b"jan feb mar apr may jun jul aug sep oct nov dec".split(), 1)}
_MONTH_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


T = TypeVar("T")
_REMEMBERED = 512  # octets of a text that is remembered


@frozen
class Announced:
    """A literal announced and not read yet."""

    size: int
    waits: bool  # the client waits for a continuation request
    binary: bool  # literal8 (RFC 9051 4.3.1): octets of any value


class Missing(Exception):
    """The text ends in a literal that has not been read yet (only while a command still arrives)."""


class Tokens:
    """A cursor: every method takes what it is named after, or raises Bad."""

    utf8 = False  # mailbox names are UTF-8, not modified UTF-7 (RFC 9051 5.1, RFC 6855 3)

    def __init__(self, lines: Sequence[bytes], literals: Sequence[bytes] = (), at: int = 0) -> None:
        self._lines = lines
        self._literals = literals
        self._index = 0
        self._text = lines[0]
        self._at = at

    def _match(self, pattern: re.Pattern[bytes]) -> re.Match[bytes] | None:
        match = pattern.match(self._text, self._at)
        if match is not None:
            self._at = match.end()
        return match

    def match(self, pattern: re.Pattern[bytes]) -> bytes:
        """What ``pattern`` matches here."""
        match = self._match(pattern)
        if match is None:
            raise Bad(b"Syntax error")
        return match[0]

    def peek(self) -> bytes:
        """The next octet, or nothing at the end."""
        return self._text[self._at : self._at + 1]

    def take(self, octets: bytes) -> bool:
        """Whether ``octets`` come next; they are taken if so."""
        if self._text.startswith(octets, self._at):
            self._at += len(octets)
            return True
        return False

    def take_word(self, word: bytes) -> bool:
        """Whether ``word`` (in capitals) comes next as a whole atom, in any case; it is taken if so."""
        match = _ATOM.match(self._text, self._at)
        if match is None or match[0].upper() != word:
            return False
        self._at = match.end()
        return True

    def expect(self, octets: bytes) -> None:
        if not self.take(octets):
            raise Bad(b"Syntax error")

    def space(self) -> None:
        if not self.take(b" "):
            raise Bad(b"Missing argument" if self.at_end() else b"Syntax error")

    def short_rest(self, limit: int) -> bytes | None:
        """All that is left, taken, if it is no more than ``limit`` octets without a literal; else None, and nothing is taken."""
        if self._index < len(self._literals) or len(self._text) - self._at > limit:
            return None
        rest = self._text[self._at :]
        self._at = len(self._text)
        return rest

    def at_end(self) -> bool:
        return self._at == len(self._text)

    def end(self) -> None:
        if self._at != len(self._text):
            raise Bad(b"Too many arguments")

    def tag(self) -> bytes:
        match = self._match(_TAG)
        if match is None:
            raise Bad(b"Invalid tag")
        return match[0]

    def atom(self) -> bytes:
        match = self._match(_ATOM)
        if match is None:
            raise Bad(b"Atom expected")
        return match[0]

    def keyword(self) -> bytes:
        """An atom that is a word of the protocol, in capitals."""
        return self.atom().upper()

    def string(self) -> bytes:
        """A quoted string or a literal."""
        match = self._match(_QUOTED)
        if match is not None:
            return _ESCAPE.sub(rb"\1", match[1]) if b"\\" in match[1] else match[1]
        return self._literal()

    def octets(self) -> bytes | None:
        """A string, a literal8 or NIL (RFC 5464 5)."""
        match = LITERAL.match(self._text, self._at)
        return self._literal(binary=True) if match is not None and match[1] else self.nstring()

    def announced(self) -> Announced:
        """The announcement of a literal that is still to come, at the end of the text."""
        match = self._match(LITERAL)
        if match is None:
            raise Bad(b"Literal expected")
        return Announced(literal_size(match), not match[3], bool(match[1]))

    @property
    def arriving(self) -> bool:
        """Whether a literal that is still to come stands next."""
        return self._index == len(self._literals) and LITERAL.match(self._text, self._at) is not None

    def base64(self) -> bytes:
        """An initial response (RFC 4959), still encoded; ``=`` alone is the empty one."""
        match = self._match(_BASE64)
        if match is None:
            raise Bad(b"Invalid base64")
        return match[0]

    def _literal(self, binary: bool = False) -> bytes:
        match = self._match(LITERAL)
        if match is None:
            raise Bad(b"String expected")
        if match[1] and not binary:
            raise Bad(b"A binary literal has no place here")
        if self._index >= len(self._literals):
            raise Missing
        literal = self._literals[self._index]
        self._index += 1
        self._text = self._lines[self._index]
        self._at = 0
        if not binary and b"\0" in literal:
            raise Bad(b"NUL is not allowed")
        return literal

    def astring(self) -> bytes:
        match = self._match(_ASTRING_ATOM)
        return match[0] if match is not None else self.string()

    def nstring(self) -> bytes | None:
        if self._text[self._at : self._at + 3].upper() == b"NIL":
            self._at += 3
            return None
        return self.string()

    def number(self, limit: int = NUMBER_LIMIT) -> int:
        match = self._match(_NUMBER)
        if match is None or int(match[0]) > limit:
            raise Bad(b"Number expected")
        return int(match[0])

    def mailbox(self) -> str:
        """A mailbox name, INBOX in capitals (RFC 9051 5.1)."""
        return mailbox_name(self.astring(), self.utf8)

    def pattern(self) -> str:
        """A list-mailbox: a mailbox name that may hold ``%`` and ``*``."""
        match = self._match(_LIST_ATOM)
        raw = match[0] if match is not None else self.string()
        try:
            return raw.decode() if self.utf8 else utf7.decode(raw)
        except (utf7.UTF7Error, UnicodeDecodeError):
            return raw.decode("ascii", "replace")  # a pattern that hardly matches anything

    def sequence_set(self) -> Ranges:
        """Ranges with None for ``*``, each as written; SAVED for ``$``."""
        if self.take(b"$"):
            return SAVED
        match = self._match(_SET)
        if match is None:
            raise Bad(b"Invalid sequence set")
        parts = match[0].split(b",")
        if len(parts) > SET_LIMIT:
            raise Bad(b"Sequence set too long", b"LIMIT")
        return tuple(map(_range, parts))

    def flag(self) -> str:
        match = self._match(_FLAG)
        if match is None:
            raise Bad(b"Invalid flag")
        return match[0].decode("ascii")

    def flag_list(self) -> tuple[str, ...]:
        """A parenthesised list of flags."""
        self.expect(b"(")
        if self.take(b")"):
            return ()
        flags = self.flags()
        self.expect(b")")
        return flags

    def flags(self) -> tuple[str, ...]:
        """At least one flag."""
        flags = [self.flag()]
        while self.take(b" "):
            if len(flags) == FLAGS_LIMIT:
                raise Bad(b"Too many flags", b"LIMIT")
            flags.append(self.flag())
        return tuple(flags)

    def date_time(self) -> int:
        """Seconds since 1970."""
        match = self._match(_DATE_TIME)
        if match is None:
            raise Bad(b"Invalid date-time")
        hour, minute, second, zone_hour, zone_minute = (int(match[group]) for group in (4, 5, 6, 8, 9))
        if hour > 23 or minute > 59 or second > 60 or zone_minute > 59:
            raise Bad(b"Invalid date-time")
        year, month, day = _day(match[3], match[2], match[1])
        zone = (zone_hour * 60 + zone_minute) * (60 if match[7] == b"+" else -60)
        return timegm((year, month, day, hour, minute, second, 0, 0, 0)) - zone

    def date(self) -> tuple[int, int, int]:
        """Year, month, day."""
        match = self._match(_DATE)
        if match is None:
            raise Bad(b"Invalid date")
        return _day(match[4], match[3], match[2])


def _range(part: bytes) -> tuple[int | None, int | None]:
    first, colon, last = part.partition(b":")
    low = _number(first)
    return (low, _number(last)) if colon else (low, low)


def _number(digits: bytes) -> int | None:
    if digits == b"*":
        return None
    number = int(digits)
    if number > NUMBER_LIMIT:
        raise Bad(b"Invalid sequence set")
    return number


def _day(year: bytes, month: bytes, day: bytes) -> tuple[int, int, int]:
    number = _MONTHS.get(month.lower())
    if number is None or not 1 <= int(day) <= _MONTH_DAYS[number - 1] or int(year) < 1:
        raise Bad(b"Invalid date")
    return int(year), number, int(day)


def literal_size(literal: re.Match[bytes]) -> int:
    """The octets that a match of LITERAL announces; more digits than any size needs are a huge size."""
    return int(literal[2][:20])


def mailbox_name(raw: bytes, utf8: bool = False) -> str:
    """The mailbox that ``raw`` names; raises No for malformed modified UTF-7, or malformed UTF-8 of a client that speaks that."""
    if raw.upper() == b"INBOX":
        return "INBOX"
    if utf8:
        try:
            name = raw.decode()
        except UnicodeDecodeError:
            raise No(b"Mailbox name is not valid UTF-8", b"CANNOT") from None
        if not name:
            raise No(b"Mailbox name is empty", b"CANNOT")
        return name
    try:
        name = utf7.decode(raw)
    except utf7.UTF7Error:
        raise No(b"Mailbox name is not valid modified UTF-7", b"CANNOT") from None
    if not name:
        raise No(b"Mailbox name is empty", b"CANNOT")
    return name


def remembered(parse: Callable[[Tokens], T]) -> Callable[[Tokens], T]:
    """``parse`` of everything to the end, done once for each short text: mail programs say the same few things all day.

    Only for what holds no secret and depends on nothing but the text.
    """

    @lru_cache(256)
    def known(text: bytes, utf8: bool) -> T:
        tokens = Tokens([text])
        tokens.utf8 = utf8
        return parse(tokens)

    def parse_or_remember(tokens: Tokens) -> T:
        rest = tokens.short_rest(_REMEMBERED)
        return parse(tokens) if rest is None else known(rest, tokens.utf8)

    return parse_or_remember
