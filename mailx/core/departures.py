"""The way out of an account: deleted, had back within its grace, erased after it.

A deleted account keeps its address and its mail, but nobody logs in and no mail comes. Erasing takes the person's addresses
out of the logs first and the account last: whatever cuts it short, the account is still there, marked, and the next pass
goes on. What is refused rises as DirectoryError; failure of the store is Unavailable.
"""

from collections.abc import Callable

from twisted.logger import Logger

from mailx.core import audit
from mailx.core.accounts import Accounts
from mailx.core.audit import Actor
from mailx.core.forgetting import Forgetting
from mailx.core.settings import Settings
from mailx.core.users import DELETED, Details, DirectoryError
from mailx.mail.address import Address
from mailx.store import Store
from mailx.store import accounts as rows

log = Logger()

_DAY = 86400
_SLICE = 50  # accounts erased before it is looked again who is due
_SERVER = Actor("server", "server")


class Departures:
    """Deletes, restores and erases accounts. ``now`` is the time of day."""

    def __init__(self, store: Store, accounts: Accounts, forgetting: Forgetting, settings: Settings, now: Callable[[], float]) -> None:
        self._store = store
        self._accounts = accounts
        self._forgetting = forgetting
        self._settings = settings
        self._now = now
        self._stopped = False

    def stop(self) -> None:
        """Begin to erase no further account."""
        self._stopped = True

    @property
    def graceful(self) -> bool:
        """Whether a deleted account can be had back at all."""
        return self._settings.current.lifecycle.grace_days > 0

    def ends(self, details: Details) -> int | None:
        """When a deleted account is erased, in seconds since 1970; None: it is not deleted."""
        return None if details.deleted is None else details.deleted + self._settings.current.lifecycle.grace_days * _DAY

    async def delete(self, address: str | Address) -> Details:
        """No login and no mail from now on; erased when the grace is over. With no days of grace that is at once."""
        user = (await self._accounts.find(address)).user
        if user.state == DELETED:
            raise DirectoryError("in_use", f"{user.address} is deleted already", f"Erase it now: `mailxctl user erase {user.address}`.")
        audit.note(target=str(user.address), before={"state": user.state}, after={"state": DELETED})
        await self._accounts.change(rows.delete, user.id, int(self._now()))
        self._accounts.revoke(user.id)
        log.info("Account deleted", event="account.deleted", user_id=user.id, email=str(user.address))
        details = await self._accounts.find(user.address)
        if not self.graceful:
            await self._accounts.change(rows.condemn, user.id)
            await self._erase(details)
        return details

    async def restore(self, address: str | Address) -> Details:
        """Have a deleted account back, with all it held."""
        user = (await self._accounts.find(address)).user
        if user.state != DELETED:
            raise DirectoryError("in_use", f"{user.address} is not deleted", "There is nothing to be had back.")
        if not (await self._accounts.find(user.address)).deleted:
            raise DirectoryError("in_use", f"{user.address} is being erased", "It cannot be had back any more.")
        audit.note(target=str(user.address), before={"state": DELETED}, after={"state": "active"})
        await self._accounts.change(rows.restore, user.id)
        log.info("Account restored", event="account.restored", user_id=user.id, email=str(user.address))
        return await self._accounts.find(user.address)

    async def erase(self, address: str | Address) -> None:
        """Remove the account with all that is its owner's, now and for good, and its addresses from the logs."""
        details = await self._accounts.find(address)
        user = details.user
        audit.note(target=_unnamed(details), before={"role": user.role, "state": user.state})
        await self._accounts.change(rows.condemn, user.id)
        self._accounts.revoke(user.id)
        await self._erase(details)

    async def erase_due(self) -> int:
        """Erase every account whose grace is over; returns how many. Raises Unavailable."""
        total = 0
        while True:
            before = int(self._now()) - self._settings.current.lifecycle.grace_days * _DAY
            found = await self._store.read(rows.deleted, before, _SLICE)
            erased = 0
            for id in found:
                if self._stopped:
                    return total + erased
                erased += await self._erase_one(id, before)
            total += erased
            if len(found) < _SLICE or not erased:
                return total

    async def _erase_one(self, id: int, before: int) -> bool:
        """Erase an account that is due; False if it was restored meanwhile, or erased by another node."""
        user = await self._accounts.fresh(id)
        if user is None:
            return False
        with audit.acting(_SERVER, "user.erase"):
            try:
                with audit.apart():
                    await self._accounts.change(rows.condemn_due, id, before)
                await self._erase(await self._accounts.find(user.address))
            except DirectoryError:
                return False
        return True

    async def _erase(self, details: Details) -> None:
        user = details.user
        with audit.apart():
            belongings = await self._accounts.catalogue.belongings(user.id)
            forgotten = await self._forgetting.forget([str(user.address), *belongings.aliases])
        log.info(
            "A person's addresses were taken out of the logs",
            event="account.forgotten",
            user_id=user.id,
            timelines=forgotten.timelines,
            deliveries=forgotten.deliveries,
            audit=forgotten.audit,
            calls=forgotten.calls,
            suppressions=forgotten.suppressions,
            alerts=forgotten.alerts,
        )
        await self._accounts.erase_user(user.address)


def _unnamed(details: Details) -> str:
    """What the audit log calls an account that is erased."""
    return f"account {details.user.id} of {details.user.address.domain}"
