"""The panel's port: opened, by TLS if so configured, and closed with what pages do in the background."""

import ssl
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from mailx.config import TLS
from mailx.ops.certificates import Certificates
from mailx.web.panel.page import Page, View, Visit, show
from mailx.web.panel.service import PanelService
from tests.web.scene import Scene, scene_of


class Home(Page):
    path = "/"
    title = "Overview"
    group = "Overview"
    stopped = 0

    @show("/")
    async def index(self, visit: Visit) -> View:
        return View("error.html", {"text": "Welcome", "remedy": ""})

    @show("/slow")
    async def slow(self, visit: Visit) -> View:
        await deferLater(self.parts.reactor, 0.2, lambda: None)
        return await self.index(visit)

    async def stop(self) -> None:
        Home.stopped += 1


class Service(TestCase):
    async def serve(self, tls: bool) -> tuple[Scene, PanelService, int]:
        scene = await scene_of(self, pages=[Home])
        certificates = Certificates(TLS(), Path(self.mktemp()), "localhost")
        settings = evolve(scene.world.config.panel, tls=tls, port=0)
        service = PanelService(scene.panel, settings, certificates, scene.world.reactor)
        service.startService()
        self.addCleanup(lambda: service.stopService() if service.running else None)
        port: Any = service._port
        return scene, service, port.getHost().port

    async def ask(self, connection: HTTPConnection, path: str, **headers: str) -> tuple[HTTPResponse, str]:
        def work() -> tuple[HTTPResponse, str]:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            text = answer.read().decode()
            connection.close()
            return answer, text

        found: tuple[HTTPResponse, str] = await deferToThread(work)
        return found

    async def test_tls(self) -> None:
        _, _, port = await self.serve(True)
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["h2", "http/1.1"])
        answer, text = await self.ask(HTTPSConnection("127.0.0.1", port, timeout=120, context=context), "/login")
        self.assertEqual(answer.status, 200)
        self.assertIn("Log in", text)
        self.assertIn("max-age", answer.headers["Strict-Transport-Security"])
        self.assertRegex(
            answer.headers["Set-Cookie"], r"\A__Host-mailx-guest=[^;]+; Path=/; HttpOnly; SameSite=Strict; Secure; Max-Age=3600\Z"
        )

    async def test_plain(self) -> None:
        before = Home.stopped
        scene, service, port = await self.serve(False)
        answer, _ = await self.ask(HTTPConnection("127.0.0.1", port, timeout=120), "/")
        self.assertEqual((answer.status, answer.headers["Location"]), (303, "/login"))
        self.assertIsNone(answer.headers["Strict-Transport-Security"])
        cookie = f"mailx-session={scene.browser.cookies['mailx-session']}"
        answer, text = await self.ask(HTTPConnection("127.0.0.1", port, timeout=120), "/", cookie=cookie)
        self.assertIn("Welcome", text)
        await service.stopService()
        self.assertEqual(Home.stopped, before + 1)
        with self.assertRaises(ConnectionRefusedError):
            await self.ask(HTTPConnection("127.0.0.1", port, timeout=120), "/")

    async def test_requests_under_way_finish(self) -> None:
        scene, service, _ = await self.serve(False)
        before = Home.stopped
        under_way = Deferred.fromCoroutine(scene.get("/slow"))
        await service.stopService()
        self.assertIn("Welcome", (await under_way).text)
        self.assertEqual(Home.stopped, before + 1)
