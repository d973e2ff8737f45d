"""The admin API, whatever carries it: it routes a request to its resource and performs it, JSON in, JSON out.

``mailxctl`` speaks to it through the Unix socket of a running server (:mod:`mailx.ops.admin`), or calls it in its own
process when no server runs; both use the same ``RESOURCES`` and :meth:`Administration.perform`. Every error is
``{"error": {"code", "message", "remedy"}}`` and safe to show.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from twisted.logger import Logger
from twisted.python.failure import Failure
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.routing import Map, Rule

from mailx.config import Config
from mailx.core.accounts import Accounts, DirectoryError
from mailx.core.indexer import Indexer
from mailx.core.passwords import Busy
from mailx.core.queue import Queue as MailQueue
from mailx.core.records import Records
from mailx.core.signing import Signing
from mailx.core.timeline import Timeline
from mailx.mail.reply import Unavailable
from mailx.ops.resources.directory import Directory
from mailx.ops.resources.dkim import Dkim
from mailx.ops.resources.dns import Dns
from mailx.ops.resources.index import SearchIndex
from mailx.ops.resources.query import JSON, Query
from mailx.ops.resources.queue import Queue
from mailx.ops.resources.server import Server
from mailx.ops.resources.trace import Traces

log = Logger()

_STATUS = {"not_found": 404, "exists": 409, "in_use": 409, "invalid": 422, "limit": 422, "unpublished": 409}

RESOURCES: dict[str, Any] = {
    "server": Server,
    "directory": Directory,
    "index": SearchIndex,
    "dkim": Dkim,
    "dns": Dns,
    "queue": Queue,
    "trace": Traces,
}

# Path, method, and "resource.method" of what answers.
ROUTES: tuple[tuple[str, str, str], ...] = tuple(
    (path, method, f"{name}.{call}") for name, resource in RESOURCES.items() for path, method, call in resource.ROUTES
)
_MAP = Map([Rule(path, endpoint=name, methods=[method]) for path, method, name in ROUTES])


class Administration:
    """Answers requests. ``config`` is what the server runs with; the parts behind it are None where no server runs."""

    def __init__(
        self,
        accounts: Accounts,
        config: Config,
        indexer: Indexer | None = None,
        *,
        queue: MailQueue | None = None,
        timeline: Timeline | None = None,
        signing: Signing | None = None,
        records: Records | None = None,
    ) -> None:
        self._resources: dict[str, Any] = {
            "server": Server(accounts, config),
            "directory": Directory(accounts),
            "index": SearchIndex(indexer),
            "dkim": Dkim(signing, records),
            "dns": Dns(records),
            "queue": Queue(queue, bool(config.outbound.routes)),
            "trace": Traces(timeline, accounts),
        }
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
        resource, _, method = name.partition(".")
        call: Callable[[Query], Awaitable[JSON]] = getattr(self._resources[resource], method)
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


def failure(status: int, code: str, message: str, remedy: str = "") -> tuple[int, JSON]:
    """An error as the API gives it."""
    if not set(".@") & set(message.split(" ", 1)[0]):  # a name keeps its letters
        message = message[:1].upper() + message[1:]
    return status, {"error": {"code": code, "message": message.removesuffix(".") + ".", "remedy": remedy}}


def unroutable(error: HTTPException) -> tuple[int, JSON]:
    """The answer where there is no such resource, or it has no such method."""
    if isinstance(error, MethodNotAllowed):
        return failure(405, "method_not_allowed", "This resource has no such method.")
    return failure(404, "no_resource", "There is no such resource.")
