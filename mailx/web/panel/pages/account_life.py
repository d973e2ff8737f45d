"""The way of an account out of the server: deleted, and erased; and what the page of an account tells of it.

Deleting shows what goes with the account and asks for its address.
"""

from typing import Any

from mailx.core.lifecycle import Lifecycle
from mailx.core.users import Details
from mailx.web.panel.errands import Errand, Errands
from mailx.web.panel.links import to
from mailx.web.panel.page import FormError, Page, Redirect, View, Visit, change, show
from mailx.web.panel.parts import Parts


async def life(parts: Parts, details: Details) -> dict[str, Any]:
    """What the page of an account shows of this."""
    if parts.lifecycle is None:
        return {"retention": None, "retention_default": 0, "erased": None}
    return {
        "retention": await parts.lifecycle.retention.own(str(details.user.address)),
        "retention_default": parts.settings.current.lifecycle.retention_days,
        "erased": parts.lifecycle.departures.ends(details),
    }


def row(details: Details) -> dict[str, Any]:
    """What pages tell of an account."""
    user = details.user
    return {
        "address": str(user.address),
        "domain": user.address.domain,
        "path": to("accounts", str(user.address)),
        "role": user.role,
        "active": user.active,
        "state": user.state,
        "deleted": details.deleted,
        "warned": details.warned,
        "warned_at": details.warned_at,
        "sealed": user.sealed,
        "used": user.used,
        "quota": user.quota,
        "own_quota": details.own_quota is not None,
        "percent": min(100 * user.used // user.quota, 999) if user.quota else None,
        "created": details.created,
        "last_login": details.last_login,
    }


class AccountLife(Page):
    """Reached from the page of the account."""

    path = "/accounts"
    title = "Accounts"

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self._errands = Errands(parts.reactor)

    async def stop(self) -> None:
        """What goes on is finished after the next start."""
        await self._errands.stop()

    @show("/accounts/<address>/delete")
    async def deleting(self, visit: Visit) -> View:
        details = await self.parts.accounts.find(visit.path["address"])
        belongings = await self.parts.accounts.catalogue.belongings(details.user.id)
        grace = self.parts.settings.current.lifecycle.grace_days
        context = {"account": row(details), "belongings": belongings, "grace": grace}
        return View("account_delete.html", context, title=f"Delete {details.user.address}")

    @change("/accounts/<address>/delete", action="user.delete", shown="deleting")
    async def delete(self, visit: Visit) -> Redirect:
        address = await self._confirmed(visit)
        details = await self._lifecycle.departures.delete(address)
        ends = self._lifecycle.departures.ends(details)
        if not self._lifecycle.departures.graceful or ends is None:
            return Redirect("/accounts", f"{address} and its mail were erased.")
        return Redirect(to("accounts", address), f"{address} was deleted. It can be had back until it is erased.")

    @change("/accounts/<address>/erase", action="user.erase", shown="deleting")
    async def erase(self, visit: Visit) -> Redirect:
        address = await self._confirmed(visit)
        errand = Errand(f"Erase {address}", visit.admin.name, "/accounts", self.parts.reactor.seconds())
        await self._errands.run(errand, lambda errand: self._lifecycle.departures.erase(address))
        if errand.ended:
            return Redirect("/accounts", f"{address} and its mail were erased.")
        return Redirect("/accounts", f"{address} is being erased. There is so much mail that removing it goes on for a while.")

    async def _confirmed(self, visit: Visit) -> str:
        address = str((await self.parts.accounts.find(visit.path["address"])).user.address)
        if visit.form.text("confirm", limit=400).lower() != address:
            raise FormError({"confirm": f"Type {address} to confirm."})
        return address

    @property
    def _lifecycle(self) -> Lifecycle:
        assert self.parts.lifecycle is not None
        return self.parts.lifecycle
