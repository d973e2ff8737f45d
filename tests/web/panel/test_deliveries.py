"""The pages of deliveries: searches, and stories of anything that a timeline may hold."""

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailx.core.timeline import Event, Trace
from mailx.web.panel.pages.deliveries import Deliveries
from mailx.web.panel.story import told
from tests.core.mail_out import LATER, Office, office
from tests.web.browser import Page
from tests.web.scene import Scene, scene_of

BOB = "bob@example.org"
MARKUP = "<script>alert(1)</script>"


class Pages(TestCase):
    office: Office
    scene: Scene

    async def open(self) -> None:
        self.office = await office(self)
        await self.office.start()
        parts = {"queue": self.office.queue, "timeline": self.office.timeline}
        self.scene = await scene_of(self, pages=[Deliveries], in_world=self.office.world, parts=parts)

    async def get(self, path: str, status: int = 200) -> Page:
        page = await self.scene.get(path)
        self.assertEqual(page.status, status, page.text)
        return page

    async def test_nothing(self) -> None:
        await self.open()
        self.assertIn("Nothing happened yet", (await self.get("/deliveries")).text)
        self.assertIn("Nothing is known of this", (await self.get("/deliveries?what=nobody@example.org")).text)

    async def test_a_story(self) -> None:
        await self.open()
        self.office.courier.answers["example.org"] = LATER
        content = b"From: <me@example.test>\r\nMessage-ID: <abc@example.test>\r\n\r\nx"
        id = await self.office.send(BOB, content=content)
        await self.office.settled(deferred=1)
        for what in ("", BOB, "me@example.test", "%3Cabc@example.test%3E", id):
            page = await self.get(f"/deliveries?what={what}")
            for text in (
                id,
                f"Accepted from me@example.test for {BOB}",
                f"Queued for {BOB}",
                f"Attempt 1: not delivered to {BOB} yet",
                "451 4.7.1 Greylisted",
                "Next attempt",
                "abc@example.test",
                "mx.example.org [192.0.2.1]:25",
            ):
                self.assertIn(text, page.text, what)

    async def test_many(self) -> None:
        await self.open()
        for number in range(45):
            self.office.timeline.note(f"id{number:02}", "accepted", ["ada@example.org"], sender="ada@example.org", recipients=[BOB])
        seen: list[str] = []
        path = "/deliveries?what=ada@example.org"
        for _ in range(5):
            page = await self.get(path)
            seen += re.findall("<h2>Message <a[^>]*><code>(id[0-9]+)", page.text)
            self.assertLess(len(page.body), 100_000)
            path = next(iter(re.findall('href="([^"]+)" rel="next"', page.text)), "").replace("&amp;", "&")
        self.assertEqual(seen, [f"id{number:02}" for number in range(44, -1, -1)])
        self.assertEqual(path, "")
        for number in ("0", "-1", "x", "1000000"):
            await self.get(f"/deliveries?page={number}")

    async def test_a_long_story(self) -> None:
        await self.open()
        for number in range(250):
            self.office.timeline.note("id", "deferred", [BOB], recipient=BOB, attempts=number + 1, reply="451 Later")
        page = await self.get(f"/deliveries?what={BOB}")
        self.assertIn("240 steps between these", page.text)
        self.assertIn("Attempt 4:", page.text)
        self.assertNotIn("Attempt 5:", page.text)
        self.assertIn("Attempt 245:", page.text)
        page = await self.get("/deliveries/id")
        self.assertIn("Attempt 100:", page.text)
        self.assertNotIn("Attempt 101:", page.text)
        self.assertIn("Attempt 250:", (await self.get("/deliveries/id?page=3")).text)
        self.assertLess(len(page.body), 100_000)
        self.office.timeline.note("report", "reports", ["id"], of="id")
        self.assertIn("Attempt 1:", (await self.get("/deliveries/id")).text)
        self.assertIn("This message is a report", (await self.get("/deliveries/report")).text)
        await self.get("/deliveries/other", 404)
        await self.get(f"/deliveries/{BOB}", 404)

    async def test_strangers_write_what_they_want(self) -> None:
        await self.open()
        self.office.timeline.note(
            "0123456789abcdef",
            "accepted",
            [BOB],
            sender=f'"{MARKUP}"@example.org',
            recipients=[BOB, MARKUP],
            message_id=MARKUP,
            helo=f"{MARKUP}\x1b\u202e",
            client=MARKUP,
            checks={MARKUP: MARKUP},
        )
        self.office.timeline.note("0123456789abcdef", "bounced", [BOB], recipient=MARKUP, reply=MARKUP, host=MARKUP, report=f"{MARKUP}&x=")
        self.office.timeline.note("0123456789abcdef", MARKUP, [BOB], **{MARKUP: [MARKUP]})
        page = await self.get(f"/deliveries?what={BOB}")
        for bad in (MARKUP, "\x1b", "\u202e", "what=<"):
            self.assertNotIn(bad, page.text)
        self.assertIn("&lt;script&gt;", page.text)

    async def test_wrong_searches(self) -> None:
        await self.open()
        page = await self.get(f"/deliveries?what={'a' * 1001}", 422)
        self.assertIn("nothing longer", page.text)
        self.assertNotIn(MARKUP, (await self.get("/deliveries?what=%3Cscript%3Ealert(1)%3C/script%3E")).text)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
_EVENTS = (
    "accepted",
    "refused",
    "stored",
    "queued",
    "delivered",
    "deferred",
    "bounced",
    "put_off",
    "held",
    "reported",
    "unreported",
    "reports",
)
_NAMES = ("sender", "recipients", "count", "accounts", "mailbox", "recipient", "relay", "reply", "attempts", "next", "size", "checks")
_MORE = ("account", "security", "tls", "report", "of", "kind", "to", "protocol", "message_id", "forwarder")


class Stories(SynchronousTestCase):
    @given(
        st.lists(
            st.tuples(st.sampled_from(_EVENTS) | st.text(), st.dictionaries(st.sampled_from(_NAMES + _MORE) | st.text(), _JSON, max_size=6))
        )
    )
    def test_any_facts_can_be_told(self, events: list[tuple[str, dict[str, Any]]]) -> None:
        story = told(Trace("id", tuple(Event(1.0, event, facts) for event, facts in events)), {1: BOB})
        self.assertEqual(len(story.steps), len(events))
        for step in story.steps:
            self.assertTrue(step.text.isprintable(), step.text)
            self.assertLess(len(step.text), 5000)

    def test_many_recipients(self) -> None:
        (step,) = told(Trace("id", (Event(1.0, "queued", {"recipients": [BOB] * 3, "count": 1200}),)), {}).steps
        self.assertEqual(step.text, f"Queued for {BOB}, {BOB}, {BOB} and 1,197 more.")
