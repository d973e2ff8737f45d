"""``mailxctl admin``, ``apikey`` and ``audit`` against a running server, and against the database when none runs."""

import json
import os
from typing import Any

from mailx.core.admin_sessions import Sessions
from mailx.core.admins import Admins, NotLoggedIn
from mailx.core.api_keys import ApiKeys
from mailx.core.audit import Actor, Log
from mailx.core.passwords import Passwords
from mailx.ops.admin import AdminService
from mailx.ops.administration import Administration
from tests.ctl.test_commands import Base
from tests.ops.test_admin import short_directory
from tests.scenery import world

PASSWORD = "correct horse"
HERE = "192.0.2.1"


class Access(Base):
    """With a server."""

    async def open(self, serve: bool = True) -> None:
        self.world = here = await world(self)
        self.directory = short_directory(self)
        self.socket = os.path.join(self.directory, "admin.sock")
        self.config = os.path.join(self.directory, "mailx.toml")
        self.write_config()
        passwords = Passwords(here.reactor, cost=4)
        self.addCleanup(passwords.stop)
        self.admins = Admins(here.store, here.cipher, passwords, here.reactor)
        await self.admins.load()
        self.sessions = Sessions(here.store, here.cipher, self.admins, here.settings, here.reactor)
        await self.sessions.load()
        self.keys = ApiKeys(here.store, here.cipher)
        self.log = Log(here.store, here.cipher, here.reactor)
        administration = Administration(here.accounts, here.config, admins=self.admins, api_keys=self.keys, audit=self.log)
        service = AdminService(self.socket, administration, here.reactor)
        service.startService()
        self.addCleanup(service.stopService)

    async def rows(self) -> list[tuple[str, str]]:
        return [(entry.action, entry.target) for entry in await self.log.list()]

    async def test_the_life_of_an_administrator(self) -> None:
        await self.open()
        self.assertIn("There are no administrators.", await self.run_command("admin", "list"))
        made = await self.run_json("admin", "add", "Ada", "--generate")
        self.assertEqual(made["name"], "ada")
        session = await self.sessions.begin("ada", made["password"], HERE)
        self.assertIn("ada2 is an admin", await self.run_command("admin", "add", "ada2", "--password-stdin", input=f"{PASSWORD}\n"))
        await self.run_command("admin", "password", "ada", "--password-stdin", input=f"{PASSWORD}\n")
        self.assertIsNone(await self.sessions.find(session.token))
        await self.run_command("admin", "disable", "ada2")
        with self.assertRaises(NotLoggedIn):
            await self.sessions.begin("ada2", PASSWORD, HERE)
        self.assertRegex(await self.run_command("admin", "list"), r"ada2 +disabled +off +never")
        for command in (("disable", "ada"), ("remove", "ada", "--yes")):
            self.assertEqual((await self.fail_with("admin", *command))["code"], "in_use")
        await self.run_command("admin", "enable", "ada2")
        result = await self.run_raw("admin", "remove", "ada", input="n\n")
        self.assertEqual(result.exit_code, 1)
        await self.run_command("admin", "remove", "ada", "--yes")
        expected = [
            "admin.remove",
            "admin.enable",
            "admin.login_failed",
            "admin.disable",
            "admin.password",
            "admin.add",
            "admin.login",
            "admin.add",
        ]
        self.assertEqual([action for action, _ in await self.rows()], expected)
        self.assertEqual((await self.fail_with("admin", "enable", "nobody"))["code"], "not_found")

    async def test_a_weak_password(self) -> None:
        await self.open()
        for password in ("short", "x" * 73):
            error = await self.fail_with("admin", "add", "ada", "--password-stdin", input=f"{password}\n")
            self.assertEqual(error["code"], "invalid")
        self.assertEqual(await self.rows(), [])

    async def test_the_second_factor(self) -> None:
        await self.open()
        await self.admins.add("ada", PASSWORD)
        self.assertEqual((await self.fail_with("admin", "totp-reset", "ada", "--yes"))["code"], "invalid")
        self.assertEqual((await self.run_raw("admin", "totp-reset", "ada", input="n\n")).exit_code, 1)
        self.assertEqual(await self.rows(), [])

    async def test_the_life_of_a_key(self) -> None:
        await self.open()
        output = await self.run_command("apikey", "add", "deploy", "--scope", "queue:write", "--scope", "read", "--days", "30")
        text = output.partition("Key: ")[2].split()[0]
        key = await self.keys.authenticate(text)
        assert key is not None
        self.assertEqual((key.name, key.scopes, key.creator), ("deploy", ("queue:write", "read"), "mailxctl"))
        listed = await self.run_command("apikey", "list")
        self.assertIn(key.prefix, listed)
        self.assertNotIn(text, listed)
        self.assertEqual((await self.run_json("apikey", "add", "second"))["scopes"], ["read"])
        await self.run_command("apikey", "revoke", "deploy")
        self.assertIsNone(await self.keys.authenticate(text))
        self.assertRegex(await self.run_command("apikey", "list"), r"deploy +mailx_\w+ +revoked")
        await self.run_command("apikey", "delete", "deploy", "--yes")
        self.assertEqual((await self.fail_with("apikey", "delete", "deploy", "--yes"))["code"], "not_found")
        self.assertEqual((await self.run_raw("apikey", "add", "third", "--scope", "everything")).exit_code, 2)
        self.assertNotIn(text, await self.run_command("audit", "--jsonl"))

    async def test_the_log(self) -> None:
        await self.open()
        await self.run_command("domain", "add", "one.test")
        await self.run_command("user", "add", "me@one.test", "--generate")
        await self.run_command("user", "quota", "me@one.test", "5GB")
        await self.fail_with("domain", "add", "one.test")
        await self.log.record(Actor("key", "deploy", HERE), "queue.retry", "\x1b[31m")
        output = await self.run_command("audit")
        self.assertRegex(output, rf"mailxctl +uid {os.getuid()} +domain\.add +one\.test +domain=one\.test")
        self.assertRegex(output, r"user\.quota +me@one\.test +quota=null -> quota=5368709120")
        self.assertIn("key deploy", output)
        self.assertNotIn("\x1b", output)
        self.assertEqual(len((await self.run_json("audit", "--target", "one.test"))["entries"]), 3)
        self.assertEqual(len((await self.run_json("audit", "--action", "user.", "--actor", "mailxctl"))["entries"]), 2)
        page = await self.run_json("audit", "--limit", "2")
        self.assertEqual((len(page["entries"]), page["more"]), (2, True))
        lines = (await self.run_command("audit", "--jsonl", "--since", "2020-01-01")).splitlines()
        self.assertEqual([json.loads(line)["action"] for line in lines], ["queue.retry", "user.quota", "user.add", "domain.add"])
        self.assertIn("no such entries", await self.run_command("audit", "--until", "2020-01-01"))
        self.assertEqual((await self.fail_with("audit", "--since", "yesterday"))["code"], "invalid")


class WithoutServer(Base):
    """The same rows, written by the process itself."""

    async def test_in_the_database(self) -> None:
        await self.open(serve=False)
        os.rename(os.path.join(self.world.directory, "secret"), os.path.abspath(self.world.directory) + ".secret")
        await self.world.store.close()
        made = await self.run_json("admin", "add", "ada", "--generate")
        self.assertIn("password", made)
        await self.run_command("apikey", "add", "deploy")
        await self.run_command("domain", "add", "one.test")
        entries: Any = (await self.run_json("audit"))["entries"]
        self.assertEqual([entry["action"] for entry in entries], ["domain.add", "apikey.add", "admin.add"])
        self.assertEqual({(entry["actor"]["kind"], entry["actor"]["address"]) for entry in entries}, {("mailxctl", f"uid {os.getuid()}")})
