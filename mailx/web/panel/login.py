"""The way in: name and password, then the second factor where there is one.

Whatever is wrong gets one answer; core takes the same time for it. A browser that has come in gets a new session, so that
nobody can have chosen its id.
"""

from collections.abc import Iterator
from urllib.parse import quote

from mailx.core.admin_sessions import Begun, NotLoggedIn, Session, Throttled
from mailx.web.forms import Form, FormError
from mailx.web.panel.page import View
from mailx.web.panel.parts import Parts
from mailx.web.panel.session import GUEST, SESSION, STEP, cookie, drop_cookie, set_cookie
from mailx.web.panel.shell import Outside, Shell
from mailx.web.protection import place
from mailx.web.requests import Answer, Asked

_STEP_SECONDS = 300
_WRONG = "This name and password do not belong together, or the administrator is disabled."
_WRONG_CODE = "This code is not right, or it took too long. Codes are good once; after five minutes, log in again."
_WAIT = "Too many attempts failed. Wait a while, then try again."


class Entrance:
    """The pages /login and /login/code."""

    def __init__(self, parts: Parts, shell: Shell) -> None:
        self._parts = parts
        self._shell = shell

    def routes(self) -> Iterator[tuple[str, str, Outside]]:
        """Path, method and what answers."""
        yield "/login", "GET", self._show
        yield "/login", "POST", self._log_in
        yield "/login/code", "GET", self._show_step
        yield "/login/code", "POST", self._confirm

    async def _show(self, asked: Asked, session: Session | None, form: Form) -> Answer:
        after = place(asked.query.get("next", "/"))
        if session is not None:
            return self._shell.redirect(asked, after)
        if self._parts.admins.empty:
            return self._shell.redirect(asked, "/setup")
        return self._page(asked, form, after)

    def _page(self, asked: Asked, form: Form, after: str, status: int = 200) -> Answer:
        return self._shell.outside(asked, View("login.html", {"after": after}, status, "Log in"), form=form)

    async def _log_in(self, asked: Asked, session: Session | None, form: Form) -> Answer:
        after = place(form.text("next", "/", 4000))
        try:
            name, password = form.text("name", limit=200), form.exact("password", limit=1000)
            begun = await self._parts.sessions.begin(name, password, asked.address, _agent(asked))
        except (NotLoggedIn, FormError):
            return self._page(asked, form.with_problems({"": _WRONG}), after, 422)
        except Throttled as error:
            return self._wait(self._page(asked, form.with_problems({"": _WAIT}), after, 429), error)
        if begun.second:
            step = set_cookie(STEP, begun.token, asked.secure, _STEP_SECONDS)
            return self._shell.redirect(asked, _with_next("/login/code", after), cookies=[step])
        return self._welcome(asked, begun, after)

    async def _show_step(self, asked: Asked, session: Session | None, form: Form) -> Answer:
        after = place(asked.query.get("next", "/"))
        if not cookie(asked, STEP):
            return self._shell.redirect(asked, _with_next("/login", after))
        return self._step_page(asked, form, after)

    def _step_page(self, asked: Asked, form: Form, after: str, status: int = 200) -> Answer:
        return self._shell.outside(asked, View("login_code.html", {"after": after}, status, "Second factor"), form=form)

    async def _confirm(self, asked: Asked, session: Session | None, form: Form) -> Answer:
        after = place(form.text("next", "/", 4000))
        try:
            code = form.text("code", limit=100)
            begun = await self._parts.sessions.confirm(cookie(asked, STEP), code, asked.address, _agent(asked))
        except (NotLoggedIn, FormError):
            return self._step_page(asked, form.with_problems({"code": _WRONG_CODE}), after, 422)
        except Throttled as error:
            return self._wait(self._step_page(asked, form.with_problems({"": _WAIT}), after, 429), error)
        return self._welcome(asked, begun, after)

    def _welcome(self, asked: Asked, begun: Begun, after: str) -> Answer:
        cookies = [set_cookie(SESSION, begun.token, asked.secure), drop_cookie(STEP, asked.secure), drop_cookie(GUEST, asked.secure)]
        return self._shell.redirect(asked, after, cookies=cookies)

    def _wait(self, page: Answer, error: Throttled) -> Answer:
        return Answer(page.status, page.body, {**page.headers, "retry-after": str(error.seconds)}, page.cookies)


def _agent(asked: Asked) -> str:
    return asked.header("user-agent")


def _with_next(path: str, after: str) -> str:
    return path if after == "/" else f"{path}?next={quote(after, safe='/')}"
