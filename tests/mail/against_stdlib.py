"""Compares the parser with the standard library's email package, message by message.

The two differ by design in a few places; each has a name in ``explanations``. A difference without an explanation
is an error of ours (or a new insight).
"""

import re
from email.message import Message
from email.parser import BytesParser
from email.policy import compat32
from typing import cast

from mailx.mail import mime
from mailx.mail.mime import Part
from mailx.mail.summary import Summary, summarise
from mailx.mail.text import searchable
from tests.mail import imap_syntax

_FIELD_LINE = re.compile(rb"From |[!-9;-~]*:|[\t ]")  # what the standard library takes for a line of a header
_COMPARED = ("from", "to", "subject", "date", "message-id", "content-type", "content-disposition", "content-transfer-encoding")


def differences(content: bytes) -> list[tuple[str, str]]:
    """What differs for ``content``: (explanation or "", what)."""
    found: list[str] = []
    root = mime.parse(content)
    try:
        theirs = BytesParser(policy=compat32).parsebytes(content)
    except (RecursionError, AttributeError, ValueError) as error:
        return [("their parser fails", repr(error)[:100])]
    _compare(content, root, theirs, "1", found)
    reasons = explanations(content, root) if found else []
    return [(", ".join(reasons), what) for what in found]


def _compare(content: bytes, part: Part, theirs: Message, path: str, found: list[str]) -> None:
    kind = f"{part.type.decode('latin-1')}/{part.subtype.decode('latin-1')}"
    opened = theirs.is_multipart()
    their_kind = theirs.get_content_type()
    below = (part.message,) if part.message is not None else part.children
    if their_kind.startswith("multipart/") and not opened:
        their_kind = "text/plain"  # a multipart that cannot be opened is shown as text
    if kind != their_kind:
        found.append(f"{path}: type {kind}, theirs {their_kind}")
        return
    for name in _COMPARED:
        ours = part.named.get(name.encode())
        values = [value for key, value in theirs.raw_items() if key.lower() == name]
        line = values[0].encode("ascii", "surrogateescape") if values else None
        if name == "to" and len(values) > 1:
            continue  # several To fields: ours are joined
        if (ours is None) != (line is None) or (ours is not None and line is not None and ours.split() != line.split()):
            found.append(f"{path}: field {name} {ours!r}, theirs {line!r}")
    if part.type == b"message" and part.message is None:
        return  # every message/* is opened by them, only rfc822 and global by us
    if opened:
        theirs_below = cast(list[Message], theirs.get_payload())
        if len(below) != len(theirs_below):
            found.append(f"{path}: {len(below)} parts, theirs {len(theirs_below)}")
            return
        for number, (inner, their_inner) in enumerate(zip(below, theirs_below, strict=True), 1):
            _compare(content, inner, their_inner, f"{path}.{number}", found)
        return
    if below:
        found.append(f"{path}: opened by us only")
        return
    if theirs.get_content_maintype() == "multipart":
        return  # they keep what stands before the first delimiter line, we show all of it
    payload: str = theirs._payload or ""  # type: ignore[attr-defined]  # get_payload would decode it
    octets, ours = payload.encode("ascii", "surrogateescape"), content[part.body_start : part.body_end]
    if octets != ours and not (part.body_end == len(content) and ours in (octets + b"\r\n", octets + b"\n")):
        # In an unclosed multipart the last line end is not theirs; for us it belongs to no delimiter, so to the part.
        found.append(f"{path}: body of {len(ours)} octets, theirs {len(octets)}")


def explanations(content: bytes, root: Part) -> list[str]:
    """The known reasons for which the two parsers may differ on ``content``."""
    reasons: list[str] = []
    parts = list(root.walk())
    if re.search(rb"\r(?!\n)", content):
        reasons.append("a bare CR is a line end for them")
    if any(not _all_fields(content[part.header_start : part.body_start]) for part in parts):
        reasons.append("a header ends at the first strange line for them, at the empty line for us")
    if any(_ends_in_header(content, part) for part in parts):
        reasons.append("a header without an empty line")
    if any(part.header_start == part.body_end and part.header_start < len(content) for part in parts):
        reasons.append("delimiter lines that touch: an empty part for us, none for them")
    if any(b"\n" in part.named.get(b"content-type", b"").partition(b"oundary=")[2].rstrip() for part in parts):
        reasons.append("a boundary folded into two lines: unfolded by us")
    if len(parts) >= mime.PARTS_LIMIT or _depth(root) >= mime.DEPTH_LIMIT:
        reasons.append("limits")
    if any(len(part.fields) >= 1000 for part in parts):
        reasons.append("limit of fields")
    if any(_loose_type(part) for part in parts):
        reasons.append("a Content-Type that is malformed or has comments or escapes")
    return reasons


def _all_fields(block: bytes) -> bool:
    lines = re.split(rb"(?<=\n)", block.rstrip(b"\r\n"))
    if lines[0].startswith((b" ", b"\t")):
        return False
    return all(_FIELD_LINE.match(line) and (number == 0 or not line.startswith(b"From ")) for number, line in enumerate(lines) if line)


def _ends_in_header(content: bytes, part: Part) -> bool:
    return not content[part.header_start : part.body_start].endswith((b"\n\r\n", b"\n\n"))


def _depth(root: Part) -> int:
    deepest, waiting = 0, [(root, 0)]
    while waiting:
        part, depth = waiting.pop()
        deepest = max(deepest, depth)
        waiting.extend((child, depth + 1) for child in part.children)
        if part.message is not None:
            waiting.append((part.message, depth + 1))
    return deepest


_STRICT_TYPE = re.compile(
    rb"\s*[!#-'*+.0-9A-Z^-~-]+/[!#-'*+.0-9A-Z^-~-]+\s*(;\s*[!-'*+.0-9A-Z^-~-]+\s*=\s*(\"[^\"\\]+\"|[^\"\\;\s]+)\s*)*;?\s*", re.DOTALL
)


def _loose_type(part: Part) -> bool:
    value = part.named.get(b"content-type")
    return value is not None and _STRICT_TYPE.fullmatch(value) is None


def check_invariants(content: bytes) -> None:
    """Whatever ``content`` is: offsets lie inside it and inside each other, the summary reads back, its IMAP text is valid."""
    root = mime.parse(content)
    _check_offsets(root, 0, len(content))
    summary = Summary(summarise(content))
    extended = imap_syntax.body(imap_syntax.read(summary.bodystructure))
    plain = imap_syntax.body(imap_syntax.read(summary.body), extended=False)
    _same_shape(extended, plain)
    imap_syntax.envelope(imap_syntax.read(summary.envelope))
    sections = list(summary.sections())
    assert sections[0].header_start == 0 and sections[0].body_end == len(content)
    _check_sections(content, summary, extended, ())
    for text in searchable(content, sections):
        assert isinstance(text, str)
    assert len(summary.preview) <= 200
    for name in ("subject_text", "from_text", "base_subject", "sort_from", "display_from", "display_to"):
        assert isinstance(getattr(summary, name), str)


def _check_offsets(part: Part, start: int, end: int) -> None:
    assert start <= part.header_start <= part.body_start <= part.body_end <= end, part
    position = part.body_start
    for child in part.children:
        _check_offsets(child, position, part.body_end)
        position = child.body_end
    if part.message is not None:
        assert (part.message.header_start, part.message.body_end) == (part.body_start, part.body_end)
        _check_offsets(part.message, part.body_start, part.body_end)


def _same_shape(extended: imap_syntax.Body, plain: imap_syntax.Body) -> None:
    assert (extended.type, extended.subtype, extended.octets, extended.lines) == (plain.type, plain.subtype, plain.octets, plain.lines)
    assert len(extended.children) == len(plain.children)
    for one, other in zip(extended.children, plain.children, strict=True):
        _same_shape(one, other)
    if extended.message is not None and plain.message is not None:
        _same_shape(extended.message, plain.message)


def _check_sections(content: bytes, summary: Summary, shown: imap_syntax.Body, path: tuple[int, ...]) -> None:
    """Each part that BODYSTRUCTURE shows can be fetched by its number and has the size that it shows."""
    if shown.type == b"multipart":
        for number, child in enumerate(shown.children[:50], 1):
            _check_sections(content, summary, child, (*path, number))
        return
    if not path:
        path = (1,)
    part = summary.part(path)
    assert part is not None, path
    assert part.body_end - part.body_start == shown.octets
    assert part.mime_type == f"{shown.type.decode('latin-1')}/{shown.subtype.decode('latin-1')}"[:255]
    if shown.lines is not None:
        assert content.count(b"\n", part.body_start, part.body_end) == shown.lines
    if shown.message is not None:
        assert part.nested is not None
        inner = path if shown.message.type == b"multipart" else (*path, 1)
        _check_sections(content, summary, shown.message, inner)
