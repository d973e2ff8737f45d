"""Block lists: the senders that an account wants no mail from."""

from mailx.web.panel.links import to
from mailx.web.panel.page import Page, Redirect, View, Visit, change, show

PAGE = 100


class Blocks(Page):
    """One list for each account, reached from the page of the account."""

    path = "/accounts"
    title = "Blocked senders"

    @show("/accounts/<address>/blocks")
    async def index(self, visit: Visit) -> View:
        address = str((await self.parts.accounts.find(visit.path["address"])).user.address)
        found = await self.parts.accounts.blocks(address)
        number = min(visit.page_number(), max(1, -(-len(found) // PAGE)))
        path = to("accounts", address, "blocks")
        context = {
            "address": address,
            "path": path,
            "account": to("accounts", address),
            "blocks": found[(number - 1) * PAGE : number * PAGE],
            "total": len(found),
            "newer": to("accounts", address, "blocks", query={"page": number - 1}) if number > 1 else "",
            "older": to("accounts", address, "blocks", query={"page": number + 1}) if number * PAGE < len(found) else "",
        }
        return View("blocks.html", context, title=f"Senders blocked by {address}")

    @change("/accounts/<address>/blocks/add", action="block.add")
    async def add(self, visit: Visit) -> Redirect:
        address = visit.path["address"]
        made = await self.parts.accounts.block(address, visit.form.needed("sender", 320))
        return Redirect(to("accounts", address, "blocks"), f"{address} gets no more mail from {made.pattern}.")

    @change("/accounts/<address>/blocks/delete", action="block.delete")
    async def delete(self, visit: Visit) -> Redirect:
        address, sender = visit.path["address"], visit.form.needed("sender", 320)
        await self.parts.accounts.unblock(address, sender)
        return Redirect(to("accounts", address, "blocks"), f"{address} gets mail from {sender} again.")
