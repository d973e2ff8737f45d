"""Signed statements: everything that one MailX server proves to another has this form.

A statement is its kind, a plain body and signatures over ``mailx-1 KIND LF canonical body``: the kind stands in what is
signed, so that a statement of one kind never passes for one of another. Decoding checks the form and never a
signature; whoever reads a statement says whose signature it needs (``signed_by``). Failure means :class:`Malformed`.
"""

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Protocol

from attrs import field, frozen
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from mailx.identity.encoding import JSON, KEY_SIZE, Malformed, b64, canonical, key_from_text, key_text, unb64

SIGNATURE_SIZE = 64
SIGNATURES_LIMIT = 4  # of one statement: the key it introduces, the one before, the recovery keys
BODY_LIMIT = 65536  # octets of a canonical body, unless a kind says otherwise
_PREFIX = b"mailx-1 "
_DOMAIN_LIMIT = 253  # characters
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\Z")


class Signer(Protocol):
    """A private key that signs: in memory, or in hardware that never gives it away."""

    @property
    def public(self) -> bytes: ...

    def sign(self, data: bytes) -> bytes:
        """The 64 octets of the Ed25519 signature (RFC 8032) over ``data``."""


class SeedSigner:
    """A private Ed25519 key in memory, of 32 octets."""

    def __init__(self, seed: bytes) -> None:
        self._key = SigningKey(seed)
        self._public = bytes(self._key.verify_key)

    @property
    def public(self) -> bytes:
        return self._public

    def sign(self, data: bytes) -> bytes:
        return self._key.sign(data).signature


def verify(public: bytes, data: bytes, signature: bytes) -> bool:
    """Whether ``signature`` is that of ``public`` over ``data``; false for whatever is no key or no signature."""
    if len(public) != KEY_SIZE or len(signature) != SIGNATURE_SIZE:
        return False
    try:
        VerifyKey(public).verify(data, signature)
    except (BadSignatureError, ValueError, RuntimeError):  # libsodium refuses keys of small order
        return False
    return True


@frozen
class Signature:
    """One signature and the public key that it is said to be of."""

    key: bytes
    signature: bytes


@frozen
class Statement:
    """What is stated, and by whom."""

    kind: str
    body: Mapping[str, JSON] = field(hash=False)
    signatures: tuple[Signature, ...]
    _signed: bytes = field(init=False, default=b"", eq=False, repr=False)  # what the signatures are made over, once it was written

    def encode(self) -> dict[str, JSON]:
        """The statement as plain JSON."""
        return {
            "kind": self.kind,
            "body": dict(self.body),
            "signatures": [{"key": key_text(each.key), "signature": b64(each.signature)} for each in self.signatures],
        }

    @classmethod
    def decode(cls, value: object, kind: str, limit: int = BODY_LIMIT) -> "Statement":
        """The statement of ``kind`` that ``encode`` wrote, its body of at most ``limit`` octets; raises Malformed."""
        statement = mapping(value, "a statement")
        if statement.get("kind") != kind:
            raise Malformed(f"not a statement of the kind {kind}")
        body = mapping(statement.get("body"), "a body")
        data = signed_octets(kind, body)
        if len(data) - len(_head(kind)) > limit:
            raise Malformed(f"a body of more than {limit} octets")
        listed = statement.get("signatures")
        if not isinstance(listed, list) or not 1 <= len(listed) <= SIGNATURES_LIMIT:
            raise Malformed(f"not 1 to {SIGNATURES_LIMIT} signatures")
        signatures = []
        for each in listed:
            each = mapping(each, "a signature")
            signatures.append(Signature(key_from_text(each.get("key")), unb64(each.get("signature"), SIGNATURE_SIZE)))
        made = cls(kind, body, tuple(signatures))
        object.__setattr__(made, "_signed", data)
        return made

    @property
    def octets(self) -> bytes:
        """What the signatures are made over."""
        return self._signed or signed_octets(self.kind, self.body)

    def signed_by(self, public: bytes) -> bool:
        """Whether one of the signatures is a valid one of ``public``."""
        data = self.octets
        return any(each.key == public and verify(public, data, each.signature) for each in self.signatures)

    @property
    def digest(self) -> bytes:
        """SHA-256 of what is signed: names the statement whoever signed it."""
        return sha256(self.octets).digest()


def signed(kind: str, body: Mapping[str, JSON], *signers: Signer) -> Statement:
    """A statement signed by each of ``signers``; raises Malformed if the body cannot be written."""
    data = signed_octets(kind, body)
    return Statement(kind, body, tuple(Signature(each.public, each.sign(data)) for each in signers))


def signed_octets(kind: str, body: Mapping[str, JSON]) -> bytes:
    """What the signatures of a statement are made over."""
    return _head(kind) + canonical(body)


def _head(kind: str) -> bytes:
    return _PREFIX + kind.encode("ascii") + b"\n"


# Members of hostile bodies


def mapping(value: object, what: str) -> Mapping[str, JSON]:
    """``value`` if it is a JSON object; raises Malformed."""
    if not isinstance(value, dict):
        raise Malformed(f"{what} is no object")
    return value


def text(body: Mapping[str, JSON], name: str, limit: int = 255) -> str:
    """The member ``name`` of at most ``limit`` characters; raises Malformed."""
    value = body.get(name)
    if not isinstance(value, str) or len(value) > limit:
        raise Malformed(f"{name} is no text of at most {limit} characters")
    return value


def integer(body: Mapping[str, JSON], name: str, least: int = 0) -> int:
    """The member ``name``, at least ``least``; raises Malformed."""
    value = body.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise Malformed(f"{name} is no integer from {least}")
    return value


def is_domain(value: str) -> bool:
    """Whether ``value`` is a domain in lower case and A-labels."""
    return len(value) <= _DOMAIN_LIMIT and _DOMAIN.match(value) is not None


def domain_name(body: Mapping[str, JSON], name: str = "domain") -> str:
    """The member ``name``: a domain in lower case and A-labels; raises Malformed."""
    value = text(body, name, _DOMAIN_LIMIT)
    if not is_domain(value):
        raise Malformed(f"{name} is no domain in lower case and A-labels")
    return value
