"""Header fields in UTF-8 (RFC 6532) for clients that read seven bits only: what stands in for them (RFC 6858 2).

Words become encoded words; an address that cannot be written keeps its name and becomes one that reaches nobody. Octets
that are no UTF-8 are nobody's promise: they stay as they are. Never raises.
"""

from mailx.mail import addresses, header, structure
from mailx.mail.addresses import Entry
from mailx.mail.field_words import Unwritable, seven_bit_field, words
from mailx.mail.header import unfold

NOWHERE = Entry(None, None, b"internationalized-address", b"address.invalid")  # RFC 6858 2.1, RFC 6761 6.4
_ASKED = bytes(range(128)) + b"?" * 128
_ADDRESSES = frozenset(b"from sender reply-to to cc bcc".split())
_KEPT = frozenset((b"content-type",))  # a boundary with other octets would be none any more
ENVELOPE = frozenset(b"date subject from sender reply-to to cc bcc in-reply-to message-id".split())


def needed(octets: bytes) -> bool:
    """Whether a header block, or a part of one, is in UTF-8 and not in seven bits."""
    if octets.isascii():
        return False
    try:
        octets.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def block(octets: bytes) -> bytes:
    """A header block, or fields of one, with every field in seven bits."""
    if not needed(octets):
        return octets
    pieces: list[bytes] = []
    position = 0
    for raw, name, value in header.split(octets, 0, len(octets), header.BLOCK_LIMIT):
        if raw.isascii():
            continue
        start = octets.index(raw, position)
        pieces += (octets[position:start], _field(raw, name, value))
        position = start + len(raw)
    pieces.append(octets[position:])
    return b"".join(pieces)


def envelope(octets: bytes) -> bytes:
    """The ENVELOPE of the fields ``octets``, which are those that ENVELOPE names."""
    fields = block(octets)
    named = header.first(header.split(fields, 0, len(fields)))
    lists = [addresses.parse(named[name]) if name in named else [] for name in (b"from", b"to", b"cc")]
    return structure.envelope(named, *lists)


def _field(raw: bytes, name: bytes, value: bytes) -> bytes:
    try:
        return seven_bit_field(name, value)
    except Unwritable:
        pass
    kind = name.lower()
    if kind in _ADDRESSES:
        found = addresses.parse(value)
        written = b",\r\n ".join(map(_mailbox, found)) if found else words(header.decode(value))
        return name + b": " + written + b"\r\n"
    return raw if kind in _KEPT else raw.translate(_ASKED)


def _mailbox(entry: Entry) -> bytes:
    mailbox, host = entry.mailbox or b"", entry.host or b""
    if mailbox.isascii() and host.isascii():
        return _named(entry.name, mailbox, host)
    shown = unfold(entry.name) if entry.name else mailbox + b"@" * bool(host) + host
    return _named(shown, NOWHERE.mailbox or b"", NOWHERE.host or b"")


def _named(name: bytes | None, mailbox: bytes, host: bytes) -> bytes:
    address = mailbox + b"@" * bool(host) + host
    return b"<%b>" % address if name is None else b"%b <%b>" % (words(header.decode(name)), address)
