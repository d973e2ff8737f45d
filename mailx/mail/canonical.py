"""A message as signatures see it (DKIM and ARC): canonical fields and bodies (RFC 6376 3.4), and what a list of fields covers (5.4.2).

Pure and linear in the octets. Content has CRLF line ends; whatever else it holds, nothing here raises. A body is hashed in
stretches, so that one of many megabytes neither takes its size again nor holds the interpreter for long; the hashes
themselves let go of it.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from attrs import define, field

from mailx.mail.header import Field, split

_FIELDS = 100_000  # all that fit into a header section: who hides the author behind a thousand fields gains nothing
_STRETCH = 65536
_CRLF = b"\r\n"
_PADDING = _CRLF * 4096


@define
class Mail:
    """Fields in their order, where the body begins, and what was worked out before."""

    content: bytes = field(repr=False)
    fields: list[Field] = field(init=False)
    body: int = field(init=False)  # offset
    places: dict[bytes, list[int]] = field(init=False)  # lower-case name to the places of its fields, top first
    _relaxed: dict[int, bytes] = field(init=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        end = 0 if self.content.startswith(_CRLF) else self.content.find(b"\r\n\r\n") + 2
        if end == 1:  # no empty line: all header
            end = self.body = len(self.content)
        else:
            self.body = end + 2
        self.fields = split(self.content, 0, end, _FIELDS)
        self.places = {}
        for place, (_, name, _) in enumerate(self.fields):
            self.places.setdefault(name.lower(), []).append(place)

    def count(self, name: bytes) -> int:
        return len(self.places.get(name, ()))

    def chosen(self, names: Iterable[bytes]) -> list[int]:
        """The places of the fields that the list ``names`` (lower case) of a signature covers, in its order.

        A name that stands several times takes its fields from the last to the first; one too many takes none.
        """
        used: dict[bytes, int] = {}
        found = []
        for name in names:
            places = self.places.get(name, ())
            left = used.get(name, len(places))
            if left:
                used[name] = left - 1
                found.append(places[left - 1])
        return found

    def canonical(self, place: int, relaxed: bool) -> bytes:
        """The field at ``place`` as it is hashed."""
        raw = self.fields[place][0]
        if not relaxed:
            return raw.removesuffix(b"\n").removesuffix(b"\r") + _CRLF
        found = self._relaxed.get(place)
        if found is None:
            found = self._relaxed[place] = field_relaxed(raw)
        return found

    def covered(self, names: Iterable[bytes], relaxed: bool) -> bytes:
        """All fields that ``names`` covers as they are hashed."""
        return b"".join([self.canonical(place, relaxed) for place in self.chosen(names)])


def field_relaxed(raw: bytes) -> bytes:
    """One field in relaxed form (RFC 6376 3.4.2), with its line end."""
    name, _, value = raw.partition(b":")
    value = value.replace(_CRLF, b"").replace(b"\n", b"")
    return name.rstrip(b" \t").lower() + b":" + _squeezed(value).strip(b" ") + _CRLF


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


def digest_relaxed(content: bytes, start: int) -> bytes:
    """SHA-256 of the relaxed form of the whole body of ``content``, which begins at the offset ``start``."""
    wanted = Wanted(True, None)
    hash_body(content, start, (wanted,))
    return wanted.digest


def hash_body(content: bytes, start: int, wanted: Sequence[Wanted]) -> None:
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
    """The body in pieces; they end with a line, but for the last, and for those of a line that is longer than a piece."""
    size = len(content)
    while start < size:
        end = size
        if size - start > _STRETCH:
            found = content.rfind(_CRLF, start, start + _STRETCH)
            end = start + _STRETCH if found < 0 else found + 2
            if found < 0 and content.startswith(_CRLF, end - 1):
                end += 1
        yield content[start:end]
        start = end


def _relaxed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    blank = False  # what came before ended with blanks that count only if the line goes on
    for piece in pieces:
        piece = _squeezed(b" " + piece if blank else piece)
        if b" \r\n" in piece:
            piece = piece.replace(b" \r\n", _CRLF)
        blank = piece.endswith(b" ")
        yield piece[:-1] if blank else piece


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
