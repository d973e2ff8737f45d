"""Sealing an account while no server runs: the database itself is changed, and the server goes on with it."""

import os

from tests.ctl.test_commands import Base


class Sealing(Base):
    """``mailxctl`` alone."""

    async def test_seal_and_open(self) -> None:
        await self.open(serve=False)
        os.rename(os.path.join(self.world.directory, "secret"), os.path.abspath(self.world.directory) + ".secret")
        await self.world.store.close()
        await self.run_command("domain", "add", "keys.test")  # makes its key
        for address in ("ann@keys.test", "ann@example.test"):  # the other domain has none
            await self.run_command("user", "add", address, "--password-stdin", input="secret\n")
            sealed = await self.run_json("user", "seal", address, "server", "--password-stdin", input="secret\n")
            self.assertEqual(sealed["mode"], "server")
            self.assertTrue(sealed["recovery_code"])
            self.assertEqual((await self.run_json("user", "show", address))["sealed"], "server")
            app = await self.run_json("user", "app-password", "add", address, "phone", "--password-stdin", input="secret\n")
            self.assertTrue(app["app_password"])
            await self.run_command("user", "renew-keys", address, "--password-stdin", input="secret\n")
        keys = (await self.run_json("user", "seal", "ann@keys.test"))["keys"]
        self.assertEqual(keys["serial"], 2)
        opened = await self.run_json("user", "seal", "ann@keys.test", "off", "--password-stdin", input="secret\n")
        self.assertEqual((opened["mode"], opened["keys"]), ("server", None))  # its mail is opened at the owner's next login
