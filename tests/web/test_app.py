"""The frame: what every request goes through."""

from typing import Any

from twisted.trial.unittest import TestCase

from mailx.core.users import DirectoryError
from mailx.mail.reply import Unavailable
from mailx.web.panel.page import FormError, Page, Redirect, View, Visit, change, show
from tests.web.scene import scene_of


class Things(Page):
    """A page that does whatever the test wants."""

    path = "/things"
    title = "Things"
    group = "Mail"
    names: list[str] = []

    @show("/things")
    async def index(self, visit: Visit) -> View:
        return View("error.html", {"text": "All things", "remedy": ", ".join(self.names)})

    @show("/things/<name>")
    async def one(self, visit: Visit) -> View:
        name = visit.path["name"]
        if name == "broken":
            raise ValueError("internal secret")
        if name == "away":
            raise Unavailable("disk I/O error")
        raise DirectoryError("not_found", f"there is no {name}")

    @change("/things/add", action="thing.add")
    async def add(self, visit: Visit) -> Redirect:
        name = visit.form.needed("name")
        if name == "taken":
            raise FormError({"name": "This one exists."})
        if name == "bad":
            raise DirectoryError("invalid", "this name is bad", "Take another.")
        self.names.append(name)
        return Redirect("/things", f"{name} was added.")


class Frame(TestCase):
    """Pages, forms and errors."""

    async def test_show(self) -> None:
        scene = await scene_of(self, pages=[Things])
        page = await scene.get("/things")
        self.assertEqual(page.status, 200)
        self.assertIn("All things", page.text)
        self.assertEqual(page.headers["cache-control"], "no-store")

    async def test_change(self) -> None:
        scene = await scene_of(self, pages=[Things])
        page = await scene.post("/things/add", {"name": "<b>"})
        self.assertEqual((page.status, page.location), (303, "/things"))
        self.assertIn("&lt;b&gt; was added.", (await scene.follow(page)).text)
        self.assertNotIn("was added.", (await scene.get("/things")).text)

    async def test_problems(self) -> None:
        scene = await scene_of(self, pages=[Things])
        self.assertEqual((await scene.post("/things/add", {"name": "taken"})).status, 422)
        page = await scene.post("/things/add", {"name": "bad"})
        self.assertIn("this name is bad. Take another.", page.text)

    async def test_errors(self) -> None:
        scene = await scene_of(self, pages=[Things])
        found: dict[str, Any] = {}
        for name in ("broken", "away", "gone"):
            page = await scene.get(f"/things/{name}")
            found[name] = page.status
            self.assertNotIn("secret", page.text)
            self.assertNotIn("I/O", page.text)
        self.assertEqual(found, {"broken": 500, "away": 503, "gone": 404})
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
