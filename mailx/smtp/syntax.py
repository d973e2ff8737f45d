"""Grammar of command arguments: paths, parameters, host names, chunk sizes (RFC 5321 4.1.2, RFC 3030, RFC 3461, RFC 6531).

Pure text: everything raises ``SyntaxFault`` with the ready reply for input that is refused.
"""

import re

from attrs import frozen

from mailx.mail.address import Address, AddressError
from mailx.mail.envelope import DEMANDS_NOTHING, WISHES_NOTHING, Demands, Notify, Wish
from mailx.smtp import replies

# <path> and parameters. A quoted local part may hold spaces and brackets, so it is matched as a unit.
_PATH = re.compile(r'\s*<((?:"(?:[^"\\]|\\.)*"|[^<>"\s])*)>(?:\s+(\S.*))?\Z')
_ROUTE = re.compile(r"@[^@:]+(?:,@[^@:]+)*:")  # source route, accepted and ignored: RFC 5321 4.1.1.3
_PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([\x21-\x3c\x3e-\x7e\u0080-\U0010ffff]+))?\Z")
_SIZE = re.compile(r"[0-9]{1,20}\Z")
_HOST = re.compile(r"(?:[A-Za-z0-9_\u0080-\U0010ffff](?:[A-Za-z0-9._\u0080-\U0010ffff-]*)|\[[A-Za-z0-9.:%_-]+\])\Z")
_XTEXT = re.compile(r"(?:[\x21-\x2a\x2c-\x3c\x3e-\x7e]|\+[0-9A-F]{2})+\Z")
_ESCAPE = re.compile(r"\+([0-9A-F]{2})")
_ORIGINAL = re.compile(r"([A-Za-z0-9!#$%&'*/?^_`{|}~-]+);(.+)\Z")  # an address type is an atom; + would begin xtext
_POINT = re.compile(r"\\x\{([0-9A-F]{2,6})\}")  # RFC 6533 3
_CHUNK = re.compile(rb"([0-9]{1,18})(?: +(LAST))?\s*\Z", re.IGNORECASE)


_ENVID = 100  # characters, RFC 3461 4.4
_ORCPT = 500  # characters, RFC 3461 4.2

_NOTIFY = {"SUCCESS": Notify.SUCCESS, "FAILURE": Notify.FAILURE, "DELAY": Notify.DELAY}


class SyntaxFault(Exception):
    """The argument is refused with ``reply``, a whole rendered line."""

    def __init__(self, reply: bytes) -> None:
        super().__init__(reply)
        self.reply = reply


@frozen
class Path:
    """The argument of MAIL: its address (None is the null path) and what the known parameters say."""

    address: Address | None
    size: int | None = None  # octets, as declared (RFC 1870)
    demands: Demands = DEMANDS_NOTHING


def text(argument: bytes, reply: bytes = replies.SYNTAX) -> str:
    """``argument`` as text; SyntaxFault with ``reply`` if it is not UTF-8 (RFC 6531 3.3)."""
    try:
        return argument.decode()
    except UnicodeDecodeError:
        raise SyntaxFault(reply) from None


def host(argument: bytes) -> str:
    """The client's name in EHLO, HELO and LHLO, liberal in what names hold: many computers have names that are no host's."""
    name = argument.decode("utf-8", "replace")
    if len(name) > 255 or not _HOST.match(name):
        raise SyntaxFault(replies.HOST_SYNTAX)
    return name


def mail(argument: bytes, extended: bool, auth: bool, tls: bool) -> Path:
    """``FROM:<path> parameters``.

    ``extended``: EHLO was said; ``auth``: AUTH is offered, so its parameter is known; ``tls``: so is REQUIRETLS (RFC 8689 2).
    """
    path, parameters = _split(argument, b"FROM:", replies.SENDER_SYNTAX)
    size: int | None = None
    utf8 = require_tls = False
    returns = id = ""
    for name, value in _parameters(parameters, extended):
        if name == "SIZE":
            size = int(_matching(_SIZE, value))
        elif name == "BODY":
            _one_of(value, ("7BIT", "8BITMIME"))
        elif name == "SMTPUTF8":
            utf8 = _flag(value)
        elif name == "RET":
            returns = _one_of(value, ("FULL", "HDRS"))
        elif name == "ENVID":
            id = _xtext(value, _ENVID)
        elif name == "REQUIRETLS" and tls:
            require_tls = _flag(value)
        elif name == "AUTH" and auth:  # taken and not trusted: RFC 4954 5
            _matching(_XTEXT, value)
        else:
            raise SyntaxFault(replies.UNKNOWN_PARAMETER)
    demands = Demands(utf8, require_tls, returns, id) if utf8 or require_tls or returns or id else DEMANDS_NOTHING
    if not path:
        return Path(None, size, demands)
    return Path(_address(path, utf8, replies.SENDER_SYNTAX), size, demands)


def rcpt(argument: bytes, extended: bool, utf8: bool) -> tuple[Address, Wish]:
    """``TO:<path> parameters``. A bare ``postmaster`` (RFC 5321 4.5.1) is an address without a domain."""
    path, parameters = _split(argument, b"TO:", replies.RECIPIENT_SYNTAX)
    notify = 0
    original = ""
    for name, value in _parameters(parameters, extended):
        if name == "NOTIFY":
            notify = _notify(value)
        elif name == "ORCPT":
            original = _original(value, utf8)
        else:
            raise SyntaxFault(replies.UNKNOWN_PARAMETER)
    wish = Wish(notify, original) if notify or original else WISHES_NOTHING
    if path.lower() == "postmaster":
        return Address("postmaster", ""), wish
    return _address(path, utf8, replies.RECIPIENT_SYNTAX), wish


def chunk(argument: bytes) -> tuple[int, bool]:
    """``size [LAST]`` of BDAT."""
    found = _CHUNK.match(argument)
    if found is None:
        raise SyntaxFault(replies.CHUNK_SYNTAX)
    return int(found[1]), found[2] is not None


def _split(argument: bytes, keyword: bytes, reply: bytes) -> tuple[str, str]:
    length = len(keyword)
    if argument[:length].upper() != keyword:
        raise SyntaxFault(reply)
    found = _PATH.match(text(argument[length:], reply))
    if found is None:
        raise SyntaxFault(reply)
    return found[1], found[2] or ""


def _parameters(parameters: str, extended: bool) -> list[tuple[str, str | None]]:
    known: list[tuple[str, str | None]] = []
    seen = set()
    for word in parameters.split():
        found = _PARAMETER.match(word)
        if found is None:
            raise SyntaxFault(replies.SYNTAX)
        if not extended:  # HELO: no extension was negotiated
            raise SyntaxFault(replies.UNKNOWN_PARAMETER)
        name = found[1].upper()
        if name in seen:
            raise SyntaxFault(replies.SYNTAX)
        seen.add(name)
        known.append((name, found[2]))
    return known


def _address(path: str, utf8: bool, reply: bytes) -> Address:
    route = _ROUTE.match(path)
    if route is not None:
        path = path[route.end() :]
    try:
        address = Address.parse(path)
    except AddressError:
        raise SyntaxFault(reply) from None
    if not utf8 and not address.ascii:
        raise SyntaxFault(replies.SENDER_NOT_ASCII)
    return address


def _matching(pattern: re.Pattern[str], value: str | None) -> str:
    if value is None or not pattern.match(value):
        raise SyntaxFault(replies.BAD_PARAMETER)
    return value


def _flag(value: str | None) -> bool:
    if value is not None:
        raise SyntaxFault(replies.BAD_PARAMETER)
    return True


def _one_of(value: str | None, words: tuple[str, ...]) -> str:
    word = (value or "").upper()
    if word not in words:
        raise SyntaxFault(replies.BAD_PARAMETER)
    return word


def _xtext(value: str | None, limit: int) -> str:
    """What ``value`` encodes (RFC 3461 4): printable ASCII, so that it can stand in a header field."""
    if value is None or len(value) > limit or not _XTEXT.match(value):
        raise SyntaxFault(replies.BAD_PARAMETER)
    text = _unescaped(value)
    if not text.isprintable():
        raise SyntaxFault(replies.BAD_PARAMETER)
    return text


def _unescaped(value: str) -> str:
    """``value`` with its ``+HH`` decoded, which stand for ASCII."""
    if any(code > "7F" for code in _ESCAPE.findall(value)):
        raise SyntaxFault(replies.BAD_PARAMETER)
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), value)


def _notify(value: str | None) -> int:
    """The flags of NOTIFY; NEVER stands alone (RFC 3461 4.1)."""
    words = (value or "").upper().split(",")
    if words == ["NEVER"]:
        return int(Notify.NEVER)
    if len(set(words)) != len(words) or not set(words) <= set(_NOTIFY):
        raise SyntaxFault(replies.BAD_PARAMETER)
    return sum(int(_NOTIFY[word]) for word in words)


def _original(value: str | None, utf8: bool) -> str:
    """ORCPT decoded, "type;address" with the type in lower case (RFC 3461 4.2; for type utf-8 RFC 6533 3)."""
    found = _ORIGINAL.match(value or "")
    if found is None or value is None or len(value) > _ORCPT:
        raise SyntaxFault(replies.BAD_PARAMETER)
    kind, encoded = found[1].lower(), found[2]
    if kind != "utf-8":
        return f"{kind};{_xtext(encoded, _ORCPT)}"
    if not encoded.isascii() and not utf8:  # unencoded only together with SMTPUTF8
        raise SyntaxFault(replies.BAD_PARAMETER)
    try:
        text = _POINT.sub(lambda one: chr(int(one[1], 16)), _unescaped(encoded))
        text.encode()
    except (ValueError, OverflowError):  # beyond Unicode, or half of a surrogate pair
        raise SyntaxFault(replies.BAD_PARAMETER) from None
    if not text.isprintable():
        raise SyntaxFault(replies.BAD_PARAMETER)
    return f"{kind};{text}"
