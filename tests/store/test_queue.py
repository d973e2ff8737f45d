"""The queue's rows on both engines, and a model of them that is put through everything that may happen."""

import os
import sqlite3
import tempfile
from shutil import rmtree
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from twisted.internet.defer import gatherResults
from twisted.trial.unittest import SynchronousTestCase

from mailx.store import Txn, queue, queue_upkeep
from mailx.store.migrate import migrate_sqlite
from mailx.store.queue import DEFERRED, FAILED, HELD, PENDING, SENDING, SENT, Parcel, Settled, Settlement, Waiting
from mailx.store.queue_upkeep import Filter
from mailx.store.sqlite import SQLiteTxn
from tests.store import engines

NOW = 1_700_000_000
ONE, TWO, THREE = (bytes([number]) * 16 for number in (1, 2, 3))


def place(txn: Txn, rows: list[tuple[bytes, str, int]], file: str | None = None, node: str = "", priority: int = 1) -> list[int]:
    """A message with rows of (destination, state, due); their ids."""
    sql = "INSERT INTO messages (guid, size, refs, file, summary) VALUES (?, ?, ?, ?, ?) RETURNING id"
    row = txn.one(sql, (os.urandom(16), 10, 1, file, b""))
    assert row is not None
    waiting = tuple(Waiting(destination, b"r", state, due, priority, 2) for destination, state, due in rows)
    (ids,) = queue.insert(txn, [(row[0], Parcel("e", b"g", b"d", None, 10, NOW, waiting, node))])
    return ids


def states(txn: Txn) -> dict[int, str]:
    return {id: state for id, state in txn.all("SELECT id, state FROM queue ORDER BY id")}


def dues(txn: Txn) -> dict[bytes, int]:
    return {bytes(hash): due for hash, due in txn.all("SELECT hash, due FROM destinations")}


def messages(txn: Txn) -> int:
    row = txn.one("SELECT count(*) FROM messages")
    assert row is not None
    return int(row[0])


def settled(txn: Txn, ids: list[int], state: str, due: int = 0, node: str = "", destination: bytes = ONE) -> int:
    rows = tuple(Settled(id, state, due, 1, destination, b"h") for id in ids)
    return int(queue.settle(txn, [Settlement(rows, node, NOW)])[0])


class Rows:
    """The tests of both engines."""

    store: Any

    async def test_insert(self: Any) -> None:
        ids = await self.store.write(place, [(ONE, PENDING, NOW), (TWO, SENDING, NOW), (ONE, DEFERRED, NOW + 9)])
        self.assertEqual(await self.store.read(states), dict(zip(ids, (PENDING, SENDING, DEFERRED), strict=True)))
        self.assertEqual(await self.store.read(dues), {ONE: NOW})

    async def test_claim_by_priority_then_time(self: Any) -> None:
        def some(txn: Txn) -> list[int]:
            return [
                *place(txn, [(ONE, PENDING, NOW - 2)]),
                *place(txn, [(ONE, PENDING, NOW - 9)]),
                *place(txn, [(ONE, PENDING, NOW - 1)], priority=0),
                *place(txn, [(ONE, PENDING, NOW + 1), (TWO, PENDING, NOW)]),
            ]

        ids = await self.store.write(some)
        rows = await self.store.write(queue.claim, ONE, NOW, 2, "n")
        self.assertEqual([row.id for row in rows], [ids[2], ids[1]])
        rows = await self.store.write(queue.claim, ONE, NOW, 9, "n")
        self.assertEqual([row.id for row in rows], [ids[0]])
        self.assertEqual(await self.store.read(dues), {ONE: NOW + 1, TWO: NOW})

    async def test_claim_of_one_message(self: Any) -> None:
        ids = await self.store.write(place, [(ONE, PENDING, NOW), (TWO, PENDING, NOW), (ONE, PENDING, NOW)])
        await self.store.write(place, [(ONE, PENDING, NOW)])
        rows = await self.store.write(queue.claim, ONE, NOW, 100, "n", True)
        self.assertEqual([row.id for row in rows], [ids[0], ids[2]])

    async def test_nothing_is_claimed_twice(self: Any) -> None:
        await self.store.write(place, [(ONE, PENDING, NOW)] * 50)
        found = await gatherResults([self.store.write(queue.claim, ONE, NOW, 20, "n") for _ in range(5)])
        ids = [row.id for rows in found for row in rows]
        self.assertEqual(len(ids), len(set(ids)))
        self.assertEqual(await self.store.read(dues), {} if len(ids) == 50 else {ONE: NOW})

    async def test_sent_releases_the_message(self: Any) -> None:
        ids = await self.store.write(place, [(ONE, SENDING, NOW)] * 2)
        await self.store.write(settled, ids[:1], SENT)
        self.assertEqual(await self.store.read(messages), 1)
        self.assertEqual(await self.store.write(settled, ids[1:], SENT), 0)
        self.assertEqual(await self.store.read(messages), 0)

    async def test_a_mailbox_keeps_the_message(self: Any) -> None:
        ids = await self.store.write(place, [(ONE, SENDING, NOW)])
        await self.store.write(lambda txn: txn.execute("UPDATE messages SET refs = 2"))
        await self.store.write(settled, ids, SENT)
        self.assertEqual(await self.store.read(lambda txn: txn.all("SELECT refs FROM messages")), [(1,)])

    async def test_files_are_told(self: Any) -> None:
        (id,) = await self.store.write(place, [(ONE, SENDING, NOW)], "f" * 32)
        told: list[str] = []
        await self.store.write(queue.settle, Settlement((Settled(id, SENT, 0, 1, ONE, b"h"),), "", NOW, told.extend))
        self.assertEqual(told, ["f" * 32])

    async def test_what_another_took_is_left_alone(self: Any) -> None:
        (id,) = await self.store.write(place, [(ONE, SENDING, NOW)], None, "a")
        self.assertEqual(await self.store.write(settled, [id], DEFERRED, NOW + 9, "b"), 1)
        self.assertEqual(await self.store.read(states), {id: SENDING})
        self.assertEqual(await self.store.write(settled, [id], SENT, 0, "b"), 0)  # sent is sent
        self.assertEqual(await self.store.write(settled, [id], DEFERRED, NOW + 9, "a"), 1)
        self.assertEqual(await self.store.read(states), {id: SENT})

    async def test_many_in_one_batch(self: Any) -> None:
        ids = await self.store.write(place, [(ONE, SENDING, NOW)] * 300)
        rows = [Settled(id, (SENT, FAILED, DEFERRED)[id % 3], NOW + 9, 1, ONE, b"h") for id in ids]
        answers = await gatherResults([self.store.write(queue.settle, Settlement((row,), "", NOW)) for row in rows])
        self.assertEqual(answers, [0] * 300)
        self.assertEqual(await self.store.read(states), {row.id: row.state for row in rows})

    async def test_defer_all_but_the_last_attempts(self: Any) -> None:
        ids = await self.store.write(place, [(ONE, PENDING, NOW)] * 3 + [(ONE, PENDING, NOW + 5), (TWO, PENDING, NOW)])
        await self.store.write(lambda txn: txn.execute("UPDATE queue SET attempts = 2 WHERE id = ?", (ids[0],)))
        await self.store.write(lambda txn: txn.execute("UPDATE queue SET attempts = 1 WHERE id = ?", (ids[1],)))
        self.assertEqual(await self.store.write(queue.defer, ONE, NOW, (300, 900), b"w"), (2, NOW))
        found = await self.store.read(lambda txn: txn.all("SELECT due, attempts FROM queue ORDER BY id"))
        self.assertEqual([tuple(row) for row in found], [(NOW, 2), (NOW + 900, 2), (NOW + 300, 1), (NOW + 5, 0), (NOW, 0)])
        rows = await self.store.write(queue.claim_last, ONE, NOW, 100, "n")
        self.assertEqual([row.id for row in rows], ids[:1])
        self.assertEqual(await self.store.read(dues), {ONE: NOW + 5, TWO: NOW})

    async def test_defer_with_one_wait_and_with_none(self: Any) -> None:
        await self.store.write(place, [(ONE, PENDING, NOW)])
        self.assertEqual(await self.store.write(queue.defer, ONE, NOW, (60,), b"w"), (1, NOW + 60))
        self.assertEqual(await self.store.write(queue.defer, ONE, NOW + 60, (), b"w"), (1, NOW + 60))

    async def test_late_are_told_once(self: Any) -> None:
        ids = await self.store.write(place, [(ONE, DEFERRED, NOW), (ONE, DEFERRED, NOW), (ONE, PENDING, NOW)])
        await self.store.write(lambda txn: txn.execute("UPDATE queue SET warn = ?", (NOW,)))
        self.assertEqual(await self.store.write(queue.claim_late, NOW - 1, 9), [])
        self.assertEqual([row.id for row in await self.store.write(queue.claim_late, NOW, 9)], ids[:2])
        self.assertEqual(await self.store.write(queue.claim_late, NOW, 9), [])

    async def test_take_back(self: Any) -> None:
        ids = await self.store.write(place, [(ONE, SENDING, NOW - 9), (TWO, SENDING, NOW - 9)], None, "a")
        await self.store.write(lambda txn: txn.execute("UPDATE queue SET attempts = 1 WHERE id = ?", (ids[1],)))
        await self.store.write(queue.beat, "a")
        self.assertEqual(await self.store.write(queue.take_back, None, NOW), 0)  # it lives
        await self.store.write(lambda txn: txn.execute("UPDATE nodes SET seen = seen - 121"))
        self.assertEqual(await self.store.write(queue.take_back, None, NOW), 2)
        self.assertEqual(await self.store.read(states), {ids[0]: PENDING, ids[1]: DEFERRED})
        self.assertEqual(await self.store.read(dues), {ONE: NOW, TWO: NOW})

    async def test_due(self: Any) -> None:
        await self.store.write(place, [(ONE, PENDING, NOW), (TWO, PENDING, NOW - 5), (THREE, PENDING, NOW + 7)])
        self.assertEqual(await self.store.read(queue.due, NOW, 10), ([TWO, ONE], NOW + 7))
        self.assertEqual(await self.store.read(queue.due, NOW, 1), ([TWO], NOW + 7))

    async def test_by_hand(self: Any) -> None:
        ids = await self.store.write(place, [(ONE, PENDING, NOW), (ONE, SENDING, NOW), (TWO, DEFERRED, NOW + 9)])
        self.assertEqual([row[0] for row in await self.store.write(queue_upkeep.hold, Filter(), 0)], [ids[0], ids[2]])
        self.assertEqual(await self.store.read(dues), {})
        self.assertEqual([row[0] for row in await self.store.write(queue_upkeep.retry, Filter(states=(HELD,)), 0, NOW)], [ids[0], ids[2]])
        self.assertEqual(await self.store.read(dues), {ONE: NOW, TWO: NOW})
        rows, files = await self.store.write(queue_upkeep.delete, Filter(destination=ONE), 0)
        self.assertEqual(([row[0] for row in rows], files), ([ids[0]], []))
        self.assertEqual(await self.store.read(messages), 1)
        rows = await self.store.write(queue_upkeep.take, Filter(), 0, 9, "n")
        self.assertEqual([row.id for row in rows], [ids[2]])

    async def test_an_attempt_before_its_time_does_not_count(self: Any) -> None:
        def attempts(txn: Txn) -> list[int]:
            return [count for (count,) in txn.all("SELECT attempts FROM queue ORDER BY id")]

        ids = await self.store.write(place, [(ONE, SENDING, NOW)] * 3)
        await self.store.write(settled, ids[:1], DEFERRED, NOW + 9)
        await self.store.write(settled, ids[1:2], DEFERRED, NOW)
        await self.store.write(settled, ids[2:], FAILED)
        self.assertEqual(await self.store.read(attempts), [1, 1, 1])
        await self.store.write(queue_upkeep.retry, Filter(), 0, NOW)
        self.assertEqual(await self.store.read(attempts), [0, 1, 0])
        await self.store.write(queue_upkeep.retry, Filter(), 0, NOW)
        self.assertEqual(await self.store.read(attempts), [0, 1, 0], "once for each attempt")

    async def test_listing(self: Any) -> None:
        ids = await self.store.write(place, [(ONE, PENDING, NOW), (TWO, HELD, NOW)])
        every = [(Filter(), ids), (Filter(states=(HELD,)), ids[1:]), (Filter(destination=ONE), ids[:1]), (Filter(envelope="no"), [])]
        for which, expected in [*every, (Filter(ids=(ids[1],)), ids[1:]), (Filter(before=NOW), []), (Filter(account=1), [])]:
            self.assertEqual([row.id for row in await self.store.read(queue_upkeep.listing, which, 0, 9)], expected)
        self.assertEqual(
            await self.store.read(queue_upkeep.counts, NOW),
            {PENDING: 1, SENDING: 0, DEFERRED: 0, HELD: 1, SENT: 0, FAILED: 0},
        )

    async def test_prune(self: Any) -> None:
        ids = await self.store.write(place, [(ONE, SENDING, NOW)] * 3)
        await self.store.write(settled, ids[:1], SENT)
        await self.store.write(settled, ids[1:2], FAILED)
        self.assertEqual(await self.store.write(queue_upkeep.prune, NOW), 0)
        self.assertEqual(await self.store.write(queue_upkeep.prune, NOW + 1), 2)
        await self.store.write(settled, ids[2:], SENT)
        self.assertEqual(await self.store.write(queue_upkeep.prune, NOW + 1), 1)
        self.assertEqual(await self.store.read(lambda txn: txn.all("SELECT id FROM dispatches")), [])
        self.assertEqual(await self.store.read(messages), 0)

    async def test_clock(self: Any) -> None:
        await self.store.write(place, [(ONE, DEFERRED, NOW + 5000), (TWO, DEFERRED, NOW + 300)])
        self.assertEqual(await self.store.write(queue_upkeep.pull, NOW, 900), 1)
        self.assertEqual(await self.store.read(dues), {ONE: NOW, TWO: NOW + 300})
        after: int | None = 0
        while after is not None:
            after = await self.store.write(queue_upkeep.shift, 100, after)
        self.assertEqual(await self.store.read(dues), {ONE: NOW - 100, TWO: NOW + 200})


class SQLiteRows(Rows, engines.SQLiteCase):
    """On SQLite."""


class PostgreSQLRows(Rows, engines.PostgreSQLCase):
    """On PostgreSQL."""

    async def test_two_nodes_claim_from_one_destination(self) -> None:
        other = await self.open()
        self.addCleanup(lambda: self.deferred(other.close()))
        await self.store.write(place, [(ONE, PENDING, NOW)] * 200)
        claims = [store.write(queue.claim, ONE, NOW, 10, name) for _ in range(15) for name, store in (("a", self.store), ("b", other))]
        found = await gatherResults(claims)
        ids = [row.id for rows in found for row in rows]
        self.assertEqual(len(ids), len(set(ids)))
        while rows := await self.store.write(queue.claim, ONE, NOW, 100, "a"):
            ids += [row.id for row in rows]
        self.assertEqual((len(set(ids)), len(ids)), (200, 200))
        self.assertEqual(await self.store.read(dues), {})


class Machine(RuleBasedStateMachine):
    """Everything that may happen to rows, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.mkdtemp()
        path = os.path.join(self.directory, "mailx.db")
        self.raw = sqlite3.connect(path, isolation_level=None)
        self.raw.execute("PRAGMA synchronous = OFF")
        self.raw.execute("PRAGMA foreign_keys = ON")
        migrate_sqlite(self.raw, path)
        self.txn = SQLiteTxn(self.raw)
        self.now = NOW
        self.mine: dict[int, bytes] = {}  # rows claimed, and their destination
        self.ids: set[int] = set()

    def teardown(self) -> None:
        self.raw.close()
        rmtree(self.directory)

    def do(self, job: Any, *args: Any) -> Any:
        self.raw.execute("BEGIN")
        answer = job(self.txn, *args)
        self.raw.execute("COMMIT")
        return answer

    @rule(
        rows=st.lists(st.tuples(st.sampled_from((ONE, TWO, THREE)), st.sampled_from((PENDING, SENDING)), st.integers(0, 99)), min_size=1),
        priority=st.integers(0, 2),
    )
    def accept(self, rows: list[tuple[bytes, str, int]], priority: int) -> None:
        ids = self.do(place, [(key, state, self.now + wait) for key, state, wait in rows], None, "", priority)
        self.ids.update(ids)
        self.mine.update({id: row[0] for id, row in zip(ids, rows, strict=True) if row[1] == SENDING})

    @rule(key=st.sampled_from((ONE, TWO, THREE)), limit=st.integers(1, 5), single=st.booleans())
    def claim(self, key: bytes, limit: int, single: bool) -> None:
        for row in self.do(queue.claim, key, self.now, limit, "", single):
            assert row.id not in self.mine
            self.mine[row.id] = key

    @rule(data=st.data(), state=st.sampled_from((SENT, DEFERRED, FAILED, PENDING, HELD)), wait=st.integers(0, 99))
    def settle(self, data: Any, state: str, wait: int) -> None:
        if self.mine:
            chosen = data.draw(st.lists(st.sampled_from(sorted(self.mine)), min_size=1, unique=True))
            rows = tuple(Settled(id, state, self.now + wait, 1, self.mine.pop(id), b"h") for id in chosen)
            assert self.do(queue.settle, [Settlement(rows, "", self.now)]) == [0]

    @rule(key=st.sampled_from((ONE, TWO, THREE)))
    def unreachable(self, key: bytes) -> None:
        self.do(queue.defer, key, self.now, (30, 60), b"w")
        for row in self.do(queue.claim_last, key, self.now, 100, ""):
            self.mine[row.id] = key

    @rule()
    def crash(self) -> None:
        assert self.do(queue.take_back, "", self.now) == len(self.mine)
        self.mine.clear()

    @rule(seconds=st.integers(0, 100))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule(seconds=st.integers(1, 100))
    def set_back(self, seconds: int) -> None:
        self.now -= seconds
        after: int | None = 0
        while after is not None:
            after = self.do(queue_upkeep.shift, seconds, after)

    @rule(data=st.data(), how=st.sampled_from((queue_upkeep.hold, queue_upkeep.retry, queue_upkeep.delete)))
    def by_hand(self, data: Any, how: Any) -> None:
        if self.ids:
            which = Filter(ids=tuple(data.draw(st.lists(st.sampled_from(sorted(self.ids)), min_size=1, unique=True))))
            if how is queue_upkeep.delete:
                rows, _ = self.do(how, which, 0)
                self.ids -= {row[0] for row in rows}
            else:
                self.do(how, which, 0, *([self.now] if how is queue_upkeep.retry else []))

    @rule()
    def prune(self) -> None:
        finished = {id for id, state in states(self.txn).items() if state in (SENT, FAILED)}
        self.do(queue_upkeep.prune, self.now + 1000)
        self.ids -= finished

    @invariant()
    def nothing_is_lost(self) -> None:
        assert set(states(self.txn)) == self.ids
        assert {id for id, state in states(self.txn).items() if state == SENDING} == set(self.mine)

    @invariant()
    def whoever_waits_is_found(self) -> None:
        waiting = self.txn.all("SELECT destination, min(due) FROM queue WHERE state IN ('pending', 'deferred') GROUP BY destination")
        known = dues(self.txn)
        for destination, due in waiting:
            assert known[destination] <= due

    @invariant()
    def messages_live_as_long_as_they_are_needed(self) -> None:
        rows = self.txn.all(
            "SELECT d.id, d.open, (SELECT count(*) FROM queue q WHERE q.dispatch_id = d.id AND q.state <> 'sent') FROM dispatches d"
        )
        assert all(open == count for _, open, count in rows)
        kept = {id for (id,) in self.txn.all("SELECT id FROM messages WHERE refs = 1")}
        assert kept == {id for id, open, _ in rows if open}
        assert messages(self.txn) == len(kept)

    @invariant()
    def finished_rows_say_when(self) -> None:
        assert all((finished > 0) == (state in (SENT, FAILED)) for state, finished in self.txn.all("SELECT state, finished FROM queue"))


class Model(SynchronousTestCase):
    """Hypothesis drives the machine."""

    def test_anything_in_any_order(self) -> None:
        run_state_machine_as_test(
            Machine,
            settings=settings(max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)),
        )
