"""What stands around every page: navigation, colours, messages, and the pages that tell what went wrong."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TypeAlias
from urllib.parse import quote

from attrs import Factory, evolve, frozen

from mailx import __version__
from mailx.core.admin_sessions import Session
from mailx.web.forms import Form
from mailx.web.panel.page import GROUPS, Admin, Page, View
from mailx.web.panel.session import (
    GUEST,
    MESSAGE,
    Message,
    Tokens,
    cookie,
    drop_cookie,
    guest_cookie,
    message_cookie,
    scheme,
)
from mailx.web.rendering import Rendering
from mailx.web.requests import Answer, Asked

Outside: TypeAlias = Callable[[Asked, Session | None, Form], Awaitable[Answer]]  # answers a request that needs no session

_HTML = {"content-type": "text/html; charset=utf-8", "cache-control": "no-store"}
_FOREVER = "public, max-age=31536000, immutable"

# Status: title, text, remedy.
ERRORS: Mapping[int, tuple[str, str, str]] = {
    400: ("Not understood", "The request cannot be read.", "Go back, reload the page and try again."),
    403: (
        "Not done",
        "The form was too old, or did not come from a page of this panel. Nothing was changed.",
        "Go back, reload the page and send the form again.",
    ),
    404: ("Not found", "There is nothing at this address.", "It may have been removed. The navigation leads to everything that exists."),
    405: ("Not possible", "This address does not take such a request.", "Use the buttons of the pages."),
    413: ("Too large", "What was sent is larger than this page takes. Nothing was changed.", "Send less, or a smaller file."),
    415: ("Not understood", "The form came in a way that this page does not take.", "Go back, reload the page and try again."),
    421: (
        "Unknown name",
        "This server's control panel is not called by this name.",
        "Use the address that the server printed when it started, or add the name to panel.hosts in the configuration.",
    ),
    429: ("Too many attempts", "There were too many attempts. Nothing was changed.", "Wait a while, then try again."),
    500: ("It failed", "The server could not do this.", "The server's log tells the reason. Try again; if it fails again, report it."),
    503: (
        "Not now",
        "The store cannot answer at the moment, or too much is asked of the server.",
        "Try again in a moment. If it goes on, the server's log tells the reason.",
    ),
}


@frozen
class Entry:
    """One line of the navigation."""

    path: str
    title: str
    current: bool
    badge: int


@frozen
class Frame:
    """What base.html shows around a page."""

    title: str
    path: str
    scheme: str
    csrf: str
    hostname: str
    admin: Admin | None = None
    message: Message | None = None
    navigation: Sequence[tuple[str, Sequence[Entry]]] = ()
    form: Form = Factory(Form)  # as it is shown again; macros read it from here
    version: str = __version__


class Shell:
    """Renders pages with what stands around them."""

    def __init__(self, rendering: Rendering, tokens: Tokens, hostname: str, pages: Sequence[Page]) -> None:
        self._rendering = rendering
        self._tokens = tokens
        self._hostname = hostname
        self._pages = pages

    def page(
        self, asked: Asked, session: Session, view: View, *, page: Page | None = None, form: Form | None = None, status: int = 0
    ) -> Answer:
        """A page for an administrator."""
        message: Message | None = None
        cookies: tuple[str, ...] = ()
        if signed := cookie(asked, MESSAGE):
            message = self._tokens.read_message(signed, session.csrf)
            cookies = (drop_cookie(MESSAGE, asked.secure),)
        frame = Frame(
            title=view.title or (page.title if page is not None else ""),
            path=here(asked) if asked.method != "POST" or page is None else page.path,
            scheme=scheme(asked),
            csrf=session.csrf,
            hostname=self._hostname,
            admin=Admin(session.admin_id, session.name),
            message=message,
            navigation=self._navigation(page),
        )
        return self._rendered(view, frame, form, status, cookies)

    def outside(self, asked: Asked, view: View, *, form: Form | None = None, cookies: Iterable[str] = (), status: int = 0) -> Answer:
        """A page for a browser that is not logged in."""
        guest = cookie(asked, GUEST) or self._tokens.guest()
        frame = Frame(
            title=view.title,
            path=here(asked),
            scheme=scheme(asked),
            csrf=self._tokens.guest_csrf(guest),
            hostname=self._hostname,
        )
        return self._rendered(view, frame, form, status, (*cookies, guest_cookie(guest, asked.secure)))

    def _rendered(self, view: View, frame: Frame, form: Form | None, status: int, cookies: Iterable[str]) -> Answer:
        if form is not None:
            frame = evolve(frame, form=form)
        body = self._rendering.render(view.template, {**view.context, "frame": frame, "form": frame.form})
        return Answer(status or view.status, body, _HTML, tuple(cookies))

    def error(self, asked: Asked, session: Session | None, status: int, text: str = "", remedy: str = "") -> Answer:
        """A page that tells what went wrong; whoever is not logged in is told without navigation."""
        title, usual, usual_remedy = ERRORS[status]
        view = View("error.html", {"text": text or usual, "remedy": remedy if text else usual_remedy}, status, title)
        return self.outside(asked, view) if session is None else self.page(asked, session, view)

    def redirect(
        self, asked: Asked, location: str, *, message: str = "", kind: str = "done", owner: str = "", cookies: Iterable[str] = ()
    ) -> Answer:
        """See another page; ``message`` is shown there once, to the browser of ``owner``."""
        if message:
            cookies = (*cookies, message_cookie(self._tokens.sign_message(Message(message, kind), owner), asked.secure))
        return Answer(303, b"", {"location": location, "cache-control": "no-store"}, tuple(cookies))

    def to_login(self, asked: Asked) -> Answer:
        """The way to the login page, and back here afterwards."""
        after = f"?next={quote(here(asked), safe='/')}" if asked.method in ("GET", "HEAD") and asked.path != "/" else ""
        return self.redirect(asked, f"/login{after}")

    def static(self, asked: Asked) -> Answer | None:
        """A static file; None when there is none at this address."""
        found = self._rendering.static.get(asked.path)
        if found is None or asked.method not in ("GET", "HEAD"):
            return None
        kept = {"cache-control": _FOREVER, "etag": found.tag, "vary": "accept-encoding"}
        if asked.header("if-none-match") == found.tag:
            return Answer(304, b"", kept)
        if "gzip" in asked.header("accept-encoding"):
            return Answer(200, found.compressed, {**kept, "content-type": found.content_type, "content-encoding": "gzip"})
        return Answer(200, found.content, {**kept, "content-type": found.content_type})

    def _navigation(self, current: Page | None) -> Sequence[tuple[str, Sequence[Entry]]]:
        place = "" if current is None else current.path  # pages below another one have its path
        entries = {
            group: [Entry(page.path, page.title, page.path == place, page.badge()) for page in self._pages if page.group == group]
            for group in GROUPS
        }
        return [(group, found) for group, found in entries.items() if found]


def here(asked: Asked) -> str:
    """The path and query of the request, as a ``next`` that leads back to it."""
    query = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in asked.query.items())
    return quote(asked.path, safe="/@") + (f"?{query}" if query else "")
