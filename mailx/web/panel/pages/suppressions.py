"""The suppression list: addresses that calls of the webhook may not send to."""

from time import time

from mailx.core.users import DirectoryError
from mailx.web.panel.links import shown, to
from mailx.web.panel.page import FormError, Page, Redirect, View, Visit, change, show

PAGE = 50
_MEANINGS = {
    "5.1.1": "no such mailbox",
    "5.1.3": "the name of the mailbox is none",
    "5.1.6": "the mailbox has moved",
    "5.1.10": "the domain takes no mail",
    "5.2.1": "the mailbox is disabled",
}


class Suppressions(Page):
    """The list, its search by an exact address, and changes by hand."""

    path = "/suppressions"
    title = "Suppressed addresses"
    group = "Webhook"

    @show("/suppressions")
    async def index(self, visit: Visit) -> View:
        address = visit.query.get("address", "").strip()[:320]
        before = visit.after()
        problem = ""
        found = []
        if address:
            try:
                one = await self.parts.suppressions.find(address)
                found = [one] if one is not None else []
            except DirectoryError as error:
                problem = error.text
        else:
            found = await self.parts.suppressions.list(before, PAGE + 1)
        context = {
            "entries": [
                {
                    "id": entry.id,
                    "address": shown(entry.address),
                    "why": _MEANINGS.get(entry.reason, "a hard bounce") if entry.reason else "added by hand",
                    "reason": entry.reason,
                    "said": shown(entry.said, 300),
                    "created": entry.created,
                }
                for entry in found[:PAGE]
            ],
            "address": address,
            "problem": problem,
            "total": await self.parts.suppressions.count(),
            "on": self.parts.settings.current.webhook.suppress,
            "older": to("suppressions", query={"after": found[PAGE - 1].id}) if len(found) > PAGE else "",
            "newest": to("suppressions") if before else "",
        }
        return View("suppressions.html", context)

    @change("/suppressions/add", action="suppression.add")
    async def add(self, visit: Visit) -> Redirect:
        try:
            entry = await self.parts.suppressions.add(visit.form.needed("address", 320), visit.form.text("note", limit=300), int(time()))
        except DirectoryError as error:
            raise FormError({"address": f"{error}. {error.remedy}"}) from None
        return Redirect(to("suppressions"), f"Nothing is sent to {entry.address} by calls from now on.")

    @change("/suppressions/remove", action="suppression.remove")
    async def remove(self, visit: Visit) -> Redirect:
        await self.parts.suppressions.drop(visit.form.number("id", 1, 2**62))
        return Redirect(to("suppressions"), "The address may be sent to again.")
