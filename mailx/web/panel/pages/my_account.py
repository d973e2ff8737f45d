"""My account: one's own password, second factor and sessions. What matters takes the password again."""

from collections.abc import Awaitable
from typing import TypeVar

import segno

from mailx.core.admins import LEAST, Admin, NotLoggedIn, Throttled
from mailx.core.second_factor import RECOVERY_CODES, Offer
from mailx.web.panel.page import FormError, Page, Redirect, View, Visit, change, show
from mailx.web.panel.pages.admins import twice

T = TypeVar("T")

_PASSWORD = 200  # characters


# What a User-Agent has in it, and whose it is; the first that is found counts, for each names those that it is like.
_BROWSERS = (("Edg", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"), ("Safari/", "Safari"))
_SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
)


def browser(agent: str) -> str:
    """A User-Agent as people say it: ``"Firefox on Windows"``; as it is where it is not understood."""
    name = next((name for mark, name in _BROWSERS if mark in agent), "")
    system = next((name for mark, name in _SYSTEMS if mark in agent), "")
    return f"{name} on {system}" if name and system else agent


class MyAccount(Page):
    """Pages about whoever is logged in. Other sessions end with each change that makes them doubtful; this one stays."""

    path = "/me"
    title = "My account"
    group = "Server"

    @show("/me")
    async def index(self, visit: Visit) -> View:
        admin: Admin = await self.parts.admins.find(visit.admin.name)
        sessions = [(each, browser(each.agent), each.id == visit.session.id) for each in await self.parts.sessions.of(visit.admin.id)]
        return View("my_account.html", {"admin": admin, "sessions": sessions, "least": LEAST, "codes": RECOVERY_CODES})

    @change("/me/password", action="admin.password")
    async def password(self, visit: Visit) -> Redirect:
        new = twice(visit)
        old = visit.form.exact("old", limit=_PASSWORD)
        change = self.parts.admins.change_password(visit.admin.name, old, new, visit.address, visit.session.id)
        await _proved(change, "old")
        return Redirect("/me", "Your password was changed. Your other sessions have ended.")

    @change("/me/second-factor/begin", action="admin.totp_offer")
    async def begin(self, visit: Visit) -> Redirect:
        given = visit.form.exact("password_begin", limit=_PASSWORD)
        await _proved(self.parts.admins.offer_totp(visit.admin.name, given, visit.address, self._issuer()), "password_begin")
        return Redirect("/me/second-factor")

    @show("/me/second-factor")
    async def second_factor(self, visit: Visit) -> View | Redirect:
        offer: Offer | None = await self.parts.admins.offered_totp(visit.admin.name, self._issuer())
        if offer is None:
            return Redirect("/me", "Begin with your password.", kind="notice")
        groups = " ".join(offer.secret[start : start + 4] for start in range(0, len(offer.secret), 4))
        picture = segno.make(offer.uri, error="m").svg_data_uri(scale=4, border=4, light="white", xmldecl=False)
        return View("second_factor.html", {"picture": picture, "secret": groups}, title="Second factor")

    @change("/me/second-factor", action="admin.totp", shown="second_factor")
    async def confirm(self, visit: Visit) -> View:
        code = visit.form.needed("code", 20)
        beginning = self.parts.admins.begin_totp(visit.admin.name, code, visit.address, visit.session.id)
        return _codes(await _proved(beginning, "code"), "The second factor is set up. Your other sessions have ended.")

    @change("/me/second-factor/off", action="admin.totp_off")
    async def off(self, visit: Visit) -> Redirect:
        given = visit.form.exact("password_off", limit=_PASSWORD)
        await _proved(self.parts.admins.end_totp(visit.admin.name, given, visit.address, visit.session.id), "password_off")
        return Redirect("/me", "You log in with your password alone now. Your other sessions have ended.")

    @change("/me/codes", action="admin.recovery_codes")
    async def codes(self, visit: Visit) -> View:
        given = visit.form.exact("password_codes", limit=_PASSWORD)
        made = await _proved(self.parts.admins.new_codes(visit.admin.name, given, visit.address), "password_codes")
        return _codes(made, "These are your new recovery codes. Those before are good no more.")

    @change("/me/sessions/end", action="admin.session_end")
    async def end(self, visit: Visit) -> Redirect:
        await self.parts.sessions.end_one(visit.admin.id, visit.form.number("id", 1, 2**62))
        return Redirect("/me", "The session has ended.")

    @change("/me/sessions/end-others", action="admin.session_end")
    async def end_others(self, visit: Visit) -> Redirect:
        count = await self.parts.sessions.end_others(visit.admin.id, visit.session.id)
        return Redirect("/me", f"{count} other session{'s' * (count != 1)} ended.")

    def _issuer(self) -> str:
        return f"MailX {self.parts.settings.current.server.hostname}"


async def _proved(change: Awaitable[T], field: str) -> T:
    """What ``change`` answers; a password that is not right is an error of ``field``."""
    try:
        return await change
    except NotLoggedIn:
        raise FormError({field: "This is not your password."}) from None
    except Throttled:
        raise FormError({field: "Too many attempts failed. Try again in an hour."}) from None


def _codes(codes: tuple[str, ...], said: str) -> View:
    """The codes, shown in the answer to the change and never again."""
    return View("recovery_codes.html", {"codes": codes, "said": said}, title="Recovery codes")
