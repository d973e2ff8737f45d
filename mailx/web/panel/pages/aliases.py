"""Aliases: further names of accounts, names whose mail goes on to other servers, and what catches all the rest of a domain."""

from typing import Any

from mailx.core.accounts import ALIAS_TARGETS
from mailx.core.users import Alias
from mailx.web.panel.links import asked, shown, to
from mailx.web.panel.page import FormError, Page, Redirect, View, Visit, change, show

PAGE = 50
_TARGETS_SHOWN = 5


class Aliases(Page):
    """The list of aliases, and one alias to be changed. Names are told by form and query: they may hold any character."""

    path = "/aliases"
    title = "Aliases"
    group = "Directory"

    @show("/aliases")
    async def index(self, visit: Visit) -> View:
        filters = {name: asked(visit.query, name) for name in ("text", "domain")}
        after = asked(visit.query, "after")
        found = await self.parts.accounts.catalogue.aliases(filters["domain"], filters["text"], after, PAGE)
        context = {
            "aliases": [_row(alias) for alias in found.items],
            "filters": filters,
            "filtered": any(filters.values()),
            "newer": to("aliases", query=filters) if after else "",
            "older": to("aliases", query={**filters, "after": found.following}) if found.following else "",
        }
        return View("aliases.html", context)

    @show("/aliases/add")
    async def adding(self, visit: Visit) -> View:
        domain, target = asked(visit.query, "domain"), asked(visit.query, "target")
        context = {"alias": f"@{domain}" if domain else "", "targets": target, "most": ALIAS_TARGETS}
        return View("alias_add.html", context, title="New alias")

    @change("/aliases/add", action="alias.add", shown="adding")
    async def add(self, visit: Visit) -> Redirect:
        made = await self.parts.accounts.add_alias(visit.form.needed("alias", 320), _targets(visit))
        return Redirect("/aliases", _said(made))

    @show("/aliases/edit")
    async def editing(self, visit: Visit) -> View:
        alias = await self.parts.accounts.catalogue.alias(asked(visit.query, "alias") or visit.form.text("alias"))
        targets = "\n".join(str(target) for target in alias.targets)
        context = {"alias": _row(alias), "targets": targets, "most": ALIAS_TARGETS}
        return View("alias_edit.html", context, title=shown(alias.address, 320))

    @change("/aliases/edit", action="alias.change", shown="editing")
    async def edit(self, visit: Visit) -> Redirect:
        name = visit.form.needed("alias", 320)
        await self.parts.accounts.change_alias(name, _targets(visit))
        return Redirect("/aliases", _said(await self.parts.accounts.catalogue.alias(name)))

    @change("/aliases/delete", action="alias.delete")
    async def delete(self, visit: Visit) -> Redirect:
        name = visit.form.needed("alias", 320)
        await self.parts.accounts.delete_alias(name)
        return Redirect("/aliases", f"{shown(name, 320)} was deleted.")


def _targets(visit: Visit) -> list[str]:
    """The addresses of the form, one to a line or with commas between; raises FormError."""
    targets = [each.strip() for line in visit.form.lines("targets", 40000) for each in line.split(",") if each.strip()]
    if not targets:
        raise FormError({"targets": "Name at least one account or address."})
    return targets


def _row(alias: Alias) -> dict[str, Any]:
    remotes = set(alias.remotes)
    targets = [(shown(target, 320), target in remotes) for target in alias.targets]
    address = str(alias.address)
    return {
        "name": address,
        "shown": shown(address, 320),
        "catches_all": alias.address.local == "*",
        "targets": targets[:_TARGETS_SHOWN],
        "more": max(0, len(targets) - _TARGETS_SHOWN),
        "all": targets,
        "created": alias.created,
        "edit": to("aliases", "edit", query={"alias": address}),
    }


def _said(alias: Alias) -> str:
    """What an alias does from now on."""
    remotes = set(alias.remotes)
    served = [str(target) for target in alias.targets if target not in remotes]
    said = [f"{alias.address} reaches {_some(served)}, who may also send as it."] if served else []
    if remotes:
        said.append(f"{alias.address} passes its mail on to {_some([str(target) for target in alias.remotes])}.")
    return shown(" ".join(said))


def _some(names: list[str]) -> str:
    more = len(names) - _TARGETS_SHOWN
    return ", ".join(names[:_TARGETS_SHOWN]) + (f" and {more} more" if more > 0 else "")
