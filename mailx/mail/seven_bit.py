"""Messages with octets above 127 made fit for servers that take seven bits only (RFC 6152 3, RFC 2045 6).

Text becomes quoted-printable or base64, whichever is shorter, every other leaf base64; multiparts and messages inside
messages keep their shape, and what is 7-bit already keeps its octets. Decoded, every part is what it was. Whoever signed
or encrypted a part as a whole (RFC 1847) would find it broken, so such a message is not converted: the answer is None, as
it is for header fields and parts that no encoding is allowed for.
"""

import re
from binascii import b2a_base64, b2a_qp
from collections.abc import Iterator

from mailx.mail.field_words import Unwritable, seven_bit_field
from mailx.mail.header import Field
from mailx.mail.mime import Part, parse
from mailx.mail.parameters import content_type
from mailx.mail.text import decode_transfer

Edit = tuple[int, int, bytes]  # from, to, what stands there instead

_EIGHT_BIT = re.compile(rb"[\x80-\xff]")
_NO_TEXT = re.compile(rb"\r(?!\n)|(?<!\r)\n|\0")  # what quoted-printable text cannot keep as it is
_ALL_EIGHT_BIT = bytes(range(128, 256))
_ASKED = bytes(range(128)) + b"?" * 128
_SLICE = 65536  # octets that one call looks at or converts: longer ones would keep the reactor waiting
_DELIMITER = re.compile(rb"[\r\n]*+--")
_LINE = 57  # octets in a line of base64 (76 columns)
_LINES = 1000 * _LINE
_BASE64_SHARE = 1.6  # what a text may grow by in order to stay readable
_BASE64_SPARE = 40


class _Impossible(Exception):
    """The message must stay as it is."""


def downgraded(content: bytes) -> bytes | None:
    """``content`` (CRLF line ends) in seven bits, or None when that cannot be done without breaking it."""
    if content.isascii():
        return content
    pieces: list[bytes] = []
    position = 0
    try:
        for start, end, instead in sorted(_Edits(content).entity(parse(content), ())):
            pieces += (content[position:start], instead)
            position = end
    except (_Impossible, Unwritable):
        return None
    pieces.append(content[position:])
    made = b"".join(pieces)
    return made if made.isascii() else None


class _Edits:
    """One run over one message, from its beginning to its end."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._known = (1, 0)  # between these offsets are no octets above 127, and at the second there is one

    def _clean(self, start: int, end: int) -> bool:
        """Whether all octets between the offsets are ASCII. Nested parts do not make it look twice."""
        if not self._known[0] <= start <= self._known[1]:
            size = len(self._content)
            found = (_EIGHT_BIT.search(self._content, at, at + _SLICE) for at in range(start, size, _SLICE))
            self._known = start, next((match.start() for match in found if match), size)
        return self._known[1] >= end

    def entity(self, part: Part, boundaries: tuple[bytes, ...]) -> Iterator[Edit]:
        """The edits in a message or a part; ``boundaries`` are those of the multiparts around it."""
        if self._clean(part.header_start, part.body_end):
            return
        yield from self._fields(part)
        if self._clean(part.body_start, part.body_end):
            return
        if part.message is not None and part.subtype == b"rfc822":
            yield from self._encoding(part, b"7bit")
            yield from self.entity(part.message, boundaries)
        elif part.children:
            yield from self._multipart(part, boundaries)
        else:
            yield from self._leaf(part, boundaries)

    def _fields(self, part: Part) -> Iterator[Edit]:
        """Header fields with octets above 127 that nobody announced by SMTPUTF8."""
        for start, (raw, name, value) in self._places(part):
            if not raw.isascii():
                yield start, start + len(raw), seven_bit_field(name, value)

    def _places(self, part: Part) -> Iterator[tuple[int, Field]]:
        """The fields of a part with their offsets."""
        position = part.header_start
        for field in part.fields:
            position = self._content.index(field[0], position)
            yield position, field
            position += len(field[0])

    def _multipart(self, part: Part, boundaries: tuple[bytes, ...]) -> Iterator[Edit]:
        if part.subtype in (b"signed", b"encrypted"):
            raise _Impossible
        boundary = next(value for name, value in part.params if name == b"boundary").rstrip()
        yield from self._encoding(part, b"7bit")
        inside = (*boundaries, boundary)
        position = part.body_start
        for child in part.children:
            yield from self._gap(position, child.header_start)
            yield from self.entity(child, inside)
            position = child.body_end
        # Behind the last part stands its closing delimiter, unless the parser gave up over too many parts.
        closing = _DELIMITER.match(self._content, position)
        if not self._clean(position, part.body_end) and (closing is None or not self._content.startswith(boundary + b"--", closing.end())):
            raise _Impossible
        yield from self._gap(position, part.body_end)

    def _gap(self, start: int, end: int) -> Iterator[Edit]:
        """What stands before, between and after the parts: nobody is shown it (RFC 2046 5.1.1)."""
        if not self._clean(start, end):
            yield start, end, b"".join([piece.translate(_ASKED) for piece in _slices(self._content[start:end])])

    def _leaf(self, part: Part, boundaries: tuple[bytes, ...]) -> Iterator[Edit]:
        declared = content_type(part.named[b"content-type"]) if b"content-type" in part.named else None
        if declared is not None and (
            declared[0] == b"multipart" or (declared[0] == b"message" and not declared[1].startswith(b"global"))  # RFC 2046 5.2
        ):
            raise _Impossible
        if part.encoding.startswith(b"x-"):
            raise _Impossible
        data = self._content[part.body_start : part.body_end]
        if part.encoding == b"base64":  # who decodes it skips what is no letter of it (RFC 2045 6.8)
            yield part.body_start, part.body_end, b"".join([piece.translate(None, _ALL_EIGHT_BIT) for piece in _slices(data)])
            return
        if part.encoding == b"quoted-printable":
            data = b"".join([decode_transfer(piece, "quoted-printable") for piece in _slices(data)])
        encoding, encoded = _encoded(data, part.type == b"text", boundaries)
        more = b""
        if declared is None:
            more = b"" if b"mime-version" in part.named or boundaries else b"MIME-Version: 1.0\r\n"
            more += b"Content-Type: text/plain; charset=" + _charset(data) + b"\r\n"
        yield from self._encoding(part, encoding, more)
        yield part.body_start, part.body_end, encoded

    def _encoding(self, part: Part, encoding: bytes, more: bytes = b"") -> Iterator[Edit]:
        """Make Content-Transfer-Encoding say ``encoding``, and put the fields ``more`` behind the others."""
        line = b"Content-Transfer-Encoding: " + encoding + b"\r\n"
        said = False
        for start, (raw, name, _) in self._places(part):
            if name.lower() == b"content-transfer-encoding":
                yield start, start + len(raw), b"" if said else line
                said = True
        added = more + (b"" if said or encoding == b"7bit" else line)
        if not added:
            return
        header = self._content[part.header_start : part.body_start]
        if header in (b"\r\n", b"\n") or header.endswith((b"\n\r\n", b"\n\n")):
            end = part.body_start - (2 if header.endswith(b"\r\n") else 1)
            yield end, end, added
        else:  # no empty line ends it: the first line of the body is no field
            yield part.body_start, part.body_start, added + b"\r\n"


def _charset(data: bytes) -> bytes:
    """The charset of text that names none (RFC 1428 3)."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return b"unknown-8bit"
    return b"utf-8"


def _encoded(data: bytes, text: bool, boundaries: tuple[bytes, ...]) -> tuple[bytes, bytes]:
    """The name of the better encoding for ``data``, and ``data`` in it."""
    if text and not any(_NO_TEXT.search(piece) for piece in _slices(data)):
        quoted = [_quoted(piece) for piece in _slices(data)]
        # A soft line break must not make a delimiter of what was none.
        if sum(map(len, quoted)) <= _BASE64_SHARE * len(data) + _BASE64_SPARE and not any(
            b"--" + boundary in piece for boundary in boundaries for piece in quoted
        ):
            return b"quoted-printable", b"".join(quoted)
    return b"base64", b"".join([_base64(data[start : start + _LINES]) for start in range(0, len(data), _LINES)])


def _quoted(data: bytes) -> bytes:
    quoted = b2a_qp(data, istext=True)
    # It takes the kind of its soft line breaks from the data.
    return quoted if b"\r\n" in data else quoted.replace(b"=\n", b"=\r\n")


def _base64(data: bytes) -> bytes:
    lines = [b2a_base64(data[start : start + _LINE], newline=False) for start in range(0, len(data), _LINE)]
    return b"\r\n".join((*lines, b""))


def _slices(data: bytes) -> Iterator[bytes]:
    """``data`` in pieces that end with a line, but for the last."""
    start = 0
    while start < len(data):
        end = data.find(b"\n", start + _SLICE) + 1 or len(data)
        yield data[start:end]
        start = end
