"""The admin socket: :mod:`mailx.ops.administration` as HTTP on a Unix socket that only the server's user may open.

Whoever may connect is an administrator: the file's mode 0600 is the whole authentication, as it is for the database
beside it.
"""

import json
from socket import SO_PEERCRED, SOL_SOCKET
from struct import Struct
from typing import Any

from attrs import evolve
from klein import Klein
from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort, IReactorUNIX
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from werkzeug.exceptions import HTTPException

from mailx.core.audit import Actor
from mailx.core.streaming import Stream
from mailx.core.unix import make_room
from mailx.mail.reply import Unavailable
from mailx.ops.administration import MAILXCTL, ROUTES, Administration, failure, unroutable
from mailx.ops.resources.query import JSON, Streamed
from mailx.ops.site import BODY_LIMIT, InternalSite

log = Logger()

_CREDENTIALS = Struct("3i")  # struct ucred of Linux: pid, uid, gid


def resource(administration: Administration, reactor: Any = None) -> Any:
    """The tree of resources for a Site."""
    app = Klein()

    def route(path: str, method: str, name: str) -> None:
        @app.route(path, methods=[method], endpoint=name)
        async def perform(request: IRequest, **names: str) -> bytes:
            status, answer = await _perform(administration, name, names, request)
            if isinstance(answer, Streamed):
                await _stream(request, answer, reactor)
                return b""
            return _reply(request, status, answer)

    for path, method, name in ROUTES:
        route(path, method, name)

    @app.handle_errors(HTTPException)
    def refuse(request: IRequest, failure: Failure) -> bytes:
        assert isinstance(failure.value, HTTPException)
        return _reply(request, *unroutable(failure.value))

    return app.resource()


async def _perform(administration: Administration, name: str, names: dict[str, str], request: IRequest) -> tuple[int, JSON]:
    content = request.content.read(BODY_LIMIT + 1)
    if len(content) > BODY_LIMIT:
        return failure(413, "too_large", "The body is too large.")
    try:
        body = json.loads(content) if content else None
        parameters = {key.decode(): values[-1].decode() for key, values in request.args.items()}
    except (ValueError, RecursionError):
        return failure(400, "bad_request", "The request is not JSON in UTF-8.")
    return await administration.perform(name, names, parameters, body, _caller(request))


def _caller(request: Any) -> Actor:
    """Who stands behind the socket, as the kernel knows them: root, or the server's own user."""
    try:
        peer = request.channel.transport.socket.getsockopt(SOL_SOCKET, SO_PEERCRED, _CREDENTIALS.size)
        return evolve(MAILXCTL, address=f"uid {_CREDENTIALS.unpack(peer)[1]}")
    except (AttributeError, OSError):
        return MAILXCTL


def _reply(request: IRequest, status: int, answer: JSON) -> bytes:
    request.setResponseCode(status)
    request.setHeader("content-type", "application/json")
    request.setHeader("cache-control", "no-store")
    return json.dumps(answer).encode() + b"\n"


async def _stream(request: Any, answer: Streamed, reactor: Any) -> None:
    """Send what the answer brings. Where it ends too early the connection does, so that nobody takes what came for the whole."""
    request.setHeader("content-type", answer.content_type)
    request.setHeader("cache-control", "no-store")
    try:
        await Stream(request, answer.parts, reactor).run()
        return
    except Unavailable as error:
        log.error("Admin request failed", event="admin.unavailable", error=error.reason)
    except Exception:
        log.failure("Admin request failed", failure=Failure(), event="admin.error")
    if request.channel is not None:
        request.channel.forceAbortClient()


class AdminService(Service):
    """Listens on the Unix socket ``path`` while it runs."""

    name = "admin"

    def __init__(self, path: str, administration: Administration, reactor: IReactorUNIX) -> None:
        self._path = path
        self._administration = administration
        self._reactor = reactor
        self._port: IListeningPort | None = None

    def startService(self) -> None:
        """Listen; raises SocketInUse, or CannotListenError when the directory does not allow it."""
        make_room(self._path, "admin.socket")
        site = InternalSite(resource(self._administration, self._reactor))
        # The file gets its mode between bind and listen, so nobody else is ever let in.
        self._port = self._reactor.listenUNIX(self._path, site, mode=0o600)  # type: ignore[arg-type]
        super().startService()  # type: ignore[no-untyped-call]
        log.info("Admin socket open", event="admin.started", path=self._path)

    def stopService(self) -> Deferred[Any]:
        """Stop listening; requests that run finish."""
        super().stopService()  # type: ignore[no-untyped-call]
        port, self._port = self._port, None
        return maybeDeferred(port.stopListening) if port is not None else maybeDeferred(lambda: None)
