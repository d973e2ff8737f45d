"""Other MailX servers: the list, one with its keys, limits and figures, and looking for one step by step."""

from typing import Any

from mailx.core.peer import NEVER, UNPINNED, Step
from mailx.core.peer_control import LIMIT_MOST, LIMITS, PeerControl, PeerShown
from mailx.core.users import DirectoryError
from mailx.identity.documents import server_text
from mailx.identity.encoding import key_text
from mailx.web.panel.links import asked, shown, to
from mailx.web.panel.page import FormError, Page, Redirect, View, Visit, change, show

PAGE = 50

_BADGES = {"pinned": "good", "known": "good", "blocked": "bad", "trouble": "warn", "missing": "warn"}
_WORDS = {
    "pinned": "reached: mail goes by federation only",
    "known": "found",
    "blocked": "blocked",
    "trouble": "trouble",
    "missing": "not found: its mail waits",
    "none": "no MailX server",
    "unknown": "not looked for yet",
}
_SOURCES = {"static": "the configuration", "dnssec": "DNSSEC", "https": "HTTPS"}


class Peers(Page):
    """All other servers; everything that changes is on the page of one."""

    path = "/peers"
    title = "Peers"
    group = "Federation"

    @property
    def _control(self) -> PeerControl:
        control: PeerControl | None = self.parts.peers
        if control is None:
            raise DirectoryError("not_found", "federation is off", "Set federation.port in the configuration and restart.")
        return control

    @show("/peers")
    async def index(self, visit: Visit) -> View:
        text, after = asked(visit.query, "text"), asked(visit.query, "after")
        if self.parts.peers is None:
            return View("peers.html", {"off": True, "peers": [], "text": "", "newer": "", "older": ""})
        found = await self._control.list(text, after, PAGE + 1)
        context = {
            "off": False,
            "peers": [_row(one) for one in found[:PAGE]],
            "text": text,
            "newer": to("peers", query={"text": text}) if after else "",
            "older": to("peers", query={"text": text, "after": found[PAGE - 1].domain}) if len(found) > PAGE else "",
        }
        return View("peers.html", context)

    @change("/peers/look", action="peer.discover")
    async def look(self, visit: Visit) -> View:
        """What looking for the server of a domain brings: shown at once, since it is kept nowhere."""
        try:
            one, steps = await self._control.discover(visit.form.needed("domain", 253))
        except DirectoryError as error:
            raise FormError({"domain": f"{error.text}. {error.remedy}"}) from None
        return self._one(one, steps)

    @show("/peers/<domain>")
    async def one(self, visit: Visit) -> View:
        return self._one(await self._control.show(visit.path["domain"]))

    @change("/peers/<domain>/limits", action="peer.set", shown="one")
    async def limit(self, visit: Visit) -> Redirect:
        changes: dict[str, Any] = {}
        for name in LIMITS:
            least = 0 if name in ("per_minute", "per_hour") else 1
            changes[name] = visit.form.number(name, least, LIMIT_MOST) if visit.form.text(name) else None
        changes["fallback"] = visit.form.choice("fallback", ("", UNPINNED, NEVER))
        one = await self._control.set(visit.path["domain"], changes)
        return Redirect(to("peers", one.domain), "The limits hold from now on.")

    @change("/peers/<domain>/block", action="peer.block", shown="one")
    async def block(self, visit: Visit) -> Redirect:
        one = await self._control.block(visit.path["domain"])
        return Redirect(to("peers", one.domain), f"{one.domain} is blocked: its server is refused, and mail to it bounces.")

    @change("/peers/<domain>/unblock", action="peer.unblock", shown="one")
    async def unblock(self, visit: Visit) -> Redirect:
        one = await self._control.unblock(visit.path["domain"])
        return Redirect(to("peers", one.domain), f"{one.domain} is not blocked any more.")

    @change("/peers/<domain>/forget", action="peer.forget", shown="one")
    async def forget(self, visit: Visit) -> Redirect:
        domain = visit.path["domain"]
        await self._control.forget(domain)
        return Redirect(to("peers"), f"{shown(domain, 253)} is as unknown as any other domain now.")

    def _one(self, one: PeerShown, steps: tuple[Step, ...] = ()) -> View:
        settings = self.parts.settings.current.federation
        known = one.known
        context = {
            "peer": _row(one),
            "steps": [{"name": step.name, "outcome": step.outcome, "text": shown(step.text)} for step in steps],
            "servers": [server_text(host, port) for host, port in known.servers],
            "key": key_text(known.key) if known.key else "",
            "source": _SOURCES.get(known.source, ""),
            "verified": known.verified,
            "expires": known.expires,
            "pinned_until": known.pinned_until if one.pinned else 0,
            "trouble": shown(known.trouble),
            "history": [
                {"key": key_text(key.key), "serial": key.serial, "created": key.created, "reason": key.reason} for key, _ in known.history
            ],
            "own": one.settings,
            "defaults": settings,
            "figures": one.figures,
            "fallbacks": [
                ("", f"as configured ({settings.fallback})"),
                (UNPINNED, "if none of its mail went by federation lately"),
                (NEVER, "never: it waits"),
            ],
            "fixed": one.static,
            "learnt": bool(known.verified or known.pinned_until) or known.mailx and not one.static,
        }
        return View("peer.html", context, title=one.domain)


def _row(one: PeerShown) -> dict[str, Any]:
    return {
        "domain": one.domain,
        "state": _WORDS[one.state],
        "kind": _BADGES.get(one.state, ""),
        "blocked": one.settings.blocked,
        "source": _SOURCES.get(one.known.source, "–"),
        "received": one.figures.received,
        "sent": one.figures.sent,
        "reputation": one.figures.reputation,
        "score": one.figures.score,
        "verified": one.known.verified,
    }
