"""ENVELOPE, BODYSTRUCTURE and BODY as IMAP writes them (RFC 9051 7.5.2), ready to stand in a FETCH response.

Strings are quoted where IMAP allows it and literals where it does not (CR, LF, octets above 127). NUL may stand in
neither (RFC 9051 4.3) and is left out. Encoded words stay as they are: decoding them is the client's.
"""

from collections.abc import Mapping, Sequence

from mailx.mail import addresses
from mailx.mail.addresses import Entry
from mailx.mail.header import unfold
from mailx.mail.mime import Part
from mailx.mail.parameters import Parameters

STRUCTURE_LIMIT = 4 << 20  # octets
ADDRESSES_LIMIT = 1 << 20  # octets of address fields of all enclosed messages: reading them is what takes time
_ADDRESSED = (b"from", b"sender", b"reply-to", b"to", b"cc", b"bcc")

_SPECIALS = b'"\\\r\n\0'
# RFC 9051 9: a multipart has at least one part.
_NO_PART = b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0)'
_NO_PART_EXTENDED = _NO_PART[:-1] + b" NIL NIL NIL NIL)"


class TooLarge(Exception):
    """The rendering would exceed a limit: show the message as one opaque part."""


def string(value: bytes) -> bytes:
    """``value`` as an IMAP string."""
    if value.isascii() and len(value.translate(None, _SPECIALS)) == len(value):
        return b'"%b"' % value
    value = value.replace(b"\0", b"")
    if value.isascii() and b"\r" not in value and b"\n" not in value:
        return b'"%b"' % value.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    return b"{%d}\r\n%b" % (len(value), value)


def nstring(value: bytes | None) -> bytes:
    """``value`` as an IMAP string, None as NIL."""
    return b"NIL" if value is None else string(value)


def address_list(entries: Sequence[Entry]) -> bytes:
    """``entries`` as the address structures of an ENVELOPE, NIL if there are none."""
    if not entries:
        return b"NIL"
    return b"(%b)" % b"".join(map(_address, entries))


def _address(entry: Entry) -> bytes:
    name, route, mailbox, host = entry
    if route is None and mailbox and host:
        shown = mailbox + host if name is None else b"".join((name, mailbox, host))
        if shown.isascii() and len(shown.translate(None, _SPECIALS)) == len(shown):  # nearly all: one look instead of three
            return b'(NIL NIL "%b" "%b")' % (mailbox, host) if name is None else b'("%b" NIL "%b" "%b")' % (name, mailbox, host)
    return b"(%b %b %b %b)" % (nstring(name), nstring(route), nstring(mailbox), nstring(host))


def envelope(named: Mapping[bytes, bytes], sender: Sequence[Entry], to: Sequence[Entry], cc: Sequence[Entry]) -> bytes:
    """The ENVELOPE of a message with the fields ``named`` (lower-case name to raw value); From, To and Cc come parsed."""
    get = named.get
    origin = address_list(sender)
    return b"(%b %b %b %b %b %b %b %b %b %b)" % (
        _line(get(b"date")),
        _line(get(b"subject")),
        origin,
        _addresses(get(b"sender"), origin),  # RFC 9051 7.5.2: a missing Sender or Reply-To is From
        _addresses(get(b"reply-to"), origin),
        address_list(to),
        address_list(cc),
        _addresses(get(b"bcc"), b"NIL"),
        _line(get(b"in-reply-to")),
        _line(get(b"message-id")),
    )


def _line(value: bytes | None) -> bytes:
    return b"NIL" if value is None else string(unfold(value))


def _addresses(value: bytes | None, instead: bytes) -> bytes:
    if value is None:
        return instead
    entries = addresses.parse(value)
    return address_list(entries) if entries else instead


def structures(part: Part) -> tuple[bytes, bytes]:
    """BODYSTRUCTURE and BODY of ``part``; raises TooLarge."""
    return _Renderer().render(part)


class _Renderer:
    """One rendering, with what is left of its size."""

    __slots__ = ("_addresses", "_left")

    def __init__(self) -> None:
        self._left = STRUCTURE_LIMIT
        self._addresses = ADDRESSES_LIMIT

    def render(self, part: Part) -> tuple[bytes, bytes]:
        """The extended and the plain form of ``part``."""
        extension = b"NIL NIL NIL"
        if part.disposition is not None or part.language or part.location is not None:
            extension = b"%b %b %b" % (_disposition(part), _language(part.language), nstring(part.location))
        if part.type == b"multipart":
            rendered = [self.render(child) for child in part.children] or [(_NO_PART_EXTENDED, _NO_PART)]
            subtype, parameters = string(part.subtype), _parameters(part.params)
            self._spend(len(subtype) + len(parameters) + len(extension) + 4)
            extended = b"(%b %b %b %b)" % (b"".join([pair[0] for pair in rendered]), subtype, parameters, extension)
            return extended, b"(%b %b)" % (b"".join([pair[1] for pair in rendered]), subtype)
        basic = b"%b %b %b %b %b %b %d" % (
            string(part.type),
            string(part.subtype),
            _parameters(part.params),
            nstring(part.id),
            nstring(part.description),
            string(part.encoding),
            part.body_end - part.body_start,
        )
        self._spend(len(basic) + len(extension))
        if part.message is not None:
            inner = self._envelope(part.message)
            extended, plain = self.render(part.message)
            return (
                b"(%b %b %b %d %b %b)" % (basic, inner, extended, part.lines, nstring(part.md5), extension),
                b"(%b %b %b %d)" % (basic, inner, plain, part.lines),
            )
        if part.type == b"text":
            basic = b"%b %d" % (basic, part.lines)
        return b"(%b %b %b)" % (basic, nstring(part.md5), extension), b"(%b)" % basic

    def _envelope(self, part: Part) -> bytes:
        named = part.named
        self._addresses -= sum(len(named[name]) for name in _ADDRESSED if name in named)
        if self._addresses < 0:
            raise TooLarge
        lists = [addresses.parse(named[name]) if name in named else [] for name in (b"from", b"to", b"cc")]
        text = envelope(named, *lists)
        self._spend(len(text))
        return text

    def _spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise TooLarge


def _parameters(parameters: Parameters) -> bytes:
    if not parameters:
        return b"NIL"
    return b"(%b)" % b" ".join([b"%b %b" % (string(name), string(value)) for name, value in parameters])


def _disposition(part: Part) -> bytes:
    if part.disposition is None:
        return b"NIL"
    kind, parameters = part.disposition
    return b"(%b %b)" % (string(kind), _parameters(parameters))


def _language(languages: tuple[bytes, ...]) -> bytes:
    if not languages:
        return b"NIL"
    if len(languages) == 1:
        return string(languages[0])
    return b"(%b)" % b" ".join(map(string, languages))
