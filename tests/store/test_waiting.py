"""Mail that waits for its owner: charged when it comes, an entry once, refused for accounts that have no keys."""

import os
from typing import Any, ClassVar

from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from mailx.core.users import User
from mailx.mail.mailbox import Change
from mailx.mail.reply import Unavailable
from mailx.store import Txn, account_keys, waiting
from mailx.store.account_keys import Keys, Login, Wrap
from mailx.store.delivery import Consignment, Delivery, Placed, Problem, Target, deliver
from mailx.store.mailboxes import name_hash
from mailx.store.messages import charge, seal_content, seal_summary
from tests.scenery import World, world


class OnSQLite(TestCase):
    """Jobs of the store alone."""

    options: ClassVar[dict[str, str]] = {}
    world: World

    async def setUp(self) -> None:
        self.world = await world(self, **self.options)
        self.user = await self.world.user("ann@example.test", quota=10_000)
        self.heard: list[Change] = []
        self.world.store.listen(self.heard.append)

    async def seal(self, user: User) -> None:
        keys = Keys(user.id, b"s" * 32, b"e" * 32, b"bundle", account_keys.SEALED)
        wraps = [Wrap(account_keys.PASSWORD, b"salt", "cost", b"wrapped")]
        await self.world.store.write(account_keys.begin, keys, wraps, Login(b"sealed", os.urandom(16)), lambda public: b"w", 1)

    def delivery(self, user: User, size: int = 1000, mailbox: str = "INBOX", must: bool = False, **more: Any) -> Delivery:
        guid = os.urandom(16)
        cipher = self.world.cipher
        target = Target(user.id, name_hash(cipher, user.id, mailbox), 0, must=must)
        return Delivery(guid, size, seal_summary(cipher, guid, b"{}"), seal_content(cipher, guid, b"x"), None, 5, 6, (target,), **more)

    async def put(self, *deliveries: Delivery, **more: Any) -> list[Any]:
        outcomes = await self.world.store.write(deliver, Consignment(deliveries, **more))
        return [outcome for each in outcomes for outcome in each]

    async def rows(self) -> list[waiting.Waiting]:
        return await self.world.store.read(waiting.some, self.user.id, 0, 100, 1 << 20)

    async def used(self) -> int:
        found = await self.world.accounts.fresh(self.user.id)
        assert found is not None
        return found.used

    async def test_it_waits_and_becomes_an_entry(self) -> None:
        await self.seal(self.user)
        self.heard.clear()  # that its sessions end
        (placed,) = await self.put(self.delivery(self.user, 2000, waiting=True))
        self.assertEqual((placed.uid, placed.used), (0, charge(2000)))
        self.assertEqual(self.heard, [])
        (row,) = await self.rows()
        self.assertEqual((row.size, row.received, row.mailbox), (2000, 5, name_hash(self.world.cipher, self.user.id, "INBOX")))
        (placed,) = await self.put(self.delivery(self.user, 1500, vault=True, must=True), opens=row.id)
        self.assertEqual((placed.uid, placed.used), (1, charge(1500)))
        self.assertEqual(await self.used(), charge(1500))
        self.assertEqual([change.added for change in self.heard], [((1, 0, 1500),)])
        self.assertEqual(await self.rows(), [])

    async def test_once(self) -> None:
        await self.seal(self.user)
        await self.put(self.delivery(self.user, waiting=True))
        (row,) = await self.rows()
        both = [Deferred.fromCoroutine(self.put(self.delivery(self.user, vault=True, must=True), opens=row.id)) for _ in range(3)]
        outcomes = [outcome for each in await gatherResults(both) for outcome in each]
        self.assertEqual(sorted(isinstance(outcome, Placed) for outcome in outcomes), [False, False, True])
        self.assertEqual(await self.used(), charge(1000))

    async def test_quota(self) -> None:
        await self.seal(self.user)
        self.assertEqual(await self.put(self.delivery(self.user, 9600, waiting=True)), [Problem.FULL])
        (placed,) = await self.put(self.delivery(self.user, 9000, waiting=True))
        self.assertEqual(placed.used, charge(9000))
        (row,) = await self.rows()
        (placed,) = await self.put(self.delivery(self.user, 9900, vault=True, must=True), opens=row.id)
        self.assertEqual(placed.used, charge(9900))

    async def test_not_for_an_account_without_keys(self) -> None:
        other = await self.world.user("bob@example.test")
        await self.seal(other)
        for more in ({"waiting": True}, {"vault": True}):
            with self.assertRaises(Unavailable):
                await self.put(self.delivery(self.user, **more))
            (placed,) = await self.put(self.delivery(other, **more))
            self.assertIsInstance(placed, Placed)
        self.assertEqual(await self.used(), 0)

    async def test_beside_ordinary_ones_in_one_commit(self) -> None:
        await self.seal(self.user)
        other = await self.world.user("bob@example.test")
        calls = [Consignment((self.delivery(self.user, waiting=True), self.delivery(other)), forms=True) for _ in range(10)]
        answers = await gatherResults([self.world.store.write(deliver, call) for call in calls])
        self.assertEqual([[[one.uid for one in each] for each in answer] for answer in answers], [[[0], [uid]] for uid in range(1, 11)])
        self.assertEqual(len(await self.rows()), 10)

    async def test_pages(self) -> None:
        await self.seal(self.user)
        for _ in range(5):
            await self.put(self.delivery(self.user, 100, waiting=True))
        some = await self.world.store.read(waiting.some, self.user.id, 0, 3, 1 << 20)
        self.assertEqual(len(some), 3)
        self.assertEqual(len(await self.world.store.read(waiting.some, self.user.id, some[-1].id, 3, 1 << 20)), 2)
        self.assertEqual(len(await self.world.store.read(waiting.some, self.user.id, 0, 3, 1)), 1)
        self.assertEqual([row.size for row in await self.rows()], [100] * 5)
        self.assertEqual(await self.world.store.read(waiting.who, [self.user.id, 12345]), [self.user.id])

    async def test_a_mailbox_that_is_gone(self) -> None:
        await self.seal(self.user)
        await self.put(self.delivery(self.user, mailbox="Archive", waiting=True))
        await self.world.mailboxes.delete(self.user, "Archive")
        (row,) = await self.rows()
        self.assertIsNone(row.mailbox)

    async def test_an_end_with_something_left(self) -> None:
        await self.seal(self.user)
        await self.put(self.delivery(self.user, waiting=True))
        self.assertFalse(await self.world.store.write(account_keys.end, self.user.id))
        (row,) = await self.rows()
        await self.put(self.delivery(self.user, vault=True, must=True), opens=row.id)
        self.assertFalse(await self.world.store.write(account_keys.end, self.user.id))

        def plain(txn: Txn) -> None:
            txn.execute("UPDATE messages SET vault = 0")

        await self.world.store.write(plain)
        self.assertTrue(await self.world.store.write(account_keys.end, self.user.id))
        found = await self.world.accounts.fresh(self.user.id)
        assert found is not None
        self.assertEqual(found.sealed, "")

    async def test_sealed_once(self) -> None:
        await self.seal(self.user)
        with self.assertRaises(account_keys.Sealed):
            await self.seal(self.user)


class OnPostgreSQL(OnSQLite):
    options: ClassVar[dict[str, str]] = {"engine": "postgresql"}
