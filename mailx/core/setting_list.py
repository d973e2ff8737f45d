"""The settings that administrators change, one by one: what each is, what holds, where that comes from, what is unsafe about it."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from attrs import Attribute, fields, frozen

from mailx.config import Config, allowed, sections
from mailx.config_value import from_text
from mailx.core.dangers import dangers
from mailx.core.settings import DATABASE, FIXED, JSON, Settings, declared

_DEFAULTS = Config()

# What a setting is called in a form, where its name in words says too little.
_LABELS = {
    "smarthost.username": "User name",
    "smarthost.timeout": "Timeout in seconds",
    "smarthost.verify": "Check the certificate",
    "webhook.signature": "Signature required",
    "webhook.secret": "Shared secret",
    "webhook.skew": "Accepted timestamp skew in seconds",
    "webhook.header_prefix": "Beginning of the header names",
    "webhook.allowed": "Networks that may call",
    "webhook.proxies": "Networks of reverse proxies",
    "webhook.per_minute": "Calls a minute from one address",
    "webhook.body_size": "Largest body in octets",
    "webhook.public_web_url": "Public web URL",
    "webhook.sender_domain": "Allowed sender domain",
    "webhook.sender_local": "Default local part, before the @",
    "webhook.sender_name": "Sender display name",
    "webhook.local_parts": "Local parts that callers may ask for",
    "webhook.allowed_local_parts": "Allow-listed local parts",
    "webhook.include_token": "Include the token",
    "webhook.include_expires": "Include the time of expiry",
    "webhook.include_link": "Include the link",
    "webhook.callback_url": "URL of callbacks",
    "webhook.callback_secret": "Secret of callbacks",
    "webhook.callback_networks": "Private networks that may be posted into",
    "webhook.suppress": "Refuse addresses that bounced",
    "panel.session_hours": "Longest session in hours",
    "panel.idle_minutes": "Minutes until an idle session ends",
    "panel.audit_days": "Days that the audit log is kept",
    "limits.account_hour": "Messages of an account an hour",
    "limits.account_day": "Messages of an account a day",
    "limits.domain_hour": "Messages of a domain an hour",
    "limits.address_minute": "Messages from one address a minute",
    "alerts.mail": "Mail alerts to",
    "alerts.url": "Post alerts to",
    "alerts.secret": "Secret of posted alerts",
    "alerts.queue_age": "Age of waiting mail",
    "alerts.queue_depth": "Recipients that wait",
    "alerts.failures_per_hour": "Failed deliveries an hour",
    "alerts.quota_percent": "Percent of an account's storage",
    "alerts.disk_percent": "Percent of the disk",
    "alerts.certificate_days": "Days before a certificate expires",
    "alerts.logins_per_hour": "Failed logins an hour",
    "lifecycle.trash_days": "Days that mail stays in Trash",
    "lifecycle.spam_days": "Days that mail stays in Spam",
    "lifecycle.retention_days": "Days that all other mail stays",
    "lifecycle.grace_days": "Days that a deleted account can be had back",
    "lifecycle.warn_percent": "Percents of a quota at which its owner is warned",
    "log.level": "Log level",
    "queue.delivery_log": "Octets of the delivery log",
}


# The help of those where it would advise whoever writes the file, or name values as the file has them.
_HELP = {
    "smarthost.password": "Password of the login.",
    "smarthost.verify": "Whether the certificate must be good. UNSAFE otherwise: anybody on the way can read mail and password.",
    "webhook.signature": "Whether calls must be signed. UNSAFE otherwise: whoever reaches the port sends mail in your name.",
    "webhook.public_web_url": "Links are built from it when a call has none: https://app.example.org.",
    "webhook.sender_domain": "Mail is sent from addresses of this domain, which should be one of this server's; empty: calls get 503.",
    "webhook.local_parts": "What a call may choose by fromLocalPart: any, only the listed ones below, or none (refused).",
    "webhook.allowed_local_parts": "What may stand before the @ where only listed ones may, such as billing.",
    "queue.delivery_log": "The log is kept up to this size: 5000000 is 5 MB. The oldest entries give way.",
    "webhook.secret": "Shared secret that callers sign with. Empty: all calls get 503.",
}


@frozen
class Item:
    """One setting. ``value`` is as TOML gives it; of a secret it is empty, and ``filled`` tells whether there is one."""

    key: str  # "section.name"
    help: str
    kind: str  # "truth", "number", "choice", "list", "secret" or "text"
    value: JSON
    default: JSON
    filled: bool
    origin: str  # as Settings.origin
    fixed: str  # the file or the variable that fixes it; empty: none does
    allowed: str  # in words
    least: int | None
    most: int | None
    choices: tuple[str, ...]
    danger: str  # what is unsafe about the value; empty: nothing

    @property
    def name(self) -> str:
        """Without the section."""
        return self.key.partition(".")[2]

    @property
    def label(self) -> str:
        """The name in words."""
        words = self.name.replace("_", " ")
        return _LABELS.get(self.key) or words[:1].upper() + words[1:]

    @property
    def text(self) -> str:
        """The value as a form shows it; a list has a line for each."""
        if isinstance(self.value, list):
            return "\n".join(self.value)
        return ("true" if self.value else "false") if isinstance(self.value, bool) else str(self.value)

    @property
    def mark(self) -> str:
        """What a form carries to tell later whether the value is still the one that it showed; empty for secrets."""
        return "" if self.kind == "secret" else marked(self.key, self.value)

    @property
    def set_here(self) -> bool:
        """Whether it may be reset to its default."""
        return self.origin == DATABASE


def items(settings: Settings) -> dict[str, Item]:
    """Every setting that may be changed while the server runs, in the order of the reference."""
    unsafe = {danger.key: danger.text for danger in dangers(settings.current)}
    return {
        f"{section}.{attribute.name}": _item(settings, section, attribute, unsafe)
        for section, kind in sections().items()
        for attribute in fields(kind)
        if attribute.metadata["live"]
    }


def parsed(item: Item, text: str) -> JSON:
    """What was typed into a form as TOML gives it; what does not fit stays text and is refused by the check."""
    if item.kind == "list":
        return [line.strip() for line in text.replace(",", "\n").split("\n") if line.strip()]
    attribute = declared(item.key)
    return text if attribute.type is str else from_text(attribute, text.strip())


def marked(key: str, value: JSON) -> str:
    """The mark of a value (``Item.mark``)."""
    return hashlib.sha256(json.dumps([key, value]).encode()).hexdigest()[:12]


def plain(value: Any) -> JSON:
    """A value of the configuration as TOML gives it."""
    return list(value) if isinstance(value, tuple) else value


def described(item: Item) -> Mapping[str, JSON]:
    """An item for programs."""
    return {
        "key": item.key,
        "value": None if item.kind == "secret" else item.value,
        "set": item.filled,
        "default": None if item.kind == "secret" else item.default,
        "origin": item.origin,
        "fixed": item.origin in FIXED,
        "fixed_by": item.fixed,
        "secret": item.kind == "secret",
        "allowed": item.allowed,
        "help": item.help,
        "unsafe": item.danger,
    }


def _item(settings: Settings, section: str, attribute: "Attribute[Any]", unsafe: Mapping[str, str]) -> Item:
    key, metadata = f"{section}.{attribute.name}", attribute.metadata
    value = _value(settings.current, section, attribute.name)
    secret = metadata["secret"]
    origin = settings.origin(key)
    return Item(
        key,
        _HELP.get(key) or metadata["help"].replace("`", ""),
        _kind(attribute),
        "" if secret else value,
        _value(_DEFAULTS, section, attribute.name),
        bool(value) or value is False or value == 0,
        origin,
        settings.fixed_by(key) if origin in FIXED else "",
        allowed(attribute),
        metadata["least"],
        metadata["most"],
        metadata["choices"],
        unsafe.get(key, ""),
    )


def _kind(attribute: "Attribute[Any]") -> str:
    if attribute.metadata["secret"]:
        return "secret"
    if attribute.metadata["choices"]:
        return "choice"
    if attribute.type is bool:
        return "truth"
    if attribute.type is int:
        return "number"
    return "list" if attribute.type == tuple[str, ...] else "text"


def _value(config: Config, section: str, name: str) -> JSON:
    return plain(getattr(getattr(config, section), name))
