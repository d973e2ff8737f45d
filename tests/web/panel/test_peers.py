"""The pages of other MailX servers."""

from typing import Any

from twisted.internet.task import Clock

from mailx.core.peer import Step
from mailx.core.peer_control import PeerControl
from mailx.core.peer_figures import PeerCounting
from mailx.core.peers import Peers as PeerServers
from mailx.identity import domain_keys
from mailx.identity.encoding import key_text
from mailx.web.panel.pages.peers import Peers
from tests.core.peer_scene import KEYS, START, THERE, Channel, Looks, found, history
from tests.scenery import world
from tests.web.scene import PagesTest, scene_of


class PeerPages(PagesTest):
    async def opened(self) -> None:
        here, clock = await world(self), Clock()
        clock.advance(START)
        steps = (Step("dns", "ok", "<b>TXT</b> \u202e"), Step("https", "failed", "no connection"))
        self.looks = Looks(found(history(domain_keys.ROTATION), steps=steps))
        self.peers = PeerServers(
            here.store, here.cipher, here.settings, clock, discoverer=self.looks, local=here.accounts.local, now=clock.seconds
        )
        await self.peers.load()
        self.addCleanup(self.peers.stop)
        control = PeerControl(self.peers, PeerCounting(here.store, self.peers.hash, clock, clock.seconds))
        parts: dict[str, Any] = {"peers": control}
        self.scene = await scene_of(self, pages=[Peers], parts=parts, in_world=here)

    async def test_off(self) -> None:
        self.scene = await scene_of(self, pages=[Peers])
        self.assertIn("Federation is off", (await self.get("/peers")).text)
        await self.get("/peers/there.example", 404)

    async def test_looked_for_listed_and_shown(self) -> None:
        await self.opened()
        self.assertIn("No other MailX server is known yet", (await self.get("/peers")).text)
        page = await self.post("/peers/look", domain=THERE)
        self.assertEqual(page.status, 200)
        for text in ("What was found just now", "&lt;b&gt;TXT", "no connection", "no key of it was known", key_text(KEYS[1].public)):
            self.assertIn(text, page.text)
        self.assertNotIn("\u202e", page.text)
        await self.peers.reached(Channel(THERE, KEYS[1].public))
        self.assertIn("mail goes by federation only", (await self.get("/peers")).text)
        page = await self.get(f"/peers/{THERE}")
        self.assertIn("announced by the one before", page.text)
        self.assertIn("its mail goes no other way", page.text)
        self.assertIn("No domain fits", (await self.get("/peers?text=nobody")).text)

    async def test_changes(self) -> None:
        await self.opened()
        page = await self.done(f"/peers/{THERE}/limits", per_minute="500", per_hour="", burst="", connections="2", fallback="never")
        self.assertIn('value="500"', page.text)
        self.assertEqual((self.peers.limits(THERE).per_minute, self.peers.limits(THERE).connections), (500, 2))
        self.assertEqual((await self.post(f"/peers/{THERE}/limits", burst="0", fallback="")).status, 422)
        self.assertIn("is blocked", (await self.done(f"/peers/{THERE}/block")).text)
        self.assertIn("not blocked any more", (await self.done(f"/peers/{THERE}/unblock")).text)
        self.assertEqual((await self.post(f"/peers/{THERE}/forget")).status, 422)
        await self.post("/peers/look", domain=THERE)
        self.assertIn("as unknown as any other", (await self.done(f"/peers/{THERE}/forget")).text)

    async def test_names_that_are_none(self) -> None:
        await self.opened()
        for name in ("no domain", "example.test", "a" * 300):
            self.assertEqual((await self.post("/peers/look", domain=name)).status, 422)
        await self.get("/peers/example.test", 400)
