"""Block lists that others share: the text of one, and whose it is. Pure.

A list is UTF-8 text with one sender a line: ``name@example.org``, ``example.org`` or ``@example.org`` for a domain with
all below it; ``#`` begins a comment. A signed list begins with ``# mailx-serial: NUMBER``, which never goes back, and its last
line is ``# mailx-signature: BASE64URL``: the Ed25519 signature over ``mailx-1 block-list``, a line feed, and the text before that
line. What cannot be a list raises :class:`NoList` in words for administrators.
"""

import re
from collections.abc import Callable
from hashlib import sha256

from attrs import frozen

from mailx.core.users import DirectoryError, block_pattern
from mailx.identity.encoding import Malformed, unb64
from mailx.identity.statements import verify

OCTETS_LIMIT = 4 * 1024 * 1024  # of a list
ENTRIES_LIMIT = 100_000  # of a list
_LINES_LIMIT = 200_000
_LINE = 400  # characters
_SERIAL = re.compile(r"#[ \t]*mailx-serial:[ \t]*([0-9]{1,15})[ \t]*\Z")
_SIGNATURE = re.compile(rb"#[ \t]*mailx-signature:[ \t]*([A-Za-z0-9_-]{86})[ \t]*\r?\n?\Z")
_COMMENT = re.compile(r"(?:\A|\s)#.*")  # elsewhere a # is part of an address
_SIGNED = b"mailx-1 block-list\n"
_DOMAIN = re.compile(r"@?((?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)\Z")
_SIGNATURE_SIZE = 64
_SAMPLE = 20


class NoList(Exception):
    """What was read is no list that may be used."""


@frozen
class SharedText:
    """A list that was read. ``patterns`` are ``local@domain`` or ``@domain``, each once, in their order."""

    patterns: tuple[str, ...]
    serial: int  # 0: it has none
    signed: bool
    wrong: int  # lines that name no sender
    ours: int  # lines that name us; they are not used
    digest: bytes  # of the text

    @property
    def sample(self) -> tuple[str, ...]:
        """The first entries."""
        return self.patterns[:_SAMPLE]


def read(text: bytes, key: bytes | None, ours: Callable[[str], bool]) -> SharedText:
    """The list in ``text``, signed by ``key`` unless that is None. ``ours(domain)``: nobody but us decides of it. Raises NoList."""
    if len(text) > OCTETS_LIMIT:
        raise NoList(f"it is longer than {OCTETS_LIMIT} octets")
    if key is not None:
        _check(text, key)
    try:
        lines = text.decode("utf-8").removeprefix("\ufeff").splitlines()
    except UnicodeDecodeError:
        raise NoList("it is not UTF-8 text") from None
    if len(lines) > _LINES_LIMIT:
        raise NoList(f"it has more than {_LINES_LIMIT} lines")
    serial = next((int(found[1]) for line in lines[:20] if (found := _SERIAL.match(line))), 0)
    if key is not None and not serial:
        raise NoList("it is signed, but has no line `# mailx-serial: NUMBER`, so an old one could be passed off as new")
    return _entries(lines, serial, key is not None, sha256(text).digest(), ours)


def _check(text: bytes, key: bytes) -> None:
    start = text.rstrip(b"\r\n").rfind(b"\n") + 1
    found = _SIGNATURE.match(text[start:])
    if found is None:
        raise NoList("it is not signed: its last line is no `# mailx-signature: ...`")
    try:
        signature = unb64(found[1].decode("ascii"), _SIGNATURE_SIZE)
    except Malformed:
        raise NoList("its signature cannot be read") from None
    if not verify(key, _SIGNED + text[:start], signature):
        raise NoList("its signature is not that of the key")


def _entries(lines: list[str], serial: int, signed: bool, digest: bytes, ours: Callable[[str], bool]) -> SharedText:
    patterns: dict[str, None] = {}
    wrong = mine = 0
    for line in lines:
        entry = _COMMENT.sub("", line).strip()
        if not entry:
            continue
        pattern = _pattern(entry)
        if pattern is None:
            wrong += 1
        elif ours(pattern.rpartition("@")[2]):
            mine += 1
        else:
            patterns[pattern] = None
    if len(patterns) > ENTRIES_LIMIT:
        raise NoList(f"it has more than {ENTRIES_LIMIT} entries")
    if not patterns and (wrong or not signed):
        raise NoList("it names no sender; is it the right URL?")
    if wrong > len(patterns):
        raise NoList("most of its lines name no sender; is it the right URL?")
    return SharedText(tuple(patterns), serial, signed, wrong, mine, digest)


def _pattern(entry: str) -> str | None:
    """The stored spelling of one entry; None if it names nobody, or everybody below a name without a dot."""
    found = _DOMAIN.match(entry)
    if found is not None:
        return f"@{found[1]}"
    if len(entry) > _LINE:
        return None
    try:
        pattern = block_pattern(entry)
    except DirectoryError:
        return None
    return pattern if "." in pattern.rpartition("@")[2] else None
