"""Binary messages as they can be stored (RFC 3516 4.2): what holds NUL or loose line ends becomes base64, the rest lines.

Clients hand in messages as octets of any value. A part that is no text made of lines is kept in base64, decoded it is
what it was; BINARY gives it out as it came. Line ends everywhere else become CRLF.
"""

from binascii import b2a_base64
from collections.abc import Iterator

from mailx.mail import header
from mailx.mail.mime import Part, parse

Edit = tuple[int, int, bytes]  # from, to, what stands there instead

_LINE = 57  # octets in a line of base64 (76 columns)
_LINES = 1000 * _LINE
_PLAIN = (b"7bit", b"8bit", b"binary")


class NotStorable(Exception):
    """NUL stands where no encoding is allowed."""


def uneven(octets: bytes) -> bool:
    """Whether there are line ends that are not CRLF."""
    pairs = octets.count(b"\r\n")
    return octets.count(b"\n") != pairs or octets.count(b"\r") != pairs


def lines(octets: bytes) -> bytes:
    """``octets`` with every line end as CRLF."""
    if not uneven(octets):
        return octets
    return octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")


def storable(content: bytes) -> bytes:
    """``content`` without NUL and with CRLF line ends; raises NotStorable."""
    pieces: list[bytes] = []
    position = 0
    for start, end, instead in sorted(_edits(content, parse(content))):
        pieces += (_plain(content[position:start]), instead)
        position = end
    pieces.append(_plain(content[position:]))
    return b"".join(pieces)


def _plain(octets: bytes) -> bytes:
    if b"\0" in octets:
        raise NotStorable
    return lines(octets)


def _edits(content: bytes, part: Part) -> Iterator[Edit]:
    """The edits in a message or part and in all below it."""
    if part.children or part.message is not None:
        if part.encoding == b"binary":
            yield _declared(content, part, b"8bit")
        for below in part.children or (part.message,):
            if below is not None:
                yield from _edits(content, below)
        return
    body = content[part.body_start : part.body_end]
    if not (b"\0" in body or part.encoding == b"binary" and uneven(body)):
        return
    if part.encoding not in _PLAIN:
        raise NotStorable
    yield _declared(content, part, b"base64")
    yield part.body_start, part.body_end, _base64(body)


def _declared(content: bytes, part: Part, encoding: bytes) -> Edit:
    """The header of ``part`` with Content-Transfer-Encoding saying ``encoding``."""
    fields = header.split(content, part.header_start, part.body_start)
    kept = b"".join([raw for raw, name, _ in fields if name.lower() != b"content-transfer-encoding"])
    if kept and not kept.endswith(b"\n"):
        kept += b"\r\n"
    named = b"" if b"mime-version" in part.named or part.header_start else b"MIME-Version: 1.0\r\n"
    return part.header_start, part.body_start, _plain(kept) + named + b"Content-Transfer-Encoding: " + encoding + b"\r\n\r\n"


def _base64(octets: bytes) -> bytes:
    encoded: list[bytes] = []
    for start in range(0, len(octets), _LINES):
        some = octets[start : start + _LINES]
        encoded += [b2a_base64(some[at : at + _LINE], newline=False) for at in range(0, len(some), _LINE)]
    return b"\r\n".join(encoded) + b"\r\n"
