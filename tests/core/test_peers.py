"""What is known of other MailX servers: static ones, what looking brings, pins, keys that change, what lasts."""

from collections.abc import Sequence
from typing import Any

from attrs import define, evolve, field
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred

from mailx.config_federation import StaticPeer
from mailx.core.peer import NONE, REFUSED, STATIC, UNSURE, Found, PeerSettings, Undecided
from mailx.core.peer_following import Following
from mailx.core.peer_looks import AGAIN
from mailx.core.peers import SOON, STRANGERS
from mailx.identity import domain_keys
from mailx.identity.domain_keys import OVERLAP, DomainKey
from mailx.identity.encoding import key_text
from mailx.identity.statements import SeedSigner
from mailx.mail.reply import Refused
from tests.core.peer_scene import DAY, KEYS, RECOVERY, START, THERE, Channel, PeersTestCase, found, history


class Static(PeersTestCase):
    """Peers that the configuration names."""

    async def test_is_found_without_looking(self) -> None:
        await self.scene(peers=(StaticPeer(THERE, ("127.0.0.1:2591", "mx.there.example"), key_text(KEYS[0].public)),))
        peer = await self.peers.find("There.Example.")
        assert peer is not None
        self.assertEqual(peer.servers, (("127.0.0.1", 2591), ("mx.there.example", 2590)))
        self.assertEqual((peer.keys, peer.source), ((KEYS[0].public,), STATIC))
        self.assertTrue(self.peers.known(THERE))
        self.assertEqual(await self.peers.keys(THERE, KEYS[1].public), (KEYS[0].public,))
        self.assertEqual(self.looks.asked, [])

    async def test_follows_an_announced_key_and_keeps_it(self) -> None:
        await self.scene(peers=(StaticPeer(THERE, ("127.0.0.1",), key_text(KEYS[0].public)),))
        self.clock.advance(DAY)
        await self.peers.announced(THERE, history(domain_keys.ROTATION)[1].statement)
        self.peers._prune_after = 0
        await self.peers.refresh()  # which forgets what is past
        again = await self.opened()
        peer = await again.find(THERE)
        assert peer is not None
        self.assertEqual(peer.keys[0], KEYS[1].public)


@define
class Told:
    """What the server itself says of its keys; ``asked`` are those that were."""

    keys: list[DomainKey] = field(factory=list)
    asked: list[tuple[str, Sequence[tuple[str, int]]]] = field(factory=list)
    waits: Deferred[None] | None = None

    async def history(self, domain: str, servers: Sequence[tuple[str, int]]) -> tuple[DomainKey, ...]:
        self.asked.append((domain, servers))
        if self.waits is not None:
            await self.waits
        return tuple(self.keys)


class Missed(PeersTestCase):
    """A static peer whose announcements were missed is followed as far as its own history proves."""

    async def missing(self) -> None:
        await self.scene(peers=(StaticPeer(THERE, ("127.0.0.1:2591",), key_text(KEYS[0].public)),))
        self.clock.advance(3 * DAY)
        self.told = Told()
        self.peers.following = Following(self.peers, self.told, self.clock.seconds)

    async def test_rotations(self) -> None:
        await self.missing()
        self.told.keys = history(domain_keys.ROTATION, domain_keys.ROTATION)
        self.assertEqual((await self.peers.keys(THERE, KEYS[2].public))[0], KEYS[2].public)
        self.assertEqual(self.told.asked, [(THERE, (("127.0.0.1", 2591),))])
        again = await self.opened()
        self.assertEqual((await again.keys(THERE, b""))[0], KEYS[2].public)
        self.assertEqual(self.alerts.told, [])

    async def test_while_it_is_asked_others_neither_wait_nor_alarm(self) -> None:
        """It may be asking us at the same time: if both waited, nobody would be answered."""
        await self.missing()
        self.told.keys, self.told.waits = history(domain_keys.ROTATION), Deferred()
        first = ensureDeferred(self.peers.keys(THERE, KEYS[1].public))
        while not self.told.asked:
            await self.world.store.read(lambda txn: None)
        self.assertEqual(await self.peers.keys(THERE, KEYS[1].public), (KEYS[0].public,))
        self.assertEqual(self.alerts.told, [])
        self.told.waits.callback(None)
        self.assertEqual((await first)[0], KEYS[1].public)
        self.assertEqual((len(self.told.asked), self.alerts.told), (1, []))

    async def test_who_asked_may_give_up_meanwhile(self) -> None:
        """A connection is given less time to prove itself than asking may take."""
        await self.missing()
        self.told.keys, self.told.waits = history(domain_keys.ROTATION), Deferred()
        asking = ensureDeferred(self.peers.keys(THERE, KEYS[1].public))
        while not self.told.asked:
            await self.world.store.read(lambda txn: None)
        asking.cancel()
        await self.assertFailure(asking, CancelledError)
        self.told.waits.callback(None)
        assert self.peers.following is not None
        while self.peers.following.under_way(THERE):
            await self.world.store.read(lambda txn: None)
        self.assertEqual((await self.peers.keys(THERE, KEYS[1].public))[0], KEYS[1].public)
        self.assertEqual((len(self.told.asked), self.alerts.told), (1, []))

    async def test_a_clock_that_was_ahead(self) -> None:
        """What was told then neither keeps it from being asked now, nor keeps alarms back."""
        await self.missing()
        ahead = [900 * DAY]
        self.peers = await self.opened(lambda: self.clock.seconds() + ahead[0])
        self.peers.following = Following(self.peers, self.told, self.clock.seconds)
        for _ in range(2):
            self.told.keys = history()
            await self.peers.keys(THERE, KEYS[4].public)
            ahead[0] = 0
            self.clock.advance(3601)
        self.assertEqual((len(self.told.asked), len(self.alerts.told)), (2, 2))

    async def test_a_recovery(self) -> None:
        await self.missing()
        gone: list[str] = []
        self.peers.on_distrust(gone.append)
        self.told.keys = history(domain_keys.RECOVERY)
        self.assertEqual(await self.peers.keys(THERE, KEYS[1].public), (KEYS[1].public,))
        self.assertEqual(gone, [THERE])

    async def test_the_first_of_several_announcements(self) -> None:
        await self.missing()
        self.told.keys = history(domain_keys.ROTATION, domain_keys.ROTATION)
        await self.peers.announced(THERE, self.told.keys[2].statement)
        self.assertEqual((await self.peers.keys(THERE, b""))[0], KEYS[2].public)

    async def test_another_node_was_told(self) -> None:
        await self.missing()
        await self.peers.find(THERE)
        await (await self.opened()).announced(THERE, history(domain_keys.ROTATION)[1].statement)
        self.assertEqual((await self.peers.keys(THERE, KEYS[1].public))[0], KEYS[1].public)

    async def test_what_proves_nothing_changes_nothing(self) -> None:
        """Histories of others, one that only names the key, one that forks from what was followed, an older one."""
        thief, recovery = SeedSigner(b"t" * 32), SeedSigner(b"u" * 32)
        own = domain_keys.first(THERE, recovery.public, START, thief)
        named = domain_keys.rotated(history()[0], thief, KEYS[4], START)
        await self.missing()
        for keys in ([own], [named], [own, domain_keys.recovered(own, recovery, KEYS[3], START)], []):
            self.told.keys = keys
            self.clock.advance(SOON + 1)
            self.assertEqual(await self.peers.keys(THERE, thief.public), (KEYS[0].public,))
        self.told.keys = history(domain_keys.ROTATION)
        self.clock.advance(SOON + 1)
        await self.peers.keys(THERE, KEYS[1].public)
        forked = [*history(), domain_keys.rotated(history()[0], KEYS[0], thief, START + DAY)]
        for keys in (forked, history()):
            self.told.keys = keys
            self.clock.advance(SOON + 1)
            self.assertEqual((await self.peers.keys(THERE, thief.public))[0], KEYS[1].public)
        self.assertEqual(set(self.alerts.told), {("security.peer_key", THERE)})

    async def test_a_wrong_key_makes_it_be_asked_now_and_then_only(self) -> None:
        await self.missing()
        for _ in range(5):
            self.assertEqual(await self.peers.keys(THERE, KEYS[4].public), (KEYS[0].public,))
        self.assertEqual(len(self.told.asked), 1)
        self.clock.advance(SOON + 1)
        await self.peers.keys(THERE, KEYS[4].public)
        self.assertEqual(len(self.told.asked), 2)


class Looking(PeersTestCase):
    """Domains that are looked for."""

    async def test_none_is_remembered_over_a_restart(self) -> None:
        await self.scene()
        self.assertIsNone(await self.peers.find(THERE))
        self.assertIsNone(await (await self.opened()).find(THERE))
        self.assertEqual(len(self.looks.asked), 1)
        self.clock.advance(3601)
        await self.peers.find(THERE)
        self.assertEqual(len(self.looks.asked), 2)

    async def test_what_has_none_need_not_be_asked(self) -> None:
        await self.scene()
        self.assertFalse(self.peers.absent(THERE))
        await self.peers.find(THERE)
        self.assertTrue(self.peers.absent(THERE))
        self.clock.advance(3601)
        self.assertFalse(self.peers.absent(THERE))
        self.looks.answer = found(history())
        await self.peers.find(THERE)
        await self.peers.reached(Channel(THERE, KEYS[0].public))
        self.looks.answer = Found(NONE, ttl=3600)
        self.clock.advance(3601)
        await self.undecided()
        self.assertFalse(self.peers.absent(THERE))

    async def test_a_server_is_remembered_over_a_restart(self) -> None:
        await self.scene()
        self.looks.answer = found(history())
        first = await self.peers.find(THERE)
        again = await self.opened()
        self.assertTrue(again.known(THERE))
        self.assertEqual(await again.find(THERE), first)
        self.assertEqual(len(self.looks.asked), 1)

    async def test_our_own_domains_are_no_peers(self) -> None:
        await self.scene()
        self.assertIsNone(await self.peers.find("example.test"))
        self.assertEqual(self.looks.asked, [])

    async def test_what_was_learnt_while_the_store_was_read_counts(self) -> None:
        await self.scene()
        self.looks.answer = found(history())
        read = self.peers._book.get

        async def slow(domain: str) -> Any:
            kept = await read(domain)
            self.patch(self.peers._book, "get", read)
            await self.peers.find(THERE)
            return kept

        self.patch(self.peers._book, "get", slow)
        self.assertIsNotNone(await self.peers.find(THERE))
        self.assertEqual(len(self.looks.asked), 1)

    async def test_everybody_who_asks_meanwhile_gets_the_same_answer(self) -> None:
        await self.scene()
        self.looks.waits = Deferred()
        self.looks.answer = found(history())
        asking = [ensureDeferred(self.peers.find(THERE)) for _ in range(3)]
        while not self.looks.asked:
            await self.world.store.read(lambda txn: None)
        self.looks.waits.callback(None)
        self.assertEqual(len({(await each).keys for each in asking}), 1)  # type: ignore[union-attr]
        self.assertEqual(len(self.looks.asked), 1)

    async def test_no_answer_in_time(self) -> None:
        await self.scene()
        self.looks.waits = Deferred()
        asking = ensureDeferred(self.peers.find(THERE, 3))
        while not self.looks.asked:
            await self.world.store.read(lambda txn: None)
        self.clock.advance(3)
        error = await self.assertFailure(asking, Undecided)
        self.assertEqual((error.reply.code, error.reason, error.fallback), (451, "no answer in time", True))
        self.looks.waits.callback(None)

    async def test_what_cannot_be_looked_for_again_is_used_until_its_document_ends(self) -> None:
        await self.scene()
        self.looks.answer = found(history(), until=START + 7 * DAY)
        await self.peers.find(THERE)
        self.looks.answer = Found(UNSURE, "DNS gives no answer")
        self.clock.advance(6 * DAY)
        self.assertIsNotNone(await self.peers.find(THERE))
        self.assertEqual(len(self.looks.asked), 2)
        self.clock.advance(AGAIN + 2 * DAY)
        self.assertEqual((await self.undecided()).reason, "DNS gives no answer")

    async def test_strangers_take_neither_all_places_nor_rows(self) -> None:
        await self.scene()
        self.looks.waits = Deferred()
        asking = [ensureDeferred(self.peers.keys(f"d{number}.example", b"k" * 32)) for number in range(STRANGERS + 1)]
        while len(self.looks.asked) < STRANGERS or not any(each.called for each in asking):
            await self.world.store.read(lambda txn: None)
        (refused,) = [each for each in asking if each.called]
        error = await self.assertFailure(refused, Undecided)
        self.assertEqual(error.reply.code, 451)
        self.looks.waits.callback(None)
        self.assertEqual([await each for each in asking if each is not refused], [()] * STRANGERS)
        self.assertEqual(await self.peers.keys("another.example", b"k" * 32), ())
        self.assertEqual(await self.world.store.read(lambda txn: txn.all("SELECT * FROM peers")), [])
        self.looks.answer = found(history())
        self.assertEqual(await self.peers.keys(THERE, KEYS[0].public), (KEYS[0].public,))
        self.assertEqual(len(await self.world.store.read(lambda txn: txn.all("SELECT * FROM peers"))), 1)

    async def test_switched_off(self) -> None:
        await self.scene(discover=False)
        self.assertIsNone(await self.peers.find(THERE))
        self.assertEqual(self.looks.asked, [])


class Falling(PeersTestCase):
    """What becomes of mail when the server of a domain is not found."""

    async def reached(self, **federation: Any) -> None:
        await self.scene(**federation)
        self.looks.answer = found(history(), until=START + 7 * DAY)
        await self.peers.find(THERE)
        await self.peers.reached(Channel(THERE, KEYS[0].public))

    async def test_a_pinned_domain_never_goes_another_way(self) -> None:
        await self.reached()
        for answer in (Found(NONE, ttl=3600), Found(UNSURE, "no"), Found(REFUSED, "wrong", evidence=True)):
            self.looks.answer = answer
            self.clock.advance(8 * DAY)
            for peers in (self.peers, await self.opened()):
                self.assertTrue(peers.known(THERE))
                self.assertFalse((await self.undecided(peers)).fallback)
        self.looks.answer = Found(NONE, ttl=3600)
        self.clock.advance(8 * DAY)
        self.assertFalse(self.peers.known(THERE))
        self.assertIsNone(await self.peers.find(THERE))

    async def test_a_pin_is_durable_and_grows(self) -> None:
        await self.reached()
        peer = await (await self.opened()).find(THERE)
        assert peer is not None
        self.assertEqual(peer.pinned_until, START + 30 * DAY)
        self.clock.advance(DAY + 1)
        await self.peers.reached(Channel(THERE, KEYS[0].public))
        peer = await (await self.opened()).find(THERE)
        assert peer is not None
        self.assertEqual(peer.pinned_until, START + 31 * DAY + 1)

    async def test_a_pin_outlasts_the_attempts(self) -> None:
        await self.reached(pin_days=1, retry=("3d", "3d"))
        self.assertEqual((await self.peers.state(THERE)).pinned_until, START + 8 * DAY)

    async def test_what_dns_says_is_enough_for_the_schedule(self) -> None:
        """A server that is down when it is looked for first."""
        await self.scene()
        self.looks.answer = Found(UNSURE, "its site: no connection", evidence=True)
        await self.undecided()
        self.assertTrue(self.peers.known(THERE))
        self.clock.advance(AGAIN)
        self.assertFalse(self.peers.known(THERE))

    async def test_policies(self) -> None:
        """Evidence of a server binds only where the policy says so; a name without any never does."""
        for policy, answer, fallback in (
            ("unpinned", Found(UNSURE, "no", evidence=True), True),
            ("never", Found(UNSURE, "no", evidence=True), False),
            ("never", Found(REFUSED, "no", evidence=True), False),
            ("never", Found(UNSURE, "no"), True),
        ):
            await self.scene(fallback=policy)
            self.looks.answer = answer
            self.assertEqual((await self.undecided()).fallback, fallback, (policy, answer))


class Changing(PeersTestCase):
    """Keys that change."""

    async def scene(self, *keys: str, **federation: Any) -> None:
        await super().scene(**federation)
        self.looks.answer = found(history(*keys))
        await self.peers.find(THERE)

    async def again(self, shown: Found) -> tuple[bytes, ...]:
        """The keys that are believed after another look."""
        self.looks.answer = shown
        self.clock.advance(DAY)
        peer = await self.peers.find(THERE)
        assert peer is not None
        return peer.keys

    async def test_a_rotation_is_followed_and_the_old_key_stays_good_for_a_while(self) -> None:
        await self.scene()
        self.assertEqual(await self.again(found(history(domain_keys.ROTATION))), (KEYS[1].public, KEYS[0].public))
        self.clock.advance(OVERLAP)
        self.assertEqual(await self.peers.keys(THERE, KEYS[0].public), (KEYS[1].public,))
        self.assertEqual(self.alerts.told, [])

    async def test_rotations_that_were_missed_are_followed(self) -> None:
        await self.scene()
        keys = await self.again(found(history(domain_keys.ROTATION, domain_keys.ROTATION, domain_keys.ROTATION)))
        self.assertEqual(keys[0], KEYS[3].public)

    async def test_a_recovery_revokes_the_old_key_at_once(self) -> None:
        await self.scene()
        self.assertEqual(await self.again(found(history(domain_keys.RECOVERY))), (KEYS[1].public,))

    async def test_a_key_that_nobody_announced_is_refused_and_alerted(self) -> None:
        await self.scene()
        thief = domain_keys.first(THERE, KEYS[4].public, START, KEYS[3])
        self.assertEqual(await self.again(found([thief])), (KEYS[0].public,))
        self.assertEqual(self.alerts.told, [("security.peer_key", THERE)])
        self.assertIn("nobody announced", (await self.peers.state(THERE)).trouble)
        self.assertEqual((await (await self.opened()).state(THERE)).keys(START), (KEYS[0].public,))

    async def test_an_older_history_does_not_take_a_key_back(self) -> None:
        await self.scene(domain_keys.ROTATION)
        self.assertEqual((await self.again(found(history())))[0], KEYS[1].public)
        self.assertEqual(len(self.alerts.told), 1)

    async def test_another_key_in_dns_alone_is_no_proof_of_a_change(self) -> None:
        await self.scene()
        shown = found(history(), key=KEYS[3].public, history=())
        self.assertEqual(await self.again(shown), (KEYS[0].public,))
        self.assertEqual(self.alerts.told, [])

    async def test_a_presented_key_that_is_unknown_is_looked_for(self) -> None:
        await self.scene()
        self.looks.answer = found(history(domain_keys.ROTATION))
        self.clock.advance(30)
        self.assertEqual(await self.peers.keys(THERE, KEYS[1].public), (KEYS[0].public,))  # looked for a moment ago
        self.clock.advance(DAY)
        self.assertIn(KEYS[1].public, await self.peers.keys(THERE, KEYS[1].public))

    async def test_a_stolen_key_at_a_connection_is_refused_and_alerted_once_in_a_while(self) -> None:
        await self.scene()
        for _ in range(3):
            self.clock.advance(120)
            self.assertEqual(await self.peers.keys(THERE, KEYS[3].public), (KEYS[0].public,))
        self.assertEqual(self.alerts.told, [("security.peer_key", THERE)])

    async def test_announcements(self) -> None:
        await self.scene()
        rotated = history(domain_keys.ROTATION)[1]
        for statement in (
            domain_keys.first(THERE, KEYS[4].public, START, KEYS[3]).statement,
            domain_keys.rotated(domain_keys.first(THERE, RECOVERY.public, START, KEYS[3]), KEYS[3], KEYS[2], START).statement,
            evolve(rotated.statement, body={**rotated.statement.body, "domain": "other.example"}),
        ):
            await self.assertFailure(ensureDeferred(self.peers.announced(THERE, statement)), Refused)
        await self.assertFailure(ensureDeferred(self.peers.announced(THERE, rotated.statement)), Refused)  # of tomorrow
        self.clock.advance(DAY)
        await self.peers.announced(THERE, rotated.statement)
        await self.peers.announced(THERE, rotated.statement)
        self.assertEqual((await (await self.opened()).find(THERE)).keys[0], KEYS[1].public)  # type: ignore[union-attr]

    async def test_an_announcement_after_one_that_was_missed(self) -> None:
        await self.scene()
        keys = history(domain_keys.ROTATION, domain_keys.ROTATION)
        self.looks.answer = found(keys)
        self.clock.advance(3 * DAY)
        await self.peers.announced(THERE, keys[2].statement)
        self.assertEqual((await self.peers.state(THERE)).key, KEYS[2].public)
        self.assertEqual(self.alerts.told, [])

    async def test_a_blocked_domain_has_no_keys(self) -> None:
        await self.scene()
        await self.peers.set(THERE, PeerSettings(blocked=True))
        error = await self.assertFailure(ensureDeferred(self.peers.keys(THERE, KEYS[0].public)), Refused)
        self.assertEqual(error.reply.code, 550)
        peer = await (await self.opened()).find(THERE)
        self.assertTrue(peer is not None and peer.blocked)

    async def test_connections_end_when_what_they_proved_counts_no_more(self) -> None:
        await self.scene()
        ended: list[str] = []
        self.peers.on_distrust(ended.append)
        await self.peers.set(THERE, PeerSettings(blocked=True))
        await self.peers.set(THERE, PeerSettings(blocked=True, burst=5))
        self.assertEqual(ended, [THERE])
        await self.peers.set(THERE, PeerSettings())
        await self.again(found(history(domain_keys.ROTATION)))
        self.assertEqual(ended, [THERE])
        await self.again(found(history(domain_keys.ROTATION, domain_keys.RECOVERY)))
        self.assertEqual(ended, [THERE, THERE])

    async def test_forgotten(self) -> None:
        await self.scene()
        forgotten: list[str] = []
        self.peers.on_forget(forgotten.append)
        self.assertTrue(await self.peers.forget(THERE))
        self.assertEqual(forgotten, [THERE])
        self.assertFalse(self.peers.known(THERE))
        thief = domain_keys.first(THERE, KEYS[4].public, START, KEYS[3])
        self.assertEqual(await self.again(found([thief])), (KEYS[3].public,))

    async def test_nothing_is_readable_in_the_database(self) -> None:
        await self.scene()
        await self.peers.set(THERE, PeerSettings(per_minute=5))
        rows = await self.world.store.read(lambda txn: [txn.all(f"SELECT * FROM {table}") for table in ("peers", "peer_settings")])
        self.assertNotIn("there.example", repr(rows))


class PostgreSQLChanging(Changing):
    engine = "postgresql"


class PostgreSQLFalling(Falling):
    engine = "postgresql"


class Nodes(PeersTestCase):
    """Several servers on one database."""

    engine = "postgresql"

    async def test_what_one_learns_and_sets_the_others_see(self) -> None:
        await self.scene()
        other = await self.opened()
        self.assertIsNone(await other.find(THERE))
        self.looks.answer = found(history())
        await self.peers.discover(THERE)
        await self.peers.reached(Channel(THERE, KEYS[0].public))
        await self.peers.set(THERE, PeerSettings(per_minute=7))
        await other.refresh()
        self.assertTrue(other.known(THERE))
        self.assertEqual(other.limits(THERE).per_minute, 7)
        peer = await other.find(THERE)
        self.assertEqual(peer is not None and peer.pinned_until, START + 30 * DAY)
        self.assertEqual(len(self.looks.asked), 2)

    async def test_an_older_key_does_not_replace_a_newer_one(self) -> None:
        """Another node looked a moment before the rotation, and writes after it."""
        await self.scene()
        other = await self.opened()
        self.looks.answer = found(history(at=START - DAY))
        await self.peers.find(THERE)
        await other.find(THERE)
        await self.peers.announced(THERE, history(domain_keys.ROTATION, at=START - DAY)[1].statement)
        self.clock.advance(299)  # the other still has the old one in memory
        await other.discover(THERE)
        self.assertEqual((await other.state(THERE)).key, KEYS[1].public)
        self.assertEqual((await self.peers.state(THERE)).key, KEYS[1].public)
        self.assertIn(KEYS[1].public, await other.keys(THERE, KEYS[1].public))
