"""Mail is brought from a Maildir and from another server with kill -9 on the way, and written down again."""

import json
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mailx.ctl.client import SocketClient
from mailx.ctl.maildir_source import MaildirSource
from mailx.ctl.mbox_source import MboxSource
from mailx.ctl.sources import Item, Source
from tests.system.imported import make, seen
from tests.system.server import ADDRESS, PATIENCE, Server

COUNT = 1500
OTHER = "other@localhost.test"


class Importing(SynchronousTestCase):
    def setUp(self) -> None:
        self.server = Server(self, {"imap.plaintext_login": "true"})
        self.server.start()

    def json(self, *arguments: str, given: str = "") -> Any:
        said = self.server.ctl("--json", *arguments, given=given)
        return json.loads(said[said.index("{") :].splitlines()[0])

    def begun(self, source: Path, count: int) -> "subprocess.Popen[str]":
        """An import under way, that has itself brought something, so that there are at least so many."""
        client = SocketClient(str(self.server.directory / "var" / "admin.sock"))
        client.open()
        self.addCleanup(client.close)
        count = max(count, self.brought(client) + 1)
        command = [str(Path(sys.executable).with_name("mailxctl")), "import", "maildir", str(source), "--to", ADDRESS]
        process = subprocess.Popen(command, cwd=self.server.directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        deadline = time.monotonic() + PATIENCE
        while self.brought(client) < count:
            self.assertTrue(time.monotonic() < deadline and process.poll() is None, "it ended too early")
        client.close()
        return process

    def brought(self, client: SocketClient) -> int:
        """How many messages came by imports."""
        return max((one["messages"] for one in client.call("GET", "/v1/imports", {}, None)[1]["imports"]), default=0)

    def test_a_maildir_in_spite_of_kills(self) -> None:
        source = self.server.directory / "old"
        expected = make(source, (b"Subject: %d\nMessage-ID: <%d@x>\n\nHello\n" % (number % 1400, number % 1400) for number in range(COUNT)))
        planned = self.json("import", "maildir", str(source), "--to", ADDRESS, "--dry-run")
        self.assertEqual([one["mailbox"] for one in planned["folders"]], ["INBOX", "Sent", "Projects/2025", "R\u00e9sum\u00e9s"])

        # The last ones of INBOX cannot come before the kill: however fast this machine is, or late this test, there is more to do.
        database = sqlite3.connect(self.server.directory / "var" / "mailx.db", isolation_level=None, timeout=PATIENCE)
        self.addCleanup(database.close)
        database.execute("CREATE TRIGGER last BEFORE INSERT ON entries WHEN NEW.uid > 800 BEGIN SELECT RAISE(ABORT, 'last'); END")
        broken = self.begun(source, 1)
        self.server.kill()
        database.execute("DROP TRIGGER last")
        said, _ = broken.communicate(timeout=PATIENCE)
        self.assertEqual(broken.returncode, 1, said)
        self.assertIn("Error: ", said)
        self.server.start()
        # Nor before the signal: the server counts and counts.
        counting = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT max(n) FROM c"
        database.execute(f"CREATE TRIGGER last BEFORE INSERT ON entries WHEN NEW.uid > 800 BEGIN {counting}; END")
        broken = self.begun(source, 500)
        broken.send_signal(signal.SIGINT)
        said, _ = broken.communicate(timeout=PATIENCE)
        self.assertEqual(broken.returncode, 1, said)
        self.assertRegex(said, r"Error: Stopped: [0-9]+ messages came\nRemedy: Run it again to go on\.\n\Z")
        self.assertNotIn("Traceback", said)
        self.server.kill()
        database.execute("DROP TRIGGER last")
        self.server.start()
        broken = self.begun(source, 1000)
        broken.kill()
        broken.communicate(timeout=PATIENCE)
        last = self.json("import", "maildir", str(source), "--to", ADDRESS)
        self.assertEqual((last["added"] + last["known"], last["equal"], last["differing"]), (COUNT, COUNT, 0))
        self.assertGreaterEqual(last["known"], 1000)
        self.assertEqual(seen(self.server.imap()), expected)

        self.server.ctl("user", "add", OTHER, "--password-stdin", given="secret\n")
        for form in ("maildir", "mbox"):
            self.assertEqual(self.export(form), COUNT)
            self.assertEqual(self.export(form), 0, "all is there already")
        self.assertEqual(self.written(MaildirSource(self.target("maildir"))), self.written(MaildirSource(str(source))))
        self.assertEqual(self.written(MboxSource(self.target("mbox"))), self.written(MaildirSource(str(source))))
        again = self.json("import", "maildir", self.target("maildir"), "--to", OTHER)
        self.assertEqual((again["added"], again["equal"]), (COUNT, COUNT))

        self.from_another_server()

    def from_another_server(self) -> None:
        """Here: by IMAP from one account to another, again after a change."""
        self.server.ctl("user", "add", "third@localhost.test", "--password-stdin", given="secret\n")
        where = ("--from", f"{OTHER}@127.0.0.1", "--port", str(self.server.ports["imap.port"]), "--security", "none")
        command = ("import", "imap", *where, "--password-stdin", "--to", "third@localhost.test")
        first = self.json(*command, given="secret\n")
        self.assertEqual((first["added"], first["equal"]), (COUNT, COUNT))
        client = self.server.imap()
        client.logout()
        account, password, self.server.account, self.server.password = self.server.account, self.server.password, OTHER, "secret"
        client = self.server.imap()
        client.select("Sent")
        client.store("1:5", "+FLAGS", "(\\Answered later)")
        client.append("Sent", "", '"22-Feb-2008 19:06:23 +0200"', b"Subject: new\r\n\r\nx\r\n")
        self.server.account, self.server.password = account, password
        second = self.json(*command, given="secret\n")
        self.assertEqual((second["added"], second["known"], second["flags"], second["equal"]), (1, COUNT, 5, COUNT + 1))
        self.assertEqual(second["changed"], 0)
        table = self.server.ctl("import", "list")
        self.assertIn(f"{OTHER} at 127.0.0.1", table)
        id = re.findall(r"^([0-9]+) .* imap ", table, re.M)[0]
        self.server.ctl("import", "forget", id)
        self.assertNotIn("imap", self.server.ctl("import", "list"))

    def target(self, form: str) -> str:
        return str(self.server.directory / f"new-{form}")

    def export(self, form: str) -> int:
        return int(self.json("export", form, ADDRESS, self.target(form))["messages"])

    def written(self, source: Source) -> list[tuple[str, list[Any]]]:
        """What a source holds, in no order."""
        found = []
        for folder in source.folders():
            items = list(source.items(folder))
            if items:
                found.append((folder.name.replace("Gesendet", "Sent"), sorted(map(_plain, items))))
        return sorted(found)


def _plain(item: Item) -> Any:
    return item.content, item.received, item.flags, sorted(item.keywords)
