"""One command as it arrives: its lines and its literals, within bounds (RFC 9051 4.3, RFC 7888).

A command that is refused while it arrives is read to its end where the client sends on without waiting, so that
nothing of it is ever taken for a command. What is too large even to skip ends the session: ``Farewell``.
"""

import re
from collections.abc import Callable

from attrs import frozen

from mailx.core import reading_connection
from mailx.core.input import BareLine, Input, LongLine
from mailx.imap.answers import Bad, Ended, tagged
from mailx.imap.tokens import LITERAL, Missing, Tokens, literal_size

_STREAMED = frozenset((b"APPEND", b"REPLACE", b"UID REPLACE"))  # their messages are taken by the command as they arrive
_USUAL = re.compile(rb"([A-Z0-9]+) ((?:UID )?(?!UID(?![^ ]))[A-Z]+(?![^ ]))", re.IGNORECASE)


class Farewell(reading_connection.Farewell):
    """The session ends with BYE and ``text``."""

    def __init__(self, text: bytes, code: bytes = b"") -> None:
        super().__init__(tagged(b"*", b"BYE", text, code))


class Refusal(Exception):
    """A command was refused while it arrived, and nothing of it is left in the stream."""

    def __init__(self, tag: bytes, answer: Ended) -> None:
        super().__init__(tag)
        self.tag = tag
        self.answer = answer


@frozen
class Limits:
    """Octets a command may have: one line, one literal, everything, and what is skipped of a refused one."""

    line: int
    literal: int
    total: int
    skip: int


BEFORE_LOGIN = Limits(line=32768, literal=1024, total=49152, skip=65536)  # a line may be the longest ID (RFC 2971 3.3)


def after_login(append_size: int) -> Limits:
    return Limits(line=65536, literal=8192, total=131072, skip=append_size + 65536)


@frozen
class Command:
    """A command that has arrived, but for what ``unread`` announces: its last line, which ends in a literal that was not taken."""

    tag: bytes
    name: bytes  # in capitals, "UID FETCH" for the UID forms
    tokens: Tokens
    unread: bytes = b""


async def receive(source: Input, limits: Limits, ask: Callable[[], None], streams: bool) -> Command:
    """The next command. ``ask`` sends a continuation request; ``streams``: what APPEND and REPLACE bring is left unread
    behind the name of the mailbox.

    Raises Refusal, Farewell, Hangup.
    """
    line = await _line(source, limits, b"")
    usual = None if line.endswith(b"}") else _USUAL.match(line)
    if usual is not None:  # a shorter way to the same
        return Command(usual[1], usual[2].upper(), Tokens([line], at=usual.end()))
    lines = [line]
    literals: list[bytes] = []
    tag, name = tag_of(lines[0]), b""
    total = len(lines[0])
    try:
        name = name_of(lines[0])
        while (literal := LITERAL.search(lines[-1])) is not None:
            if streams and name in _STREAMED and _has_mailbox(name, _arguments(lines, literals)):
                return Command(tag, name, _arguments(lines, literals), lines[-1])
            size, waits = literal_size(literal), not literal[3]
            total += size
            if size > limits.literal or total > limits.total:
                raise Bad(b"Literal too large", b"TOOBIG")
            if waits:
                ask()
            literals.append(await source.exactly(size))
            lines.append(await _line(source, limits, tag))
            total += len(lines[-1])
    except Ended as answer:
        await skip(source, limits, lines[-1])
        raise Refusal(tag, answer) from None
    return Command(tag, name, _arguments(lines, literals))


def name_of(line: bytes) -> bytes:
    """The name of a command; raises Bad."""
    tokens = Tokens([line])
    tokens.tag()
    tokens.space()
    name = tokens.keyword()
    if name == b"UID":
        tokens.space()
        name += b" " + tokens.keyword()
    return name


def tag_of(line: bytes) -> bytes:
    """The tag to answer a broken command with: its own if it has a valid one."""
    try:
        return Tokens([line]).tag()
    except Bad:
        return b"*"


def _arguments(lines: list[bytes], literals: list[bytes]) -> Tokens:
    tokens = Tokens(lines, literals)
    tokens.tag()
    tokens.space()
    if tokens.keyword() == b"UID":
        tokens.space()
        tokens.keyword()
    return tokens


def _has_mailbox(name: bytes, tokens: Tokens) -> bool:
    """Whether the name of the mailbox has arrived, so that the next literal is not that; what is malformed is found later."""
    try:
        tokens.space()
        if name != b"APPEND":
            tokens.sequence_set()
            tokens.space()
        tokens.astring()
    except Missing:
        return False
    except Bad:
        return True
    return True


async def _line(source: Input, limits: Limits, tag: bytes) -> bytes:
    """The next line of a command that has ``tag``, or begins here if that is empty."""
    try:
        return await source.line(limits.line)
    except LongLine as long:
        await skip(source, limits, long.tail)
        raise Refusal(tag or tag_of(long.head), Bad(b"Command line too long", b"LIMIT")) from None
    except BareLine as bare:
        await skip(source, limits, bare.line.removesuffix(b"\r"))
        raise Refusal(tag or tag_of(bare.line), Bad(b"Lines end in CRLF")) from None


async def skip(source: Input, limits: Limits, line: bytes) -> None:
    """Read what follows a refused ``line`` unasked: its non-synchronizing literal, the line behind that, and so on."""
    left = limits.skip
    while (literal := LITERAL.search(line)) is not None and literal[3]:
        size = literal_size(literal)
        left -= size
        if left < 0:
            raise Farewell(b"Literal too large", b"TOOBIG")
        await source.skip(size)
        try:
            line = await source.line(limits.line)
        except LongLine as long:
            line = long.tail
        except BareLine as bare:
            line = bare.line.removesuffix(b"\r")
