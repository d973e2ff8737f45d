"""Key logs as rows, on both engines: every root is that of RFC 9162, and nothing is added twice or between."""

from hashlib import sha256

from twisted.internet.defer import gatherResults
from twisted.trial.unittest import TestCase

from mailx.identity import merkle
from mailx.mail.log_leaf import USER_KEY, Leaf
from mailx.store import Store, Txn, key_log
from mailx.store.key_log import State
from tests.scenery import world

COUNT = 21
LABELS = [sha256(b"%d" % number).digest() for number in range(3)]
SQLITE, POSTGRESQL = "sqlite", "postgresql"


def entry(number: int) -> Leaf:
    return Leaf(USER_KEY, LABELS[number % 3], number, sha256(b"statement %d" % number).digest(), False, 1000 + number)


def root(txn: Txn, domain: str, size: int) -> bytes:
    wanted = merkle.peaks(0, size)
    found = key_log.nodes(txn, domain, wanted)
    return merkle.fold([found[node] for node in wanted])


class SQLite(TestCase):
    engine = SQLITE

    async def open(self) -> Store:
        return (await world(self, engine=self.engine)).store

    async def test_every_root_stands(self) -> None:
        store = await self.open()
        places = [await store.write(key_log.append, "a.example", entry(number)) for number in range(COUNT)]
        self.assertEqual(places, list(range(COUNT)))
        self.assertEqual(await store.read(key_log.state, "a.example"), State(COUNT, 0, 0))
        replay = merkle.Replay()
        for number, octets in enumerate(await store.read(key_log.leaves, "a.example", 0, 100)):
            replay.add(octets)
            self.assertEqual(await store.read(root, "a.example", number + 1), replay.root())
        self.assertEqual(replay.size, COUNT)

    async def test_an_entry_points_at_the_one_before_it_with_its_label(self) -> None:
        store = await self.open()
        for number in range(7):
            await store.write(key_log.append, "a.example", entry(number))
        found = await store.read(key_log.labelled, "a.example", LABELS[0], 100, 10)
        self.assertEqual([(number, Leaf.decode(octets).previous) for number, octets in found], [(0, None), (3, 0), (6, 3)])
        self.assertEqual([number for number, _ in await store.read(key_log.labelled, "a.example", LABELS[0], 6, 1)], [3])

    async def test_logs_of_two_domains_do_not_meet(self) -> None:
        store = await self.open()
        for domain in ("a.example", "b.example", "a.example"):
            await store.write(key_log.append, domain, entry(0))
        self.assertEqual(await store.read(key_log.state, "b.example"), State(1, 0, 0))
        self.assertEqual(await store.read(key_log.domains), ["a.example", "b.example"])
        self.assertEqual(Leaf.decode((await store.read(key_log.leaves, "b.example", 0, 9))[0]).previous, None)

    async def test_many_at_once_leave_no_gap(self) -> None:
        store = await self.open()
        places = await gatherResults([store.write(key_log.append, "a.example", entry(number)) for number in range(12)])
        self.assertEqual(sorted(places), list(range(12)))
        replay = merkle.Replay()
        for octets in await store.read(key_log.leaves, "a.example", 0, 100):
            replay.add(octets)
        self.assertEqual(await store.read(root, "a.example", 12), replay.root())

    async def test_what_is_undone_was_never_in_the_log(self) -> None:
        store = await self.open()
        await store.write(key_log.append, "a.example", entry(0))

        def fails(txn: Txn) -> None:
            key_log.append(txn, "a.example", entry(1))
            raise KeyError("the binding was refused")

        with self.assertRaises(KeyError):
            await store.write(fails)
        self.assertEqual(await store.write(key_log.append, "a.example", entry(2)), 1)

    async def test_an_epoch_begins_once(self) -> None:
        store = await self.open()
        await store.write(key_log.append, "a.example", entry(0))
        self.assertTrue(await store.write(key_log.add_epoch, "a.example", 2, b"two", entry(1)))
        self.assertFalse(await store.write(key_log.add_epoch, "a.example", 2, b"again", entry(1)))
        self.assertFalse(await store.write(key_log.add_epoch, "a.example", 1, b"one", entry(1)))
        self.assertEqual(await store.read(key_log.epochs, "a.example"), [b"two"])
        self.assertEqual(await store.read(key_log.state, "a.example"), State(2, 2, 0))

    async def test_what_peers_confirm_never_goes_back_or_beyond(self) -> None:
        store = await self.open()
        for number in range(4):
            await store.write(key_log.append, "a.example", entry(number))
        for size, confirmed in ((2, 2), (1, 2), (9, 2), (4, 4)):
            await store.write(key_log.confirm, "a.example", size)
            self.assertEqual((await store.read(key_log.state, "a.example")).confirmed, confirmed)


class PostgreSQL(SQLite):
    engine = POSTGRESQL


class Entries(TestCase):
    def test_form(self) -> None:
        """The octets that docs/key-log.rst describes."""
        leaf = Leaf(USER_KEY, b"L" * 32, 7, b"D" * 32, True, 1700000000, 5)
        self.assertEqual(
            leaf.encode().hex(),
            "010301" + "4c" * 32 + "0000000000000007" + "0000000000000005" + "44" * 32 + "000000006553f100",
        )
        self.assertEqual(Leaf.decode(leaf.encode()), leaf)
        first = leaf.after(None)
        self.assertEqual(first.encode()[43:51], b"\xff" * 8)
        self.assertEqual(Leaf.decode(first.encode()), first)

    def test_what_is_no_entry_is_refused(self) -> None:
        good = Leaf(USER_KEY, b"L" * 32, 7, b"D" * 32, False, 1, None).encode()
        for octets in (b"", good[:-1], good + b"\0", b"\2" + good[1:], good[:1] + b"\0" + good[2:], good[:1] + b"\5" + good[2:]):
            self.assertRaises(ValueError, Leaf.decode, octets)
        self.assertRaises(ValueError, Leaf.decode, good[:2] + b"\2" + good[3:])
        self.assertRaises(ValueError, Leaf.decode, good[:35] + b"\xff" * 8 + good[43:])
        self.assertRaises(ValueError, Leaf, USER_KEY, b"short", 1, b"D" * 32, False, 1)
