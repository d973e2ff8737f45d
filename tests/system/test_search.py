"""The search index of a real server: followed, killed, damaged, built anew; searches are right all the while."""

import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.system.server import PATIENCE, Server


class Searching(SynchronousTestCase):
    def setUp(self) -> None:
        self.server = Server(self)
        self.server.start()

    def ctl(self, *arguments: str) -> Any:
        return json.loads(self.server.run(str(Path(sys.executable).with_name("mailxctl")), "--json", *arguments))

    def indexed(self, documents: int) -> None:
        """Wait until the index has so many messages, and all."""
        deadline = time.monotonic() + PATIENCE
        while (status := self.ctl("index", "status"))["documents"] != documents or status["behind"]:
            self.assertLess(time.monotonic(), deadline, status)
        self.assertEqual(status["seconds"], 0)
        self.assertGreater(status["octets"], 0)

    def search(self, *keys: str) -> list[int]:
        client = self.server.imap()
        client.select("INBOX", readonly=True)
        _, (found,) = client.search(None, *keys)
        client.logout()
        return [int(number) for number in found.split()]

    def test_the_index_follows_and_survives(self) -> None:
        server = self.server
        for number in range(5):
            server.send(f"subject{number}", "zymurgy" if number % 2 else "nothing")
        self.assertEqual(self.search("TEXT", "zymurg"), [2, 4], "indexed or not")
        self.indexed(5)
        self.assertEqual(self.search("TEXT", "zymurg"), [2, 4])
        server.send("subject5", "zymurgy")
        server.stop(signal.SIGKILL)
        server.start()
        self.assertEqual(self.search("BODY", "zymurg"), [2, 4, 6])
        self.indexed(6)
        self.ctl("index", "rebuild")
        self.assertEqual(self.search("BODY", "zymurg"), [2, 4, 6])
        self.indexed(6)

    def test_a_damaged_or_deleted_index_is_built_anew(self) -> None:
        server = self.server
        server.send("one", "zymurgy")
        self.indexed(1)
        for octets in (b"no database " * 1000, None):
            server.stop()
            index = server.directory / "var" / "index.db"
            if octets is None:
                index.unlink()
            else:
                index.write_bytes(octets)
            server.start()
            self.assertEqual(self.search("TEXT", "ZYM"), [1])
            self.indexed(1)
        self.assertIn("index.removed", server.log())
