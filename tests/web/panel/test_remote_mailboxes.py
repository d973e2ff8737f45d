"""The pages of mailboxes on other servers."""

from collections.abc import Mapping

from twisted.trial.unittest import TestCase

from mailx.core.remote_mailboxes import RemoteMailboxes as Core
from mailx.web.panel.pages.remote_mailboxes import RemoteMailboxes
from tests.core.test_remote_mailboxes import Probes
from tests.scenery import world
from tests.web.scene import Scene, scene_of

FORM = {
    "name": "Bounces",
    "host": "imap.example.org",
    "port": "993",
    "username": "bounces",
    "password": "very secret",
    "verify": "yes",
    "timeout": "20",
}


class RemoteMailboxPages(TestCase):
    async def open(self) -> Scene:
        here = await world(self)
        self.probes = Probes()
        self.mailboxes = Core(here.store, here.cipher, self.probes)
        return await scene_of(self, pages=[RemoteMailboxes], parts={"remote_mailboxes": self.mailboxes}, in_world=here)

    async def add(self, scene: Scene, kind: str = "imaps", fields: Mapping[str, str] = FORM) -> str:
        page = await scene.post(f"/mailboxes/add/{kind}", fields)
        self.assertEqual(page.status, 303, page.text)
        return page.location

    async def test_overview(self) -> None:
        scene = await self.open()
        page = await scene.get("/mailboxes")
        for text in ("Optional.", "nothing to do with the delivery of mail", "IMAP (143)", "IMAPS (993)", "POP3 (110)", "POP3S (995)"):
            self.assertIn(text, page.text)
        for kind, port in (("imap", 143), ("imaps", 993), ("pop3", 110), ("pop3s", 995)):
            self.assertIn(f'value="{port}"', (await scene.get(f"/mailboxes/add/{kind}")).text)
        self.assertEqual((await scene.get("/mailboxes/add/smtp")).status, 404)

    async def test_life(self) -> None:
        scene = await self.open()
        location = await self.add(scene)
        page = await scene.get(location)
        for text in ("imap.example.org", "Bounces", 'value="20"'):
            self.assertIn(text, page.text)
        self.assertNotIn("very secret", page.text)
        page = await scene.post(f"{location}/test")
        self.assertEqual(page.status, 200)
        for text in ("It does not work.", "S: * OK", "Try again."):
            self.assertIn(text, page.text)
        self.assertEqual(self.probes.tried, [("imaps", "imap.example.org", 993, "bounces", "very secret", True, 20)])
        page = await scene.follow(await scene.post(f"{location}/change", {**FORM, "name": "Returned", "password": ""}))
        self.assertIn("Returned", page.text)
        page = await scene.follow(await scene.post(f"{location}/remove"))
        self.assertIn("was removed", page.text)
        self.assertEqual((await scene.get(location)).status, 404)
        actions = [entry.action for entry in await scene.parts.audit.list()]
        self.assertEqual(actions[:4], ["mailbox.remove", "mailbox.change", "mailbox.test", "mailbox.add"])
        self.assertNotIn("very secret", repr(await scene.parts.audit.list()))

    async def test_mistakes(self) -> None:
        scene = await self.open()
        for field, wrong in (
            ("name", ""),
            ("name", "x" * 101),
            ("host", ""),
            ("host", "a b"),
            ("port", "0"),
            ("port", "x"),
            ("username", ""),
            ("username", "a\tb"),
            ("password", ""),
            ("password", "a\nb"),
            ("timeout", "1000"),
        ):
            page = await scene.post("/mailboxes/add/imap", {**FORM, field: wrong})
            self.assertEqual(page.status, 422, (field, wrong))
            self.assertNotIn("very secret", page.text)
            if field != "host":
                self.assertIn("imap.example.org", page.text)
        self.assertEqual(await self.mailboxes.list(), ())

    async def test_the_password_goes_to_its_host_only(self) -> None:
        scene = await self.open()
        location = await self.add(scene)
        page = await scene.post(f"{location}/change", {**FORM, "host": "evil.example.org", "password": ""})
        self.assertEqual(page.status, 422)
        self.assertIn("Type the password again", page.text)
        self.assertEqual((await self.mailboxes.list())[0].place.host, "imap.example.org")

    async def test_a_name_twice(self) -> None:
        scene = await self.open()
        await self.add(scene)
        page = await scene.post("/mailboxes/add/pop3", FORM)
        self.assertEqual(page.status, 422)
        self.assertIn("There is a mailbox named Bounces already", page.text)

    async def test_hostile(self) -> None:
        scene = await self.open()
        location = await self.add(scene, fields={**FORM, "name": "<script>alert(1)</script>", "username": '"><img>'})
        for path in (location, "/mailboxes"):
            text = (await scene.get(path)).text
            self.assertNotIn("<script>alert", text)
            self.assertNotIn("<img>", text)
        for id in ("0", "x", "9" * 30, "-1"):
            self.assertEqual((await scene.get(f"/mailboxes/{id}")).status, 404)
