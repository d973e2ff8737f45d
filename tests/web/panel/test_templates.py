"""The page of mail templates: seen, changed, tried out, put back."""

from base64 import b64decode
from typing import Any
from xml.etree import ElementTree

from attrs import evolve
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailx.core.templates import Templates
from mailx.web.panel.pages.templates import Templates as Pages
from mailx.web.panel.picture import picture
from tests.core.mail_out import office
from tests.web.scene import scene_of

PATH = "/templates/password_reset"
GOOD = {"subject": "{{ subject }}!", "text": "Go to {{ link }}", "html": "<p>{{ token }}</p>"}


class TemplatePages(TestCase):
    """What an administrator does with them."""

    async def setUp(self) -> None:
        self.office = await office(self, webhook={"sender_domain": "example.test"})
        world = self.office.world
        self.templates = Templates(world.store, world.cipher, world.settings, world.reactor)
        await self.templates.load()
        parts: dict[str, Any] = {"templates": self.templates, "reception": self.office.reception}
        self.scene = await scene_of(self, pages=[Pages], parts=parts, in_world=world)

    async def test_seen(self) -> None:
        page = await self.scene.get("/templates")
        self.assertEqual(page.status, 200)
        for type in ("email_verification", "password_reset"):
            self.assertIn(f'href="/templates/{type}"', page.text)
        page = await self.scene.get(PATH)
        self.assertEqual(page.status, 200)
        self.assertIn("Set a new password", page.text)
        self.assertIn("data:image/svg+xml;base64,", page.text)
        self.assertLess(len(page.text), 60000)
        self.assertEqual((await self.scene.get("/templates/other")).status, 404)

    async def test_saved_and_put_back(self) -> None:
        page = await self.scene.follow(await self.scene.post("/templates", {**GOOD, "type": "password_reset"}))
        self.assertIn("Go to {{ link }}", page.text)
        self.assertEqual(self.templates.get("password_reset").text, "Go to {{ link }}")
        self.assertFalse(self.templates.is_default("password_reset"))
        page = await self.scene.follow(await self.scene.post(PATH + "/reset"))
        self.assertTrue(self.templates.is_default("password_reset"))
        entries = await self.scene.world.store.read(lambda txn: txn.all("SELECT action FROM audit ORDER BY id"))
        self.assertEqual([action for (action,) in entries][-2:], ["template.save", "template.reset"])

    async def test_wrong_ones_are_not_saved(self) -> None:
        for name, value, said in (
            ("text", "{% for x in to %}{% endfor %}", "not part of the language"),
            ("html", "{{ password }}", "no value called password"),
            ("html", "{{ link|safe }}", "no filter called safe"),
            ("subject", "{{", "Line 1"),
            ("subject", "", "subject is needed"),
        ):
            page = await self.scene.post("/templates", {**GOOD, "type": "password_reset", name: value})
            self.assertEqual(page.status, 422, value)
            self.assertIn(said, page.text)
        self.assertTrue(self.templates.is_default("password_reset"))

    async def test_preview_saves_nothing(self) -> None:
        page = await self.scene.post(PATH + "/preview", {**GOOD, "text": "<b>{{ expires }}</b> seen"})
        self.assertEqual(page.status, 200)
        self.assertIn("UTC&lt;/b&gt; seen", page.text)
        self.assertTrue(self.templates.is_default("password_reset"))
        page = await self.scene.post(PATH + "/preview", {**GOOD, "text": "{{ nothing }}"})
        self.assertEqual(page.status, 422)

    async def test_test_mail(self) -> None:
        page = await self.scene.post(PATH + "/test", {**GOOD, "recipient": "me@example.test"})
        self.assertEqual(page.status, 303, page.text)
        (content,) = await self.office.world.contents(self.office.user)
        self.assertIn(b"Subject: Reset your password!", content)
        self.assertIn(b"<p>123456</p>", content)
        for recipient in ("", "x", "a@b\r\nBcc: c@d", "nobody@example.test"):
            self.assertEqual((await self.scene.post(PATH + "/test", {**GOOD, "recipient": recipient})).status, 422, recipient)

    async def test_test_mail_to_an_international_domain(self) -> None:
        page = await self.scene.post(PATH + "/test", {**GOOD, "recipient": "me@münchen.example"})
        self.assertEqual(page.status, 303, page.text)
        (entry,) = await self.office.entries()
        self.assertEqual(entry.recipient, "me@xn--mnchen-3ya.example")

    async def test_test_mail_that_cannot_be_written(self) -> None:
        settings = self.office.world.settings
        for changes, said in (
            ({"sender_local": "a b"}, "webhook.sender_local"),
            ({"sender_name": "a\tb"}, "webhook.sender_name"),
        ):
            current = settings.current
            settings.current = evolve(current, webhook=evolve(current.webhook, **changes))
            page = await self.scene.post(PATH + "/test", {**GOOD, "recipient": "me@example.test"})
            self.assertEqual(page.status, 422, said)
            self.assertIn(f"({said})", page.text)
            settings.current = current
        page = await self.scene.post(PATH + "/test", {**GOOD, "subject": "{{ to }}" * 120, "recipient": "me@example.test"})
        self.assertEqual(page.status, 422)
        self.assertIn("longer than 998 characters", page.text)


class Pictures(SynchronousTestCase):
    """HTML as a picture is always XML, and has nothing in it that acts."""

    @example("a<![0")
    @example("<![x[b]]><p>c")
    @given(st.text(max_size=300) | st.text("<>/=\"'! abpdivscriptstyle&;-[]\n\0", max_size=300))
    def test_anything(self, html: str) -> None:
        ElementTree.fromstring(self.inside(html))

    def inside(self, html: str) -> str:
        return b64decode(picture(html).partition("base64,")[2]).decode()

    def test_nothing_acts(self) -> None:
        html = (
            '<body style="color:red"><p onclick="x()" style="a">Hi<script>alert(1)</script><img src="https://example.org/x" alt="A">'
            '<a href="javascript:x">link</a><iframe src="x">y</iframe><svg><script>z</script></svg>'
        )
        made = self.inside(html)
        for bad in ("script", "onclick", "example.org", "javascript", "iframe", "alert"):
            self.assertNotIn(bad, made)
        for good in ('<p style="a">Hi', 'alt="A"', "<a>link</a>", "color:red"):
            self.assertIn(good, made)
