"""Delivery on both engines: entries, counters, quotas, threads, and what stands and falls together."""

import os
from typing import Any

from attrs import evolve
from twisted.internet.defer import DeferredList
from twisted.trial.unittest import TestCase

from mailx.core.users import User
from mailx.mail.mailbox import Change, Flag
from mailx.mail.reply import Unavailable
from mailx.store import Txn
from mailx.store.delivery import Consignment, Delivery, Placed, Problem, Target, deliver, release, retain
from mailx.store.engine import Conflict
from mailx.store.mailboxes import name_hash
from mailx.store.messages import CHARGE, charge, seal_content, seal_summary
from tests.scenery import World, world


def entries(txn: Txn, mailbox: int) -> list[Any]:
    columns = "uid, message_id, flags, modseq, received, saved, size, thread_id"
    return txn.all(f"SELECT {columns} FROM entries WHERE mailbox_id = ? ORDER BY uid", (mailbox,))


def counters(txn: Txn, mailbox: int) -> dict[str, int]:
    names = ("uidnext", "modseq", "messages", "unseen", "deleted", "size")
    row = txn.one(f"SELECT {', '.join(names)} FROM mailboxes WHERE id = ?", (mailbox,))
    assert row is not None
    return dict(zip(names, row, strict=True))


def used(txn: Txn, account: int) -> int:
    row = txn.one("SELECT used FROM accounts WHERE id = ?", (account,))
    assert row is not None
    return int(row[0])


def refs(txn: Txn) -> list[int]:
    sql = "SELECT m.refs + coalesce(c.count, 0) FROM messages m LEFT JOIN copies c ON c.message_id = m.id ORDER BY m.id"
    return [count for (count,) in txn.all(sql)]


class Deliveries:
    """Mixed into a TestCase with an ``engine``."""

    engine = ""
    world: World

    async def begin(self: Any, *names: str, **sections: Any) -> list[User]:
        self.world = await world(self, engine=self.engine, **sections)
        self.heard: list[Change] = []
        self.world.store.listen(self.heard.append)
        return [await self.world.user(f"{name}@example.test") for name in names]

    def target(self: Any, user: User, mailbox: str = "INBOX", flags: int = 0, threads: tuple[str, ...] = (), quota: int = 0) -> Target:
        cipher = self.world.cipher
        hashes = tuple(cipher.hash(b"thread", b"", id.encode()) if id else b"" for id in threads)
        return Target(user.id, name_hash(cipher, user.id, mailbox), quota, flags, hashes)

    def message(self: Any, *targets: Target, size: int = 1000) -> Delivery:
        guid = os.urandom(16)
        cipher = self.world.cipher
        return Delivery(guid, size, seal_summary(cipher, guid, b"s"), seal_content(cipher, guid, b"c"), None, 500, 600, targets)

    async def one(self: Any, *targets: Target, each: bool = False, size: int = 1000) -> Any:
        (outcomes,) = await self.world.store.write(deliver, Consignment((self.message(*targets, size=size),), each))
        return outcomes

    async def test_entry_and_counters(self: Any) -> None:
        """A message makes one entry, and the counters of mailbox and account tell of it."""
        (ann,) = await self.begin("ann")
        (placed,) = await self.one(self.target(ann))
        read = self.world.store.read
        self.assertEqual((placed.account, placed.uid, placed.used), (ann.id, 1, 1050))
        (entry,) = await read(entries, placed.mailbox)
        self.assertEqual((entry[0], entry[2:7]), (1, (0, 2, 500, 600, 1000)))
        counted = await read(counters, placed.mailbox)
        self.assertEqual(counted, {"uidnext": 2, "modseq": 2, "messages": 1, "unseen": 1, "deleted": 0, "size": 1000})
        self.assertEqual(await read(used, ann.id), 1050)
        self.assertEqual(self.heard, [Change(placed.mailbox, 2, added=((1, 0, 1000),))])

    async def test_flags_are_counted(self: Any) -> None:
        """A message filed as seen and deleted counts so."""
        (ann,) = await self.begin("ann")
        (placed,) = await self.one(self.target(ann, "Drafts", int(Flag.SEEN | Flag.DELETED | Flag.DRAFT)))
        counted = await self.world.store.read(counters, placed.mailbox)
        self.assertEqual((counted["messages"], counted["unseen"], counted["deleted"]), (1, 0, 1))

    async def test_one_copy_for_all(self: Any) -> None:
        """Many recipients share one message; each is charged its full size."""
        users = await self.begin(*[f"user{number}" for number in range(12)])
        outcomes = await self.one(*[self.target(user) for user in users])
        self.assertEqual([outcome.account for outcome in outcomes], [user.id for user in users])
        self.assertEqual(await self.world.store.read(refs), [12])
        for user in users:
            self.assertEqual(await self.world.store.read(used, user.id), 1050)

    async def test_batch(self: Any) -> None:
        """Calls that share a commit get UIDs in their order and raise the mod-sequence once; nothing is mixed up."""
        ann, bob = await self.begin("ann", "bob")
        store = self.world.store
        calls = [
            Consignment((self.message(self.target(ann), size=100),)),
            Consignment((self.message(self.target(bob), self.target(ann), size=200),)),
            Consignment((self.message(self.target(ann), size=300),)),
        ]
        (first,), (second, third), (fourth,) = [answer[0] for answer in await store.write(lambda txn: deliver(txn, calls))]
        self.assertEqual([first.uid, third.uid, fourth.uid, second.uid], [1, 2, 3, 1])
        self.assertEqual([size for *_, size, _ in await store.read(entries, first.mailbox)], [100, 200, 300])
        self.assertEqual((await store.read(counters, first.mailbox))["modseq"], 2)
        self.assertEqual(await store.read(used, ann.id), charge(100) + charge(200) + charge(300))
        self.assertEqual([first.used, third.used, fourth.used], [105, 315, 630])
        self.assertEqual(self.heard[-2:], [
            Change(first.mailbox, 2, added=((1, 0, 100), (2, 0, 200), (3, 0, 300))),
            Change(second.mailbox, 2, added=((1, 0, 200),)),
        ])  # fmt: skip

    async def test_failing_batch(self: Any) -> None:
        """A delivery that the database refuses does not hurt those that share its commit."""
        (ann,) = await self.begin("ann")
        bad = evolve(self.message(self.target(ann)), summary=None)
        waiting = [
            self.world.store.write(deliver, Consignment((bad if number == 2 else self.message(self.target(ann)),))) for number in range(5)
        ]
        outcomes = await DeferredList(waiting, consumeErrors=True)
        self.assertEqual([success for success, _ in outcomes], [True, True, False, True, True])
        self.assertTrue(outcomes[2][1].check(Conflict))
        self.assertEqual([outcome[0][0].uid for success, outcome in outcomes if success], [1, 2, 3, 4])
        self.assertEqual(await self.world.store.read(refs), [1, 1, 1, 1])

    async def test_quota_of_one(self: Any) -> None:
        """What does not fit is not stored, to the octet."""
        (ann,) = await self.begin("ann")
        await self.world.accounts.set_quota(ann.address, 2099)
        self.assertIsInstance((await self.one(self.target(ann)))[0], Placed)
        self.assertEqual(await self.one(self.target(ann)), [Problem.FULL])
        self.assertEqual(await self.world.store.read(refs), [1])
        await self.world.accounts.set_quota(ann.address, 2100)
        self.assertIsInstance((await self.one(self.target(ann)))[0], Placed)
        self.assertEqual(await self.world.store.read(used, ann.id), 2100)

    async def test_default_quota(self: Any) -> None:
        """An account without a quota of its own has the default, 0 of its own is unlimited."""
        ann, bob = await self.begin("ann", "bob")
        await self.world.accounts.set_quota(bob.address, 0)
        self.assertEqual(await self.one(self.target(ann, quota=1000)), [Problem.FULL])
        self.assertIsInstance((await self.one(self.target(bob, quota=1000)))[0], Placed)

    async def test_full_beside_others(self: Any) -> None:
        """With one verdict for all, an account that became full is served beside one that is not; with each it is refused."""
        ann, bob = await self.begin("ann", "bob")
        await self.world.accounts.set_quota(ann.address, 10)
        outcomes = await self.one(self.target(ann), self.target(bob), each=True)
        self.assertEqual(outcomes[0], Problem.FULL)
        self.assertIsInstance(outcomes[1], Placed)
        self.assertEqual(await self.world.store.read(used, ann.id), 0)
        for outcome in await self.one(self.target(ann), self.target(bob)):
            self.assertIsInstance(outcome, Placed)
        self.assertEqual(await self.world.store.read(used, ann.id), 1050)

    async def test_quota_within_batch(self: Any) -> None:
        """Each message of a batch sees what the ones before it took."""
        (ann,) = await self.begin("ann")
        await self.world.accounts.set_quota(ann.address, 2100)
        calls = [Consignment((self.message(self.target(ann)),)) for _ in range(3)]
        answers = await self.world.store.write(lambda txn: deliver(txn, calls))
        self.assertEqual([answer[0][0] is Problem.FULL for answer in answers], [False, False, True])
        self.assertEqual(await self.world.store.read(used, ann.id), 2100)

    async def test_consignment_falls_whole(self: Any) -> None:
        """If one message of a consignment does not fit, none is stored and nothing is charged, and others of the batch are not hurt."""
        (ann,) = await self.begin("ann")
        await self.world.accounts.set_quota(ann.address, 2100)
        calls = [
            Consignment(tuple(self.message(self.target(ann)) for _ in range(3))),
            Consignment(tuple(self.message(self.target(ann)) for _ in range(2))),
        ]
        fell, stood = await self.world.store.write(lambda txn: deliver(txn, calls))
        self.assertEqual(fell, [[None], [None], [Problem.FULL]])
        self.assertEqual([outcomes[0].uid for outcomes in stood], [1, 2])
        self.assertEqual(await self.world.store.read(used, ann.id), 2100)

    async def test_gone(self: Any) -> None:
        """A mailbox that is missing keeps a message with one verdict out everywhere; with each, out of there only."""
        ann, bob = await self.begin("ann", "bob")
        self.assertEqual(await self.one(self.target(ann, "Nowhere"), self.target(bob)), [Problem.GONE, None])
        self.assertEqual(await self.world.store.read(refs), [])
        outcomes = await self.one(self.target(ann, "Nowhere"), self.target(bob), each=True)
        self.assertEqual(outcomes[0], Problem.GONE)
        self.assertIsInstance(outcomes[1], Placed)
        self.assertEqual(await self.world.store.read(refs), [1])

    async def test_deleted_account(self: Any) -> None:
        """An account that is being deleted takes nothing."""
        (ann,) = await self.begin("ann")
        await self.world.store.write(lambda txn: txn.execute("UPDATE accounts SET state = 'erased' WHERE id = ?", (ann.id,)))
        self.assertEqual(await self.one(self.target(ann)), [Problem.GONE])

    async def thread(self: Any, user: User, own: str, *answered: str) -> int:
        (placed,) = await self.one(self.target(user, threads=(own, *answered)))
        rows = await self.world.store.read(entries, placed.mailbox)
        return int(rows[placed.uid - 1][-1])

    async def test_threads(self: Any) -> None:
        """In-Reply-To decides before References, these in their order; a message that answers nothing known begins a thread."""
        (ann,) = await self.begin("ann")
        first = await self.thread(ann, "a")
        second = await self.thread(ann, "b")
        self.assertNotEqual(first, second)
        self.assertEqual(await self.thread(ann, "c", "b", "a"), second)
        self.assertEqual(await self.thread(ann, "d", "unknown", "a", "b"), first)
        self.assertEqual(await self.thread(ann, "e", "d"), first)
        self.assertNotIn(await self.thread(ann, ""), (first, second))

    async def test_late_parent(self: Any) -> None:
        """Answers to a message that has not come meet, and it joins them when it comes."""
        (ann,) = await self.begin("ann")
        first = await self.thread(ann, "answer1", "parent", "grandparent")
        self.assertEqual(await self.thread(ann, "answer2", "parent"), first)
        self.assertEqual(await self.thread(ann, "parent"), first)

    async def test_threads_are_the_accounts_own(self: Any) -> None:
        """Two accounts with the same messages have threads of their own, also within one batch."""
        ann, bob = await self.begin("ann", "bob")
        calls = [
            Consignment((self.message(self.target(ann, threads=("a",))),)),
            Consignment((self.message(self.target(bob, threads=("b", "a")), self.target(ann, threads=("b", "a"))),)),
        ]
        answers = await self.world.store.write(lambda txn: deliver(txn, calls))
        (first,), (other, second) = answers[0][0], answers[1][0]
        anns = await self.world.store.read(entries, first.mailbox)
        bobs = await self.world.store.read(entries, other.mailbox)
        self.assertEqual(anns[0][-1], anns[1][-1])
        self.assertNotEqual(anns[0][-1], bobs[0][-1])
        self.assertEqual(second.mailbox, first.mailbox)

    async def test_many_recipients(self: Any) -> None:
        """More accounts than one statement looks up."""
        await self.begin("ann")
        cipher = self.world.cipher

        def people(txn: Txn) -> list[int]:
            rows = [(1, f"p{number}", b"", b"", 0) for number in range(600)]
            insert = "INSERT INTO accounts (domain_id, local, credentials, credentials_guid, created) VALUES ? RETURNING id"
            ids = [id for (id,) in txn.insert_many(insert, rows)]
            boxes = [(id, name_hash(cipher, id, "INBOX"), b"", 1, 0) for id in ids]
            txn.insert_many("INSERT INTO mailboxes (account_id, hash, name, uidvalidity, created) VALUES ?", boxes)
            return ids

        ids = await self.world.store.write(people)
        targets = [Target(id, name_hash(cipher, id, "INBOX"), 0, 0, (cipher.hash(b"thread", b"", b"x"),)) for id in ids]
        outcomes = await self.one(*targets)
        self.assertEqual([outcome.account for outcome in outcomes], ids)
        self.assertEqual(await self.world.store.read(refs), [600])

    async def test_references_are_counted(self: Any) -> None:
        """What is retained or released counts once for each time it is named."""
        (ann,) = await self.begin("ann")
        (placed,) = await self.one(self.target(ann))
        ((_, id, *_),) = await self.world.store.read(entries, placed.mailbox)
        await self.world.store.write(retain, [id, id, id])
        self.assertEqual(await self.world.store.read(refs), [4])
        await self.world.store.write(release, [id, id])
        self.assertEqual(await self.world.store.read(refs), [2])
        await self.world.store.write(retain, [id])
        await self.world.store.write(release, [id, id, id])
        self.assertEqual(await self.world.store.read(refs), [0])
        self.assertEqual(await self.world.store.read(lambda txn: txn.all("SELECT message_id FROM copies")), [])

    async def test_charge_is_the_same_in_sql(self: Any) -> None:
        """What Python charges and what SQL takes back are equal for every size."""
        await self.begin()
        sizes = [*range(50), 99, 100, 101, 4095, 26214400, 2**40 + 7]
        select = f"SELECT {CHARGE} FROM (SELECT CAST(? AS BIGINT) AS size) AS s"
        rows = await self.world.store.read(lambda txn: [txn.one(select, (size,))[0] for size in sizes])
        self.assertEqual(rows, [charge(size) for size in sizes])


class SQLiteDeliveryTests(Deliveries, TestCase):
    engine = "sqlite"

    async def test_full_disk(self) -> None:
        """A database that cannot grow answers Unavailable, and nothing of the message is there; later all is well again."""
        (ann,) = await self.begin("ann")
        store = self.world.store
        await self.one(self.target(ann))
        pages = await store.write(lambda txn: txn.one("PRAGMA page_count")[0])
        await store.write(lambda txn: txn.one(f"PRAGMA max_page_count = {pages}"))
        big = Delivery(os.urandom(16), 100000, b"s", os.urandom(100000), None, 0, 0, (self.target(ann),))
        await self.assertFailure(store.write(deliver, Consignment((big,))), Unavailable)
        self.assertEqual(await store.read(refs), [1])
        await store.write(lambda txn: txn.one("PRAGMA max_page_count = 1000000"))
        self.assertEqual((await self.one(self.target(ann)))[0].uid, 2)


class PostgreSQLDeliveryTests(Deliveries, TestCase):
    engine = "postgresql"
