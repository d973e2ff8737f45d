"""Signatures of calls: who knows the shared secret, and that the call is not an old one.

The signature is the HMAC-SHA-256 of the timestamp as sent, a dot, and the octets of the body as sent. Whatever is wrong with it
gets one and the same answer.
"""

import hmac
import re
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256

from mailx.web.webhook.answers import Declined

_HEX = re.compile(rb"[0-9A-Fa-f]{64}\Z")
_TIMESTAMP = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?(?:([Zz])|([+-])(\d\d):?(\d\d)?)?\Z", re.ASCII
)
_LIMIT = 64  # characters of a timestamp


def missing() -> Declined:
    """The answer to a call without a signature."""
    return Declined(401, "missing signature")


def wrong() -> Declined:
    """The answer to whatever is wrong with one."""
    return Declined(401, "invalid signature")


def moment(text: str) -> float | None:
    """The ISO 8601 moment ``text`` in seconds since 1970, UTC where it names no zone; None if it is none."""
    match = _TIMESTAMP.match(text) if len(text) <= _LIMIT else None
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, _, sign, hours, minutes = match.groups()
    offset = timedelta()
    if sign is not None:
        offset = timedelta(hours=int(hours), minutes=int(minutes or 0))
        if offset >= timedelta(days=1) or int(minutes or 0) > 59:
            return None
    zone = timezone(-offset if sign == "-" else offset) if offset else UTC
    microsecond = int((fraction or "0").ljust(6, "0")[:6])
    try:
        when = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second or 0), microsecond, zone)
        return (when.astimezone(UTC) if offset else when).timestamp()  # in UTC it must lie within the calendar too
    except (ValueError, OverflowError):
        return None


def verify(secret: bytes, timestamp: bytes | None, signature: bytes | None, signed: bytes, now: float, skew: float) -> bytes:
    """The signature in octets, if it is good. ``signed`` is the body; raises Declined."""
    if not timestamp or not signature:
        raise missing()
    if not _HEX.match(signature):
        raise wrong()
    given = bytes.fromhex(signature.decode())
    # The time is looked at last, so that an answer's delay tells nothing about either.
    right = hmac.compare_digest(hmac.digest(secret, b"%b.%b" % (timestamp, signed), sha256), given)
    made = moment(timestamp.decode("latin-1"))
    if not right or made is None or abs(now - made) > skew:
        raise wrong()
    return given
