"""Signing keys (DKIM): an overview of all domains, and the keys of one with their lives: next, active, retired.

Before keys begin to sign, DNS is asked whether their records are published, for a limited time; an administrator who
knows better may say so.
"""

from twisted.internet.defer import Deferred, TimeoutError

from mailx.core.dkim import ALGORITHMS
from mailx.core.resolver import DNSFailure
from mailx.core.signing import ACTIVE, KEEP_DAYS, NEXT, RETIRED, Key
from mailx.core.users import DirectoryError
from mailx.mail.records import quoted
from mailx.web.panel.links import asked, to
from mailx.web.panel.page import FormError, Page, Redirect, View, Visit, change, show

PAGE = 50  # domains
SECONDS = 15.0  # that DNS may take

_DAY = 86400


class DKIM(Page):
    """Keys of all domains; everything that changes is on the page of one domain."""

    path = "/dkim"
    title = "Signing keys"
    group = "Directory"

    @show("/dkim")
    async def index(self, visit: Visit) -> View:
        text, after = asked(visit.query, "text"), asked(visit.query, "after")
        found = await self.parts.accounts.catalogue.domains(text, after, PAGE)
        keys = [(domain, await self.parts.signing.keys(domain.name)) for domain in found.items]
        older = to("dkim", query={"text": text, "after": found.following}) if found.following else ""
        newer = to("dkim", query={"text": text}) if after else ""
        return View("dkim.html", {"domains": keys, "text": text, "newer": newer, "older": older})

    @show("/domains/<name>/dkim")
    async def domain(self, visit: Visit) -> View:
        name = (await self.parts.accounts.catalogue.domain(visit.path["name"])).name
        keys = await self.parts.signing.keys(name)
        now = self.parts.reactor.seconds()
        shown = [_shown(key, now) for key in sorted(keys, key=lambda key: (ACTIVE, NEXT, RETIRED).index(key.state))]
        states = {key.state for key in keys}
        context = {"domain": name, "keys": shown, "states": states, "algorithms": ALGORITHMS, "keep_days": KEEP_DAYS}
        return View("dkim_domain.html", context, title=f"Signing keys of {name}")

    @change("/domains/<name>/dkim/create", action="dkim.create", shown="domain")
    async def create(self, visit: Visit) -> Redirect:
        algorithms = visit.form.texts("algorithm")
        if not algorithms:
            raise FormError({"algorithm": "Choose at least one."})
        name = visit.path["name"]
        await self.parts.signing.create(name, algorithms)
        return Redirect(to("domains", name, "dkim"), "The keys were made. Publish their records, then let them sign.")

    @change("/domains/<name>/dkim/rotate", action="dkim.rotate", shown="domain")
    async def rotate(self, visit: Visit) -> Redirect:
        name = visit.path["name"]
        await self.parts.signing.rotate(name)
        return Redirect(
            to("domains", name, "dkim"), "The keys that replace the active ones were made. Publish their records, then let them sign."
        )

    @show("/domains/<name>/dkim/activate")
    async def asked(self, visit: Visit) -> View:
        """What DNS says about the next keys, and the question whether they shall sign."""
        name = (await self.parts.accounts.catalogue.domain(visit.path["name"])).name
        keys = [key for key in await self.parts.signing.keys(name) if key.state == NEXT]
        if not keys:
            raise DirectoryError("not_found", f"{name} has no keys that wait to be activated", "Make some on the page of its keys.")
        lacking = await self._lacking(keys)
        shown = [(_shown(key, 0), lacking is not None and key not in lacking) for key in keys]
        context = {"domain": name, "keys": shown, "answered": lacking is not None, "published": lacking == []}
        return View("dkim_activate.html", context, title=f"Sign mail of {name}")

    @change("/domains/<name>/dkim/activate", action="dkim.activate", shown="asked")
    async def activate(self, visit: Visit) -> Redirect:
        name = visit.path["name"]
        if not visit.form.ticked("force"):
            lacking = await self._lacking([key for key in await self.parts.signing.keys(name) if key.state == NEXT])
            if lacking is None:
                raise FormError({"force": "DNS gives no answer about the records. Try again later, or tick this."})
            if lacking:
                names = ", ".join(key.name for key in lacking)
                raise FormError({"force": f"These records are not published: {names}. Publish them first, or tick this."})
        keys = await self.parts.signing.activate(name)
        selectors = ", ".join(key.selector for key in keys)
        return Redirect(to("domains", name, "dkim"), f"Mail of {name} is signed with {selectors} from now on.")

    @change("/domains/<name>/dkim/<selector>/retire", action="dkim.retire", shown="domain")
    async def retire(self, visit: Visit) -> Redirect:
        name, selector = visit.path["name"], visit.path["selector"]
        await self.parts.signing.retire(name, selector)
        return Redirect(to("domains", name, "dkim"), f"{selector} signs no more. Leave its record published until the key can be deleted.")

    @change("/domains/<name>/dkim/<selector>/delete", action="dkim.delete", shown="domain")
    async def delete(self, visit: Visit) -> Redirect:
        name, selector = visit.path["name"], visit.path["selector"]
        await self.parts.signing.delete(name, selector, force=visit.form.ticked("force"))
        return Redirect(to("domains", name, "dkim"), f"{selector} was deleted. Its record can be removed from DNS now.")

    async def _lacking(self, keys: list[Key]) -> list[Key] | None:
        """Those of ``keys`` whose records the world does not see; None when DNS does not say, or not in time."""
        asking: Deferred[list[Key]] = Deferred.fromCoroutine(self.parts.records.lacks(keys))
        try:
            return await asking.addTimeout(SECONDS, self.parts.reactor)
        except (DNSFailure, TimeoutError):
            return None


def _shown(key: Key, now: float) -> dict[str, object]:
    deletable = None if key.state != RETIRED or key.retired is None else key.retired + KEEP_DAYS * _DAY
    return {
        "key": key,
        "since": key.retired or key.activated or key.created,
        "line": f"{key.name}. TXT {quoted(key.record)}",
        "deletable": deletable,
        "early": deletable is not None and now < deletable,
    }
