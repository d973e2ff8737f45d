"""Policies: who may send what to whom, asked in their order before anything is stored.

A policy answers None for "no objection" or the Reply to refuse with; it never raises for a mail reason. What
concerns one recipient is answered at RCPT, so that the others of the same message are still served.
"""

from collections.abc import Callable

from attrs import Factory, define
from zope.interface import Interface, implementer

from mailx.core.accounts import User
from mailx.core.content import TOO_LARGE
from mailx.mail.address import Address
from mailx.mail.envelope import Envelope, Origin
from mailx.mail.reply import Reply


@define
class Findings:
    """What the policies found out about one message besides yes and no; each adds its own."""

    fields: bytes = b""  # header fields to put before the message, each with its CRLF
    results: str = ""  # the value of the Authentication-Results field behind the server's name
    junk: bool = False  # whether it belongs into the Spam folder
    undo: list[Callable[[], None]] = Factory(list)  # what to call if the message is not stored after all
    verdicts: dict[str, str] = Factory(dict)  # for the log and the timeline: {"spf": "pass", "dkim": "pass example.org", ...}


class IPolicy(Interface):
    """One reason to refuse mail."""

    async def sender(origin: Origin, sender: Address | None, size: int | None) -> Reply | None:
        """Asked at MAIL; ``size`` is what the client announced in octets, None if it did not."""

    async def recipient(origin: Origin, sender: Address | None, user: User) -> Reply | None:
        """Asked at RCPT, and again before storing, for each account that a recipient reaches."""

    async def check(envelope: Envelope, findings: Findings) -> Reply | None:
        """Asked when the message is whole; what it found goes into ``findings``."""


@implementer(IPolicy)
class Policy:
    """A policy without objections: the base of those that have one at one moment only."""

    async def sender(self, origin: Origin, sender: Address | None, size: int | None) -> Reply | None:
        return None

    async def recipient(self, origin: Origin, sender: Address | None, user: User) -> Reply | None:
        return None

    async def check(self, envelope: Envelope, findings: Findings) -> Reply | None:
        return None


class MessageSize(Policy):
    """No message of more than ``limit`` octets (RFC 1870 6.1); 0: no limit. What an owner files is the edge's affair."""

    def __init__(self, limit: int) -> None:
        self._limit = limit

    async def sender(self, origin: Origin, sender: Address | None, size: int | None) -> Reply | None:
        return TOO_LARGE if self._limit and size is not None and size > self._limit else None
