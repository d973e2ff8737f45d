"""An account that only its owner's login opens: real sessions on a real server, which is killed meanwhile.

What lies on the disk is looked through after everything that the server's secret opens was opened.
"""

import base64
import json
import quopri
import sqlite3
from imaplib import IMAP4, IMAP4_SSL
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mailx.store.blobs import Blobs
from mailx.store.cipher import Cipher, CipherError, Keys
from mailx.store.keys import load_secret, unwrap
from tests.system.daemon import wait
from tests.system.server import PATIENCE, Server

KNOWN = "zymurgy-quicksilver-tessellation"
PURPOSES = (b"summary", b"content", b"index words", b"index postings", b"credentials", b"mailbox", b"thread", b"app password")


class Sealed(SynchronousTestCase):
    """A life with it."""

    def setUp(self) -> None:
        self.server = Server(self, {"accounts.login_cache": "0", "store.file_above": "20000"})
        self.server.start()

    def imap(self, password: str) -> IMAP4_SSL:
        self.server.password = password
        return self.server.imap()

    def seal(self) -> str:
        """The recovery code."""
        said = self.server.ctl("user", "seal", self.server.account, "server", "--password-stdin", given=f"{self.server.password}\n")
        return said.partition("Recovery code: ")[2].split()[0]

    def test_waits_and_is_there_once_whatever_happens(self) -> None:
        before = self.server.password
        self.server.send("earlier", KNOWN)
        self.server.message("earlier")
        self.seal()
        for number in range(40):
            self.server.send(f"number {number}", f"{KNOWN} {number}")
        for moment in (0.02, 0.05, 0.1, 0.2):
            client = IMAP4_SSL(self.server.host, self.server.ports["imap.tls_port"], ssl_context=self.server.trust(), timeout=PATIENCE)
            client.sock.settimeout(moment)
            try:
                client.login(self.server.account, before)
            except (OSError, IMAP4.error):
                pass
            self.server.kill()
            client.file.close()
            client.sock.close()
            self.server.start()
        self.server.password = before
        self.server.message("number 39")
        subjects = self.server.subjects()
        self.assertEqual(sorted(subjects), sorted(["earlier", *[f"number {number}" for number in range(40)]]))
        client = self.server.imap()
        client.select("INBOX")
        _, found = client.search(None, "BODY", f'"{KNOWN} 7"')
        self.assertEqual(len(found[0].split()), 1)
        client.append("Drafts", None, None, f"Subject: draft\r\n\r\n{KNOWN}\r\n".encode())  # type: ignore[arg-type]
        client.copy("1:3", "Archive")
        client.logout()
        self.assertEqual(len(self.server.subjects("Archive")), 3)
        self.assertEqual(self.server.subjects("Drafts"), ["draft"])

    def test_passwords(self) -> None:
        first = self.server.password
        code = self.seal()
        account = self.server.account
        for mechanism in ("SCRAM-SHA-256",):
            said = self.imap(first).capabilities
            self.assertIn("AUTH=" + mechanism, str(said))  # for others; for this account it is a wrong password
        said = self.server.ctl("user", "app-password", "add", account, "phone", "--password-stdin", given=f"{first}\n")
        app = said.partition("Password: ")[2].split()[0]
        self.server.send("hello", KNOWN)
        self.imap(app)
        self.server.message("hello")
        self.server.ctl("user", "app-password", "revoke", account, "phone")
        with self.assertRaises(IMAP4.error):
            self.imap(app)
        self.assertIn("sealed", self.server.ctl("user", "show", account))
        wrong, right = self.file("wrong"), self.file(code)
        self.server.ctl("user", "password", account, "--recovery-code-file", wrong, "--password-stdin", given="second\n", expect=1)
        self.server.ctl("user", "password", account, "--recovery-code-file", right, "--password-stdin", given="second\n")
        with self.assertRaises(IMAP4.error):
            self.imap(first)
        self.imap("second")
        self.assertEqual(self.server.message("hello").get_content().strip(), KNOWN)
        old = self.file("second")
        self.server.ctl("user", "password", account, "--old-password-file", old, "--password-stdin", given="third\n")
        self.imap("third")
        self.assertEqual(self.server.message("hello").get_content().strip(), KNOWN)
        said = self.server.ctl("user", "password", account, "--lose-sealed-mail", "--yes", "--password-stdin", given="fourth\n")
        self.assertIn("recovery code", said)
        self.imap("fourth")
        self.assertNotIn("hello", self.server.subjects())

    def file(self, text: str) -> str:
        path = self.server.directory / "given"
        path.write_text(f"{text}\n")
        return str(path.rename(self.server.directory / f"given-{len(list(self.server.directory.iterdir()))}"))

    def test_nothing_on_the_disk_for_whoever_has_the_secret(self) -> None:
        password = self.server.password
        self.server.send("earlier", f"{KNOWN}\r\n" * 3)
        self.server.send("earlier and large", f"{KNOWN}\r\n" * 2000)
        self.server.message("earlier and large")
        self.assertTrue(self.found())  # the search finds what is not sealed
        self.seal()
        self.server.send("waiting", KNOWN)
        self.server.send("waiting and large", f"{KNOWN}\r\n" * 2000)
        self.server.password = password
        self.server.message("waiting and large")
        client = self.server.imap()
        client.append("Drafts", None, None, f"Subject: {KNOWN}\r\n\r\n{KNOWN}\r\n".encode())  # type: ignore[arg-type]
        client.select("INBOX")
        client.search(None, "BODY", KNOWN)
        client.logout()
        self.server.send("waiting again", KNOWN)
        self.until_converted()
        self.server.stop()
        self.assertEqual(self.found(), [])

    def test_the_search_index_is_the_owners_alone(self) -> None:
        password = self.server.password
        self.seal()
        self.server.stop()
        with sqlite3.connect(self.server.directory / "var" / "mailx.db") as connection:  # as a minute later
            connection.execute("UPDATE account_keys SET state = 'sealed'")
        self.server.start()
        self.server.send("one", KNOWN)
        self.server.send("two", "nothing")
        self.assertEqual(self.index()["waiting"], 2)
        self.assertIn("2 messages of sealed accounts wait", self.server.ctl("index", "status"))
        client = self.imap(password)
        wait(lambda: self.indexed(2), lambda: str(self.index()))
        client.select("INBOX")
        self.assertEqual(client.search(None, "TEXT", KNOWN[3:15])[1], [b"1"])
        client.logout()
        self.server.send("three", KNOWN)
        status = self.index()
        self.assertEqual((status["documents"], status["behind"], status["waiting"]), (2, 0, 1))
        self.server.kill()
        self.assertEqual(self.found(), [])
        with sqlite3.connect(self.server.directory / "var" / "index.db") as connection:
            rows = connection.execute("SELECT length(vault), documents FROM index_segments").fetchall()
        self.assertEqual({length for length, _ in rows}, {17})
        self.assertEqual(sum(documents for _, documents in rows), 2)

    def index(self) -> dict[str, int]:
        """What ``mailxctl index status`` tells."""
        status: dict[str, int] = json.loads(self.server.ctl("--json", "index", "status"))
        return status

    def indexed(self, count: int) -> bool:
        """Whether so many messages are in the index, and none is to be put there now."""
        status = self.index()
        return (status["documents"], status["behind"], status["waiting"]) == (count, 0, 0)

    def until_converted(self) -> None:
        """Older mail is sealed when the account says so; replaced files go when the server stops."""
        database = f"file:{self.server.directory / 'var' / 'mailx.db'}?mode=ro"

        def left() -> int:
            with sqlite3.connect(database, uri=True) as connection:
                return int(connection.execute("SELECT count(*) FROM messages WHERE vault = 0 AND refs > 0").fetchone()[0])

        wait(lambda: not left(), self.server.log)

    def found(self) -> list[str]:
        """Where the known text is, after opening whatever the server's secret opens."""
        var = self.server.directory / "var"
        known = KNOWN.encode()
        forms = {known, quopri.encodestring(known), *[base64.b64encode(b"x" * shift + known)[4:-4] for shift in range(3)]}
        hits = []
        cipher, blobs = self.opener(var)
        for path in var.rglob("*"):
            if path.is_file() and any(form in path.read_bytes() for form in forms):
                hits.append(str(path))
        for name in blobs.names():
            if any(form in blobs.read(name) for form in forms):
                hits.append(f"blob {name}")
        for name in ("mailx.db", "index.db"):
            with sqlite3.connect(f"file:{var / name}?mode=ro", uri=True) as connection:
                hits += [
                    f"{name}: {where}" for where, octets in self.everything(connection, cipher) if any(form in octets for form in forms)
                ]
        return hits

    def opener(self, var: Path) -> tuple[Cipher, Blobs]:
        secret = load_secret(
            str(next(path for path in self.server.directory.rglob("*") if path.name == "secret" or path.suffix == ".secret"))
        )
        assert secret is not None
        with sqlite3.connect(f"file:{var / 'mailx.db'}?mode=ro", uri=True) as connection:
            rows = connection.execute("SELECT id, kind, wrapped FROM keys").fetchall()
        data = {number: unwrap(secret, number, kind, wrapped) for number, kind, wrapped in rows if kind == "data"}
        lookup = next(unwrap(secret, number, kind, wrapped) for number, kind, wrapped in rows if kind == "lookup")
        cipher = Cipher(Keys(data, max(data), lookup))
        return cipher, Blobs(str(var / "blobs"), cipher)

    def everything(self, connection: sqlite3.Connection, cipher: Cipher) -> list[tuple[str, bytes]]:
        """Every value of every table, opened if it opens: under each purpose, with each context that its row could give."""
        found = []
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for row in connection.execute(f'SELECT * FROM "{table}"').fetchall():
                contexts = [value for value in row if isinstance(value, bytes) and len(value) == 16] or [b""]
                for number in [value for value in row if isinstance(value, int) and value >= 0]:
                    contexts += [number.to_bytes(8, "big") + value for value in contexts[:2]]
                for value in row:
                    if isinstance(value, bytes):
                        found.append((table, value))
                        found += [(table, opened) for context in contexts for opened in self.opened(cipher, context, value)]
        for id, guid, content in (
            connection.execute("SELECT m.id, m.guid, b.content FROM messages m JOIN bodies b ON b.message_id = m.id").fetchall()
            if self.has(connection, "bodies")
            else ()
        ):
            found += [(f"message {id}", opened) for opened in self.opened(cipher, guid, content)]
        return found

    def has(self, connection: sqlite3.Connection, table: str) -> bool:
        return connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone() is not None

    def opened(self, cipher: Cipher, context: bytes, value: bytes) -> list[bytes]:
        found = []
        for purpose in PURPOSES:
            for opening in (cipher.open, cipher.open_bulk):
                try:
                    found.append(opening(purpose, context, value))
                except CipherError:
                    continue
        return found
