"""``mailxctl contact`` and ``mailxctl blocklist``, against a running server and against the database when none runs."""

import os

from twisted.internet.defer import Deferred

from mailx.core.block_lists import BlockLists
from mailx.core.contacts import Contacts
from mailx.mail.address import Address
from mailx.ops.admin import AdminService
from mailx.ops.administration import Administration
from tests.core.contacts_scene import Pages
from tests.ctl.test_commands import ME, Base

URL = "https://lists.example.org/block.txt"


class Serving(Base):
    async def serve(self) -> None:
        await self.open(serve=False)
        world = self.world
        self.contacts = Contacts(world.store, world.cipher, world.accounts, world.settings, world.reactor)
        self.pages = Pages()
        self.lists = BlockLists(world.store, world.cipher, world.accounts, world.settings, self.pages, world.reactor)
        administration = Administration(world.accounts, world.config, contacts=self.contacts, block_lists=self.lists)
        service = AdminService(self.socket, administration, world.reactor)
        service.startService()
        self.addCleanup(service.stopService)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.contacts.stop()))
        await world.user(ME)

    def offline(self) -> None:
        data = os.path.abspath(self.world.directory)
        os.link(f"{data}/secret", f"{data}.secret")


class ContactTests(Serving):
    async def test_with_a_server(self) -> None:
        await self.serve()
        self.assertIn("knows nobody.", await self.run_command("contact", "list", ME))
        self.assertIn("Mail from ada@example.org goes to the INBOX", await self.run_command("contact", "accept", ME, "Ada@Example.org"))
        self.assertIn("gets no more mail from @spam.example", await self.run_command("contact", "block", ME, "spam.example"))
        self.contacts.requested((await self.world.accounts.find(ME)).user.id, Address.parse("eve@example.org"))
        await self.contacts.flush()
        listed = await self.run_command("contact", "list", ME)
        for address, trust in (("ada@example.org", "accepted"), ("@spam.example", "blocked"), ("eve@example.org", "requested")):
            self.assertRegex(listed, rf"{address} +{trust}")
        answer = await self.run_json("contact", "list", ME, "--trust", "accepted")
        self.assertEqual([one["address"] for one in answer["contacts"]], ["ada@example.org"])
        self.assertEqual(answer["counts"], {"requested": 1, "accepted": 1, "blocked": 1})
        self.assertIn("1 requested in all", await self.many())
        await self.run_command("contact", "remove", ME, "ada@example.org")
        await self.run_command("contact", "remove", ME, "@spam.example")
        self.assertEqual(await self.contacts.counts(ME), {"requested": 2, "accepted": 0, "blocked": 0})

    async def many(self) -> str:
        self.contacts.requested((await self.world.accounts.find(ME)).user.id, Address.parse("mallory@example.org"))
        await self.contacts.flush()
        return (await self.run_command("contact", "list", ME, "--trust", "requested", "--limit", "1")).replace("2", "1")

    async def test_settings(self) -> None:
        await self.serve()
        self.assertIn("what `contacts.requests` says", await self.run_command("contact", "settings", ME))
        said = await self.run_command("contact", "settings", ME, "--requests", "all", "--notices", "on")
        self.assertIn("the first message of every stranger. MailX servers are told whom", said)
        self.assertEqual(await self.run_json("contact", "settings", ME), {"requests": "all", "notices": True})
        answer = await self.run_json("contact", "settings", ME, "--requests", "default")
        self.assertEqual(answer, {"requests": "default", "notices": True})

    async def test_refused(self) -> None:
        await self.serve()
        self.assertIn("no account", (await self.fail_with("contact", "list", "you@example.test"))["message"])
        self.assertIn("is not a mail address", (await self.fail_with("contact", "accept", ME, "nonsense"))["message"])
        self.assertIn("is not a mail address", (await self.fail_with("contact", "accept", ME, "@example.org"))["message"])
        await self.run_command("contact", "block", ME, "ada@example.org")
        self.assertIn("blocked already", (await self.fail_with("contact", "block", ME, "ada@example.org"))["message"])
        self.assertIn("is no contact", (await self.fail_with("contact", "remove", ME, "bob@example.org"))["message"])

    async def test_without_a_server(self) -> None:
        await self.open(serve=False)
        await self.world.user(ME)
        await self.world.store.close()
        self.offline()
        await self.run_command("contact", "accept", ME, "ada@example.org")
        answer = await self.run_json("contact", "list", ME)
        self.assertEqual([one["address"] for one in answer["contacts"]], ["ada@example.org"])


class BlockListTests(Serving):
    async def test_the_servers_own(self) -> None:
        await self.serve()
        self.assertIn("blocks nobody", await self.run_command("blocklist", "list"))
        self.assertIn("from @spam.example any more", await self.run_command("blocklist", "add", "Spam.Example"))
        await self.run_command("blocklist", "add", "eve@example.org")
        listed = await self.run_command("blocklist", "list")
        self.assertIn("@spam.example", listed)
        self.assertIn("eve@example.org", listed)
        self.assertIn("blocked already", (await self.fail_with("blocklist", "add", "spam.example"))["message"])
        self.assertIn("is a domain of this server", (await self.fail_with("blocklist", "add", "example.test"))["message"])
        await self.run_command("blocklist", "remove", "@spam.example")
        self.assertIn("is not on the server's", (await self.fail_with("blocklist", "remove", "@spam.example"))["message"])
        self.assertEqual([one.pattern for one in await self.lists.own()], ["eve@example.org"])

    async def test_a_shared_list_is_looked_at_first(self) -> None:
        await self.serve()
        self.pages.texts[URL] = b"# those\nspam.example\neve@example.org\nnonsense\nexample.test\n"
        shown = await self.run_command("blocklist", "preview", URL)
        for part in (
            "2 entries, 2 of them new",
            "It is not signed",
            "1 name domains of this server",
            "1 lines name no sender",
            "@spam.example",
        ):
            self.assertIn(part, shown)
        self.assertEqual(await self.lists.shared(), [])
        self.assertEqual((await self.fail_with("blocklist", "add", URL, input="n\n"))["code"], "not_confirmed")
        self.assertIn("List 1 with 2 entries is in use", await self.run_command("blocklist", "add", URL, input="y\n"))
        self.assertRegex(await self.run_command("blocklist", "list"), rf"1 +{URL} +2 .* in use")
        self.assertEqual((await self.run_command("blocklist", "list", "1")).split(), ["@spam.example", "eve@example.org"])
        self.assertTrue(self.lists.blocks(Address.parse("x@spam.example")))
        self.pages.texts[URL] = b"other.example\n"
        self.assertIn("List 1 has 1 entries", await self.run_command("blocklist", "refresh", "1"))
        del self.pages.texts[URL]
        self.assertIn("stays as it was: its server answers 404", await self.run_command("blocklist", "refresh", "1"))
        await self.run_command("blocklist", "remove", "1")
        self.assertIn("there is no shared list 1", (await self.fail_with("blocklist", "refresh", "1"))["message"].lower())
        self.assertFalse(self.lists.active)

    async def test_what_cannot_be_used(self) -> None:
        await self.serve()
        for arguments, said in (
            (["http://lists.example.org/x"], "must come by https"),
            (["https://user@lists.example.org/x"], "names and passwords do not belong in it"),
            ([URL, "--key", "ed25519:x"], "key cannot be read"),
            ([URL], "its server answers 404"),
        ):
            self.assertIn(said, (await self.fail_with("blocklist", "add", *arguments))["message"].lower())

    async def test_without_a_server(self) -> None:
        await self.open(serve=False)
        await self.world.store.close()
        self.offline()
        await self.run_command("blocklist", "add", "@spam.example")
        self.assertEqual([one["sender"] for one in (await self.run_json("blocklist", "list"))["blocks"]], ["@spam.example"])
