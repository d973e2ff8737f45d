"""Jobs on contacts, on both engines: limits, what overrides what, accounts that go."""

from twisted.internet.defer import gatherResults
from twisted.trial.unittest import TestCase

from mailx.store import accounts, blocks, contacts
from mailx.store.contacts import ACCEPTED, REQUESTED, Decision, Noted, Preferences
from tests.scenery import world


class ContactsTests(TestCase):
    engine = "sqlite"
    timeout = 240

    async def setUp(self) -> None:
        self.world = await world(self, engine=self.engine)
        self.me = (await self.world.user("me@example.test")).id
        self.store, self.cipher = self.world.store, self.world.cipher

    async def note(self, *people: tuple[str, str], account: int = 0) -> None:
        noted = [Noted(account or self.me, address, trust, 5) for address, trust in people]
        await self.store.write(contacts.note, (self.cipher, noted))

    async def known(self, trust: str = "") -> dict[str, str]:
        page = await self.store.read(contacts.page, self.cipher, self.me, trust, 0, 100_000)
        return {one.address: one.trust for one in page}

    async def test_what_is_known_better_stays(self) -> None:
        await self.note(("a@x.example", REQUESTED), ("b@x.example", ACCEPTED), ("b@x.example", REQUESTED))
        await self.note(("a@x.example", ACCEPTED), ("b@x.example", REQUESTED))
        self.assertEqual(await self.known(), {"a@x.example": ACCEPTED, "b@x.example": ACCEPTED})

    async def test_calls_that_meet_in_one_commit(self) -> None:
        await gatherResults(
            [self.store.write(contacts.note, (self.cipher, [Noted(self.me, f"{n % 5}@x.example", ACCEPTED, 5)])) for n in range(50)]
        )
        self.assertEqual(len(await self.known()), 5)

    async def test_what_comes_by_itself_makes_room(self) -> None:
        self.patch(contacts, "REQUESTS_LIMIT", 3)
        self.patch(contacts, "WRITTEN_LIMIT", 2)
        await self.store.write(contacts.accept, self.cipher, self.me, "chosen@x.example", 1)
        for number in range(6):
            await self.note((f"r{number}@x.example", REQUESTED), (f"w{number}@x.example", ACCEPTED))
        self.assertEqual(set(await self.known(REQUESTED)), {"r3@x.example", "r4@x.example", "r5@x.example"})
        self.assertEqual(set(await self.known(ACCEPTED)), {"chosen@x.example", "w4@x.example", "w5@x.example"})

    async def test_room_is_made_now_and_then(self) -> None:
        self.patch(contacts, "WRITTEN_LIMIT", 2)
        for number in range(6):
            noted = [Noted(self.me, f"w{number}@x.example", ACCEPTED, 5, room=number == 4)]
            await self.store.write(contacts.note, (self.cipher, noted))
        self.assertEqual(set(await self.known()), {"w3@x.example", "w4@x.example", "w5@x.example"})

    async def test_chosen_ones_are_bounded(self) -> None:
        self.patch(contacts, "CHOSEN_LIMIT", 1)
        for _ in range(2):  # once more is nothing more
            await self.store.write(contacts.accept, self.cipher, self.me, "a@x.example", 1)
        with self.assertRaises(contacts.Full):
            await self.store.write(contacts.accept, self.cipher, self.me, "b@x.example", 1)
        await self.store.write(contacts.block, self.cipher, self.me, "b@x.example", 1)
        decided = await self.store.write(contacts.decide, self.cipher, Decision(self.me, ("b@x.example",)), 2)
        self.assertEqual(decided.lifted, ("b@x.example",))
        self.assertEqual(await self.store.read(blocks.hashes, self.me), frozenset())

    async def test_a_full_block_list_still_rejects_the_request(self) -> None:
        self.patch(blocks, "LIMIT", 0)
        await self.note(("a@x.example", REQUESTED))
        decided = await self.store.write(contacts.decide, self.cipher, Decision(self.me, rejected=("a@x.example",)), 2)
        self.assertEqual((decided.blocked, await self.known()), ((), {}))

    async def test_other_accounts_are_untouched(self) -> None:
        other = (await self.world.user("you@example.test")).id
        await self.note(("a@x.example", ACCEPTED), account=other)
        self.assertEqual(await self.store.read(contacts.accepted_by, self.cipher, [self.me, other], "a@x.example"), [other])
        await self.store.write(contacts.block, self.cipher, self.me, "a@x.example", 1)
        self.assertEqual(await self.store.read(contacts.accepted_by, self.cipher, [self.me, other], "a@x.example"), [other])

    async def test_many_accounts_are_asked_in_slices(self) -> None:
        await self.note(("a@x.example", ACCEPTED))
        ids = [*range(100_000, 100_300), self.me]
        self.assertEqual(await self.store.read(contacts.accepted_by, self.cipher, ids, "a@x.example"), [self.me])
        await self.store.write(contacts.set_preferences, self.me, Preferences("all", True))
        self.assertEqual(await self.store.read(contacts.preferences, ids), {self.me: Preferences("all", True)})

    async def test_only_who_is_accepted_refuses(self) -> None:
        await self.note(("a@x.example", ACCEPTED), ("r@x.example", REQUESTED))
        for address in ("a@x.example", "r@x.example", "nobody@x.example"):
            await self.store.write(contacts.refuse, self.cipher, self.me, address, True)
        page = await self.store.read(contacts.page, self.cipher, self.me, "", 0, 10)
        self.assertEqual([one.address for one in page if one.refuses], ["a@x.example"])

    async def test_an_account_that_goes_takes_all_with_it(self) -> None:
        await self.note(("a@x.example", ACCEPTED))
        await self.store.write(contacts.set_preferences, self.me, Preferences("all"))
        await self.world.accounts.erase_user("me@example.test")
        await self.note(("b@x.example", ACCEPTED))
        for table in ("contacts", "contact_settings", "blocks"):
            self.assertEqual(await self.store.read(lambda txn, table=table: txn.all(f"SELECT 1 FROM {table}")), [])
        self.assertIsNone(await self.store.read(accounts.by_id, self.me))

    async def test_damaged_rows_have_no_address(self) -> None:
        await self.note(("a@x.example", ACCEPTED))
        await self.store.write(lambda txn: txn.execute("UPDATE contacts SET sealed = ?", (b"x",)))
        self.assertEqual(await self.known(), {"": ACCEPTED})


class PostgreSQLContactsTests(ContactsTests):
    engine = "postgresql"
