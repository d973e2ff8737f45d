"""The health port: ``/healthz`` (the process answers), ``/readyz`` (its parts answer) and ``/metrics``.

Answers name parts, never reasons: those go to the log.
"""

import json
from collections.abc import Awaitable, Callable, Mapping

from klein import Klein
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest

from mailx import __version__
from mailx.ops.metrics import exposition
from mailx.ops.site import InternalSite

log = Logger()

Probe = Callable[[], Awaitable[object]]

PATIENCE = 5.0  # seconds a part may take to answer


class Health:
    """Answers for the server. ``probes`` maps the name of a part to what raises when that part is not ready."""

    app = Klein()

    def __init__(self, probes: dict[str, Probe], reactor: IReactorTime) -> None:
        self.probes = probes
        self._reactor = reactor
        self.phase = "starting"  # then "running", then "stopping": ready only in between

    @app.route("/healthz", methods=["GET", "HEAD"])
    def healthz(self, request: IRequest) -> bytes:
        """200 as long as the event loop turns."""
        return _answer(request, 200, {"status": "ok", "version": __version__})

    @app.route("/readyz", methods=["GET", "HEAD"])
    async def readyz(self, request: IRequest) -> bytes:
        """200 if every part answers, else 503, with the state of each."""
        parts = {}
        status = self.phase
        if status == "running":
            parts = {name: "ok" if await self._ready(name, probe) else "failed" for name, probe in self.probes.items()}
            status = "ok" if all(state == "ok" for state in parts.values()) else "failed"
        return _answer(request, 200 if status == "ok" else 503, {"status": status, "parts": parts})

    @app.route("/metrics", methods=["GET", "HEAD"])
    def metrics(self, request: IRequest) -> bytes:
        """The metrics in the format that the scraper asks for."""
        body, content_type = exposition(request.getHeader("accept") or "")
        request.setHeader("content-type", content_type)
        return body

    async def _ready(self, name: str, probe: Probe) -> bool:
        try:
            answer = maybeDeferred(lambda: Deferred.fromCoroutine(_await(probe)))
            await answer.addTimeout(PATIENCE, self._reactor)
        except Exception:
            log.failure("Part not ready", failure=Failure(), event="health.not_ready", part=name)
            return False
        return True

    def site(self) -> InternalSite:
        """The resource tree as a factory for a listener."""
        return InternalSite(self.app.resource())


async def _await(probe: Probe) -> object:
    return await probe()


def _answer(request: IRequest, code: int, body: Mapping[str, object]) -> bytes:
    request.setResponseCode(code)
    request.setHeader("content-type", "application/json")
    request.setHeader("cache-control", "no-store")
    return json.dumps(body).encode() + b"\n"
