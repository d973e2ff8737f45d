"""The pages of contacts and of block lists."""

import re
from typing import Any

from twisted.internet.defer import Deferred

from mailx.core.block_lists import BlockLists
from mailx.core.contacts import Contacts
from mailx.mail.address import Address
from mailx.web.panel.pages.block_lists import BlockLists as BlockListsPage
from mailx.web.panel.pages.contacts import PAGE
from mailx.web.panel.pages.contacts import Contacts as ContactsPage
from tests.core.contacts_scene import Pages
from tests.scenery import World, world
from tests.web.scene import PagesTest, scene_of

ME = "me@example.test"
PATH = f"/accounts/{ME}/contacts"
URL = "https://lists.example.org/block.txt"


class Base(PagesTest):
    async def open(self) -> World:
        made = await world(self)
        self.contacts = Contacts(made.store, made.cipher, made.accounts, made.settings, made.reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.contacts.stop()))
        self.pages = Pages()
        self.lists = BlockLists(made.store, made.cipher, made.accounts, made.settings, self.pages, made.reactor)
        self.user = await made.user(ME)
        parts: dict[str, Any] = {"contacts": self.contacts, "block_lists": self.lists}
        self.scene = await scene_of(self, pages=[ContactsPage, BlockListsPage], in_world=made, parts=parts)
        return made


class OfContacts(Base):
    async def test_life(self) -> None:
        await self.open()
        self.assertIn("Nobody here", (await self.get(PATH)).text)
        self.assertIn("ada@example.org goes to the INBOX", (await self.done(f"{PATH}/accept", contact="Ada@example.org")).text)
        self.assertIn("chosen", (await self.get(PATH)).text)
        self.assertIn("no more mail from @spam.example", (await self.done(f"{PATH}/block", contact="@spam.example")).text)
        page = await self.get(f"{PATH}?trust=blocked")
        self.assertIn("@spam.example", page.text)
        self.assertIn("Unblock", page.text)
        await self.done(f"{PATH}/remove", contact="@spam.example")
        await self.done(f"{PATH}/block", contact="ada@example.org")
        self.assertEqual(await self.contacts.counts(ME), {"requested": 0, "accepted": 0, "blocked": 1})

    async def test_requests_are_decided(self) -> None:
        await self.open()
        self.contacts.requested(self.user.id, Address.parse("eve@example.org"))
        await self.contacts.flush()
        page = await self.get(f"{PATH}?trust=requested")
        self.assertIn("Accept eve@example.org", page.text)
        await self.done(f"{PATH}/accept", contact="eve@example.org")
        self.assertNotIn("eve@", (await self.get(f"{PATH}?trust=requested")).text)

    async def test_many(self) -> None:
        await self.open()
        noted = self.contacts.wrote(self.user.id, [Address.parse(f"a{number}@example.org") for number in range(PAGE + 5)])
        assert noted is not None
        await noted
        page = await self.get(PATH)
        older = next(part.split('"')[0].replace("&amp;", "&") for part in page.text.split('href="') if "after=" in part.split('"')[0])
        first, second = (set(re.findall(r"Forget (a\d+@example.org)", text)) for text in (page.text, (await self.get(older)).text))
        self.assertEqual((len(first), len(second), len(first | second)), (PAGE, 5, PAGE + 5))

    async def test_settings(self) -> None:
        await self.open()
        self.assertIn("as configured: strangers’ mail by federation", (await self.get(PATH)).text)
        await self.done(f"{PATH}/settings", requests="all", notices="yes")
        wanted = await self.contacts.wanted(ME)
        self.assertEqual((wanted.requests, wanted.notices), ("all", True))
        await self.done(f"{PATH}/settings", requests="default")
        wanted = await self.contacts.wanted(ME)
        self.assertEqual((wanted.requests, wanted.notices), ("", False))
        self.assertEqual((await self.post(f"{PATH}/settings", requests="some")).status, 422)

    async def test_refused(self) -> None:
        await self.open()
        page = await self.post(f"{PATH}/accept", contact="nonsense")
        self.assertEqual(page.status, 422)
        self.assertIn("is not a mail address", page.text)
        await self.get("/accounts/you@example.test/contacts", status=404)

    async def test_addresses_break_out_of_nothing(self) -> None:
        await self.open()
        hostile = '"<script>alert(1)</script>"@example.org'
        self.contacts.requested(self.user.id, Address.parse(hostile))
        await self.contacts.flush()
        page = await self.get(PATH)
        self.assertNotIn("<script>alert", page.text)
        self.assertIn("&lt;script&gt;", page.text)


class OfBlockLists(Base):
    async def test_own(self) -> None:
        await self.open()
        self.assertIn("blocks nobody", (await self.get("/blocklists")).text)
        self.assertIn("gets mail from @spam.example any more", (await self.done("/blocklists/block", sender="spam.example")).text)
        self.assertTrue(self.lists.blocks(Address.parse("x@spam.example")))
        self.assertEqual((await self.post("/blocklists/block", sender="example.test")).status, 422)
        self.assertIn("may write", (await self.done("/blocklists/unblock", sender="@spam.example")).text)

    async def test_a_shared_list_is_shown_before_it_is_used(self) -> None:
        await self.open()
        self.pages.texts[URL] = b"spam.example\n<b>\n"
        page = await self.post("/blocklists/preview", url=URL)
        self.assertEqual(page.status, 200)
        self.assertIn("@spam.example", page.text)
        self.assertEqual(await self.lists.shared(), [])
        digest = page.text.split('name="digest" value="')[1].split('"')[0]
        self.pages.texts[URL] = b"other.example\n"
        page = await self.post("/blocklists/add", url=URL, digest=digest)
        self.assertIn("has changed since its preview", page.text)
        self.pages.texts[URL] = b"spam.example\n<b>\n"
        self.assertIn("is in use", (await self.done("/blocklists/add", url=URL, digest=digest)).text)
        self.assertIn("@spam.example", (await self.get("/blocklists/1")).text)
        del self.pages.texts[URL]
        self.assertIn("its server answers 404", (await self.done("/blocklists/refresh", id="1")).text)
        self.assertIn("not used any more", (await self.done("/blocklists/remove", id="1")).text)
        await self.get("/blocklists/1", status=404)
        await self.get("/blocklists/x", status=404)

    async def test_what_cannot_be_used(self) -> None:
        await self.open()
        for url in ("http://lists.example.org/", "nonsense", URL):
            self.assertEqual((await self.post("/blocklists/preview", url=url)).status, 422, url)
