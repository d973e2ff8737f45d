"""Contacts: whom an account knows, and whose first mail it is asked about."""

from typing import Any

from mailx.core.contacts import ACCEPTED, BLOCKED, MODES, REQUESTED, Contact
from mailx.core.contacts import Contacts as ContactBook
from mailx.core.users import DirectoryError
from mailx.web.panel.links import asked, shown, to
from mailx.web.panel.page import Page, Redirect, View, Visit, change, show

PAGE = 50
_DEFAULT = "default"
_CHOICES = {
    "federation": "strangers’ mail by federation",
    "all": "all strangers’ mail",
    "none": "nothing",
}
_TRUSTS = {"": "All", REQUESTED: "Requested", ACCEPTED: "Accepted", BLOCKED: "Blocked"}


class Contacts(Page):
    """One book for each account, reached from the page of the account."""

    path = "/accounts"
    title = "Contacts"

    @show("/accounts/<address>/contacts")
    async def index(self, visit: Visit) -> View:
        address = str((await self.parts.accounts.find(visit.path["address"])).user.address)
        trust = asked(visit.query, "trust")
        trust = trust if trust in _TRUSTS else ""
        found, newest, older = await self._page(address, trust, visit)
        wanted = await self._contacts.wanted(address)
        default = self.parts.settings.current.contacts.requests
        context: dict[str, Any] = {
            "address": address,
            "path": to("accounts", address, "contacts"),
            "account": to("accounts", address),
            "blocks": to("accounts", address, "blocks"),
            "contacts": [_row(one) for one in found],
            "counts": await self._contacts.counts(address),
            "trust": trust,
            "trusts": list(_TRUSTS.items()),
            "requests": wanted.requests or _DEFAULT,
            "request_choices": [(_DEFAULT, f"as configured: {_CHOICES[default]}"), *_CHOICES.items()],
            "notices": wanted.notices,
            "newer": newest,
            "older": older,
        }
        return View("contacts.html", context, title=f"Contacts of {address}")

    async def _page(self, address: str, trust: str, visit: Visit) -> tuple[list[Contact], str, str]:
        """The contacts of a page, and where the newest and the older ones are."""
        if trust == BLOCKED:
            every = await self._contacts.list(address, BLOCKED)
            number = min(visit.page_number(), max(1, -(-len(every) // PAGE)))
            links = [to("accounts", address, "contacts", query={"trust": trust, "page": each}) for each in (number - 1, number + 1)]
            return (
                every[(number - 1) * PAGE : number * PAGE],
                links[0] if number > 1 else "",
                links[1] if number * PAGE < len(every) else "",
            )
        before = visit.after()
        found = await self._contacts.list(address, trust, before, PAGE + 1)
        newest = to("accounts", address, "contacts", query={"trust": trust}) if before else ""
        if len(found) <= PAGE:
            return found, newest, ""
        return found[:PAGE], newest, to("accounts", address, "contacts", query={"trust": trust, "after": found[PAGE - 1].place})

    @change("/accounts/<address>/contacts/accept", action="contact.trust")
    async def accept(self, visit: Visit) -> Redirect:
        address = visit.path["address"]
        made = await self._contacts.accept(address, visit.form.needed("contact", 320))
        return self._back(address, f"Mail from {made} goes to the INBOX of {address}.")

    @change("/accounts/<address>/contacts/block", action="contact.trust")
    async def block(self, visit: Visit) -> Redirect:
        address = visit.path["address"]
        made = await self._contacts.block(address, visit.form.needed("contact", 320))
        return self._back(address, f"{address} gets no more mail from {made}.")

    @change("/accounts/<address>/contacts/remove", action="contact.remove")
    async def remove(self, visit: Visit) -> Redirect:
        address = visit.path["address"]
        gone = await self._contacts.remove(address, visit.form.needed("contact", 320))
        return self._back(address, f"{address} knows nothing of {gone} any more.")

    @change("/accounts/<address>/contacts/settings", action="contact.configure")
    async def configure(self, visit: Visit) -> Redirect:
        address = visit.path["address"]
        requests = visit.form.choice("requests", (_DEFAULT, *MODES))
        await self._contacts.configure(address, "" if requests == _DEFAULT else requests, visit.form.ticked("notices"))
        return self._back(address, "The settings were saved.")

    def _back(self, address: str, message: str) -> Redirect:
        return Redirect(to("accounts", address, "contacts"), message)

    @property
    def _contacts(self) -> ContactBook:
        if self.parts.contacts is None:
            raise DirectoryError("not_found", "there are no contacts here")
        return self.parts.contacts


def _row(one: Contact) -> dict[str, Any]:
    return {
        "address": one.address,
        "shown": shown(one.address, 320) or "(does not open)",
        "trust": one.trust,
        "how": "asks" if one.trust == REQUESTED else "chosen" if one.chosen else "was written to",
        "refuses": one.refuses,
        "since": one.since,
    }
