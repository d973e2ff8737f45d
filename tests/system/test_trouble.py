"""A disk that fills up, a database that somebody else holds: 4xx, nothing lost, and on again."""

import os
import sqlite3
import subprocess
from smtplib import SMTPDataError, SMTPException

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.system.server import ADDRESS, Server

_OCTETS = 6 << 20


class FullDisk(SynchronousTestCase):
    """The data directory on a small file system of its own."""

    def setUp(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root can mount a file system")
        self.server = Server(self)
        self.data = self.server.directory / "var"
        self.data.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={_OCTETS}", "tmpfs", str(self.data)]
        mounted = subprocess.run(mount, capture_output=True, check=False)
        if mounted.returncode:
            raise SkipTest("no file system can be mounted here")
        self.addCleanup(subprocess.run, ["umount", str(self.data)], check=True)
        self.addCleanup(self.server.stop)
        self.server.start()

    def fill(self) -> None:
        with open(self.data / "filler", "wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"\0" * 4096)
            except OSError:
                return

    def attempt(self, subject: str, body: str) -> int:
        """Send a message; returns the code of the refusal, or 250."""
        try:
            self.server.send(subject, body)
        except SMTPDataError as error:
            return error.smtp_code
        except SMTPException as error:
            self.fail(f"not answered as a refusal of the message: {error!r}")
        return 250

    def test_small_and_large(self) -> None:
        """What was acknowledged is there, what was refused is not, and mail flows again when there is room."""
        accepted = []
        for number in range(3):
            self.assertEqual(self.attempt(f"before {number}", "x\r\n"), 250)
            accepted.append(f"before {number}")
        self.fill()
        codes = set()
        for number in range(40):
            name = f"full {number}"
            code = self.attempt(name, ("y" * 76 + "\r\n") * 400)
            codes.add(code)
            if code == 250:
                accepted.append(name)
        self.assertIn(codes, ({451}, {451, 250}))
        self.assertIn(self.attempt("large", ("z" * 76 + "\r\n") * 30000), (451, 452))
        (self.data / "filler").unlink()
        self.assertEqual(self.attempt("after", "x\r\n"), 250)
        accepted.append("after")
        self.assertEqual(self.server.subjects(), accepted)
        self.server.stop()
        self.server.start()
        self.assertEqual(self.server.subjects(), accepted)


class HeldDatabase(SynchronousTestCase):
    def test_a_locked_database_means_later(self) -> None:
        server = Server(self)
        server.constants["mailx.store.sqlite._BUSY_SECONDS"] = 1.0  # what passes before it gives up
        server.start()
        server.send("before")
        other = sqlite3.connect(server.directory / "var" / "mailx.db", isolation_level=None)
        self.addCleanup(other.close)
        other.execute("BEGIN IMMEDIATE")
        error = self.assertRaises(SMTPDataError, server.send, "meanwhile")
        self.assertEqual(error.smtp_code, 451)
        self.assertEqual(server.subjects(), ["before"])
        other.execute("ROLLBACK")
        server.send("after")
        self.assertEqual(server.subjects(), ["before", "after"])
        self.assertNotIn(ADDRESS, str(error))
