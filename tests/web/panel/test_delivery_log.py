"""The page of the delivery log, and its download."""

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from mailx.core.courier import Attempt
from mailx.core.delivery_log import DeliveryLog as CoreLog
from mailx.core.progress import BOUNCED, DELIVERED
from mailx.mail.address import Address
from mailx.mail.reply import Reply
from mailx.web.panel.pages import delivery_log as pages
from mailx.web.panel.pages.delivery_log import DeliveryLog
from tests.core.test_delivery_log import step
from tests.scenery import world
from tests.web.scene import Scene, scene_of


class DeliveryLogPages(TestCase):
    async def open(self) -> Scene:
        here = await world(self)
        self.log = CoreLog(here.store, here.cipher, here.settings, here.reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.log.stop()))
        return await scene_of(self, pages=[DeliveryLog], parts={"delivery_log": self.log}, in_world=here)

    async def test_nothing(self) -> None:
        self.assertIn("Nothing was delivered yet", (await (await self.open()).get("/delivery-log")).text)

    async def test_lines(self) -> None:
        scene = await self.open()
        hostile = Attempt(Reply(550, "5.1.1", "<script>alert(1)</script>"), "mx.example.org [192.0.2.1]:25")
        self.log.note(step(1))
        self.log.note(step(2, BOUNCED, attempt=hostile, recipient=Address("eve", "example.net"), attempts=3))
        page = await scene.get("/delivery-log")
        self.assertEqual(page.status, 200)
        for text in ("bob@example.org", "250 2.0.0 Taken", "&lt;script&gt;", "attempt 3", f"/deliveries?what={1:016x}"):
            self.assertIn(text, page.text)
        page = await scene.get("/delivery-log?text=EVE%40example.net&outcome=bounced")
        self.assertIn("eve@example.net", page.text)
        self.assertNotIn("bob@example.org", page.text)
        self.assertIn("No line fits", (await scene.get("/delivery-log?text=nobody")).text)
        self.assertIn("bob@example.org", (await scene.get("/delivery-log?outcome=nonsense&after=x")).text)

    async def test_page_by_page(self) -> None:
        self.patch(pages, "PAGE", 3)
        scene = await self.open()
        for number in range(5):
            self.log.note(step(number, DELIVERED, recipient=Address(f"user{number}", "example.org")))
        found = await self.log.search(limit=3)
        page = await scene.get("/delivery-log")
        self.assertIn(f"after={found.older}", page.text)
        page = await scene.get(f"/delivery-log?after={found.older}")
        self.assertIn("user1@example.org", page.text)
        self.assertNotIn("user2@example.org", page.text)

    async def test_download(self) -> None:
        scene = await self.open()
        for number in range(3000):
            self.log.note(step(number))
        page = await scene.get("/delivery-log/download")
        self.assertEqual(page.headers["content-type"], "text/plain; charset=utf-8")
        self.assertIn("attachment", page.headers["content-disposition"])
        self.assertEqual(len(page.text.splitlines()), 3001)
        self.assertIn(f"{2999:016x}", page.text)
