"""``mailxctl user app-password``, ``recovery-code``, ``renew-keys``, and passwords of sealed accounts."""

import os

from mailx.core.sasl import LoginRefused
from mailx.ops.admin import AdminService
from mailx.ops.administration import Administration
from tests.core.owners_scene import ADDRESS, PASSWORD, owners
from tests.ctl.test_commands import Base
from tests.ops.test_admin import short_directory


class Secrets(Base):
    """With a server."""

    async def setUp(self) -> None:
        self.here = here = await owners(self)
        self.world = here.world
        self.directory = short_directory(self)
        self.socket = os.path.join(self.directory, "admin.sock")
        self.config = os.path.join(self.directory, "mailx.toml")
        self.write_config()
        administration = Administration(
            here.world.accounts, here.world.config, sealed_accounts=here.sealed, app_passwords=here.apps, user_keys=here.ring.users
        )
        service = AdminService(self.socket, administration, here.world.reactor)
        service.startService()
        self.addCleanup(service.stopService)
        self.user = await here.world.user(ADDRESS)

    async def test_app_passwords_of_an_ordinary_account(self) -> None:
        self.assertIn("no app passwords", await self.run_command("user", "app-password", "list", ADDRESS))
        made = await self.run_json("user", "app-password", "add", ADDRESS, "my phone")
        await self.here.login(self.user, made["app_password"])
        listed = await self.run_json("user", "app-password", "list", ADDRESS)
        self.assertEqual([one["name"] for one in listed["app_passwords"]], ["my phone"])
        self.assertNotIn(made["app_password"], await self.run_command("user", "app-password", "list", ADDRESS))
        error = await self.fail_with("user", "app-password", "add", ADDRESS, "my phone")
        self.assertEqual(error["code"], "exists")
        await self.run_command("user", "app-password", "revoke", ADDRESS, "my phone")
        with self.assertRaises(LoginRefused):
            await self.here.login(self.user, made["app_password"])
        self.assertEqual((await self.fail_with("user", "app-password", "revoke", ADDRESS, "my phone"))["code"], "not_found")

    async def test_a_sealed_account(self) -> None:
        said = await self.run_json("user", "seal", ADDRESS, "server", "--password-stdin", input=f"{PASSWORD}\n")
        self.assertIn("sealed", await self.run_command("user", "show", ADDRESS))
        self.assertEqual(
            (await self.fail_with("user", "app-password", "add", ADDRESS, "phone", "--password-stdin", input="no\n"))["code"], "invalid"
        )
        app = (await self.run_json("user", "app-password", "add", ADDRESS, "phone", "--password-stdin", input=f"{PASSWORD}\n"))[
            "app_password"
        ]
        code = (await self.run_json("user", "recovery-code", ADDRESS, "--password-stdin", input=f"{PASSWORD}\n"))["recovery_code"]
        self.assertNotEqual(code, said["recovery_code"])
        await self.run_command("user", "renew-keys", ADDRESS, "--password-stdin", input=f"{PASSWORD}\n")
        error = await self.fail_with("user", "password", ADDRESS, "--password-stdin", "--old-password-file", self.file("no"), input="new\n")
        self.assertIn("recovery code", error["remedy"])
        await self.run_command("user", "password", ADDRESS, "--password-stdin", "--recovery-code-file", self.file(code), input="new\n")
        for password in ("new", app):
            await self.here.login(self.user, password)
        changed = await self.run_json("user", "password", ADDRESS, "--lose-sealed-mail", "--yes", "--password-stdin", input="newer\n")
        self.assertTrue(changed["recovery_code"])
        await self.here.login(self.user, "newer")
        result = await self.run_raw(
            "user", "password", ADDRESS, "--lose-sealed-mail", "--recovery-code-file", self.file(code), "--password-stdin", input="x\n"
        )
        self.assertEqual(result.exit_code, 2)

    async def test_the_api_does_not_lose_mail_unasked(self) -> None:
        await self.here.seal(self.user)
        error = await self.fail_with("user", "password", ADDRESS, "--password-stdin", "--old-password-file", self.file("x"), input="new\n")
        self.assertEqual(error["code"], "invalid")
        self.assertEqual(
            (await self.fail_with("user", "recovery-code", "nobody@example.test", "--password-stdin", input="x\n"))["code"], "not_found"
        )

    def file(self, text: str) -> str:
        path = os.path.join(self.directory, f"given-{len(os.listdir(self.directory))}")
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"{text}\n")
        return path
