"""Encryption at rest: sealed fields, sealed bulk data and keyed hashes. The format is written down in docs/cipher.rst.

Every sealed value begins with a format octet and the number of the data key, so that keys can rotate while old
values stay readable. The purpose chooses the key, the context (a row's guid, a file's name) is authenticated with
it: a value moved to another row or column does not open. Failure means :class:`CipherError`: the value was
damaged, moved, or sealed under a key this server does not hold. All methods may be called from any thread.
"""

import os
from hashlib import blake2b
from struct import Struct

from attrs import field, frozen
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_decrypt as xchacha_decrypt
from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_encrypt as xchacha_encrypt
from nacl.exceptions import CryptoError

KEY_SIZE = 32
SALT_SIZE = 24
TAG_SIZE = 16
HASH_SIZE = 16
_SALTS = 128  # drawn at a time

_FIELD = 1  # format octets
_BULK = 2
_HEAD = Struct(">BH")  # format, number of the data key
_PREFIX = _HEAD.size + SALT_SIZE
_ZERO_NONCE = bytes(12)  # AES-GCM under a key of its own for every object
_LENGTH = Struct(">I")

OVERHEAD = _PREFIX + TAG_SIZE  # octets that sealing adds to a field or to bulk data


class CipherError(Exception):
    """A sealed value does not open: damaged, moved, or sealed under a key that is not here."""


@frozen
class Keys:
    """The opened data keys. ``data`` by number, ``current`` seals, ``lookup`` is the key of all keyed hashes."""

    data: dict[int, bytes] = field(repr=False)
    current: int
    lookup: bytes = field(repr=False)


def subkey(key: bytes, kind: bytes, purpose: bytes) -> bytes:
    """The 32-octet key for one purpose: BLAKE2b keyed with ``key`` over ``kind 00 purpose``."""
    return blake2b(kind + b"\0" + purpose, key=key, digest_size=KEY_SIZE).digest()


class _Salts:
    """Fresh random salts and nonces, each given out once, drawn from the system many at a time.

    Every draw lets go of the interpreter's lock, and under load getting it back costs more than the sealing itself.
    """

    def __init__(self) -> None:
        self._ready: list[bytes] = []
        os.register_at_fork(after_in_child=self._ready.clear)  # a child must never use its parent's

    def next(self) -> bytes:
        try:
            return self._ready.pop()  # atomic: no two threads get the same
        except IndexError:
            drawn = os.urandom(_SALTS * SALT_SIZE)
            self._ready += [drawn[start : start + SALT_SIZE] for start in range(SALT_SIZE, len(drawn), SALT_SIZE)]
            return drawn[:SALT_SIZE]


class Cipher:
    """Seals, opens and hashes under ``keys``."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._field_head = _HEAD.pack(_FIELD, keys.current)
        self._bulk_head = _HEAD.pack(_BULK, keys.current)
        self._salts = _Salts()
        self._subkeys: dict[tuple[bytes, bytes, bytes], bytes] = {}  # (kind, purpose, head) -> key; grows with purposes only

    @property
    def current(self) -> int:
        """Number of the data key that seals."""
        return self._keys.current

    def key(self, kind: bytes, purpose: bytes, number: int) -> bytes:
        """The subkey of data key ``number``; raises CipherError when this server does not hold it."""
        data = self._keys.data.get(number)
        if data is None:
            raise CipherError(f"sealed under data key {number}, which is not in this database")
        return subkey(data, kind, purpose)

    def seal(self, purpose: bytes, context: bytes, plain: bytes) -> bytes:
        """A small field sealed by XChaCha20-Poly1305; ``OVERHEAD`` octets longer than ``plain``."""
        head = self._field_head
        nonce = self._salts.next()
        return head + nonce + xchacha_encrypt(plain, head + context, nonce, self._subkey(b"field", purpose, head))

    def open(self, purpose: bytes, context: bytes, sealed: bytes) -> bytes:
        """What ``seal`` sealed for the same purpose and context; raises CipherError."""
        head = sealed[: _HEAD.size]
        if len(sealed) < OVERHEAD or head[0] != _FIELD:
            raise CipherError("not a sealed field")
        key = self._subkey(b"field", purpose, head)
        try:
            return xchacha_decrypt(sealed[_PREFIX:], head + context, sealed[_HEAD.size : _PREFIX], key)
        except CryptoError:
            raise CipherError("a sealed field was damaged or moved") from None

    def seal_bulk(self, purpose: bytes, context: bytes, plain: bytes) -> bytes:
        """Bulk data sealed by AES-256-GCM under a key of its own; ``OVERHEAD`` octets longer than ``plain``."""
        head = self._bulk_head
        salt = self._salts.next()
        key = blake2b(salt, key=self._subkey(b"bulk", purpose, head), digest_size=KEY_SIZE).digest()
        return head + salt + AESGCM(key).encrypt(_ZERO_NONCE, plain, head + context)

    def open_bulk(self, purpose: bytes, context: bytes, sealed: bytes) -> bytes:
        """What ``seal_bulk`` sealed for the same purpose and context; raises CipherError."""
        head = sealed[: _HEAD.size]
        if len(sealed) < OVERHEAD or head[0] != _BULK:
            raise CipherError("not sealed bulk data")
        key = blake2b(sealed[_HEAD.size : _PREFIX], key=self._subkey(b"bulk", purpose, head), digest_size=KEY_SIZE).digest()
        try:
            return AESGCM(key).decrypt(_ZERO_NONCE, memoryview(sealed)[_PREFIX:], head + context)
        except InvalidTag:
            raise CipherError("sealed bulk data was damaged or moved") from None

    def hash(self, purpose: bytes, scope: bytes, value: bytes) -> bytes:
        """16 octets by which ``value`` is looked up within ``scope`` (an account, a mailbox) without being readable."""
        subkeys = self._subkeys
        key = subkeys.get((b"hash", purpose, b""))
        if key is None:
            key = subkeys[b"hash", purpose, b""] = subkey(self._keys.lookup, b"hash", purpose)
        return blake2b(_LENGTH.pack(len(scope)) + scope + value, key=key, digest_size=HASH_SIZE).digest()

    def _subkey(self, kind: bytes, purpose: bytes, head: bytes) -> bytes:
        key = self._subkeys.get((kind, purpose, head))
        if key is None:
            key = self._subkeys[kind, purpose, head] = self.key(kind, purpose, _HEAD.unpack(head)[1])
        return key
