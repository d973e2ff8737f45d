"""Key logs of our own: heads, proofs and histories that hold, and epochs."""

from twisted.trial.unittest import TestCase

from mailx.core.key_log import HISTORY_LIMIT, NoSuchEntry
from mailx.identity import key_log, merkle
from mailx.identity.encoding import Malformed
from mailx.identity.statements import SeedSigner
from mailx.mail.log_leaf import USER_KEY, leaf_hash
from tests.core.log_scene import Server, server

A = "a.example"
ADA = "ada@a.example"


class Logs(TestCase):
    now = 1700000000.0

    async def open(self, count: int = 0) -> Server:
        here = await server(self, {}, A, clock=lambda: self.now)
        await here.grow(count)
        return here

    async def test_a_head_is_signed_and_holds_the_root_of_all_entries(self) -> None:
        here = await self.open(11)
        head = key_log.read_head((await here.log.head(A)).statement.encode(), A)
        replay = merkle.Replay()
        for octets in await here.log.leaves(A, 0, 100):
            replay.add(octets)
        self.assertEqual((head.epoch, head.size, head.root, head.time), (0, 11, replay.root(), 1700000000))
        self.assertTrue(head.statement.signed_by(here.keys.seeds[0].public))

    async def test_an_empty_log_has_a_head(self) -> None:
        head = await (await self.open()).log.head(A)
        self.assertEqual((head.size, head.root), (0, merkle.EMPTY))

    async def test_a_head_is_signed_anew_when_it_is_old_or_the_key_another(self) -> None:
        here = await self.open(1)
        first = await here.log.head(A)
        self.now += 3000
        self.assertIs(await here.log.head(A), first)
        self.now += 3000
        second = await here.log.head(A)
        self.assertEqual((second.time, second.root), (1700006000, first.root))
        here.keys.seeds.insert(0, SeedSigner(b"n" * 32))
        self.assertTrue((await here.log.head(A)).statement.signed_by(here.keys.seeds[0].public))

    async def test_proofs_hold(self) -> None:
        here = await self.open(13)
        roots = [await here.log.root(A, size) for size in range(14)]
        leaves = await here.log.leaves(A, 0, 13)
        for size in range(1, 14):
            for old in range(size + 1):
                proof = await here.log.consistency(A, old, size)
                self.assertTrue(merkle.consistent(old, size, roots[old], roots[size], proof))
            for number in range(size):
                proof = await here.log.inclusion(A, number, size)
                self.assertTrue(merkle.included(leaf_hash(leaves[number]), number, size, proof, roots[size]))

    async def test_what_is_not_there_is_not_proved(self) -> None:
        here = await self.open(3)
        for old, size in ((1, 4), (4, 3), (0, 9)):
            with self.assertRaises(NoSuchEntry):
                await here.log.consistency(A, old, size)
        for number, size in ((3, 3), (0, 4)):
            with self.assertRaises(NoSuchEntry):
                await here.log.inclusion(A, number, size)
        for call in (here.log.head("b.example"), here.log.leaves("b.example", 0, 1), here.log.epochs("b.example")):
            with self.assertRaises(KeyError):
                await call

    async def test_the_history_of_an_address_is_proved(self) -> None:
        here = await self.open(2)
        await here.bind(ADA, 1)
        await here.grow(2)
        await here.bind(ADA, 2)
        await here.bind(ADA, 3, revoked=True)
        found = await here.log.history(A, USER_KEY, ADA)
        label = key_log.proved_label(found.head.vrf, USER_KEY, ADA, found.label)
        key_log.check_history(found.entries, label, USER_KEY)
        for entry, proof in zip(found.entries, found.proofs, strict=True):
            key_log.check_included(entry, proof, found.head)
        self.assertEqual(
            [(entry.number, entry.leaf.serial, entry.leaf.revoked) for entry in found.entries], [(2, 1, False), (5, 2, False), (6, 3, True)]
        )
        self.assertEqual([each.digest for each in found.statements], [entry.leaf.digest for entry in found.entries])
        with self.assertRaises(Malformed):
            key_log.proved_label(found.head.vrf, USER_KEY, "eve@a.example", found.label)

    async def test_nobody_without_entries_is_told_from_others(self) -> None:
        found = await (await self.open(2)).log.history(A, USER_KEY, "nobody@a.example")
        self.assertEqual((found.entries, found.statements, found.earlier), ((), (), False))
        key_log.proved_label(found.head.vrf, USER_KEY, "nobody@a.example", found.label)

    async def test_a_long_history_ends_with_the_newest(self) -> None:
        here = await self.open()
        for serial in range(1, HISTORY_LIMIT + 4):
            await here.bind(ADA, serial)
        found = await here.log.history(A, USER_KEY, ADA)
        self.assertTrue(found.earlier)
        self.assertEqual([entry.leaf.serial for entry in found.entries], list(range(4, HISTORY_LIMIT + 4)))

    async def test_no_address_is_in_the_log(self) -> None:
        here = await self.open()
        await here.bind(ADA)
        octets = b"".join(await here.log.leaves(A, 0, 10))
        self.assertNotIn(b"ada", octets)
        self.assertNotIn(b"a.example", octets)

    async def test_a_replay_finds_what_was_put_in_behind_the_back(self) -> None:
        """An owner sees an entry about itself that it did not make, which no proof of single entries would show."""
        here = await self.open(4)
        await here.bind(ADA, 1)
        await here.bind(ADA, 2)
        head = await here.log.head(A)
        label = key_log.label(here.keys.secret, USER_KEY, ADA)
        reader = key_log.Reader({label: USER_KEY})
        for octets in await here.log.leaves(A, 0, 100):
            reader.add(octets)
        reader.finish(head)
        self.assertEqual([entry.leaf.serial for entry in reader.found[label]], [1, 2])

    async def test_a_replay_refuses_what_the_head_does_not_sign(self) -> None:
        here = await self.open(6)
        leaves = await here.log.leaves(A, 0, 100)
        head = await here.log.head(A)
        for wrong in (leaves[:-1], [*leaves, leaves[-1]], [*leaves[:2], leaves[3], leaves[2], *leaves[4:]]):
            reader = key_log.Reader({})
            with self.assertRaises(Malformed):
                for octets in wrong:
                    reader.add(octets)
                reader.finish(head)

    async def test_an_epoch_names_what_was_lost(self) -> None:
        here = await self.open(5)
        await here.log.confirm(A, 3)
        last = key_log.make_head([here.keys.seeds[0]], A, 0, 9, b"r" * 32, b"v" * 32, 1)
        epoch = await here.log.begin_epoch(A, last)
        assert epoch is not None
        self.assertEqual((epoch.epoch, epoch.kept, epoch.of, epoch.size, epoch.root), (1, 3, 0, 9, b"r" * 32))
        head = await here.log.head(A)
        self.assertEqual((head.epoch, head.size), (1, 6))  # one entry tells of it
        self.assertIsNone(await here.log.begin_epoch(A, last))
        here.keys.seeds.insert(0, SeedSigner(b"n" * 32))
        (told,) = await here.log.epochs(A)
        self.assertEqual(told.statement.digest, epoch.statement.digest)
        self.assertTrue(told.statement.signed_by(here.keys.seeds[0].public))  # the key of now signs it too
