"""The overview and its cards."""

from typing import Any

from twisted.trial.unittest import TestCase

from mailx.core.alerts import LOCKOUT, Alerts
from mailx.core.figures import CALLS, FAILED, PUT_OFF, SENT, Figures
from mailx.mail.reply import Unavailable
from mailx.web.panel import dashboard
from mailx.web.panel.cards import Card
from mailx.web.panel.dashboard import Dashboard
from tests.scenery import world
from tests.web.scene import Scene, scene_of

LIMIT = 100_000  # octets of a page


class Ledger:
    async def counts(self) -> dict[str, int]:
        return {"pending": 3, "deferred": 1200, "held": 1}


class Queue:
    ledger = Ledger()


async def overview(case: TestCase, **sections: Any) -> tuple[Scene, Figures]:
    made = await world(case, **sections)
    figures = Figures(made.store, made.reactor)
    return await scene_of(case, pages=[Dashboard], in_world=made, parts={"figures": figures, "queue": Queue()}), figures


class Overview(TestCase):
    async def test_fresh(self) -> None:
        scene, _ = await overview(self)
        page = await scene.get("/")
        self.assertEqual(page.status, 200)
        self.assertIn("<h1>Overview</h1>", page.text)
        self.assertIn("1,203", page.text)
        self.assertIn("Nothing yet.", page.text)
        self.assertNotIn("Unsafe", page.text)
        self.assertLess(len(page.body), LIMIT)

    async def test_charts(self) -> None:
        scene, figures = await overview(self)
        for name, count in ((SENT, 7), (PUT_OFF, 5), (FAILED, 2), (CALLS, 9)):
            figures.note(name, count)
        await figures.stop()
        page = await scene.get("/")
        self.assertIn("7 delivered, 5 put off, 2 failed", page.text)
        self.assertIn('<rect class="bounced"', page.text)
        self.assertIn("9 taken, 0 refused", page.text)
        self.assertNotIn("style=", page.text)
        self.assertLess(len(page.body), LIMIT)

    async def test_unsafe_settings(self) -> None:
        scene, _ = await overview(self, webhook={"signature": False})
        page = await scene.get("/")
        self.assertIn("Unsafe:", page.text)
        self.assertIn("webhook.signature = false", page.text)
        self.assertIn('href="/settings#setting-webhook-signature"', page.text)

    async def test_what_is_left_to_do(self) -> None:
        scene, _ = await overview(self)
        page = (await scene.get("/")).text
        self.assertIn("Before programs can send", page)
        for place in ("/settings#setting-webhook-sender_domain", "/settings#setting-webhook-secret", 'href="/smtp"'):
            self.assertIn(place, page)
        self.assertEqual(page.count(">to do<"), 2)
        scene, _ = await overview(self, webhook={"sender_domain": "example.test"})
        self.assertEqual((await scene.get("/")).text.count(">to do<"), 1)
        scene, _ = await overview(self, webhook={"sender_domain": "example.test", "secret": "a secret that two programs share"})
        self.assertNotIn("Before programs can send", (await scene.get("/")).text)

    async def test_alerts(self) -> None:
        made = await world(self)
        alerts = Alerts(made.store, made.cipher, made.settings, "mail.example.test", made.reactor)
        scene = await scene_of(self, pages=[Dashboard], in_world=made, parts={"alerts": alerts})
        self.assertNotIn("Needs your attention", (await scene.get("/")).text)
        for place in range(7):
            alerts.tell(LOCKOUT, f"<b>192.0.2.{place}", f"Too many logins from <b>192.0.2.{place}.")
        await alerts.start(made.reception.accept)
        await alerts.stop()
        page = await scene.get("/")
        self.assertIn("7 open alerts", page.text)
        self.assertIn("Too many logins from &lt;b&gt;192.0.2.6.", page.text)
        self.assertNotIn("<b>192", page.text)

    async def test_a_card_that_cannot_be_shown(self) -> None:
        async def away(parts: Any) -> Card | None:
            raise Unavailable("disk full")

        scene, _ = await overview(self)
        self.patch(dashboard, "CARDS", (away, *dashboard.CARDS))
        page = await scene.get("/")
        self.assertEqual(page.status, 200)
        self.assertIn("Some figures cannot be shown", page.text)
        self.assertNotIn("disk full", page.text)
