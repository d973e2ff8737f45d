"""``mailxctl dkim`` and ``mailxctl dns``."""

import os
from typing import Any

from mailx.core.records import Records
from mailx.core.resolver import Resolver
from mailx.core.signing import Signing
from mailx.ops.admin import AdminService
from mailx.ops.administration import Administration
from tests import dns as names
from tests.ctl.test_commands import Base
from tests.ops.test_admin import short_directory
from tests.scenery import DOMAIN, world

HOST = "localhost.test"  # as configured


class Served(Base):
    """A server that signs and asks the DNS of the test."""

    async def open_signing(self, records: bool = True) -> None:
        self.world = here = await world(self)
        self.directory = short_directory(self)
        self.socket = os.path.join(self.directory, "admin.sock")
        self.config = os.path.join(self.directory, "mailx.toml")
        self.write_config()
        self.zone = await names.serve(self, {(HOST, "A"): ["192.0.2.7"]})
        resolver: Resolver = names.ask(self, self.zone)
        signing = Signing(here.store, here.cipher, here.accounts, here.reactor)
        await signing.load()
        made: Any = Records(here.settings, signing, resolver, lambda name: None) if records else None
        administration = Administration(here.accounts, here.config, signing=signing, records=made)
        service = AdminService(self.socket, administration, here.reactor)
        service.startService()
        self.addCleanup(service.stopService)

    async def publish(self) -> None:
        for key in (await self.run_json("dkim", "list"))["keys"]:
            self.zone.zone[key["name"], "TXT"] = [key["record"]]


class Dkim(Served):
    async def test_a_life(self) -> None:
        await self.open_signing()
        self.assertEqual(await self.run_command("dkim", "list"), "There are no keys. Next: mailxctl dkim create DOMAIN\n")
        self.assertIn("mailxctl dkim create", await self.run_command("dkim", "show", DOMAIN))
        output = await self.run_command("dkim", "create", DOMAIN)
        self.assertRegex(output, r'\nm[0-9]{8}r\._domainkey\.example\.test\. TXT "v=DKIM1; k=rsa; p=[^"]+" "[^"]+"\n')
        self.assertRegex(output, r'\nm[0-9]{8}e\._domainkey\.example\.test\. TXT "v=DKIM1; k=ed25519; p=[^"]+"\n')
        self.assertIn(f"mailxctl dkim activate {DOMAIN}", output)
        error = await self.fail_with("dkim", "activate", DOMAIN)
        self.assertEqual(error["code"], "unpublished")
        self.assertIn("_domainkey.example.test", error["message"])
        await self.publish()
        self.assertRegex(await self.run_command("dkim", "activate", DOMAIN), r"signed with m[0-9]+r, m[0-9]+e from now on")
        first, second = (await self.run_json("dkim", "list", DOMAIN))["keys"]
        self.assertEqual((first["state"], second["state"], first["deletable"]), ("active", "active", None))
        await self.run_command("dkim", "rotate", DOMAIN)
        again = await self.fail_with("dkim", "rotate", DOMAIN)
        self.assertEqual(again["message"], f"{DOMAIN} has keys already that wait to be activated.")
        self.assertEqual((await self.run_json("dkim", "activate", DOMAIN, "--force"))["keys"][0]["state"], "active")
        shown = await self.run_command("dkim", "show", DOMAIN)
        self.assertIn("; rsa-sha256, retired since ", shown)
        self.assertIn(f"then: mailxctl dkim delete {DOMAIN} {first['selector']}", shown)
        self.assertIn("--force", (await self.fail_with("dkim", "delete", DOMAIN, first["selector"], "--yes"))["remedy"])
        self.assertEqual((await self.fail_with("dkim", "delete", DOMAIN, first["selector"]))["code"], "not_confirmed")
        self.assertIn("was deleted", await self.run_command("dkim", "delete", DOMAIN, first["selector"], "--force", input="y\n"))
        table = await self.run_command("dkim", "list")
        self.assertNotIn(f"{first['selector']} ", table)
        self.assertIn("DOMAIN        SELECTOR", table)

    async def test_one_algorithm_and_no_successor(self) -> None:
        await self.open_signing()
        (key,) = (await self.run_json("dkim", "create", DOMAIN, "--algorithm", "ed25519-sha256"))["keys"]
        self.assertEqual((key["algorithm"], key["state"], key["domain"]), ("ed25519-sha256", "next", DOMAIN))
        await self.run_command("dkim", "activate", DOMAIN, "--force")
        self.assertIn("signs no more", await self.run_command("dkim", "retire", DOMAIN, key["selector"]))
        self.assertEqual((await self.run_json("dkim", "list"))["keys"][0]["state"], "retired")

    async def test_wrong(self) -> None:
        await self.open_signing()
        self.assertEqual((await self.fail_with("dkim", "create", "example.net"))["code"], "not_found")
        self.assertEqual((await self.fail_with("dkim", "show", "no domain"))["code"], "invalid")
        self.assertEqual((await self.run_raw("dkim", "create", DOMAIN, "--algorithm", "rsa-sha1")).exit_code, 2)
        self.assertEqual((await self.fail_with("dkim", "activate", DOMAIN))["code"], "not_found")
        await self.run_command("dkim", "create", DOMAIN, "--algorithm", "ed25519-sha256")
        (key,) = (await self.run_json("dkim", "list"))["keys"]
        self.zone.zone[key["name"], "TXT"] = names.SERVFAIL
        self.assertEqual((await self.fail_with("dkim", "activate", DOMAIN))["code"], "unpublished")

    async def test_without_a_resolver(self) -> None:
        await self.open_signing(records=False)
        await self.run_command("dkim", "create", DOMAIN, "--algorithm", "ed25519-sha256")
        self.assertIn("--force", (await self.fail_with("dkim", "activate", DOMAIN))["remedy"])
        self.assertEqual((await self.fail_with("dns", DOMAIN))["code"], "not_found")


class Dns(Served):
    async def test_the_page(self) -> None:
        await self.open_signing()
        output = await self.run_command("dns", DOMAIN)
        self.assertIn("; Required\n;\n; Mail for the domain comes to this server.\nexample.test. MX 10 localhost.test.\n", output)
        self.assertIn('example.test. TXT "v=spf1 mx -all"\n', output)
        self.assertIn("mailxctl dkim create example.test", output)
        self.assertIn(";   version: STSv1\n;   mode: testing\n", output)
        self.assertNotIn("_mailx", output)
        for line in output.splitlines():
            self.assertTrue(not line or line.startswith(";") or line.split()[1] in ("MX", "A", "TXT", "SRV", "CNAME"), line)

    async def test_checked(self) -> None:
        await self.open_signing()
        self.zone.zone[DOMAIN, "MX"] = ["10 localhost.test."]
        self.zone.zone[DOMAIN, "TXT"] = ["v=spf1 -all"]
        self.zone.zone["_mailx.example.test", "TXT"] = ["v=1"]
        output = await self.run_command("dns", DOMAIN, "--check")
        self.assertRegex(output, r"(?m)^ok +required +MX +example\.test$")
        self.assertRegex(output, r"(?m)^different +required +TXT +example\.test$")
        self.assertRegex(output, r"(?m)^unnecessary +unwanted +TXT +_mailx\.example\.test$")
        self.assertIn("Mail from this server gets fail.", output)
        self.assertIn('  publish: example.test. TXT "v=spf1 mx -all"\n  seen:    "v=spf1 -all"\n', output)
        found = (await self.run_json("dns", DOMAIN, "--check"))["records"]
        (mx,) = [each for each in found if each["type"] == "MX"]
        self.assertEqual((mx["verdict"], mx["seen"], mx["need"]), ("ok", ["10 localhost.test."], "required"))

    async def test_wrong(self) -> None:
        await self.open_signing()
        self.assertEqual((await self.fail_with("dns", "example.net"))["code"], "not_found")


class WithoutServer(Base):
    async def test_keys_in_the_database_itself(self) -> None:
        await self.open(serve=False)
        os.rename(os.path.join(self.world.directory, "secret"), os.path.abspath(self.world.directory) + ".secret")
        self.write_config('[dns]\nservers = ["127.0.0.1:1"]\n')
        await self.world.store.close()
        made = await self.run_json("dkim", "create", DOMAIN, "--algorithm", "ed25519-sha256")
        self.assertEqual((await self.fail_with("dkim", "activate", DOMAIN))["code"], "unpublished")
        await self.run_command("dkim", "activate", DOMAIN, "--force")
        self.assertEqual((await self.run_json("dkim", "list"))["keys"][0]["selector"], made["keys"][0]["selector"])
        self.assertIn("_domainkey", await self.run_command("dns", DOMAIN))
