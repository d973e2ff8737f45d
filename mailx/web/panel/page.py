"""The page interface: what a page of the panel is made of. The frame (:mod:`mailx.web.panel.app`) does everything else.

A page is a subclass of :class:`Page` with methods under ``@show`` (GET) and ``@change`` (POST). The frame has checked
session, CSRF token and origin before it calls one, has parsed the form, and runs a change within ``audit.acting``. What
a method may raise, and what becomes of it:

* ``FormError`` (and ``DirectoryError`` in a change): the page is shown again by the method named ``shown``, with what was
  typed, the errors at their fields, and status 422;
* ``DirectoryError("not_found")`` in a show: the page "not found" with its text;
* ``Unavailable``: a page that says that the store cannot answer, with status 503;
* anything else: a page without internals, status 500, and a traceback in the log.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any, ClassVar, TypeAlias, TypeVar

from attrs import Factory, frozen

from mailx.core.admin_sessions import Session
from mailx.web.forms import BadForm, Form, FormError
from mailx.web.panel.parts import Parts

__all__ = ["BadForm", "Download", "Form", "FormError", "Page", "Redirect", "View", "Visit", "change", "show"]

GROUPS = ("Overview", "Mail", "Directory", "Federation", "Webhook", "Server")
FORM_LIMIT = 262144  # octets of a form


@frozen
class Admin:
    """Who is logged in."""

    id: int
    name: str


@frozen
class Visit:
    """One request to a page."""

    admin: Admin
    session: Session
    address: str  # of the browser
    query: Mapping[str, str] = Factory(dict)
    form: Form = Factory(Form)
    path: Mapping[str, str] = Factory(dict)  # what the <names> of the route stand for

    def page_number(self) -> int:
        """``?page=`` from 1."""
        text = self.query.get("page", "1")
        return max(1, int(text)) if text.isascii() and text.isdigit() and len(text) < 8 else 1

    def after(self) -> int:
        """``?after=``: the id after which a list goes on; 0 at its beginning."""
        return _id(self.query.get("after", "0"))

    def id(self) -> int:
        """``<id>`` of the path; 0, which nothing has, where that is no number or one that no row can have."""
        return _id(self.path["id"])


def _id(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0


@frozen
class View:
    """A template with what it shows. ``title`` replaces the page's own in the head of the page and the window."""

    template: str
    context: Mapping[str, Any] = Factory(dict)
    status: int = 200
    title: str = ""


@frozen
class Redirect:
    """After a change: another page, with a message that is shown there once. ``kind``: done, notice or problem."""

    location: str  # a path of the panel
    message: str = ""
    kind: str = "done"


@frozen
class Download:
    """A file to keep: exports and logs."""

    name: str
    body: "bytes | AsyncIterator[bytes]"
    content_type: str = "text/plain; charset=utf-8"


Outcome: TypeAlias = View | Redirect | Download
_Method = TypeVar("_Method", bound=Callable[..., Awaitable[Outcome]])


@frozen
class Route:
    """One method of a page."""

    path: str
    method: str  # GET or POST
    name: str = ""  # of the Python method
    action: str = ""  # what the audit log calls it; "" for what changes nothing
    shown: str = "index"  # the method that shows the page again after a FormError


def show(path: str) -> Callable[[_Method], _Method]:
    """The method answers GET of ``path``, which may have <names>."""
    return _routed(Route(path, "GET"))


def change(path: str, *, action: str, shown: str = "index") -> Callable[[_Method], _Method]:
    """The method answers POST of ``path``. An empty ``action`` is for what changes nothing: previews and tests."""
    return _routed(Route(path, "POST", action=action, shown=shown))


def _routed(route: Route) -> Callable[[_Method], _Method]:
    def mark(method: _Method) -> _Method:
        method.__dict__.setdefault("routes", []).append(route)
        return method

    return mark


class Page:
    """One entry of the navigation with everything below it."""

    path: ClassVar[str]  # where the entry leads
    title: ClassVar[str]
    group: ClassVar[str] = ""  # one of GROUPS; "" keeps it out of the navigation

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    @classmethod
    def routes(cls) -> Iterator[Route]:
        """Every route of the page, in the order of declaration."""
        for name in dict.fromkeys(name for base in reversed(cls.__mro__) for name in vars(base)):
            for route in getattr(getattr(cls, name), "routes", ()) if callable(getattr(cls, name)) else ():
                if isinstance(route, Route):
                    yield Route(route.path, route.method, name, route.action, route.shown)

    def badge(self) -> int:
        """A number beside the entry: what waits to be looked at; 0 for none. Asked at every page, so it must cost nothing."""
        return 0

    async def stop(self) -> None:
        """The panel closes: end what goes on in the background. The store is open still."""
