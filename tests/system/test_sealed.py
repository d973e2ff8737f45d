"""Sealed mail between real servers: nothing of it is readable on the wire, nor on disk for whoever has the servers' secrets."""

import gzip
import json
import socket
import subprocess
import sys
import threading
import time
from base64 import b64encode
from email.message import EmailMessage
from hashlib import sha256
from imaplib import IMAP4_SSL
from pathlib import Path
from quopri import encodestring
from unittest import TestCase

from twisted.trial.unittest import SynchronousTestCase

from mailx.identity import sealed_message, sealing
from mailx.identity.user_key_file import UserKeyFile
from mailx.mail.address import Address
from tests.system.daemon import wait
from tests.system.federation import domain_of, federated
from tests.system.opened import everything, found
from tests.system.server import PATIENCE, Server

SECRETS = ("Zwetschgenknoedel", "Quarkstrudelteig", "Marillenbrandtest", "Topfenpalatschink", "Kaiserschmarrnset")
OPEN = ("Apfelkuchenrezept", "Birnenkompottglas")
PASSWORD = "a password of hal"


class Wire:
    """A proxy before ``server``'s federation port that keeps every octet that passes."""

    def __init__(self, case: TestCase, server: Server) -> None:
        self._to = server.address, server.ports["federation.port"]
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._pieces: list[bytes] = []
        self._lock = threading.Lock()
        case.addCleanup(self._listener.close)
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def octets(self) -> bytes:
        with self._lock:
            return b"".join(self._pieces)

    def _accept(self) -> None:
        while True:
            try:
                one, _ = self._listener.accept()
            except OSError:
                return
            try:
                other = socket.create_connection(self._to)
            except OSError:  # it is away
                one.close()
                continue
            for source, sink in ((one, other), (other, one)):
                threading.Thread(target=self._pass, args=(source, sink), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                with self._lock:
                    self._pieces.append(data)
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def secret_message(sender: str, to: list[str], words: tuple[str, ...]) -> bytes:
    """A message with a word in its subject, its text, and files: as text, in quoted-printable, compressed, in base64."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = sender, ", ".join(to), f"About {words[0]}"
    message.set_content(f"The text: {words[1 % len(words)]}.\n")
    if len(words) > 2:
        message.add_attachment(encodestring(f"é {words[2]} é\n".encode()), "text", "plain", filename=f"{words[2]}.txt")
        message.add_attachment(gzip.compress(words[3].encode() * 50), "application", "gzip", filename="file.gz")
        message.add_attachment(b64encode(words[4].encode()), "application", "octet-stream", filename="file.b64")
    return message.as_bytes().replace(b"\n", b"\r\n")


def login(server: Server, address: str, password: str) -> IMAP4_SSL:
    client = IMAP4_SSL(server.host, server.ports["imap.tls_port"], ssl_context=server.trust(), timeout=PATIENCE)
    client.login(address, password)
    return client


def contents(server: Server, address: str, password: str) -> list[bytes]:
    """All messages in an account's INBOX; logs out again."""
    client = login(server, address, password)
    client.select("INBOX", readonly=True)
    _, data = client.fetch("1:*", "(BODY.PEEK[])")
    client.logout()
    return [part[1] for part in data if isinstance(part, tuple)]


def mailx_open(keys: Path, *arguments: str, given: bytes = b"") -> bytes:
    """What the owner's program writes."""
    program = Path(sys.executable).with_name("mailx-open")
    code = "from mailx.sealed_mail_commands import open_command as run; run()"
    command = [str(program)] if program.exists() else [sys.executable, "-c", code]
    nothing = keys.with_name("nothing")
    nothing.write_text("\n")
    done = subprocess.run(
        [*command, "-k", str(keys), "--passphrase-file", str(nothing), *arguments], input=given, capture_output=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class Sealed(SynchronousTestCase):
    """a.test sends; b.test has an account that its logins open, one that only its owner's program opens, and an ordinary one."""

    def setUp(self) -> None:
        settings = {"accounts.login_cache": "1"}
        self.one, self.two = federated(self, ["a.test", "b.test"], settings)
        self.wire = Wire(self, self.two)
        port = self.two.ports["federation.port"]
        self.one.tables = self.one.tables.replace(f'"{self.two.address}:{port}"', f'"127.0.0.1:{self.wire.port}"')
        self.one.write_configuration()
        self.one.ctl("config", "reload")
        for name in ("hal", "cli", "plain"):
            self.two.ctl("user", "add", f"{name}@b.test", "--password-stdin", given=f"{PASSWORD}\n")
        shown = self.two.ctl("user", "seal", "hal@b.test", "server", "--password-stdin", given=f"{PASSWORD}\n")
        self.assertIn("Recovery code: ", shown)
        self.keys = self.two.directory / "cli.keys"
        request = self.two.directory / "request"
        request.write_bytes(mailx_open(self.keys, "--enrol", "cli@b.test", "--request"))
        self.two.ctl("user", "seal", "cli@b.test", "client", "--request", str(request))
        request.unlink()

    def submit(self, to: list[str], words: tuple[str, ...]) -> None:
        with self.one.submission() as client:
            client.sendmail(self.one.account, to, secret_message(self.one.account, to, words))

    def wait(self, server: Server, address: str, password: str, count: int) -> list[bytes]:
        got: list[bytes] = []

        def there() -> bool:
            got[:] = contents(server, address, password)
            return len(got) >= count

        wait(there, lambda: f"{address} has no {count} messages: {server.log()[-3000:]}")
        return got

    def logged_out(self) -> None:
        """Until the keys of hal are forgotten."""
        wait(lambda: not self.two.metrics()["mailx_sealed_accounts_open"], self.two.log)

    def read(self, server: Server) -> dict[str, set[str]]:
        """Where each word is found in the files of ``server``, after everything that its secret opens."""
        places: dict[str, set[str]] = {}
        for place, octets in everything(server.directory / "var"):
            for word in found((*SECRETS, *OPEN), octets):
                places.setdefault(word, set()).add(place)
        return places

    def test_nothing_is_readable_anywhere(self) -> None:
        self.submit(["plain@b.test"], OPEN)
        self.wait(self.two, "plain@b.test", PASSWORD, 1)
        self.submit(["hal@b.test", "cli@b.test"], SECRETS)
        (sealed,) = self.wait(self.two, "cli@b.test", PASSWORD, 1)
        opened = mailx_open(self.keys, "--offline", given=sealed)
        self.assertIn(SECRETS[1].encode(), opened)
        (whole,) = self.wait(self.two, "hal@b.test", PASSWORD, 1)
        self.assertIn(SECRETS[1].encode(), whole)
        self.assertRegex(whole, rb"mailx-seal=pass header\.from=me@a\.test policy\.key=domain policy\.sealed=server")
        self.logged_out()
        self.submit(["hal@b.test"], SECRETS)  # and one that waits for its owner
        trace = self.one.ctl("trace", "hal@b.test")
        self.assertIn("sealed", trace)
        self.assertEqual(found(SECRETS, self.wire.octets), set())
        self.assertGreater(len(self.wire.octets), 10_000)
        for server in (self.one, self.two):
            self.until_idle(server)
        for server in (self.one, self.two):
            server.stop()
            places = self.read(server)
            self.assertEqual({word: where for word, where in places.items() if word in SECRETS}, {}, domain_of(server))
            if server is self.two:  # the search does find what is there
                self.assertEqual(set(places), set(OPEN))
            log = server.log()
            self.assertFalse([word for word in (*SECRETS, *OPEN) if word in log])

    def until_idle(self, server: Server) -> None:
        """Until nothing waits in the queue."""
        wait(lambda: not json.loads(server.ctl("--json", "queue", "list"))["entries"], lambda: server.ctl("queue", "list"))

    def test_what_the_senders_program_sealed_no_server_reads(self) -> None:
        """The submission port sees the sealed message only, and it arrives as it was."""
        content = secret_message(self.one.account, ["cli@b.test"], SECRETS)
        key = UserKeyFile.open(self.keys.read_bytes(), "").public
        sender = Address.parse(self.one.account)
        container = sealing.sealed([key], [content], len(content), sha256(content).digest(), None, int(time.time()))
        body = b"".join(sealed_message.encoded(container))
        with self.one.submission() as client:
            client.sendmail(self.one.account, ["cli@b.test"], sealed_message.head(sender, [], int(time.time())) + body)
        (stored,) = self.wait(self.two, "cli@b.test", PASSWORD, 1)
        self.assertTrue(stored.endswith(body))
        self.assertTrue(mailx_open(self.keys, "--offline", given=stored).endswith(content))
        for server in (self.one, self.two):
            self.until_idle(server)
            server.stop()
            self.assertEqual(self.read(server), {}, domain_of(server))
        self.sealed_late()

    def sealed_late(self) -> None:
        """The other server is away when a message is accepted: keys are asked for at delivery. Its owner then decides of the stranger."""
        self.one.start()
        self.submit(["hal@b.test", "plain@b.test"], SECRETS)
        self.assertEqual(self.sealed_here(), (2, 0))
        wait(lambda: '"state": "deferred"' in self.one.ctl("--json", "queue", "list"), self.one.log)
        self.two.start()
        self.two.ctl("contact", "settings", "hal@b.test", "--requests", "all")
        self.one.ctl("queue", "retry", "--domain", "b.test", "--yes")
        (whole,) = self.wait(self.two, "plain@b.test", PASSWORD, 1)
        self.assertIn(SECRETS[1].encode(), whole)
        self.until_idle(self.one)
        self.assertEqual(self.sealed_here(), (2, 1))
        client = login(self.two, "hal@b.test", PASSWORD)
        client.select("Requests")
        self.assertEqual(client.uid("MOVE", "1:*", "INBOX")[0], "OK")
        client.logout()
        (whole,) = contents(self.two, "hal@b.test", PASSWORD)
        self.assertIn(SECRETS[1].encode(), whole)
        self.assertRegex(whole, rb"mailx-seal=pass header\.from=me@a\.test policy\.key=domain policy\.sealed=server")
        (contact,) = json.loads(self.two.ctl("--json", "contact", "list", "hal@b.test"))["contacts"]
        self.assertEqual((contact["address"], contact["trust"]), (self.one.account, "accepted"))

    def sealed_here(self) -> tuple[float, float]:
        """How many recipients' mail the sender's server could not seal, and sealed, so far."""
        metrics = self.one.metrics()
        return metrics.get('mailx_sealed_total{way="unsealed"}', 0), metrics.get('mailx_sealed_total{way="outgoing"}', 0)
