"""The frame of the panel: one way for every request from the socket to a page and back.

In this order: Host, static files, the admin API, origin, session, form, CSRF token, page. Whoever is not logged in gets
/login for every path, so that strangers do not learn which exist. Whatever goes wrong becomes a page with a remedy and
without internals; the traceback goes to the log.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, TypeAlias

from attrs import evolve
from klein import Klein
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from mailx.config import is_loopback
from mailx.core.admin_sessions import Session
from mailx.core.audit import Actor, acting
from mailx.core.passwords import Busy
from mailx.core.users import DirectoryError
from mailx.mail.networks import within
from mailx.mail.reply import Unavailable
from mailx.web.forms import BadForm, Form, FormError, parse_urlencoded
from mailx.web.panel.api import BODY_LIMIT
from mailx.web.panel.login import Entrance
from mailx.web.panel.page import FORM_LIMIT, Admin, Download, Outcome, Page, Redirect, Route, View, Visit
from mailx.web.panel.pages import PAGES
from mailx.web.panel.parts import Parts
from mailx.web.panel.session import GUEST, SCHEME, SCHEMES, SESSION, Tokens, cookie, drop_cookie, equal, set_cookie
from mailx.web.panel.setup import SetUp
from mailx.web.panel.shell import Outside, Shell
from mailx.web.protection import host_known, inner, place, same_origin
from mailx.web.rendering import Rendering
from mailx.web.requests import Answer, Asked
from mailx.web.server import Stream, WebSite

log = Logger()

SMALL = 16384  # octets of a form that strangers may send, and that takes a few milliseconds to read
PATIENCE = 10.0  # seconds that requests may take to finish when the panel closes
_YEAR = 31536000
_THIS_MACHINE = ("127.0.0.0/8", "::1")
_AROUND = "This panel is reached through its reverse proxy only, since here nothing is encrypted.", "Use the address of the proxy."

Inside: TypeAlias = Callable[[Asked, Session], Awaitable[Answer]]  # answers a request within a session


class API(Protocol):
    """The admin API over HTTP."""

    async def answer(self, asked: Asked) -> Answer: ...

    def too_large(self) -> Answer: ...


class TooLarge(Exception):
    """The form is larger than its page takes."""


class LoggedOut(Exception):
    """The session ended in the middle of a download."""


class Forged(Exception):
    """The form is too old, or comes from a page of somebody else."""


class Panel:
    """Everything at the panel's port; ``api`` answers below /api/."""

    def __init__(self, parts: Parts, *, pages: Sequence[type[Page]] = PAGES, api: API | None = None) -> None:
        config = parts.settings.current
        self._parts = parts
        self._api = api
        self._names = frozenset(name.lower() for name in (config.server.hostname, *config.panel.hosts))
        self._proxies = config.panel.proxies
        self._by_proxy = not config.panel.tls and not is_loopback(config.panel.interface)  # anything else would be unencrypted
        self._running = 0  # requests that are being answered
        self._quiet: Deferred[None] | None = None  # fires when none is, at the end
        self._tokens = Tokens(parts.sessions.mark)
        self.pages = [page(parts) for page in pages]
        self._rendering = Rendering()
        self._shell = Shell(self._rendering, self._tokens, config.server.hostname, self.pages)
        self._entrance = Entrance(parts, self._shell)
        self._setup = SetUp(parts, self._shell)

    def site(self) -> WebSite:
        """The factory for a listener."""
        return WebSite(self.resource(), self._parts.reactor, body_limit=BODY_LIMIT, too_large=self._too_large, proxies=self._proxies)

    def warm(self) -> None:
        """Make the pages ready, in a thread, so that the first visit does not hold up the event loop."""
        self._parts.reactor.callInThread(self._rendering.warm)

    async def stop(self) -> None:
        """Let requests under way finish, for a while; then end what pages do in the background."""
        if self._running:
            self._quiet = Deferred()
            self._quiet.addTimeout(PATIENCE, self._parts.reactor, lambda failure, _: None)
            await self._quiet
        for page in self.pages:
            await page.stop()

    def resource(self) -> Any:
        """The tree of resources: every route of every page, and one place for all that is none."""
        app = Klein()
        app.url_map.merge_slashes = False
        for page in self.pages:
            for route in page.routes():
                self._add(app, page, route)

        for path, method, outside in (*self._entrance.routes(), *self._setup.routes(), ("/scheme", "POST", self._colours)):
            self._add_outside(app, path, method, outside)

        @app.route("/logout", methods=["POST"])
        async def log_out(request: IRequest) -> bytes:
            return await self._respond(request, inside=self._log_out)

        @app.handle_errors(HTTPException)
        async def elsewhere(request: IRequest, failure: Failure) -> bytes:
            status = 405 if isinstance(failure.value, MethodNotAllowed) else 404
            return await self._respond(request, inside=partial(self._nowhere, status))

        return app.resource()

    def _add(self, app: Klein, page: Page, route: Route) -> None:
        methods = ["GET", "HEAD"] if route.method == "GET" else [route.method]

        @app.route(route.path, methods=methods, endpoint=f"{route.method} {route.path}")
        async def perform(request: IRequest, **names: str) -> bytes:
            return await self._respond(request, inside=partial(self._visit, page, route, names))

    def _add_outside(self, app: Klein, path: str, method: str, outside: Outside) -> None:
        methods = ["GET", "HEAD"] if method == "GET" else [method]

        @app.route(path, methods=methods, endpoint=f"{method} {path}")
        async def perform(request: IRequest) -> bytes:
            return await self._respond(request, outside=outside)

    async def _respond(self, request: Any, *, inside: Inside | None = None, outside: Outside | None = None) -> bytes:
        """Answer the request; what it began goes on when the browser goes away."""
        asked = request.asked()
        self._running += 1
        done: Deferred[Answer] = Deferred()
        Deferred.fromCoroutine(self._answer(asked, inside, outside)).chainDeferred(done).addBoth(self._ended)
        answer = await done
        request.answer(answer, asked.secure)
        if not isinstance(answer.body, bytes) and asked.method != "HEAD":
            await self._stream(request, asked, answer.body)
        return b""

    async def _stream(self, request: Any, asked: Asked, parts: AsyncIterator[bytes]) -> None:
        """Send ``parts``. Where they end too early the connection does, so that nobody takes what came for the whole."""
        try:
            await Stream(request, self._while_logged_in(asked, parts), self._parts.reactor).run()
            return
        except LoggedOut:
            pass
        except Unavailable as error:
            log.error("Page not shown", event="panel.unavailable", path=asked.path, error=error.reason)
        except Exception:
            log.failure("Page failed", failure=Failure(), event="panel.failed", path=asked.path)
        if request.channel is not None:
            request.channel.forceAbortClient()

    async def _while_logged_in(self, asked: Asked, parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """``parts`` as long as the session lives: a download may take hours."""
        token = cookie(asked, SESSION)
        async for part in parts:
            if await self._parts.sessions.find(token) is None:
                raise LoggedOut
            yield part

    def _ended(self, _: object) -> None:
        self._running -= 1
        if not self._running and self._quiet is not None and not self._quiet.called:
            self._quiet.callback(None)

    async def _answer(self, asked: Asked, inside: Inside | None, outside: Outside | None) -> Answer:
        """Never raises."""
        session = None
        try:
            early = await self._early(asked)
            if early is not None:
                return early
            token = cookie(asked, SESSION)
            session = await self._parts.sessions.find(token) if token else None
            if outside is not None:
                return await self._guest(asked, session, outside)
            if session is None:
                return self._stranger(asked)
            assert inside is not None
            return await inside(asked, session)
        except BadForm as error:
            return self._shell.error(asked, session, 400, str(error), "Go back, reload the page and try again.")
        except FormError:  # where no page shows it: a text that is too long for any browser's form of ours
            return self._shell.error(asked, session, 400)
        except TooLarge:
            return self._shell.error(asked, session, 413)
        except Forged:
            return self._shell.error(asked, session, 403)
        except (Unavailable, Busy) as error:
            log.error("Page not shown", event="panel.unavailable", path=asked.path, error=getattr(error, "reason", "busy"))
            return self._shell.error(asked, session, 503)
        except Exception:
            log.failure("Page failed", failure=Failure(), event="panel.failed", path=asked.path)
            return self._shell.error(asked, session, 500)

    async def _early(self, asked: Asked) -> Answer | None:
        """The answer to what needs no session, and to what must not be asked."""
        if self._by_proxy and not asked.proxied and not within(asked.address, _THIS_MACHINE):
            return self._shell.error(asked, None, 403, *_AROUND)
        if not host_known(asked.host, self._names):
            return self._shell.error(asked, None, 421)
        if asked.path.startswith("/static/"):
            return self._shell.static(asked) or Answer(404)
        if asked.path.startswith("/api/") and self._api is not None:
            return await self._api.answer(asked)
        if asked.method == "POST" and not same_origin(asked.headers, asked.header("host"), asked.secure):
            return self._shell.error(asked, None, 403)
        return None

    def _stranger(self, asked: Asked) -> Answer:
        """The answer to whoever is not logged in."""
        if self._parts.admins.empty:
            return self._shell.redirect(asked, "/setup")
        return self._shell.to_login(asked)

    async def _guest(self, asked: Asked, session: Session | None, outside: Outside) -> Answer:
        """A page that needs no session. The token of its forms is the session's where there is one."""
        form = Form()
        if asked.method == "POST":
            expected = session.csrf if session is not None else self._tokens.guest_csrf(cookie(asked, GUEST))
            form = await self._form(asked, expected, FORM_LIMIT if session is not None else SMALL)
        return await outside(asked, session, form)

    async def _visit(self, page: Page, route: Route, names: Mapping[str, str], asked: Asked, session: Session) -> Answer:
        """One request to a page."""
        visit = Visit(
            Admin(session.admin_id, session.name),
            session,
            asked.address,
            asked.query,
            path=names,
        )
        if route.method == "GET":
            try:
                return await self._outcome(asked, session, page, await getattr(page, route.name)(visit))
            except DirectoryError as error:
                return self._shell.error(asked, session, 404 if error.code == "not_found" else 400, error.text, error.remedy)
        form = await self._form(asked, session.csrf)
        return await self._change(page, route, evolve(visit, form=form), asked, session)

    async def _change(self, page: Page, route: Route, visit: Visit, asked: Asked, session: Session) -> Answer:
        method = getattr(page, route.name)
        try:
            if not route.action:
                return await self._outcome(asked, session, page, await method(visit))
            with acting(Actor("admin", visit.admin.name, visit.address), route.action) as act:
                outcome = await method(visit)
            if isinstance(outcome, Redirect) and outcome.kind != "problem":
                await self._parts.audit.conclude(act)
            return await self._outcome(asked, session, page, outcome)
        except FormError as error:
            problems = error.problems
        except DirectoryError as error:
            problems = {"": " ".join(filter(None, (_sentence(error.text), error.remedy)))}
        form = visit.form.with_problems(problems)
        try:
            outcome = await getattr(page, route.shown)(evolve(visit, form=form))
        except DirectoryError as error:  # what it was about is gone
            return self._shell.error(asked, session, 404, error.text, error.remedy)
        return await self._outcome(asked, session, page, outcome, form, 422)

    async def _outcome(
        self, asked: Asked, session: Session, page: Page, outcome: Outcome, form: Form | None = None, status: int = 0
    ) -> Answer:
        if isinstance(outcome, View):
            return self._shell.page(asked, session, outcome, page=page, form=form, status=status)
        if isinstance(outcome, Redirect):
            return self._shell.redirect(asked, inner(outcome.location), message=outcome.message, kind=outcome.kind, owner=session.csrf)
        return _download(outcome)

    async def _form(self, asked: Asked, csrf: str, limit: int = FORM_LIMIT) -> Form:
        """The form of the request; raises Forged when it does not bring the token ``csrf``, BadForm and TooLarge."""
        if len(asked.body) > limit:
            raise TooLarge
        kind = asked.header("content-type").partition(";")[0].strip().lower()
        if kind != "application/x-www-form-urlencoded" and asked.body:
            raise BadForm("The form came in a way that this page does not take.")
        if len(asked.body) > SMALL:
            reactor = self._parts.reactor
            form: Form = await deferToThreadPool(reactor, reactor.getThreadPool(), parse_urlencoded, asked.body)
        else:
            form = parse_urlencoded(asked.body)
        given = form.values.get("csrf", ("",))[-1]
        if not equal(given, csrf):
            raise Forged
        return form

    async def _log_out(self, asked: Asked, session: Session) -> Answer:
        await self._form(asked, session.csrf)
        await self._parts.sessions.end(cookie(asked, SESSION), asked.address)
        return self._shell.redirect(asked, "/login", cookies=[drop_cookie(SESSION, asked.secure)])

    async def _colours(self, asked: Asked, session: Session | None, form: Form) -> Answer:
        """Light, dark, or what the system says: kept by the browser."""
        chosen = form.text("scheme")
        kept = set_cookie(SCHEME, chosen, asked.secure, _YEAR) if chosen in SCHEMES else drop_cookie(SCHEME, asked.secure)
        return self._shell.redirect(asked, place(form.text("back")), cookies=[kept])

    async def _nowhere(self, status: int, asked: Asked, session: Session) -> Answer:
        return self._shell.error(asked, session, status)

    def _too_large(self, asked: Asked) -> Answer:
        if asked.path.startswith("/api/") and self._api is not None:
            return self._api.too_large()
        return self._shell.error(asked, None, 413)


def _sentence(text: str) -> str:
    """``text`` with a full stop."""
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _download(outcome: Download) -> Answer:
    name = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "._-") else "_" for letter in outcome.name)
    return Answer(
        200,
        outcome.body,
        {
            "content-type": outcome.content_type,
            "content-disposition": f'attachment; filename="{name}"',
            "cache-control": "no-store",
            "content-security-policy": "default-src 'none'; sandbox",
        },
    )
