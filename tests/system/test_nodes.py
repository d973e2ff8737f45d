"""Two servers on one PostgreSQL database: each sends what the other cannot, and none what the other sends.

Their messages are small, so that all is in the database: the files of large ones stay with the server that wrote them.
"""

import shutil
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from smtplib import SMTPResponseException
from tempfile import mkdtemp

import psycopg
from twisted.trial.unittest import SynchronousTestCase

from bench import crash_queue
from bench.recorder import Recorder
from mailx.store.queue import LEASE
from tests.store import postgresql
from tests.system.neighbours import Neighbours
from tests.system.server import PATIENCE, Server

FAR = "far.example"


class Gated(Recorder):
    """A recorder that has whole messages for ``slow-...`` and says nothing until ``gate`` is set."""

    def __init__(self, path: Path) -> None:
        self.gate = threading.Event()
        self.inside: list[str] = []  # who waited or waits at the gate
        super().__init__(path, 0.0)

    def _keep(self, attempt: str, recipients: list[str]) -> None:
        slow = [recipient for recipient in recipients if recipient.startswith("slow-")]
        self.inside += slow
        if slow:
            self.gate.wait(PATIENCE)
        super()._keep(attempt, recipients)


class TwoNodes(Neighbours):
    def setUp(self) -> None:
        super().setUp()
        self.recorder = Gated(Path(self.mktemp()))
        self.addCleanup(self.recorder.close)
        self.addCleanup(self.recorder.gate.set)
        self.cluster = postgresql.server()
        database = self.cluster.create_database()
        self.addCleanup(self.cluster.drop_database, database)
        self.database = self.cluster.url(database)

    def node(self, other: Server | None = None) -> Server:
        """A server on the database, with the secret of ``other``."""
        tables = f'[[outbound.relays]]\nname = "recorder"\nhosts = ["127.0.0.1:{self.recorder.port}"]\nsecurity = "plain"\n'
        every = {"store.url": f'"{self.database}"', "queue.retry": '["1h", "1h"]'}
        server = Server(self, every, f'{tables}[[outbound.routes]]\nrelay = "recorder"\n')
        server.constants["mailx.core.timetable.ROUND"] = 3.0  # that much of what others did is seen at the next one
        if other is not None:
            shutil.copy(other.directory / "mailx.secret", server.directory)
        server.start()
        if other is not None:
            server.password = other.password
        return server

    def rows(self, sql: str) -> list[tuple[str, int]]:
        with psycopg.connect(self.database, autocommit=True) as connection:
            return connection.execute(sql.encode()).fetchall()

    def states(self) -> dict[str, int]:
        """How many recipients are in which state."""
        return dict(self.rows("SELECT state, count(*) FROM queue GROUP BY state"))

    def arrived(self) -> Counter[str]:
        return Counter(arrival.recipient.partition("@")[0] for arrival in self.recorder.arrivals)

    def uncertain(self, server: Server) -> int:
        return int(server.metrics()["mailx_queue_uncertain_total"])

    def test_one_dies_while_it_sends(self) -> None:
        """Its messages wait until it was silent for long enough, then the other sends them; who had them gets them twice."""
        first = self.node()
        first.submit([f"ok-a@{FAR}", f"defer-a@{FAR}"], "others")
        self.wait_until(lambda: self.states() == {"sent": 1, "deferred": 1}, first.log)
        slow = [f"slow-{number}" for number in range(3)]
        for name in slow:
            first.submit(f"{name}@{FAR}", name)
        self.wait_until(lambda: bool(self.recorder.inside) and self.states()["sending"] == 3, first.log)
        second = self.node(first)
        first.kill()
        had = set(self.recorder.inside)
        self.recorder.recovered = True
        self.recorder.gate.set()
        second.submit(f"ok-b@{FAR}", "meanwhile")
        self.wait_until(lambda: self.arrived()["ok-b"] == 1 and self.states()["sending"] == 3, second.log)
        self.assertNotIn("queue.taken_back", second.log())
        # It was heard of just now, by the clock of the database: make that long ago.
        with psycopg.connect(self.database, autocommit=True) as connection:
            connection.execute("UPDATE nodes SET seen = seen - %s WHERE node IN (SELECT node FROM queue WHERE node <> '')", (LEASE + 1,))
        self.wait_until(lambda: "queue.taken_back" in second.log(), second.log)
        second.ctl("queue", "retry", "--all", "--yes")
        self.wait_until(lambda: self.states() == {"sent": 6}, second.log)
        self.assertEqual(set(self.arrived()), {"ok-a", "ok-b", "defer-a", *slow})
        self.assertEqual({name for name, count in self.arrived().items() if count > 1}, {name.partition("@")[0] for name in had})
        self.assertEqual(max(self.arrived().values()), 2)
        self.assertEqual(self.uncertain(second), 3)

    def test_one_ends_in_order(self) -> None:
        """Nobody waits for the dead: what it had not begun goes out by the other at its next look."""
        first = self.node()
        first.submit([f"defer-{number}@{FAR}" for number in range(3)], "later")
        self.wait_until(lambda: self.states() == {"deferred": 3}, first.log)
        second = self.node(first)
        first.stop()
        self.recorder.recovered = True
        second.ctl("queue", "retry", "--all", "--yes")
        self.wait_until(lambda: self.states() == {"sent": 3}, second.log)
        self.assertEqual(set(self.arrived().values()), {1})
        self.assertEqual(self.uncertain(second), 0)

    def test_they_share_the_work_of_one_destination(self) -> None:
        """The first has more than it may try at once; the second hears of it at its next round and takes part."""
        first = self.node()
        second = self.node(first)
        names = [f"slow-{number}" for number in range(20)]
        with first.submission() as client:
            for name in names:
                client.sendmail(first.account, f"{name}@{FAR}", f"From: {first.account}\r\nSubject: {name}\r\n\r\nText\r\n")
        self.wait_until(lambda: len(self.recorder.inside) == 2, lambda: first.log() + second.log())
        nodes = self.rows("SELECT node, count(*) FROM queue WHERE state = 'sending' GROUP BY node")
        self.assertEqual(len(nodes), 2, nodes)
        self.assertEqual(len(set(self.recorder.inside)), 2)
        self.recorder.gate.set()
        self.wait_until(lambda: self.states() == {"sent": 20}, lambda: first.log() + second.log())
        self.assertEqual(self.arrived(), dict.fromkeys(names, 1))
        for server in (first, second):
            self.wait_until(lambda server=server: "queue.sent" in server.log(), server.log)  # type: ignore[misc]

    def test_both_send_and_manage_at_once(self) -> None:
        """Submissions on both, and changes of the same rows by both: nobody gets anything twice."""
        first = self.node()
        second = self.node(first)
        names = {
            server: [f"{kind}-{place}-{number}" for number in range(20) for kind in ("ok", "defer")]
            for place, server in enumerate((first, second))
        }

        def submit(server: Server) -> None:
            with server.submission() as client:
                for name in names[server]:
                    client.sendmail(server.account, f"{name}@{FAR}", f"From: {server.account}\r\nSubject: {name}\r\n\r\nText\r\n")

        def retry(server: Server) -> None:
            server.ctl("queue", "retry", "--all", "--yes")

        self.together(submit, first, second)
        self.wait_until(lambda: self.states() == {"sent": 40, "deferred": 40}, lambda: first.log() + second.log())
        self.recorder.recovered = True
        self.together(retry, first, second)
        self.wait_until(lambda: self.states() == {"sent": 80}, lambda: first.log() + second.log())
        self.assertEqual(self.arrived(), {name: 1 for each in names.values() for name in each})

    def test_the_database_goes_away_and_comes_back(self) -> None:
        """Outcomes wait for it, submissions are told to come again, and nobody gets anything twice."""
        server = self.node()
        server.submit([f"ok-a@{FAR}", f"defer-a@{FAR}"], "before")
        self.wait_until(lambda: self.states() == {"sent": 1, "deferred": 1}, server.log)
        client = server.submission()
        server.submit(f"slow-a@{FAR}", "meanwhile")
        self.wait_until(lambda: len(self.recorder.inside) == 1, server.log)
        self.cluster.stop()
        try:
            error = self.assertRaises(
                SMTPResponseException, client.sendmail, server.account, f"ok-b@{FAR}", "Subject: refused\r\n\r\nText\r\n"
            )
            self.assertEqual(error.smtp_code, 451)
            self.recorder.gate.set()
            self.wait_until(lambda: "queue.settle_delayed" in server.log(), server.log)
        finally:
            self.cluster.start()
        self.recorder.recovered = True
        self.wait_until(lambda: self.states() == {"sent": 2, "deferred": 1}, server.log)
        server.submit(f"ok-c@{FAR}", "after")
        server.ctl("queue", "retry", "--all", "--yes")
        self.wait_until(lambda: self.states() == {"sent": 4}, server.log)
        self.assertEqual(self.arrived(), {"ok-a": 1, "defer-a": 1, "slow-a": 1, "ok-c": 1})
        self.assertEqual(self.uncertain(server), 0)

    @staticmethod
    def together(act: Callable[[Server], None], *servers: Server) -> None:
        """Let all of them ``act`` at the same time."""
        threads = [threading.Thread(target=act, args=(server,)) for server in servers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


class Killed(SynchronousTestCase):
    """``python -m bench.crash_queue --engine postgresql`` in short: each start is another node."""

    def test_nothing_is_lost(self) -> None:
        postgresql.binaries()
        directory = Path(mkdtemp(prefix="mailx-crash-"))
        self.addCleanup(crash_queue.remove, directory)
        figures = crash_queue.run(directory, 3, 1.5, 1, "postgresql")
        self.assertEqual(figures["faults"], [])
        self.assertGreater(figures["acknowledged"], 3)
