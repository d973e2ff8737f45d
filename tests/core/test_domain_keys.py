"""Keys of our own domains: made, rotated, recovered, backed up; what is kept and what is erased."""

from typing import Any

from twisted.internet.defer import Deferred, fail, gatherResults
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from mailx.core.audit import Actor, Filter, Log, acting
from mailx.core.domain_keys import FRESH_SECONDS
from mailx.core.key_backup import KeyBackup
from mailx.core.keystore import KeyLost, SealedKeystore
from mailx.core.publication import AGAIN_SECONDS
from mailx.core.users import DirectoryError
from mailx.identity import passphrase_file, recovery_keys
from mailx.identity.documents import ServerDocument, parse_record
from mailx.identity.domain_keys import OVERLAP, RECOVERY, RECOVERY_DELAY, RECOVERY_STEP, ROTATION, DomainKey, chain, succession
from mailx.identity.encoding import Malformed
from mailx.mail.log_leaf import DOMAIN_KEY, RECOVERY_KEY, Leaf
from mailx.store import Txn
from mailx.store import key_log as log_rows
from mailx.store.cipher import Cipher, Keys
from tests.core.keys import DAY, Ring, ring
from tests.scenery import DOMAIN

PASSPHRASE = "correct horse"


def rows(txn: Txn) -> list[tuple[int, bytes | None]]:
    return [(int(serial), private) for serial, private in txn.all("SELECT serial, private FROM domain_keys ORDER BY serial")]


async def leaves(keys: Ring) -> list[Leaf]:
    return [Leaf.decode(each) for each in await keys.world.store.read(log_rows.leaves, DOMAIN, 0, 100)]


def cheap(test: TestCase) -> None:
    """Passphrases need not be hard to guess here."""
    test.patch(passphrase_file, "_PASSES", 1)
    test.patch(passphrase_file, "_MEMORY", 8192)


class Refusing(TestCase):
    async def refused(self, call: Any, code: str) -> str:
        """The text with which ``call`` is refused."""
        try:
            await call
        except DirectoryError as error:
            self.assertEqual(error.code, code)
            return error.text
        raise self.failureException("not refused")


class Making(Refusing):
    engine = "sqlite"

    async def test_every_domain_has_a_key_of_its_own_and_a_recovery_key_that_is_told_once(self) -> None:
        keys = await ring(self, engine=self.engine)
        await keys.world.accounts.add_domain("second.test")
        made = await keys.domains.ensure_all()
        self.assertEqual(list(made), ["second.test"])
        self.assertEqual(sorted(keys.domains.domains()), [DOMAIN, "second.test"])
        self.assertNotEqual(keys.domains.signer(DOMAIN).public, keys.domains.signer("second.test").public)
        self.assertEqual(recovery_keys.read(made["second.test"]).public, keys.domains.history("second.test")[0].recovery)
        self.assertEqual(await keys.domains.ensure_all(), {})
        self.assertIsNone(await keys.domains.ensure("Second.TEST."))
        found = await leaves(keys)
        self.assertEqual([leaf.kind for leaf in found], [DOMAIN_KEY, RECOVERY_KEY])
        self.assertEqual({leaf.digest for leaf in found}, {keys.domains.history(DOMAIN)[0].statement.digest})

    async def test_two_at_once_make_one(self) -> None:
        keys = await ring(self, engine=self.engine)
        await keys.world.accounts.add_domain("second.test")
        other = await keys.again()
        made = await gatherResults([Deferred.fromCoroutine(each.domains.ensure("second.test")) for each in (keys, other)])
        self.assertEqual(len([text for text in made if text]), 1)
        self.assertEqual(keys.domains.signer("second.test").public, other.domains.signer("second.test").public)

    async def test_a_domain_that_is_not_ours_has_none(self) -> None:
        keys = await ring(self, engine=self.engine)
        await self.refused(keys.domains.ensure("elsewhere.test"), "not_found")
        for call in (keys.domains.signer, keys.domains.valid, keys.domains.history, keys.domains.document, keys.domains.log_secret):
            with self.assertRaises(KeyError):
                call("elsewhere.test")
        self.assertIsNone(keys.domains.published("elsewhere.test"))

    async def test_a_domain_that_comes_back_goes_on_with_its_keys(self) -> None:
        keys = await ring(self, engine=self.engine)
        public = keys.domains.signer(DOMAIN).public
        await keys.world.accounts.delete_domain(DOMAIN)
        with self.assertRaises(KeyError):
            keys.domains.signer(DOMAIN)
        await keys.world.accounts.add_domain(DOMAIN)
        other = await keys.again()
        self.assertIsNone(await other.domains.ensure(DOMAIN))
        self.assertEqual(other.domains.signer(DOMAIN).public, public)

    async def test_private_halves_lie_sealed_bound_to_their_place(self) -> None:
        keys = await ring(self, engine=self.engine)
        ((_, private),) = await keys.world.store.read(rows)
        assert private is not None
        held = keys.domains.keys(DOMAIN)
        store = SealedKeystore(keys.world.cipher)
        seed = store.export(DOMAIN, held.current.key, bytes(private))
        self.assertNotIn(seed, bytes(private))
        for domain, public in (("other.test", held.current.key), (DOMAIN, bytes(32))):
            with self.assertRaises(KeyLost):
                store.open(domain, public, bytes(private))
        with self.assertRaises(KeyLost):
            SealedKeystore(Cipher(Keys({1: bytes(32)}, 1, bytes(32)))).open(DOMAIN, held.current.key, bytes(private))
        for text in (repr(held), repr(keys.domains.signer(DOMAIN))):
            self.assertNotIn(seed.hex(), text)
            self.assertNotIn(repr(seed)[2:-1], text)


class MakingOnPostgreSQL(Making):
    engine = "postgresql"


class Rotating(Refusing):
    engine = "sqlite"

    async def test_the_old_key_announces_the_new_one_and_both_are_good_for_the_overlap(self) -> None:
        keys = await ring(self, engine=self.engine)
        old = keys.domains.signer(DOMAIN).public
        heard: list[tuple[str, DomainKey]] = []
        keys.domains.on_change(lambda domain, key: heard.append((domain, key)))
        keys.now += DAY
        key = await keys.domains.rotate(DOMAIN)
        self.assertEqual(heard, [(DOMAIN, key)])
        self.assertEqual(keys.domains.signer(DOMAIN).public, key.key)
        self.assertEqual(keys.domains.valid(DOMAIN), (key.key, old))
        self.assertEqual([signer.public for signer in keys.domains.signers(DOMAIN)], [key.key, old])
        history = keys.domains.history(DOMAIN)
        self.assertEqual(succession(history[0], chain(history, keys.now)), ROTATION)
        keys.now += OVERLAP
        self.assertEqual(keys.domains.valid(DOMAIN), (key.key,))
        self.assertEqual([leaf.serial for leaf in await leaves(keys)], [1, 1, 2])

    async def test_private_halves_are_erased_when_their_time_is_over(self) -> None:
        keys = await ring(self, engine=self.engine)
        await keys.domains.rotate(DOMAIN)
        clock = Clock()
        keys.domains._upkeep.clock = clock
        keys.domains.start()
        self.addCleanup(keys.domains.stop)
        clock.advance(FRESH_SECONDS)
        await keys.domains.stop()
        self.assertEqual([private is None for _, private in await keys.world.store.read(rows)], [False, False])
        keys.now += OVERLAP
        keys.domains.start()
        clock.advance(FRESH_SECONDS)
        await keys.domains.stop()
        self.assertEqual([private is None for _, private in await keys.world.store.read(rows)], [True, False])
        self.assertEqual(len(keys.domains.signers(DOMAIN)), 1)

    async def test_another_server_on_the_database_follows(self) -> None:
        keys = await ring(self, engine=self.engine)
        other = await keys.again()
        heard: list[str] = []
        other.domains.on_change(lambda domain, _: heard.append(domain))
        key = await keys.domains.rotate(DOMAIN)
        clock = Clock()
        other.domains._upkeep.clock = clock
        other.domains.start()
        clock.advance(FRESH_SECONDS)
        await other.domains.stop()
        self.assertEqual(other.domains.signer(DOMAIN).public, key.key)
        self.assertEqual(heard, [DOMAIN])

    async def test_another_server_follows_a_backup_that_begins_elsewhere(self) -> None:
        """The serial is the same, the key is not; and a domain that is new here is seen, too."""
        cheap(self)
        keys = await ring(self, engine=self.engine)
        file, _ = await KeyBackup(keys.domains, keys.world.reactor).backup(PASSPHRASE)
        anew = await ring(self, engine=self.engine)
        other = await anew.again()
        await KeyBackup(anew.domains, anew.world.reactor).restore(file, PASSPHRASE, force=True)
        await anew.world.accounts.add_domain("second.test")
        await anew.domains.ensure("second.test")
        await other.domains._look_again()
        self.assertEqual(other.domains.signer(DOMAIN).public, keys.domains.signer(DOMAIN).public)
        self.assertEqual(sorted(other.domains.domains()), [DOMAIN, "second.test"])
        await anew.world.accounts.delete_domain("second.test")
        await other.domains._look_again()
        self.assertEqual(other.domains.domains(), (DOMAIN,))

    async def test_of_two_that_rotate_at_once_one_is_told(self) -> None:
        keys = await ring(self, engine=self.engine)
        other = await keys.again()
        await keys.domains.rotate(DOMAIN)
        await self.refused(other.domains.rotate(DOMAIN), "in_use")
        self.assertEqual((await other.domains.rotate(DOMAIN)).serial, 3)

    async def test_it_is_in_the_audit_log_without_secrets(self) -> None:
        keys = await ring(self, engine=self.engine)
        with acting(Actor("admin", "eve"), "keys.rotate", DOMAIN):
            await keys.domains.rotate(DOMAIN)
        with acting(Actor("admin", "eve"), "keys.recovery", DOMAIN):
            text = await keys.domains.change_recovery(DOMAIN, keys.recovery)
        log = Log(keys.world.store, keys.world.cipher, keys.world.reactor)
        entries = list(await log.list(Filter()))
        self.assertEqual([entry.action for entry in entries][:2], ["keys.recovery", "keys.rotate"])
        self.assertIn("ed25519:", str(entries[1].after))
        for secret in (text, keys.recovery):
            self.assertNotIn(secret, str(entries))

    async def test_a_listener_that_fails_harms_nothing(self) -> None:
        keys = await ring(self, engine=self.engine)
        heard: list[str] = []
        keys.domains.on_change(lambda *_: 1 // 0)
        keys.domains.on_change(lambda domain, _: heard.append(domain))
        await keys.domains.rotate(DOMAIN)
        self.assertEqual(heard, [DOMAIN])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class RotatingOnPostgreSQL(Rotating):
    engine = "postgresql"


class Recovering(Refusing):
    async def test_the_recovery_key_replaces_a_stolen_key_at_once(self) -> None:
        keys = await ring(self)
        known = keys.domains.history(DOMAIN)[0]
        key = await keys.domains.recover(f" {DOMAIN} ", keys.recovery.lower())
        self.assertEqual(keys.domains.valid(DOMAIN), (key.key,))
        self.assertEqual(succession(known, chain(keys.domains.history(DOMAIN), keys.now)), RECOVERY)
        self.assertEqual([private is None for _, private in await keys.world.store.read(rows)], [True, False])
        self.assertEqual((await leaves(keys))[-1].serial, key.serial)

    async def test_another_recovery_key_does_nothing(self) -> None:
        keys = await ring(self)
        before = keys.domains.history(DOMAIN)
        text = await self.refused(keys.domains.recover(DOMAIN, recovery_keys.generate()), "invalid")
        self.assertIn("not the recovery key", text)
        await self.refused(keys.domains.recover(DOMAIN, keys.recovery[:-1]), "invalid")
        await self.refused(keys.domains.change_recovery(DOMAIN, recovery_keys.generate()), "invalid")
        self.assertEqual(keys.domains.history(DOMAIN), before)

    async def test_a_new_recovery_key_proved_by_the_one_before_is_the_only_one(self) -> None:
        keys = await ring(self)
        text = await keys.domains.change_recovery(DOMAIN, keys.recovery)
        await self.refused(keys.domains.recover(DOMAIN, keys.recovery), "invalid")
        await keys.domains.recover(DOMAIN, text)

    async def test_a_new_recovery_key_for_a_lost_one_is_good_beside_it_for_a_while(self) -> None:
        keys = await ring(self)
        first = keys.recovery
        text = await keys.domains.change_recovery(DOMAIN)
        self.assertEqual(len(keys.domains.overview(DOMAIN).recoveries), 2)
        await keys.domains.recover(DOMAIN, first)  # it was a thief who changed it: the owner's counts
        self.assertEqual(keys.domains.overview(DOMAIN).recoveries, (recovery_keys.read(first).public,))
        await self.refused(keys.domains.recover(DOMAIN, text), "invalid")

    async def test_what_was_made_while_the_clock_was_ahead_is_left_behind(self) -> None:
        """Others refuse a history with dates of the future; the recovery key begins another."""
        keys = await ring(self)
        known = keys.domains.keys(DOMAIN).current
        keys.now += 365 * 86400
        await keys.domains.rotate(DOMAIN)
        keys.now -= 365 * 86400
        published = keys.domains.published(DOMAIN)
        assert published is not None
        with self.assertRaises(Malformed):
            ServerDocument.parse(published, DOMAIN, int(keys.now))
        await keys.domains.recover(DOMAIN, keys.recovery, lost=True)
        published = keys.domains.published(DOMAIN)
        assert published is not None
        document = ServerDocument.parse(published, DOMAIN, int(keys.now))
        self.assertEqual(succession(known, document.history), RECOVERY)
        before = keys.domains.keys(DOMAIN).current
        again = await keys.domains.recover(DOMAIN, keys.recovery, lost=True)  # needlessly: it is followed all the same
        self.assertEqual(succession(before, (again,)), RECOVERY)

    async def test_beside_an_elder_recovery_key_a_recovery_takes_one_serial(self) -> None:
        keys = await ring(self)
        fresh = await keys.domains.change_recovery(DOMAIN)
        key = await keys.domains.recover(DOMAIN, fresh)
        self.assertEqual((key.serial, keys.domains.valid(DOMAIN)), (3, (key.key,)))
        chain(keys.domains.history(DOMAIN))
        keys.now += RECOVERY_DELAY
        self.assertGreaterEqual((await keys.domains.recover(DOMAIN, fresh)).serial, RECOVERY_STEP)

    async def test_a_server_set_up_anew_takes_the_domain_back(self) -> None:
        lost = await ring(self)
        known = lost.domains.history(DOMAIN)[0]
        anew = await ring(self)
        await self.refused(anew.domains.recover(DOMAIN, lost.recovery), "invalid")
        anew.now += 60
        key = await anew.domains.recover(DOMAIN, lost.recovery, lost=True)
        self.assertEqual(succession(known, chain(anew.domains.history(DOMAIN), anew.now)), RECOVERY)
        self.assertEqual(anew.domains.valid(DOMAIN), (key.key,))

    async def test_a_key_that_does_not_open_is_said_and_recovered(self) -> None:
        keys = await ring(self)

        def damage(txn: Txn) -> None:
            txn.execute("UPDATE domain_keys SET private = ?", (bytes(90),))

        await keys.world.store.write(damage)
        other = await keys.again()
        with self.assertRaises(KeyError):
            other.domains.signer(DOMAIN)
        self.assertFalse(other.domains.overview(DOMAIN).opens)
        self.assertIsNone(other.domains.published(DOMAIN))
        await self.refused(other.domains.rotate(DOMAIN), "invalid")
        key = await other.domains.recover(DOMAIN, keys.recovery)
        self.assertEqual(other.domains.signer(DOMAIN).public, key.key)


class Overviews(TestCase):
    async def test_a_key_ends_at_one_time_whatever_its_recovery_keys_were(self) -> None:
        keys = await ring(self)
        await keys.domains.change_recovery(DOMAIN, keys.recovery)
        keys.now += DAY
        await keys.domains.rotate(DOMAIN)
        overview = keys.domains.overview(DOMAIN)
        self.assertEqual(overview.ends, {1: keys.now + OVERLAP, 2: keys.now + OVERLAP})
        self.assertEqual(overview.since, keys.now)
        self.assertTrue(overview.opens)


class Publishing(TestCase):
    async def test_the_document_and_the_record_say_the_same(self) -> None:
        keys = await ring(self, federation={"host": "MX.example.test", "public_port": 2590})
        await keys.domains.rotate(DOMAIN)
        octets = keys.domains.published(DOMAIN)
        assert octets is not None
        document = ServerDocument.parse(octets, DOMAIN, keys.now)
        self.assertEqual(document.servers, (("mx.example.test", 2590),))
        self.assertEqual(document.history, keys.domains.history(DOMAIN))
        found = parse_record(keys.domains.record(DOMAIN))
        self.assertEqual((found.key, found.servers), (document.key, document.servers))
        assert document.log is not None
        self.assertIn("vrf", document.log)
        self.assertNotIn("seeds", str(document.log))

    async def test_it_is_signed_again_each_day_and_when_it_changes_and_not_otherwise(self) -> None:
        keys = await ring(self)
        first = keys.domains.document(DOMAIN)
        keys.now += AGAIN_SECONDS - 1
        self.assertIs(keys.domains.document(DOMAIN), first)
        keys.now += 1
        second = keys.domains.document(DOMAIN)
        self.assertIsNot(second, first)
        await keys.domains.rotate(DOMAIN)
        self.assertTrue(keys.domains.document(DOMAIN).signed_by(keys.domains.signer(DOMAIN).public))

    async def test_a_server_without_federation_names_no_server(self) -> None:
        keys = await ring(self, federation={"port": 0})
        octets = keys.domains.published(DOMAIN)
        assert octets is not None
        self.assertEqual(ServerDocument.parse(octets, DOMAIN, keys.now).servers, ())
        self.assertEqual(keys.domains.record(DOMAIN), "")

    async def test_a_very_long_history_is_published_by_its_end(self) -> None:
        keys = await ring(self)
        for _ in range(70):
            await keys.domains.rotate(DOMAIN)
        octets = keys.domains.published(DOMAIN)
        assert octets is not None
        self.assertEqual(len(ServerDocument.parse(octets, DOMAIN, keys.now).history), 64)
        self.assertEqual(len(keys.domains.history(DOMAIN)), 71)


class BackingUp(Refusing):
    def setUp(self) -> None:
        cheap(self)

    def backup(self, keys: Ring) -> KeyBackup:
        return KeyBackup(keys.domains, keys.world.reactor, lambda: keys.now)

    async def test_another_server_takes_the_keys(self) -> None:
        keys = await ring(self)
        await keys.domains.rotate(DOMAIN)
        file, names = await self.backup(keys).backup(PASSPHRASE)
        self.assertEqual(names, (DOMAIN,))
        anew = await ring(self)
        became = await self.backup(anew).restore(file, PASSPHRASE)
        self.assertIn("other keys here", became[DOMAIN])
        heard: list[str] = []
        anew.domains.on_change(lambda domain, _: heard.append(domain))
        self.assertEqual(await self.backup(anew).restore(file, PASSPHRASE, force=True), {DOMAIN: "new"})
        self.assertEqual(heard, [DOMAIN])
        self.assertEqual(anew.domains.history(DOMAIN), keys.domains.history(DOMAIN))
        self.assertEqual(anew.domains.signer(DOMAIN).public, keys.domains.signer(DOMAIN).public)
        self.assertEqual(anew.domains.log_secret(DOMAIN), keys.domains.log_secret(DOMAIN))
        self.assertEqual(len(anew.domains.signers(DOMAIN)), 2)
        self.assertEqual(await self.backup(anew).restore(file, PASSPHRASE), {DOMAIN: "same"})
        self.assertEqual((await (await anew.again()).domains.rotate(DOMAIN)).serial, 3)

    async def test_an_older_file_takes_nothing_back(self) -> None:
        keys = await ring(self)
        file, _ = await self.backup(keys).backup(PASSPHRASE)
        key = await keys.domains.rotate(DOMAIN)
        self.assertEqual(await self.backup(keys).restore(file, PASSPHRASE, force=True), {DOMAIN: "older"})
        self.assertEqual(keys.domains.signer(DOMAIN).public, key.key)

    async def test_a_newer_file_goes_on_from_what_is_here(self) -> None:
        keys = await ring(self)
        older, _ = await self.backup(keys).backup(PASSPHRASE)
        await keys.domains.rotate(DOMAIN)
        newer, _ = await self.backup(keys).backup(PASSPHRASE)
        anew = await ring(self)
        await self.backup(anew).restore(older, PASSPHRASE, force=True)
        before = len(await leaves(anew))
        self.assertEqual(await self.backup(anew).restore(newer, PASSPHRASE), {DOMAIN: "new"})
        self.assertEqual(len(await leaves(anew)), before + 1)  # what is in the key log is not entered twice

    async def test_keys_that_do_not_open_any_more_are_brought_back(self) -> None:
        keys = await ring(self)
        file, _ = await self.backup(keys).backup(PASSPHRASE)

        def damage(txn: Txn) -> None:
            txn.execute("UPDATE domain_keys SET private = NULL")

        await keys.world.store.write(damage)
        other = await keys.again()
        await self.refused(self.backup(other).backup(PASSPHRASE), "invalid")
        self.assertEqual(await self.backup(other).restore(file, PASSPHRASE), {DOMAIN: "new"})
        self.assertEqual(other.domains.signer(DOMAIN).public, keys.domains.signer(DOMAIN).public)

    async def test_an_older_file_takes_nothing_back_because_the_key_here_does_not_open(self) -> None:
        keys = await ring(self)
        file, _ = await self.backup(keys).backup(PASSPHRASE)
        await keys.domains.rotate(DOMAIN)

        def damage(txn: Txn) -> None:
            txn.execute("UPDATE domain_keys SET private = NULL")

        await keys.world.store.write(damage)
        other = await keys.again()
        self.assertIn("are newer", (await self.backup(other).restore(file, PASSPHRASE))[DOMAIN])
        self.assertEqual([key.serial for key in other.domains.history(DOMAIN)], [1, 2])
        self.assertEqual(await self.backup(other).restore(file, PASSPHRASE, force=True), {DOMAIN: "new"})
        self.assertEqual([key.serial for key in other.domains.history(DOMAIN)], [1])

    async def test_what_was_brought_back_is_not_erased_for_what_stood_in_its_place(self) -> None:
        keys = await ring(self)
        file, _ = await self.backup(keys).backup(PASSPHRASE)
        anew = await ring(self)
        await anew.domains.rotate(DOMAIN)
        other = await anew.again()  # which does not hear of what follows
        self.assertEqual(await self.backup(anew).restore(file, PASSPHRASE, force=True), {DOMAIN: "new"})
        other.now += OVERLAP + 86400
        await other.domains._erase()
        self.assertEqual((await anew.again()).domains.signer(DOMAIN).public, keys.domains.signer(DOMAIN).public)

    async def test_another_server_on_the_database_takes_what_was_brought_back(self) -> None:
        keys = await ring(self)
        file, _ = await self.backup(keys).backup(PASSPHRASE)

        def damage(txn: Txn) -> None:
            txn.execute("UPDATE domain_keys SET private = NULL")

        await keys.world.store.write(damage)
        one, two = await keys.again(), await keys.again()
        self.assertEqual(await self.backup(one).restore(file, PASSPHRASE), {DOMAIN: "new"})
        await two.domains._look_again()
        self.assertEqual(two.domains.signer(DOMAIN).public, keys.domains.signer(DOMAIN).public)

    async def test_wrong_files_and_passphrases_are_refused(self) -> None:
        keys = await ring(self)
        backup = self.backup(keys)
        file, _ = await backup.backup(PASSPHRASE)
        for text, passphrase in ((file, "another one"), ("", PASSPHRASE), ("é", PASSPHRASE), (file[:-9], PASSPHRASE), ("[]", PASSPHRASE)):
            await self.refused(backup.restore(text, passphrase), "invalid")
        await self.refused(backup.backup("short"), "invalid")
        await self.refused(backup.backup(PASSPHRASE, ["elsewhere.test"]), "not_found")

    async def test_domains_that_are_not_here_are_told(self) -> None:
        keys = await ring(self)
        await keys.world.accounts.add_domain("second.test")
        await keys.domains.ensure_all()
        file, _ = await self.backup(keys).backup(PASSPHRASE)
        anew = await ring(self)
        became = await self.backup(anew).restore(file, PASSPHRASE, force=True)
        self.assertEqual(became[DOMAIN], "new")
        self.assertIn("no domain second.test", became["second.test"])


class Erasing(TestCase):
    async def test_a_store_that_does_not_answer_is_logged_and_tried_again(self) -> None:
        keys = await ring(self)
        clock = Clock()
        keys.domains._upkeep.clock = clock
        keys.domains.start()
        self.addCleanup(keys.domains.stop)
        read = keys.world.store.read
        self.patch(keys.world.store, "read", lambda *_: fail(OSError("down")))
        clock.advance(FRESH_SECONDS)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.patch(keys.world.store, "read", read)
        clock.advance(FRESH_SECONDS)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 0)
        await keys.domains.stop()
