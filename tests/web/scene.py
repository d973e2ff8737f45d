"""A panel over a real world, with an administrator logged in.

    scene = await scene_of(self)                       # keyword arguments are sections of the configuration
    page = await scene.get("/accounts")                # an answer: status, headers, text
    page = await scene.post("/accounts/add", {"address": "ada@example.test"})      # with the CSRF token

``pages`` limits the panel to the pages under test; ``parts`` replaces parts: ``scene_of(self, pages=[Queues], parts={"queue": queue})``.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import define
from twisted.trial.unittest import TestCase

from mailx.core.settings import Settings
from mailx.web.panel.app import Panel
from mailx.web.panel.page import Page as PanelPage
from mailx.web.panel.pages import PAGES
from mailx.web.panel.parts import Parts
from tests.scenery import World, world
from tests.web.browser import Browser, Page

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

    async def follow(self, page: Page) -> Page:
        """The page that a redirect leads to."""
        assert page.status == 303, f"{page.status}: {page.text}"
        return await self.get(page.location)


async def scene_of(
    case: TestCase, *, pages: Sequence[type[PanelPage]] = PAGES, parts: Mapping[str, Any] | None = None, **sections: dict[str, Any]
) -> Scene:
    """A panel over a world of its own, and an administrator at it."""
    made = await world(case, **sections)
    given: dict[str, Any] = {
        "settings": Settings(made.config),
        "accounts": made.accounts,
        "reactor": made.reactor,
        "reception": made.reception,
        **await _people(case, made),
        **(parts or {}),
    }
    every = Parts(**given)
    panel = Panel(every, b"k" * 32, pages=pages)
    scene = Scene(made, every, panel, Browser(panel.site()))
    await _log_in(scene)
    return scene


@define
class _Session:
    id: int = 1
    admin_id: int = 1
    name: str = ADMIN
    csrf: str = "c" * 32


class _Sessions:
    async def find(self, token: str, address: str) -> Any:
        return _Session() if token == "t" else None


class _Admins:
    empty = False


async def _people(case: TestCase, made: World) -> dict[str, Any]:
    return {"admins": _Admins(), "sessions": _Sessions()}


async def _log_in(scene: Scene) -> None:
    scene.browser.cookies["mailx-session"] = "t"
    scene.csrf = "c" * 32


def csrf_of(page: Page) -> str:
    """The token in a page's forms."""
    found = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert found is not None, page.text
    return found[1]
