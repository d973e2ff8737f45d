"""``mailxctl key audit``, ``key logs`` and ``key evidence``."""

import json
import os
from collections.abc import Sequence
from typing import Any

from twisted.internet import reactor

from mailx.core.log_audit import LogAudit
from mailx.ops.admin import AdminService
from mailx.ops.administration import Administration
from tests.core.log_scene import Server, Source, server
from tests.ctl.test_commands import Base
from tests.ops.test_admin import short_directory

A, B = "a.example", "b.example"
ADA = "ada@b.example"


class Logs(Base):
    async def open_logs(self) -> Server:
        self.net: dict[str, Server] = {}
        here, there = [await server(self, self.net, domain) for domain in (A, B)]
        await here.grow(2)
        await there.introduce()
        await there.bind(ADA, 1)
        self.world = here.world
        self.directory = short_directory(self)
        self.socket = os.path.join(self.directory, "admin.sock")
        self.config = os.path.join(self.directory, "mailx.toml")
        self.write_config()

        async def believed(domain: str) -> Sequence[bytes]:
            return self.net[domain].keys.valid(domain) if domain in self.net else ()

        audits = LogAudit(key_log=here.log, witness=here.witness, believed=believed, source=Source([here]), reactor=reactor)
        administration = Administration(
            here.world.accounts, here.world.config, key_log=here.log, log_witness=here.witness, log_audit=audits
        )
        service = AdminService(self.socket, administration, here.world.reactor)
        service.startService()
        self.addCleanup(service.stopService)
        return there

    async def test_an_audit(self) -> None:
        there = await self.open_logs()
        output = await self.run_command("key", "audit", ADA)
        self.assertIn(" proved  all 3 entries were read, and they are what the head signs\n", output)
        self.assertRegex(output, r"\n2 +user-key +1 +.+ UTC +ed25519:")
        self.assertTrue(output.endswith("The log of b.example is sound.\n"))
        await there.bind(ADA, 2, revoked=True)
        answer = await self.run_json("key", "audit", "Ada@B.example")
        self.assertEqual([(each["serial"], each["revoked"]) for each in answer["entries"]], [(1, False), (2, True)])
        self.assertEqual((answer["good"], answer["size"], answer["ours"]), (True, 4, False))
        answer = await self.run_json("key", "audit", A)
        self.assertEqual((answer["ours"], answer["size"]), (True, 2))

    async def test_an_audit_that_finds_something(self) -> None:
        there = await self.open_logs()
        await self.run_command("key", "audit", B)
        forged = await server(self, self.net, B)
        forged.keys = there.keys
        await forged.grow(9)
        result = await self.run_raw("key", "audit", B)
        self.assertEqual(result.exit_code, 1)
        self.assertIn("  WRONG  it does not continue the log that was seen here before: it was forked\n", result.output)
        self.assertIn("The log of b.example cannot be relied on.", result.output)
        output = await self.run_command("key", "evidence", B)
        self.assertRegex(output, r"b\.example +.+ UTC +3 +9 +no continuation")
        (each,) = json.loads((await self.run_raw("--json", "key", "evidence")).stdout)["evidence"]
        self.assertEqual((each["kept"]["kind"], each["shown"]["body"]["size"]), ("tree-head", 9))

    async def test_a_log_that_cannot_be_had(self) -> None:
        await self.open_logs()
        result = await self.run_raw("key", "audit", "unknown.example")
        self.assertEqual(result.exit_code, 1)
        self.assertIn("mailxctl peer discover unknown.example", result.output)
        self.assertIn("The log of unknown.example was not read to its end.", result.output)

    async def test_a_list(self) -> None:
        await self.open_logs()
        await self.run_command("key", "audit", B)
        answer: Any = await self.run_json("key", "logs")
        self.assertEqual([(each["domain"], each["ours"], each["size"]) for each in answer["logs"]], [(A, True, 2), (B, False, 3)])
        self.assertRegex(await self.run_command("key", "logs"), r"b\.example +elsewhere +3 +0 ")
        self.assertIn("No fork of the key log of b.example was seen", await self.run_command("key", "evidence", B))

    async def test_what_is_no_name(self) -> None:
        await self.open_logs()
        self.assertEqual((await self.fail_with("key", "audit", "@"))["code"], "invalid")
        result = await self.run_raw("key", "audit", "c.example")
        self.assertIn("mailxctl peer discover c.example", result.output)
