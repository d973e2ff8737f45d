"""The pages of accounts, their block lists, and aliases."""

import re
from typing import Any
from urllib.parse import quote

from twisted.internet.task import deferLater

from mailx.core.users import DirectoryError
from mailx.web.panel import errands
from mailx.web.panel.pages.account_life import AccountLife
from mailx.web.panel.pages.accounts import Accounts
from mailx.web.panel.pages.aliases import Aliases
from mailx.web.panel.pages.blocks import Blocks
from tests.core.lives_scene import lives
from tests.scenery import DOMAIN, World, world
from tests.web.browser import Page
from tests.web.scene import PagesTest, scene_of

BOB = f"bob@{DOMAIN}"
MARKUP = "<script>alert(1)</script>"


class Base(PagesTest):
    world: World

    async def open(self, **sections: Any) -> None:
        made = await world(self, **sections)
        self.lives = lives(self, made)
        parts = {"lifecycle": self.lives.lifecycle, "person": self.lives.person}
        self.scene = await scene_of(self, pages=[Accounts, AccountLife, Blocks, Aliases], in_world=made, parts=parts)
        self.world = self.scene.world

    async def wrong(self, path: str, text: str, **fields: Any) -> Page:
        page = await self.post(path, **fields)
        self.assertEqual(page.status, 422, page.text)
        self.assertIn(text, page.text)
        return page

    async def actions(self) -> list[tuple[str, str]]:
        return [(entry.action, entry.target) for entry in await self.scene.parts.audit.list() if not entry.action.startswith("admin.")]

    async def logs_in(self, address: str, password: str) -> bool:
        found = await self.world.accounts.find(address)
        user, verifiers = await self.world.accounts.verifiers("", found.user.address)
        return user is not None and await self.world.passwords.verify(verifiers.bcrypt, password)


class Making(Base):
    async def test_with_a_password_that_was_typed(self) -> None:
        await self.open()
        await self.get("/accounts/add")
        page = await self.done(
            "/accounts/add", address=BOB, password="open sesame", again="open sesame", role="owner", quota="own", size="5 GB"
        )
        self.assertIn(f"{BOB} was added", page.text)
        self.assertNotIn("open sesame", page.text)
        details = await self.world.accounts.find(BOB)
        self.assertEqual((details.user.role, details.own_quota), ("owner", 5 << 30))
        self.assertTrue(await self.logs_in(BOB, "open sesame"))
        self.assertEqual(await self.actions(), [("user.add", BOB)])

    async def test_a_generated_password_is_shown_once(self) -> None:
        await self.open()
        page = await self.post("/accounts/add", address=BOB, role="", quota="default")
        self.assertEqual(page.status, 200)
        found = re.search(r"<code tabindex=\"0\">([a-z2-9-]{23})</code>", page.text)
        assert found is not None
        self.assertEqual(page.headers["cache-control"], "no-store")
        self.assertTrue(await self.logs_in(BOB, found[1]))
        self.assertNotIn(found[1], (await self.get(f"/accounts/{BOB}")).text)
        self.assertNotIn(found[1], str(await self.scene.parts.audit.list()))

    async def test_wrong_forms(self) -> None:
        await self.open()
        typed = {"password": "a secret", "again": "a secret", "role": "", "quota": "default"}
        await self.wrong("/accounts/add", "Fill this in", **typed)
        await self.wrong("/accounts/add", "not a name for an account", **{**typed, "address": f"a b@{DOMAIN}".replace(" ", "+")})
        page = await self.wrong("/accounts/add", "is not a mail address", **{**typed, "address": f"{MARKUP}@{DOMAIN}"})
        self.assertNotIn(MARKUP, page.text)
        await self.wrong("/accounts/add", "There is no domain", **{**typed, "address": "bob@nowhere.example"})
        page = await self.wrong("/accounts/add", "not the same", **{**typed, "address": BOB, "again": "another"})
        self.assertNotIn("a secret", page.text)
        self.assertIn(BOB, page.text)
        await self.wrong("/accounts/add", "not the same", **{**typed, "address": BOB, "password": ""})
        await self.wrong("/accounts/add", "leave the size empty", **{**typed, "address": BOB, "size": "5 GB"})
        await self.wrong("/accounts/add", "Choose one of the list", **{**typed, "address": BOB, "role": "emperor"})
        for size in ("", "0", "-1", "many", "1e9", "9" * 30):
            await self.wrong("/accounts/add", "Give a size", **{**typed, "address": BOB, "quota": "own", "size": size})
        self.assertEqual(await self.actions(), [])

    async def test_taken(self) -> None:
        await self.open()
        await self.world.user(BOB)
        await self.wrong("/accounts/add", "is taken", address=BOB, role="", quota="default")


class Listing(Base):
    async def fill(self, count: int) -> None:
        first = await self.world.user(f"a000@{DOMAIN}")
        sql = (
            "INSERT INTO accounts (domain_id, local, role, credentials, credentials_guid, created)"
            " SELECT domain_id, ?, role, credentials, credentials_guid, created FROM accounts WHERE id = ?"
        )
        await self.world.store.write(lambda txn: txn.executemany(sql, [(f"a{n:03}", first.id) for n in range(1, count)]))

    async def test_pages(self) -> None:
        await self.open()
        await self.fill(120)
        await self.world.user("aaa@zzz.example")
        seen: list[str] = []
        path = "/accounts"
        for _ in range(3):
            page = await self.get(path)
            seen += re.findall(r'href="/accounts/([^"?/]+@[^"?/]+)"', page.text)
            found = re.search(r'href="(/accounts\?after=[^"]+)" rel="next"', page.text)
            if found is None:
                break
            path = found[1]
        self.assertEqual(seen, [f"a{n:03}@{DOMAIN}" for n in range(120)] + ["aaa@zzz.example"])
        self.assertLess(len(page.body), 100_000)

    async def test_filters(self) -> None:
        await self.open()
        await self.fill(30)
        await self.world.accounts.set_state(f"a007@{DOMAIN}", "suspended")
        for query, shown, hidden in (
            ("text=A01", "a010", "a020"),
            (f"text=a017@{DOMAIN}", "a017", "a018"),
            (f"domain={DOMAIN}&state=suspended", "a007", "a008"),
            ("role=admin", "a000", "zzz"),
        ):
            page = await self.get(f"/accounts?{query}")
            self.assertIn(f">{shown}@{DOMAIN}</a>", page.text, query)
            self.assertNotIn(f">{hidden}@{DOMAIN}</a>", page.text, query)
        for query in ("text=%25", "text=_", "role=owner", "text=%27", "domain=nowhere.example"):
            self.assertIn("No account fits", (await self.get(f"/accounts?{query}")).text, query)
        await self.get("/accounts?role=emperor", 400)
        await self.get(f"/accounts?text={'a' * 400}", 400)
        self.assertNotIn(MARKUP, (await self.get(f"/accounts?text={quote(MARKUP)}&after={quote(MARKUP)}")).text)

    async def test_nobody_yet(self) -> None:
        await self.open()
        self.assertIn("There are no accounts yet", (await self.get("/accounts")).text)

    async def test_large_directories_are_searched_in_time(self) -> None:
        await self.open()
        await self.fill(1000)
        found = await self.world.accounts.catalogue.aliases(text="nothing")
        self.assertEqual(found.items, ())
        page = await self.get("/accounts?text=a999")
        self.assertIn("a999@", page.text)


class Changing(Base):
    async def open_bob(self, **sections: Any) -> str:
        await self.open(**sections)
        await self.world.user(f"ada@{DOMAIN}")
        await self.world.user(BOB)
        return f"/accounts/{BOB}"

    async def test_everything_of_one(self) -> None:
        path = await self.open_bob()
        await self.world.accounts.add_alias(f"robert@{DOMAIN}", [BOB])
        page = await self.get(path)
        self.assertIn(f"robert@{DOMAIN}", page.text)
        self.assertIn("7 folders", page.text)
        await self.get(f"/accounts/nobody@{DOMAIN}", 404)
        await self.get("/accounts/%3Cb%3E", 400)

    async def test_password(self) -> None:
        path = await self.open_bob()
        await self.done(f"{path}/password", password="new one", again="new one")
        self.assertTrue(await self.logs_in(BOB, "new one"))
        page = await self.post(f"{path}/password")
        found = re.search(r"<code tabindex=\"0\">([a-z2-9-]{23})</code>", page.text)
        assert found is not None
        self.assertTrue(await self.logs_in(BOB, found[1]))
        await self.wrong(f"{path}/password", "not the same", password="x", again="y")
        page = await self.wrong(f"{path}/password", "control", password="bad\x07one", again="bad\x07one")
        self.assertEqual(await self.actions(), [("user.password", BOB)] * 2)

    async def test_quota(self) -> None:
        path = await self.open_bob()
        await self.world.deliver(BOB, b"Subject: x\r\n\r\n" + b"x" * 5000)
        page = await self.done(f"{path}/quota", quota="own", size="1KB")
        self.assertIn("It uses more already", page.text)
        self.assertEqual((await self.world.accounts.find(BOB)).own_quota, 1024)
        self.assertIn('value="1 KB"', page.text)
        await self.done(f"{path}/quota", quota="unlimited")
        self.assertEqual((await self.world.accounts.find(BOB)).own_quota, 0)
        await self.done(f"{path}/quota", quota="default")
        self.assertIsNone((await self.world.accounts.find(BOB)).own_quota)
        await self.wrong(f"{path}/quota", "Choose one of the list", quota="huge")

    async def test_role_and_state(self) -> None:
        path = await self.open_bob()
        await self.done(f"{path}/role", role="owner")
        await self.wrong(f"{path}/role", "Choose one of the list", role="")
        page = await self.done(f"{path}/suspend")
        self.assertIn("suspended", page.text)
        self.assertFalse((await self.world.accounts.find(BOB)).user.active)
        await self.done(f"{path}/resume")
        details = await self.world.accounts.find(BOB)
        self.assertEqual((details.user.role, details.user.active), ("owner", True))
        self.assertEqual(len(await self.actions()), 3)

    async def test_delete(self) -> None:
        path = await self.open_bob()
        await self.world.accounts.add_alias(f"only@{DOMAIN}", [BOB])
        await self.world.accounts.add_alias(f"both@{DOMAIN}", [BOB, f"ada@{DOMAIN}"])
        await self.world.accounts.add_alias(f"away@{DOMAIN}", [BOB, "eve@example.org"])
        await self.world.accounts.block(BOB, "spam@example.org")
        await self.world.deliver(BOB, b"Subject: x\r\n\r\nx")
        page = await self.get(f"{path}/delete")
        for text in ("1 message in 7 folders", "1 blocked sender", "1 alias", f"only@{DOMAIN}"):
            self.assertIn(text, page.text)
        self.assertNotIn(f"both@{DOMAIN}", page.text)
        self.assertNotIn(f"away@{DOMAIN}", page.text)
        await self.wrong(f"{path}/delete", f"Type {BOB} to confirm", confirm="bob")
        page = await self.done(f"{path}/delete", confirm=BOB)
        self.assertIn("was deleted. It can be had back", page.text)
        self.assertEqual((await self.world.accounts.find(BOB)).user.state, "deleted")
        self.assertIn("Have it back", (await self.get(path)).text)
        self.assertIn("deleted", (await self.get("/accounts?state=deleted")).text)
        page = await self.done(f"{path}/restore")
        self.assertIn("is active again", page.text)
        await self.wrong(f"{path}/restore", "is not deleted")
        await self.wrong(f"{path}/erase", f"Type {BOB} to confirm", confirm="bob")
        self.assertEqual(await self.actions(), [("user.restore", BOB), ("user.delete", BOB)])
        page = await self.done(f"{path}/erase", confirm=BOB)
        self.assertIn("were erased", page.text)
        with self.assertRaises(DirectoryError):
            await self.world.accounts.find(BOB)
        self.assertEqual([action for action, _ in await self.actions()], ["user.erase", "user.restore", "user.delete"])
        self.assertNotIn(BOB, repr(await self.actions()))
        self.assertEqual((await self.post(f"{path}/erase", confirm=BOB)).status, 404)

    async def test_retention(self) -> None:
        path = await self.open_bob()
        await self.done(f"{path}/retention", days="90")
        self.assertEqual((await self.world.accounts.find(BOB)).retention, 90)
        await self.done(f"{path}/retention", days="")
        self.assertEqual((await self.world.accounts.find(BOB)).retention, None)
        for wrong in ("soon", "-1", "40000"):
            self.assertEqual((await self.post(f"{path}/retention", days=wrong)).status, 422)

    async def test_export(self) -> None:
        path = await self.open_bob()
        await self.world.deliver(BOB, b"Subject: x\r\n\r\nx")
        page = await self.post(f"{path}/export")
        self.assertEqual((page.status, page.headers["content-type"]), (200, "application/x-tar"))
        self.assertIn("account.json", page.text)
        self.assertEqual(await self.actions(), [("user.export", BOB)])

    async def test_the_owner_was_warned(self) -> None:
        path = await self.open_bob()
        await self.world.accounts.set_quota(BOB, 100_000)
        await self.world.file((await self.world.accounts.find(BOB)).user, b"Subject: x\r\n\r\n" + b"x" * 87_000)
        await self.lives.warnings.look()
        self.assertIn("over 90 %", (await self.get(path)).text)

    async def test_deleting_much_goes_on_behind_the_answer(self) -> None:
        path = await self.open_bob()
        self.patch(errands, "PATIENCE", 0.01)
        finish = self.world.accounts._finish_erasure

        async def slow(id: int) -> None:
            await deferLater(self.world.reactor, 0.1)
            await finish(id)

        self.patch(self.world.accounts, "_finish_erasure", slow)
        page = await self.done(f"{path}/erase", confirm=BOB)
        self.assertIn("goes on for a while", page.text)
        await self.scene.panel.stop()
        rows = await self.world.store.read(lambda txn: txn.all("SELECT 1 FROM accounts WHERE state = 'erased'"))
        self.assertEqual(rows, [])
        self.assertEqual([action for action, _ in await self.actions()], ["user.erase"])

    async def test_several(self) -> None:
        await self.open_bob()
        chosen = [BOB, f"ada@{DOMAIN}", BOB]
        page = await self.post("/accounts/ask", do="suspend", address=chosen)
        self.assertEqual(page.status, 200)
        self.assertIn("Suspend 2 accounts", page.text)
        self.assertEqual(await self.actions(), [])
        page = await self.done("/accounts/suspend", address=[*chosen, f"gone@{DOMAIN}"])
        self.assertIn("2 accounts are suspended. 1 did not exist", page.text)
        self.assertEqual(sorted(await self.actions()), [("user.state", f"ada@{DOMAIN}"), ("user.state", BOB)])
        page = await self.done("/accounts/resume", address=[BOB])
        self.assertIn("1 account is active", page.text)

    async def test_several_wrong(self) -> None:
        await self.open_bob()
        await self.wrong("/accounts/ask", "No account was ticked", do="suspend")
        await self.wrong("/accounts/ask", "Nothing was changed", do="explode", address=[BOB])
        await self.wrong("/accounts/suspend", "At most 200", address=[f"u{n}@{DOMAIN}" for n in range(201)])
        page = await self.post("/accounts/ask", do="suspend", address=[MARKUP])
        self.assertNotIn(MARKUP, page.text)
        await self.wrong("/accounts/suspend", "None of these accounts", address=[f"gone@{DOMAIN}"])
        self.assertEqual(await self.actions(), [])


class Blocking(Base):
    async def test_list(self) -> None:
        await self.open()
        await self.world.user(BOB)
        path = f"/accounts/{BOB}/blocks"
        self.assertIn("Nobody is blocked", (await self.get(path)).text)
        page = await self.done(f"{path}/add", sender="Spam@Example.org")
        self.assertIn("spam@example.org", page.text)
        await self.wrong(f"{path}/add", "is taken", sender="spam@example.org")
        await self.wrong(f"{path}/add", "is not a", sender=MARKUP)
        await self.done(f"{path}/delete", sender="spam@example.org")
        self.assertEqual(await self.world.accounts.blocks(BOB), [])
        await self.wrong(f"{path}/delete", "There is no block", sender="spam@example.org")
        self.assertEqual([action for action, _ in await self.actions()], ["block.delete", "block.add"])

    async def test_pages(self) -> None:
        await self.open()
        await self.world.user(BOB)
        for number in range(120):
            await self.world.accounts.block(BOB, f"s{number:03}@example.org")
        path = f"/accounts/{BOB}/blocks"
        first = await self.get(path)
        self.assertIn("s099@", first.text)
        self.assertNotIn("s100@", first.text)
        for number in ("2", "9", "999999"):
            self.assertIn("s119@", (await self.get(f"{path}?page={number}")).text)


class AliasPages(Base):
    async def test_a_life(self) -> None:
        await self.open()
        await self.world.user(BOB)
        self.assertIn("There are no aliases yet", (await self.get("/aliases")).text)
        page = await self.done("/aliases/add", alias=f"Sales@{DOMAIN}", targets=f"{BOB}\r\n eve@example.org, {BOB}\n\n")
        self.assertIn(f"sales@{DOMAIN}", page.text)
        self.assertIn("(elsewhere)", page.text)
        page = await self.get(f"/aliases/edit?alias=sales@{DOMAIN}")
        self.assertIn(f"{BOB}\neve@example.org", page.text)
        await self.done("/aliases/edit", alias=f"sales@{DOMAIN}", targets=BOB)
        alias = await self.world.accounts.catalogue.alias(f"sales@{DOMAIN}")
        self.assertEqual([str(target) for target in alias.targets], [BOB])
        await self.done("/aliases/delete", alias=f"sales@{DOMAIN}")
        self.assertEqual(await self.world.accounts.aliases(), [])
        self.assertEqual([action for action, _ in await self.actions()], ["alias.delete", "alias.change", "alias.add"])

    async def test_wrong(self) -> None:
        await self.open()
        await self.world.user(BOB)
        await self.wrong("/aliases/add", "Name at least one", alias=f"x@{DOMAIN}")
        await self.wrong("/aliases/add", "There is no account", alias=f"x@{DOMAIN}", targets=f"nobody@{DOMAIN}")
        await self.wrong("/aliases/add", "is not a mail address", alias=f"x@{DOMAIN}", targets=MARKUP)
        await self.wrong("/aliases/add", "at most 100", alias=f"x@{DOMAIN}", targets="\n".join(f"u{n}@example.org" for n in range(101)))
        await self.wrong("/aliases/add", "is taken", alias=BOB, targets=BOB)
        page = await self.post("/aliases/edit", alias=f"none@{DOMAIN}", targets=BOB)
        self.assertEqual(page.status, 404)
        await self.get(f"/aliases/edit?alias=none@{DOMAIN}", 404)
        await self.get("/aliases/edit", 400)
        self.assertEqual(await self.actions(), [])

    async def test_names_may_hold_anything(self) -> None:
        await self.open()
        await self.world.user(BOB)
        name = f'"a/b?c=d&<i>"@{DOMAIN}'
        page = await self.done("/aliases/add", alias=name, targets=BOB)
        self.assertNotIn("<i>", page.text)
        (found,) = re.findall(r'href="(/aliases/edit\?alias=[^"]+)"', page.text)
        page = await self.get(found)
        self.assertIn("&lt;i&gt;", page.text)
        await self.done("/aliases/delete", alias=name)
        self.assertEqual(await self.world.accounts.aliases(), [])

    async def test_pages_and_filters(self) -> None:
        await self.open()
        await self.world.user(BOB)
        for number in range(60):
            await self.world.accounts.add_alias(f"n{number:02}@{DOMAIN}", [BOB])
        page = await self.get("/aliases")
        self.assertIn(f"n49@{DOMAIN}", page.text)
        self.assertNotIn(f"n50@{DOMAIN}", page.text)
        (following,) = re.findall(r'href="([^"]+)" rel="next"', page.text)
        self.assertIn(f"n59@{DOMAIN}", (await self.get(following)).text)
        self.assertIn(f"n33@{DOMAIN}", (await self.get("/aliases?text=N33")).text)
        self.assertIn("No alias fits", (await self.get("/aliases?text=%25&domain=other.example")).text)

    async def test_catch_all(self) -> None:
        await self.open()
        await self.world.user(BOB)
        page = await self.done("/aliases/add", alias=f"*@{DOMAIN}", targets=BOB)
        self.assertIn("catches the rest", page.text)
