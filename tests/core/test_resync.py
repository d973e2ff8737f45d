"""What a client missed: exact while it is remembered, everything that is not there when it is forgotten."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailx.core.resync import common, gaps, merged, spans, unchanged_up_to
from mailx.store import expunged
from mailx.store.entries import Among, since
from mailx.store.entries import expunge as remove_deleted
from tests.scenery import World, world

numbers = st.sets(st.integers(1, 60))


def members(found: list[tuple[int, int]]) -> set[int]:
    return {number for low, high in found for number in range(low, high + 1)}


class SpanTests(SynchronousTestCase):
    """Ranges say what sets say."""

    @given(numbers)
    def test_spans(self, given: set[int]) -> None:
        found = spans(sorted(given))
        self.assertEqual(members(found), given)
        self.assertTrue(all(one[1] + 1 < other[0] for one, other in zip(found, found[1:], strict=False)))

    @given(numbers, numbers)
    def test_common(self, one: set[int], other: set[int]) -> None:
        self.assertEqual(members(common(spans(sorted(one)), spans(sorted(other)))), one & other)

    @given(numbers, st.integers(1, 60), st.integers(1, 60))
    def test_gaps(self, there: set[int], first: int, last: int) -> None:
        there = {uid for uid in there if uid <= last}
        self.assertEqual(members(gaps(sorted(there), first, last)), set(range(first, last + 1)) - there)

    @given(st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60) | st.none())), st.integers(1, 60))
    def test_merged(self, ranges: list[tuple[int, int | None]], last: int) -> None:
        expected = {n for a, b in ranges for n in range(min(a, b or last), max(a, b or last) + 1)}
        self.assertEqual(members(merged(ranges, last)), expected)

    def test_matches(self) -> None:
        """The highest UID whose number is what it was; numbers beyond the mailbox say nothing."""
        self.assertEqual(unchanged_up_to([1, 2, 5, 9], [(1, 1), (2, 2), (3, 4), (9, 9)]), 2)
        self.assertEqual(unchanged_up_to([5], [(1, 1)]), 0)


class SQLiteHistoryTests(TestCase):
    """What was expunged is remembered up to a number; older readers are told what is there instead."""

    engine = "sqlite"

    async def made(self) -> tuple[World, int]:
        made = await world(self, engine=self.engine)
        user = await made.user("me@example.test")
        for _ in range(12):
            await made.file(user, b"Subject: a\r\n\r\nb\r\n")
        return made, (await made.mailboxes.status(user, "INBOX")).id

    async def test_forgets_oldest(self) -> None:
        made, box = await self.made()
        user = (await made.accounts.resolve(_address())).users[0]
        self.patch(expunged, "REMEMBERED", 6)
        view = await made.mailboxes.select(user, "INBOX", False)
        start = view.modseq
        for uid in range(1, 10):
            await made.mailboxes.store(view, [uid], "add", 8, ())
            await made.mailboxes.expunge(view, [uid])
        view.close()
        row = await made.store.read(lambda txn: txn.one("SELECT expunged, expunged_floor, modseq FROM mailboxes WHERE id = ?", (box,)))
        self.assertTrue(3 <= row[0] <= 6, row)
        self.assertGreater(row[1], start)
        self.assertIsNone(await made.store.read(expunged.since, box, start))
        self.assertIsNone(await made.store.read(expunged.between, box, start, row[2]))
        self.assertEqual(await made.store.read(expunged.between, box, row[2] - 1, row[2]), [9])
        found = await made.store.read(since, box, start)
        assert found is not None and found.there is not None
        self.assertEqual(list(found.there), [10, 11, 12])
        again = await made.mailboxes.select(user, "INBOX", True)
        self.assertEqual(list(again.uids), [10, 11, 12])
        self.assertEqual(await made.mailboxes.vanished(again, start), [(1, 9)])
        self.assertEqual(await made.mailboxes.vanished(again, start, [(2, 4), (11, 99)]), [(2, 4)])
        self.assertEqual(await made.mailboxes.vanished(again, start, None, [(1, 1), (1, 10)]), [])
        again.close()

    async def test_counted(self) -> None:
        """A slice that expunges nothing remembers nothing."""
        made, box = await self.made()
        self.assertEqual(await made.store.write(remove_deleted, box, Among([1, 2])), [])
        row = await made.store.read(lambda txn: txn.one("SELECT expunged FROM mailboxes WHERE id = ?", (box,)))
        self.assertEqual(row, (0,))


class PostgreSQLHistoryTests(SQLiteHistoryTests):
    engine = "postgresql"


def _address() -> object:
    from mailx.mail.address import Address

    return Address.parse("me@example.test")
