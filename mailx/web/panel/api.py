"""The admin API over HTTP, below /api/v1: API keys, their scopes, and JSON; what it does is the administration's.

A key comes in the Authorization header and nowhere else: no cookie and no parameter opens this door, so that no other page
can use a browser's session here. Without a good key nothing is told, not even which paths there are; only the description
of the API (openapi.json), which is the same on every server, is public.
"""

import json
from typing import Any, Protocol, TypeAlias

from twisted.logger import Logger

from mailx.core import metrics
from mailx.core.api_keys import ApiKeys, Key
from mailx.core.audit import Actor
from mailx.mail.reply import Unavailable
from mailx.web.requests import Answer, Asked

log = Logger()

JSON: TypeAlias = Any

PREFIX = "/api"
BODY_LIMIT = 1048576  # octets; what is longer does not arrive
_DESCRIPTION = "/api/v1/openapi.json"
_QUERY_LIMIT = 2000  # characters of all parameters


class IAdministration(Protocol):
    """What this edge needs of :class:`mailx.ops.administration.Administration`."""

    async def answer(self, method: str, path: str, parameters: Any, body: JSON, actor: Actor = ...) -> tuple[int, JSON]: ...

    def scope(self, method: str, path: str) -> str: ...

    def streams(self, method: str, path: str) -> bool:
        """Whether the answer to that is no JSON: only the server's own socket gives it."""

    def methods(self, path: str) -> tuple[str, ...]: ...

    def description(self) -> JSON: ...


class API:
    """Answers what programs ask."""

    def __init__(self, administration: IAdministration, keys: ApiKeys) -> None:
        self._administration = administration
        self._keys = keys
        self._description = b""

    async def answer(self, asked: Asked) -> Answer:
        """One request; never raises."""
        answer = await self._answered(asked)
        metrics.API_REQUESTS.labels(str(answer.status)).inc()
        return answer

    async def _answered(self, asked: Asked) -> Answer:
        if asked.path == _DESCRIPTION and asked.method in ("GET", "HEAD"):
            self._description = self._description or json.dumps(self._administration.description()).encode() + b"\n"
            return _answer(200, self._description)
        try:
            key = await self._key(asked)
        except Unavailable as error:
            log.error("Admin request failed", event="admin.unavailable", error=error.reason)
            return _error(503, "unavailable", "The store cannot answer now.", "Try again.", {"retry-after": "5"})
        if key is None:
            given = "authorization" in asked.headers
            log.info("Admin request refused", event="api.refused", client_ip=asked.address)
            challenge = 'Bearer realm="MailX"' + (', error="invalid_token"' if given else "")  # RFC 6750 3
            text = "This API key is not good." if given else "An API key is needed."
            remedy = "Send `Authorization: Bearer KEY` with a key that an administrator made."
            return _error(401, "unauthorized", text, remedy, {"www-authenticate": challenge})
        return await self._perform(asked, key)

    def too_large(self) -> Answer:
        """The answer to a body over the limit, which is not read."""
        return _error(413, "too_large", "The body is too large.")

    async def _key(self, asked: Asked) -> Key | None:
        scheme, _, text = asked.header("authorization").partition(" ")
        return await self._keys.authenticate(text.strip()) if scheme.lower() == "bearer" else None

    async def _perform(self, asked: Asked, key: Key) -> Answer:
        path = asked.path.removeprefix(PREFIX)
        method = "GET" if asked.method == "HEAD" else asked.method
        scope = self._administration.scope(method, path)
        if not scope:
            methods = self._administration.methods(path)
            if not methods:
                return _error(404, "no_resource", "There is no such resource.", "See /api/v1/openapi.json.")
            return _error(405, "method_not_allowed", "This resource has no such method.", "", {"allow": ", ".join(methods)})
        if not key.may(scope):
            log.info("Admin request without its scope", event="api.forbidden", key=key.name, scope=scope)
            challenge = f'Bearer realm="MailX", error="insufficient_scope", scope="{scope}"'
            remedy = f"Use a key with the scope {scope}."
            return _error(403, "forbidden", "This key may not do that.", remedy, {"www-authenticate": challenge})
        refused, body = _body(asked)
        if refused is not None:
            return refused
        if sum(len(name) + len(value) for name, value in asked.query.items()) > _QUERY_LIMIT:
            return _error(422, "invalid", "The query string is too long.")
        actor = Actor("key", key.name, asked.address)
        if self._administration.streams(method, path):
            return _error(403, "forbidden", "This is to be had on the server's own socket only.", "Use mailxctl on the server.")
        status, answer = await self._administration.answer(method, path, asked.query, body, actor)
        return _answer(status, json.dumps(answer).encode() + b"\n", {"retry-after": "5"} if status == 503 else None)


def _body(asked: Asked) -> tuple[Answer | None, JSON]:
    """The JSON that the request brought, or the answer that refuses it."""
    if not asked.body:
        return None, None
    if asked.header("content-type").partition(";")[0].strip().lower() != "application/json":
        return _error(415, "unsupported_type", "The body is not application/json.", "Send Content-Type: application/json."), None
    try:
        body = json.loads(asked.body.decode("utf-8"), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return _error(400, "bad_request", "The request is not JSON in UTF-8."), None
    if not isinstance(body, dict):
        return _error(400, "bad_request", "The body is no JSON object."), None
    return None, body


def _refuse(name: str) -> None:
    """NaN and Infinity are no JSON (RFC 8259 6)."""
    raise ValueError(name)


def _error(status: int, code: str, message: str, remedy: str = "", headers: dict[str, str] | None = None) -> Answer:
    error = {"error": {"code": code, "message": message, "remedy": remedy}}
    return _answer(status, json.dumps(error).encode() + b"\n", headers)


def _answer(status: int, body: bytes, headers: dict[str, str] | None = None) -> Answer:
    return Answer(status, body, {"content-type": "application/json", "cache-control": "no-store", **(headers or {})})
