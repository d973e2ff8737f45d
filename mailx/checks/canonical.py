"""Bodies hashed in their canonical forms (RFC 6376 3.4), as a verifier needs them: both forms, any l=, several hashes at once.

Pure and linear. A body is hashed in stretches, so that one of many megabytes neither takes its size again nor holds the interpreter
for long; the hashes themselves let go of it.
"""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

from attrs import define, field

_STRETCH = 65536
_CRLF = b"\r\n"
_PADDING = _CRLF * 4096


def _squeezed(text: bytes) -> bytes:
    """``text`` with every run of blanks as one space."""
    if b"\t" in text:
        text = text.replace(b"\t", b" ")
    while b"  " in text:  # each turn halves the runs: a pattern would go through a long run from each of its blanks
        text = text.replace(b"  ", b" ")
    return text


@define
class Wanted:
    """One hash of a body: canonical form, how many octets of it count (None: all), and what came out."""

    relaxed: bool
    length: int | None
    algorithm: str = "sha256"
    digest: bytes = b""
    whole: bool = False  # everything was counted
    enough: bool = False  # there was as much as ``length`` says


@define
class _Hash:
    """Feeds one hash with a canonical body, empty lines at the end left out (3.4.3, 3.4.4)."""

    wanted: Wanted
    hash: Any = field(init=False)
    left: int | None = field(init=False)
    cut: bool = False

    def __attrs_post_init__(self) -> None:
        self.hash = hashlib.new(self.wanted.algorithm, usedforsecurity=False)
        self.left = self.wanted.length

    def update(self, data: bytes) -> None:
        if self.left is not None:
            if len(data) > self.left:
                data = data[: self.left]
                self.cut = True
            self.left -= len(data)
        self.hash.update(data)

    def end(self) -> None:
        self.wanted.digest = self.hash.digest()
        self.wanted.whole = not self.cut
        self.wanted.enough = not self.left


def hash_body(content: bytes, start: int, wanted: Iterable[Wanted]) -> None:
    """Fill in the digests of the body of ``content``, which begins at the offset ``start``."""
    for relaxed in (False, True):
        hashes = [_Hash(each) for each in wanted if each.relaxed is relaxed]
        if not hashes:
            continue
        for piece in _trimmed(_relaxed(_stretches(content, start)) if relaxed else _stretches(content, start), relaxed):
            for one in hashes:
                one.update(piece)
        for one in hashes:
            one.end()


def _stretches(content: bytes, start: int) -> Iterator[bytes]:
    """The body in pieces that end with a line, but for the last."""
    size = len(content)
    while start < size:
        end = size
        if size - start > _STRETCH:
            found = content.rfind(_CRLF, start, start + _STRETCH)
            if found < 0:
                found = content.find(_CRLF, start + _STRETCH - 1)
            if found >= 0:
                end = found + 2
        yield content[start:end]
        start = end


def _relaxed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        piece = _squeezed(piece)
        if b" \r\n" in piece:
            piece = piece.replace(b" \r\n", _CRLF)
        yield piece[:-1] if piece.endswith(b" ") else piece


def _trimmed(pieces: Iterable[bytes], relaxed: bool) -> Iterator[bytes]:
    """``pieces`` without the empty lines at the end, the last line ended; an empty simple body is one CRLF."""
    waiting = 0  # octets of line ends that only count if something follows
    anything = False
    for piece in pieces:
        size = _text(piece)
        if size:
            while waiting > 0:
                yield _PADDING[:waiting]
                waiting -= len(_PADDING)
            waiting = 0
            anything = True
            yield piece if size == len(piece) else piece[:size]
        waiting += len(piece) - size
    if anything or not relaxed:
        yield _CRLF


def _text(piece: bytes) -> int:
    """The size of ``piece`` without the CRLFs at its end."""
    size = len(piece.rstrip(_CRLF))
    tail = piece[size:]
    if tail == _CRLF * (len(tail) // 2):
        return size
    ends = 0  # bare CR or LF among them: they are text
    while tail.endswith(_CRLF, 0, len(tail) - ends) and ends < len(tail):
        ends += 2
    return len(piece) - ends
