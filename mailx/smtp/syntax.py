"""Grammar of command arguments: paths, parameters, host names, chunk sizes (RFC 5321 4.1.2, RFC 3030, RFC 6531).

Pure text: everything raises ``SyntaxFault`` with the ready reply for input that is refused.
"""

import re

from attrs import frozen

from mailx.mail.address import Address, AddressError
from mailx.smtp import replies

# <path> and parameters. A quoted local part may hold spaces and brackets, so it is matched as a unit.
_PATH = re.compile(r'\s*<((?:"(?:[^"\\]|\\.)*"|[^<>"\s])*)>(?:\s+(\S.*))?\Z')
_ROUTE = re.compile(r"@[^@:]+(?:,@[^@:]+)*:")  # source route, accepted and ignored: RFC 5321 4.1.1.3
_PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([\x21-\x3c\x3e-\x7e\u0080-\U0010ffff]+))?\Z")
_SIZE = re.compile(r"[0-9]{1,20}\Z")
_HOST = re.compile(r"(?:[A-Za-z0-9_\u0080-\U0010ffff](?:[A-Za-z0-9._\u0080-\U0010ffff-]*)|\[[A-Za-z0-9.:%_-]+\])\Z")
_XTEXT = re.compile(r"(?:[\x21-\x2a\x2c-\x3c\x3e-\x7e]|\+[0-9A-F]{2})+\Z")
_CHUNK = re.compile(rb"([0-9]{1,18})(?: +(LAST))?\s*\Z", re.IGNORECASE)


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
    utf8: bool = False  # SMTPUTF8


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


def mail(argument: bytes, extended: bool, auth: bool) -> Path:
    """``FROM:<path> parameters``. ``extended``: EHLO was said; ``auth``: AUTH is offered, so its parameter is known."""
    path, parameters = _split(argument, b"FROM:", replies.SENDER_SYNTAX)
    size: int | None = None
    utf8 = False
    for name, value in _parameters(parameters, extended):
        if name == "SIZE":
            if value is None or not _SIZE.match(value):
                raise SyntaxFault(replies.BAD_PARAMETER)
            size = int(value)
        elif name == "BODY":
            if value is None or value.upper() not in ("7BIT", "8BITMIME"):
                raise SyntaxFault(replies.BAD_PARAMETER)
        elif name == "SMTPUTF8":
            if value is not None:
                raise SyntaxFault(replies.BAD_PARAMETER)
            utf8 = True
        elif name == "AUTH" and auth:  # taken and not trusted: RFC 4954 5
            if value is None or not _XTEXT.match(value):
                raise SyntaxFault(replies.BAD_PARAMETER)
        else:
            raise SyntaxFault(replies.UNKNOWN_PARAMETER)
    if not path:
        return Path(None, size, utf8)
    return Path(_address(path, utf8, replies.SENDER_SYNTAX), size, utf8)


def rcpt(argument: bytes, utf8: bool) -> Address:
    """``TO:<path>``; no parameter is known. A bare ``postmaster`` (RFC 5321 4.5.1) is an address without a domain."""
    path, parameters = _split(argument, b"TO:", replies.RECIPIENT_SYNTAX)
    for _ in _parameters(parameters, True):
        raise SyntaxFault(replies.UNKNOWN_PARAMETER)
    if path.lower() == "postmaster":
        return Address("postmaster", "")
    return _address(path, utf8, replies.RECIPIENT_SYNTAX)


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
