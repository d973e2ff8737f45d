"""The second factor of administrators: one-time passwords by the clock (TOTP, RFC 6238) and recovery codes. Pure.

A code that was used, or one before it, is never good again: whoever keeps the last step that was used sees to that
(RFC 6238 5.2).
"""

import hmac
import secrets
from base64 import b32encode

import pyotp
from attrs import field, frozen

STEP_SECONDS = 30
DRIFT = 1  # steps that the clock of the telephone may be off, either way
RECOVERY_CODES = 10
_CODE_OCTETS = 10  # 80 bits: 16 letters and digits
_GROUP = 4
_ALIKE = str.maketrans("018", "olb")  # base32 has none of these: whoever read one meant its neighbour


@frozen
class Offer:
    """A secret to put into an authenticator application: as text, and as the URI that a QR code holds."""

    secret: str = field(repr=False)
    uri: str = field(repr=False)


def new_secret() -> str:
    """160 random bits, as RFC 4226 4 advises, in base32."""
    return pyotp.random_base32()


def offer(secret: str, name: str, issuer: str) -> Offer:
    """The offer of ``secret`` to the administrator ``name`` of the server ``issuer``."""
    return Offer(secret, pyotp.TOTP(secret).provisioning_uri(name=name, issuer_name=issuer))


def matching_step(secret: str, code: str, last: int, now: float) -> int:
    """The step whose code this is, later than ``last``; 0 when it is none. Takes the same time either way."""
    totp, current = pyotp.TOTP(secret), int(now) // STEP_SECONDS
    given = "".join(code.split()).encode("utf-8", "surrogatepass")
    found = 0
    for step in range(current - DRIFT, current + DRIFT + 1):
        if hmac.compare_digest(totp.generate_otp(step).encode(), given) and step > last and not found:
            found = step
    return found


def is_one_time(code: str) -> bool:
    """Whether ``code`` has the form of a one-time password, not of a recovery code."""
    text = "".join(code.split())
    return len(text) == 6 and text.isascii() and text.isdigit()


def new_code() -> str:
    """A fresh code of 80 random bits that can be read out and typed: ``k3vz-m2ha-7qxd-w5pn``."""
    text = b32encode(secrets.token_bytes(_CODE_OCTETS)).decode("ascii").lower()
    return "-".join(text[start : start + _GROUP] for start in range(0, len(text), _GROUP))


def normal_code(typed: str) -> str:
    """What all ways to type one code share: no dashes or spaces, lower case, letters for the digits that look like them."""
    return "".join(letter for letter in typed.lower() if letter.isalnum()).translate(_ALIKE)[:64]
