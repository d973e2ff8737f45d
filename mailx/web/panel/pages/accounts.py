"""Accounts: searching a large directory a page at a time, and everything that is done to accounts.

A password that was generated is on the answer to the POST and nowhere else. Changes of several accounts are asked about on a
page of their own; each account gets its own row in the audit log.
"""

from mailx.core import audit, person_export
from mailx.core.catalogue import Wanted
from mailx.core.client_ports import client_ports
from mailx.core.lifecycle import Lifecycle
from mailx.core.passwords import generate
from mailx.core.users import ACTIVE, ROLES, SUSPENDED, DirectoryError
from mailx.web.panel.links import asked, to
from mailx.web.panel.page import Download, FormError, Page, Redirect, View, Visit, change, show
from mailx.web.panel.pages.account_life import life, row
from mailx.web.panel.sizes import DEFAULT, quota, typed

PAGE = 50
CHOSEN = 200  # accounts changed at a time

_ROLE_CHOICES = [(role, role) for role in ROLES]
_FILTERS = ("text", "domain", "role", "state")
_ACTS = {"suspend": (SUSPENDED, "suspended"), "resume": (ACTIVE, "active")}


class Accounts(Page):
    """The list of accounts, and one account with its forms."""

    path = "/accounts"
    title = "Accounts"
    group = "Directory"

    @show("/accounts")
    async def index(self, visit: Visit) -> View:
        filters = {name: asked(visit.query, name) for name in _FILTERS}
        after = asked(visit.query, "after")
        found = await self.parts.accounts.catalogue.accounts(Wanted(**filters), after, PAGE)
        total, used = await self.parts.accounts.totals()
        context = {
            "accounts": [row(details) for details in found.items],
            "filters": filters,
            "filtered": any(filters.values()),
            "role_choices": _ROLE_CHOICES,
            "total": total,
            "used": used,
            "newer": to("accounts", query=filters) if after else "",
            "older": to("accounts", query={**filters, "after": found.following}) if found.following else "",
        }
        return View("accounts.html", context)

    @show("/accounts/add")
    async def adding(self, visit: Visit) -> View:
        domain = asked(visit.query, "domain")
        context = {"address": f"@{domain}" if domain else "", "role_choices": _ROLE_CHOICES, "default": self._default}
        return View("account_add.html", context, title="New account")

    @change("/accounts/add", action="user.add", shown="adding")
    async def add(self, visit: Visit) -> Redirect | View:
        form = visit.form
        address = form.needed("address", 320)
        role = form.choice("role", ("", *ROLES))
        octets = quota(form.text("quota", DEFAULT), form.text("size"))
        password, generated = _password(visit)
        user = await self.parts.accounts.add_user(address, password, role, octets)
        if generated:
            return self._secret(str(user.address), password, f"{user.address} was added")
        return Redirect(to("accounts", str(user.address)), f"{user.address} was added.")

    @show("/accounts/<address>")
    async def account(self, visit: Visit) -> View:
        details = await self.parts.accounts.find(visit.path["address"])
        kind, size = typed(details.own_quota)
        belongings = await self.parts.accounts.catalogue.belongings(details.user.id)
        context = {
            "account": row(details),
            "aliases": details.aliases,
            "belongings": belongings,
            "role_choices": _ROLE_CHOICES,
            "quota": kind,
            "size": size,
            "default": self._default,
            **await life(self.parts, details),
        }
        return View("account.html", context, title=str(details.user.address))

    @change("/accounts/<address>/password", action="user.password", shown="account")
    async def password(self, visit: Visit) -> Redirect | View:
        address = str((await self.parts.accounts.find(visit.path["address"])).user.address)
        password, generated = _password(visit)
        code = await self._set_password(visit, address, password)
        if generated or code:
            return self._secret(address, password, f"The password of {address} was changed", code)
        return Redirect(to("accounts", address), f"The password of {address} was changed. Sessions that were open have ended.")

    async def _set_password(self, visit: Visit, address: str, password: str) -> str:
        """The new recovery code, if sealed mail was given up."""
        sealed = self.parts.sealed_accounts
        if sealed is None:
            await self.parts.accounts.set_password(address, password)
            return ""
        old, recovery = (visit.form.exact(name, limit=1000) for name in ("old", "recovery"))
        return await sealed.set_password(address, password, old=old, recovery=recovery, lose=visit.form.text("lose") == "yes")

    @change("/accounts/<address>/quota", action="user.quota", shown="account")
    async def quota(self, visit: Visit) -> Redirect:
        octets = quota(visit.form.text("quota"), visit.form.text("size"))
        details = await self.parts.accounts.find(visit.path["address"])
        address, limit = str(details.user.address), self._default if octets is None else octets
        await self.parts.accounts.set_quota(address, octets)
        if limit and details.user.used > limit:
            text = f"The quota of {address} was changed. It uses more already: new mail is refused until the owner deletes some."
            return Redirect(to("accounts", address), text, "notice")
        return Redirect(to("accounts", address), f"The quota of {address} was changed.")

    @change("/accounts/<address>/role", action="user.role", shown="account")
    async def role(self, visit: Visit) -> Redirect:
        role = visit.form.choice("role", ROLES)
        address = str((await self.parts.accounts.find(visit.path["address"])).user.address)
        await self.parts.accounts.set_role(address, role)
        return Redirect(to("accounts", address), f"{address} is {role} now.")

    @change("/accounts/<address>/suspend", action="user.state", shown="account")
    async def suspend(self, visit: Visit) -> Redirect:
        return await self._set_state(visit, "suspend")

    @change("/accounts/<address>/resume", action="user.state", shown="account")
    async def resume(self, visit: Visit) -> Redirect:
        return await self._set_state(visit, "resume")

    async def _set_state(self, visit: Visit, act: str) -> Redirect:
        state, word = _ACTS[act]
        address = str((await self.parts.accounts.find(visit.path["address"])).user.address)
        await self.parts.accounts.set_state(address, state)
        return Redirect(to("accounts", address), f"{address} is {word}.")

    @change("/accounts/<address>/restore", action="user.restore", shown="account")
    async def restore(self, visit: Visit) -> Redirect:
        details = await self._lifecycle.departures.restore(visit.path["address"])
        address = str(details.user.address)
        return Redirect(to("accounts", address), f"{address} is active again.")

    @change("/accounts/<address>/retention", action="user.retention", shown="account")
    async def retention(self, visit: Visit) -> Redirect:
        address = str((await self.parts.accounts.find(visit.path["address"])).user.address)
        text = visit.form.text("days", limit=10)
        if text and not (text.isascii() and text.isdigit()):
            raise FormError({"days": "Give a number of days, or leave it empty."})
        await self._lifecycle.retention.keep(address, int(text) if text else None)
        return Redirect(to("accounts", address), f"How long mail of {address} stays was changed.")

    @change("/accounts/<address>/export", action="user.export", shown="account")
    async def export(self, visit: Visit) -> Download:
        assert self.parts.person is not None
        address = str((await self.parts.accounts.find(visit.path["address"])).user.address)
        parts = await person_export.export(self.parts.person, address, visit.form.exact("password", limit=1000))
        return Download(f"{address}.tar", parts, "application/x-tar")

    # Several accounts at once

    @change("/accounts/ask", action="")
    async def ask(self, visit: Visit) -> View:
        """Which accounts are meant, before anything is changed."""
        act = visit.form.choice("do", tuple(_ACTS))
        addresses = _chosen(visit)
        return View("accounts_ask.html", {"act": act, "addresses": addresses}, title="Are you sure?")

    @change("/accounts/suspend", action="user.state")
    async def suspend_several(self, visit: Visit) -> Redirect:
        return await self._set_states(visit, "suspend")

    @change("/accounts/resume", action="user.state")
    async def resume_several(self, visit: Visit) -> Redirect:
        return await self._set_states(visit, "resume")

    async def _set_states(self, visit: Visit, act: str) -> Redirect:
        state, word = _ACTS[act]
        gone = 0
        addresses = _chosen(visit)
        for address in addresses:
            try:
                with audit.step("user.state"):
                    await self.parts.accounts.set_state(address, state)
            except DirectoryError as error:
                if error.code != "not_found":
                    raise
                gone += 1
        done = len(addresses) - gone
        if not done:
            raise DirectoryError("not_found", "None of these accounts exists any more.")
        text = f"{done} {'account is' if done == 1 else 'accounts are'} {word}."
        return Redirect("/accounts", text + (f" {gone} did not exist any more." if gone else ""), "notice" if gone else "done")

    @property
    def _lifecycle(self) -> Lifecycle:
        assert self.parts.lifecycle is not None
        return self.parts.lifecycle

    @property
    def _default(self) -> int:
        return int(self.parts.settings.current.accounts.quota)

    def _secret(self, address: str, password: str, title: str, code: str = "") -> View:
        """The one page that shows a generated password (or a recovery code), with what the owner needs besides."""
        config = self.parts.settings.current
        context = {
            "address": address,
            "password": password,
            "code": code,
            "hostname": config.server.hostname,
            "ways": client_ports(config),
        }
        return View("account_secret.html", context, title=title)


def _password(visit: Visit) -> tuple[str, bool]:
    """The password of the form, and whether it was generated here, since none was typed; raises FormError."""
    password, again = (visit.form.exact(name, limit=1000) for name in ("password", "again"))
    if not password and not again:
        return generate(), True
    if again != password:
        raise FormError({"again": "This is not the same password."})
    return password, False


def _chosen(visit: Visit) -> tuple[str, ...]:
    addresses = tuple(dict.fromkeys(visit.form.texts("address", 320)))
    if not addresses:
        raise FormError({"": "No account was ticked."})
    if len(addresses) > CHOSEN:
        raise FormError({"": f"At most {CHOSEN} accounts can be changed at a time."})
    return addresses
