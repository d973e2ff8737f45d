"""Where the private halves of domain keys are kept: in the database, sealed.

``Keystore`` is what the rest of the server sees, so that keys can live in hardware (PKCS #11) as well: then what is kept
of a key is not its seed but where to find it, and ``export`` refuses. The format is written down in docs/keys.rst.
Failure means :class:`KeyLost`: the key does not open, because it was damaged, moved, or sealed under another secret.
"""

import os
from typing import Protocol

from mailx.identity.encoding import KEY_SIZE
from mailx.identity.statements import SeedSigner
from mailx.store.cipher import Cipher, CipherError

_PURPOSE = b"domain key"
_SECRET_PURPOSE = b"log secret"
_SEED = b"\x01"  # the format: an Ed25519 seed of 32 octets follows


class KeyLost(Exception):
    """A private key does not open. The text is for the administrator."""


class DomainSigner(Protocol):
    """The private key of a domain. It signs, and nothing else of it is seen."""

    @property
    def domain(self) -> str: ...

    @property
    def public(self) -> bytes: ...

    def sign(self, data: bytes) -> bytes: ...


class Keystore(Protocol):
    """Makes and opens domain keys, and seals the secrets of their logs."""

    def make(self, domain: str) -> tuple[DomainSigner, bytes]:
        """A new key, and what the database keeps of it."""

    def adopt(self, domain: str, seed: bytes) -> tuple[DomainSigner, bytes]:
        """The same of a key that comes from a backup; raises KeyLost where keys cannot be brought in."""

    def open(self, domain: str, public: bytes, kept: bytes) -> DomainSigner:
        """The key of which ``kept`` was kept; raises KeyLost."""

    def export(self, domain: str, public: bytes, kept: bytes) -> bytes:
        """Its seed, for a backup; raises KeyLost where keys cannot be taken out."""

    def seal_secret(self, domain: str, secret: bytes) -> bytes:
        """What the database keeps of a domain's log secret."""

    def open_secret(self, domain: str, kept: bytes) -> bytes:
        """The log secret; raises KeyLost."""


class Sealed(SeedSigner):
    """A domain key opened in memory."""

    def __init__(self, domain: str, seed: bytes) -> None:
        super().__init__(seed)
        self._domain = domain

    @property
    def domain(self) -> str:
        return self._domain


class SealedKeystore:
    """Keys sealed under the server's data keys, which the server secret wraps; bound to their domain and public half."""

    def __init__(self, cipher: Cipher) -> None:
        self._cipher = cipher

    def make(self, domain: str) -> tuple[Sealed, bytes]:
        return self.adopt(domain, os.urandom(KEY_SIZE))

    def adopt(self, domain: str, seed: bytes) -> tuple[Sealed, bytes]:
        if len(seed) != KEY_SIZE:
            raise KeyLost("a domain key has 32 octets")
        signer = Sealed(domain, seed)
        return signer, self._cipher.seal(_PURPOSE, _context(domain, signer.public), _SEED + seed)

    def open(self, domain: str, public: bytes, kept: bytes) -> Sealed:
        return Sealed(domain, self.export(domain, public, kept))

    def export(self, domain: str, public: bytes, kept: bytes) -> bytes:
        try:
            opened = self._cipher.open(_PURPOSE, _context(domain, public), kept)
        except CipherError as error:
            raise KeyLost(str(error)) from None
        if len(opened) != 1 + KEY_SIZE or opened[:1] != _SEED:
            raise KeyLost("sealed in a form that this version does not know")
        return opened[1:]

    def seal_secret(self, domain: str, secret: bytes) -> bytes:
        return self._cipher.seal(_SECRET_PURPOSE, domain.encode("ascii"), secret)

    def open_secret(self, domain: str, kept: bytes) -> bytes:
        try:
            return self._cipher.open(_SECRET_PURPOSE, domain.encode("ascii"), kept)
        except CipherError as error:
            raise KeyLost(str(error)) from None


def _context(domain: str, public: bytes) -> bytes:
    return domain.encode("ascii") + b"\0" + public
