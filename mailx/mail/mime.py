"""The structure of a message: headers, parts and where each begins and ends (RFC 2045, RFC 2046, RFC 5322).

``parse`` never fails: whatever the octets are, the answer is a tree whose offsets lie inside them. Where MIME is
broken, the part is shown as plain text rather than hidden: a multipart without a boundary, or in which the boundary
never occurs, is text; one whose end is missing ends with what holds it. Beyond the limits a part is opaque.

Lines end with CRLF; a bare LF is taken for a line end as well.
"""

import re
from collections.abc import Iterator

from attrs import frozen

from mailx.mail import header
from mailx.mail.header import Field, unfold
from mailx.mail.parameters import Parameters, content_type, disposition, encoding, text

DEPTH_LIMIT = 100
PARTS_LIMIT = 10000
# Each level of nesting is searched for its own boundary. The sum of all searches, in octets, is held to this many times
# the message, so that depth times size stays bounded; messages up to _WORK_FREE / DEPTH_LIMIT octets never meet it.
_WORK_FACTOR = 16
_WORK_FREE = 16 << 20
_FIELD_WORK = 256  # what a field and a line that only looks like a delimiter count for
_DELIMITER_WORK = 256

_TEXT: tuple[bytes, bytes, Parameters] = (b"text", b"plain", ((b"charset", b"us-ascii"),))  # RFC 2045 5.2
_MESSAGE: tuple[bytes, bytes, Parameters] = (b"message", b"rfc822", ())  # in a digest: RFC 2046 5.1.5
_OPAQUE: tuple[bytes, bytes, Parameters] = (b"application", b"octet-stream", ())
_DELIMITER_END = re.compile(rb"(--)?[ \t]*+(?:\r?\n|\r?\Z)")
_FIELD_LINES = re.compile(rb"(?>(?:>?From [^\n]*+\n)?)(?>(?:(?:[!-9;-~]++[ \t]*+:|[ \t])[^\n]*+(?:\n|\Z))*)")
_LANGUAGE = re.compile(rb"[A-Za-z0-9-]{1,35}+")
_LANGUAGES_LIMIT = 500  # octets
_MESSAGES = (b"rfc822", b"global")  # RFC 9051 7.5.2 shows both as messages


@frozen(slots=False)  # many fields: a frozen class without slots is made in half the time
class Part:
    """One part, as offsets into the content: header ``[header_start:body_start]``, body ``[body_start:body_end]``.

    The header includes the empty line that ends it. ``lines`` (line ends in the body) is counted for text and for
    messages only. ``message`` is what a message/rfc822 holds; ``children`` what a multipart holds.
    """

    header_start: int
    body_start: int
    body_end: int
    type: bytes  # lower case, as subtype
    subtype: bytes
    params: Parameters
    fields: list[Field]  # as they stand
    named: dict[bytes, bytes]  # the same by lower-case name: header.first
    encoding: bytes = b"7bit"  # lower case
    id: bytes | None = None
    description: bytes | None = None
    disposition: tuple[bytes, Parameters] | None = None
    language: tuple[bytes, ...] = ()
    location: bytes | None = None
    md5: bytes | None = None
    lines: int = 0
    children: tuple["Part", ...] = ()
    message: "Part | None" = None

    @property
    def header_end(self) -> int:
        return self.body_start

    @property
    def charset(self) -> str:
        """The charset of a text part as it names it, ``""`` if it names none."""
        if self.type != b"text":
            return ""
        for name, value in self.params:
            if name == b"charset":
                return value.decode("latin-1")
        return text(self.params, b"charset")

    @property
    def mime_type(self) -> str:
        """``type/subtype``, lower case."""
        return f"{self.type.decode('latin-1')}/{self.subtype.decode('latin-1')}"

    @property
    def filename(self) -> str:
        """The name that the part suggests for a file, decoded; ``""`` if none."""
        name = text(self.disposition[1], b"filename") if self.disposition else ""
        return name or text(self.params, b"name")

    def walk(self) -> Iterator["Part"]:
        """This part and all below it, in the order of the message."""
        waiting = [self]
        while waiting:
            part = waiting.pop()
            yield part
            if part.message is not None:
                waiting.append(part.message)
            waiting.extend(reversed(part.children))


def parse(content: bytes, opaque: bool = False) -> Part:
    """The part tree of ``content``. With ``opaque`` the message is one part, whatever it says about itself."""
    return _Parser(content, 0 if opaque else DEPTH_LIMIT).entity(0, len(content), 0, _TEXT)


class _Parser:
    """One run over one message: its octets and what is left of its limits."""

    __slots__ = ("_content", "_depth", "_parts", "_work")

    def __init__(self, content: bytes, depth: int) -> None:
        self._content = content
        self._depth = depth
        self._parts = PARTS_LIMIT
        self._work = _WORK_FACTOR * len(content) + _WORK_FREE

    def entity(self, start: int, end: int, depth: int, default: tuple[bytes, bytes, Parameters]) -> Part:
        """The part (or message) that stands between two offsets; ``default`` is what it is if it does not say."""
        content = self._content
        self._parts -= 1
        stop, body = self._header_end(start, end)
        fields = header.split(content, start, stop)
        named = header.first(fields)
        self._work -= len(fields) * _FIELD_WORK
        value = named.get(b"content-type")
        declared = default if value is None else content_type(value) or _TEXT
        children: tuple[Part, ...] = ()
        message = None
        if declared[0] == b"multipart":
            if not self._may_open(body, end, depth):
                declared = _OPAQUE
            else:
                children = self._children(declared, body, end, depth)
                if not children:
                    declared = _TEXT
        elif declared[0] == b"message" and declared[1] in _MESSAGES:
            if not self._may_open(body, end, depth):
                declared = _OPAQUE
            else:
                message = self.entity(body, end, depth + 1, _TEXT)
        lines = content.count(b"\n", body, end) if declared[0] == b"text" or message is not None else 0
        get = named.get
        language, coded, arranged = get(b"content-language"), get(b"content-transfer-encoding"), get(b"content-disposition")
        return Part(
            start,
            body,
            end,
            *declared,
            fields,
            named,
            encoding=b"7bit" if coded is None else encoding(coded),
            id=_line(get(b"content-id")),
            description=_line(get(b"content-description")),
            disposition=None if arranged is None else disposition(arranged),
            language=() if language is None else tuple(_LANGUAGE.findall(language, 0, _LANGUAGES_LIMIT)),
            location=_line(get(b"content-location")),
            md5=_line(get(b"content-md5")),
            lines=lines,
            children=children,
            message=message,
        )

    def _may_open(self, start: int, end: int, depth: int) -> bool:
        """Whether the limits allow to look into the body between the offsets; counts the work."""
        self._work -= end - start
        return depth < self._depth and self._parts > 0 and self._work >= 0

    def _header_end(self, start: int, end: int) -> tuple[int, int]:
        """Where the fields end and where the body starts: at the empty line, else at the first line that is no field."""
        content = self._content
        if content.startswith(b"\r\n", start, end):
            return start, start + 2
        if content.startswith(b"\n", start, end):
            return start, start + 1
        blank = content.find(b"\n\r\n", start, end)
        bare = content.find(b"\n\n", start, end if blank < 0 else blank + 1)
        if bare >= 0:
            return bare + 1, bare + 2
        if blank >= 0:
            return blank + 1, blank + 3
        # The engine keeps some 170 octets for each line that it has passed: no more lines than the header is read for.
        match = _FIELD_LINES.match(content, start, min(end, start + header.BLOCK_LIMIT))
        stop = match.end() if match else start
        return stop, stop

    def _children(self, declared: tuple[bytes, bytes, Parameters], start: int, end: int, depth: int) -> tuple[Part, ...]:
        """The parts between the delimiter lines in a multipart body (RFC 2046 5.1.1)."""
        boundary = next((value for name, value in declared[2] if name == b"boundary"), b"").rstrip()
        if not boundary:
            return ()
        default = _MESSAGE if declared[1] == b"digest" else _TEXT
        children: list[Part] = []
        for first, last in self._between(b"\n--" + boundary, start, end):
            children.append(self.entity(first, last, depth + 1, default))
            if self._parts <= 0 or self._work < 0:
                break
        return tuple(children)

    def _between(self, needle: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
        """The ranges between the delimiter lines that begin with ``needle`` (a line feed, --, the boundary)."""
        content = self._content
        part = -1  # where the part now open starts
        position = start - 1  # a delimiter may be the first line of the body; the line feed before it is the header's
        while True:
            found = content.find(needle, max(position, 0), end)
            if found < 0:
                break
            closing = _DELIMITER_END.match(content, found + len(needle), end)
            if closing is None:
                self._work -= _DELIMITER_WORK
                position = found + len(needle) if self._work >= 0 else end
                continue
            if part >= 0:
                last = found - 1 if content[found - 1] == 13 else found  # the line end belongs to the delimiter
                yield part, max(part, last)
            if closing[1]:
                return
            part = closing.end()
            position = part - 1
        if part >= 0:
            yield part, end


def _line(value: bytes | None) -> bytes | None:
    return None if value is None else unfold(value)
