"""Domains: whose mail ends here. A domain that still has accounts or aliases is not deleted; the page says what it has."""

from mailx.web.panel.links import asked, to
from mailx.web.panel.page import FormError, Page, Redirect, View, Visit, change, show
from mailx.web.panel.pages import domain_keys

PAGE = 50


class Domains(Page):
    """The list of domains, and one domain with the ways to all that belongs to it."""

    path = "/domains"
    title = "Domains"
    group = "Directory"

    @show("/domains")
    async def index(self, visit: Visit) -> View:
        text, after = asked(visit.query, "text"), asked(visit.query, "after")
        found = await self.parts.accounts.catalogue.domains(text, after, PAGE)
        older = to("domains", query={"text": text, "after": found.following}) if found.following else ""
        newer = to("domains", query={"text": text}) if after else ""
        return View("domains.html", {"domains": found.items, "text": text, "newer": newer, "older": older})

    @change("/domains/add", action="domain.add")
    async def add(self, visit: Visit) -> Redirect | View:
        name = visit.form.needed("name", 300)
        made = await self.parts.accounts.add_domain(name)
        recovery = await self.parts.domain_keys.ensure(made) if self.parts.domain_keys is not None else None
        if recovery is not None:
            return domain_keys.made(made, recovery)
        return Redirect(to("domains", made), f"{made} was added. Next: its DNS records and signing keys, then its accounts.")

    @show("/domains/<name>")
    async def domain(self, visit: Visit) -> View:
        domain = await self.parts.accounts.catalogue.domain(visit.path["name"])
        keys = await self.parts.signing.keys(domain.name)
        return View("domain.html", {"domain": domain, "keys": keys}, title=domain.name)

    @change("/domains/<name>/delete", action="domain.delete", shown="domain")
    async def delete(self, visit: Visit) -> Redirect:
        domain = await self.parts.accounts.catalogue.domain(visit.path["name"])
        if visit.form.text("confirm").lower() != domain.name:
            raise FormError({"": f"Nothing was deleted: type {domain.name} to confirm."})
        await self.parts.accounts.delete_domain(domain.name)
        return Redirect("/domains", f"{domain.name} was deleted.")
