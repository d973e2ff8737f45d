"""What a part of the public site is: routes, and what answers them with values.

A part refuses by raising :class:`Declined`; ``Unavailable`` and ``Busy`` become 503, everything else 500 without a word of why.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from attrs import frozen

from mailx.identity.encoding import canonical
from mailx.web.requests import Answer, Asked

Names: TypeAlias = Mapping[str, str]  # what stands in the path where the rule has <name>

JSON_TYPE = "application/json"


@frozen
class Route:
    """``call(asked, names)`` answers ``method`` at ``rule`` ("/identity/<address>"); a GET is asked by HEAD, too."""

    method: str
    rule: str
    call: Callable[[Asked, Names], Awaitable[Answer]]
    body_limit: int = 0  # octets that a request may bring


class Part(Protocol):
    """A group of routes."""

    def routes(self) -> Sequence[Route]: ...


class Declined(Exception):
    """The request is refused with ``status`` and a text that is safe to show."""

    def __init__(self, status: int, text: str, retry_after: int = 0) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.retry_after = retry_after


def json_answer(value: Any, status: int = 200, fresh: int = 0) -> Answer:
    """``value`` as canonical JSON, which caches may keep for ``fresh`` seconds; raises Malformed if it cannot be written."""
    return octets_answer(canonical(value), JSON_TYPE, status, fresh)


def octets_answer(body: bytes, kind: str, status: int = 200, fresh: int = 0) -> Answer:
    """``body`` of the media type ``kind``."""
    kept = f"public, max-age={fresh}" if fresh else "no-store"
    return Answer(status, body, {"content-type": kind, "cache-control": kept, "cross-origin-resource-policy": "cross-origin"})


def error_answer(status: int, text: str, retry_after: int = 0) -> Answer:
    """What every refusal looks like."""
    answer = json_answer({"error": text}, status)
    if retry_after:
        return Answer(status, answer.body, {**answer.headers, "retry-after": str(retry_after)})
    return answer
