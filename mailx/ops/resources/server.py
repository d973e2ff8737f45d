"""The server itself in the admin API: its status and its configuration."""

from typing import Any

from attrs import fields, has

from mailx import __version__
from mailx.config import sections
from mailx.core.accounts import Accounts
from mailx.core.settings import Settings
from mailx.ops.resources.query import JSON, Query
from mailx.ops.resources.shape import COUNT, TEXT, record, shaped


class Server:
    """What runs here, and with which settings."""

    SCOPE = "server"
    ROUTES = (
        ("/v1/status", "GET", "status"),
        ("/v1/config", "GET", "configuration"),
    )

    def __init__(self, accounts: Accounts, settings: Settings) -> None:
        self._accounts = accounts
        self._settings = settings

    @shaped("What runs here.", gives=record({"version": TEXT, "hostname": TEXT, "accounts": COUNT, "used": COUNT}))
    async def status(self, query: Query) -> JSON:
        """Version, hostname, and how much there is."""
        accounts, octets = await self._accounts.totals()
        return {"version": __version__, "hostname": self._settings.current.server.hostname, "accounts": accounts, "used": octets}

    @shaped("The settings in force, without secrets.", gives={"type": "object", "additionalProperties": {"type": "object"}})
    async def configuration(self, query: Query) -> JSON:
        """The running configuration, without its secrets."""
        return {name: _shown(getattr(self._settings.current, name)) for name in sections()}


def _shown(value: Any) -> JSON:
    if isinstance(value, tuple):
        return [_shown(one) for one in value]
    if not has(type(value)):
        return value
    shown = {}
    for attribute in fields(type(value)):
        hidden = attribute.metadata["secret"] and getattr(value, attribute.name)
        shown[attribute.name] = "(hidden)" if hidden else _shown(getattr(value, attribute.name))
    return shown
