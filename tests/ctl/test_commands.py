"""``mailxctl`` against a running server, and against the database when none runs."""

import json
import os
import subprocess
import sys
from functools import partial
from typing import Any

from click.testing import CliRunner, Result
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from mailx.ctl.main import main
from mailx.ops.admin import AdminService
from mailx.ops.administration import Administration
from tests.core.lives_scene import lives
from tests.ops.test_admin import short_directory
from tests.scenery import World, world

ME = "me@example.test"


class Base(TestCase):
    """A server's directory and database, as ``world`` makes them, and a configuration file that names them."""

    world: World

    async def open(self, serve: bool = True) -> None:
        self.world = await world(self)
        self.directory = short_directory(self)
        self.socket = os.path.join(self.directory, "admin.sock")
        self.config = os.path.join(self.directory, "mailx.toml")
        self.write_config()
        if serve:
            made = lives(self, self.world)
            served = Administration(self.world.accounts, self.world.config, lifecycle=made.lifecycle, person=made.person)
            service = AdminService(self.socket, served, self.world.reactor)
            service.startService()
            self.addCleanup(service.stopService)

    def write_config(self, more: str = "") -> None:
        data = os.path.abspath(self.world.directory)
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(f'[server]\ndata = "{data}"\nsecret_file = "{data}.secret"\n[admin]\nsocket = "{self.socket}"\n{more}')

    async def run_raw(self, *arguments: str, input: str = "") -> Result:
        return await deferToThread(CliRunner().invoke, main, ["--config", self.config, *arguments], input=input)

    async def run_command(self, *arguments: str, input: str = "") -> str:
        """The standard output of a command that must succeed."""
        result = await self.run_raw(*arguments, input=input)
        self.assertEqual(result.exit_code, 0, result.output)
        return str(result.stdout)

    async def run_json(self, *arguments: str, input: str = "") -> Any:
        return json.loads(await self.run_command(*arguments, "--json", input=input))

    async def fail_with(self, *arguments: str, input: str = "") -> dict[str, str]:
        """The error of a command that must fail."""
        result = await self.run_raw("--json", *arguments, input=input)
        self.assertEqual((result.exit_code, result.stdout), (1, ""), result.output)
        return dict(json.loads(result.stderr.splitlines()[-1])["error"])


class Index(Base):
    async def test_an_index_needs_a_server(self) -> None:
        await self.open()
        for command in ("status", "rebuild"):
            error = await self.fail_with("index", command)
            self.assertEqual(error["message"], "Only a running server has a search index.")
            self.assertIn("index.db", error["remedy"])


class Users(Base):
    async def test_add_asks_twice(self) -> None:
        await self.open()
        output = await self.run_command("user", "add", ME, input="secret\nsecret\n")
        self.assertIn("me@example.test was added: admin, quota 1 GiB (default).", output)
        self.assertIn("IMAP, TLS             localhost.test port 2993", output, "what to do next")
        self.assertNotIn("secret", output)
        user = await self.world.access.login(ME, "secret", self.world.origin())
        self.assertEqual(str(user.address), ME)

    async def test_different_passwords(self) -> None:
        await self.open()
        result = await self.run_raw("user", "add", ME, input="secret\nsecrets\n")
        self.assertEqual(result.exit_code, 1)
        self.assertEqual(await self.world.accounts.users(), [])

    async def test_password_sources(self) -> None:
        await self.open()
        path = os.path.join(self.directory, "password")
        with open(path, "w", encoding="utf-8") as file:
            file.write("from a file \nsecond line\n")
        await self.run_command("user", "add", "a@example.test", "--password-file", path)
        await self.world.access.login("a@example.test", "from a file ", self.world.origin())
        await self.run_command("user", "add", "b@example.test", "--password-stdin", input="from stdin\n")
        await self.world.access.login("b@example.test", "from stdin", self.world.origin())
        made = await self.run_json("user", "add", "c@example.test", "--generate")
        await self.world.access.login("c@example.test", made["password"], self.world.origin())
        result = await self.run_raw("user", "add", "d@example.test", "--generate", "--password-stdin")
        self.assertEqual(result.exit_code, 2)
        self.assertEqual((await self.fail_with("user", "add", "d@example.test", "--password-stdin"))["code"], "no_password")
        self.assertEqual((await self.fail_with("user", "add", "d@example.test", "--password-file", "/nowhere"))["code"], "password_file")
        self.assertEqual((await self.fail_with("user", "add", "d@example.test"))["code"], "no_password")

    async def test_no_password_argument(self) -> None:
        await self.open()
        self.assertEqual((await self.run_raw("user", "add", ME, "secret")).exit_code, 2)
        self.assertEqual((await self.run_raw("user", "password", ME, "secret")).exit_code, 2)

    async def test_life(self) -> None:
        await self.open()
        made = await self.run_json("user", "add", ME, "--role", "owner", "--quota", "5GB", "--password-stdin", input="secret\n")
        self.assertEqual((made["role"], made["quota"]), ("owner", 5 << 30))
        self.assertIn("me@example.test  owner  active  0 B   5 GiB  never", await self.run_command("user", "list"))
        self.assertIn("Quota:       5 GiB", await self.run_command("user", "show", ME))
        self.assertIn("unlimited", await self.run_command("user", "quota", ME, "unlimited"))
        self.assertIn("1 GiB (default)", await self.run_command("user", "quota", ME, "default"))
        self.assertEqual((await self.run_json("user", "role", ME, "admin"))["role"], "admin")
        self.assertIn("mailxctl user enable", await self.run_command("user", "disable", ME))
        self.assertEqual((await self.run_json("user", "show", ME))["state"], "suspended")
        self.assertEqual((await self.run_json("user", "enable", ME))["state"], "active")
        await self.run_command("user", "password", ME, input="another\nanother\n")
        await self.world.access.login(ME, "another", self.world.origin())
        self.assertEqual((await self.fail_with("user", "delete", ME, input="n\n"))["code"], "not_confirmed")
        self.assertEqual((await self.fail_with("user", "delete", ME))["code"], "not_confirmed")
        self.assertIn("was deleted", await self.run_command("user", "delete", ME, input="y\n"))
        self.assertIn("Deleted:", await self.run_command("user", "show", ME))
        self.assertEqual((await self.fail_with("user", "erase", ME))["code"], "not_confirmed")
        self.assertIn("was erased", await self.run_command("user", "erase", ME, input="y\n"))
        self.assertEqual(await self.run_json("user", "list"), {"users": []})
        self.assertIn("Next: mailxctl user add", await self.run_command("user", "list"))

    async def test_delete_without_asking(self) -> None:
        await self.open()
        await self.world.user(ME)
        gone = await self.run_json("user", "delete", ME, "--yes")
        self.assertEqual(gone["deleted"], ME)
        self.assertIsNotNone(gone["erased"])
        self.assertEqual((await self.fail_with("user", "enable", ME))["code"], "in_use")
        self.assertIn("active again", await self.run_command("user", "restore", ME))
        self.assertEqual(await self.run_json("user", "erase", ME, "--yes"), {"erased": ME})
        self.assertEqual((await self.fail_with("user", "restore", ME))["code"], "not_found")

    async def test_many(self) -> None:
        await self.open()
        self.patch(__import__("mailx.ops.resources.directory", fromlist=["PAGE"]), "PAGE", 2)
        for name in "edcba":
            await self.world.user(f"{name}@example.test")
        users = (await self.run_json("user", "list"))["users"]
        self.assertEqual([each["address"][0] for each in users], list("edcba"))
        lines = (await self.run_command("user", "list", "--domain", "example.test")).splitlines()
        self.assertEqual([line[0] for line in lines[1:]], list("abcde"))

    async def test_wrong(self) -> None:
        await self.open()
        error = await self.fail_with("user", "add", "me@example.org", "--generate")
        self.assertEqual((error["code"], error["remedy"]), ("not_found", "Add it with `mailxctl domain add`."))
        self.assertEqual((await self.fail_with("user", "password", ME))["code"], "not_found", "before a password is asked for")
        self.assertEqual((await self.fail_with("user", "add", "Me Too", "--generate"))["code"], "invalid")
        for quota in ("lots", "0", "-1"):
            self.assertEqual((await self.run_raw("user", "quota", ME, quota)).exit_code, 2)
        result = await self.run_raw("user", "show", "no@example.test")
        self.assertEqual(result.exit_code, 1)
        self.assertEqual(result.stderr, "Error: There is no account no@example.test.\nRemedy: `mailxctl user list` shows the accounts.\n")


class Names(Base):
    async def test_domains(self) -> None:
        await self.open()
        self.assertIn("Next: mailxctl user add NAME@example.net", await self.run_command("domain", "add", "Example.NET"))
        self.assertIn("example.net   0         0", await self.run_command("domain", "list"))
        self.assertEqual(await self.run_json("domain", "delete", "example.net"), {"deleted": "example.net"})
        self.assertEqual((await self.fail_with("domain", "delete", "example.net"))["code"], "not_found")
        await self.world.user(ME)
        self.assertEqual((await self.fail_with("domain", "delete", "example.test"))["code"], "in_use")

    async def test_aliases(self) -> None:
        await self.open()
        await self.world.user(ME)
        await self.world.user("you@example.test")
        made = await self.run_json("alias", "add", "grüße/2@example.test", ME, "you@example.test")
        self.assertEqual(made["targets"], [ME, "you@example.test"])
        self.assertIn("grüße/2@example.test  me@example.test, you@example.test", await self.run_command("alias", "list"))
        await self.run_command("alias", "add", "*@example.test", ME)
        await self.run_command("alias", "delete", "*@example.test")
        added = await self.run_command("alias", "add", "all@example.test", ME, "ann@example.org")
        self.assertIn("all@example.test reaches me@example.test, who may also send as it.", added)
        self.assertIn("all@example.test passes its mail on to ann@example.org.", added)
        self.assertIn("me@example.test, ann@example.org (elsewhere)", await self.run_command("alias", "list"))
        changed = await self.run_command("alias", "change", "all@example.test", "ann@example.org")
        self.assertEqual(changed, "all@example.test passes its mail on to ann@example.org.\n")
        self.assertIn("all@example.test      ann@example.org (elsewhere)", await self.run_command("alias", "list"))
        await self.run_command("alias", "delete", "all@example.test")
        await self.run_command("alias", "delete", "grüße/2@example.test")
        self.assertEqual(await self.run_json("alias", "list"), {"aliases": []})

    async def test_blocks(self) -> None:
        await self.open()
        await self.world.user(ME)
        self.assertEqual((await self.run_json("block", "add", ME, "example.org"))["sender"], "@example.org")
        self.assertIn("@example.org", await self.run_command("block", "list", ME))
        await self.run_command("block", "delete", ME, "@example.org")
        self.assertIn("blocks nobody", await self.run_command("block", "list", ME))


class Configuration(Base):
    async def test_show(self) -> None:
        await self.open(serve=False)
        self.write_config("[smtp]\nport = 25\n[store]\npassword = 'hunter2'\n")
        self.assertEqual(await self.run_command("config", "show", "smtp.port"), "25\n")
        self.assertEqual((await self.run_json("config", "show"))["smtp"]["port"], 25)
        self.assertNotIn("hunter2", await self.run_command("config", "show"))
        self.assertEqual((await self.fail_with("config", "show", "smtp.colour"))["code"], "not_found")

    async def test_show_running(self) -> None:
        await self.open()
        self.write_config("[smtp]\nport = 25\n")
        self.assertEqual(await self.run_command("config", "show", "smtp.port", "--running"), "2525\n", "not restarted yet")
        self.assertEqual((await self.run_json("config", "show", "--running"))["smtp"]["port"], 2525)

    async def test_check(self) -> None:
        await self.open(serve=False)
        self.assertIn(f"The configuration is good ({self.config}).", await self.run_command("config", "check"))
        self.write_config('[smtp]\nport = "25"\ncolour = "red"\n')
        error = await self.fail_with("config", "check")
        self.assertIn("smtp.port", error["message"])
        self.assertIn("smtp.colour", error["message"], "all errors at once")

    async def test_check_tells_what_is_unsafe(self) -> None:
        await self.open(serve=False)
        self.assertEqual((await self.run_json("config", "check"))["unsafe"], [])
        relay = '[[outbound.relays]]\nhosts = ["h.example"]\n'
        self.write_config(
            f'[outbound]\ntls = "off"\n{relay}name = "a"\nverify = false\n'
            f'{relay}name = "b"\nsecurity = "plain"\n{relay}name = "c"\nsecurity = "plain"\nusername = "u"\npassword = "hunter2"\n'
            "[imap]\nplaintext_login = true\n"
        )
        output = await self.run_command("config", "check")
        self.assertEqual(output.count("\nUNSAFE: "), 5, output)
        self.assertIn("UNSAFE: outbound.relays[0] (a): the certificate is not checked", output)
        self.assertIn("UNSAFE: outbound.relays[2] (c): the password goes unencrypted.", output)
        self.assertNotIn("hunter2", output)
        self.assertEqual(len((await self.run_json("config", "check"))["unsafe"]), 5)

    async def test_reference(self) -> None:
        await self.open(serve=False)
        self.assertIn("#submission_port = 2587", await self.run_command("config", "reference"))


class WithoutServer(Base):
    """The reactor of these tests runs, so the command uses it; as a program of its own it starts one."""

    async def open_stopped(self) -> None:
        await self.open(serve=False)
        os.rename(os.path.join(self.world.directory, "secret"), os.path.abspath(self.world.directory) + ".secret")

    async def test_database_itself(self) -> None:
        await self.open_stopped()
        await self.world.user(ME)
        await self.world.store.close()
        result = await self.run_raw("user", "list")
        self.assertIn(ME, result.stdout)
        self.assertEqual(result.stderr, "No server is running: the database itself was opened.\n")
        self.assertEqual((await self.run_json("user", "disable", ME))["state"], "suspended")
        self.assertEqual((await self.fail_with("user", "show", "no@example.test"))["code"], "not_found")

    async def test_as_a_program(self) -> None:
        await self.open_stopped()
        await self.world.user(ME)
        await self.world.store.close()
        command = [sys.executable, "-m", "mailx.ctl.main", "--config", self.config]
        run = partial(deferToThread, subprocess.run, capture_output=True, text=True, timeout=240)
        done = await run([*command, "user", "add", "you@example.test", "--password-stdin", "--json"], input="secret\n")
        self.assertEqual((done.returncode, done.stderr, json.loads(done.stdout)["role"]), (0, "", "user"))
        done = await run([*command, "user", "show", "no@example.test"])
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("There is no account no@example.test.", done.stderr)

    async def test_in_use(self) -> None:
        await self.open_stopped()
        error = await self.fail_with("user", "list")
        self.assertEqual(error["code"], "no_server")
        self.assertIn("another process uses the database", error["message"].lower())

    async def test_no_database(self) -> None:
        await self.open_stopped()
        await self.world.store.close()
        os.unlink(os.path.join(self.world.directory, "mailx.db"))
        error = await self.fail_with("user", "list")
        self.assertEqual(error["code"], "no_server")
        self.assertIn("twistd -n mailx", error["remedy"])
        self.assertFalse(os.path.exists(os.path.join(self.world.directory, "mailx.db")), "nothing is made by looking")

    async def test_wrong_secret(self) -> None:
        await self.open_stopped()
        await self.world.store.close()
        os.unlink(os.path.abspath(self.world.directory) + ".secret")
        self.assertEqual((await self.fail_with("user", "list"))["code"], "no_server")


class Options(Base):
    async def test_before_and_behind(self) -> None:
        await self.open()
        result = await deferToThread(CliRunner().invoke, main, ["user", "list", "--json", "--config", self.config])
        self.assertEqual(json.loads(result.stdout), {"users": []})
        result = await deferToThread(CliRunner().invoke, main, ["--json", "--config", self.config, "user", "list"])
        self.assertEqual(json.loads(result.stdout), {"users": []})

    async def test_status(self) -> None:
        await self.open()
        await self.world.user(ME)
        self.assertRegex(await self.run_command("status"), r"\AMailX [0-9.]+ on localhost.test: 1 account, 0 B of mail.\n\Z")
        self.assertEqual((await self.run_json("status"))["accounts"], 1)

    async def test_help(self) -> None:
        result = await deferToThread(CliRunner().invoke, main, ["user", "add", "--help"])
        self.assertEqual(result.exit_code, 0)
        self.assertIn("--password-file", result.output)
        result = await deferToThread(CliRunner().invoke, main, ["--version"])
        self.assertRegex(result.output, r"mailxctl, version \d")
