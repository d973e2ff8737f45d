"""Counters found wrong and put right: what mailboxes say they hold, and what accounts are charged.

Every change keeps the counters in its own transaction, so nothing should ever be found. What is found is logged: it tells
of a fault, or of a database that was edited by hand.
"""

from attrs import frozen
from twisted.logger import Logger

from mailx.core import audit
from mailx.core.accounts import Accounts
from mailx.store import Store
from mailx.store import recounts as rows

log = Logger()

_AGAIN = 5  # times that an account is counted anew because another node was at it
_PAGE = 500  # accounts


@frozen
class Recount:
    """What was put right of one account."""

    address: str
    messages: int  # counted
    used: int  # octets that the charge changed
    mailboxes: int  # whose counters changed

    @property
    def drifted(self) -> bool:
        return bool(self.used or self.mailboxes)


class Recounting:
    """Counts accounts anew."""

    def __init__(self, store: Store, accounts: Accounts) -> None:
        self._store = store
        self._accounts = accounts

    async def account(self, address: str) -> Recount:
        """Count one account, and put right what is wrong. Raises DirectoryError, Unavailable."""
        user = (await self._accounts.find(address)).user
        return await self._recount(user.id, str(user.address))

    async def page(self, after: int = 0, limit: int = _PAGE) -> tuple[list[Recount], int | None]:
        """The same of at most ``limit`` accounts with ids above ``after``, and where to go on; None: that was all."""
        found = await self._accounts.users(None, after, limit)
        recounts = [await self._recount(details.user.id, str(details.user.address)) for details in found]
        return recounts, found[-1].user.id if len(found) == limit else None

    async def _recount(self, id: int, address: str) -> Recount:
        for _ in range(_AGAIN):
            drift = await self._store.read(rows.compare, id)
            if drift is None or not drift.any:
                return Recount(address, 0 if drift is None else drift.counted, 0, 0)
            after = {"used": drift.used, "mailboxes": len(drift.mailboxes)}
            with audit.step("user.recalculate", address):
                audit.note(target=address, after=after, changed=bool)
                mended: bool = await self._accounts.change(rows.mend, drift)
            if mended:
                text = "Counters of an account were wrong and were put right"
                log.warn(text, event="account.recounted", user_id=id, email=address, used=drift.used, mailboxes=len(drift.mailboxes))
                return Recount(address, drift.counted, drift.used, len(drift.mailboxes))
        return Recount(address, 0, 0, 0)
