"""The page about what opens an account, and the password form of one that is sealed."""

import re
from time import time
from typing import Any

from mailx.core.client_keys import ClientKeys
from mailx.core.sasl import LoginRefused
from mailx.identity.encoding import canonical
from mailx.identity.enrolment import requested
from mailx.identity.user_key_file import UserKeyFile
from mailx.web.panel.pages.accounts import Accounts
from mailx.web.panel.pages.secrets import Secrets
from tests.core.owners_scene import ADDRESS, PASSWORD, owners
from tests.web.browser import Page
from tests.web.scene import PagesTest, scene_of

PATH = f"/accounts/{ADDRESS}"


class OfAnAccount(PagesTest):
    """From ordinary to sealed and back."""

    async def setUp(self) -> None:
        self.here = await owners(self)
        clients = ClientKeys(self.here.world.accounts, self.here.ring.users)
        parts = {"sealed_accounts": self.here.sealed, "app_passwords": self.here.apps, "client_keys": clients}
        self.scene = await scene_of(self, pages=[Accounts, Secrets], in_world=self.here.world, parts=parts)
        self.user = await self.here.world.user(ADDRESS)

    async def wrong(self, path: str, text: str, **fields: Any) -> Page:
        page = await self.post(path, **fields)
        self.assertIn(page.status, (409, 422))
        self.assertIn(text, page.text)
        return page

    def secret(self, page: Page) -> str:
        """The secret that the page shows."""
        found = re.search(r"((?:[a-z2-9]{5}-){4,7}[a-z2-9]{5})", page.text)
        self.assertIsNotNone(found, page.text)
        assert found is not None
        return found[1]

    async def test_sealing(self) -> None:
        self.assertIn(f"{PATH}/secrets", (await self.get(PATH)).text)
        self.assertIn("Not sealed", (await self.get(f"{PATH}/secrets")).text)
        await self.wrong(f"{PATH}/secrets/seal", "not the password", password="no")
        code = self.secret(await self.post(f"{PATH}/secrets/seal", password=PASSWORD))
        page = await self.get(f"{PATH}/secrets")
        self.assertIn("Recovery code", page.text)
        self.assertNotIn(code, page.text)
        await self.wrong(f"{PATH}/password", "sealed under its password", password="new", again="new")
        await self.wrong(f"{PATH}/password", "not the recovery code", password="new", again="new", recovery="no")
        await self.done(f"{PATH}/password", password="new", again="new", recovery=code)
        await self.here.login(self.user, "new")
        second = self.secret(await self.post(f"{PATH}/secrets/recovery", password="new"))
        self.assertNotEqual(second, code)
        page = await self.post(f"{PATH}/password", password="newer", again="newer", lose="yes")
        self.assertIn("recovery code", page.text)
        await self.here.login(self.user, "newer")
        await self.done(f"{PATH}/secrets/unseal", password="newer")
        await self.here.conversion.through(self.user.id)
        self.assertEqual((await self.here.now(self.user)).sealed, "")

    async def test_by_the_recovery_code(self) -> None:
        code = self.secret(await self.post(f"{PATH}/secrets/seal", password=PASSWORD))
        await self.wrong(f"{PATH}/secrets/unseal", "sealed under its password")
        await self.done(f"{PATH}/secrets/unseal", recovery=code)
        await self.here.conversion.through(self.user.id)
        self.assertEqual((await self.here.now(self.user)).sealed, "")

    async def test_the_owners_own_program(self) -> None:
        keys = UserKeyFile.fresh(self.user.address)
        request = canonical(requested(keys.address, keys.public, keys.signer, int(time())).encode()).decode()
        await self.wrong(f"{PATH}/secrets/enrol", "not what mailx-open", request="{")
        await self.wrong(f"{PATH}/secrets/enrol", "no request to enrol", request="{}")
        await self.done(f"{PATH}/secrets/enrol", request=request)
        self.assertEqual((await self.here.now(self.user)).sealed, "client")
        self.assertIn("own program holds", (await self.get(f"{PATH}/secrets")).text)
        await self.done(f"{PATH}/secrets/off")
        self.assertEqual((await self.here.now(self.user)).sealed, "")
        self.assertIsNone(await self.here.ring.users.of(self.user.address))
        self.assertIn("Not sealed", (await self.get(f"{PATH}/secrets")).text)

    async def test_app_passwords(self) -> None:
        text = self.secret(await self.post(f"{PATH}/secrets/app-password", name="<b>phone</b>", password=""))
        await self.here.login(self.user, text)
        page = await self.get(f"{PATH}/secrets")
        self.assertIn("&lt;b&gt;phone&lt;/b&gt;", page.text)
        self.assertNotIn("<b>phone", page.text)
        self.assertNotIn(text, page.text)
        await self.done(f"{PATH}/secrets/revoke", name="<b>phone</b>")
        with self.assertRaises(LoginRefused):
            await self.here.login(self.user, text)

    async def test_nothing_secret_in_the_audit_log(self) -> None:
        code = self.secret(await self.post(f"{PATH}/secrets/seal", password=PASSWORD))
        text = self.secret(await self.post(f"{PATH}/secrets/app-password", name="phone", password=PASSWORD))
        rows = await self.scene.parts.audit.list()
        self.assertEqual([row.action for row in rows if row.action.startswith("user.")], ["user.app_password", "user.seal"])
        told = str(rows)
        for secret in (code, text, PASSWORD):
            self.assertNotIn(secret, told)
