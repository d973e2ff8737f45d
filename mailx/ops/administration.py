"""The admin API, whatever carries it: it routes a request to its resource and performs it, JSON in, JSON out.

``mailxctl`` speaks to it through the Unix socket of a running server (:mod:`mailx.ops.admin`), or calls it in its own
process when no server runs; programs with an API key come by HTTP (:mod:`mailx.web.panel.api`). All use the same
``RESOURCES`` and :meth:`Administration.perform`, which checks a request by its declaration
(:mod:`mailx.ops.resources.shape`) and has what changes something recorded in the audit log. Every error is
``{"error": {"code", "message", "remedy"}}`` and safe to show.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from attrs import define, field
from twisted.logger import Logger
from twisted.python.failure import Failure
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.routing import Map, Rule

from mailx.config import Config
from mailx.core import audit
from mailx.core.accounts import Accounts, DirectoryError
from mailx.core.admins import Admins
from mailx.core.api_keys import READ, ApiKeys
from mailx.core.app_passwords import AppPasswords
from mailx.core.audit import Actor, Log
from mailx.core.block_lists import BlockLists
from mailx.core.client_keys import ClientKeys
from mailx.core.contacts import Contacts
from mailx.core.domain_keys import DomainKeys
from mailx.core.importing import Imports
from mailx.core.indexer import Indexer
from mailx.core.key_backup import KeyBackup
from mailx.core.key_log import KeyLog
from mailx.core.lifecycle import Lifecycle
from mailx.core.log_audit import LogAudit
from mailx.core.log_witness import LogWitness
from mailx.core.passwords import Busy
from mailx.core.peer_control import PeerControl
from mailx.core.person_export import Person
from mailx.core.queue import Queue as MailQueue
from mailx.core.records import Records
from mailx.core.sealed_accounts import SealedAccounts
from mailx.core.settings import Settings
from mailx.core.signing import Signing
from mailx.core.suppressions import Suppressions
from mailx.core.timeline import Timeline
from mailx.core.user_keys import UserKeys
from mailx.mail.reply import Unavailable
from mailx.ops.openapi import PATH, describe
from mailx.ops.resources.access import Administrators, Keys
from mailx.ops.resources.audit import Audit
from mailx.ops.resources.block_lists import ServerBlocks
from mailx.ops.resources.contacts import ContactBook
from mailx.ops.resources.credentials import Credentials
from mailx.ops.resources.directory import Directory
from mailx.ops.resources.dkim import Dkim
from mailx.ops.resources.dns import Dns
from mailx.ops.resources.exports import MailExports
from mailx.ops.resources.imports import MailImports
from mailx.ops.resources.index import SearchIndex
from mailx.ops.resources.key_log import KeyLogs
from mailx.ops.resources.keys import DomainKeyring
from mailx.ops.resources.lifecycle import Lives
from mailx.ops.resources.peers import PeerServers
from mailx.ops.resources.query import JSON, Query
from mailx.ops.resources.queue import Queue
from mailx.ops.resources.sealing import Sealing
from mailx.ops.resources.server import Server
from mailx.ops.resources.settings import LiveSettings
from mailx.ops.resources.shape import Shape, problem, shape_of
from mailx.ops.resources.suppressions import SuppressionList
from mailx.ops.resources.trace import Traces

log = Logger()

MAILXCTL = Actor("mailxctl", "mailxctl")
_STATUS = {"not_found": 404, "exists": 409, "in_use": 409, "invalid": 422, "limit": 422, "unpublished": 409}

RESOURCES: dict[str, Any] = {
    "server": Server,
    "directory": Directory,
    "credentials": Credentials,
    "lives": Lives,
    "imports": MailImports,
    "exports": MailExports,
    "index": SearchIndex,
    "dkim": Dkim,
    "dns": Dns,
    "keys": DomainKeyring,
    "sealing": Sealing,
    "keylogs": KeyLogs,
    "peers": PeerServers,
    "queue": Queue,
    "trace": Traces,
    "admins": Administrators,
    "apikeys": Keys,
    "audit": Audit,
    "suppressions": SuppressionList,
    "settings": LiveSettings,
    "contacts": ContactBook,
    "blocklists": ServerBlocks,
}

# Path, method, and "resource.method" of what answers.
ROUTES: tuple[tuple[str, str, str], ...] = tuple(
    (path, method, f"{name}.{call}") for name, resource in RESOURCES.items() for path, method, call in resource.ROUTES
)
# "resource.method" to its declaration, and to the scope that an API key needs for it.
SHAPES: dict[str, Shape] = {
    name: shape_of(getattr(RESOURCES[name.partition(".")[0]], name.partition(".")[2]), name.partition(".")[0], method != "GET")
    for _, method, name in ROUTES
}
SCOPES: dict[str, str] = {
    name: READ if method == "GET" else f"{RESOURCES[name.partition('.')[0]].SCOPE}:write" for _, method, name in ROUTES
}
_URLS = Map([Rule(path, endpoint=name, methods=[method]) for path, method, name in ROUTES]).bind("localhost")


@define(eq=False)
class Administration:
    """Answers requests. ``config`` is what the server runs with; the parts behind it are None where no server runs."""

    accounts: Accounts
    config: Config
    indexer: Indexer | None = None
    queue: MailQueue | None = None
    timeline: Timeline | None = None
    signing: Signing | None = None
    records: Records | None = None
    admins: Admins | None = None
    api_keys: ApiKeys | None = None
    audit: Log | None = None
    suppressions: Suppressions | None = None
    settings: Settings | None = None
    domain_keys: DomainKeys | None = None
    user_keys: UserKeys | None = None
    key_backup: KeyBackup | None = None
    sealed_accounts: SealedAccounts | None = None
    app_passwords: AppPasswords | None = None
    client_keys: ClientKeys | None = None
    key_log: KeyLog | None = None
    log_witness: LogWitness | None = None
    log_audit: LogAudit | None = None
    peers: PeerControl | None = None
    contacts: Contacts | None = None
    block_lists: BlockLists | None = None
    lifecycle: Lifecycle | None = None
    person: Person | None = None
    imports: Imports | None = None
    _resources: dict[str, Any] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._resources = {
            "server": Server(self.accounts, self.settings or Settings(self.config)),
            "directory": Directory(self.accounts, self.domain_keys, self.sealed_accounts),
            "credentials": Credentials(self.app_passwords, self.sealed_accounts),
            "lives": Lives(self.lifecycle, self.person),
            "imports": MailImports(self.imports),
            "exports": MailExports(self.person),
            "index": SearchIndex(self.indexer),
            "dkim": Dkim(self.signing, self.records),
            "dns": Dns(self.records),
            "keys": DomainKeyring(self.domain_keys, self.user_keys, self.key_backup),
            "sealing": Sealing(self.accounts, self.sealed_accounts, self.client_keys, self.user_keys),
            "keylogs": KeyLogs(self.key_log, self.log_witness, self.log_audit),
            "peers": PeerServers(self.peers),
            "queue": Queue(self.queue),
            "trace": Traces(self.timeline, self.accounts),
            "admins": Administrators(self.admins),
            "apikeys": Keys(self.api_keys),
            "audit": Audit(self.audit),
            "suppressions": SuppressionList(self.suppressions),
            "settings": LiveSettings(self.settings),
            "contacts": ContactBook(self.contacts),
            "blocklists": ServerBlocks(self.block_lists),
        }

    async def answer(self, method: str, path: str, parameters: Mapping[str, str], body: JSON, actor: Actor = MAILXCTL) -> tuple[int, JSON]:
        """Route one request and perform it; never raises."""
        try:
            name, names = _URLS.match(path, method)
        except HTTPException as error:
            return unroutable(error)
        return await self.perform(name, names, parameters, body, actor)

    def scope(self, method: str, path: str) -> str:
        """The scope that an API key needs for that; "" where there is nothing that could be asked for."""
        try:
            return SCOPES[_URLS.match(path, method)[0]]
        except HTTPException:
            return ""

    def streams(self, method: str, path: str) -> bool:
        """Whether the answer to that is no JSON: only the server's own socket gives it."""
        try:
            return SHAPES[_URLS.match(path, method)[0]].gives.get("format") == "binary"
        except HTTPException:
            return False

    def methods(self, path: str) -> tuple[str, ...]:
        """The methods that a path has."""
        return tuple(sorted(_URLS.allowed_methods(path)))

    def description(self) -> JSON:
        """The API in OpenAPI 3.1."""
        return describe((path, method, name, SHAPES[name], SCOPES[name]) for path, method, name in ROUTES)

    async def perform(
        self, name: str, path: Mapping[str, str], parameters: Mapping[str, str], body: JSON, actor: Actor = MAILXCTL
    ) -> tuple[int, JSON]:
        """The HTTP status and the JSON of one request that was routed to ``name``; never raises."""
        if body is not None and not isinstance(body, dict):
            return failure(400, "bad_request", "The body is no JSON object.")
        shape = SHAPES[name]
        query = Query(path, parameters, body or {})
        wrong = _misfit(shape, query)
        if wrong:
            return failure(422, "invalid", wrong, "The description of the API says what fits.")
        try:
            return 200, await self._call(name, query, shape.action, actor)
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

    async def _call(self, name: str, query: Query, action: str, actor: Actor) -> JSON:
        resource, _, method = name.partition(".")
        call: Callable[[Query], Awaitable[JSON]] = getattr(self._resources[resource], method)
        if not action:
            return await call(query)
        with audit.acting(actor, action, next(iter(query.path.values()), "")) as act:
            answer = await call(query)
        if self.audit is not None:
            await self.audit.conclude(act)
        return answer


def _misfit(shape: Shape, query: Query) -> str:
    """What in a request is not as declared; "" when all of it is."""
    for name, value in query.path.items():
        wrong = problem(PATH, value, name)
        if wrong:
            return wrong
    if not shape.strict:
        return ""
    for name, value in query.parameters.items():
        if name not in shape.query:
            return f"there is no parameter {name[:50] if name.isprintable() else 'of that name'}"
        wrong = problem(shape.query[name], value, name)
        if wrong:
            return wrong
    missing = [name for name in shape.needed if name not in query.parameters]
    if missing:
        return f"{missing[0]} is missing"
    if shape.body is None:
        return "this request has no body" if query.body else ""
    return problem(shape.body, query.body)


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
