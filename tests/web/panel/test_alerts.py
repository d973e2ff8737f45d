"""The page of the alerts."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from mailx.core.alerts import DISK, LOCKOUT, QUOTA
from mailx.core.alerts import Alerts as CoreAlerts
from mailx.core.settings import Settings
from mailx.web.panel.pages import alerts as pages
from mailx.web.panel.pages.alerts import Alerts
from tests.scenery import configured, world
from tests.web.scene import ADMIN, Scene, scene_of


class AlertPages(TestCase):
    async def open(self, **settings: Any) -> Scene:
        here = await world(self)
        settings_here = Settings(configured(alerts=settings))
        self.alerts = CoreAlerts(here.store, here.cipher, settings_here, "mx.example.test", here.reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.alerts.stop()))
        return await scene_of(self, pages=[Alerts], parts={"alerts": self.alerts, "settings": settings_here}, in_world=here)

    async def test_nothing(self) -> None:
        page = await (await self.open()).get("/alerts")
        self.assertEqual(page.status, 200)
        self.assertIn("Nothing is open", page.text)
        self.assertIn("Alerts are shown here only", page.text)

    async def test_open_and_past(self) -> None:
        scene = await self.open(mail=("boss@example.org",))
        await self.alerts.settle(DISK, {"data": "Full to 91 percent <b>"})
        await self.alerts.settle(QUOTA, {"ada@example.test": "ada is full"})
        await self.alerts.settle(QUOTA, {})
        page = await scene.get("/alerts")
        for text in ("The disk is nearly full", "Full to 91 percent &lt;b&gt;", "ada is full", "mailed to boss@example.org", "1<span"):
            self.assertIn(text, page.text)

    async def test_acknowledge(self) -> None:
        scene = await self.open()
        await self.alerts.settle(DISK, {"data": "Full."})
        self.alerts.tell(LOCKOUT, "192.0.2.1", "Too many logins.")
        await self.alerts.stop()
        event, state = await self.alerts.open()
        page = await scene.follow(await scene.post(f"/alerts/{state.id}/acknowledge"))
        self.assertIn(f"acknowledged by {ADMIN}", page.text)
        page = await scene.follow(await scene.post(f"/alerts/{event.id}/acknowledge"))
        self.assertIn("Past alerts", page.text)
        self.assertEqual(self.alerts.count, 0)
        entries = await scene.parts.audit.list()
        self.assertEqual([entry.action for entry in entries[:2]], ["alert.acknowledge"] * 2)
        before = len(entries)
        for id in (str(state.id), "999", "x", "9" * 30):
            page = await scene.post(f"/alerts/{id}/acknowledge")
            self.assertIn(page.status, (404, 422, 303, 409))
        self.assertEqual(len(await scene.parts.audit.list()), before)

    async def test_page_by_page(self) -> None:
        self.patch(pages, "PAGE", 3)
        scene = await self.open()
        for number in range(5):
            await self.alerts.settle(DISK, {"data": f"number {number}"})
            await self.alerts.settle(DISK, {})
        first = (await scene.get("/alerts")).text
        self.assertIn("number 4", first)
        self.assertNotIn("number 1", first)
        older = (await scene.get(f"/alerts?after={(await self.alerts.past())[2].id}")).text
        self.assertIn("number 1", older)
        self.assertIn("There are no older ones", (await scene.get("/alerts?after=1")).text)
