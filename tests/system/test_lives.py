"""A real server is killed while it removes and erases: what it began it ends after the next start, and counters are right."""

import json
import sqlite3
import time
from collections.abc import Callable
from threading import Thread

from twisted.trial.unittest import SynchronousTestCase

from tests.system.server import ADDRESS, PATIENCE, Server

OTHER = "other@localhost.test"
MANY = 4000
DAY = 86400


class Killed(SynchronousTestCase):
    def fill(self, mailbox: str) -> Server:
        """A server with many messages in a mailbox, some of them in files, and stopped."""
        server = Server(self)
        server.start()
        with server.imap() as imap:
            for number in range(4):
                imap.append(mailbox, "", imaplib_time(), b"Subject: %d\r\n\r\n" % number + b"%x" % (number + 1) * 150_000)
            imap.append(mailbox, "", imaplib_time(), b"Subject: last\r\n\r\nx\r\n")
            imap.select(mailbox)
            while (count := int(imap.select(mailbox)[1][0] or b"0")) < MANY:
                imap.copy(f"1:{min(count, MANY - count)}", mailbox)
        server.stop()
        # The last one cannot be deleted before the kill: however fast this machine is, or late this test, the kill is on the way.
        self.database(server).execute(
            "CREATE TRIGGER last BEFORE DELETE ON entries WHEN OLD.uid = (SELECT max(uid) FROM entries)"
            " BEGIN SELECT RAISE(ABORT, 'last'); END"
        )
        return server

    def database(self, server: Server) -> sqlite3.Connection:
        connection = sqlite3.connect(server.directory / "var" / "mailx.db")
        self.addCleanup(connection.close)
        return connection

    def one(self, server: Server, sql: str) -> int:
        connection = sqlite3.connect(f"file:{server.directory / 'var' / 'mailx.db'}?mode=ro", uri=True)
        try:
            return int(connection.execute(sql).fetchone()[0])
        finally:
            connection.close()

    def until(self, good: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE
        while not good():
            self.assertLess(time.monotonic(), end)
            time.sleep(0.002)

    def kill_during(self, server: Server, *command: str) -> int:
        """Kill the server when a part of the entries is gone; how many are left."""
        asking = Thread(target=lambda: server.ctl(*command, expect=None))
        asking.start()
        self.until(lambda: self.one(server, "SELECT count(*) FROM entries") < MANY * 3 // 4)
        server.kill()
        asking.join()
        self.database(server).execute("DROP TRIGGER last")
        left = self.one(server, "SELECT count(*) FROM entries")
        self.assertGreater(left, 0)
        return left

    def test_during_a_purge(self) -> None:
        server = self.fill("Trash")
        database = self.database(server)
        database.execute("UPDATE entries SET saved = saved - ?", (31 * DAY,))
        database.commit()
        server.start()
        left = self.kill_during(server, "lifecycle", "run")
        server.start()
        self.assertEqual(json.loads(server.ctl("user", "recalculate", "--all", "--json"))["wrong"], 0)
        self.assertEqual(json.loads(server.ctl("lifecycle", "run", "--json"))["removed"], left)
        self.assertEqual(json.loads(server.ctl("user", "show", ADDRESS, "--json"))["used"], 0)
        self.gone(server)

    def test_during_an_erasure(self) -> None:
        server = self.fill("INBOX")
        server.start()
        server.ctl("user", "add", OTHER, "--generate")
        server.ctl("user", "delete", ADDRESS, "--yes")
        self.kill_during(server, "user", "erase", ADDRESS, "--yes")
        server.start()
        self.until(lambda: self.one(server, "SELECT count(*) FROM accounts") == 1)
        self.assertEqual(json.loads(server.ctl("user", "recalculate", "--all", "--json"))["wrong"], 0)
        server.ctl("user", "add", ADDRESS, "--generate")
        self.gone(server)

    def test_a_grace_ends_without_anybody(self) -> None:
        server = Server(self, {"lifecycle.grace_days": "3"})
        server.start()
        server.send("one")
        self.until(lambda: server.subjects() == ["one"])
        server.ctl("user", "delete", ADDRESS, "--yes")
        server.stop()
        database = self.database(server)
        database.execute("UPDATE accounts SET deleted = deleted - ?", (3 * DAY,))
        database.commit()
        server.start()
        self.assertEqual(json.loads(server.ctl("lifecycle", "run", "--json"))["erased"], 1)
        self.assertEqual(self.one(server, "SELECT count(*) FROM accounts"), 0)
        self.gone(server)

    def gone(self, server: Server) -> None:
        """Nothing of the mail is left, neither rows nor files."""
        self.until(lambda: self.one(server, "SELECT (SELECT count(*) FROM messages) + (SELECT count(*) FROM entries)") == 0)
        blobs = server.directory / "var" / "blobs"
        self.until(lambda: [path for path in blobs.rglob("*") if path.is_file() and path.name != "owner"] == [])


def imaplib_time() -> str:
    """Now, as imaplib wants it."""
    return time.strftime('"%d-%b-%Y %H:%M:%S +0000"', time.gmtime())
