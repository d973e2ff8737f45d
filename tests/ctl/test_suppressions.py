"""``mailxctl suppression`` against a running server, and against the database when none runs."""

import os

from mailx.core.settings import Settings
from mailx.core.suppressions import Suppressions
from mailx.ops.admin import AdminService
from mailx.ops.administration import Administration
from tests.ctl.test_commands import Base


class Suppressing(Base):
    async def serve(self) -> Suppressions:
        world = self.world
        suppressions = Suppressions(world.store, world.cipher, Settings(world.config), world.reactor)
        service = AdminService(self.socket, Administration(world.accounts, world.config, suppressions=suppressions), world.reactor)
        service.startService()
        self.addCleanup(service.stopService)
        return suppressions

    async def test_with_a_server(self) -> None:
        await self.open(serve=False)
        suppressions = await self.serve()
        self.assertIn("Nothing is suppressed.", await self.run_command("suppression", "list"))
        output = await self.run_command("suppression", "add", "You+a/b@Example.org", "--note", "asked us")
        self.assertIn("Calls send nothing to You+a/b@example.org", output)
        output = await self.run_command("suppression", "list")
        self.assertIn("by hand", output)
        self.assertIn("asked us", output)
        answer = await self.run_json("suppression", "list", "--address", "you+A/B@example.org")
        self.assertEqual((answer["total"], answer["entries"][0]["address"], answer["next"]), (1, "You+a/b@example.org", None))
        self.assertIn("not on the list", await self.run_command("suppression", "list", "--address", "me@example.org"))
        await self.run_command("suppression", "remove", "YOU+a/b@example.org")
        self.assertEqual(await suppressions.count(), 0)

    async def test_more_than_asked_for(self) -> None:
        await self.open(serve=False)
        suppressions = await self.serve()
        for number in range(3):
            await suppressions.add(f"you{number}@example.org", "", 1)
        answer = await self.run_json("suppression", "list", "--limit", "2")
        self.assertEqual(([one["address"] for one in answer["entries"]], answer["total"]), (["you2@example.org", "you1@example.org"], 3))
        self.assertIn("3 in all", await self.run_command("suppression", "list", "--limit", "2"))

    async def test_refused(self) -> None:
        await self.open(serve=False)
        await self.serve()
        self.assertIn("is no address", (await self.fail_with("suppression", "add", "nonsense"))["message"])
        self.assertIn("is not on the suppression list", (await self.fail_with("suppression", "remove", "me@example.org"))["message"])
        await self.run_command("suppression", "add", "me@example.org")
        self.assertIn("already", (await self.fail_with("suppression", "add", "ME@example.org"))["message"])

    async def test_without_a_server(self) -> None:
        await self.open(serve=False)
        await self.world.store.close()
        data = os.path.abspath(self.world.directory)
        os.link(f"{data}/secret", f"{data}.secret")
        await self.run_command("suppression", "add", "you@example.org")
        answer = await self.run_json("suppression", "list")
        self.assertEqual([one["address"] for one in answer["entries"]], ["you@example.org"])
