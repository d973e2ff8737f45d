"""Every route of the directory's and the queue's pages, given what no browser would send: no failure, no reflection, no change."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

from twisted.trial.unittest import TestCase

from mailx.config import TLS
from mailx.core.records import Records
from mailx.core.signing import Signing
from mailx.ops.certificates import Certificates
from mailx.web.panel import pages
from mailx.web.panel.page import Route
from tests import dns
from tests.core.mail_out import LATER, office
from tests.web.browser import Page
from tests.web.scene import Scene, scene_of

MARKUP = "<script>alert(1)</script>"
VALUES = (
    MARKUP,
    '"><img src=x onerror=alert(1)>',
    "",
    "0",
    "-1",
    "9" * 18,
    "9" * 19,
    "9" * 30,
    "a" * 1000,
    "\u202e\u0000\x1b[2J",
    "\ud7ff\uffff\U0010ffff",
    "' OR 1=1 --",
    "../../../etc/passwd",
    "%00",
    "x\r\nSet-Cookie: a=b",
    "*@example.test",
    "@" * 50,
    "٣",
    "{{ 7 * 7 }}",
)
NAMES = (
    *("text", "domain", "role", "state", "after", "page", "what", "limit", "check", "sender", "recipient", "relay", "id", "older", "alias"),
    *("address", "name", "confirm", "targets", "quota", "size", "password", "again", "algorithm", "force", "row", "which", "do", "target"),
)
FILTERS = {
    "/queue": ("state", "domain", "relay", "sender", "recipient", "id", "older", "after"),
    "/accounts": ("text", "domain", "role", "state", "after"),
    "/aliases": ("text", "domain", "after"),
    "/domains": ("text", "after"),
    "/deliveries": ("what", "page"),
}
OURS = (
    pages.Domains,
    pages.DNS,
    pages.DKIM,
    pages.Accounts,
    pages.Blocks,
    pages.Aliases,
    pages.Certificates,
    pages.Queue,
    pages.Deliveries,
)


class Hostile(TestCase):
    engine = "sqlite"
    values: tuple[str, ...] = VALUES
    timeout = 240
    scene: Scene

    async def open(self) -> None:
        here = await office(self, engine=self.engine)
        await here.start()
        here.courier.answers["example.org"] = LATER
        await here.send("bob@example.org")
        await here.settled(deferred=1)
        world = here.world
        signing = Signing(world.store, world.cipher, world.accounts, world.reactor)
        await signing.load()
        certificates = Certificates(TLS(), Path(self.mktemp()), "mail.example.test")
        parts = {
            "queue": here.queue,
            "timeline": here.timeline,
            "signing": signing,
            "records": Records(world.settings, signing, await dns.resolver(self, {}), lambda name: None),
            "certificates": certificates,
        }
        self.scene = await scene_of(self, pages=OURS, in_world=world, parts=parts)

    def routes(self, method: str) -> list[Route]:
        return [route for page in OURS for route in page.routes() if route.method == method]

    def check(self, page: Page, about: object) -> None:
        self.assertIn(page.status, (200, 303, 400, 404, 422), about)
        self.assertNotIn(MARKUP, page.text, about)
        self.assertNotIn("<img", page.text, about)
        self.assertNotIn("\u202e", page.text, about)
        self.assertNotIn("\nset-cookie: a=b", str(page.headers).lower(), about)
        self.assertFalse(any("a=b" in cookie for cookie in page.cookies), about)

    async def test_shows(self) -> None:
        await self.open()
        for route in self.routes("GET"):
            for value in self.values:
                path = route.path
                for name in ("name", "address", "selector", "id"):
                    path = path.replace(f"<{name}>", quote(value, safe="") or "-")
                query = "&".join(f"{name}={quote(value, safe='')}" for name in NAMES)
                for address in {path, f"{path}?{query}"} if len(value) < 100 else {path}:
                    self.check(await self.scene.get(address), (address[:200], value))

    async def test_each_filter_alone(self) -> None:
        await self.open()
        for path, names in FILTERS.items():
            for name in names:
                for value in self.values:
                    self.check(await self.scene.get(f"{path}?{name}={quote(value, safe='')}"), (path, name, value))

    async def test_changes(self) -> None:
        await self.open()
        for route in self.routes("POST"):
            if route.path in ("/certificates/reload", "/domains/<name>/dkim/create"):
                continue  # these change something, whatever comes with them
            for value in self.values:
                if "\0" in value:
                    continue  # refused by the frame
                path = route.path
                for name in ("name", "address", "selector"):
                    path = path.replace(f"<{name}>", quote(value, safe="") or "-")
                fields: dict[str, Any] = {name: [value, value] for name in NAMES}
                self.check(await self.scene.post(path, fields), (path, value))
        actions = {entry.action for entry in await self.scene.parts.audit.list() if not entry.action.startswith("admin.")}
        self.assertEqual(actions - {"domain.add", "domain.delete"}, set())  # "0" is a domain name


class HostileOnPostgreSQL(Hostile):
    """What a database may mind."""

    engine = "postgresql"
    values = ("9" * 18, "9" * 19, "\u202e\u0000\x1b[2J", "' OR 1=1 --", "%00")
