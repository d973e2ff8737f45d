"""``mailxctl config`` and what changes while the server runs, with a server and without one."""

import os
import shutil
from pathlib import Path
from typing import Any

from mailx.config_file import Sources
from mailx.core.audit import Filter, Log
from mailx.core.settings import Settings
from mailx.ops.admin import AdminService
from mailx.ops.administration import Administration
from tests.ctl.test_commands import Base

SECRET = "correct-horse-battery-staple"


class Live(Base):
    """Set, unset, list and reload."""

    async def begin(self, more: str = "", serve: bool = True) -> None:
        await self.open(serve=False)
        self.write_config(more)
        sources = Sources(Path(self.config), {})
        self.settings = Settings(sources.config, sources, self.world.store, self.world.cipher, self.world.reactor)
        await self.settings.load()
        directory = os.path.abspath(self.world.directory)
        shutil.copy(os.path.join(directory, "secret"), f"{directory}.secret")
        if serve:
            self.log = Log(self.world.store, self.world.cipher, self.world.reactor)
            administration = Administration(self.world.accounts, self.world.config, settings=self.settings, audit=self.log)
            service = AdminService(self.socket, administration, self.world.reactor)
            service.startService()
            self.addCleanup(service.stopService)

    async def test_a_change_holds_at_once(self) -> None:
        await self.begin()
        self.assertIn("All are as by default", await self.run_command("config", "list"))
        output = await self.run_command("config", "set", "webhook.skew=60", "webhook.allowed=192.0.2.0/24, ::1", "webhook.suppress=no")
        self.assertIn("webhook.skew holds from now on.", output)
        webhook = self.settings.current.webhook
        self.assertEqual((webhook.skew, webhook.allowed, webhook.suppress), (60, ("192.0.2.0/24", "::1"), False))
        output = await self.run_command("config", "list")
        self.assertRegex(output, r"webhook.skew +60 +database")
        self.assertEqual((await self.run_json("config", "show", "--running"))["webhook"]["skew"], 60)
        await self.run_command("config", "unset", "webhook.skew", "webhook.allowed", "webhook.suppress")
        self.assertEqual(self.settings.current.webhook.skew, 300)
        (_, entry) = await self.log.list(Filter(action="settings.change"))
        self.assertEqual((entry.actor.kind, entry.after["webhook.skew"]), ("mailxctl", 60))

    async def test_secrets_come_by_standard_input(self) -> None:
        await self.begin()
        error = await self.fail_with("config", "set", f"webhook.secret={SECRET}")
        self.assertIn("--secret webhook.secret", error["remedy"])
        secrets = ("--secret", "webhook.secret", "--secret", "smarthost.password")
        output = await self.run_command("config", "set", "smarthost.username=me", *secrets, input=f"{SECRET}\nother\n")
        current = self.settings.current
        self.assertEqual((current.webhook.secret, current.smarthost.password), (SECRET, "other"))
        listed = await self.run_command("config", "list")
        shown = await self.run_command("config", "show", "--running")
        for text in (output, listed, shown):
            self.assertNotIn(SECRET, text)
        self.assertRegex(listed, r"webhook.secret +\(set\)")
        self.assertEqual((await self.fail_with("config", "set", "--secret", "webhook.secret"))["code"], "no_password")
        self.assertEqual((await self.fail_with("config", "set", "--secret", "webhook.skew", input="1\n"))["code"], "invalid")

    async def test_what_is_refused_is_named(self) -> None:
        await self.begin("[limits]\naccount_day = 7\n")
        for arguments, said in (
            (("webhook.skew=0", "webhook.local_parts=some"), "webhook.local_parts: must be one of"),
            (("webhook.skew=soon",), "webhook.skew: must be a whole number from 1 to 86400"),
            (("limits.account_day=8",), f"limits.account_day: is fixed by {self.config}"),
            (("smarthost.username=me",), "smarthost.password: is missing"),
            (("smtp.port=25",), "cannot be changed while the server runs"),
            (("smtp.prot=25",), "no setting smtp.prot"),
        ):
            error = await self.fail_with("config", "set", *arguments)
            self.assertIn(said, error["message"])
        self.assertEqual(await self.log.list(), [])
        self.assertEqual((await self.run_raw("config", "set", "webhook.skew")).exit_code, 2)
        self.assertEqual((await self.run_raw("config", "set")).exit_code, 2)
        self.assertEqual((await self.run_raw("config", "unset")).exit_code, 2)

    async def test_unsafe_ones_are_said(self) -> None:
        await self.begin()
        for command in (("set", "webhook.signature=false"), ("list",)):
            self.assertIn("UNSAFE: webhook.signature: whoever reaches", await self.run_command("config", *command))

    async def test_the_password_goes_to_no_other_host(self) -> None:
        await self.begin()
        await self.run_command(
            "config", "set", "smarthost.host=a.example", "smarthost.username=me", "--secret", "smarthost.password", input="secret\n"
        )
        self.assertIn("another host", (await self.fail_with("config", "set", "smarthost.host=b.example"))["message"])
        await self.run_command("config", "unset", "smarthost.host")
        self.assertIn("another host", (await self.fail_with("config", "set", "smarthost.host=b.example"))["message"])
        await self.run_command("config", "set", "smarthost.host=b.example", "--secret", "smarthost.password", input="secret\n")

    async def test_a_password_of_the_file_goes_to_no_other_host(self) -> None:
        await self.begin('[smarthost]\npassword = "secret"\nusername = "me"\n')
        error = await self.fail_with("config", "set", "smarthost.host=b.example")
        self.assertIn("smarthost.host: must stand beside its password, which is fixed by", error["message"])
        self.assertEqual(self.settings.current.smarthost.host, "")

    async def test_reload(self) -> None:
        await self.begin()
        self.write_config("[limits]\naccount_day = 8\n[smtp]\nport = 4711\n")
        output = await self.run_command("config", "reload")
        self.assertIn("limits.account_day has changed.", output)
        self.assertIn("smtp.port has changed: restart", output)
        self.assertEqual(self.settings.current.limits.account_day, 8)
        self.assertEqual(len(await self.log.list(Filter(action="settings.reload"))), 1)
        self.write_config("[limits]\naccount_day = -8\n")
        # mailxctl reads the same file: it says so itself
        self.assertIn("limits.account_day", (await self.fail_with("config", "reload"))["message"])

    async def test_without_a_server(self) -> None:
        await self.begin(serve=False)
        await self.world.store.close()
        result = await self.run_raw("config", "set", "webhook.skew=60")
        self.assertEqual(result.exit_code, 0, result.output)
        self.assertRegex(await self.run_command("config", "list"), r"webhook.skew +60 +database")
        self.assertEqual((await self.fail_with("config", "reload"))["code"], "no_server")

    async def test_a_value_that_keeps_the_server_from_starting_is_unset(self) -> None:
        await self.begin(serve=False)
        await self.settings.change({"smarthost.host": "192.0.2.1"})
        await self.world.store.close()
        self.write_config('[[outbound.relays]]\nname = "smarthost"\nhosts = ["192.0.2.1"]\n')
        await self.run_command("config", "unset", "smarthost.host")
        self.assertIn("All are as by default", await self.run_command("config", "list"))
        self.assertTrue(os.path.exists(self.config))


class Hostile(Base):
    """Bodies that no client of ours sends."""

    async def test_they_are_refused(self) -> None:
        await self.open(serve=False)
        settings = Settings(self.world.config, store=self.world.store, cipher=self.world.cipher)
        administration = Administration(self.world.accounts, self.world.config, settings=settings)
        deep: Any = []
        for _ in range(500):
            deep = [deep]
        for body in (
            {},
            {"webhook.skew": 1.5},
            {"webhook.skew": float("nan")},
            {"webhook.skew": True},
            {"webhook.skew": 10**400},
            {"webhook.allowed": deep},
            {"webhook.allowed": {"a": 1}},
            {"webhook.allowed": ["192.0.2.0/24"] * 5000},
            {"webhook.secret": "x" * 100_000},
            {"webhook.secret": "\ud800"},
            {"webhook.sender_name": "a\r\nBcc: b"},
            {"x" * 100_000: 1},
            {"": 1},
            {"webhook.": 1},
            {"server.data": "/"},
            {"webhook.secret_file": "/etc/passwd"},
            {"smarthost.password_file": "/etc/shadow"},
        ):
            status, answer = await administration.answer("PATCH", "/v1/settings", {}, body)
            self.assertEqual((status, answer["error"]["code"]), (422, "invalid"), str(body)[:80])
        self.assertEqual(await self.world.store.read(lambda txn: txn.one("SELECT count(*) FROM settings")), (0,))
