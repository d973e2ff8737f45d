"""Moments as programs exchange them and header fields have them, and durations for people; all in UTC. Pure."""

from datetime import UTC, datetime
from email.utils import formatdate
from functools import lru_cache

_STEPS = ((86400, "day"), (3600, "hour"), (60, "minute"))


def iso(seconds: float) -> str:
    """Seconds since 1970 as ``2027-01-31T12:00:00Z``."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def iso_exact(seconds: float) -> str:
    """The same with milliseconds: ``2027-01-31T12:00:00.250Z``."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@lru_cache(maxsize=16)
def date_field(seconds: int) -> str:
    """The same as a Date field has it (RFC 5322 3.3): ``Sun, 31 Jan 2027 12:00:00 +0000``."""
    return formatdate(seconds).replace("-0000", "+0000")


def duration(seconds: float) -> str:
    """Its two largest units: ``2 days 3 hours``, ``12 seconds``."""
    left = int(seconds)
    texts = []
    for length, name in _STEPS:
        count, left = divmod(left, length)
        if count:
            texts.append(f"{count:,} {name}{'s' * (count != 1)}")
        elif texts:
            break
        if len(texts) == 2:
            break
    return " ".join(texts) or f"{left} second{'s' * (left != 1)}"
