"""The SMTP back end: the smart host that takes outgoing mail, with presets, and a test that sends a real message.

The stored password goes to the host it was given for only (:mod:`mailx.core.settings`): another host needs it typed again.
"""

from collections.abc import Mapping

from mailx.config import Config, Smarthost
from mailx.core import audit
from mailx.core.probing import Probe
from mailx.core.setting_list import items
from mailx.core.settings import SettingsError
from mailx.mail.address import Address
from mailx.web.panel.page import FormError, Page, Redirect, View, Visit, change, show
from mailx.web.panel.pages.settings import WAS, concluded, form_error, wanted

# What the buttons fill in: port, security, and what it is.
PRESETS = (
    ("587", "starttls", "Port 587, STARTTLS", "The usual one: with a login, encrypted after the greeting."),
    ("465", "tls", "Port 465, TLS", "With a login, encrypted from the first octet."),
    ("25", "plain", "Port 25, plain", "Unencrypted: for a host on this machine or in your own network only."),
)
KEYS = (
    "smarthost.host",
    "smarthost.port",
    "smarthost.security",
    "smarthost.username",
    "smarthost.password",
    "smarthost.timeout",
    "smarthost.verify",
)
_PASSWORD = "smarthost.password"
NAME = "webhook.sender_name"  # it belongs to the settings of the sender, and is looked for here, too
_FIELDS = (*KEYS, NAME)


class Smtp(Page):
    """Settings of the smart host, and Test SMTP."""

    path = "/smtp"
    title = "SMTP back end"
    group = "Server"

    @show("/smtp")
    async def index(self, visit: Visit) -> View:
        chosen = next((preset for preset in PRESETS if preset[0] == visit.query.get("preset")), None)
        if chosen is None:
            return await self._view({}, "")
        return await self._view({"smarthost.port": chosen[0], "smarthost.security": chosen[1], "smarthost.verify": "true"}, chosen[0])

    async def _view(self, filled: Mapping[str, str], preset: str, probe: Probe | None = None) -> View:
        """``filled`` stands in the fields in place of what holds."""
        settings = self.parts.settings
        every = {key: item for key, item in items(settings).items() if key in _FIELDS}
        context = {
            "fields": [every[key] for key in _FIELDS],
            "unsafe": [item for item in every.values() if item.danger],
            "host": settings.current.smarthost.host,
            "settable": any(every[key].set_here for key in KEYS),
            "filled": filled,
            "presets": PRESETS,
            "preset": preset,
            "sender": filled.get("sender") or await self._sender(),
            "recipient": filled.get("recipient", ""),
            "probe": probe,
        }
        return View("smtp.html", context)

    @change("/smtp", action="settings.change")
    async def save(self, visit: Visit) -> Redirect:
        values = self._wanted(visit, _FIELDS)
        if not values:
            return Redirect("/smtp", "Nothing was changed.", "notice")
        try:
            await self.parts.settings.change(values)
        except SettingsError as error:
            raise form_error(error, _FIELDS) from None
        if values.keys() == {NAME}:
            return Redirect("/smtp", "Saved. Mail of the webhook has this display name from now on.")
        host = self.parts.settings.current.smarthost.host
        way = f"through {host}" if host else "directly to the recipients' servers"
        return Redirect("/smtp", f"Saved. Mail goes {way} from now on, what waits included.")

    @change("/smtp/reset", action="settings.change")
    async def reset(self, visit: Visit) -> Redirect:
        every = items(self.parts.settings)
        try:
            await self.parts.settings.change({key: None for key in KEYS if every[key].set_here})
        except SettingsError as error:
            raise form_error(error, KEYS) from None
        return Redirect("/smtp", "The settings made here are gone; what waits goes the way that holds now.")

    @change("/smtp/test", action="smtp.test")
    async def test(self, visit: Visit) -> View:
        settings = self._typed(visit)
        if not settings.host:
            raise FormError({"smarthost.host": "Fill this in: there is no host to test."})
        sender, recipient = _address(visit, "sender"), _address(visit, "recipient")
        own = self.parts.settings.current.webhook.sender_domain
        if not self.parts.accounts.local(sender.domain) and sender.domain.lower() != own.lower():
            raise FormError({"sender": f"{sender.domain} is no domain of this server, nor the allowed sender domain."})
        probe = await self.parts.mail_out_probe.try_smarthost(settings, sender, recipient)
        audit.note(target=settings.host, after={"recipient": str(recipient), "ok": probe.ok})
        await concluded(self.parts.audit)
        names = (*_FIELDS, *[WAS + key for key in _FIELDS], "sender", "recipient")
        typed = {name: visit.form.shown(name) for name in names if name != _PASSWORD}
        return await self._view({name: text for name, text in typed.items() if name in visit.form.values}, "", probe)

    def _wanted(self, visit: Visit, keys: tuple[str, ...]) -> dict[str, object]:
        """What the form changes; who empties the user name wants no login, so that the password that was kept goes, too."""
        every = items(self.parts.settings)
        values = wanted(visit.form, every, keys)
        if values.get("smarthost.username") == "" and every[_PASSWORD].set_here:
            values.setdefault(_PASSWORD, None)
        return values

    def _typed(self, visit: Visit) -> Smarthost:
        """The smart host as the form has it, checked as it would be to be saved; raises FormError."""
        settings = self.parts.settings
        try:
            config: Config = settings.tried(self._wanted(visit, KEYS))
        except SettingsError as error:
            raise form_error(error, KEYS) from None
        return config.smarthost

    async def _sender(self) -> str:
        """Whom a test is from unless something else is typed."""
        webhook = self.parts.settings.current.webhook
        if webhook.sender_domain:
            return f"{webhook.sender_local}@{webhook.sender_domain}"
        domains = await self.parts.accounts.domains()
        return f"postmaster@{domains[0].name}" if domains else ""


def _address(visit: Visit, name: str) -> Address:
    try:
        address = Address.parse(visit.form.needed(name, 320))
    except ValueError:
        raise FormError({name: "This is no mail address."}) from None
    if not address.domain:
        raise FormError({name: "This is no mail address."})
    return address
