"""Keys of domains: what other MailX servers know each domain by, their history, recovery keys, backups; and keys of users.

A recovery key is shown in the answer to its making, and never again. Keys are taken from a backup by ``mailxctl key restore`` only.
"""

import time

from mailx.core.domain_keys import DomainKeys, Overview
from mailx.core.key_backup import KeyBackup
from mailx.core.user_keys import UserKeys
from mailx.core.users import DirectoryError, domain_name, parse
from mailx.identity import domain_keys
from mailx.identity.encoding import key_text
from mailx.identity.key_backup import PASSPHRASE_LEAST
from mailx.identity.user_keys import sealing_text
from mailx.mail.records import quoted
from mailx.web.panel.links import asked, to
from mailx.web.panel.page import Download, FormError, Page, Redirect, View, Visit, change, show
from mailx.web.panel.pages.settings import concluded

PAGE = 50  # domains
_SECRET = 1024  # characters
_OFF = "keys are not open here"
_REASONS = {
    domain_keys.FIRST: "the first key",
    domain_keys.ROTATION: "rotated in, announced by the key before",
    domain_keys.RECOVERY: "brought in by the recovery key; those before are revoked",
    domain_keys.RECOVERY_KEY: "the same key with another recovery key",
}


class DomainKeyPages(Page):
    """All domains, and everything that changes on the page of one."""

    path = "/domain-keys"
    title = "Keys"
    group = "Federation"

    @property
    def _keys(self) -> DomainKeys:
        keys: DomainKeys | None = self.parts.domain_keys
        if keys is None:
            raise DirectoryError("not_found", _OFF)
        return keys

    @show("/domain-keys")
    async def index(self, visit: Visit) -> View:
        text, after = asked(visit.query, "text"), asked(visit.query, "after")
        found = await self.parts.accounts.catalogue.domains(text, after, PAGE)
        rows = [(domain.name, self._overview(domain.name)) for domain in found.items]
        context = {
            "rows": [(name, None if one is None else (key_text(one.history[-1].key), one)) for name, one in rows],
            "text": text,
            "newer": to("domain-keys", query={"text": text}) if after else "",
            "older": to("domain-keys", query={"text": text, "after": found.following}) if found.following else "",
            "least": PASSPHRASE_LEAST,
        }
        return View("domain_keys.html", context)

    def _overview(self, domain: str) -> Overview | None:
        try:
            return self._keys.overview(domain)
        except DirectoryError:
            return None

    @show("/domains/<name>/keys")
    async def domain(self, visit: Visit) -> View:
        name = (await self.parts.accounts.catalogue.domain(visit.path["name"])).name
        one = self._keys.overview(name)
        current = one.history[-1]
        context = {
            "domain": name,
            "one": one,
            "key": key_text(current.key),
            "recovery": key_text(current.recovery),
            "former": [key_text(each) for each in one.recoveries if each != current.recovery],
            "line": f"_mailx.{name}. TXT {quoted(one.record)}" if one.record else "",
            "history": [
                (key_text(key.key), key, key.key in one.valid, one.ends.get(key.serial), _REASONS[key.reason])
                for key in reversed(one.history)
            ],
            "days": domain_keys.OVERLAP // 86400,
        }
        return View("domain_key.html", context, title=f"Keys of {name}")

    @change("/domains/<name>/keys/rotate", action="keys.rotate", shown="domain")
    async def rotate(self, visit: Visit) -> Redirect:
        key = await self._keys.rotate(visit.path["name"])
        return Redirect(
            to("domains", key.domain, "keys"), "The key was replaced. Publish the new record; other servers follow by themselves."
        )

    @change("/domains/<name>/keys/recovery", action="keys.recovery", shown="domain")
    async def recovery(self, visit: Visit) -> View:
        name = domain_name(visit.path["name"])
        before = visit.form.text("before", limit=_SECRET)
        if not before and not visit.form.ticked("unproved"):
            raise FormError({"before": "Type the one until now, or tick below that it is lost."})
        return made(name, await self._keys.change_recovery(name, before))

    @change("/domains/<name>/keys/recover", action="keys.recover", shown="domain")
    async def recover(self, visit: Visit) -> Redirect:
        name = domain_name(visit.path["name"])
        text = visit.form.needed("recovery_key", _SECRET)
        if visit.form.text("confirm").lower() != name:
            raise FormError({"confirm": f"Nothing was changed: type {name} to confirm."})
        await self._keys.recover(name, text, visit.form.ticked("lost"))
        return Redirect(to("domains", name, "keys"), "The former keys are revoked, and a new one is in force. Publish the new record.")

    @change("/domain-keys/backup", action="keys.backup")
    async def backup(self, visit: Visit) -> Download:
        passphrase = visit.form.exact("passphrase", limit=_SECRET)
        if len(passphrase) < PASSPHRASE_LEAST:
            raise FormError({"passphrase": f"Give at least {PASSPHRASE_LEAST} characters."})
        if visit.form.exact("again", limit=_SECRET) != passphrase:
            raise FormError({"again": "These are not the same."})
        backup: KeyBackup | None = self.parts.key_backup
        if backup is None:
            raise DirectoryError("not_found", _OFF)
        text, _ = await backup.backup(passphrase)
        await concluded(self.parts.audit)
        name = f"mailx-keys-{time.strftime('%Y-%m-%d', time.gmtime())}.json"
        return Download(name, text.encode("ascii"), "application/json")

    @show("/user-keys")
    async def user(self, visit: Visit) -> View:
        text = asked(visit.query, "address")
        users: UserKeys | None = self.parts.user_keys
        if users is None or not text:
            return View("user_keys.html", {"address": text, "keys": []}, title="Keys of a user")
        address = parse(text)
        current = await users.of(address)
        keys = [
            (each, sealing_text(each.sealing), key_text(each.signing), each == current) for each in reversed(await users.history(address))
        ]
        return View("user_keys.html", {"address": str(address), "keys": keys}, title=f"Keys of {address}")


def made(domain: str, text: str) -> View:
    """The only page that ever shows this recovery key."""
    return View("recovery_key.html", {"domain": domain, "text": text}, title=f"Recovery key of {domain}")
