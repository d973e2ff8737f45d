"""The frame of the public site: every request from the socket to a part and back.

Anybody may ask, so each client has so many requests a minute, and a request is small. What goes wrong is told in a few words;
the traceback goes to the log. Who asked for what is not logged.
"""

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.routing import Map, Rule

from mailx.core.connections import Gate
from mailx.core.passwords import Busy
from mailx.mail.reply import Unavailable
from mailx.web.public.part import Declined, Names, Part, Route, error_answer
from mailx.web.requests import Answer, Asked
from mailx.web.server import Stream, WebSite
from mailx.web.webhook.rates import Rates

log = Logger()

PER_MINUTE = 600  # requests of one client
CONNECTIONS = 500
PER_ADDRESS = 50  # connections of one client
BODY_LIMIT = 65536  # octets; a route may take less
PATIENCE = 10.0  # seconds that requests may take to finish when the site closes


class PublicSite:
    """Answers what its ``parts`` have routes for."""

    def __init__(self, parts: Sequence[Part], reactor: Any, *, proxies: tuple[str, ...] = (), per_minute: int = PER_MINUTE) -> None:
        self._reactor = reactor
        self._proxies = proxies
        self._per_minute = per_minute
        self._rates = Rates(reactor.seconds)
        self._running = 0
        self._quiet: Deferred[None] | None = None
        self._routes = {f"{route.method} {route.rule}": route for part in parts for route in part.routes()}
        rules = [Rule(route.rule, endpoint=name, methods=[route.method]) for name, route in self._routes.items()]
        self._urls = Map(rules, merge_slashes=False, redirect_defaults=False, strict_slashes=True).bind("localhost")

    def site(self) -> WebSite:
        """The factory for a listener."""
        return WebSite(
            _Every(self),
            self._reactor,
            body_limit=BODY_LIMIT,
            too_large=lambda asked: error_answer(413, "the request is too large"),
            proxies=self._proxies,
            gate=Gate(CONNECTIONS, PER_ADDRESS),
        )

    async def stop(self) -> None:
        """Let requests under way finish, for a while."""
        if self._running:
            self._quiet = Deferred()
            self._quiet.addTimeout(PATIENCE, self._reactor, lambda failure, _: None)
            await self._quiet

    async def answer(self, asked: Asked) -> Answer:
        """Never raises."""
        try:
            wait = self._rates.take(asked.address, self._per_minute)
            if wait:
                raise Declined(429, "too many requests", wait)
            route, names = self._route(asked)
            if len(asked.body) > route.body_limit:
                raise Declined(413, "the request is too large")
            return await route.call(asked, names)
        except Declined as error:
            return error_answer(error.status, error.text, error.retry_after)
        except (Unavailable, Busy) as error:
            log.error("Public site: no answer", event="public.unavailable", error=getattr(error, "reason", "busy"))
            return error_answer(503, "try again later", 30)
        except Exception:
            log.failure("Public site: a request failed", failure=Failure(), event="public.failed")
            return error_answer(500, "the request failed")

    def _route(self, asked: Asked) -> tuple[Route, Names]:
        """What answers the request; raises Declined."""
        method = "GET" if asked.method == "HEAD" else asked.method
        try:
            name, names = self._urls.match(asked.path, method)
        except MethodNotAllowed:
            raise Declined(405, "method not allowed") from None
        except HTTPException:
            raise Declined(404, "not found") from None
        return self._routes[name], names

    async def respond(self, request: Any) -> None:
        """Answer ``request``; what it began goes on when the client goes away."""
        gone: list[object] = []
        request.notifyFinish().addErrback(gone.append)
        asked: Asked = request.asked()
        self._running += 1
        try:
            answer = await self.answer(asked)
        finally:
            self._ended()
        if gone:
            return
        request.answer(answer, secure=False)  # HSTS would bind the whole host, whose other sites are not ours to decide on
        if not isinstance(answer.body, bytes) and asked.method != "HEAD":
            await self._stream(request, answer)
        if not gone:
            request.finish()

    async def _stream(self, request: Any, answer: Answer) -> None:
        """Send the parts. Where they end too early the connection does, so that nobody takes what came for the whole."""
        assert not isinstance(answer.body, bytes)
        try:
            await Stream(request, answer.body, self._reactor).run()
        except Exception:
            log.failure("Public site: a request failed", failure=Failure(), event="public.failed")
            if request.channel is not None:
                request.channel.forceAbortClient()

    def _ended(self) -> None:
        self._running -= 1
        if not self._running and self._quiet is not None and not self._quiet.called:
            self._quiet.callback(None)


class _Every(Resource):
    """Every path there is."""

    isLeaf = True

    def __init__(self, site: PublicSite) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._respond: Callable[[Any], Any] = site.respond

    def render(self, request: Any) -> int:
        Deferred.fromCoroutine(self._respond(request)).addErrback(_lost)
        return NOT_DONE_YET


def _lost(failure: Failure) -> None:
    log.failure("Public site: a request failed", failure=failure, event="public.failed")
