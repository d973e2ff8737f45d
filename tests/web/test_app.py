"""The frame: what every request goes through."""

import gzip
import re
from collections.abc import AsyncIterator
from typing import Any

from twisted.trial.unittest import TestCase

from mailx.core.users import DirectoryError
from mailx.mail.reply import Unavailable
from mailx.web.panel.page import FORM_LIMIT, Download, FormError, Page, Redirect, View, Visit, change, show
from tests.web.browser import Browser
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
        name = visit.form.needed("name", 2000)
        if name == "taken":
            raise FormError({"name": "This one exists."})
        if name == "bad":
            raise DirectoryError("invalid", "this name is bad", "Take another.")
        self.names.append(name)
        return Redirect("/things", f"{name} was added.")

    @change("/things/preview", action="")
    async def preview(self, visit: Visit) -> View:
        return View("error.html", {"text": visit.form.text("name"), "remedy": ""})

    @show("/things-export")
    async def export(self, visit: Visit) -> Download:
        async def parts() -> AsyncIterator[bytes]:
            yield b"one\n"
            yield b"two\n"

        return Download('a"\r\nb.txt', parts())

    @show("/things-cut/<how>")
    async def cut(self, visit: Visit) -> Download:
        """A long download, in the middle of which something happens."""

        async def parts() -> AsyncIterator[bytes]:
            for place in range(10):
                yield b"line %d\n" % place
                if place == 3 and visit.path["how"] == "disabled":
                    await self.parts.sessions.rotate_secret()
                if place == 3 and visit.path["how"] == "away":
                    raise Unavailable("disk I/O error")

        return Download("long.txt", parts())


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

    async def test_long_messages(self) -> None:
        scene = await scene_of(self, pages=[Things])
        page = await scene.post("/things/add", {"name": "ä€😀" * 300})
        self.assertIn("ä€😀ä€😀", (await scene.follow(page)).text)
        scene.browser.cookies["mailx-message"] = "WyJmb3JnZWQiLCAiZG9uZSJd.0000"
        self.assertNotIn("forged", (await scene.get("/things")).text)

    async def test_colours_after_a_form(self) -> None:
        scene = await scene_of(self, pages=[Things])
        self.assertIn('name="back" value="/things"', (await scene.post("/things/add", {"name": "taken"})).text)
        self.assertEqual((await scene.post("/scheme", {"scheme": "x" * 2000})).status, 400)

    async def test_problems(self) -> None:
        scene = await scene_of(self, pages=[Things])
        self.assertEqual((await scene.post("/things/add", {"name": "taken"})).status, 422)
        page = await scene.post("/things/add", {"name": "bad"})
        self.assertIn("This name is bad. Take another.", page.text)

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


class Doors(TestCase):
    """What does not get as far as a page."""

    async def test_hosts(self) -> None:
        scene = await scene_of(self, pages=[Things], panel={"hosts": ("panel.example.org",)}, server={"hostname": "mail.example.org"})
        for host, status in (
            ("panel.example.org", 200),
            ("MAIL.example.org:2580", 200),
            ("[::1]:2580", 200),
            ("evil.example", 421),
            ("", 421),
        ):
            scene.browser.host = host
            self.assertEqual((await scene.get("/things")).status, status, host)

    async def test_around_the_proxy(self) -> None:
        """A panel that others reach is not served unencrypted to whoever goes around the proxy that does TLS."""
        panel: dict[str, Any] = {"interface": "0.0.0.0", "expose": True, "proxies": ("192.0.2.1",)}
        scene = await scene_of(self, pages=[Things], panel=panel)
        self.assertEqual((await scene.get("/things")).status, 200)
        for address, status in (("192.0.2.1", 200), ("198.51.100.7", 403), ("127.0.0.1", 200)):
            around = Browser(scene.browser.site, address=address)
            page = await around.get("/login", x_forwarded_for="127.0.0.1", x_forwarded_proto="https")
            self.assertEqual((page.status, "reverse proxy only" in page.text), (status, status == 403), address)
        panel["tls"] = True
        scene = await scene_of(self, pages=[Things], panel=panel)
        self.assertEqual((await Browser(scene.browser.site, address="198.51.100.7").get("/login")).status, 200)

    async def test_origins(self) -> None:
        scene = await scene_of(self, pages=[Things])
        for headers, status in (
            ({"origin": "http://localhost"}, 303),
            ({"origin": "http://evil.example"}, 403),
            ({"origin": "null"}, 403),
            ({"sec_fetch_site": "cross-site"}, 403),
        ):
            self.assertEqual((await scene.post("/things/add", {"name": "x"}, **headers)).status, status, headers)

    async def test_forged_forms(self) -> None:
        scene = await scene_of(self, pages=[Things])
        Things.names.clear()
        for fields in ({}, {"csrf": ""}, {"csrf": "x" * 64}, {"csrf": scene.browser.cookies["mailx-session"]}):
            self.assertEqual((await scene.browser.send("/things/add", {"name": "x", **fields})).status, 403)
        self.assertEqual(Things.names, [])
        self.assertNotEqual(scene.csrf, scene.browser.cookies["mailx-session"])

    async def test_forms_of_another_kind(self) -> None:
        scene = await scene_of(self, pages=[Things])
        for kind, body in (
            ("application/json", b'{"name": "x"}'),
            ("multipart/form-data; boundary=x", b"--x--"),
            ("text/plain", b"csrf=1"),
        ):
            page = await scene.browser.ask("POST", "/things/add", body, {"content-type": kind})
            self.assertEqual(page.status, 400)
        page = await scene.post("/things/add", {"name": "x" * 300_000})
        self.assertEqual(page.status, 413)
        page = await scene.post("/things/add", {"name": "x" * 2_000_000})
        self.assertEqual(page.status, 413)

    async def test_addresses_that_lead_nowhere(self) -> None:
        scene = await scene_of(self, pages=[Things])
        for path in ("/nothing", "/things/", "/static/../app.py", "/%2e%2e/x", "/login/x", "/api", "/things/a/b"):
            self.assertEqual((await scene.get(path)).status, 404, path)
        for method in ("PUT", "DELETE", "PATCH", "OPTIONS"):
            self.assertEqual((await scene.browser.ask(method, "/things", b"", {})).status, 405)
        self.assertEqual((await scene.get("/things/add")).status, 404)
        page = await scene.browser.ask("HEAD", "/things", b"", {})
        self.assertEqual((page.status, page.body), (200, b""))

    async def test_headers_of_every_answer(self) -> None:
        scene = await scene_of(self, pages=[Things])
        pages = [await scene.get(path) for path in ("/things", "/nothing", "/things/broken", "/static/nothing", "/login", "/favicon.ico")]
        pages += [await scene.post("/things/add", fields) for fields in ({"name": "x"}, {"name": "taken"}, {"csrf": ""})]
        scene.browser.host = "evil.example"
        pages.append(await scene.get("/things"))
        for page in pages:
            self.assertIn("default-src 'none'", page.headers["content-security-policy"])
            self.assertEqual(page.headers["x-content-type-options"], "nosniff")
            self.assertEqual(page.headers["cross-origin-opener-policy"], "same-origin")
            self.assertNotIn("server", page.headers)
            if page.headers.get("content-type", "").startswith("text/html"):
                self.assertEqual(page.headers["cache-control"], "no-store")
        self.flushLoggedErrors(ValueError)

    async def test_static_files(self) -> None:
        scene = await scene_of(self, pages=[Things])
        scene.browser.cookies.clear()
        found = re.findall(r'(?:href|src)="(/static/[^"]+)"', (await scene.get("/login")).text)
        self.assertEqual(len(found), 3)
        for address in found:
            page = await scene.get(address)
            self.assertEqual(page.status, 200)
            self.assertIn("immutable", page.headers["cache-control"])
            self.assertEqual((await scene.get(address, if_none_match=page.headers["etag"])).status, 304)
            small = await scene.get(address, accept_encoding="gzip, br")
            self.assertEqual(gzip.decompress(small.body), page.body)


class Acts(TestCase):
    """What the audit log gets."""

    async def test_one_row_for_a_change(self) -> None:
        scene = await scene_of(self, pages=[Things])

        async def actions() -> list[tuple[str, str, str]]:
            return [(each.action, each.actor.name, each.actor.address) for each in await scene.parts.audit.list()]

        before = len(await actions())
        await scene.post("/things/add", {"name": "x"})
        rows = await actions()
        self.assertEqual((len(rows), rows[0]), (before + 1, ("thing.add", "ada", "127.0.0.1")))
        for fields in ({"name": "taken"}, {"name": "bad"}, {"name": ""}, {"name": "x", "csrf": "forged"}):
            await scene.post("/things/add", fields)
        await scene.get("/things")
        self.assertEqual(len(await actions()), before + 1)
        await scene.post("/things/preview", {"name": "x"})
        self.assertEqual(len(await actions()), before + 1)

    async def test_downloads(self) -> None:
        scene = await scene_of(self, pages=[Things])
        page = await scene.get("/things-export")
        self.assertEqual(page.body, b"one\ntwo\n")
        self.assertEqual(page.headers["content-disposition"], 'attachment; filename="a___b.txt"')
        self.assertIn("sandbox", page.headers["content-security-policy"])

    async def test_downloads_that_end_early(self) -> None:
        """What was sent until then must not pass for the whole, and whoever may not come in any more gets no more."""
        for how in ("away", "disabled"):
            scene = await scene_of(self, pages=[Things])
            page = await scene.browser.octets("GET", f"/things-cut/{how}")
            self.assertIn(b"line 3\n", page)
            self.assertNotIn(b"line 4\n", page)
            self.assertNotIn(b"\r\n0\r\n", page)  # the chunk that would end it
            self.assertNotIn(b"<html", page)

    async def test_head_of_a_download(self) -> None:
        scene = await scene_of(self, pages=[Things])
        page = await scene.browser.ask("HEAD", "/things-cut/away", b"", {})
        self.assertEqual((page.status, page.body), (200, b""))

    async def test_large_forms(self) -> None:
        scene = await scene_of(self, pages=[Things])
        self.assertEqual((await scene.post("/things/add", {"name": "x" * FORM_LIMIT})).status, 413)
