"""The admin socket: :mod:`mailx.ops.administration` as HTTP on a Unix socket that only the server's user may open.

Whoever may connect is an administrator: the file's mode 0600 is the whole authentication, as it is for the database
beside it. A socket that a killed server left behind is replaced; one that answers means another server runs.
"""

import json
import os
import socket
import stat
from typing import Any

from klein import Klein
from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort, IReactorUNIX
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from werkzeug.exceptions import HTTPException

from mailx.ops.administration import JSON, ROUTES, Administration, failure, unroutable
from mailx.ops.site import InternalSite

log = Logger()

_BODY_LIMIT = 1 << 20  # octets
_PATH_LIMIT = 107  # octets, unix(7)


class SocketInUse(Exception):
    """Another server answers on the socket, or the path cannot be a socket."""


def resource(administration: Administration) -> Any:
    """The tree of resources for a Site."""
    app = Klein()

    def route(path: str, method: str, name: str) -> None:
        @app.route(path, methods=[method], endpoint=name)
        async def perform(request: IRequest, **names: str) -> bytes:
            return _reply(request, *await _perform(administration, name, names, request))

    for path, method, name in ROUTES:
        route(path, method, name)

    @app.handle_errors(HTTPException)
    def refuse(request: IRequest, failure: Failure) -> bytes:
        assert isinstance(failure.value, HTTPException)
        return _reply(request, *unroutable(failure.value))

    return app.resource()


async def _perform(administration: Administration, name: str, names: dict[str, str], request: IRequest) -> tuple[int, JSON]:
    content = request.content.read(_BODY_LIMIT + 1)
    if len(content) > _BODY_LIMIT:
        return failure(413, "too_large", "The body is too large.")
    try:
        body = json.loads(content) if content else None
        parameters = {key.decode(): values[-1].decode() for key, values in request.args.items()}
    except (ValueError, RecursionError):
        return failure(400, "bad_request", "The request is not JSON in UTF-8.")
    return await administration.perform(name, names, parameters, body)


def _reply(request: IRequest, status: int, answer: JSON) -> bytes:
    request.setResponseCode(status)
    request.setHeader("content-type", "application/json")
    request.setHeader("cache-control", "no-store")
    return json.dumps(answer).encode() + b"\n"


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
        _remove_stale(self._path)
        site = InternalSite(resource(self._administration))
        # The file gets its mode between bind and listen, so nobody else is ever let in.
        self._port = self._reactor.listenUNIX(self._path, site, mode=0o600)  # type: ignore[arg-type]
        super().startService()  # type: ignore[no-untyped-call]
        log.info("Admin socket open", event="admin.started", path=self._path)

    def stopService(self) -> Deferred[Any]:
        """Stop listening; requests that run finish."""
        super().stopService()  # type: ignore[no-untyped-call]
        port, self._port = self._port, None
        return maybeDeferred(port.stopListening) if port is not None else maybeDeferred(lambda: None)


def _remove_stale(path: str) -> None:
    """Make room for a socket at ``path``; raises SocketInUse."""
    if len(os.fsencode(path)) > _PATH_LIMIT:
        raise SocketInUse(f"{path} is longer than the {_PATH_LIMIT} octets of a socket's name: set admin.socket to a shorter path")
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise SocketInUse(f"{path} is no socket: move it away, or set admin.socket to another path")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except OSError:
            os.unlink(path)
            return
    raise SocketInUse(f"another server answers on {path}: stop it, or set admin.socket to another path")
