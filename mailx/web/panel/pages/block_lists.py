"""Block lists: whom nobody on this server takes mail from. A shared list is shown before it is used."""

from typing import Any

from mailx.core.block_lists import BlockLists as Lists
from mailx.core.block_lists import Preview, SharedList
from mailx.core.users import DirectoryError
from mailx.web.panel.links import shown, to
from mailx.web.panel.page import Page, Redirect, View, Visit, change, show

PAGE = 100
_SHOWN = 500  # entries of a shared list that are shown
_URL = 2000


class BlockLists(Page):
    """The server's own list, and those that others share."""

    path = "/blocklists"
    title = "Block lists"
    group = "Mail"

    @show("/blocklists")
    async def index(self, visit: Visit) -> View:
        own = await self._lists.own()
        number = min(visit.page_number(), max(1, -(-len(own) // PAGE)))
        context: dict[str, Any] = {
            "own": own[(number - 1) * PAGE : number * PAGE],
            "total": len(own),
            "newer": to("blocklists", query={"page": number - 1}) if number > 1 else "",
            "older": to("blocklists", query={"page": number + 1}) if number * PAGE < len(own) else "",
            "lists": [_row(one) for one in await self._lists.shared()],
            "hours": self.parts.settings.current.contacts.list_hours,
        }
        return View("block_lists.html", context)

    @show("/blocklists/<id>")
    async def one(self, visit: Visit) -> View:
        found = await self._lists.show(visit.id())
        entries = await self._lists.entries(found.id, _SHOWN)
        context = {"list": _row(found), "entries": [shown(each, 320) for each in entries], "more": found.entries - len(entries)}
        return View("block_list.html", context, title="Shared block list")

    @change("/blocklists/block", action="blocklist.block")
    async def block(self, visit: Visit) -> Redirect:
        made = await self._lists.block(visit.form.needed("sender", 320))
        return Redirect(to("blocklists"), f"Nobody here gets mail from {made.pattern} any more.")

    @change("/blocklists/unblock", action="blocklist.unblock")
    async def unblock(self, visit: Visit) -> Redirect:
        pattern = await self._lists.unblock(visit.form.needed("sender", 320))
        return Redirect(to("blocklists"), f"{pattern} may write to the accounts of this server again.")

    @change("/blocklists/preview", action="")
    async def preview(self, visit: Visit) -> View:
        found = await self._lists.preview(visit.form.needed("url", _URL), visit.form.text("key", limit=100))
        return View("block_list_preview.html", {"preview": _previewed(found)}, title="A shared block list, before it is used")

    @change("/blocklists/add", action="blocklist.add")
    async def add(self, visit: Visit) -> Redirect:
        form = visit.form
        made = await self._lists.add_shared(form.needed("url", _URL), form.text("key", limit=100), form.needed("digest", 64))
        return Redirect(to("blocklists"), f"The list with {made.entries} entries is in use.")

    @change("/blocklists/refresh", action="blocklist.refresh")
    async def refresh(self, visit: Visit) -> Redirect:
        found = await self._lists.refresh(visit.form.number("id", 1, 2**62), visit.form.ticked("force"))
        if found.trouble:
            return Redirect(to("blocklists"), f"The list stays as it was: {shown(found.trouble)}.", "problem")
        return Redirect(to("blocklists"), f"The list was read; it has {found.entries} entries.")

    @change("/blocklists/remove", action="blocklist.remove")
    async def remove(self, visit: Visit) -> Redirect:
        await self._lists.remove_shared(visit.form.number("id", 1, 2**62))
        return Redirect(to("blocklists"), "The list is not used any more.")

    @property
    def _lists(self) -> Lists:
        if self.parts.block_lists is None:
            raise DirectoryError("not_found", "there are no block lists here")
        return self.parts.block_lists


def _row(one: SharedList) -> dict[str, Any]:
    return {
        "id": one.id,
        "path": to("blocklists", str(one.id)),
        "url": shown(one.url) or "(does not open)",
        "key": one.key,
        "entries": one.entries,
        "serial": one.serial,
        "checked": one.checked,
        "changed": one.changed,
        "trouble": shown(one.trouble),
        "grew": "--force" in one.trouble,
    }


def _previewed(one: Preview) -> dict[str, Any]:
    return {
        "url": one.url,
        "key": one.key,
        "entries": one.entries,
        "new": one.new,
        "wrong": one.wrong,
        "ours": one.ours,
        "serial": one.serial,
        "digest": one.digest,
        "sample": [shown(each, 320) for each in one.sample],
        "more": one.entries - len(one.sample),
    }
