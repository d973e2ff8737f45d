"""Mail whose time is over goes: from Trash and Spam, and from wherever a retention says so.

A message's time counts from when it came into its mailbox, so moving it begins a new one. Work is done in slices with a
pause after each, for whoever else waits for the writer. Failure of the store comes through as Unavailable; what was not
removed is removed by the next pass, and sessions hear of each slice like of any other expunge.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from attrs import frozen
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from mailx.core import audit, metrics
from mailx.core.accounts import Accounts
from mailx.core.content import Threads
from mailx.core.settings import Settings
from mailx.core.users import DirectoryError, User
from mailx.mail.names import MailboxError, normal
from mailx.store import Store
from mailx.store import mailboxes as boxes
from mailx.store import retention as rows
from mailx.store.blobs import Blobs
from mailx.store.cipher import Cipher

log = Logger()

LONGEST = 36500  # days
_DAY = 86400
_PAUSE = 0.02  # seconds between slices
_MAILBOXES = 500  # looked at by one job


@frozen
class Own:
    """What an account has of its own, in days: of all its mail (None: the server's setting), and of mailboxes by name."""

    account: int | None
    mailboxes: dict[str, int]


class Retention:
    """Removes what is due, and keeps how long that takes. ``now`` is the time of day."""

    def __init__(
        self, store: Store, cipher: Cipher, blobs: Blobs, accounts: Accounts, settings: Settings, reactor: Any, now: Callable[[], float]
    ) -> None:
        self._store = store
        self._names = boxes.Names(cipher)
        self._blobs = blobs
        self._accounts = accounts
        self._settings = settings
        self._reactor = reactor
        self._now = now
        self._threads: Threads = partial(deferToThreadPool, reactor, reactor.getThreadPool())
        self._stopped = False

    def stop(self) -> None:
        """Begin no further slice."""
        self._stopped = True

    async def purge(self) -> int:
        """Remove all that is due; returns how many messages. Raises Unavailable."""
        settings = self._settings.current.lifecycle
        days = rows.Days(settings.trash_days, settings.spam_days, settings.retention_days)
        total = after = 0
        while found := await self._store.read(rows.limited, days, after, _MAILBOXES):
            for kept in found:
                if self._stopped:
                    return total
                total += await self._purge(kept)
            after = found[-1].id
        if total:
            metrics.PURGED.inc(total)
            log.info("Mail whose time was over was removed", event="lifecycle.purged", count=total)
        return total

    async def _purge(self, kept: rows.Kept) -> int:
        before = int(self._now()) - kept.days * _DAY
        total = 0
        try:
            while not self._stopped and (uids := await self._store.read(rows.due, kept.id, before, rows.SLICE)):
                total += await self._store.write(rows.purge, kept.id, uids, before)
                await deferLater(self._reactor, _PAUSE)
        except MailboxError:
            return total  # it was deleted meanwhile
        while not self._stopped:
            count, files = await self._store.write(rows.purge_waiting, kept.account, kept.id, before, rows.SLICE)
            for name in files:
                await self._threads(self._blobs.unlink, name)
            total += count
            if count < rows.SLICE:
                break
            await deferLater(self._reactor, _PAUSE)
        return total

    async def own(self, address: str) -> Own:
        """What the account has of its own; raises DirectoryError."""
        details = await self._accounts.find(address)
        found = await self._store.read(rows.own, details.user.id)
        names = {each.id: each.name for each in await self._store.read(boxes.list_all, self._names, details.user.id)} if found else {}
        return Own(details.retention, {names[id]: days for id, days in sorted(found.items()) if id in names})

    async def keep(self, address: str, days: int | None, mailbox: str = "") -> None:
        """Let the account's mail, or that of one mailbox, stay for ``days`` only.

        0: for good; None: as the server's settings have it. Raises DirectoryError.
        """
        if days is not None and not 0 <= days <= LONGEST:
            raise DirectoryError("invalid", f"{days} is no number of days", f"Give 0 to {LONGEST}; 0 keeps mail for good.")
        user = (await self._accounts.find(address)).user
        before = await self.own(address)
        name = normal(mailbox) if mailbox else ""
        was = before.mailboxes.get(name) if name else before.account
        if was == days:
            audit.unchanged()
        what = f"retention of {name}" if name else "retention"
        audit.note(target=str(user.address), before={what: was}, after={what: days})
        if name:
            await self._keep_mailbox(user, name, days)
        else:
            await self._accounts.change(rows.set_account, user.id, days)
        log.info("Retention changed", event="account.retention", user_id=user.id, email=str(user.address), days=days)

    async def _keep_mailbox(self, user: User, name: str, days: int | None) -> None:
        try:
            found = await self._store.read(boxes.find, self._names, user.id, name)
            await self._store.write(rows.set_mailbox, found.id, days)
        except MailboxError:
            raise DirectoryError("not_found", f"{user.address} has no mailbox {name}", "Its owner's mail program shows them.") from None
