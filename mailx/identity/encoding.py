"""How identity writes values: canonical JSON, base64url and the text of keys.

What is signed must be the same octets everywhere, so there is exactly one way to write a value (a subset of RFC 8785
without fractions), and only that way is read. Everything read is hostile: anything else is :class:`Malformed`.
"""

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping, Sequence
from typing import NoReturn, TypeAlias

JSON: TypeAlias = "None | bool | int | str | Sequence[JSON] | Mapping[str, JSON]"

KEY_SIZE = 32  # octets of an Ed25519 or X25519 public key
DEPTH_LIMIT = 16  # levels of lists and objects
TEXT_LIMIT = 1 << 20  # octets of one JSON text
_INTEGER = (1 << 53) - 1  # what every JSON reader keeps exactly (RFC 8259 6)
_DIGITS = 17
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*\Z")
_KEY = "ed25519:"


class Malformed(ValueError):
    """The value is not what it should be; the text names what is wrong and holds nothing of the value."""


def canonical(value: JSON) -> bytes:
    """The one JSON text of ``value``: sorted keys, no spaces, UTF-8, integers only; raises Malformed."""
    _check(value, DEPTH_LIMIT)
    try:
        return _encode(value).encode("utf-8")
    except UnicodeEncodeError:
        raise Malformed("a text holds half a character") from None


def parse(text: bytes, limit: int = TEXT_LIMIT) -> JSON:
    """The value of a JSON text of at most ``limit`` octets, spaces allowed, no member twice, no fractions; raises Malformed."""
    if len(text) > limit:
        raise Malformed(f"longer than {limit} octets")
    try:
        value: JSON = _decode(text.decode("utf-8"))
    except Malformed:
        raise
    except (ValueError, RecursionError):  # the decoder's own texts quote the value
        raise Malformed("not JSON") from None
    _check(value, DEPTH_LIMIT)
    return value


def b64(data: bytes) -> str:
    """base64url without padding (RFC 4648 5)."""
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def unb64(text: object, length: int | None = None) -> bytes:
    """What ``b64`` wrote, of exactly ``length`` octets if given; raises Malformed, also for another spelling of the same octets."""
    if not isinstance(text, str) or not _BASE64URL.match(text):
        raise Malformed("not base64url")
    try:
        data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except Base64Error:
        raise Malformed("not base64url") from None
    if b64(data) != text:
        raise Malformed("not base64url")
    if length is not None and len(data) != length:
        raise Malformed(f"not {length} octets")
    return data


def key_text(public: bytes) -> str:
    """How a public Ed25519 key is written."""
    return _KEY + b64(public)


def key_from_text(text: object) -> bytes:
    """The public key that ``key_text`` wrote; raises Malformed."""
    if not isinstance(text, str) or not text.startswith(_KEY):
        raise Malformed(f"a key begins with {_KEY}")
    return unb64(text[len(_KEY) :], KEY_SIZE)


def _check(value: object, depth: int) -> None:
    """Raise Malformed unless ``value`` is plain and bounded."""
    if value is None or isinstance(value, (bool, str)):
        return
    if isinstance(value, int):
        if not -_INTEGER <= value <= _INTEGER:
            raise Malformed("an integer out of range")
    elif not depth:
        raise Malformed(f"nested deeper than {DEPTH_LIMIT} levels")
    elif isinstance(value, Mapping):
        for name, member in value.items():
            if not isinstance(name, str):
                raise Malformed("the name of a member is no text")
            _check(member, depth - 1)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _check(item, depth - 1)
    else:
        raise Malformed("neither text, integer, list nor object")


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise Malformed("neither text, integer, list nor object")


def _members(pairs: list[tuple[str, JSON]]) -> dict[str, JSON]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Malformed("a member stands twice")
    return members


def _integer(text: str) -> int:
    if len(text) > _DIGITS:
        raise Malformed("an integer out of range")
    return int(text)


def _refuse(text: str) -> NoReturn:
    raise Malformed("a number that is no integer")


_encode = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=_plain).encode
_decode = json.JSONDecoder(object_pairs_hook=_members, parse_int=_integer, parse_float=_refuse, parse_constant=_refuse).decode
