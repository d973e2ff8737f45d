"""A panel over a real world, with an administrator logged in.

    scene = await scene_of(self)                       # keyword arguments are sections of the configuration
    page = await scene.get("/accounts")                # an answer: status, headers, text
    page = await scene.post("/accounts/add", {"address": "ada@example.test"})      # with the CSRF token

``pages`` limits the panel to the pages under test; ``parts`` replaces parts: ``scene_of(self, pages=[Queues], parts={"queue": queue})``.
"""

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import define, fields
from twisted.trial.unittest import TestCase

from mailx.core.admin_sessions import Sessions
from mailx.core.admins import Admins
from mailx.core.alerts import Alerts
from mailx.core.audit import Log
from mailx.core.figures import Figures
from mailx.core.passwords import Passwords
from mailx.web.panel.app import Panel
from mailx.web.panel.page import Page as PanelPage
from mailx.web.panel.pages import PAGES
from mailx.web.panel.parts import Parts
from tests.core.lives_scene import lives
from tests.scenery import World, world
from tests.web.browser import Browser, Page


class AtRest:
    """A queue where nothing waits, and certificates of which there is none."""

    @property
    def ledger(self) -> "AtRest":
        return self

    async def counts(self) -> dict[str, int]:
        return {}

    def overview(self) -> tuple[()]:
        return ()


ADMIN, PASSWORD = "ada", "correct horse battery"


@define
class Scene:
    """The panel and a browser at it."""

    world: World
    parts: Parts
    panel: Panel
    browser: Browser
    csrf: str = ""

    async def get(self, path: str, **headers: str) -> Page:
        return await self.browser.get(path, **headers)

    async def post(self, path: str, fields: Mapping[str, Any] | None = None, **headers: str) -> Page:
        """Send a form as the page itself does: with its CSRF token."""
        return await self.browser.send(path, {"csrf": self.csrf, **(fields or {})}, **headers)

    async def log_in(self, name: str, password: str) -> None:
        """Come in by the login page."""
        guest = csrf_of(await self.get("/login"))
        page = await self.browser.send("/login", {"csrf": guest, "name": name, "password": password})
        assert page.status == 303, page.text
        token = self.browser.cookies["mailx-session"]
        session = await self.parts.sessions.find(token)
        self.csrf = session.csrf

    async def follow(self, page: Page) -> Page:
        """The page that a redirect leads to."""
        assert page.status == 303, f"{page.status}: {page.text}"
        return await self.get(page.location)


class PagesTest(TestCase):
    """A test of pages in its ``scene``."""

    scene: Scene

    async def get(self, path: str, status: int = 200) -> Page:
        page = await self.scene.get(path)
        self.assertEqual(page.status, status, page.text)
        return page

    async def post(self, path: str, **fields: Any) -> Page:
        return await self.scene.post(path, fields)

    async def done(self, path: str, **fields: Any) -> Page:
        """Post a form that is taken; the page after it."""
        return await self.scene.follow(await self.post(path, **fields))


async def scene_of(
    case: TestCase,
    *,
    pages: Sequence[type[PanelPage]] = PAGES,
    parts: Mapping[str, Any] | None = None,
    in_world: World | None = None,
    logged_in: bool = True,
    **sections: dict[str, Any],
) -> Scene:
    """A panel over a world of its own (or ``in_world``) and a browser at it; unless ``logged_in``, nobody is an administrator yet."""
    made = in_world or await world(case, **sections)
    time_does = lives(case, made)
    given: dict[str, Any] = {
        "settings": made.settings,
        "accounts": made.accounts,
        "reactor": made.reactor,
        "reception": made.reception,
        "alerts": Alerts(made.store, made.cipher, made.settings, "mail.example.test", made.reactor),
        "figures": Figures(made.store, made.reactor),
        "queue": AtRest(),
        "certificates": AtRest(),
        "lifecycle": time_does.lifecycle,
        "person": time_does.person,
        "started": time.time(),
        **await people(case, made),
        **(parts or {}),
    }
    every = parts_of(**given)
    panel = Panel(every, pages=pages)
    scene = Scene(made, every, panel, Browser(panel.site()))
    if logged_in:
        await every.admins.add(ADMIN, PASSWORD)
        await scene.log_in(ADMIN, PASSWORD)
    return scene


def parts_of(**given: Any) -> Parts:
    """The parts of a server that lacks all that is not given."""
    missing: dict[str, Any] = {field.name: None for field in fields(Parts)}
    return Parts(**{**missing, "started": time.time(), **given})


async def people(case: TestCase, made: World) -> dict[str, Any]:
    """The parts about administrators, over the world's store; ADMIN is one of them."""
    passwords = Passwords(made.reactor, cost=4, iterations=4096)
    case.addCleanup(passwords.stop)
    admins = Admins(made.store, made.cipher, passwords, made.reactor)
    await admins.load()
    sessions = Sessions(made.store, made.cipher, admins, made.settings, made.reactor)
    await sessions.load()
    return {"admins": admins, "sessions": sessions, "audit": Log(made.store, made.cipher, made.reactor)}


def csrf_of(page: Page) -> str:
    """The token in a page's forms."""
    found = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert found is not None, page.text
    return found[1]
