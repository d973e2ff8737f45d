"""The words of a message: decoded text for search and preview. Never raises; linear in the message.

What is searched is what a person would read: header fields decoded, text parts out of their transfer encoding and
charset, HTML without its tags.
"""

import html
import re
from binascii import a2b_qp
from collections.abc import Iterable, Iterator
from itertools import islice

from mailx.mail import header
from mailx.mail.charset import decode_text, fold
from mailx.mail.header import decode_base64
from mailx.mail.mime import Part
from mailx.mail.parameters import content_type, disposition, text
from mailx.mail.sections import PartOffsets

PREVIEW_LENGTH = 200  # characters, RFC 8970 3.2
_SLICE = 65536  # characters of HTML stripped at a time
_PREVIEW_TRIES = (500, 16384)  # octets of a body that a preview is made from: more if it takes more

_TRAILING = re.compile(rb"(?<![ \t])[ \t]++(?=\r?\n|\Z)")  # added on the way, to be deleted: RFC 2045 6.7 (3)
_FOLD = re.compile(rb"\r?\n(?=[ \t])")
_SKIPPED = re.compile(r"<(?:!--|(script|style|title)\b)", re.IGNORECASE)
_ENDS = {name: re.compile(rf"</{name}\s*>", re.IGNORECASE) for name in ("script", "style", "title")}
_COMMENT_END = re.compile(r"-->")
_BREAK = re.compile(r"<(?:/?(?:p|div|br|tr|td|th|li|ul|ol|h[1-6]|table|blockquote|hr)\b)[^<>]*+>", re.IGNORECASE)
_TAG = re.compile(r"</?[A-Za-z!?][^<>]*+(?:>|\Z)")


def decode_transfer(body: bytes, encoding: str) -> bytes:
    """``body`` out of its Content-Transfer-Encoding (RFC 2045 6); an unknown one leaves it as it is."""
    if encoding == "base64":
        return decode_base64(body)
    if encoding == "quoted-printable":
        return a2b_qp(_TRAILING.sub(b"", body))
    return body


def part_text(content: bytes, part: PartOffsets) -> str:
    """The text of a text part of ``content``, HTML stripped."""
    return _text(content[part.body_start : part.body_end], part.encoding, part.charset, part.mime_type == "text/html")


def _text(body: bytes, encoding: str, charset: str, is_html: bool) -> str:
    words = decode_text(decode_transfer(body, encoding), charset)
    return strip_html(words) if is_html else words


def strip_html(page: str) -> str:
    """The text of an HTML ``page``: no tags, comments, scripts, styles; entities replaced, blocks set apart by a blank."""
    pieces: list[str] = []
    position = 0
    while match := _SKIPPED.search(page, position):
        _strip_tags(page, position, match.start(), pieces)
        pieces.append(" ")
        end = (_ENDS[match[1].lower()] if match[1] else _COMMENT_END).search(page, match.end())
        position = end.end() if end else len(page)  # what never closes hides the rest, as in browsers
    _strip_tags(page, position, len(page), pieces)
    return "".join(pieces)


def _strip_tags(page: str, start: int, end: int, pieces: list[str]) -> None:
    """Append the text between two offsets of ``page``, in slices so that no single expression keeps other threads waiting.

    A slice ends before a ``<``: neither tags nor entities go across one.
    """
    while start < end:
        stop = page.find("<", start + _SLICE, end)
        stop = end if stop < 0 else stop
        words = _TAG.sub("", _BREAK.sub(" ", page[start:stop]))
        pieces.append(html.unescape(words) if "&" in words else words)
        start = stop


def searchable(content: bytes, parts: Iterable[PartOffsets], with_header: bool = True) -> Iterator[str]:
    """The folded text of each header and each text part of ``content``; search strings must go through ``charset.fold``.

    ``parts`` are all parts, the message itself first: ``Summary.sections()`` or ``Sections(*pack(root))``. Without
    ``with_header`` the header of the message itself is left out (SEARCH BODY against SEARCH TEXT).
    """
    for number, part in enumerate(parts):
        if part.header_start < part.body_start and (number or with_header):
            yield _folded_header(content, part)
        if part.mime_type.startswith("text/"):
            yield fold(part_text(content, part))


def own_header(content: bytes, parts: Iterable[PartOffsets]) -> Iterator[str]:
    """Of ``searchable`` the header of the message itself alone."""
    for part in islice(parts, 1):
        if part.header_start < part.body_start:
            yield _folded_header(content, part)


def _folded_header(content: bytes, part: PartOffsets) -> str:
    return fold(_header_text(content[part.header_start : min(part.body_start, part.header_start + header.BLOCK_LIMIT)]))


def _header_text(block: bytes) -> str:
    """The decoded fields of a header block, a line each; names of files too, which may be encoded (RFC 2231)."""
    if block.isascii() and b"=?" not in block and b"*" not in block:  # nothing to decode, as in most headers
        return _FOLD.sub(b"", block).decode("ascii")
    lines: list[str] = []
    for _, name, value in header.split(block, 0, len(block)):
        lines.append(f"{name.decode('latin-1')}: {header.decode(value)}")
        if b"*" not in value:
            continue
        name = name.lower()
        if name == b"content-disposition":
            lines.append(text((disposition(value) or (b"", ()))[1], b"filename"))
        elif name == b"content-type":
            lines.append(text((content_type(value) or (b"", b"", ()))[2], b"name"))
    return "\n".join(lines)


def file_names(content: bytes, parts: Iterable[PartOffsets]) -> Iterator[str]:
    """The names of files that parts of ``content`` have."""
    for part in parts:
        block = content[part.header_start : min(part.body_start, part.header_start + header.BLOCK_LIMIT)]
        for _, name, value in header.split(block, 0, len(block)):
            name = name.lower()
            if name == b"content-disposition":
                yield text((disposition(value) or (b"", ()))[1], b"filename")
            elif name == b"content-type":
                yield text((content_type(value) or (b"", b"", ()))[2], b"name")


def preview(content: bytes, root: Part) -> str:
    """The beginning of what the message says, at most PREVIEW_LENGTH characters on one line; ``""`` if it has no text."""
    chosen = None
    for part in root.walk():
        if part.type == b"text" and (part.disposition is None or part.disposition[0] != b"attachment"):
            if part.subtype == b"plain" and part.body_start < part.body_end:
                chosen = part
                break
            if part.subtype == b"html" and chosen is None:
                chosen = part
    if chosen is None:
        return ""
    start, end, encoding = chosen.body_start, chosen.body_end, chosen.encoding.decode("latin-1")
    line = ""
    for limit in _PREVIEW_TRIES:
        body = content[start : min(end, start + limit)]
        line = " ".join(_text(body, encoding, chosen.charset, chosen.subtype == b"html").split())
        if len(line) > PREVIEW_LENGTH or start + limit >= end:
            break
    return line[:PREVIEW_LENGTH].rstrip()
