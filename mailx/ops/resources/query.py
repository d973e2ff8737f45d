"""What every resource works with: the request as its methods get it, and how times are written."""

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any, TypeAlias, TypeVar

from attrs import frozen

from mailx.core.users import DirectoryError
from mailx.mail.times import iso

JSON: TypeAlias = Any
T = TypeVar("T")


@frozen
class Query:
    """One request: what its path names, the query string and the JSON body."""

    path: Mapping[str, str]
    parameters: Mapping[str, str]
    body: Mapping[str, JSON]

    def text(self, name: str) -> str:
        """The text ``name`` of the body."""
        value = self.body.get(name)
        if not isinstance(value, str):
            raise DirectoryError("invalid", f"{name} must be given as text")
        return value

    def number(self, name: str, default: int) -> int:
        """The number ``name`` of the query string."""
        text = self.parameters.get(name, str(default))
        if not text.isascii() or not text.isdigit() or len(text) > 18:
            raise DirectoryError("invalid", f"{name} must be a number")
        return int(text)

    def quota(self) -> int | None:
        """The ``quota`` of the body: octets, or null for the configured default."""
        value = self.body.get("quota")
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise DirectoryError("invalid", "quota must be a number of octets, or null for the default")
        return value


@frozen
class Streamed:
    """An answer that is no JSON and may be long: it goes out as it is made."""

    content_type: str
    parts: AsyncIterator[bytes]


def running(part: T | None, text: str, remedy: str = "Start the server.") -> T:
    """The ``part`` of a running server; raises DirectoryError with ``text`` when there is none."""
    if part is None:
        raise DirectoryError("not_found", text, remedy)
    return part


def moment(seconds: int | None) -> str | None:
    """Seconds since 1970 as the API writes a time."""
    return None if seconds is None else iso(seconds)


def seconds(text: str, name: str) -> float:
    """The time ``text`` (ISO 8601; without a zone it is UTC) in seconds since 1970; raises DirectoryError."""
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise DirectoryError("invalid", f"{name} is not a time", "Write it like 2027-01-31T12:00:00Z.") from None
