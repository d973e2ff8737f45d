"""What the receiver says: answers as values, and the one exception for "no"."""

import json
from collections.abc import Mapping
from typing import Any

from attrs import Factory, frozen

JSON = "application/json"


@frozen
class Answer:
    """One answer. ``value`` is sent as JSON; ``allow`` and ``retry_after`` (seconds) are headers where they are set."""

    status: int
    value: Mapping[str, Any] = Factory(dict)
    allow: str = ""
    retry_after: int = 0

    def body(self) -> bytes:
        """The value as octets."""
        return json.dumps(self.value).encode()


class Declined(Exception):
    """The call is refused, and nothing of it is kept. Everything in it may be shown to the caller."""

    def __init__(self, status: int, error: str, field: str = "", *, allow: str = "", retry_after: int = 0) -> None:
        super().__init__(error)
        value = {"ok": False, "error": error}
        if field:
            value["field"] = field
        self.error = error
        self.answer = Answer(status, value, allow, retry_after)


class Invalid(Declined):
    """A field of the body has a value that it may not have."""

    def __init__(self, field: str, reason: str, status: int = 400) -> None:
        super().__init__(status, f"invalid {field}: {reason}", field)
        self.field = field
        self.reason = reason
