"""Where the parts of a message lie, in a form small enough to be stored with its summary.

``pack`` turns a part tree into a table, ``Sections`` answers section numbers (RFC 9051 6.4.5.1) from the table
without the message: every body section of a FETCH is then a slice of the content.
"""

from collections.abc import Iterator
from struct import Struct

from attrs import frozen

from mailx.mail.mime import Part


@frozen
class PartOffsets:
    """One part of a message: header ``[header_start:header_end]`` (empty line included), body ``[body_start:body_end]``.

    ``mime_type`` and ``encoding`` are lower case, ``charset`` is as named, ``""`` if none. Of a message/rfc822 part
    ``nested`` is the message in it: its header is HEADER, its body TEXT. All offsets are into the whole content.
    """

    header_start: int
    body_start: int
    body_end: int
    mime_type: str
    encoding: str
    charset: str
    nested: "PartOffsets | None" = None

    @property
    def header_end(self) -> int:
        return self.body_start

    @property
    def message(self) -> bool:
        """Whether this is a message/rfc822 whose message was parsed."""
        return self.nested is not None

    @property
    def multipart(self) -> bool:
        return self.mime_type.startswith("multipart/")


# One part, in the order of the message: header start, body start, body end, index of the first part that is not
# below it, then type, encoding and charset as indexes into the names, then whether a parsed message follows.
_NAME_LIMIT = 255
_RECORD = Struct("<IIIIHHHB")


def pack(root: Part) -> tuple[bytes, bytes]:
    """The table of ``root`` and all below it, and the names it refers to."""
    names: dict[bytes, int] = {}
    records: list[bytes] = []
    _add(root, records, names)
    return b"".join(records), b"\n".join(names)


def _add(part: Part, records: list[bytes], names: dict[bytes, int]) -> None:
    place = len(records)
    records.append(b"")  # its own place, before what it holds
    if part.message is not None:
        _add(part.message, records, names)
    for child in part.children:
        _add(child, records, names)
    kind = _name(b"%b/%b" % (part.type, part.subtype), names)
    encoding, charset = _name(part.encoding, names), _name(part.charset.encode("latin-1", "replace"), names)
    following = len(records)
    records[place] = _RECORD.pack(
        part.header_start, part.body_start, part.body_end, following, kind, encoding, charset, part.message is not None
    )


def _name(name: bytes, names: dict[bytes, int]) -> int:
    """The index of ``name``, which is cut where no real one is that long."""
    if len(name) > _NAME_LIMIT or b"\n" in name:
        name = name[:_NAME_LIMIT].replace(b"\n", b" ")
    return names.setdefault(name, len(names))


class Sections:
    """The table that ``pack`` made. The parts have the indexes 0 (the message itself) and up."""

    __slots__ = ("_names", "_records")

    def __init__(self, records: bytes, names: bytes) -> None:
        self._records = records
        self._names = names.decode("latin-1").split("\n")

    def __len__(self) -> int:
        return len(self._records) // _RECORD.size

    def at(self, index: int) -> PartOffsets:
        """The part with the ``index``."""
        start, body, end, _, kind, encoding, charset, message = _RECORD.unpack_from(self._records, index * _RECORD.size)
        names = self._names
        return PartOffsets(start, body, end, names[kind], names[encoding], names[charset], self.at(index + 1) if message else None)

    def find(self, path: tuple[int, ...]) -> PartOffsets | None:
        """The part with the section number ``path``; the empty path is the message itself. None if there is none."""
        index = 0
        entered = True  # the message itself: its part 1 may be its own body
        for number in path:
            if number < 1:
                return None
            below = self._below(index, entered)
            if number > len(below):
                return None
            index = below[number - 1]
            entered = False
        return self.at(index)

    def _below(self, index: int, entered: bool) -> list[int]:
        """The indexes of the parts that are numbered under the part ``index``."""
        *_, following, kind, _, _, message = _RECORD.unpack_from(self._records, index * _RECORD.size)
        if message and not entered:
            return self._below(index + 1, True)
        if not self._names[kind].startswith("multipart/"):
            return [index] if entered else []
        found: list[int] = []
        index += 1
        while index < following:
            found.append(index)
            index = _RECORD.unpack_from(self._records, index * _RECORD.size)[3]
        return found

    def __iter__(self) -> Iterator[PartOffsets]:
        """All parts, containers before what they hold."""
        return (self.at(index) for index in range(len(self)))
