"""What makes a valid command wrong."""

import random
import re

_NASTY = (
    *(b"\0", b"\r", b"\n", b"\r\n", b"\x7f", b"\xff", b"\xc3", "ü".encode(), b'"', b"\\", b"(", b")", b"{", b"}", b"[", b"]", b"<", b">"),
    *(b"  ", b"%", b"*", b"~", b"+", b"-", b"&", b"&-", b"&AAA-", b"NIL", b"{0}\r\n", b"{0+}\r\n", b"{1}\r\n", b"{99999999999}\r\n"),
    *(
        b"{9000+}\r\n",
        b"{-1}\r\n",
        b"{4294967296+}\r\n",
        b"~{2+}\r\nab",
        b"UID ",
        b"((((((((((",
        b"))))))",
        b"4294967296",
        b"0",
        b"1:*",
        b"$",
    ),
    *(b"NOT " * 60, b"(" * 60, b"1," * 300, b"a" * 3000, b'"' + b"b" * 300 + b'"', b"CHARSET UTF-7", b"\x1b[0m", b"\xe2\x80\xae"),
)
_WORDS = re.compile(rb"[A-Za-z0-9.\\$*:]+|.", re.DOTALL)


def spoiled(command: bytes, other: bytes, dice: random.Random) -> bytes:
    """``command`` with one to four things done to it; ``other`` is another one to splice with."""
    for _ in range(dice.choice((1, 1, 1, 2, 2, 4))):
        command = dice.choice(_WAYS)(command, other, dice)
    return command[:20000]


def _cut(command: bytes, other: bytes, dice: random.Random) -> bytes:
    return command[: dice.randrange(len(command) + 1)]


def _insert(command: bytes, other: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(command) + 1)
    return command[:at] + dice.choice(_NASTY) + command[at:]


def _flip(command: bytes, other: bytes, dice: random.Random) -> bytes:
    if not command:
        return command
    at = dice.randrange(len(command))
    return command[:at] + bytes((dice.randrange(256),)) + command[at + 1 :]


def _splice(command: bytes, other: bytes, dice: random.Random) -> bytes:
    return command[: dice.randrange(len(command) + 1)] + other[dice.randrange(len(other) + 1) :]


def _words(command: bytes, other: bytes, dice: random.Random) -> bytes:
    """A word is doubled, dropped, or changes places with another."""
    words = _WORDS.findall(command)
    if len(words) < 2:
        return command + command
    a, b = dice.randrange(len(words)), dice.randrange(len(words))
    way = dice.randrange(3)
    if way == 0:
        words.insert(a, words[b])
    elif way == 1:
        del words[a]
    else:
        words[a], words[b] = words[b], words[a]
    return b"".join(words)


_WAYS = (_cut, _insert, _insert, _flip, _flip, _splice, _words, _words)
