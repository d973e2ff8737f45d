"""What administrators see of other servers and do with them, and what is counted."""

from typing import Any

from twisted.internet.defer import ensureDeferred

from mailx.config_federation import StaticPeer
from mailx.core.audit import Actor, Log, acting
from mailx.core.peer import Found
from mailx.core.peer_figures import EVERY, FAIR, GOOD, POOR, PeerFigures
from mailx.core.users import DirectoryError
from mailx.identity.encoding import key_text
from tests.core.peer_scene import DAY, KEYS, THERE, Channel, PeersTestCase, found, history


class Control(PeersTestCase):
    async def opened_control(self, **federation: Any) -> None:
        await self.scene(**federation)
        self.it = self.control()

    async def refused(self, code: str, call: Any) -> None:
        error = await self.assertFailure(ensureDeferred(call), DirectoryError)
        self.assertEqual(error.code, code, error.text)

    async def test_discovered_step_by_step(self) -> None:
        await self.opened_control()
        self.looks.answer = found(history())
        shown, steps = await self.it.discover("There.Example")
        self.assertEqual((shown.state, shown.known.key), ("known", KEYS[0].public))
        self.assertEqual((steps[-1].name, steps[-1].text), ("continuity", "no key of it was known"))
        self.looks.answer = Found("refused", "its document: not JSON", evidence=True)
        shown, _ = await self.it.discover(THERE)
        self.assertEqual((shown.state, shown.known.trouble), ("trouble", "its document: not JSON"))
        await self.peers.reached(Channel(THERE, KEYS[0].public))
        self.looks.answer = found(history())
        shown, steps = await self.it.discover(THERE)
        self.assertEqual((shown.state, steps[-1].text), ("pinned", "the key is the one that was known"))
        self.looks.answer = Found("none")
        self.assertEqual([(await self.it.discover(name))[0].state for name in (THERE, "new.example")], ["missing", "none"])

    async def test_listed(self) -> None:
        await self.opened_control(peers=(StaticPeer("static.example", ("127.0.0.1",), key_text(KEYS[1].public)),))
        self.looks.answer = found(history())
        await self.peers.find(THERE)
        await self.it.set("limited.example", {"per_minute": 5})
        listed = await self.it.list()
        self.assertEqual(
            [(one.domain, one.state) for one in listed], [("limited.example", "unknown"), ("static.example", "known"), (THERE, "known")]
        )
        self.assertEqual([one.domain for one in await self.it.list("THERE")], [THERE])
        self.assertEqual([one.domain for one in await self.it.list("", "limited.example", 1)], ["static.example"])

    async def test_limits(self) -> None:
        await self.opened_control()
        for changes in ({"per_minute": -1}, {"burst": 0}, {"connections": True}, {"per_hour": 10**7}, {"fallback": "always"}):
            await self.refused("invalid", self.it.set(THERE, changes))
        shown = await self.it.set(THERE, {"per_minute": 0, "connections": 3, "fallback": "never"})
        self.assertEqual((shown.settings.per_minute, shown.settings.connections, shown.settings.fallback), (0, 3, "never"))
        again = await self.opened()
        self.assertEqual(again.limits(THERE), shown.settings)
        await self.it.set(THERE, {"per_minute": None, "connections": None, "fallback": ""})
        self.assertEqual((await self.opened()).settings(), {})

    async def test_names(self) -> None:
        await self.opened_control()
        for name in ("", "no domain", "@", "example.test", "[127.0.0.1]"):
            await self.refused("invalid", self.it.show(name))
        await self.refused("not_found", self.it.forget("other.example"))

    async def test_audited(self) -> None:
        await self.opened_control()
        self.looks.answer = found(history())
        log = Log(self.world.store, self.world.cipher, self.world.reactor)
        for action, call in (
            ("peer.discover", lambda: self.it.discover(THERE)),
            ("peer.block", lambda: self.it.block(THERE)),
            ("peer.unblock", lambda: self.it.unblock(THERE)),
            ("peer.forget", lambda: self.it.forget(THERE)),
        ):
            with acting(Actor("admin", "ada"), action):
                await call()
            entry = (await log.list())[0]
            self.assertEqual((entry.action, entry.target), (action, THERE))
        with acting(Actor("admin", "ada"), "peer.forget"):
            await self.refused("not_found", self.it.forget(THERE))
        self.assertEqual(len(await log.list()), 4)


class Counted(PeersTestCase):
    async def test_sums_of_thirty_days(self) -> None:
        await self.scene()
        self.control()
        self.counting.start()
        self.counting.count(THERE, received=1, received_octets=4096)
        self.counting.count(THERE, received=1, received_octets=4096, violations=1)
        self.assertEqual(await self.counting.of(THERE), PeerFigures(received=2, received_octets=8192, violations=1))
        self.clock.advance(EVERY)
        await self.counting.stop()
        self.control()
        self.counting.count(THERE, sent=1)
        self.assertEqual(await self.counting.of(THERE), PeerFigures(received=2, received_octets=8192, violations=1, sent=1))
        self.assertEqual((await self.counting.all())(THERE).received, 2)
        self.clock.advance(30 * DAY)
        self.assertEqual((await self.counting.of(THERE)).received, 0)
        await self.counting.stop()

    async def test_reputation(self) -> None:
        for figures, word in (
            (PeerFigures(), ""),
            (PeerFigures(received=100, sent=100), GOOD),
            (PeerFigures(received=100, violations=20), FAIR),
            (PeerFigures(received=10, refused=90, violations=10), POOR),
            (PeerFigures(sent=1, failed=1), GOOD),
        ):
            self.assertEqual(figures.reputation, word, figures)


class PostgreSQLCounted(Counted):
    engine = "postgresql"
