"""The admin API, whatever carries it: resources, their methods, and their JSON.

``mailxctl`` speaks to it through the Unix socket of a running server (:mod:`mailx.ops.admin`), or calls it in its own
process when no server runs; both use the same table of resources and :meth:`Administration.perform`. Every error is
``{"error": {"code", "message", "remedy"}}`` and safe to show.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeAlias

from attrs import fields, frozen, has
from twisted.logger import Logger
from twisted.python.failure import Failure
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.routing import Map, Rule

from mailx import __version__
from mailx.config import Config, sections
from mailx.core.accounts import Accounts, Alias, Block, Details, DirectoryError, Domain
from mailx.core.indexer import Indexer
from mailx.core.passwords import Busy
from mailx.mail.reply import Unavailable

log = Logger()

JSON: TypeAlias = Any

PAGE = 1000  # accounts in one answer

_STATUS = {"not_found": 404, "exists": 409, "in_use": 409, "invalid": 422, "limit": 422}

# Resource, method, and the method of Administration that answers. `path:` because / is good in a local part.
ROUTES = (
    ("/v1/status", "GET", "status"),
    ("/v1/config", "GET", "configuration"),
    ("/v1/index", "GET", "index_status"),
    ("/v1/index/rebuild", "POST", "rebuild_index"),
    ("/v1/domains", "GET", "domains"),
    ("/v1/domains", "POST", "add_domain"),
    ("/v1/domains/<name>", "DELETE", "delete_domain"),
    ("/v1/users", "GET", "users"),
    ("/v1/users", "POST", "add_user"),
    ("/v1/users/<path:address>", "GET", "user"),
    ("/v1/users/<path:address>", "PATCH", "change_user"),
    ("/v1/users/<path:address>", "DELETE", "delete_user"),
    ("/v1/aliases", "GET", "aliases"),
    ("/v1/aliases", "POST", "add_alias"),
    ("/v1/aliases/<path:alias>", "DELETE", "delete_alias"),
    ("/v1/blocks/<user>", "GET", "blocks"),
    ("/v1/blocks/<user>", "POST", "add_block"),
    ("/v1/blocks/<user>/<path:sender>", "DELETE", "delete_block"),
)
_MAP = Map([Rule(path, endpoint=name, methods=[method]) for path, method, name in ROUTES])


@frozen
class Query:
    """One request: what its path names, the query string and the JSON body."""

    path: Mapping[str, str]
    parameters: Mapping[str, str]
    body: Mapping[str, JSON]

    def text(self, name: str) -> str:
        """The text ``name`` of the body."""
        value = self.body.get(name)
        if not isinstance(value, str):
            raise DirectoryError("invalid", f"{name} must be given as text")
        return value

    def number(self, name: str, default: int) -> int:
        """The number ``name`` of the query string."""
        text = self.parameters.get(name, str(default))
        if not text.isascii() or not text.isdigit() or len(text) > 18:
            raise DirectoryError("invalid", f"{name} must be a number")
        return int(text)

    def quota(self) -> int | None:
        """The ``quota`` of the body: octets, or null for the configured default."""
        value = self.body.get("quota")
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise DirectoryError("invalid", "quota must be a number of octets, or null for the default")
        return value


class Administration:
    """Answers requests about the directory. ``config`` is what the server runs with, ``indexer`` is None without a server."""

    def __init__(self, accounts: Accounts, config: Config, indexer: Indexer | None = None) -> None:
        self._accounts = accounts
        self._config = config
        self._indexer = indexer
        self._urls = _MAP.bind("localhost")

    async def answer(self, method: str, path: str, parameters: Mapping[str, str], body: JSON) -> tuple[int, JSON]:
        """Route one request and perform it; never raises."""
        try:
            name, names = self._urls.match(path, method)
        except HTTPException as error:
            return unroutable(error)
        return await self.perform(name, names, parameters, body)

    async def perform(self, name: str, path: Mapping[str, str], parameters: Mapping[str, str], body: JSON) -> tuple[int, JSON]:
        """The HTTP status and the JSON of one request that was routed to ``name``; never raises."""
        if body is not None and not isinstance(body, dict):
            return failure(400, "bad_request", "The body is no JSON object.")
        call: Callable[[Query], Awaitable[JSON]] = getattr(self, name)
        try:
            return 200, await call(Query(path, parameters, body or {}))
        except DirectoryError as error:
            return failure(_STATUS[error.code], error.code, error.text, error.remedy)
        except Busy:
            return failure(503, "busy", "Too many passwords wait to be hashed.", "Try again in a few seconds.")
        except Unavailable as error:
            log.error("Admin request failed", event="admin.unavailable", error=error.reason)
            return failure(503, "unavailable", "The store cannot answer now.", "See the server's log for the reason, then try again.")
        except Exception:
            log.failure("Admin request failed", failure=Failure(), event="admin.error")
            return failure(500, "internal", "The request failed.", "See the server's log for the reason.")

    async def status(self, query: Query) -> JSON:
        """Version, hostname, and how much there is."""
        accounts, octets = await self._accounts.totals()
        return {"version": __version__, "hostname": self._config.server.hostname, "accounts": accounts, "used": octets}

    async def configuration(self, query: Query) -> JSON:
        """The running configuration, without its secrets."""
        return {name: _settings(getattr(self._config, name)) for name in sections()}

    async def index_status(self, query: Query) -> JSON:
        """How far the search index has come, and how large it is."""
        status = await self._running_indexer().status()
        return {
            "behind": status.behind,
            "seconds": round(status.seconds, 1),
            "segments": status.segments,
            "documents": status.documents,
            "octets": status.octets,
        }

    async def rebuild_index(self, query: Query) -> JSON:
        self._running_indexer().rebuild()
        return {}

    def _running_indexer(self) -> Indexer:
        if self._indexer is None:
            remedy = "Start the server. While none runs, the file index.db may be deleted: the next start builds it anew."
            raise DirectoryError("not_found", "only a running server has a search index", remedy)
        return self._indexer

    async def domains(self, query: Query) -> JSON:
        return {"domains": [_domain(domain) for domain in await self._accounts.domains()]}

    async def add_domain(self, query: Query) -> JSON:
        return {"name": await self._accounts.add_domain(query.text("name"))}

    async def delete_domain(self, query: Query) -> JSON:
        await self._accounts.delete_domain(query.path["name"])
        return {}

    async def users(self, query: Query) -> JSON:
        """A page of accounts; ``next`` is the ``after`` of the next page, or null."""
        limit = max(1, min(query.number("limit", PAGE), PAGE))
        page = await self._accounts.users(query.parameters.get("domain"), query.number("after", 0), limit)
        return {"users": [_user(details) for details in page], "next": page[-1].user.id if len(page) == limit else None}

    async def user(self, query: Query) -> JSON:
        return _user(await self._accounts.find(query.path["address"]))

    async def add_user(self, query: Query) -> JSON:
        role = query.text("role") if "role" in query.body else ""
        user = await self._accounts.add_user(query.text("address"), query.text("password"), role, query.quota())
        return _user(await self._accounts.find(user.address))

    async def change_user(self, query: Query) -> JSON:
        """Change whichever of password, quota, state and role the body names."""
        address = query.path["address"]
        unknown = set(query.body) - {"password", "quota", "state", "role"}
        if unknown or not query.body:
            raise DirectoryError("invalid", f"an account has no {', '.join(sorted(unknown))}" if unknown else "nothing to change was given")
        # All texts are read before anything is changed, so that a wrong one changes nothing.
        texts = {name: query.text(name) for name in query.body if name != "quota"}
        quota = query.quota()
        if "quota" in query.body:
            await self._accounts.set_quota(address, quota)
        if "role" in texts:
            await self._accounts.set_role(address, texts["role"])
        if "state" in texts:
            await self._accounts.set_state(address, texts["state"])
        if "password" in texts:
            await self._accounts.set_password(address, texts["password"])
        return _user(await self._accounts.find(address))

    async def delete_user(self, query: Query) -> JSON:
        await self._accounts.delete_user(query.path["address"])
        return {}

    async def aliases(self, query: Query) -> JSON:
        return {"aliases": [_alias(alias) for alias in await self._accounts.aliases(query.parameters.get("domain"))]}

    async def add_alias(self, query: Query) -> JSON:
        targets = query.body.get("targets")
        if not isinstance(targets, list) or not all(isinstance(target, str) for target in targets):
            raise DirectoryError("invalid", "targets must be a list of addresses")
        return _alias(await self._accounts.add_alias(query.text("alias"), targets))

    async def delete_alias(self, query: Query) -> JSON:
        await self._accounts.delete_alias(query.path["alias"])
        return {}

    async def blocks(self, query: Query) -> JSON:
        return {"blocks": [_block(block) for block in await self._accounts.blocks(query.path["user"])]}

    async def add_block(self, query: Query) -> JSON:
        return _block(await self._accounts.block(query.path["user"], query.text("sender")))

    async def delete_block(self, query: Query) -> JSON:
        await self._accounts.unblock(query.path["user"], query.path["sender"])
        return {}


def failure(status: int, code: str, message: str, remedy: str = "") -> tuple[int, JSON]:
    """An error as the API gives it."""
    message = message[:1].upper() + message[1:]
    return status, {"error": {"code": code, "message": message.removesuffix(".") + ".", "remedy": remedy}}


def unroutable(error: HTTPException) -> tuple[int, JSON]:
    """The answer where there is no such resource, or it has no such method."""
    if isinstance(error, MethodNotAllowed):
        return failure(405, "method_not_allowed", "This resource has no such method.")
    return failure(404, "no_resource", "There is no such resource.")


def _time(seconds: int | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _domain(domain: Domain) -> JSON:
    return {"name": domain.name, "accounts": domain.accounts, "aliases": domain.aliases, "created": _time(domain.created)}


def _user(details: Details) -> JSON:
    user = details.user
    return {
        "id": user.id,
        "address": str(user.address),
        "role": user.role,
        "state": user.state,
        "quota": user.quota,
        "quota_is_default": details.own_quota is None,
        "used": user.used,
        "created": _time(details.created),
        "last_login": _time(details.last_login),
        "aliases": list(details.aliases),
    }


def _alias(alias: Alias) -> JSON:
    return {"alias": str(alias.address), "targets": [str(target) for target in alias.targets], "created": _time(alias.created)}


def _block(block: Block) -> JSON:
    return {"sender": block.pattern, "created": _time(block.created)}


def _settings(value: Any) -> JSON:
    if isinstance(value, tuple):
        return [_settings(one) for one in value]
    if not has(type(value)):
        return value
    shown = {}
    for attribute in fields(type(value)):
        hidden = attribute.metadata["secret"] and getattr(value, attribute.name)
        shown[attribute.name] = "(hidden)" if hidden else _settings(getattr(value, attribute.name))
    return shown
