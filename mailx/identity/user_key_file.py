"""The file in which the owner's program keeps a user's private keys, sealed under a passphrase.

Its form is that of :mod:`mailx.identity.passphrase_file`; an empty passphrase leaves the keys to the protection of the file
system. Beside the keys stand the domain keys that the program has seen, so that a change without announcement is noticed.
Failure means :class:`Malformed`.
"""

import os
from collections.abc import Mapping

from attrs import evolve, field, frozen
from nacl.bindings import crypto_scalarmult_base

from mailx.identity import passphrase_file
from mailx.identity.domain_keys import DomainKey
from mailx.identity.encoding import JSON, KEY_SIZE, Malformed, b64, unb64
from mailx.identity.statements import SeedSigner, mapping, text
from mailx.identity.user_keys import Attestation
from mailx.mail.address import Address, AddressError

FORMAT = "mailx-user-keys-1"
FILE_LIMIT = 1 << 20  # octets
FORMER = 32  # earlier keys that are kept


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
        content: dict[str, JSON] = {
            "sealing": b64(self.sealing),
            "signing": b64(self.signing),
            "former": [b64(each) for each in self.former],
            "attestation": None if self.attestation is None else self.attestation.statement.encode(),
            "known": {domain: key.statement.encode() for domain, key in self.known.items()},
        }
        file = passphrase_file.write({"format": FORMAT, "address": str(self.address)}, content, passphrase)
        if len(file) > FILE_LIMIT:
            raise Malformed("too much for one file")
        return file

    @classmethod
    def open(cls, data: bytes, passphrase: str) -> "UserKeyFile":
        """The file that ``seal`` wrote; raises Malformed."""
        file = _file(data)
        content = passphrase_file.read(file, passphrase, FILE_LIMIT)
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
    return passphrase_file.protected(_file(data))


def _file(data: bytes) -> Mapping[str, JSON]:
    return passphrase_file.head(data, FORMAT, FILE_LIMIT)


def _address(file: Mapping[str, JSON]) -> Address:
    try:
        return Address.parse(text(file, "address", 320))
    except AddressError:
        raise Malformed("address is no address") from None
