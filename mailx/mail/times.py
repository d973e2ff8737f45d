"""Moments as programs exchange them: RFC 3339, in UTC. Pure."""

from datetime import UTC, datetime


def iso(seconds: float) -> str:
    """Seconds since 1970 as ``2027-01-31T12:00:00Z``."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def iso_exact(seconds: float) -> str:
    """The same with milliseconds: ``2027-01-31T12:00:00.250Z``."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
