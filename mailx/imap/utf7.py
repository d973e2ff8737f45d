"""Modified UTF-7, the encoding of mailbox names in IMAP4rev1 (RFC 3501 5.1.3).

Only the one canonical spelling of a name is accepted: two spellings of one mailbox would let a client see
two where there is one. Anything else raises ``UTF7Error``.
"""

import re
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64

_PLAIN = re.compile(rb"[\x20-\x7e]*\Z")
_SHIFT = re.compile(rb"&([A-Za-z0-9+,]*)-")
_OUTSIDE = re.compile("[^\x20-\x25\x27-\x7e]+|&")


class UTF7Error(ValueError):
    """The octets are no canonical modified UTF-7."""


def decode(raw: bytes) -> str:
    """The name that ``raw`` spells; raises UTF7Error."""
    if not _PLAIN.match(raw):
        raise UTF7Error("octets outside printable ASCII")
    if b"&" not in raw:
        return raw.decode("ascii")
    pieces = _SHIFT.split(raw)
    if any(b"&" in plain for plain in pieces[::2]):
        raise UTF7Error("unterminated shift")
    text = "".join(_shifted(piece) if index % 2 else piece.decode("ascii") for index, piece in enumerate(pieces))
    if encode(text) != raw:
        raise UTF7Error("not canonical")
    return text


def _shifted(piece: bytes) -> str:
    if not piece:
        return "&"
    try:
        return a2b_base64(piece.replace(b",", b"/") + b"=" * (-len(piece) % 4)).decode("utf-16-be")
    except (Base64Error, UnicodeDecodeError) as error:
        raise UTF7Error("malformed shift") from error


def encode(text: str) -> bytes:
    """``text`` in modified UTF-7; lone surrogates raise UTF7Error."""
    try:
        return _OUTSIDE.sub(_shift, text).encode("ascii")
    except UnicodeEncodeError as error:
        raise UTF7Error("lone surrogate") from error


def _shift(match: re.Match[str]) -> str:
    if match[0] == "&":
        return "&-"
    coded = b2a_base64(match[0].encode("utf-16-be"), newline=False).rstrip(b"=").replace(b"/", b",")
    return f"&{coded.decode('ascii')}-"
