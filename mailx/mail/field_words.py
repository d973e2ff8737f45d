"""Header fields with octets above 127 written in seven bits: encoded words (RFC 2047), parameter values (RFC 2231).

Read by :func:`mailx.mail.header.decode` they say what they said. ``Unwritable`` means that the field has no place for such
octets that an encoding is defined for: an address, a Message-ID, a boundary.
"""

import re
from binascii import b2a_base64
from urllib.parse import quote

from mailx.mail import parameters
from mailx.mail.address import Address
from mailx.mail.addresses import GROUP_END, Entry
from mailx.mail.addresses import parse as parse_addresses
from mailx.mail.header import decode

_ADDRESSES = frozenset(
    b"from sender reply-to to cc bcc resent-from resent-sender resent-reply-to resent-to resent-cc resent-bcc"
    b" disposition-notification-to errors-to mail-followup-to mail-reply-to".split()
)
_PARAMETERS = frozenset((b"content-type", b"content-disposition"))
# Neither words nor addresses: nothing in them may be encoded.
_STRUCTURED = frozenset(
    b"received return-path date message-id in-reply-to references mime-version content-id content-transfer-encoding content-location"
    b" resent-date resent-message-id dkim-signature authentication-results arc-seal arc-message-signature arc-authentication-results"
    b" received-spf auto-submitted precedence list-id list-post list-help list-owner list-archive list-subscribe list-unsubscribe"
    b" list-unsubscribe-post".split()
)
_ATOMS = re.compile(rb"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*\Z")
_WORD_OCTETS = 42  # of UTF-8 in an encoded word: 68 columns, so that a name and a comma fit beside it (RFC 2047 2 allows 75)
_VALUE_LIMIT = 250  # characters of a parameter that are encoded on one line


class Unwritable(ValueError):
    """The field cannot be written in seven bits."""


def seven_bit_field(name: bytes, value: bytes) -> bytes:
    """The whole field ``name`` with its raw ``value``, in seven bits, with its line end; raises Unwritable."""
    kind = name.lower()
    if kind in _STRUCTURED:
        raise Unwritable(kind)
    if kind in _ADDRESSES:
        written = b",\r\n ".join(_lists(parse_addresses(value)))
    elif kind in _PARAMETERS:
        written = _with_parameters(kind, value)
    else:
        written = words(decode(value))
    return name + b": " + written + b"\r\n"


def words(text: str) -> bytes:
    """``text`` as encoded words in UTF-8, one a line."""
    found: list[bytes] = []
    piece = b""
    for character in text:
        octets = character.encode("utf-8", "replace")
        if len(piece) + len(octets) > _WORD_OCTETS:
            found.append(piece)
            piece = b""
        piece += octets
    found.append(piece)
    return b"\r\n ".join(b"=?utf-8?B?" + b2a_base64(each, newline=False) + b"?=" for each in found)


def _lists(entries: list[Entry]) -> list[bytes]:
    """What stands between the commas of an address list."""
    found: list[bytes] = []
    group: list[bytes] | None = None
    opening = b""
    for entry in entries:
        if entry == GROUP_END:
            found.append(opening + b",\r\n ".join(group or []) + b";")
            group = None
        elif entry.host is None:
            group, opening = [], _phrase(entry.mailbox or b"") + b": "
        elif group is not None:
            group.append(_mailbox(entry))
        else:
            found.append(_mailbox(entry))
    if not found:
        raise Unwritable("no address")
    return found


def _mailbox(entry: Entry) -> bytes:
    if entry.mailbox is None or entry.host is None or not entry.mailbox.isascii() or not entry.host.isascii():
        raise Unwritable("address")
    address = str(Address(entry.mailbox.decode("ascii"), entry.host.decode("ascii"))).encode("ascii")
    return address if entry.name is None else _phrase(entry.name) + b" <" + address + b">"


def _phrase(name: bytes) -> bytes:
    if not name.isascii():
        return words(decode(name))
    return name if _ATOMS.match(name) else b'"' + re.sub(rb'([\\"])', rb"\\\1", name) + b'"'


def _with_parameters(kind: bytes, value: bytes) -> bytes:
    if kind == b"content-type":
        declared = parameters.content_type(value)
        head, found = (b"/".join(declared[:2]), declared[2]) if declared is not None else (b"", ())
    else:
        head, found = parameters.disposition(value) or (b"", ())
    if not head or not head.isascii():
        raise Unwritable(kind)
    pieces = [head]
    for name, each in found:
        if not name.isascii() or (not each.isascii() and (name == b"boundary" or name.endswith(b"*"))):
            raise Unwritable(kind)
        if each.isascii():
            quoted = each if name.endswith(b"*") else b'"' + re.sub(rb'([\\"])', rb"\\\1", each) + b'"'
            pieces.append(name + b"=" + quoted)
            continue
        text = parameters.text(((name, each),), name)
        if len(text) > _VALUE_LIMIT:
            raise Unwritable(kind)
        pieces.append(name + b"*=utf-8''" + quote(text, safe="").encode("ascii"))
    return b";\r\n\t".join(pieces)
