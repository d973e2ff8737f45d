"""The SQLite engine alone: shared commits, durability, one process a file, and every way in which the disk says no."""

import os
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from threading import Event
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SkipTest, TestCase

from mailx.mail.mailbox import Change
from mailx.mail.reply import Unavailable
from mailx.store import Txn, batched, sqlite
from tests.store.engines import SQLiteCase, insert, names


class Case(SQLiteCase):
    def setUp(self) -> Any:
        self.patch(sqlite, "_BUSY_SECONDS", 0.05)
        self.told: list[dict[str, Any]] = []
        observer = self.told.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.patch(sqlite, "_BATCH_SECONDS", 3600)  # what is written together stays together on any machine
        return super().setUp()

    def every_job_takes_a_second(self) -> None:
        seconds = iter(range(1000))
        self.patch(sqlite, "perf_counter", lambda: next(seconds))
        self.patch(sqlite, "_BATCH_SECONDS", 0.02)

    def reasons(self) -> list[str]:
        return [event["reason"] for event in self.told if event.get("event") == "store.unavailable"]

    async def unavailable(self, deferred: Any) -> str:
        try:
            answer = await deferred
        except Unavailable as error:
            self.assertEqual((error.reply.code, error.reply.text), (451, "Requested action aborted: local error"))
            return error.reason
        return self.fail(f"answered {answer!r}")  # type: ignore[no-any-return]

    async def traced(self) -> list[str]:
        """The statements that the writer runs from now on."""
        statements: list[str] = []
        await self.store.write(lambda txn: txn._connection.set_trace_callback(statements.append))
        del statements[:]
        return statements


class CommitTests(Case):
    async def test_jobs_of_one_turn_share_a_commit(self) -> None:
        statements = await self.traced()
        jobs = [self.store.write(insert, id, f"name {id}") for id in range(50)]
        await gatherResults(jobs)
        self.assertEqual(statements.count("COMMIT"), 1)
        self.assertEqual(statements.count("SAVEPOINT job"), 50)

    async def test_jobs_that_arrive_during_a_commit_share_the_next(self) -> None:
        statements = await self.traced()
        started: Deferred[None] = Deferred()
        going = Event()

        def hold(txn: Txn) -> None:
            reactor.callFromThread(started.callback, None)  # type: ignore[attr-defined]
            assert going.wait(10)

        jobs: list[Any] = [self.store.write(hold)]
        await started
        for id in range(10):
            jobs.append(self.store.write(insert, id, f"name {id}"))
            turn: Deferred[None] = Deferred()
            reactor.callLater(0, turn.callback, None)  # type: ignore[attr-defined]
            await turn
        going.set()
        await gatherResults(jobs)
        self.assertEqual(statements.count("COMMIT"), 2)
        self.assertEqual(statements.count("SAVEPOINT job"), 10)

    async def test_a_job_alone_needs_no_savepoint(self) -> None:
        statements = await self.traced()
        await self.store.write(insert, 1, "one")
        self.assertEqual([text for text in statements if "INSERT" not in text], ["BEGIN IMMEDIATE", "COMMIT"])

    async def test_batched_calls_run_as_one_job_in_their_place(self) -> None:
        order: list[Any] = []

        @batched
        def collect(txn: Txn, calls: list[int]) -> list[int]:
            order.append(calls)
            return calls

        jobs = [self.store.write(lambda txn: order.append("before"))]
        for number in range(5):
            jobs.append(self.store.write(collect, number))
            jobs.append(self.store.write(lambda txn: order.append("between")))
        self.assertEqual((await gatherResults(jobs))[1::2], [0, 1, 2, 3, 4])
        self.assertEqual(order, ["before", [0, 1, 2, 3, 4], *["between"] * 5])

    async def test_a_long_batch_is_cut(self) -> None:
        statements = await self.traced()
        self.every_job_takes_a_second()
        jobs = [self.store.write(insert, id, f"name {id}") for id in range(5)]
        self.assertEqual(await gatherResults(jobs), list(range(5)))
        self.assertEqual(statements.count("COMMIT"), 5)
        self.assertEqual(await self.store.read(names), [f"name {id}" for id in range(5)])

    async def test_all_of_a_commit_is_told_before_any_answer(self) -> None:
        told: list[str] = []
        self.store.listen(lambda change: told.append(f"change {change.modseq}"))

        def job(txn: Txn, number: int) -> int:
            txn.after_commit(told.append, f"after {number}")
            txn.publish(Change(1, number))
            return number

        jobs = [self.store.write(job, number).addCallback(lambda answer: told.append(f"answer {answer}")) for number in range(3)]
        await gatherResults(jobs)
        self.assertEqual(told, ["after 0", "change 0", "after 1", "change 1", "after 2", "change 2", "answer 0", "answer 1", "answer 2"])

    async def test_a_slow_job_is_told(self) -> None:
        self.patch(sqlite, "_SLOW_JOB", -1)
        await self.store.write(insert, 1, "private text")
        (event,) = [event for event in self.told if event.get("event") == "store.slow_job"]
        self.assertEqual((event["job"], event["calls"]), ("insert", 1))
        self.assertNotIn("private", str(event))

    async def test_durable_by_its_settings(self) -> None:
        def settings(txn: Txn) -> dict[str, Any]:
            return {name: row[0] for name in ("journal_mode", "synchronous", "foreign_keys") if (row := txn.one(f"PRAGMA {name}"))}

        self.assertEqual(await self.store.write(settings), {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1})
        for suffix in ("", "-wal", "-shm", ".lock"):
            self.assertEqual(os.stat(self.path + suffix).st_mode & 0o777, 0o600, suffix)

    async def test_an_acknowledged_write_survives_kill(self) -> None:
        path = self.mktemp()
        script = (
            "import os\nfrom twisted.internet import task\nfrom twisted.internet.defer import Deferred\nfrom mailx.store import sqlite\n"
            "async def main(reactor):\n"
            f"    store = await sqlite.open_store({path!r}, 1, reactor)\n"
            "    await store.write(lambda txn: txn.execute(\"INSERT INTO domains (name, created) VALUES ('kept.test', 1)\"))\n"
            "    os.kill(os.getpid(), 9)\n"
            "task.react(lambda reactor: Deferred.fromCoroutine(main(reactor)))\n"
        )
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=False)
        self.assertEqual(done.returncode, -9, done.stderr)
        store = await sqlite.open_store(path, 1, reactor)
        self.assertEqual(await store.read(lambda txn: txn.all("SELECT name FROM domains")), [("kept.test",)])
        await store.close()


class OneProcessTests(Case):
    async def test_a_second_store_is_refused(self) -> None:
        with self.assertRaises(sqlite.StoreInUse) as caught:
            await sqlite.open_store(self.path, 1, reactor)
        self.assertIn("another process uses the database", str(caught.exception))
        self.assertEqual(await self.store.write(insert, 1, "one"), 1)

    async def test_a_second_process_is_refused(self) -> None:
        path = os.path.abspath(self.path)
        script = (
            "from mailx.store import sqlite\n"
            f"try:\n    sqlite.SQLiteStore({path!r}, 1, None)\n"
            "except sqlite.StoreInUse as error:\n    print(error)\n"
        )
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
        self.assertIn(f"another process uses the database {path}", done.stdout, done.stderr)

    async def test_closing_lets_go(self) -> None:
        await self.store.close()
        other = await sqlite.open_store(self.path, 1, reactor)
        await other.close()

    async def test_a_directory_that_is_missing(self) -> None:
        try:
            await sqlite.open_store(os.path.join(self.mktemp(), "mail.db"), 1, reactor)
        except Unavailable as error:
            self.assertIn("cannot be opened", error.reason)
        else:
            self.fail("opened")

    async def test_a_file_that_is_no_database(self) -> None:
        path = self.mktemp()
        Path(path).write_bytes(b"this is no database" * 1000)
        try:
            await sqlite.open_store(path, 1, reactor)
        except Unavailable as error:
            self.assertIn("not a database", error.reason)
        else:
            self.fail("opened")


class FailureTests(Case):
    async def test_locked(self) -> None:
        other = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(other.close)
        other.execute("BEGIN IMMEDIATE")
        jobs = [self.store.write(insert, id, f"name {id}") for id in range(5)]
        for job in jobs:
            self.assertIn("locked", await self.unavailable(job))
        self.assertTrue(self.reasons())
        other.execute("ROLLBACK")
        self.assertEqual(await self.store.write(insert, 1, "one"), 1)
        self.assertEqual(await self.store.read(names), ["one"])

    async def test_read_only(self) -> None:
        await self.store.write(lambda txn: txn.execute("PRAGMA query_only = ON"))
        self.assertIn("readonly", await self.unavailable(self.store.write(insert, 1, "one")))
        self.assertEqual(await self.store.write(insert, 1, "one"), 1)  # on a new connection

    async def test_read_only_in_company(self) -> None:
        self.store.write(lambda txn: txn.execute("PRAGMA query_only = ON"))
        jobs = [self.store.write(insert, 1, "one"), self.store.write(names)]
        self.assertIn("readonly", await self.unavailable(jobs[0]))
        self.assertEqual(await jobs[1], [])

    def fill(self, txn: Txn, id: int, octets: int) -> int:
        txn.execute("INSERT INTO things (id, name) VALUES (?, ?)", (id, f"{id}" + "x" * octets))
        return id

    async def limit(self, pages: int) -> None:
        def job(txn: Txn) -> None:
            row = txn.one("PRAGMA page_count")
            assert row is not None
            txn.execute(f"PRAGMA max_page_count = {row[0] + pages}")

        await self.store.write(job)

    async def test_full_alone(self) -> None:
        await self.limit(20)
        self.assertIn("full", await self.unavailable(self.store.write(self.fill, 1, 1_000_000)))
        self.assertEqual(await self.store.write(insert, 2, "small"), 2)
        self.assertEqual(await self.store.read(names), ["small"])

    async def test_full_in_company(self) -> None:
        await self.limit(20)
        jobs = [self.store.write(self.fill, id, 1_000_000 if id == 5 else 10) for id in range(10)]
        self.assertIn("full", await self.unavailable(jobs.pop(5)))
        await gatherResults(jobs)
        self.assertEqual(len(await self.store.read(names)), 9)

    async def test_a_transaction_that_sqlite_rolled_back_is_run_again_singly(self) -> None:
        runs: list[str] = []

        def good(txn: Txn, id: int) -> int:
            runs.append(f"good {id}")
            return insert(txn, id, f"name {id}")

        def lose(txn: Txn) -> None:
            runs.append("lose")
            txn.execute("INSERT OR ROLLBACK INTO things (id, name) VALUES (99, 'name 1'), (99, 'again')")

        jobs = [self.store.write(good, 1), self.store.write(lose), self.store.write(good, 2)]
        self.assertEqual([await jobs[0], await jobs[2]], [1, 2])
        with self.assertRaises(sqlite.Conflict):
            await jobs[1]
        self.assertEqual(runs, ["good 1", "lose", "good 1", "lose", "good 2"])
        self.assertEqual(await self.store.read(names), ["name 1", "name 2"])

    async def test_a_failed_commit_fails_all_of_it(self) -> None:
        def defer_a_broken_reference(txn: Txn) -> None:
            txn.execute("PRAGMA defer_foreign_keys = ON")
            txn.execute("INSERT INTO bodies (message_id, content) VALUES (12345, x'00')")

        changes: list[Change] = []
        self.store.listen(changes.append)

        def publish(txn: Txn) -> None:
            insert(txn, 1, "one")
            txn.publish(Change(1, 1))

        jobs = [self.store.write(publish), self.store.write(defer_a_broken_reference)]
        for job in jobs:
            await self.unavailable(job)
        await self.unavailable(self.store.write(defer_a_broken_reference))
        self.assertEqual(changes, [])
        await self.store.write(publish)
        self.assertEqual((len(changes), await self.store.read(names)), (1, ["one"]))

    async def test_a_batch_cut_short_whose_commit_fails(self) -> None:
        self.every_job_takes_a_second()

        def broken(txn: Txn) -> None:
            txn.execute("PRAGMA defer_foreign_keys = ON")
            txn.execute("INSERT INTO bodies (message_id, content) VALUES (12345, x'00')")

        jobs = [self.store.write(broken), *(self.store.write(insert, id, f"name {id}") for id in range(3))]
        await self.unavailable(jobs.pop(0))
        self.assertEqual(await gatherResults(jobs), [0, 1, 2])

    async def test_the_file_cannot_be_opened_any_more(self) -> None:
        self.store._writer.connargs = (os.path.join(self.mktemp(), "missing", "mail.db"),)
        await self.store.write(lambda txn: txn.execute("PRAGMA query_only = ON"))
        jobs = [self.store.write(insert, id, f"name {id}") for id in range(3)]
        for job in jobs:
            await self.unavailable(job)
        self.assertIn("unable to open", await self.unavailable(self.store.write(insert, 1, "one")))
        self.store._writer.connargs = (self.path,)
        self.assertEqual(await self.store.write(insert, 1, "one"), 1)

    async def test_reads_recover(self) -> None:
        def broken(txn: Txn) -> None:
            txn.all("SELECT * FROM nowhere")

        self.assertIn("no such table", await self.unavailable(self.store.read(broken)))
        self.assertEqual(await self.store.read(names), [])

    async def test_reasons_hold_no_values(self) -> None:
        await self.store.write(insert, 1, "private text")
        with self.assertRaises(sqlite.Conflict) as caught:
            await self.store.write(insert, 1, "private text")
        self.assertNotIn("private", str(caught.exception))


def _opened_below(place: str) -> list[str]:
    """What this process has open there."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:  # it was that of the directory itself
            pass
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        found += [line.rpartition(" ")[2] for line in maps]
    return [path for path in found if path.startswith(place)]


class FullDiskTests(TestCase):
    """A file system that is really full."""

    timeout = 240

    async def test_full_and_free_again(self) -> None:
        place = tempfile.mkdtemp()
        self.addCleanup(os.rmdir, place)
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", place], capture_output=True, check=False)
        if mounted.returncode:
            raise SkipTest("no small file system can be mounted here")
        # Lazy, for others may be looking around there, as programs do that search the machine; we hold nothing any more.
        self.addCleanup(subprocess.run, ["umount", "--lazy", place], check=True)
        self.addCleanup(lambda: self.assertEqual(_opened_below(place), []))
        store = await sqlite.open_store(os.path.join(place, "mail.db"), 1, reactor)
        self.addCleanup(store.close)

        def job(txn: Txn, id: int) -> int:
            txn.execute("INSERT INTO domains (id, name, created) VALUES (?, ?, 0)", (id, f"{id}" + "x" * 50_000))
            return id

        kept, refused = [], 0
        for start in range(0, 100, 10):
            for deferred in [store.write(job, id) for id in range(start, start + 10)]:
                try:
                    kept.append(await deferred)
                except Unavailable:
                    refused += 1
        self.assertTrue(kept and refused)

        def ids(txn: Txn) -> list[int]:
            return [id for (id,) in txn.all("SELECT id FROM domains ORDER BY id")]

        self.assertEqual(await store.read(ids), kept)
        subprocess.run(["mount", "-o", "remount,size=30m", place], check=True)
        self.assertEqual(await store.write(job, 1000), 1000)
        self.assertEqual(await store.read(ids), [*kept, 1000])
