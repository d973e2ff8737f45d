"""Administrators: who may come into the panel, and the secret that every session hangs on."""

from mailx.core.admins import LEAST, Admin
from mailx.web.panel.page import FormError, Page, Redirect, View, Visit, change, show

_PASSWORD = 200  # characters that a form may bring; what a password may have is decided elsewhere


class Administrators(Page):
    """The list of administrators, and one's password."""

    path = "/admins"
    title = "Administrators"
    group = "Server"

    @show("/admins")
    async def index(self, visit: Visit) -> View:
        found: list[Admin] = await self.parts.admins.list()
        enabled = sum(each.enabled for each in found)
        rows = [(each, each.enabled and enabled == 1, each.id == visit.admin.id) for each in found]
        return View("admins.html", {"rows": rows, "least": LEAST})

    @change("/admins", action="admin.add")
    async def add(self, visit: Visit) -> Redirect:
        made = await self.parts.admins.add(visit.form.needed("name", 64), twice(visit))
        return Redirect("/admins", f"{made.name} is an administrator now.")

    @show("/admins/<name>/password")
    async def password(self, visit: Visit) -> View:
        found = await self.parts.admins.find(visit.path["name"])
        return View("admin_password.html", {"admin": found, "least": LEAST}, title=f"Password of {found.name}")

    @change("/admins/<name>/password", action="admin.password", shown="password")
    async def set_password(self, visit: Visit) -> Redirect:
        name = (await self.parts.admins.find(visit.path["name"])).name
        if name == visit.admin.name:
            raise FormError({"": "Change your own password under My account."})
        await self.parts.admins.set_password(name, twice(visit))
        return Redirect("/admins", f"The password of {name} was changed. Sessions that were open have ended.")

    @change("/admins/enable", action="admin.enable")
    async def enable(self, visit: Visit) -> Redirect:
        name = visit.form.needed("name", 64)
        await self.parts.admins.enable(name)
        return Redirect("/admins", f"{name} may log in.")

    @change("/admins/disable", action="admin.disable")
    async def disable(self, visit: Visit) -> Redirect:
        name = visit.form.needed("name", 64)
        await self.parts.admins.disable(name)
        return Redirect("/admins", f"{name} may not log in any more. Sessions that were open have ended.")

    @change("/admins/remove", action="admin.remove")
    async def remove(self, visit: Visit) -> Redirect:
        name = visit.form.needed("name", 64)
        await self.parts.admins.remove(name)
        return Redirect("/admins", f"{name} was removed.")

    @change("/admins/totp-reset", action="admin.totp_reset")
    async def reset_totp(self, visit: Visit) -> Redirect:
        name = (await self.parts.admins.find(visit.form.needed("name", 64))).name
        if name == visit.admin.name:
            raise FormError({"": "Take your own second factor away under My account."})
        await self.parts.admins.reset_totp(name)
        return Redirect("/admins", f"{name} logs in with the password alone until a new second factor is set up.")

    @change("/admins/session-secret", action="panel.session_secret")
    async def rotate(self, visit: Visit) -> Redirect:
        await self.parts.sessions.rotate_secret()
        return Redirect("/login")


def twice(visit: Visit) -> str:
    """A new password of the form, typed twice alike; raises FormError."""
    password = visit.form.exact("password", limit=_PASSWORD)
    if not password:
        raise FormError({"password": "Fill this in."})
    if visit.form.exact("again", limit=_PASSWORD) != password:
        raise FormError({"again": "This is not the same password."})
    return password
