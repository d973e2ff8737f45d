"""The very first visit: whoever started the server has its set-up code, and becomes the first administrator with it."""

from collections.abc import Iterator

from mailx.core.admin_sessions import NotLoggedIn, Session, Throttled
from mailx.core.admins import LEAST, SetUpRefused
from mailx.core.users import DirectoryError
from mailx.web.forms import Form, FormError
from mailx.web.panel.page import View
from mailx.web.panel.parts import Parts
from mailx.web.panel.session import GUEST, SESSION, drop_cookie, set_cookie
from mailx.web.panel.shell import Outside, Shell
from mailx.web.requests import Answer, Asked


class SetUp:
    """The page /setup. It exists only while there is no administrator."""

    def __init__(self, parts: Parts, shell: Shell) -> None:
        self._parts = parts
        self._shell = shell

    def routes(self) -> Iterator[tuple[str, str, Outside]]:
        """Path, method and what answers."""
        yield "/setup", "GET", self._show
        yield "/setup", "POST", self._make

    async def _show(self, asked: Asked, session: Session | None, form: Form) -> Answer:
        if not self._parts.admins.empty:
            return self._shell.redirect(asked, "/login")
        return self._page(asked, form)

    def _page(self, asked: Asked, form: Form, status: int = 200) -> Answer:
        return self._shell.outside(asked, View("setup.html", {"least": LEAST}, status, "Set up MailX"), form=form)

    async def _make(self, asked: Asked, session: Session | None, form: Form) -> Answer:
        if not self._parts.admins.empty:
            return self._shell.redirect(asked, "/login")
        try:
            password = form.exact("password", limit=1000)
            name = form.needed("name", 200)
            if password != form.exact("again", limit=1000):
                raise FormError({"again": "This is not the same password."})
            await self._parts.admins.set_up(form.needed("code", 100), name, password, asked.address)
        except FormError as error:
            return self._page(asked, form.with_problems(error.problems), 422)
        except SetUpRefused as error:
            return self._page(asked, form.with_problems({"code" if error.code else "": str(error)}), 422)
        except DirectoryError as error:
            field = "password" if "password" in error.text else "name"
            text = f"{error.text[:1].upper()}{error.text[1:]}. {error.remedy}"
            return self._page(asked, form.with_problems({field: text}), 422)
        except Throttled:
            return self._page(
                asked, form.with_problems({"": "Too many wrong codes. The one that the server printed when it started is still good."}), 429
            )
        return await self._begin(asked, name, password)

    async def _begin(self, asked: Asked, name: str, password: str) -> Answer:
        try:
            begun = await self._parts.sessions.begin(name, password, asked.address, asked.header("user-agent"))
        except (NotLoggedIn, Throttled):
            return self._shell.redirect(asked, "/login")
        cookies = [set_cookie(SESSION, begun.token, asked.secure), drop_cookie(GUEST, asked.secure)]
        return self._shell.redirect(asked, "/", cookies=cookies)
