"""The keys of a user, attested by the user's domain: address, keys, serial, validity.

``sealing`` (X25519) is what mail to the user is sealed to, ``signing`` (Ed25519) what the user's mail is signed by. The
domain key signs each attestation; serials only grow, and an attestation with ``revoked`` says that the address has no
keys any more. Failure means :class:`Malformed`.
"""

from collections.abc import Collection, Sequence

from attrs import field, frozen

from mailx.identity.domain_keys import OVERLAP, SKEW
from mailx.identity.encoding import JSON, KEY_SIZE, Malformed, b64, key_from_text, key_text, unb64
from mailx.identity.statements import Signer, Statement, integer, signed, text
from mailx.mail.address import Address, AddressError

KIND = "user-key"
SERVER, CLIENT = "server", "client"  # holders
VALID_SECONDS = 365 * 86400
_LONGEST = 2 * VALID_SECONDS  # that an attestation may be valid
HISTORY_LIMIT = 64  # attestations of one address that are shown and read at once
_LIMIT = 2048  # octets of a body
_SEALING = "x25519:"


@frozen
class Attestation:
    """What a domain says of one user's keys. Times are seconds since 1970."""

    address: Address
    sealing: bytes  # X25519, public
    signing: bytes  # Ed25519, public
    serial: int
    valid_from: int
    valid_until: int
    holder: str  # SERVER: kept, wrapped, by the user's server; CLIENT: the server never has the private halves
    revoked: bool
    statement: Statement = field(repr=False, eq=False)

    @classmethod
    def of(cls, statement: Statement) -> "Attestation":
        """What ``statement`` attests; raises Malformed. It proves nothing before ``signed_by`` or ``good``."""
        if statement.kind != KIND:
            raise Malformed(f"not a statement of the kind {KIND}")
        body = statement.body
        written = text(body, "address", 320)
        try:
            address = Address.parse(written)
        except AddressError:
            raise Malformed("address is no address") from None
        if str(address) != written or address.key != f"{address.local}@{address.domain}":
            raise Malformed("address is not in its one spelling")
        attestation = cls(
            address,
            sealing_from_text(body.get("sealing")),
            key_from_text(body.get("signing")),
            integer(body, "serial", 1),
            integer(body, "valid_from"),
            integer(body, "valid_until"),
            text(body, "holder", 16),
            _boolean(body.get("revoked")),
            statement,
        )
        if attestation.holder not in (SERVER, CLIENT) or not 0 < attestation.valid_until - attestation.valid_from <= _LONGEST:
            raise Malformed("no such holder, or no such time")
        return attestation

    @classmethod
    def decode(cls, value: object) -> "Attestation":
        """The attestation of an encoded statement; raises Malformed."""
        return cls.of(Statement.decode(value, KIND, _LIMIT))

    def signed_by(self, keys: Collection[bytes]) -> bool:
        """Whether one of the domain's ``keys`` signed it."""
        return any(self.statement.signed_by(key) for key in keys)

    def good(self, keys: Collection[bytes], now: int) -> bool:
        """Whether mail may be sealed to it at ``now``: signed by one of the domain's valid ``keys``, in force, not revoked."""
        return not self.revoked and self.valid_from <= now + SKEW and now < self.valid_until and self.signed_by(keys)


def attested(
    address: Address, sealing: bytes, signing: bytes, serial: int, now: int, holder: str, *domain_keys: Signer, revoked: bool = False
) -> Attestation:
    """A new attestation, valid from ``now`` for VALID_SECONDS; ``address`` in its stored spelling.

    Besides the domain's current key, those before it that are good still sign: not everybody has heard of the new one.
    """
    body: dict[str, JSON] = {
        "address": str(address),
        "sealing": sealing_text(sealing),
        "signing": key_text(signing),
        "serial": serial,
        "valid_from": now,
        "valid_until": now + VALID_SECONDS,
        "holder": holder,
        "revoked": revoked,
    }
    return Attestation.of(signed(KIND, body, *domain_keys))


def accepted(history: Sequence[Attestation], now: int) -> tuple[Attestation, ...]:
    """Those of one address's attestations, oldest first, whose signatures on mail count at ``now``, the newest first.

    After a rotation the keys before stay good for the overlap; a revocation ends everything before it.
    """
    good: list[Attestation] = []
    for index in range(len(history) - 1, -1, -1):
        each = history[index]
        if each.revoked:
            break
        if index + 1 < len(history) and history[index + 1].valid_from + OVERLAP <= now:
            break
        good.append(each)
    return tuple(good)


def sealing_text(public: bytes) -> str:
    """How a public X25519 key is written."""
    return _SEALING + b64(public)


def sealing_from_text(value: object) -> bytes:
    """The public key that ``sealing_text`` wrote; raises Malformed."""
    if not isinstance(value, str) or not value.startswith(_SEALING):
        raise Malformed(f"a key for sealing begins with {_SEALING}")
    return unb64(value[len(_SEALING) :], KEY_SIZE)


def _boolean(value: JSON) -> bool:
    if not isinstance(value, bool):
        raise Malformed("revoked is neither true nor false")
    return value
