"""Attempts to get a false key believed, mail sent by SMTP, or this server filled with what nobody here has to do with."""

from twisted.internet.defer import Deferred, ensureDeferred

from mailx.config_federation import StaticPeer
from mailx.core import peer_alarms, peers
from mailx.core.peer import KEYS_KEPT, NONE, UNSURE, Found, Undecided
from mailx.identity import domain_keys
from mailx.identity.domain_keys import ROTATION
from mailx.identity.encoding import key_text
from mailx.identity.statements import SeedSigner, signed
from tests.core.peer_scene import DAY, KEYS, RECOVERY, START, THERE, Channel, PeersTestCase, found, history
from tests.scenery import configured

THIEF, THIEFS_RECOVERY = SeedSigner(b"t" * 32), SeedSigner(b"u" * 32)


class Static(PeersTestCase):
    """A domain whose false key was believed before its true one was put into the configuration."""

    async def fixed(self, *keys: domain_keys.DomainKey) -> tuple[bytes, ...]:
        await self.scene()
        self.looks.answer = found(list(domain_keys.chain(keys)))
        await self.peers.find(THERE)
        self.world.settings.current = configured(federation={"peers": (StaticPeer(THERE, ("127.0.0.1",), key_text(KEYS[0].public)),)})
        self.peers._read_static()
        peer = await self.peers.find(THERE)
        assert peer is not None
        return peer.keys

    async def test_a_key_that_only_says_to_follow_is_not_believed(self) -> None:
        first = domain_keys.first(THERE, RECOVERY.public, START, KEYS[0])
        body = domain_keys.rotated(first, KEYS[0], THIEF, START).statement.body
        lying = domain_keys.DomainKey.of(signed("domain-key", body, THIEF))
        self.assertEqual(await self.fixed(lying), (KEYS[0].public,))

    async def test_nor_one_that_a_recovery_key_from_before_brought_in(self) -> None:
        begun = domain_keys.first(THERE, THIEFS_RECOVERY.public, START, THIEF)
        bridge = domain_keys.recovery_changed(begun, THIEF, RECOVERY.public, START)
        genuine = domain_keys.recovered(domain_keys.first(THERE, RECOVERY.public, START, KEYS[1]), RECOVERY, KEYS[0], START)
        false = domain_keys.recovered(genuine, THIEFS_RECOVERY, THIEF, START)
        self.assertEqual(await self.fixed(begun, bridge, genuine, false), (KEYS[0].public,))

    async def test_one_that_follows_is(self) -> None:
        self.assertEqual(await self.fixed(*history(ROTATION)), (KEYS[1].public, KEYS[0].public))
        self.assertEqual(await self.fixed(history(ROTATION)[1]), (KEYS[1].public,))


class Downgrade(PeersTestCase):
    async def test_a_pin_that_came_while_the_domain_was_looked_for_holds(self) -> None:
        await self.scene()
        self.looks.answer = found(history(), until=START + 90 * DAY)
        await self.peers.find(THERE)
        self.clock.advance(3601)
        self.looks.waits, self.looks.answer = Deferred(), Found(NONE, ttl=3600)
        asking = ensureDeferred(self.peers.find(THERE))
        while len(self.looks.asked) < 2:
            await self.world.store.read(lambda txn: None)
        await self.peers.reached(Channel(THERE, KEYS[0].public))
        self.looks.waits.callback(None)
        self.assertFalse((await self.assertFailure(asking, Undecided)).fallback)
        self.assertFalse((await self.undecided()).fallback)
        self.assertTrue(self.peers.known(THERE))

    async def test_a_clock_that_was_ahead_does_not_keep_the_answer_that_there_is_none(self) -> None:
        await self.scene()
        self.clock.advance(900 * DAY)
        self.assertIsNone(await self.peers.find(THERE))
        self.clock.rightNow -= 900 * DAY
        self.looks.answer = found(history())
        for each in (self.peers, await self.opened()):
            self.assertIsNotNone(await each.find(THERE))

    async def test_nor_from_following_a_key_whose_announcement_was_missed(self) -> None:
        await self.scene()
        self.clock.advance(900 * DAY)
        self.looks.answer = found(history(), until=START + 2000 * DAY)
        await self.peers.find(THERE)
        self.clock.rightNow -= 890 * DAY
        keys = history(ROTATION, ROTATION)
        self.looks.answer = found(keys)
        await self.peers.announced(THERE, keys[2].statement)
        self.assertEqual((await self.peers.keys(THERE, b""))[0], KEYS[2].public)

    async def test_that_dns_is_silent_does_not_undo_what_it_said(self) -> None:
        """``fallback = "never"`` holds for a domain of which only DNS was seen, until DNS says that there is none."""
        await self.scene(fallback="never")
        self.looks.answer = Found(UNSURE, "its site: no connection", evidence=True)
        self.assertFalse((await self.undecided()).fallback)
        self.looks.answer = Found(UNSURE, "DNS gives no answer")
        self.clock.advance(301)
        self.assertFalse((await self.undecided()).fallback)

    async def test_a_forged_answer_that_there_is_none_does_not_undo_never(self) -> None:
        for policy in ("never", "unpinned"):
            await self.scene(fallback=policy)
            self.looks.answer = found(history())
            await self.peers.find(THERE)
            self.clock.advance(3601)
            self.looks.answer = Found(NONE, ttl=3600)
            if policy == "unpinned":
                self.assertIsNone(await self.peers.find(THERE))
                self.assertTrue(self.peers.absent(THERE))
            else:
                self.assertFalse((await self.undecided()).fallback)
                self.assertFalse(self.peers.absent(THERE))


class Growth(PeersTestCase):
    async def test_whoever_has_a_domain_does_not_fill_the_store_with_those_below_it(self) -> None:
        await self.scene()
        self.patch(peers, "NEW_STRANGERS", 3)
        self.patch(peers, "UNPINNED_MOST", 2)
        self.looks.answer = found(history())
        await self.peers.find(THERE)
        await self.peers.reached(Channel(THERE, KEYS[0].public))
        for number in range(6):
            self.clock.advance(1)
            self.assertEqual(await self.peers.keys(f"d{number}.example", KEYS[0].public), (KEYS[0].public,))
        self.assertEqual(len(await self.peers.every()), 4)
        await self.peers.reached(Channel("d5.example", KEYS[0].public))  # what was only in memory is pinned as durably
        self.peers.stop()
        self.clock.advance(3601)
        await self.peers.refresh()
        self.assertEqual({each.domain for each in await self.peers.every()}, {THERE, "d5.example", "d1.example", "d2.example"})

    async def test_a_wrong_key_makes_us_look_again_now_and_then_only(self) -> None:
        await self.scene()
        self.looks.answer = found(history())
        await self.peers.find(THERE)
        self.clock.advance(600)
        self.looks.answer = Found(UNSURE, "its site: no connection", evidence=True)
        for _ in range(5):
            self.assertEqual(await self.peers.keys(THERE, THIEF.public), (KEYS[0].public,))
        self.assertEqual(len(self.looks.asked), 2)

    async def test_keys_announced_without_end_are_not_all_kept(self) -> None:
        await self.scene()
        keys = [domain_keys.first(THERE, RECOVERY.public, START, KEYS[0])]
        self.looks.answer = found(keys)
        await self.peers.find(THERE)
        holder = KEYS[0]
        for number in range(2 * KEYS_KEPT):
            following = SeedSigner(bytes([130 + number]) * 32)
            keys.append(domain_keys.rotated(keys[-1], holder, following, START))
            await self.peers.announced(THERE, keys[-1].statement)
            holder = following
        self.assertLessEqual(len((await self.peers._current(THERE)).history), KEYS_KEPT)


class Alarms(PeersTestCase):
    async def test_those_of_strangers_do_not_crowd_out_the_one_that_matters(self) -> None:
        await self.scene()
        self.looks.answer = found(history())
        await self.peers.find(THERE)
        await self.peers.reached(Channel(THERE, KEYS[0].public))
        for number in range(2 * peer_alarms.STRANGERS):
            await self.peers.keys(f"d{number}.example", KEYS[0].public)
        self.clock.advance(600)
        for number in range(2 * peer_alarms.STRANGERS):
            await self.peers.keys(f"d{number}.example", THIEF.public)
        self.assertEqual(len(self.alerts.told), peer_alarms.STRANGERS)
        await self.peers.keys(THERE, THIEF.public)
        self.assertEqual(self.alerts.told[peer_alarms.STRANGERS :], [("security.peer_key", THERE)])

    async def test_asking_for_keys_shows_none(self) -> None:
        """As for the domain that vouches for a sealed message."""
        await self.scene()
        self.looks.answer = found(history())
        await self.peers.find(THERE)
        self.clock.advance(600)
        self.assertEqual(await self.peers.keys(THERE, b""), (KEYS[0].public,))
        self.assertEqual((len(self.looks.asked), self.alerts.told), (1, []))


class Nodes(PeersTestCase):
    async def test_what_one_node_forgot_another_does_not_bring_back(self) -> None:
        await self.scene()
        other = await self.opened()
        other._several = True
        self.looks.answer = found(history())
        await self.peers.find(THERE)
        await other.find(THERE)
        self.assertTrue(await self.peers.forget(THERE))
        anew = domain_keys.first(THERE, RECOVERY.public, START, KEYS[3])
        self.looks.answer = found([anew])
        await other.discover(THERE)
        self.assertEqual((await self.peers.state(THERE)).key, KEYS[3].public)
        self.assertEqual(self.alerts.told, [])

    async def test_a_pin_of_what_another_node_forgot_is_durable(self) -> None:
        await self.scene()
        other = await self.opened()
        self.looks.answer = found(history())
        await other.find(THERE)
        await self.peers.forget(THERE)
        await other.reached(Channel(THERE, KEYS[0].public))
        self.assertTrue((await (await self.opened()).state(THERE)).pinned_until)


class PostgreSQLDowngrade(Downgrade):
    engine = "postgresql"


class PostgreSQLGrowth(Growth):
    engine = "postgresql"
