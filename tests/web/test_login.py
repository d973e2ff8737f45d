"""The way in, and the first administrator."""

from typing import Any

import pyotp
from twisted.trial.unittest import TestCase

from mailx.web.panel.page import Page, View, Visit, show
from tests.web.browser import Browser
from tests.web.browser import Page as Answer
from tests.web.scene import ADMIN, PASSWORD, Scene, csrf_of, scene_of

COOKIE = "mailx-session"


class Home(Page):
    path = "/"
    title = "Overview"
    group = "Overview"

    @show("/")
    async def index(self, visit: Visit) -> View:
        return View("error.html", {"text": f"Welcome {visit.admin.name}", "remedy": ""})

    @show("/other")
    async def other(self, visit: Visit) -> View:
        return View("error.html", {"text": "Other", "remedy": ""})


async def stage(case: TestCase, logged_in: bool = True, **sections: Any) -> Scene:
    return await scene_of(case, pages=[Home], logged_in=logged_in, **sections)


class Case(TestCase):
    async def fresh(self, scene: Scene) -> Browser:
        """Another browser at the same panel."""
        return Browser(scene.browser.site)

    async def enter(self, browser: Browser, name: str = ADMIN, password: str = PASSWORD, query: str = "", **fields: str) -> Answer:
        guest = csrf_of(await browser.get(f"/login{query}"))
        return await browser.send("/login", {"csrf": guest, "name": name, "password": password, **fields})


class Login(Case):
    async def test_in_and_out(self) -> None:
        scene = await stage(self)
        self.assertIn("Welcome ada", (await scene.get("/")).text)
        page = await scene.post("/logout")
        self.assertEqual((page.status, page.location), (303, "/login"))
        self.assertNotIn(COOKIE, scene.browser.cookies)
        self.assertEqual((await scene.get("/")).location, "/login")

    async def test_strangers_learn_nothing(self) -> None:
        scene = await stage(self)
        stranger = await self.fresh(scene)
        for path in ("/other", "/nothing", "/queue/5"):
            page = await stranger.get(path)
            self.assertEqual((page.status, page.location), (303, f"/login?next={path}"))
        page = await stranger.send("/other", {})
        self.assertEqual((page.status, page.location), (303, "/login"))
        self.assertEqual((await stranger.ask("DELETE", "/", b"", {})).status, 303)

    async def test_wrong(self) -> None:
        scene = await stage(self)
        stranger = await self.fresh(scene)
        texts = set()
        for name, password in (("ada", "wrong password"), ("nobody", PASSWORD), ("x" * 5000, "y"), ("ada", "x" * 5000), ("", "")):
            page = await self.enter(stranger, name, password)
            self.assertEqual(page.status, 422)
            self.assertNotIn(COOKIE, stranger.cookies)
            self.assertFalse(password and f">{password}" in page.text or f'value="{password}"' in page.text and password)
            texts.add(page.text.count("do not belong together"))
        self.assertEqual(texts, {1})

    async def test_large_forms_of_strangers(self) -> None:
        """They would hold up everybody else: what is percent-encoded takes its time."""
        scene = await stage(self)
        stranger = await self.fresh(scene)
        for path in ("/login", "/login/code", "/setup", "/scheme"):
            self.assertEqual((await stranger.send(path, {"password": "é" * 3000})).status, 413)
        self.assertEqual((await scene.post("/logout", {"password": "é" * 3000})).status, 303)

    async def test_throttled(self) -> None:
        scene = await stage(self)
        stranger = await self.fresh(scene)
        for _ in range(5):
            self.assertEqual((await self.enter(stranger, password="wrong")).status, 422)
        page = await self.enter(stranger)
        self.assertEqual(page.status, 429)
        self.assertGreater(int(page.headers["retry-after"]), 0)

    async def test_new_session_at_login(self) -> None:
        scene = await stage(self)
        stranger = await self.fresh(scene)
        stranger.cookies[COOKIE] = "chosen-by-somebody-else"
        await self.enter(stranger)
        first = stranger.cookies[COOKIE]
        self.assertNotEqual(first, "chosen-by-somebody-else")
        self.assertEqual((await stranger.get("/login")).location, "/")
        again = await self.fresh(scene)
        await self.enter(again)
        self.assertNotEqual(again.cookies[COOKIE], first)

    async def test_next(self) -> None:
        scene = await stage(self)
        for given, led in (
            ("/other", "/other"),
            ("//evil.example", "/"),
            ("https://evil.example/", "/"),
            ("/\\evil.example", "/"),
            ("", "/"),
        ):
            page = await self.enter(await self.fresh(scene), next=given)
            self.assertEqual(page.location, led)
        page = await (await self.fresh(scene)).get("/login?next=//evil.example")
        self.assertIn('name="next" value="/"', page.text)

    async def test_cookies(self) -> None:
        scene = await stage(self, panel={"proxies": ("127.0.0.0/8",)})
        browser = await self.fresh(scene)
        page = await self.enter(browser)
        (cookie,) = [each for each in page.cookies if each.startswith(COOKIE)]
        self.assertTrue(cookie.endswith("; Path=/; HttpOnly; SameSite=Strict"), cookie)
        secure = Browser(scene.browser.site, headers={"x-forwarded-proto": "https"})
        page = await self.enter(secure)
        (cookie,) = [each for each in page.cookies if COOKIE in each]
        self.assertTrue(cookie.startswith(f"__Host-{COOKIE}="))
        self.assertTrue(cookie.endswith("; Path=/; HttpOnly; SameSite=Strict; Secure"), cookie)
        self.assertIn("max-age", page.headers["strict-transport-security"])
        # what was set without TLS (by somebody on the way, perhaps) does not count with it
        secure.cookies = dict(browser.cookies)
        self.assertEqual((await secure.get("/")).location, "/login")

    async def test_forged(self) -> None:
        scene = await stage(self)
        stranger = await self.fresh(scene)
        fields = {"name": ADMIN, "password": PASSWORD}
        self.assertEqual((await stranger.send("/login", fields)).status, 403)
        self.assertEqual((await stranger.send("/login", {"csrf": "", **fields})).status, 403)
        foreign = csrf_of(await (await self.fresh(scene)).get("/login"))
        self.assertEqual((await stranger.send("/login", {"csrf": foreign, **fields})).status, 403)
        self.assertNotIn(COOKIE, stranger.cookies)

    async def test_colours(self) -> None:
        scene = await stage(self)
        stranger = await self.fresh(scene)
        token = csrf_of(await stranger.get("/login"))
        page = await stranger.send("/scheme", {"csrf": token, "scheme": "dark", "back": "/login"})
        self.assertEqual((page.status, page.location), (303, "/login"))
        self.assertIn('data-scheme="dark"', (await stranger.get("/login")).text)
        page = await stranger.send("/scheme", {"csrf": token, "scheme": "<script>", "back": "//evil.example"})
        self.assertEqual(page.location, "/")
        self.assertNotIn("data-scheme", (await stranger.get("/login")).text)
        await scene.post("/scheme", {"scheme": "light", "back": "/other"})
        self.assertIn('data-scheme="light"', (await scene.get("/")).text)


class SecondFactor(Case):
    async def staged(self) -> tuple[Scene, str, tuple[str, ...]]:
        scene = await stage(self)
        admins = scene.parts.admins
        offer = await admins.offer_totp(ADMIN, PASSWORD, "127.0.0.1", "mailx")
        codes = await admins.begin_totp(ADMIN, pyotp.TOTP(offer.secret).now(), "127.0.0.1", 0)
        return scene, offer.secret, codes

    async def test_recovery_code(self) -> None:
        scene, _, codes = await self.staged()
        browser = await self.fresh(scene)
        page = await self.enter(browser, next="/other")
        self.assertEqual(page.location, "/login/code?next=/other")
        self.assertNotIn(COOKIE, browser.cookies)
        self.assertEqual((await browser.get("/other")).location, "/login?next=/other")
        form = await browser.get(page.location)
        token = csrf_of(form)
        self.assertEqual((await browser.send("/login/code", {"csrf": token, "code": "000000", "next": "/other"})).status, 422)
        page = await browser.send("/login/code", {"csrf": token, "code": codes[0], "next": "/other"})
        self.assertEqual((page.status, page.location), (303, "/other"))
        self.assertEqual((await browser.get("/other")).status, 200)
        self.assertNotIn("mailx-step", browser.cookies)

    async def test_without_password(self) -> None:
        scene, _, codes = await self.staged()
        browser = await self.fresh(scene)
        self.assertEqual((await browser.get("/login/code")).location, "/login")
        token = csrf_of(await browser.get("/login"))
        page = await browser.send("/login/code", {"csrf": token, "code": codes[0]})
        self.assertEqual(page.status, 422)
        browser.cookies["mailx-step"] = "forged"
        self.assertEqual((await browser.send("/login/code", {"csrf": token, "code": codes[0]})).status, 422)


class SetUp(Case):
    async def fill(self, scene: Scene, **fields: str) -> Answer:
        page = await scene.get("/setup")
        given = {"csrf": csrf_of(page), "name": "grace", "password": "a long password", "again": "a long password", **fields}
        return await scene.browser.send("/setup", given)

    async def test_every_page_leads_there(self) -> None:
        scene = await stage(self, logged_in=False)
        for path in ("/", "/login", "/other", "/nothing"):
            page = await scene.get(path)
            self.assertEqual((page.status, page.location), (303, "/setup"), path)

    async def test_made(self) -> None:
        scene = await stage(self, logged_in=False)
        page = await self.fill(scene, code=scene.parts.admins.set_up_code())
        self.assertEqual((page.status, page.location), (303, "/"))
        self.assertIn("Welcome grace", (await scene.get("/")).text)
        self.assertEqual((await scene.get("/setup")).location, "/login")
        other = await self.fresh(scene)
        token = csrf_of(await other.get("/login"))
        page = await other.send(
            "/setup", {"csrf": token, "code": "x", "name": "eve", "password": "a long password", "again": "a long password"}
        )
        self.assertEqual(page.location, "/login")
        self.assertEqual([each.name for each in await scene.parts.admins.list()], ["grace"])

    async def test_refused(self) -> None:
        scene = await stage(self, logged_in=False)
        code = scene.parts.admins.set_up_code()
        for fields, text in (
            ({"code": "wrong"}, "not the code"),
            ({"code": ""}, "Fill this in"),
            ({"code": code, "again": "another password"}, "not the same"),
            ({"code": code, "password": "short", "again": "short"}, "shorter than"),
            ({"code": code, "name": "grace hopper"}, "not a name"),
            ({"code": code, "password": "x" * 2000, "again": "x" * 2000}, "longer than"),
        ):
            page = await self.fill(scene, **fields)
            self.assertEqual(page.status, 422, fields)
            self.assertIn(text, page.text)
            self.assertNotIn("a long password", page.text)
        self.assertTrue(scene.parts.admins.empty)

    async def test_throttled(self) -> None:
        scene = await stage(self, logged_in=False)
        for _ in range(20):
            await self.fill(scene, code="wrong")
        self.assertEqual((await self.fill(scene, code="wrong")).status, 429)
        self.assertEqual((await self.fill(scene, code=scene.parts.admins.set_up_code())).status, 303)
