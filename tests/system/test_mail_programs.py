"""Mail programs that keep a mailbox of their own, or drive every part of a session, against one server.

What they did is proven by another client on the server.
"""

import json
import shutil
import subprocess

from imapclient import IMAPClient
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.system.server import ADDRESS, PATIENCE, Server

IMAPFLOW = "imapflow@1.0.187"
SCRIPT = """
const { ImapFlow } = require('imapflow');
const [port, user] = process.argv.slice(2);
const pass = require('fs').readFileSync(0, 'utf8');
const run = async () => {
  const client = new ImapFlow({ host: 'localhost', port: Number(port), secure: true, auth: { user, pass }, logger: false });
  await client.connect();
  const lock = await client.getMailboxLock('flow');
  const subjects = [];
  for await (const message of client.fetch('1:*', { envelope: true })) subjects.push(message.envelope.subject);
  const found = await client.search({ subject: 'message 1' }, { uid: true });
  await client.messageFlagsAdd('1', ['\\\\Seen']);
  const { source } = await client.fetchOne('3', { source: true });
  await client.mailboxCreate('flow-done');
  await client.messageMove(found, 'flow-done', { uid: true });
  await client.append('flow', 'Subject: by imapflow\\r\\n\\r\\nHello\\r\\n');
  lock.release();
  await client.logout();
  const line = source.toString().match(/Subject: .*/)[0].trim();
  console.log(JSON.stringify({ subjects, found: found.length, source: line }));
};
run().catch((error) => { console.error(error); process.exit(1); });
"""


class MailProgramTests(SynchronousTestCase):
    """One server; each program has mailboxes of its own, named after it."""

    def test_programs(self) -> None:
        server = self._server()
        self._imapclient(server)
        self._mbsync(server)
        self._offlineimap(server)

    def test_imapflow(self) -> None:
        """The client of Node programs, from its own registry: where that cannot be reached nothing is said of this server."""
        for name in ("npm", "node"):
            if shutil.which(name) is None:
                raise SkipTest(f"{name} is not there")
        self._imapflow(self._server())

    def _server(self) -> Server:
        """With three messages in INBOX."""
        server = Server(self)
        server.start()
        for number in range(3):
            server.send(f"message {number}", "line\r\n" * number)
        return server

    def _fill(self, server: Server, mailbox: str) -> None:
        """Create ``mailbox`` with a copy of the first three messages."""
        client = server.imap()
        client.create(mailbox)
        client.select("INBOX", readonly=True)
        self.assertEqual(client.copy("1:3", mailbox)[0], "OK")
        client.logout()

    def _flags(self, server: Server, mailbox: str) -> dict[str, set[str]]:
        """The flags of each message on the server, by subject."""
        with self._client(server) as client:
            client.select_folder(mailbox, readonly=True)
            fetched = client.fetch(client.search(), ["FLAGS", "ENVELOPE"])
        return {item[b"ENVELOPE"].subject.decode(): {flag.decode() for flag in item[b"FLAGS"]} for item in fetched.values()}

    def _client(self, server: Server) -> IMAPClient:
        client = IMAPClient("localhost", server.ports["imap.tls_port"], ssl_context=server.trust(), timeout=PATIENCE)
        client.login(ADDRESS, server.password)
        return client

    def _imapclient(self, server: Server) -> None:
        """Names beyond ASCII, flags, a move, sorting, threads, quota and IDLE."""
        with self._client(server) as client:
            name = "Bücher & Noten"
            client.create_folder(name)
            client.create_folder("Gelesen")
            self.assertIn(name, [folder for _, _, folder in client.list_folders()])
            appended = client.append(name, b"Subject: b\r\n\r\nfirst\r\n", flags=[b"\\Flagged", b"$Label1"])
            self.assertIn(b"APPENDUID", appended)
            client.append(name, b"Subject: a\r\n\r\nsecond\r\n")
            self.assertEqual(client.select_folder(name)[b"EXISTS"], 2)
            first, second = client.search("ALL")
            self.assertEqual(client.search(["SUBJECT", "b"]), [first])
            self.assertEqual(client.sort("SUBJECT"), [second, first])
            self.assertEqual(client.thread("REFERENCES"), ((first,), (second,)))
            client.add_flags([second], [b"\\Seen"])
            client.move([first], "Gelesen")
            self.assertEqual(client.search("SEEN"), [second])
            client.delete_messages([second])
            client.uid_expunge([second])
            self.assertEqual(client.folder_status(name, ["MESSAGES"]), {b"MESSAGES": 0})
            self.assertTrue(client.get_quota_root("INBOX")[1])
            client.select_folder("INBOX", readonly=True)
            client.idle()
            server.send("told in IDLE")
            told: list[object] = []
            while not any(b"EXISTS" in answer for answer in told if isinstance(answer, tuple)):
                more = client.idle_check(PATIENCE)
                self.assertTrue(more, "nothing was told")
                told += more
            client.idle_done()
        self.assertEqual(server.subjects("Gelesen"), ["b"])

    def _mbsync(self, server: Server) -> None:
        """Flags go both ways; a run without changes leaves everything as it is."""
        self._fill(server, "mbsync")
        (server.directory / "near").mkdir()
        configuration = server.directory / "mbsyncrc"
        configuration.write_text(
            f"IMAPAccount m\nHost localhost\nPort {server.ports['imap.tls_port']}\nUser {ADDRESS}\nPass {server.password}\n"
            f"SSLType IMAPS\nCertificateFile {server.certificate}\n\nIMAPStore far\nAccount m\n\n"
            f"MaildirStore near\nPath {server.directory}/near/\nSubFolders Verbatim\n\n"
            "Channel m\nFar :far:\nNear :near:\nPatterns mbsync\nCreate Both\nExpunge Both\nSyncState *\n"
        )
        synchronise = ("mbsync", "-c", str(configuration), "-a")
        server.run(*synchronise)
        folder = server.directory / "near" / "mbsync"
        here = next(path for path in folder.glob("*/*") if b"Subject: message 0" in path.read_bytes())
        here.rename(folder / "cur" / (here.name.partition(":")[0] + ":2,S"))
        with self._client(server) as client:
            client.select_folder("mbsync")
            client.add_flags(client.search(["SUBJECT", "message 1"]), [b"\\Flagged"])
        server.run(*synchronise)
        self.assertIn("\\Seen", self._flags(server, "mbsync")["message 0"])
        there = next(path for path in folder.glob("*/*") if b"Subject: message 1" in path.read_bytes())
        self.assertTrue(there.name.endswith(":2,F"), there.name)
        before = sorted(path.name for path in folder.glob("*/*")), self._flags(server, "mbsync")
        server.run(*synchronise)
        self.assertEqual((sorted(path.name for path in folder.glob("*/*")), self._flags(server, "mbsync")), before)

    def _offlineimap(self, server: Server) -> None:
        """A Maildir whose flag, deletion and new message come to the server; then nothing to do."""
        self._fill(server, "offline")
        configuration = server.directory / "offlineimaprc"
        configuration.write_text(
            f"[general]\naccounts = m\nui = basic\nmetadata = {server.directory}/offlineimap\n\n"
            "[Account m]\nlocalrepository = near\nremoterepository = far\n\n"
            f"[Repository near]\ntype = Maildir\nlocalfolders = {server.directory}/offline-mail\n\n"
            f"[Repository far]\ntype = IMAP\nremotehost = localhost\nremoteport = {server.ports['imap.tls_port']}\nssl = yes\n"
            f"sslcacertfile = {server.certificate}\nremoteuser = {ADDRESS}\nremotepass = {server.password}\n"
            "folderfilter = lambda name: name == 'offline'\n"
        )
        configuration.chmod(0o600)
        synchronise = ("offlineimap", "-o", "-c", str(configuration))
        server.run(*synchronise, PYTHONPATH="")  # it runs on the system's Python
        folder = server.directory / "offline-mail" / "offline"
        files = {number: path for path in folder.glob("*/*") for number in range(3) if f"message {number}\n" in _headers(path.read_bytes())}
        self.assertEqual(sorted(files), [0, 1, 2])
        files[0].rename(folder / "cur" / (files[0].name.partition(":")[0] + ":2,S"))
        files[1].unlink()
        (folder / "new" / "1.local").write_bytes(b"From: me@localhost.test\nSubject: from here\n\nHello\n")
        server.run(*synchronise, PYTHONPATH="")
        there = self._flags(server, "offline")
        self.assertEqual(sorted(there), ["from here", "message 0", "message 2"])
        self.assertIn("\\Seen", there["message 0"])
        before = sorted(path.name for path in folder.glob("*/*"))
        server.run(*synchronise, PYTHONPATH="")
        self.assertEqual((sorted(path.name for path in folder.glob("*/*")), self._flags(server, "offline")), (before, there))

    def _imapflow(self, server: Server) -> None:
        """The client of Node programs: reads, marks, appends and moves."""
        self._fill(server, "flow")
        packages = server.directory / "node"
        packages.mkdir()
        try:
            server.run(
                *("timeout", "-k", "1", "30", "npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"),
                *("--fetch-retries=0", "--prefix", str(packages), IMAPFLOW),
            )
        except (AssertionError, subprocess.TimeoutExpired) as error:
            raise SkipTest(f"{IMAPFLOW} cannot be installed: {error}") from error
        (packages / "drive.js").write_text(SCRIPT)
        said = server.run(
            *("node", str(packages / "drive.js"), str(server.ports["imap.tls_port"]), ADDRESS),
            given=server.password,
            NODE_EXTRA_CA_CERTS=str(server.certificate),
        )
        self.assertEqual(
            json.loads(said.splitlines()[-1]),
            {"subjects": ["message 0", "message 1", "message 2"], "found": 1, "source": "Subject: message 2"},
        )
        flags = self._flags(server, "flow")
        self.assertEqual(sorted(flags), ["by imapflow", "message 0", "message 2"])
        self.assertIn("\\Seen", flags["message 0"])
        self.assertEqual(server.subjects("flow-done"), ["message 1"])


def _headers(message: bytes) -> str:
    return message.replace(b"\r", b"").partition(b"\n\n")[0].decode("ascii") + "\n"
