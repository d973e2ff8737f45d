"""The mail templates: what the mail of each type of call looks like, by default or as an administrator has written it.

A template is kept only if it renders with sample values. It is compiled once per change, and acts at once; other servers on the same
database read it within half a minute. Without a link in the call one is made of ``webhook.public_web_url``.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache, partial
from time import time
from typing import Any
from urllib.parse import quote

from attrs import asdict
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailx import config
from mailx.core import audit
from mailx.core.settings import Settings
from mailx.core.template_defaults import DEFAULTS
from mailx.core.template_language import Compiled, Problems, Rendered, Template
from mailx.mail.reply import Unavailable
from mailx.mail.times import iso
from mailx.store import Store, templates
from mailx.store.cipher import Cipher, CipherError

__all__ = ["PATHS", "TYPES", "Problems", "Rendered", "Template", "Templates", "link", "values"]

log = Logger()

TYPES = tuple(DEFAULTS)
PATHS = {"email_verification": "verify-email", "password_reset": "reset-password"}  # below public_web_url
TIME_LIMIT = 2.0  # seconds that a template may take to be compiled and rendered
_REREAD = 30.0
_MONTHS = "January February March April May June July August September October November December".split()


def link(type: str, settings: config.Webhook, token: str) -> str:
    """The link of a call that brings none; empty when ``public_web_url`` is."""
    base = settings.public_web_url
    return f"{base.rstrip('/')}/{PATHS[type]}?token={quote(token, safe='')}" if base else ""


@lru_cache(maxsize=1000)
def readable(moment: float) -> str:
    """A moment for people: ``21 February 2026, 06:00 UTC``."""
    when = datetime.fromtimestamp(moment, UTC)
    return f"{when.day} {_MONTHS[when.month - 1]} {when.year}, {when:%H:%M} UTC"


def values(
    type: str, settings: config.Webhook, *, to: str, subject: str, token: str, expires_at: str, expires: float, given_link: str
) -> dict[str, str]:
    """What a template of ``type`` is given; what the settings keep from it is empty."""
    return {
        "to": to,
        "subject": subject,
        "token": token if settings.include_token else "",
        "expiresAt": expires_at if settings.include_expires else "",
        "expires": readable(expires) if settings.include_expires else "",
        "link": (given_link or link(type, settings, token)) if settings.include_link else "",
        "sender_name": settings.sender_name,
        "web_url": settings.public_web_url.rstrip("/"),
    }


class Templates:
    """The templates in force."""

    def __init__(self, store: Store, cipher: Cipher, settings: Settings, reactor: Any) -> None:
        self._store = store
        self._cipher = cipher
        self._settings = settings
        self._reactor = reactor
        self._written: dict[str, Template] = {}
        self._changes = 0  # made here
        self._compiled = {type: Compiled(template) for type, template in DEFAULTS.items()}
        self._rereading = LoopingCall(self._reread)
        self._rereading.clock = reactor

    async def load(self) -> None:
        """Read what is kept. One that cannot be used is passed over for the default. Raises Unavailable."""
        changes = self._changes
        kept = dict(await self._store.read(templates.every))
        if changes != self._changes:
            return  # what was read may be older than what was saved meanwhile
        found = {type: template for type, content in kept.items() if type in DEFAULTS and (template := self._opened(type, content))}
        for type, default in DEFAULTS.items():
            template = found.get(type, default)
            if template != self._written.get(type, default):
                try:
                    self._compiled[type] = Compiled(template)
                except Problems:
                    log.error("A mail template cannot be used; the default takes its place", event="template.unusable", type=type)
                    found.pop(type, None)
                    self._compiled[type] = Compiled(default)
        self._written = found

    def start(self) -> None:
        """Read again now and then what other servers may have changed."""
        self._rereading.start(_REREAD, now=False).addErrback(
            lambda failure: log.failure("Templates are no longer read again", failure, event="template.reread_failed")
        )

    def stop(self) -> None:
        """Read no more."""
        if self._rereading.running:
            self._rereading.stop()

    def get(self, type: str) -> Template:
        """The template for ``type``."""
        return self._written.get(type) or DEFAULTS[type]

    def is_default(self, type: str) -> bool:
        """Whether no administrator has written one for ``type``."""
        return type not in self._written

    def render(self, type: str, given: Mapping[str, str]) -> Rendered:
        """The mail of a call; ``given`` comes from ``values``. Raises Problems."""
        return self._compiled[type].render(given)

    def sample(self, type: str) -> dict[str, str]:
        """Values to try a template with."""
        settings = self._settings.current.webhook
        expires = time() // 60 * 60 + 3600
        return values(
            type,
            settings,
            to="user@example.com",
            subject="Verify your email" if type == "email_verification" else "Reset your password",
            token="123456",
            expires_at=iso(expires),
            expires=expires,
            given_link="" if settings.public_web_url else f"https://example.com/{PATHS[type]}?token=123456",
        )

    async def preview(self, type: str, template: Template) -> Rendered:
        """What ``template`` makes of sample values. Raises Problems."""
        return (await self._tried(type, template))[1]

    async def save(self, type: str, template: Template) -> None:
        """Let ``template`` hold for ``type`` from now on. Raises Problems, Unavailable."""
        compiled, _ = await self._tried(type, template)
        audit.note(target=type, before=asdict(self.get(type)), after=asdict(template))
        sealed = self._cipher.seal(b"template", type.encode(), json.dumps(asdict(template)).encode())
        await self._store.write(templates.put, type, sealed)
        self._changes += 1
        self._written[type], self._compiled[type] = template, compiled
        log.info("Mail template changed", event="template.changed", type=type)

    async def reset(self, type: str) -> None:
        """Back to the default. Raises Unavailable."""
        audit.note(target=type, before=asdict(self.get(type)), after=asdict(DEFAULTS[type]))
        await self._store.write(templates.drop, type)
        self._changes += 1
        self._written.pop(type, None)
        self._compiled[type] = Compiled(DEFAULTS[type])
        log.info("Mail template changed", event="template.changed", type=type)

    async def _tried(self, type: str, template: Template) -> tuple[Compiled, Rendered]:
        """``template`` made ready and rendered, in a thread and within TIME_LIMIT. Raises Problems."""
        trying: Deferred[tuple[Compiled, Rendered]] = deferToThreadPool(
            self._reactor, self._reactor.getThreadPool(), partial(_try, template, self.sample(type))
        )
        trying.addTimeout(TIME_LIMIT, self._reactor, _too_slow)
        return await trying

    def _opened(self, type: str, content: bytes) -> Template | None:
        try:
            return Template(**json.loads(self._cipher.open(b"template", type.encode(), content)))
        except (CipherError, ValueError, TypeError):
            log.error("A mail template cannot be used; the default takes its place", event="template.unusable", type=type)
            return None

    async def _reread(self) -> None:
        try:
            await self.load()
        except Unavailable:
            return  # the store tells of its own trouble; what holds goes on to hold


def _try(template: Template, given: Mapping[str, str]) -> tuple[Compiled, Rendered]:
    compiled = Compiled(template)
    rendered = compiled.render(given)
    if not rendered.subject:
        raise Problems({"subject": "The subject must not be empty."})
    return compiled, rendered


def _too_slow(result: Any, timeout: float) -> Failure:
    raise Problems({"text": f"This takes longer than {timeout:g} seconds."})
