"""API keys: what programs may do. A key is shown in the answer to its making, and never again."""

import time
from datetime import UTC, datetime, timedelta

from mailx.core.api_keys import READ, SCOPES, Key
from mailx.web.panel.page import FormError, Page, Redirect, View, Visit, change, show

_MEANINGS = {
    READ: "look at everything but secrets",
    "access:write": "make administrators and keys: as good as an administrator",
    "directory:write": "change domains, accounts, aliases and block lists",
    "dkim:write": "make, activate and delete signing keys",
    "index:write": "build the search index anew",
    "keys:write": "replace, back up and restore the keys of domains: as good as the domains themselves",
    "peers:write": "look for other servers, set their limits, forget and block them",
    "queue:write": "retry, hold, release, bounce and delete queued mail",
    "settings:write": "change settings, and read file and certificates again",
    "webhook:write": "change the suppression list",
}


class ApiKeys(Page):
    """The list of keys, and a form for a new one."""

    path = "/keys"
    title = "API keys"
    group = "Server"

    @show("/keys")
    async def index(self, visit: Visit) -> View:
        keys: list[Key] = await self.parts.api_keys.list()
        scopes = [(scope, _MEANINGS.get(scope, "")) for scope in SCOPES]
        return View("api_keys.html", {"rows": [(key, _state(key)) for key in keys], "scopes": scopes})

    @change("/keys", action="apikey.add")
    async def add(self, visit: Visit) -> View:
        scopes = visit.form.texts("scope", 50)
        if not scopes:
            raise FormError({"scope": "Choose what the key may do."})
        key, text = await self.parts.api_keys.add(visit.form.needed("name", 64), scopes, _expires(visit.form.text("expires", limit=20)))
        return View("api_key_made.html", {"key": key, "text": text}, title="New API key")

    @change("/keys/revoke", action="apikey.revoke")
    async def revoke(self, visit: Visit) -> Redirect:
        name = visit.form.needed("name", 64)
        await self.parts.api_keys.revoke(name)
        return Redirect("/keys", f"The key {name} is good for nothing any more.")

    @change("/keys/delete", action="apikey.delete")
    async def delete(self, visit: Visit) -> Redirect:
        name = visit.form.needed("name", 64)
        await self.parts.api_keys.delete(name)
        return Redirect("/keys", f"The key {name} was deleted.")


def _expires(text: str) -> int | None:
    """The end of the day that was chosen, UTC; raises FormError."""
    if not text:
        return None
    try:
        return int((datetime.fromisoformat(text[:10]).replace(tzinfo=UTC) + timedelta(days=1)).timestamp())
    except (ValueError, OverflowError):
        raise FormError({"expires": "Give a day like 2027-01-31."}) from None


def _state(key: Key) -> tuple[str, str]:
    """(text, kind) of the key's badge."""
    if key.revoked is not None:
        return "revoked", "bad"
    return ("good", "good") if key.good(time.time()) else ("expired", "warn")
