"""Blocked senders: refused at delivery time, whichever way the mail comes, with one and the same answer.

An account's own list is asked for each recipient, the server's lists too; both also know who wrote a message, whatever its envelope
says (:mod:`mailx.core.first_contact` asks an account's list for that). The server's lists do not concern our own accounts,
and nothing concerns what this server itself reports.
"""

from typing import Protocol

from mailx.core import metrics
from mailx.core.accounts import Accounts, User
from mailx.core.contact_identity import author
from mailx.core.content import Threads
from mailx.core.policy import BLOCKED, Findings, Policy
from mailx.mail.address import Address
from mailx.mail.envelope import GENERATED, Envelope, Origin
from mailx.mail.reply import Reply


class Lists(Protocol):
    """:class:`mailx.core.block_lists.BlockLists`."""

    @property
    def active(self) -> bool: ...

    def blocks(self, sender: Address | None, domain: str = "") -> bool: ...


class Blocking(Policy):
    """The policy. ``threads`` runs what may take long."""

    def __init__(self, accounts: Accounts, lists: Lists, threads: Threads) -> None:
        self._accounts = accounts
        self._lists = lists
        self._threads = threads

    async def recipient(self, origin: Origin, sender: Address | None, user: User) -> Reply | None:
        if origin.protocol == GENERATED:
            return None
        if not origin.ours and self._lists.blocks(sender, origin.domain):
            metrics.BLOCKED.labels("server").inc()
            return BLOCKED
        if await self._accounts.blocked(user.id, sender):
            metrics.BLOCKED.labels("account").inc()
            return BLOCKED
        return None

    async def check(self, envelope: Envelope, findings: Findings) -> Reply | None:
        """The author, where the envelope names somebody else."""
        if envelope.origin.ours or not self._lists.active:
            return None
        if self._lists.blocks(await author(envelope.message, self._threads)):
            metrics.BLOCKED.labels("server").inc()
            return BLOCKED
        return None
