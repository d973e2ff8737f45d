"""Content out of its transfer encoding, in pieces (RFC 2045 6): what BINARY gives out (RFC 3516 4.3).

Nothing raises: what is no base64 is skipped, what is no quoted-printable stays. A decoder holds less than a line.
"""

from binascii import a2b_base64
from typing import Protocol

from mailx.mail.text import decode_transfer

_NOT_BASE64 = bytes(c for c in range(256) if not (chr(c).isascii() and (chr(c).isalnum() or chr(c) in "+/=")))
_LINE = 65536  # octets of a line of quoted-printable that are waited for


class Decoder(Protocol):
    """Takes what is encoded piece by piece and gives what it says."""

    def feed(self, octets: bytes) -> bytes: ...

    def finish(self) -> bytes: ...


class _Same:
    def feed(self, octets: bytes) -> bytes:
        return octets

    def finish(self) -> bytes:
        return b""


class _Base64:
    def __init__(self) -> None:
        self._rest = b""
        self._over = False  # the padding has come

    def feed(self, octets: bytes) -> bytes:
        if self._over:
            return b""
        letters = self._rest + octets.translate(None, _NOT_BASE64)
        end = letters.find(b"=")
        if end >= 0:
            self._over = True
            letters = letters[:end]
        whole = len(letters) - len(letters) % 4
        self._rest = letters[whole:]
        return a2b_base64(letters[:whole])

    def finish(self) -> bytes:
        rest, self._rest, self._over = self._rest, b"", True
        return a2b_base64(rest + b"=" * (4 - len(rest))) if len(rest) > 1 else b""


class _QuotedPrintable:
    def __init__(self) -> None:
        self._rest = b""

    def feed(self, octets: bytes) -> bytes:
        octets = self._rest + octets
        end = octets.rfind(b"\n") + 1
        if not end and len(octets) > _LINE:  # no line at all: cut where no octet's code is cut in two
            end = len(octets) - 3
            end -= next((back for back in (1, 2) if octets[end - back] == 61), 0)
        self._rest = octets[end:]
        return decode_transfer(octets[:end], "quoted-printable")

    def finish(self) -> bytes:
        rest, self._rest = self._rest, b""
        return decode_transfer(rest, "quoted-printable")


_DECODERS: dict[str, type[Decoder]] = {
    "7bit": _Same,
    "8bit": _Same,
    "binary": _Same,
    "base64": _Base64,
    "quoted-printable": _QuotedPrintable,
}


def decoder(encoding: str) -> Decoder | None:
    """A decoder of ``encoding`` (lower case); None for one that nobody knows."""
    kind = _DECODERS.get(encoding)
    return None if kind is None else kind()


def unchanged(encoding: str) -> bool:
    """Whether ``encoding`` leaves octets as they are."""
    return _DECODERS.get(encoding) is _Same
