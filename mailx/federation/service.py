"""What is offered over a channel: named services with methods that take and give plain values.

A method says no with :class:`Refused` (or :class:`Later`, which also says when to come back): the peer is told the reply
and nothing else. Whatever else a method raises is logged here and told to the peer as "local error".

The readers (:func:`text`, :func:`octets`, ...) take one field out of what a peer sent, and refuse with the field's name when
it is missing, of another type, or too long: a method never looks at a field without one of them.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Protocol, TypeAlias

from mailx.mail.printable import printable
from mailx.mail.reply import Refused, Reply

if TYPE_CHECKING:
    from mailx.federation.channel import Channel

Plain: TypeAlias = "None | bool | int | bytes | str | list[Plain] | dict[str, Plain]"
Fields: TypeAlias = "Mapping[str, Plain]"
Method: TypeAlias = "Callable[[Channel, Fields], Awaitable[Fields]]"

UNKNOWN_METHOD = Reply(502, "5.5.1", "No such method here")
LOCAL_ERROR = Reply(451, "4.3.0", "Local error; try again later")
STOPPING = Reply(421, "4.3.2", "The server is stopping; try again later")

REPLY = 300  # characters of a reply's text that are told, and believed
INTEGER = 2**63 - 1  # the largest number that is spoken, and the smallest one negated

_ENHANCED = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}\Z")


class Service(Protocol):
    """One group of methods, reached as the named object ``name``."""

    @property
    def name(self) -> str:
        """Lower case: ``delivery``, ``discovery``, ``contact``."""

    @property
    def methods(self) -> Mapping[str, Method]:
        """By the name that peers call."""


class Later(Refused):
    """Refused at this moment; the peer may come back in ``retry_after`` seconds."""

    def __init__(self, reply: Reply, retry_after: int, reason: str = "") -> None:
        super().__init__(reply, reason)
        self.retry_after = retry_after


def spoken(code: int, enhanced: object, text: str) -> Reply:
    """A reply as the peer said it, made clear: one line that can be seen, and an enhanced code that is one and fits (RFC 3463)."""
    if not isinstance(enhanced, str) or not _ENHANCED.match(enhanced) or int(enhanced[0]) != code // 100:
        enhanced = f"{code // 100}.0.0"
    return Reply(code, enhanced, printable(text[:REPLY]))


def malformed(name: str) -> Refused:
    """The refusal of a field; ``name`` is one of ours, not what the peer sent."""
    return Refused(Reply(501, "5.5.4", f"Field {name} is missing or not as it must be"))


def text(fields: Fields, name: str, most: int, default: str | None = None) -> str:
    """A text of at most ``most`` characters. Without a ``default`` it must be there."""
    value = fields.get(name, default)
    if not isinstance(value, str) or len(value) > most:
        raise malformed(name)
    return value


def octets(fields: Fields, name: str, most: int, default: bytes | None = None) -> bytes:
    """At most ``most`` octets."""
    value = fields.get(name, default)
    if not isinstance(value, bytes) or len(value) > most:
        raise malformed(name)
    return value


def number(fields: Fields, name: str, least: int = 0, most: int = INTEGER, default: int | None = None) -> int:
    """A number from ``least`` to ``most``."""
    value = fields.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise malformed(name)
    return value


def flag(fields: Fields, name: str, default: bool | None = None) -> bool:
    """True or false."""
    value = fields.get(name, default)
    if not isinstance(value, bool):
        raise malformed(name)
    return value


def items(fields: Fields, name: str, most: int, default: list[Plain] | None = None) -> list[Plain]:
    """A list of at most ``most`` items of whatever type; the caller looks at each."""
    value = fields.get(name, default)
    if not isinstance(value, list) or len(value) > most:
        raise malformed(name)
    return value


def texts(fields: Fields, name: str, most: int, each: int, default: list[Plain] | None = None) -> tuple[str, ...]:
    """At most ``most`` texts of at most ``each`` characters."""
    return tuple(text({name: value}, name, each) for value in items(fields, name, most, default))
