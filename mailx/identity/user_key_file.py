"""The file in which the owner's program keeps a user's private keys, sealed under a passphrase.

One JSON object; the key is made of the passphrase by Argon2id (RFC 9106) with the parameters that stand in it, and the content is
sealed by XChaCha20-Poly1305 with everything else in the object as associated data. An empty passphrase leaves the keys to
the protection of the file system. Beside the keys stand the domain keys that the program has seen, so that a change without
announcement is noticed. Slow by design: half a second. Failure means :class:`Malformed`.
"""

import os
from collections.abc import Mapping

from attrs import evolve, field, frozen
from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_decrypt as xchacha_decrypt
from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_encrypt as xchacha_encrypt
from nacl.bindings import crypto_scalarmult_base
from nacl.exceptions import CryptoError
from nacl.pwhash import argon2id

from mailx.identity.domain_keys import DomainKey
from mailx.identity.encoding import JSON, KEY_SIZE, Malformed, b64, canonical, parse, unb64
from mailx.identity.statements import SeedSigner, integer, mapping, text
from mailx.identity.user_keys import Attestation
from mailx.mail.address import Address, AddressError

FORMAT = "mailx-user-keys-1"
FILE_LIMIT = 1 << 20  # octets
FORMER = 32  # earlier keys that are kept
_PASSES, _MEMORY = argon2id.OPSLIMIT_MODERATE, argon2id.MEMLIMIT_MODERATE
_PASSES_LIMIT, _MEMORY_LIMIT = 16, 1 << 30  # what a file may ask for
_SALT, _NONCE = 16, 24


@frozen
class UserKeyFile:
    """What is kept. ``sealing`` is an X25519 private key, ``signing`` an Ed25519 seed; ``former`` are earlier ones of the first kind."""

    address: Address
    sealing: bytes = field(repr=False)
    signing: bytes = field(repr=False)
    former: tuple[bytes, ...] = field(default=(), repr=False)
    attestation: Attestation | None = None
    known: Mapping[str, DomainKey] = field(factory=dict, hash=False)  # domain keys that were seen last

    @classmethod
    def fresh(cls, address: Address) -> "UserKeyFile":
        """New keys."""
        return cls(address, os.urandom(KEY_SIZE), os.urandom(KEY_SIZE))

    def renewed(self) -> "UserKeyFile":
        """New keys; what was sealed to the ones before still opens."""
        former = (self.sealing, *self.former)[:FORMER]
        return evolve(self, sealing=os.urandom(KEY_SIZE), signing=os.urandom(KEY_SIZE), former=former, attestation=None)

    @property
    def privates(self) -> tuple[bytes, ...]:
        """The keys to open with."""
        return (self.sealing, *self.former)

    @property
    def public(self) -> bytes:
        """The key that others seal to."""
        return crypto_scalarmult_base(self.sealing)

    @property
    def signer(self) -> SeedSigner:
        """The key that signs."""
        return SeedSigner(self.signing)

    def seal(self, passphrase: str) -> bytes:
        """The octets of the file; raises Malformed if they are too many."""
        salt, nonce = os.urandom(_SALT), os.urandom(_NONCE)
        kdf: dict[str, JSON] = {"name": "none"}
        if passphrase:
            kdf = {"name": "argon2id", "passes": _PASSES, "memory": _MEMORY, "salt": b64(salt)}
        head: dict[str, JSON] = {"format": FORMAT, "address": str(self.address), "kdf": kdf, "nonce": b64(nonce)}
        content: dict[str, JSON] = {
            "sealing": b64(self.sealing),
            "signing": b64(self.signing),
            "former": [b64(each) for each in self.former],
            "attestation": None if self.attestation is None else self.attestation.statement.encode(),
            "known": {domain: key.statement.encode() for domain, key in self.known.items()},
        }
        key = _key(passphrase, salt, _PASSES, _MEMORY) if passphrase else bytes(KEY_SIZE)
        file = canonical({**head, "sealed": b64(xchacha_encrypt(canonical(content), canonical(head), nonce, key))}) + b"\n"
        if len(file) > FILE_LIMIT:
            raise Malformed("too much for one file")
        return file

    @classmethod
    def open(cls, data: bytes, passphrase: str) -> "UserKeyFile":
        """The file that ``seal`` wrote; raises Malformed."""
        file = _file(data)
        sealed = unb64(file.get("sealed"))
        head = {name: value for name, value in file.items() if name != "sealed"}
        kdf = mapping(file.get("kdf"), "kdf")
        key = bytes(KEY_SIZE)
        if kdf.get("name") == "argon2id":
            passes, memory = integer(kdf, "passes", 1), integer(kdf, "memory", 8192)
            if passes > _PASSES_LIMIT or memory > _MEMORY_LIMIT:
                raise Malformed("the file asks for more work than any program would")
            key = _key(passphrase, unb64(kdf.get("salt"), _SALT), passes, memory)
        elif kdf.get("name") != "none":
            raise Malformed("a way to make keys that is not known")
        try:
            content = mapping(parse(xchacha_decrypt(sealed, canonical(head), unb64(file.get("nonce"), _NONCE), key)), "the content")
        except (CryptoError, ValueError, TypeError):
            raise Malformed("another passphrase, or a damaged file") from None
        former, attested = content.get("former"), content.get("attestation")
        if not isinstance(former, list):
            raise Malformed("former is no list")
        return cls(
            _address(file),
            unb64(content.get("sealing"), KEY_SIZE),
            unb64(content.get("signing"), KEY_SIZE),
            tuple([unb64(each, KEY_SIZE) for each in former[:FORMER]]),
            None if attested is None else Attestation.decode(attested),
            {domain: DomainKey.decode(each) for domain, each in mapping(content.get("known"), "known").items()},
        )


def protected(data: bytes) -> bool:
    """Whether a file needs a passphrase; raises Malformed."""
    return mapping(_file(data).get("kdf"), "kdf").get("name") != "none"


def _file(data: bytes) -> Mapping[str, JSON]:
    file = mapping(parse(data, FILE_LIMIT), "the file")
    if file.get("format") != FORMAT:
        raise Malformed("not a file of a user's keys")
    return file


def _address(file: Mapping[str, JSON]) -> Address:
    try:
        return Address.parse(text(file, "address", 320))
    except AddressError:
        raise Malformed("address is no address") from None


def _key(passphrase: str, salt: bytes, passes: int, memory: int) -> bytes:
    return argon2id.kdf(KEY_SIZE, passphrase.encode("utf-8", "surrogatepass"), salt, opslimit=passes, memlimit=memory)
