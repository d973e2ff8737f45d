"""The pages about who may change this server: administrators, my account, API keys, the audit log."""

import csv
import io
import json
import re
from html import unescape
from typing import Any

import pyotp
from twisted.trial.unittest import TestCase

from mailx.core.api_keys import ApiKeys as Keys
from mailx.core.audit import Actor
from mailx.web.panel.pages.admins import Administrators
from mailx.web.panel.pages.api_keys import ApiKeys
from mailx.web.panel.pages.audit import AuditLog
from mailx.web.panel.pages.my_account import MyAccount, browser
from tests.scenery import world
from tests.web.scene import ADMIN, PASSWORD, Scene, scene_of

OTHER = "battery staple"


class Base(TestCase):
    async def open(self) -> Scene:
        made = await world(self)
        keys = Keys(made.store, made.cipher)
        self.scene = await scene_of(self, pages=[Administrators, MyAccount, ApiKeys, AuditLog], in_world=made, parts={"api_keys": keys})
        self.before = len(await self.scene.parts.audit.list())
        return self.scene

    async def acts(self) -> list[str]:
        """What was recorded since the beginning, the newest first."""
        found = await self.scene.parts.audit.list()
        return [entry.action for entry in found[: len(found) - self.before]]

    async def post(self, path: str, **fields: Any) -> Any:
        return await self.scene.post(path, fields)

    async def done(self, path: str, **fields: Any) -> str:
        """The text of the page after a change that must succeed."""
        return (await self.scene.follow(await self.post(path, **fields))).text


class OfAdministrators(Base):
    async def test_the_last_one_has_no_way_out(self) -> None:
        scene = await self.open()
        text = (await scene.get("/admins")).text
        self.assertIn(ADMIN, text)
        self.assertNotIn('action="/admins/disable"', text)
        for path in ("/admins/disable", "/admins/remove"):
            page = await self.post(path, name=ADMIN)
            self.assertEqual(page.status, 422)
            self.assertIn("the last administrator", page.text)
        self.assertEqual(await self.acts(), [])

    async def test_life(self) -> None:
        scene = await self.open()
        self.assertIn("bob is an administrator now.", await self.done("/admins", name="Bob", password=OTHER, again=OTHER))
        session = await scene.parts.sessions.begin("bob", OTHER, "192.0.2.9")
        self.assertIn("bob may not log in", await self.done("/admins/disable", name="bob"))
        self.assertIsNone(await scene.parts.sessions.find(session.token))
        await self.done("/admins/enable", name="bob")
        self.assertEqual((await scene.get("/admins/bob/password")).status, 200)
        await self.done("/admins/bob/password", password=OTHER + "!", again=OTHER + "!")
        await scene.parts.sessions.begin("bob", OTHER + "!", "192.0.2.9")
        await self.done("/admins/remove", name="bob")
        self.assertEqual((await scene.get("/admins/bob/password")).status, 404)
        expected = ["remove", "login", "password", "enable", "disable", "login", "add"]
        self.assertEqual(await self.acts(), [f"admin.{action}" for action in expected])

    async def test_what_is_refused(self) -> None:
        await self.open()
        for fields in (
            {"name": "", "password": OTHER, "again": OTHER},
            {"name": "bob", "password": OTHER, "again": "something else"},
            {"name": "bob", "password": "short", "again": "short"},
            {"name": "<b>", "password": OTHER, "again": OTHER},
            {"name": ADMIN, "password": OTHER, "again": OTHER},
        ):
            page = await self.post("/admins", **fields)
            self.assertEqual(page.status, 422)
            self.assertNotIn(OTHER, page.text)
            self.assertNotIn("<b>", page.text)
        self.assertEqual((await self.post("/admins/totp-reset", name="nobody")).status, 422)
        for own in (ADMIN, ADMIN.upper(), f"%20{ADMIN}"):  # that takes the password
            self.assertEqual((await self.post(f"/admins/{own}/password", password=OTHER, again=OTHER)).status, 422)
            self.assertIn("under My account", (await self.post("/admins/totp-reset", name=own.replace("%20", " "))).text)
        self.assertEqual(await self.acts(), [])

    async def test_a_new_session_secret(self) -> None:
        scene = await self.open()
        page = await self.post("/admins/session-secret")
        self.assertEqual((page.status, page.location), (303, "/login"))
        self.assertEqual((await scene.get("/admins")).status, 303)
        self.assertEqual(await self.acts(), ["panel.session_secret"])


class OfMyAccount(Base):
    async def test_the_password(self) -> None:
        scene = await self.open()
        other = await scene.parts.sessions.begin(ADMIN, PASSWORD, "192.0.2.9", "Other <browser>")
        text = (await scene.get("/me")).text
        self.assertIn("Other &lt;browser&gt;", text)
        for fields in ({"old": "wrong wrong", "password": OTHER, "again": OTHER}, {"old": PASSWORD, "password": OTHER, "again": ""}):
            self.assertEqual((await self.post("/me/password", **fields)).status, 422)
        self.assertIn("was changed", await self.done("/me/password", old=PASSWORD, password=OTHER, again=OTHER))
        self.assertIsNone(await scene.parts.sessions.find(other.token))
        self.assertEqual((await scene.get("/me")).status, 200)
        self.assertEqual(await self.acts(), ["admin.password", "admin.login_failed", "admin.login"])

    async def test_the_second_factor(self) -> None:
        scene = await self.open()
        self.assertEqual((await scene.get("/me/second-factor")).status, 303)
        self.assertEqual((await self.post("/me/second-factor/begin", password_begin="wrong wrong")).status, 422)
        text = await self.done("/me/second-factor/begin", password_begin=PASSWORD)
        self.assertIn('src="data:image/svg+xml', text)
        secret = re.search(r"<code[^>]*>([A-Z2-7 ]{30,})</code>", text)
        assert secret is not None
        totp = pyotp.TOTP(secret[1].replace(" ", ""))
        self.assertEqual((await self.post("/me/second-factor", code="000000")).status, 422)
        page = await self.post("/me/second-factor", code=totp.now())
        self.assertEqual(page.status, 200)
        codes = re.findall(r"<code>([a-z2-7-]{19})</code>", page.text)
        self.assertEqual(len(set(codes)), 10)
        self.assertEqual(page.headers["cache-control"], "no-store")
        self.assertIn("10 recovery codes left", (await scene.get("/me")).text)
        fresh = re.findall(r"<code>([a-z2-7-]{19})</code>", (await self.post("/me/codes", password_codes=PASSWORD)).text)
        self.assertFalse(set(codes) & set(fresh))
        self.assertIn("with your password alone", await self.done("/me/second-factor/off", password_off=PASSWORD))
        expected = ["totp_off", "recovery_codes", "totp", "totp_offer", "login_failed"]
        self.assertEqual(await self.acts(), [f"admin.{action}" for action in expected])
        recorded = json.dumps([(entry.before, entry.after) for entry in await scene.parts.audit.list()])
        for secret_text in (totp.secret, *codes, PASSWORD):
            self.assertNotIn(secret_text, recorded)

    def test_names_of_browsers(self) -> None:
        for agent, said in (
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0 Safari/537.36 Edg/131.0",
                "Edge on Windows",
            ),
            ("Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0", "Firefox on Linux"),
            (
                "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0 Mobile Safari/537.36",
                "Chrome on Android",
            ),
            ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1 Version/18.1 Safari/604.1", "Safari on iPhone"),
            ("curl/8.10", "curl/8.10"),
            ("", ""),
        ):
            self.assertEqual(browser(agent), said)

    async def test_sessions(self) -> None:
        scene = await self.open()
        tokens = [(await scene.parts.sessions.begin(ADMIN, PASSWORD, "192.0.2.9")).token for _ in range(3)]
        first = await scene.parts.sessions.find(tokens[0])
        await self.done("/me/sessions/end", id=first.id)
        self.assertEqual((await self.post("/me/sessions/end", id=first.id)).status, 422)
        self.assertIn("2 other sessions ended.", await self.done("/me/sessions/end-others"))
        self.assertEqual([await scene.parts.sessions.find(token) for token in tokens], [None] * 3)
        self.assertEqual((await scene.get("/me")).status, 200)


class OfKeys(Base):
    async def test_life(self) -> None:
        scene = await self.open()
        page = await self.post("/keys", name="deploy", scope=["read", "queue:write"], expires="2099-12-31")
        self.assertEqual(page.status, 200)
        text = re.search(r"mailx_[a-z2-7]{8}_[\w-]{43}", page.text)
        assert text is not None
        key = await scene.parts.api_keys.authenticate(text[0])
        self.assertEqual((key.scopes, key.creator, key.expires), (("queue:write", "read"), ADMIN, 4102444800))
        shown = (await scene.get("/keys")).text
        self.assertIn(key.prefix, shown)
        self.assertNotIn(text[0], shown)
        await self.done("/keys/revoke", name="deploy")
        self.assertIsNone(await scene.parts.api_keys.authenticate(text[0]))
        await self.done("/keys/delete", name="deploy")
        self.assertEqual(await self.acts(), ["apikey.delete", "apikey.revoke", "apikey.add"])

    async def test_what_is_refused(self) -> None:
        await self.open()
        for fields in (
            {"name": "deploy"},
            {"name": "deploy", "scope": "everything"},
            {"name": "deploy", "scope": "read", "expires": "2001-01-01"},
            {"name": "deploy", "scope": "read", "expires": "tomorrow"},
            {"name": "", "scope": "read"},
        ):
            self.assertEqual((await self.post("/keys", **fields)).status, 422)
        self.assertEqual((await self.post("/keys/revoke", name="none")).status, 422)
        self.assertEqual(await self.acts(), [])


class OfTheLog(Base):
    async def test_filters_and_pages(self) -> None:
        scene = await self.open()
        log = scene.parts.audit
        for n in range(60):
            await log.record(Actor("key", "deploy", "192.0.2.9"), "domain.add", f"d{n}.test", None, {"name": "<script>"})
        text = (await scene.get("/audit")).text
        self.assertIn("&lt;script&gt;", text)
        self.assertNotIn("<script>", text.replace("<script src=", ""))
        self.assertIn("d59.test", text)
        self.assertNotIn("d9.test", text)
        older = re.search(r'href="(/audit\?[^"]*after=\d+)"', text)
        assert older is not None
        self.assertIn("d9.test", (await scene.get(unescape(older[1]))).text)
        self.assertIn("d7.test", (await scene.get("/audit?target=d7.test&actor=deploy&action=domain.")).text)
        self.assertIn("No entry fits", (await scene.get("/audit?actor=nobody")).text)
        self.assertIn("No entry fits", (await scene.get("/audit?until=2001-01-01")).text)
        page = await scene.get("/audit?since=odd%22%3E&after=99999999999999999999&action=%00")
        self.assertEqual(page.status, 200)
        self.assertNotIn('odd">', page.text)

    async def test_exports(self) -> None:
        scene = await self.open()
        log = scene.parts.audit
        await log.record(Actor("admin", "ada", "192.0.2.1"), "suppression.add", '=cmd|"x"', {"a": 1}, {"a": 'two, "three"\n'})
        page = await scene.get("/audit/export.csv?action=suppression.add")
        self.assertEqual(page.headers["content-disposition"], 'attachment; filename="audit.csv"')
        head, row = csv.reader(io.StringIO(page.text))
        self.assertEqual(head[5:7], ["action", "target"])
        self.assertEqual(row[2:7], ["admin", "ada", "192.0.2.1", "suppression.add", '\'=cmd|"x"'])
        self.assertEqual(json.loads(row[8]), {"a": 'two, "three"\n'})
        (line,) = (await scene.get("/audit/export.jsonl?action=suppression.add")).text.splitlines()
        self.assertEqual(json.loads(line)["before"], {"a": 1})

    async def test_strangers_see_nothing(self) -> None:
        scene = await self.open()
        scene.browser.cookies.clear()
        for path in ("/audit", "/audit/export.csv", "/admins", "/keys", "/me", "/me/second-factor"):
            page = await scene.get(path)
            self.assertEqual((page.status, page.body), (303, b""), path)
