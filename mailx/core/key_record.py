"""Public keys of signers, as DNS holds them (RFC 6376 3.6.1, RFC 8463): read within limits, and asked whether they signed.

Pure but for a small cache of keys read. ``KeyProblem`` is a key that nothing can be verified with, and says how it counts:
"permerror" for a record that is none or is withdrawn, "policy" for a key that is too weak or too large to be believed.
"""

from base64 import b64decode
from binascii import Error
from functools import lru_cache

from attrs import frozen
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from mailx.mail.tags import MalformedTags, compact, parse

LEAST_BITS = 1024  # RFC 8301 3.2
MOST_BITS = 4096  # verifying costs time, and the exponent is the signer's choice too
_EXPONENT_BITS = 33
_RECORD_OCTETS = 4096
_PKCS1 = PKCS1v15()
_SHA256 = Prehashed(SHA256())
# What stands before a bare RSAPublicKey to make it the SubjectPublicKeyInfo that the library reads: a SEQUENCE with the
# algorithm rsaEncryption and a BIT STRING (RFC 3279 2.3.1). Some signers publish the bare form (RFC 6376 3.6.1 says both).
_RSA_ALGORITHM = bytes.fromhex("300d06092a864886f70d0101010500")


class Unusable(Exception):
    """Nothing can be verified with this, or need be; ``result`` is of RFC 8601 2.7.1, the reason is safe to show."""

    def __init__(self, result: str, reason: str) -> None:
        super().__init__(reason)
        self.result = result
        self.reason = reason


class KeyProblem(Unusable):
    """There is no usable key."""


@frozen
class Key:
    """A key and what its record says of its use."""

    public: RSAPublicKey | Ed25519PublicKey
    hashes: frozenset[str]  # empty: all
    strict: bool  # t=s: i= names the very domain of d=
    testing: bool  # t=y
    bits: int

    @property
    def kind(self) -> str:
        return "rsa" if isinstance(self.public, RSAPublicKey) else "ed25519"

    @property
    def takes_sha256(self) -> bool:
        return not self.hashes or "sha256" in self.hashes

    def signed(self, digest: bytes, signature: bytes) -> bool:
        """Whether ``signature`` is this key's over the SHA-256 ``digest``."""
        try:
            if isinstance(self.public, RSAPublicKey):
                self.public.verify(signature, digest, _PKCS1, _SHA256)
            else:
                self.public.verify(signature, digest)  # RFC 8463 3: PureEd25519 over the hash
        except (InvalidSignature, ValueError):
            return False
        return True


def read(record: bytes) -> Key:
    """The key of one TXT record; raises KeyProblem."""
    found = _read(record)
    if isinstance(found, KeyProblem):
        raise KeyProblem(found.result, found.reason)
    return found


@lru_cache(maxsize=2000)  # who sends much signs with few keys, and reading one costs as much as verifying
def _read(record: bytes) -> Key | KeyProblem:
    if len(record) > _RECORD_OCTETS:
        return KeyProblem("permerror", "key record too large")
    try:
        tags = parse(record.decode("ascii"))
    except (MalformedTags, UnicodeDecodeError):
        return KeyProblem("permerror", "malformed key record")
    version, kind, services = tags.get("v", "DKIM1"), tags.get("k", "rsa"), _listed(tags.get("s", "*"))
    if version != "DKIM1" or ("v" in tags and next(iter(tags)) != "v") or "p" not in tags:
        return KeyProblem("permerror", "malformed key record")
    if not tags["p"]:
        return KeyProblem("permerror", "key revoked")
    if not services & {"*", "email"}:
        return KeyProblem("permerror", "key not for mail")
    flags = _listed(tags.get("t", ""))
    try:
        data = b64decode(compact(tags["p"]), validate=True)
    except (Error, ValueError):
        return KeyProblem("permerror", "malformed key")
    public = _public(kind, data)
    if isinstance(public, KeyProblem):
        return public
    bits = public.key_size if isinstance(public, RSAPublicKey) else 256
    return Key(public, _listed(tags.get("h", "")), "s" in flags, "y" in flags, bits)


def _public(kind: str, data: bytes) -> RSAPublicKey | Ed25519PublicKey | KeyProblem:
    try:
        if kind == "ed25519":
            return Ed25519PublicKey.from_public_bytes(data)
        if kind != "rsa":
            return KeyProblem("permerror", "unknown kind of key")
        if len(data) > MOST_BITS // 8 + 64:
            return KeyProblem("policy", "key too large")
        try:
            public = load_der_public_key(data)
        except ValueError:
            public = load_der_public_key(_wrapped(data))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return KeyProblem("permerror", "malformed key")
    if not isinstance(public, RSAPublicKey):
        return KeyProblem("permerror", "malformed key")
    if public.key_size < LEAST_BITS:
        return KeyProblem("policy", "key too short")
    if public.key_size > MOST_BITS or public.public_numbers().e.bit_length() > _EXPONENT_BITS:
        return KeyProblem("policy", "key too large")
    return public


def _wrapped(key: bytes) -> bytes:
    """A bare RSAPublicKey as SubjectPublicKeyInfo."""
    return _der(0x30, _RSA_ALGORITHM + _der(0x03, b"\0" + key))


def _der(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 128:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def _listed(value: str) -> frozenset[str]:
    """The words of a list with colons."""
    return frozenset(word.strip() for word in value.split(":") if word.strip())
