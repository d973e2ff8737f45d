"""Blocked senders: refused at delivery time, whichever way the mail comes, with one and the same answer.

An account's own list is asked for each recipient, the server's lists too; both also know who wrote a message, whatever its envelope
says (:mod:`mailx.core.first_contact` asks an account's list for that). The server's lists do not concern our own accounts,
and nothing concerns what this server itself reports.
"""

from typing import Protocol

from mailx.core import metrics
from mailx.core.accounts import Accounts, User
from mailx.core.contact_identity import claimed
from mailx.core.content import Threads
from mailx.core.policy import Findings, Policy
from mailx.mail.address import Address
from mailx.mail.envelope import GENERATED, Envelope, Origin
from mailx.mail.reply import Reply

BLOCKED = Reply(550, "5.7.1", "Sender not accepted by recipient")


class Lists(Protocol):
    """:class:`mailx.core.block_lists.BlockLists`."""

    @property
    def active(self) -> bool: ...

    def blocks(self, sender: Address | None, domain: str = "") -> bool: ...


class Blocking(Policy):
    """The policy. Without ``lists`` there are those of the accounts alone; ``threads`` runs what may take long."""

    def __init__(self, accounts: Accounts, lists: Lists | None = None, threads: Threads | None = None) -> None:
        self._accounts = accounts
        self._lists = lists
        self._threads = threads

    async def recipient(self, origin: Origin, sender: Address | None, user: User) -> Reply | None:
        if origin.protocol == GENERATED:
            return None
        if self._lists is not None and not origin.ours and self._lists.blocks(sender, origin.domain):
            metrics.BLOCKED.labels("server").inc()
            return BLOCKED
        if await self._accounts.blocked(user.id, sender):
            metrics.BLOCKED.labels("account").inc()
            return BLOCKED
        return None

    async def check(self, envelope: Envelope, findings: Findings) -> Reply | None:
        """The author, where the envelope names somebody else."""
        if self._lists is None or self._threads is None or envelope.origin.ours or not self._lists.active:
            return None
        if any(map(self._lists.blocks, await claimed(envelope.message, self._threads))):
            metrics.BLOCKED.labels("server").inc()
            return BLOCKED
        return None
