"""``mailxctl peer`` against a running server."""

from twisted.internet.task import Clock

from mailx.core.peer import Step
from mailx.core.peer_control import PeerControl
from mailx.core.peer_figures import PeerCounting
from mailx.core.peers import Peers
from mailx.ops.admin import AdminService
from mailx.ops.administration import Administration
from tests.core.peer_scene import KEYS, START, THERE, Channel, Looks, found, history
from tests.ctl.test_commands import Base


class PeerCommands(Base):
    async def serve(self) -> None:
        await self.open(serve=False)
        world, clock = self.world, Clock()
        clock.advance(START)
        self.looks = Looks(found(history(), steps=(Step("dns", "ok", "TXT _mailx.there.example"),)))
        self.peers = Peers(
            world.store, world.cipher, world.settings, clock, discoverer=self.looks, local=world.accounts.local, now=clock.seconds
        )
        await self.peers.load()
        self.addCleanup(self.peers.stop)
        self.counting = PeerCounting(world.store, self.peers.hash, clock, clock.seconds)
        control = PeerControl(self.peers, self.counting)
        service = AdminService(self.socket, Administration(world.accounts, world.config, peers=control), world.reactor)
        service.startService()
        self.addCleanup(service.stopService)

    async def test_discovered_shown_and_listed(self) -> None:
        await self.serve()
        self.assertIn("mailxctl peer discover DOMAIN", await self.run_command("peer", "list"))
        output = await self.run_command("peer", "discover", THERE)
        self.assertIn("TXT _mailx.there.example", output)
        self.assertIn("continuity", output)
        await self.peers.reached(Channel(THERE, KEYS[0].public))
        self.counting.count(THERE, received=3, received_octets=3000)
        output = await self.run_command("peer", "show", THERE)
        for text in (
            f"{THERE}: pinned",
            "its mail goes no other way",
            "mx.there.example:2590",
            "3 received (2.9 KiB)",
            "reputation: good",
            "key 1: ed25519:",
        ):
            self.assertIn(text, output)
        self.assertIn("pinned", await self.run_command("peer", "list", "--text", "there"))
        answer = await self.run_json("peer", "show", THERE)
        self.assertEqual((answer["state"], answer["source"], answer["score"]), ("pinned", "https", 100))

    async def test_limits(self) -> None:
        await self.serve()
        output = await self.run_command("peer", "set", THERE, "--per-minute", "500", "--connections", "20", "--fallback", "never")
        for text in ("messages a minute: 500", "connections: 20", "fallback: never"):
            self.assertIn(text, output)
        output = await self.run_command(
            "peer", "set", THERE, "--per-minute", "default", "--connections", "default", "--fallback", "default"
        )
        self.assertEqual(output.strip(), f"{THERE}: unknown: it was not looked for yet")
        for arguments in ((), ("--burst", "many"), ("--burst", "0")):
            self.assertEqual((await self.fail_with("peer", "set", THERE, *arguments))["code"], "invalid")

    async def test_blocked_and_forgotten(self) -> None:
        await self.serve()
        self.assertIn("is blocked", await self.run_command("peer", "block", THERE))
        self.assertEqual((await self.run_json("peer", "show", THERE))["state"], "blocked")
        self.assertIn("not blocked any more", await self.run_command("peer", "unblock", THERE))
        self.assertEqual((await self.fail_with("peer", "forget", "--yes", THERE))["code"], "not_found")
        await self.run_command("peer", "discover", THERE)
        self.assertIn("as unknown as any other", await self.run_command("peer", "forget", "--yes", THERE))
        self.assertEqual((await self.fail_with("peer", "show", "example.test"))["code"], "invalid")
