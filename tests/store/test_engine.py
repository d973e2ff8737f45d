"""What both engines promise: jobs, batches, snapshots, and the order in which a commit is told."""

from collections.abc import Sequence
from threading import get_ident
from typing import Any

from twisted.internet.defer import gatherResults

from mailx.mail.mailbox import Change
from mailx.mail.reply import Refused, Reply, Unavailable
from mailx.store import Txn, batched
from mailx.store.engine import Conflict
from tests.store.engines import PostgreSQLCase, SQLiteCase, insert, names

NO = Refused(Reply(550, "5.1.1", "no"))


def insert_and_fail(txn: Txn, id: int, name: str) -> None:
    insert(txn, id, name)
    txn.after_commit(lambda: (_ for _ in ()).throw(AssertionError("told of an undone job")))
    txn.publish(Change(id, 1))
    raise NO


@batched
def insert_all(txn: Txn, calls: list[Any]) -> list[Any]:
    """Names to insert; answers the number of calls it ran with. "bad" fails all of it, "no" fails for itself."""
    txn.insert_many("INSERT INTO things (id, name) VALUES ?", [(id, name) for id, name in calls if name != "no"])
    if any(name == "bad" for _, name in calls):
        raise KeyError("bad")
    txn.publish(Change(len(calls), 1))
    return [NO if name == "no" else len(calls) for _, name in calls]


class Promises:
    """Mixed into a case of each engine."""

    store: Any
    assertEqual: Any
    assertIn: Any
    assertTrue: Any
    assertIsInstance: Any
    fail: Any
    flushLoggedErrors: Any
    open: Any

    async def refusal(self, deferred: Any) -> BaseException:
        try:
            answer = await deferred
        except Exception as error:
            return error
        return self.fail(f"answered {answer!r}")  # type: ignore[no-any-return]

    async def test_answers_after_the_commit(self) -> None:
        self.assertEqual(await self.store.write(insert, 1, name="one"), 1)
        self.assertEqual(await self.store.read(names), ["one"])

    async def test_a_failing_job_is_undone_alone(self) -> None:
        jobs = [self.store.write(insert_and_fail if id % 3 == 0 else insert, id, f"name {id}") for id in range(1, 31)]
        failed = []
        for id, job in enumerate(jobs, 1):
            try:
                self.assertEqual(await job, id)
            except Refused as refused:
                self.assertEqual(refused.reply, NO.reply)
                failed.append(id)
        self.assertEqual(failed, list(range(3, 31, 3)))
        self.assertEqual(len(await self.store.read(names)), 20)

    async def test_a_constraint_is_a_conflict(self) -> None:
        await self.store.write(insert, 1, "one")
        jobs = [self.store.write(insert, 2, "two"), self.store.write(insert, 3, "one"), self.store.write(insert, 4, "four")]
        error = await self.refusal(jobs[1])
        self.assertIsInstance(error, Conflict)
        self.assertEqual([await jobs[0], await jobs[2]], [2, 4])
        self.assertIsInstance(await self.refusal(self.store.write(insert, 5, "one")), Conflict)

    async def test_order_of_telling(self) -> None:
        told: list[Any] = []
        reactor_thread = get_ident()

        def tell(what: Any) -> None:
            self.assertEqual(get_ident(), reactor_thread)
            told.append(what)

        def job(txn: Txn, number: int) -> int:
            txn.publish(Change(7, number))
            txn.after_commit(tell, f"after {number}")
            txn.publish(Change(8, number))
            return number

        self.store.listen(lambda change: tell((change.mailbox, change.modseq)))
        for number in range(3):
            await self.store.write(job, number).addCallback(lambda answer: tell(f"answer {answer}"))
        expected: list[Any] = []
        for number in range(3):
            expected += [f"after {number}", (7, number), (8, number), f"answer {number}"]
        self.assertEqual(told, expected)

    async def test_listeners_hear_commits_in_order(self) -> None:
        heard: list[int] = []
        self.store.listen(lambda change: heard.append(change.modseq))
        await self.store.write(insert, 1, "counter")

        def count(txn: Txn) -> int:
            row = txn.one("UPDATE things SET size = size + 1 WHERE id = 1 RETURNING size")
            assert row is not None
            txn.publish(Change(1, row[0]))
            return int(row[0])

        answers = await gatherResults([self.store.write(count) for _ in range(40)])
        self.assertEqual(sorted(answers), list(range(1, 41)))
        self.assertEqual(heard, list(range(1, 41)))

    async def test_failing_listeners_and_calls_disturb_nobody(self) -> None:
        heard: list[int] = []

        def broken(*args: Any) -> None:
            raise ValueError("broken listener")

        def job(txn: Txn) -> str:
            txn.after_commit(broken)
            txn.after_commit(heard.append, 1)
            txn.publish(Change(1, 2))
            return "done"

        self.store.listen(broken)
        self.store.listen(lambda change: heard.append(change.modseq))
        self.assertEqual(await self.store.write(job), "done")
        self.assertEqual(heard, [1, 2])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 2)

    async def test_batched_calls_meet(self) -> None:
        sizes = await gatherResults([self.store.write(insert_all, (id, f"name {id}")) for id in range(40)])
        self.assertEqual(len(await self.store.read(names)), 40)
        self.assertTrue(max(sizes) > 1, sizes)

    async def test_an_answer_that_is_an_exception_fails_its_call_alone(self) -> None:
        jobs = [self.store.write(insert_all, (id, "no" if id == 5 else f"name {id}")) for id in range(10)]
        self.assertEqual((await self.refusal(jobs.pop(5))).args, NO.args)
        await gatherResults(jobs)
        self.assertEqual(len(await self.store.read(names)), 9)

    async def test_a_failing_batch_is_tried_one_by_one(self) -> None:
        jobs = [self.store.write(insert_all, (id, "bad" if id == 5 else f"name {id}")) for id in range(10)]
        self.assertIsInstance(await self.refusal(jobs.pop(5)), KeyError)
        await gatherResults(jobs)
        self.assertEqual(len(await self.store.read(names)), 9)

    async def test_a_batch_must_answer_every_call(self) -> None:
        @batched
        def short(txn: Txn, calls: list[Any]) -> list[Any]:
            return []

        self.assertIsInstance(await self.refusal(self.store.write(short, 1)), RuntimeError)

    async def test_a_read_sees_one_moment(self) -> None:
        from threading import Event

        started, written = Event(), Event()

        def twice(txn: Txn) -> tuple[list[str], list[str]]:
            first = names(txn)
            started.set()
            assert written.wait(10)
            return first, names(txn)

        await self.store.write(insert, 1, "one")
        reading = self.store.read(twice)
        await self.store.read(lambda txn: started.wait(10))
        await self.store.write(insert, 2, "two")
        written.set()
        self.assertEqual(await reading, (["one"], ["one"]))
        self.assertEqual(await self.store.read(names), ["one", "two"])

    async def test_a_read_writes_nothing(self) -> None:
        self.assertIsInstance(await self.refusal(self.store.read(insert, 1, "one")), Unavailable)
        self.assertIsInstance(await self.refusal(self.store.read(lambda txn: txn.publish(Change(1, 1)))), TypeError)
        self.assertIsInstance(await self.refusal(self.store.read(lambda txn: txn.after_commit(print))), TypeError)
        self.assertEqual(await self.store.read(names), [])

    async def test_insert_many_keeps_the_order(self) -> None:
        def job(txn: Txn, rows: Sequence[tuple[int, str]]) -> list[int]:
            answer = txn.insert_many("INSERT INTO things (id, name) VALUES ? RETURNING id", rows)
            txn.insert_many("INSERT INTO things (id, name) VALUES ? ON CONFLICT DO NOTHING", rows)
            txn.execute("DELETE FROM things")
            return [id for (id,) in answer]

        for size in (0, 1, 2, 63, 64, 65, 200, 1100):
            ids = list(range(size, 0, -1))
            self.assertEqual(await self.store.write(job, [(id, f"n{id}") for id in ids]), ids)
        self.assertIsInstance(await self.refusal(self.store.write(lambda txn: txn.insert_many("DELETE FROM things", [(1,)]))), ValueError)

    async def test_values_come_back_as_they_went(self) -> None:
        def job(txn: Txn) -> Any:
            txn.execute("CREATE TABLE more (big BIGINT, octets %s, text TEXT)" % ("BLOB" if txn.dialect == "sqlite" else "BYTEA"))
            changed = txn.execute("INSERT INTO more VALUES (?, ?, '?%s ''?')", (2**62, b"\0\xff?%"))
            txn.executemany("INSERT INTO more VALUES (?, ?, ?)", [(1, b"", None), (-1, memoryview(b"view"), "ü%?")])
            assert changed == 1 and txn.execute("UPDATE more SET big = big + ? WHERE big % 2 = ?", (1, 0)) == 1
            return txn.all("SELECT big, octets, text FROM more ORDER BY big -- what?\n"), txn.one(
                "SELECT sum(big), count(*) FROM more WHERE big < ?", (2,)
            )

        rows, total = await self.store.write(job)
        self.assertEqual(
            [(big, bytes(octets), text) for big, octets, text in rows],
            [(-1, b"view", "ü%?"), (1, b"", None), (2**62 + 1, b"\0\xff?%", "?%s '?")],
        )
        self.assertEqual(await self.store.read(lambda txn: txn.one("SELECT avg(octet) FROM (SELECT 1 AS octet UNION SELECT 2) t")), (1.5,))
        self.assertEqual(total, (0, 2))
        self.assertIsInstance(total[0], int)

    async def test_closing_answers_first(self) -> None:
        store = self.store
        jobs = [store.write(insert, id, f"name {id}") for id in range(20)] + [store.read(names)]
        done = gatherResults(jobs)
        await store.close()
        self.assertEqual(len(await done), 21)
        for deferred in (store.write(names), store.read(names)):
            self.assertIsInstance(await self.refusal(deferred), Unavailable)
        await store.close()

    async def test_data_stays(self) -> None:
        await self.store.write(insert, 1, "one")
        await self.store.close()
        self.store = await self.open()
        self.assertEqual(await self.store.read(names), ["one"])


class SQLitePromises(Promises, SQLiteCase):
    pass


class PostgreSQLPromises(Promises, PostgreSQLCase):
    pass
