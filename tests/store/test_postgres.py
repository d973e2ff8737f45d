"""The PostgreSQL engine alone: lost connections, transactions that meet, and Changes from other nodes."""

import re
from typing import Any

import psycopg
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailx.mail.mailbox import AccountChange, Change, of_account
from mailx.mail.reply import Unavailable
from mailx.store import Txn, batched, postgres
from mailx.store.notices import decode, encode
from mailx.store.postgres import placeholders
from tests.store.engines import PostgreSQLCase, insert, names
from tests.store.postgresql import Server


def kill(txn: Txn) -> None:
    """The server ends the connection of this job."""
    txn.execute("SELECT pg_terminate_backend(pg_backend_pid())")


class Case(PostgreSQLCase):
    async def unavailable(self, deferred: Any) -> str:
        try:
            answer = await deferred
        except Unavailable as error:
            return error.reason
        return self.fail(f"answered {answer!r}")  # type: ignore[no-any-return]

    async def other_node(self) -> Any:
        store = await self.open()
        self.addCleanup(lambda: self.deferred(store.close()))
        return store

    def heard(self, store: Any, count: int) -> Deferred[list[Change]]:
        """Fires with the changes that ``store`` tells when there are ``count``."""
        changes: list[Change] = []
        done: Deferred[list[Change]] = Deferred()

        def listener(change: Change) -> None:
            changes.append(change)
            if len(changes) == count:
                done.callback(changes)

        store.listen(listener)
        return done


class LostConnectionTests(Case):
    async def test_between_two_jobs(self) -> None:
        pids = await gatherResults([self.store.write(lambda txn: txn.one("SELECT pg_backend_pid()")) for _ in range(8)])
        pids += await gatherResults([self.store.read(lambda txn: txn.one("SELECT pg_backend_pid()")) for _ in range(8)])
        with psycopg.connect(self.server.url(self.database)) as connection:
            for (pid,) in set(pids):
                connection.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
        jobs = [self.store.write(insert, id, f"name {id}") for id in range(8)] + [self.store.read(lambda txn: txn.one("SELECT 7"))] * 1
        self.assertEqual(await gatherResults(jobs), [*range(8), (7,)])

    async def test_within_a_job(self) -> None:
        runs: list[int] = []

        def job(txn: Txn) -> int:
            insert(txn, 1, "one")
            runs.append(1)
            if len(runs) == 1:
                kill(txn)
            return len(runs)

        self.assertEqual(await self.store.write(job), 2)
        self.assertEqual(await self.store.read(names), ["one"])

    async def test_again_and_again(self) -> None:
        def job(txn: Txn) -> None:
            insert(txn, 1, "one")
            kill(txn)

        self.assertTrue(await self.unavailable(self.store.write(job)))
        self.assertTrue(await self.unavailable(self.store.read(kill)))
        self.assertEqual(await self.store.read(names), [])
        self.assertEqual(await self.store.write(insert, 1, "one"), 1)

    async def test_in_a_batch(self) -> None:
        runs: list[int] = []

        @batched
        def job(txn: Txn, calls: list[int]) -> list[int]:
            runs.append(len(calls))
            if len(runs) == 2:
                kill(txn)
            return [insert(txn, id, f"name {id}") for id in calls]

        self.assertEqual(await gatherResults([self.store.write(job, id) for id in range(9)]), list(range(9)))

    def lose_commit(self, *, committed: bool, times: int = 1) -> None:
        """The connection breaks during the next COMMIT of a writer, before or after the server has done it."""
        commit = psycopg.Connection.commit
        left = [times]

        def broken(connection: Any) -> None:
            if not left[0] or connection.read_only:
                return commit(connection)
            left[0] -= 1
            if committed:
                commit(connection)
            connection.close()
            raise psycopg.OperationalError("the connection is lost")

        self.patch(psycopg.Connection, "commit", broken)

    def publish(self, txn: Txn) -> None:
        row = txn.one("INSERT INTO things (id, name) SELECT count(*), 'name ' || count(*) FROM things RETURNING id")
        assert row is not None
        txn.publish(Change(1, row[0]))

    async def test_during_a_commit_that_took_place(self) -> None:
        heard = self.heard(self.store, 1)
        self.lose_commit(committed=True)
        await self.store.write(self.publish)
        self.assertEqual(await heard, [Change(1, 0)])
        self.assertEqual(await self.store.read(names), ["name 0"])

    async def test_during_a_commit_that_did_not_take_place(self) -> None:
        heard = self.heard(self.store, 1)
        self.lose_commit(committed=False)
        await self.store.write(self.publish)
        self.assertEqual(await heard, [Change(1, 0)])
        self.assertEqual(await self.store.read(names), ["name 0"])

    async def test_during_a_commit_whose_end_cannot_be_learnt(self) -> None:
        self.lose_commit(committed=True)  # nothing is published, so the transaction is not known by its number
        self.assertIn("lost", await self.unavailable(self.store.write(insert, 1, "one")))
        self.assertEqual(await self.store.read(names), ["one"])

    async def test_a_batch_whose_end_cannot_be_learnt_is_not_run_again(self) -> None:
        runs: list[int] = []

        @batched
        def job(txn: Txn, calls: list[int]) -> list[int]:
            runs.extend(calls)
            return calls

        self.lose_commit(committed=False, times=100)
        for deferred in [self.store.write(job, number) for number in range(5)]:
            await self.unavailable(deferred)
        self.assertEqual(runs, [0, 1, 2, 3, 4])


class ServerGoneTests(Case):
    def setUp(self) -> Any:
        self.own = Server()  # not the one that all tests share
        self.addCleanup(self.own.remove)
        self.patch(postgres, "_CONNECT", {"connect_timeout": 5})
        self.server, self.database = self.own, self.own.create_database()
        return super(PostgreSQLCase, self).setUp()

    async def test_unavailable_and_back(self) -> None:
        heard = self.heard(self.store, 1)
        await self.store.write(insert, 1, "one")
        self.own.stop()
        jobs = [self.store.write(insert, 2, "two"), self.store.read(names), self.store.write(insert, 3, "three")]
        for job in jobs:
            reason = await self.unavailable(job)
            self.assertNotIn("two", reason)
        try:
            await postgres.open_store(self.own.url(self.database), "", 1, reactor)
        except Unavailable as error:
            self.assertIn("connection", error.reason)
        else:
            self.fail("opened")
        self.own.start()
        self.assertEqual(await self.store.write(insert, 2, "two"), 2)
        self.assertEqual(await self.store.read(names), ["one", "two"])
        self.assertEqual(await heard, [Change(0, 0, partial=True)])  # notices may have been missed


class UrlTests(TestCase):
    async def test_a_malformed_url_is_not_repeated(self) -> None:
        for url in ("postgresql://user:private@host/database?bogus=1", "user:private@host"):
            try:
                await postgres.open_store(url, "", 1, reactor)
            except Unavailable as error:
                self.assertIn("malformed", error.reason)
                self.assertNotIn("private", error.reason)
            else:
                self.fail("opened")


class MeetingTests(Case):
    async def test_read_then_write_is_as_if_alone(self) -> None:
        other = await self.other_node()
        await self.store.write(insert, 1, "counter")

        def count(txn: Txn) -> None:
            row = txn.one("SELECT size FROM things WHERE id = 1")
            assert row is not None
            txn.execute("UPDATE things SET size = ? WHERE id = 1", (row[0] + 1,))

        await gatherResults([store.write(count) for store in (self.store, other) for _ in range(15)])
        self.assertEqual(await self.store.read(lambda txn: txn.one("SELECT size FROM things")), (30,))

    async def test_a_long_job_among_short_ones(self) -> None:
        """It gets through although short ones keep changing what it has read."""
        await self.store.write(insert, 1, "counter")
        runs: list[int] = []
        done: list[object] = []

        def short(txn: Txn) -> None:
            txn.execute("UPDATE things SET size = coalesce(size, 0) + 1 WHERE id = 1")

        def long(txn: Txn) -> int:
            runs.append(1)
            txn.one("SELECT size FROM things WHERE id = 1")
            txn.one("SELECT pg_sleep(0.03)")
            short(txn)
            return len(runs)

        async def keep_on() -> None:
            while not done:
                await self.store.write(short)

        others = [Deferred.fromCoroutine(keep_on()) for _ in range(2)]
        try:
            self.assertLessEqual(await self.store.write(long), postgres._PATIENCE + 3)
        finally:
            done.append(True)
            await gatherResults(others)

    async def test_a_job_that_never_gets_through(self) -> None:
        runs: list[int] = []

        def job(txn: Txn) -> None:
            runs.append(1)
            raise psycopg.errors.SerializationFailure("met another")

        self.patch(postgres.time, "sleep", lambda seconds: None)
        self.assertIn("met another", await self.unavailable(self.store.write(job)))
        self.assertEqual(len(runs), postgres._ATTEMPTS)


class NodesTests(Case):
    async def test_changes_reach_other_nodes(self) -> None:
        other = await self.other_node()
        there, here = self.heard(other, 3), self.heard(self.store, 3)

        def job(txn: Txn) -> None:
            txn.publish(Change(5, 6, added=((1, 0, 100),)))
            txn.publish(Change(7, 8, gone=True))

        await self.store.write(job)
        await other.write(lambda txn: txn.publish(Change(9, 10)))
        self.assertEqual(set(await there), {Change(5, 6, partial=True), Change(7, 8, gone=True, partial=True), Change(9, 10)})
        self.assertEqual(await here, [Change(5, 6, added=((1, 0, 100),)), Change(7, 8, gone=True), Change(9, 10, partial=True)])

    async def test_an_undone_job_tells_nobody(self) -> None:
        other = await self.other_node()
        there = self.heard(other, 1)

        def job(txn: Txn) -> None:
            txn.publish(Change(1, 1))
            raise KeyError

        with self.assertRaises(KeyError):
            await self.store.write(job)
        await self.store.write(lambda txn: txn.publish(Change(1, 2)))
        self.assertEqual(await there, [Change(1, 2, partial=True)])

    async def test_a_lost_listener_comes_back(self) -> None:
        other = await self.other_node()
        there = self.heard(other, 2)
        pid = other._notices._connection.info.backend_pid
        await self.store.write(lambda txn: txn.execute("SELECT pg_terminate_backend(?::int)", (pid,)))

        def tell(change: Change) -> None:
            if change.mailbox == 0:
                self.store.write(lambda txn: txn.publish(Change(3, 4)))

        other.listen(tell)
        self.assertEqual(await there, [Change(0, 0, partial=True), Change(3, 4, partial=True)])

    async def test_malformed_notices_are_dropped(self) -> None:
        other = await self.other_node()
        there = self.heard(other, 1)
        for payload in ("node x:y", "node 1", "", "ü"):
            await self.store.write(lambda txn, payload=payload: txn.execute("SELECT pg_notify('mailx_changes', ?)", (payload,)))
        await self.store.write(lambda txn: txn.publish(Change(1, 2)))
        self.assertEqual(await there, [Change(1, 2, partial=True)])


class TextTests(SynchronousTestCase):
    @given(st.lists(st.tuples(st.integers(0, 2**62), st.integers(0, 2**62), st.booleans()), min_size=1, max_size=600))
    def test_payloads(self, items: list[tuple[int, int, bool]]) -> None:
        changes = [Change(mailbox, modseq, gone=gone, partial=True) for mailbox, modseq, gone in items]
        decoded: list[Change] = []
        for payload in encode("node", changes):
            self.assertTrue(len(payload) < 8000)
            node, part = decode(payload)
            self.assertEqual(node, "node")
            decoded += part
        self.assertEqual(decoded, changes)

    def test_changes_of_accounts(self) -> None:
        """Entries stay on this node: they are nobody else's to read on the way."""
        told = of_account(AccountChange(7, "metadata", 3, ("/shared/comment",)))
        (payload,) = encode("node", [told, Change(1, 2)])
        self.assertEqual(payload, "node 7@metadata:3 1:2")
        expected = [of_account(AccountChange(7, "metadata", 3)), Change(1, 2, partial=True)]
        self.assertEqual(decode(payload), ("node", expected))
        self.assertRaises(ValueError, decode, "node 7@nonsense:3")

    @given(st.lists(st.sampled_from(["?", "%", "'it''s ?'", '"a?"', "-- ?\n", "SELECT a", "''", " "])))
    def test_placeholders(self, pieces: list[str]) -> None:
        text = placeholders(" ".join(pieces))
        self.assertEqual(text.count("%s"), pieces.count("?"))
        self.assertEqual(text.replace("%s", "?").replace("%%", "%"), " ".join(pieces))
        self.assertEqual(re.sub("%[%s]", "", text).count("%"), 0)
