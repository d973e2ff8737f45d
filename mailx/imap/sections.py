"""Body sections: which octets of a message an item names (RFC 9051 6.4.5), with its partial range applied."""

from attrs import frozen

from mailx.imap.commands import Section, Text
from mailx.mail import header, surrogate
from mailx.mail.summary import SUMMARY_FIELDS, Summary

_FIELDS = (Text.FIELDS, Text.FIELDS_NOT)


@frozen
class Extent:
    """Octets of a content, from ``start`` up to ``end``."""

    start: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.start


def in_summary(section: Section) -> bool:
    """Whether summaries answer ``section``, but for messages with an extraordinary header."""
    return not section.path and section.text is Text.FIELDS and section.fields <= SUMMARY_FIELDS


def whole(section: Section) -> bool:
    """Whether ``section`` is the message as a whole, for which nothing but its content is needed."""
    return not section.path and section.text is Text.ALL


def selects_fields(section: Section) -> bool:
    """Whether the octets must be read before the size of the answer is known."""
    return section.text in _FIELDS


def extent(section: Section, summary: Summary | None, size: int) -> Extent | None:
    """The octets that ``section`` names before its partial range applies, of fields the block that has them; None for NIL."""
    if whole(section):
        return Extent(0, size)
    assert summary is not None
    if not section.path:
        middle = summary.header_length
        return Extent(middle, size) if section.text is Text.TEXT else Extent(0, middle)
    part = summary.part(section.path)
    if part is None:
        return None
    if section.text is Text.ALL:
        return Extent(part.body_start, part.body_end)
    if section.text is Text.MIME:
        return Extent(part.header_start, part.header_end)
    if part.nested is None:
        return None
    if section.text is Text.TEXT:
        return Extent(part.nested.body_start, part.nested.body_end)
    return Extent(part.nested.header_start, part.nested.header_end)


def cut(section: Section, whole: Extent) -> Extent:
    """``whole`` with the partial range of ``section`` applied; empty when it begins behind the end."""
    start = min(whole.start + section.offset, whole.end)
    return Extent(start, whole.end if section.count is None else min(start + section.count, whole.end))


def select(section: Section, block: bytes, seven_bit: bool = False) -> bytes:
    """The fields of a header ``block`` that ``section`` names, its partial range applied; in ``seven_bit`` if that is asked for."""
    fields = header.fields(block, section.fields, section.text is Text.FIELDS_NOT)
    return partial(section, surrogate.block(fields) if seven_bit else fields)


def shown(section: Section, head: bytes) -> bytes | None:
    """The header that stands before the rest of what ``section`` names, ``head`` being its beginning; None: it is as it was."""
    if section.text not in (Text.ALL, Text.HEADER, Text.MIME) or section.path and section.text is Text.ALL:
        return None
    end = head.find(b"\r\n\r\n") + 4
    return surrogate.block(head[:end]) if end > 4 and surrogate.needed(head[:end]) else None


def header_end(head: bytes) -> int:
    """Where the header that ``head`` begins with ends."""
    return head.find(b"\r\n\r\n") + 4


def partial(section: Section, octets: bytes) -> bytes:
    """The partial range of ``section`` out of ``octets``."""
    if section.offset or section.count is not None:
        return octets[section.offset : None if section.count is None else section.offset + section.count]
    return octets


def of_content(section: Section, summary: Summary | None, content: bytes, seven_bit: bool = False) -> bytes | None:
    """The octets that ``section`` names of ``content``; None for NIL. With ``seven_bit`` header fields in UTF-8 are shown otherwise."""
    if whole(section) and not section.offset and section.count is None and (not seven_bit or content.isascii()):
        return content  # as most are asked for
    found = extent(section, summary, len(content))
    if found is None:
        return None
    if selects_fields(section):
        return select(section, content[found.start : found.end], seven_bit)
    if seven_bit and not content.isascii() and (head := shown(section, content[found.start : found.end])) is not None:
        return partial(section, head + content[found.start + header_end(content[found.start :]) : found.end])
    found = cut(section, found)
    return content if found.size == len(content) else content[found.start : found.end]
