"""The pages of the keys of domains and users."""

import re
from typing import Any

from mailx.core.key_backup import KeyBackup
from mailx.core.signing import Signing
from mailx.core.user_keys import CLIENT
from mailx.identity import key_backup, passphrase_file, recovery_keys
from mailx.identity.encoding import key_text
from mailx.web.panel.pages.domain_keys import DomainKeyPages
from mailx.web.panel.pages.domains import Domains
from tests.core.keys import Ring, ring
from tests.scenery import DOMAIN
from tests.web.scene import PagesTest, scene_of

PASSPHRASE = "correct horse"
MARKUP = "<script>alert(1)</script>"
PAGE = f"/domains/{DOMAIN}/keys"


class Base(PagesTest):
    keys: Ring

    async def open(self) -> None:
        self.patch(passphrase_file, "_PASSES", 1)
        self.patch(passphrase_file, "_MEMORY", 8192)
        self.keys = made = await ring(self)
        backup = KeyBackup(made.domains, made.world.reactor)
        signing = Signing(made.world.store, made.world.cipher, made.world.accounts, made.world.reactor)
        parts: dict[str, Any] = {"signing": signing, "domain_keys": made.domains, "user_keys": made.users, "key_backup": backup}
        self.scene = await scene_of(self, in_world=made.world, pages=[Domains, DomainKeyPages], parts=parts)

    async def actions(self) -> list[tuple[str, str]]:
        return [(entry.action, entry.target) for entry in await self.scene.parts.audit.list() if not entry.action.startswith("admin.")]

    @property
    def public(self) -> str:
        return key_text(self.keys.domains.signer(DOMAIN).public)


class Pages(Base):
    async def test_all_domains_and_one(self) -> None:
        await self.open()
        await self.keys.world.accounts.add_domain("keyless.test")
        page = await self.get("/domain-keys")
        self.assertIn(self.public, page.text)
        self.assertIn("no key", page.text)
        page = await self.get(PAGE)
        for text in (self.public, "v=mailx1; key=", "the first key", f"https://{DOMAIN}/.well-known/mailx-server"):
            self.assertIn(text, page.text)
        self.assertEqual((await self.scene.get("/domains/elsewhere.test/keys")).status, 404)
        self.assertEqual((await self.scene.get("/domains/keyless.test/keys")).status, 404)

    async def test_rotate(self) -> None:
        await self.open()
        before = self.public
        page = await self.done(f"{PAGE}/rotate")
        self.assertNotEqual(self.public, before)
        for text in (self.public, before, "announced by the key before", "until "):
            self.assertIn(text, page.text)
        self.assertEqual(await self.actions(), [("keys.rotate", DOMAIN)])

    async def test_a_new_recovery_key_is_shown_once(self) -> None:
        await self.open()
        page = await self.post(f"{PAGE}/recovery")
        self.assertEqual(page.status, 422)
        page = await self.post(f"{PAGE}/recovery", before=self.keys.recovery)
        self.assertEqual(page.status, 200, page.text)
        (text,) = set(re.findall(r"mailx-recovery-1(?:-[A-Z2-7]{4})+", page.text))
        self.assertNotIn(text, (await self.get(PAGE)).text)
        self.assertEqual(recovery_keys.read(text).public, self.keys.domains.history(DOMAIN)[-1].recovery)
        page = await self.post(f"{PAGE}/recovery", unproved="yes")
        self.assertEqual(page.status, 200)
        self.assertIn("Still good beside it", (await self.get(PAGE)).text)

    async def test_recover(self) -> None:
        await self.open()
        before = self.public
        for fields in (
            {"recovery_key": self.keys.recovery},
            {"recovery_key": self.keys.recovery, "confirm": "other.test"},
            {"recovery_key": MARKUP, "confirm": DOMAIN},
            {"recovery_key": recovery_keys.generate(), "confirm": DOMAIN},
            {"confirm": DOMAIN},
        ):
            page = await self.post(f"{PAGE}/recover", **fields)
            self.assertEqual(page.status, 422)
            self.assertNotIn(MARKUP, page.text)
            self.assertNotIn(self.keys.recovery, page.text)  # what was typed is not shown again
        self.assertEqual((self.public, await self.actions()), (before, []))
        page = await self.done(f"{PAGE}/recover", recovery_key=self.keys.recovery, confirm=DOMAIN.upper())
        self.assertIn("those before are revoked", page.text)
        self.assertNotEqual(self.public, before)
        self.assertEqual(await self.actions(), [("keys.recover", DOMAIN)])

    async def test_a_backup_is_a_file_and_a_row_of_the_audit_log(self) -> None:
        await self.open()
        for fields in ({"passphrase": "short", "again": "short"}, {"passphrase": PASSPHRASE, "again": "another one"}, {}):
            self.assertEqual((await self.post("/domain-keys/backup", **fields)).status, 422)
        page = await self.post("/domain-keys/backup", passphrase=PASSPHRASE, again=PASSPHRASE)
        self.assertEqual(page.status, 200)
        (saved,) = key_backup.open_file(page.text.encode(), PASSPHRASE)
        self.assertEqual(saved.history, self.keys.domains.history(DOMAIN))
        self.assertEqual([action for action, _ in await self.actions()], ["keys.backup"])

    async def test_keys_of_users(self) -> None:
        await self.open()
        user = await self.keys.world.user(f"me@{DOMAIN}")
        await self.keys.users.bind(user.id, b"s" * 32, b"S" * 32, CLIENT)
        await self.keys.users.bind(user.id, b"t" * 32, b"S" * 32, CLIENT)
        page = await self.get(f"/user-keys?address=me%40{DOMAIN}")
        for text in ("former", "good until", "the owner’s own program"):
            self.assertIn(text, page.text)
        self.assertIn("has no keys", (await self.get("/user-keys?address=nobody%40example.net")).text)
        await self.get("/user-keys")
        page = await self.scene.get(f"/user-keys?address={MARKUP}")
        self.assertNotIn(MARKUP, page.text)
        self.assertLess(page.status, 500)


class NewDomain(Base):
    async def test_its_recovery_key_is_shown_with_it(self) -> None:
        await self.open()
        page = await self.post("/domains/add", name="Second.Test")
        self.assertEqual(page.status, 200, page.text)
        (text,) = set(re.findall(r"mailx-recovery-1(?:-[A-Z2-7]{4})+", page.text))
        self.assertEqual(recovery_keys.read(text).public, self.keys.domains.history("second.test")[0].recovery)
        self.assertEqual(await self.actions(), [("domain.add", "second.test")])
        self.assertEqual((await self.post("/domains/add", name="second.test")).status, 422)

    async def test_one_that_comes_back_has_its_keys_still(self) -> None:
        await self.open()
        public = self.public
        await self.done(f"/domains/{DOMAIN}/delete", confirm=DOMAIN)
        page = await self.done("/domains/add", name=DOMAIN)
        self.assertNotIn("mailx-recovery", page.text)
        self.assertEqual(self.public, public)
