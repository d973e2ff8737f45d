"""The request of a user's program to have its keys attested: the public halves, signed by the one that signs.

The signature proves that whoever asks holds the private half; that the account is theirs the password proves. Failure means
:class:`Malformed`.
"""

from attrs import frozen

from mailx.identity.encoding import JSON, Malformed, key_from_text, key_text
from mailx.identity.statements import Signer, Statement, integer, signed, text
from mailx.identity.user_keys import sealing_from_text, sealing_text
from mailx.mail.address import Address, AddressError

KIND = "user-key-request"
LIMIT = 4096  # octets of an encoded request
FRESH = 3600  # seconds for which one counts, before and after


@frozen
class Enrolment:
    """A request, and by whose key it is signed."""

    address: Address
    sealing: bytes  # X25519
    signing: bytes  # Ed25519
    created: int  # seconds since 1970

    @classmethod
    def decode(cls, value: JSON, now: int) -> "Enrolment":
        """The request, whose signature is right and whose time is now; raises Malformed."""
        statement = Statement.decode(value, KIND, LIMIT)
        body = statement.body
        try:
            address = Address.parse(text(body, "address", 320))
        except AddressError:
            raise Malformed("address is no address") from None
        made = cls(address, sealing_from_text(body.get("sealing")), key_from_text(body.get("signing")), integer(body, "created"))
        if not statement.signed_by(made.signing):
            raise Malformed("not signed by the key that it names")
        if abs(now - made.created) > FRESH:
            raise Malformed("made too long ago, or the clock is wrong")
        return made


def requested(address: Address, sealing: bytes, signer: Signer, now: int) -> Statement:
    """A request for these keys."""
    body: dict[str, JSON] = {
        "address": str(address),
        "sealing": sealing_text(sealing),
        "signing": key_text(signer.public),
        "created": now,
    }
    return signed(KIND, body, signer)
