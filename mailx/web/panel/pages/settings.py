"""Settings: everything that may be changed while the server runs, but the smart host, which has a page of its own.

What the file or the environment sets is shown as fixed, with their names. Only what was changed in the form is changed; a
secret is set anew or left, and shown once only: when it was made here.
"""

import secrets
from collections.abc import Mapping
from typing import Any

from mailx.core import audit
from mailx.core.setting_list import Item, items, marked, parsed
from mailx.core.settings import SettingsError
from mailx.web.panel.links import setting
from mailx.web.panel.page import Form, FormError, Page, Redirect, View, Visit, change, show

TEXT = 20000  # characters of a field
WAS = "was."  # before the key: the name of the hidden field with the mark of what the form showed
_SHOWN = 100  # characters of what somebody else has set

# Slug, heading, what it is about, and the settings: every live one is in one group, or on the page of the smart host. First what
# concerns the relay, in the order of its specification; a group without settings leads to pages only.
GROUPS: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    (
        "signature",
        "Webhook signature",
        "Who may hand in mail at the receiver.",
        ("webhook.signature", "webhook.secret", "webhook.skew", "webhook.header_prefix"),
    ),
    (
        "callers",
        "Webhook callers",
        "Where calls may come from, and how much of them.",
        ("webhook.allowed", "webhook.proxies", "webhook.per_minute", "webhook.body_size"),
    ),
    ("urls", "Public URLs", "Where your web site is.", ("webhook.public_web_url",)),
    (
        "templates",
        "Email templates",
        "What templates are given. Their subjects and texts have a page of their own.",
        ("webhook.include_token", "webhook.include_expires", "webhook.include_link"),
    ),
    (
        "sender",
        "Sender settings",
        "Who mail of the receiver is from.",
        ("webhook.sender_domain", "webhook.sender_local", "webhook.local_parts", "webhook.allowed_local_parts", "webhook.sender_name"),
    ),
    (
        "access",
        "Administrators and access",
        "How long administrators stay logged in, and how long it is known what they did.",
        ("panel.session_hours", "panel.idle_minutes", "panel.audit_days"),
    ),
    (
        "delivery",
        "Outbound delivery (SMTP)",
        "Host, port, security, timeout, login, certificate; and its test.",
        (),
    ),
    ("protocols", "Optional protocols", "Mailboxes on other servers, with a test of each. They are apart from delivery.", ()),
    (
        "callbacks",
        "Callbacks and suppression",
        "How callers hear what became of their mail.",
        ("webhook.callback_url", "webhook.callback_secret", "webhook.callback_networks", "webhook.suppress"),
    ),
    (
        "limits",
        "Sending limits",
        "How much may be sent.",
        ("limits.account_hour", "limits.account_day", "limits.domain_hour", "limits.address_minute"),
    ),
    (
        "federation",
        "Federation",
        "How mail is exchanged with other MailX servers. What holds for one of them stands at its page.",
        (
            "federation.fallback",
            "federation.pin_days",
            "federation.per_minute",
            "federation.per_hour",
            "federation.burst",
            "federation.connections",
            "federation.gossip",
        ),
    ),
    (
        "contacts",
        "First contact",
        "Where a stranger's first message goes, and lists of blocked senders.",
        ("contacts.requests", "contacts.list_hours"),
    ),
    (
        "lifecycle",
        "Retention and quotas",
        "How long mail and deleted accounts stay, and when owners of full ones are warned.",
        (
            "lifecycle.trash_days",
            "lifecycle.spam_days",
            "lifecycle.retention_days",
            "lifecycle.grace_days",
            "lifecycle.warn_percent",
        ),
    ),
    (
        "alerts",
        "Alerts",
        "What administrators are told without asking.",
        (
            "alerts.mail",
            "alerts.url",
            "alerts.secret",
            "alerts.queue_age",
            "alerts.queue_depth",
            "alerts.failures_per_hour",
            "alerts.quota_percent",
            "alerts.disk_percent",
            "alerts.certificate_days",
            "alerts.logins_per_hour",
        ),
    ),
    ("observability", "Observability", "What is written down.", ("log.level", "queue.delivery_log")),
)
# Pages that belong to a group.
LINKS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "signature": (("/calls", "Calls"),),
    "templates": (("/templates", "Mail templates"),),
    "access": (("/admins", "Administrators"), ("/keys", "API keys"), ("/admins#sessions", "New session secret"), ("/audit", "Audit log")),
    "delivery": (("/smtp", "SMTP back end and Test SMTP"),),
    "protocols": (("/mailboxes", "IMAP, IMAPS, POP3 and POP3S"),),
    "callbacks": (("/suppressions", "Suppressed addresses"),),
    "federation": (("/peers", "Other MailX servers"), ("/domain-keys", "Keys of domains")),
    "contacts": (("/accounts", "Accounts, each with its contacts"), ("/blocklists", "Block lists")),
    "lifecycle": (("/accounts", "Accounts, each with its quota and retention"),),
    "alerts": (("/alerts", "Open alerts"),),
    "observability": (("/queue", "Queue"), ("/deliveries", "Deliveries"), ("/delivery-log", "Delivery log")),
}
_KEYS = tuple(key for _, _, _, keys in GROUPS for key in keys)
_MADE_HERE = ("webhook.secret", "webhook.callback_secret", "alerts.secret")  # secrets that anybody may choose


def wanted(form: Form, every: Mapping[str, Item], keys: tuple[str, ...]) -> dict[str, object]:
    """What the form changes of ``keys``: fixed ones, empty secrets and what is as before are left out.

    The form carries marks of the values that it showed: what was left as shown is no change although somebody else made one
    meanwhile, and what both changed raises FormError once.
    """
    found: dict[str, object] = {}
    overtaken: dict[str, str] = {}
    for key in keys:
        item = every[key]
        if item.fixed or key not in form.values:
            continue
        text = form.exact(key, limit=TEXT)
        if item.kind in ("text", "number"):
            text = text.strip()
        value = parsed(item, text)
        shown = form.text(WAS + key)
        if text if item.kind == "secret" else value != item.value and shown != marked(key, value):
            found[key] = value
            if shown not in ("", item.mark):
                overtaken[key] = f"Somebody else has set this to {item.text[:_SHOWN] or '(empty)'} meanwhile. Save again to replace that."
    if overtaken:
        raise FormError(overtaken)
    return found


def form_error(error: SettingsError, keys: tuple[str, ...]) -> FormError:
    """The same problems at their fields; those of settings that are not in the form are said above it."""
    here = {key: problem[:1].upper() + problem[1:] for key, problem in error.problems.items() if key in keys}
    elsewhere = [f"{key}: {problem}" if key else problem for key, problem in error.problems.items() if key not in keys]
    return FormError({**here, **({"": " ".join(elsewhere)} if elsewhere else {})})


async def concluded(log: Any) -> None:
    """The audit log has an entry of what was done, though nothing was written for it."""
    act = audit.current()
    if log is not None and act is not None:
        await log.conclude(act)


class SettingsPage(Page):
    """All groups, each a form of its own."""

    path = "/settings"
    title = "Settings"
    group = "Server"

    @show("/settings")
    async def index(self, visit: Visit) -> View:
        return self._view("", "")

    def _view(self, key: str, generated: str) -> View:
        every = items(self.parts.settings)
        groups = [(slug, title, lead, [every[key] for key in keys]) for slug, title, lead, keys in GROUPS]
        unsafe = [(item.key, setting(item.key)) for item in every.values() if item.danger]
        made = {"key": key, "generated": generated, "made_here": _MADE_HERE, "links": LINKS}
        return View("settings.html", {"groups": groups, "unsafe": unsafe, **made})

    @change("/settings", action="settings.change")
    async def save(self, visit: Visit) -> Redirect:
        values = wanted(visit.form, items(self.parts.settings), _KEYS)
        if not values:
            return Redirect("/settings", "Nothing was changed.", "notice")
        await self._change(values, _KEYS)
        said = f"Saved: {', '.join(sorted(values))}. It holds from now on."
        domain = self.parts.settings.current.webhook.sender_domain
        if "webhook.sender_domain" in values and domain and not self.parts.accounts.local(domain):
            return Redirect("/settings", f"{said} {domain} is no domain of this server: its mail is not signed here.", "notice")
        return Redirect("/settings", said)

    @change("/settings/reset", action="settings.change")
    async def reset(self, visit: Visit) -> Redirect:
        key = visit.form.needed("key")
        await self._change({key: None}, ())
        return Redirect("/settings" if key in _KEYS else "/smtp", f"{key} is as by default again.")

    @change("/settings/generate", action="settings.change")
    async def generate(self, visit: Visit) -> View:
        key = visit.form.choice("key", _MADE_HERE)
        secret = secrets.token_hex(32)
        await self._change({key: secret}, ())
        return self._view(key, secret)

    @change("/settings/reload", action="settings.reload")
    async def reload(self, visit: Visit) -> Redirect:
        try:
            reloaded = await self.parts.settings.reload()
        except SettingsError as error:
            raise form_error(error, ()) from None
        await concluded(self.parts.audit)
        said = ["File and environment were read again."]
        if reloaded.changed:
            said.append(f"Changed: {', '.join(reloaded.changed)}.")
        if reloaded.restart:
            said.append(f"Needs a restart: {', '.join(reloaded.restart)}.")
        said += reloaded.failed
        return Redirect("/settings", " ".join(said), "problem" if reloaded.failed else "done")

    async def _change(self, values: Mapping[str, object], keys: tuple[str, ...]) -> None:
        try:
            await self.parts.settings.change(values)
        except SettingsError as error:
            raise form_error(error, keys) from None
