"""Messages made of values: header fields, text, HTML and attachments as octets with CRLF line ends (RFC 5322, 2045 to 2047, 2183, 2231).

Pure. Values come from programs and are hostile: one with a control character, too long, or that no field can carry raises
:class:`ComposeError`, which names it; nothing in a value can begin a field or end a part. Everything is 7-bit ASCII but
addresses that are not (SMTPUTF8, RFC 6532).
"""

import re
from binascii import b2a_base64, b2a_qp
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from urllib.parse import quote

from attrs import frozen

from mailx.mail.address import Address
from mailx.mail.times import date_field

NAME_LIMIT = 255  # characters of a display name or a file name
SUBJECT_LIMIT = 998  # characters
TYPE_LIMIT = 127  # characters of type/subtype (RFC 6838 4.2)
ID_LIMIT = 200  # characters of a content id
SENDER_NAME = "sender name"  # what ComposeError calls it

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*\Z")
_ID = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+(?:@[A-Za-z0-9.-]+)?\Z")
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]+\Z")
_COLUMNS = 76
_WORD = 45  # octets in an encoded word: 75 columns with "=?utf-8?B?" and "?=" (RFC 2047 2)
_BASE64_SHARE = 1.2


class ComposeError(ValueError):
    """A value cannot stand in a message. ``name`` says which, the text why."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(reason)
        self.name = name


@frozen
class Attachment:
    """One file. With an ``id`` HTML may show it as ``cid:ID``."""

    name: str
    type: str  # "application/pdf"
    content: bytes
    id: str = ""
    inline: bool = False


def compose(
    *,
    sender: Address,
    to: Address,
    subject: str,
    date: float,
    message_id: str,
    sender_name: str = "",
    reply_to: Address | None = None,
    text: str = "",
    html: str = "",
    attachments: Sequence[Attachment] = (),
    fields: Iterable[tuple[str, str]] = (),
) -> bytes:
    """The message. ``date`` is in seconds since 1970, ``message_id`` without angle brackets, ``fields`` are more fields with ASCII values.

    Raises ComposeError.
    """
    lines = [
        f"From: {mailbox(sender, sender_name, SENDER_NAME)}",
        f"To: {mailbox(to)}",
        f"Subject: {_folded(unstructured('subject', subject, SUBJECT_LIMIT), 9)}",
        f"Date: {date_field(int(date))}",
        f"Message-ID: <{message_id}>",
    ]
    if reply_to is not None:
        lines.append(f"Reply-To: {mailbox(reply_to)}")
    lines += [f"{name}: {checked(name, value, 900)}" for name, value in fields]
    lines.append("MIME-Version: 1.0")
    head = "".join([f"{line}\r\n" for line in lines])
    return head.encode() + _body(text, html, attachments, message_id)


def checked(name: str, value: str, limit: int) -> str:
    """``value``, which is text without controls and not too long, or ComposeError."""
    if len(value) > limit:
        raise ComposeError(name, f"longer than {limit} characters")
    if not (value.isascii() and value.isprintable()) and _CONTROL.search(value):
        raise ComposeError(name, "control characters are not allowed")
    return value


def mailbox(address: Address, name: str = "", field: str = "name") -> str:
    """``name`` and ``address`` as header fields write them (RFC 5322 3.4). Raises ComposeError."""
    plain = str(address)
    if not name:
        return plain
    checked(field, name, NAME_LIMIT)
    if not name.isascii() or "=?" in name:  # many programs decode words in quotes too
        return f"{_encoded(name)}\r\n <{plain}>"
    if not _ATOMS.match(name) or "  " in name or name != name.strip():
        name = '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"{name} <{plain}>"


def unstructured(name: str, value: str, limit: int) -> str:
    """``value`` of the field ``name`` as one line of words, encoded where they must be (RFC 2047 5). Raises ComposeError."""
    checked(name, value, limit)
    if value.isascii() and "=?" not in value and "  " not in value and value == value.strip() and len(max(value.split(" "), key=len)) < 200:
        return value
    return _encoded(value)


def _encoded(value: str) -> str:
    """``value`` as encoded words, each on a line of its own."""
    words: list[bytes] = []
    word = b""
    for char in value:
        octets = char.encode()
        if len(word) + len(octets) > _WORD:
            words.append(word)
            word = b""
        word += octets
    words.append(word)
    return "\r\n ".join([f"=?utf-8?B?{b2a_base64(word, newline=False).decode()}?=" for word in words])


def _folded(value: str, column: int) -> str:
    """``value``, its lines broken before words that would pass the last column; ``column`` is where it begins."""
    if column + len(value) <= _COLUMNS or "\r\n" in value:
        return value
    lines: list[str] = []
    line = ""
    for word in value.split(" "):
        if line and column + len(line) + 1 + len(word) > _COLUMNS:
            lines.append(line)
            line, column = word, 1
        else:
            line = f"{line} {word}" if line else word
    lines.append(line)
    return "\r\n ".join(lines)


def _body(text: str, html: str, attachments: Sequence[Attachment], seed: str) -> bytes:
    """The rest of the header, the empty line and the body."""
    inline = [one for one in attachments if one.inline and one.id and html]
    others = [one for one in attachments if one not in inline]
    entity = _text("html", html) if html else b""
    if inline:
        entity = _multipart("related", [entity, *[_attached(one) for one in inline]], seed, 'type="text/html"; ')
    if text or not html:
        plain = _text("plain", text)
        entity = _multipart("alternative", [plain, entity], seed) if entity else plain
    if others:
        entity = _multipart("mixed", [entity, *[_attached(one) for one in others]], seed)
    return entity


def _multipart(subtype: str, parts: Sequence[bytes], seed: str, parameters: str = "") -> bytes:
    """One entity made of several. The boundary cannot occur: ``=_`` is in no base64 and no quoted-printable, and ``seed`` nobody knows."""
    boundary = f"=_{blake2b(f'{subtype} {seed}'.encode(), digest_size=15).hexdigest()}"
    opening = f"--{boundary}\r\n".encode()
    pieces = [f'Content-Type: multipart/{subtype}; {parameters}\r\n boundary="{boundary}"\r\n\r\n'.replace("; \r\n", ";\r\n").encode()]
    for part in parts:
        pieces += (opening, part, b"\r\n")
    pieces.append(f"--{boundary}--\r\n".encode())
    return b"".join(pieces)


_BAD_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_BREAK = re.compile(rb"\r\n?|\n")
_FINE = bytes(range(32, 127)) + b"\t\r\n"
_LONGEST = 200  # octets of a line that goes as it is


def _text(subtype: str, text: str) -> bytes:
    """One entity of text, 7-bit, quoted-printable or base64, whichever serves it best."""
    plain = text.isascii()
    data = text.encode("utf-8", "surrogatepass")
    if data.translate(None, _FINE) if plain else _BAD_TEXT.search(text):
        raise ComposeError(subtype if subtype == "html" else "text", "control characters are not allowed")
    data = _BREAK.sub(b"\r\n", data) if b"\r" in data else data.replace(b"\n", b"\r\n")
    if not data.endswith(b"\r\n"):
        data += b"\r\n"
    if plain and len(max(data.split(b"\r\n"), key=len)) <= _LONGEST:
        return f"Content-Type: text/{subtype}; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\n".encode() + data
    encoding, encoded = "quoted-printable", b2a_qp(data, istext=True)
    if len(encoded) > _BASE64_SHARE * 4 / 3 * len(data):
        encoding, encoded = "base64", _base64(data)
    return f"Content-Type: text/{subtype}; charset=utf-8\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode() + encoded


def _base64(data: bytes) -> bytes:
    lines = [b2a_base64(data[start : start + 57], newline=False) for start in range(0, len(data), 57)]
    return b"\r\n".join((*lines, b""))


def media_type(value: str) -> str:
    """``value`` if it is a media type that a file may have, with at most a charset. Raises ComposeError."""
    kind, semicolon, parameter = value.partition(";")
    kind = kind.strip()
    if len(kind) > TYPE_LIMIT or not _TYPE.match(kind):
        raise ComposeError("contentType", "not a media type such as application/pdf")
    if kind.lower().startswith(("multipart/", "message/")):
        raise ComposeError("contentType", "multipart and message types are not allowed")
    if not semicolon:
        return kind
    charset = _CHARSET.match(parameter.strip())
    if charset is None:
        raise ComposeError("contentType", "only charset is allowed as a parameter")
    return f"{kind}; charset={charset[1]}"


_CHARSET = re.compile(r"charset=\"?([A-Za-z0-9_.:+-]{1,40})\"?\Z", re.IGNORECASE)


def check(one: Attachment) -> None:
    """Raise ComposeError if ``one`` cannot stand in a message."""
    media_type(one.type)
    _filename(one.name)
    if one.id and (len(one.id) > ID_LIMIT or not _ID.match(one.id)):
        raise ComposeError("contentId", "only letters, digits, dots, signs and one @ are allowed")


def _attached(one: Attachment) -> bytes:
    """One file as an entity."""
    check(one)
    lines = [f"Content-Type: {media_type(one.type)}", "Content-Transfer-Encoding: base64"]
    lines.append(f"Content-Disposition: {'inline' if one.inline else 'attachment'}{_filename(one.name)}")
    if one.id:
        lines.append(f"Content-ID: <{one.id}>")
    return "".join([f"{line}\r\n" for line in [*lines, ""]]).encode() + _base64(one.content)


_PLAIN_NAME = re.compile(r"[A-Za-z0-9._+(),@=-](?: ?[A-Za-z0-9._+(),@=-]){0,59}\Z")  # needs no RFC 2231


def _filename(name: str) -> str:
    """The parameter that names a file (RFC 2183 2.3, RFC 2231)."""
    if not name:
        return ""
    checked("filename", name, NAME_LIMIT)
    if "/" in name or "\\" in name:
        raise ComposeError("filename", "a path is not allowed, only a name")
    if _PLAIN_NAME.match(name):
        return f';\r\n filename="{name}"'
    quoted = "utf-8''" + quote(name, safe="")
    if len(quoted) <= 60:
        return f";\r\n filename*={quoted}"
    pieces: list[str] = []
    while quoted:
        cut = 56
        while cut < len(quoted) and "%" in quoted[cut - 2 : cut]:  # an escape is not split
            cut -= 1
        pieces.append(quoted[:cut])
        quoted = quoted[cut:]
    return "".join([f";\r\n filename*{index}*={piece}" for index, piece in enumerate(pieces)])
