"""Settlements that come twice: a commit whose answer was lost is tried again, and two nodes may have sent one row."""

import os
from typing import Any

from mailx.store import Txn, queue
from mailx.store.delivery import Consignment, Delivery, deliver
from mailx.store.queue import DEFERRED, FAILED, SENDING, SENT, Parcel, Settled, Settlement, Waiting
from tests.store import engines
from tests.store.test_queue import NOW, ONE, messages, place, settled, states


def opened(txn: Txn) -> list[int]:
    return [count for (count,) in txn.all("SELECT open FROM dispatches ORDER BY id")]


def report(settlement: Settlement) -> Consignment:
    """A report to a sender elsewhere, which settles what it tells of."""
    waiting = Waiting(ONE, b"r", SENDING, 0, 1)
    parcel = Parcel("report", os.urandom(16), b"d", None, 10, NOW, (waiting,))
    return Consignment((Delivery(os.urandom(16), 10, b"", b"c", None, NOW, NOW, (), parcel=parcel),), settling=settlement)


class Again:
    """The tests of both engines."""

    store: Any

    async def test_sent_twice_releases_once(self: Any) -> None:
        ids = await self.store.write(place, [(ONE, SENDING, NOW)] * 2)
        self.assertEqual(await self.store.write(settled, ids[:1], SENT), 0)
        self.assertEqual(await self.store.write(settled, ids[:1], SENT), 1)
        self.assertEqual(await self.store.read(opened), [1])
        self.assertEqual(await self.store.read(messages), 1, "the other recipient needs it")

    async def test_twice_in_one_settlement(self: Any) -> None:
        ids = await self.store.write(place, [(ONE, SENDING, NOW)] * 2)
        self.assertEqual(await self.store.write(settled, [ids[0], ids[0]], SENT), 1)
        self.assertEqual(await self.store.read(opened), [1])

    async def test_the_first_of_two_outcomes_holds(self: Any) -> None:
        (id,) = await self.store.write(place, [(ONE, SENDING, NOW)])
        rows = (Settled(id, SENT, 0, 1, ONE, b"h"), Settled(id, DEFERRED, NOW, 1, ONE, b"h"))
        self.assertEqual(await self.store.write(queue.settle, Settlement(rows, "", NOW)), 1)
        self.assertEqual((await self.store.read(states), await self.store.read(messages)), ({id: SENT}, 0))

    async def test_one_report_of_a_failure(self: Any) -> None:
        (id,) = await self.store.write(place, [(ONE, SENDING, NOW)])
        settlement = Settlement((Settled(id, FAILED, 0, 1, ONE, b"h"),), "", NOW)
        (first,) = await self.store.write(deliver, report(settlement))
        (second,) = await self.store.write(deliver, report(settlement))
        self.assertEqual((len(first.rows), len(second.rows)), (1, 0))
        self.assertEqual(await self.store.read(messages), 2)

    async def test_no_report_of_what_another_node_sends(self: Any) -> None:
        (id,) = await self.store.write(place, [(ONE, SENDING, NOW)], None, "other")
        (outcomes,) = await self.store.write(deliver, report(Settlement((Settled(id, FAILED, 0, 1, ONE, b"h"),), "slow", NOW)))
        self.assertEqual(len(outcomes.rows), 0)
        self.assertEqual((await self.store.read(states), await self.store.read(messages)), ({id: SENDING}, 1))


class SQLite(Again, engines.SQLiteCase):
    """On SQLite."""


class PostgreSQL(Again, engines.PostgreSQLCase):
    """On PostgreSQL."""
