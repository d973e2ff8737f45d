"""Searching and changing the queue by filters, on both engines."""

from typing import Any

from twisted.trial.unittest import TestCase

from mailx.core import queue_search
from mailx.core.ledger import Selection
from mailx.core.queue_search import Count, Wanted, change, count, find, wanted
from mailx.core.users import DirectoryError
from tests.core.mail_out import LATER, Office, office

BOB = "bob@example.org"
EVE = "eve@example.net"


class Searching(TestCase):
    engine = "sqlite"
    office: Office

    async def open(self, **sections: Any) -> Office:
        self.office = await office(self, engine=self.engine, **sections)
        await self.office.start()
        for domain in ("example.org", "example.net"):
            self.office.courier.answers[domain] = LATER
        await self.office.send(BOB, EVE, *[f"u{number}@example.net" for number in range(8)])
        await self.office.settled(deferred=10)
        return self.office

    async def found(self, which: Wanted, after: int = 0, limit: int = 100) -> list[str]:
        return [entry.recipient for entry in (await find(self.office.queue.ledger, which, after, limit)).entries]

    async def test_filters(self) -> None:
        ledger = (await self.open()).queue.ledger
        for values, number in (
            ({}, 10),
            ({"domain": "Example.ORG."}, 1),
            ({"domain": "@example.net"}, 9),
            ({"recipient": f"<{BOB.upper()}>"}, 1),
            ({"sender": "@example.test", "state": "deferred,held"}, 10),
            ({"sender": "<>"}, 0),
            ({"relay": "smart"}, 0),
            ({"older": "0"}, 10),
            ({"id": "0" * 16}, 0),
        ):
            which = wanted(values, ledger.routed)
            self.assertEqual(len(await self.found(which)), number, values)
            self.assertEqual(await count(ledger, which, 1000), Count(number, False), values)
            self.assertEqual(which.everything, not values)

    async def test_filters_that_make_no_sense(self) -> None:
        for values in ({"colour": "red"}, {"older": "soon"}, {"older": "-1"}, {"sender": "a" * 501}):
            with self.assertRaises(DirectoryError):
                wanted(values, False)

    async def test_pages(self) -> None:
        ledger = (await self.open()).queue.ledger
        first = await find(ledger, Wanted(), 0, 6)
        second = await find(ledger, Wanted(), first.following or 0, 6)
        self.assertEqual((len(first.entries), len(second.entries), second.following), (6, 4, None))
        which = Wanted(recipient="@example.net")
        first = await find(ledger, which, 0, 5)
        second = await find(ledger, which, first.following or 0, 5)
        self.assertEqual((len(first.entries), len(second.entries), second.following), (5, 4, None))

    async def test_a_search_stops_somewhere(self) -> None:
        ledger = (await self.open()).queue.ledger
        self.patch(queue_search, "SEARCHED", 4)
        self.patch(queue_search, "_OPENED", 2)
        which = Wanted(recipient="u7@example.net")
        page = await find(ledger, which, 0, 5)
        self.assertEqual(page.entries, ())
        seen: list[str] = []
        while page.following is not None:
            page = await find(ledger, which, page.following, 5)
            seen += [entry.recipient for entry in page.entries]
        self.assertEqual(seen, ["u7@example.net"])
        self.assertEqual(await count(ledger, Wanted(recipient="@example.net"), 1000), Count(3, True))

    async def test_counts_stop_somewhere(self) -> None:
        ledger = (await self.open()).queue.ledger
        self.assertEqual(await count(ledger, Wanted(), 9), Count(9, True))
        self.assertEqual(await count(ledger, Wanted(), 10), Count(10, False))
        self.assertEqual(await count(ledger, Wanted(Selection(account=self.office.user.id)), 1000), Count(10, False))

    async def test_changes_go_in_slices(self) -> None:
        ledger = (await self.open()).queue.ledger
        self.patch(queue_search, "SLICE", 4)
        told: list[int] = []
        self.assertEqual(await change(ledger, Wanted(), ledger.hold, told.append), 10)
        self.assertEqual(told, [4, 4, 2])
        told.clear()
        self.assertEqual(await change(ledger, Wanted(recipient="@example.net"), ledger.delete, told.append), 9)
        self.assertEqual(told, [3, 4, 2])  # of four that were looked at each time
        self.assertEqual(await self.office.states(), {BOB: "held"})

    async def test_named_entries(self) -> None:
        ledger = (await self.open()).queue.ledger
        ids = tuple(entry.id for entry in await self.office.entries())[:3]
        self.assertEqual(await change(ledger, Wanted(Selection(ids=ids)), ledger.delete), 3)
        self.assertEqual(await change(ledger, Wanted(Selection(ids=(0,))), ledger.delete), 0)
        self.assertEqual(len(await self.office.entries()), 7)


class SearchingOnPostgreSQL(Searching):
    engine = "postgresql"
