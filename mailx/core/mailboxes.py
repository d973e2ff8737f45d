"""The mailboxes of an account and everything IMAP does with them.

Every "no" is a :class:`MailboxError`; a store that cannot answer raises :class:`mailx.mail.reply.Unavailable`.
Whatever raises has changed nothing that a client can see.
"""

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from attrs import frozen

from mailx.core.changes import Changes
from mailx.core.fetch import Blob, Need, Row
from mailx.core.search import Query
from mailx.core.selected import Selected, Updates
from mailx.core.sort import SortKey
from mailx.mail.mailbox import Mailbox
from mailx.mail.names import MailboxError
from mailx.store import Store

if TYPE_CHECKING:
    from mailx.core.accounts import User
    from mailx.store.blobs import Blobs
    from mailx.store.cipher import Cipher

__all__ = ["Blob", "Copied", "MailboxError", "Mailboxes", "Need", "Quota", "Row", "Selected", "Stored", "Updates"]

Mode = Literal["add", "remove", "replace"]


@frozen
class Quota:
    """Storage of an account in octets; ``limit`` 0 is unlimited."""

    used: int
    limit: int


@frozen
class Stored:
    """The outcome of a STORE: the mailbox's mod-sequence after it, and UIDs, rising."""

    modseq: int
    changed: list[int]  # to which it applied, whether or not a flag of theirs differs now
    failed: list[int]  # left alone: changed after UNCHANGEDSINCE


@frozen
class Copied:
    """The outcome of COPY or MOVE for COPYUID: the target's UIDVALIDITY, and UIDs, side by side and rising."""

    uidvalidity: int
    source: list[int]
    target: list[int]


class Mailboxes:
    """All mailboxes of all accounts."""

    def __init__(self, store: Store, cipher: "Cipher", blobs: "Blobs", changes: Changes, reactor: Any, default_quota: int = 0) -> None:
        """``default_quota`` in octets holds for accounts without one of their own; 0: unlimited."""

    async def list(self, user: "User") -> list[Mailbox]:
        """Every mailbox with its counters, INBOX first, then by name."""
        raise NotImplementedError

    async def status(self, user: "User", name: str) -> Mailbox:
        """One mailbox; raises MailboxError "NONEXISTENT"."""
        raise NotImplementedError

    async def recent(self, mailbox: Mailbox) -> int:
        """How many messages would be \\\\Recent for the next session to select: STATUS RECENT (RFC 3501 6.3.10)."""
        raise NotImplementedError

    async def create(self, user: "User", name: str, special_use: str = "") -> Mailbox:
        raise NotImplementedError

    async def delete(self, user: "User", name: str) -> None:
        raise NotImplementedError

    async def rename(self, user: "User", old: str, new: str) -> None:
        raise NotImplementedError

    async def subscribe(self, user: "User", name: str) -> None:
        raise NotImplementedError

    async def unsubscribe(self, user: "User", name: str) -> None:
        raise NotImplementedError

    async def subscriptions(self, user: "User") -> "list[str]":
        raise NotImplementedError

    async def quota(self, user: "User") -> Quota:
        raise NotImplementedError

    async def select(self, user: "User", name: str, read_only: bool) -> Selected:
        """A session's view of the mailbox; claims what is \\\\Recent unless ``read_only``."""
        raise NotImplementedError

    async def store(
        self, selected: Selected, uids: Sequence[int], mode: Mode, flags: int, keywords: tuple[str, ...],
        unchanged_since: int | None = None, silent: bool = False,
    ) -> Stored:  # fmt: skip
        raise NotImplementedError

    async def expunge(self, selected: Selected, uids: Sequence[int] | None = None) -> "list[int]":
        raise NotImplementedError

    async def copy(self, selected: Selected, uids: Sequence[int], target: str) -> Copied:
        raise NotImplementedError

    async def move(self, selected: Selected, uids: Sequence[int], target: str) -> Copied:
        raise NotImplementedError

    def fetch(self, selected: Selected, uids: Sequence[int], need: Need) -> "AsyncIterator[list[Row]]":
        raise NotImplementedError

    async def read(self, content: bytes | Blob, offset: int = 0, length: int | None = None) -> bytes:
        raise NotImplementedError

    async def search(self, selected: Selected, query: Query) -> "list[int]":
        raise NotImplementedError

    async def sort(self, selected: Selected, keys: Sequence[SortKey], query: Query) -> "list[int]":
        raise NotImplementedError
