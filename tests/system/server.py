"""A real ``twistd`` process for the system tests, in a directory of its own, on free loopback ports."""

import fcntl
import os
import random
import re
import selectors
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from email import message_from_bytes, policy
from email.message import EmailMessage
from imaplib import IMAP4_SSL
from pathlib import Path
from smtplib import SMTP, SMTP_SSL
from unittest import TestCase
from urllib.request import urlopen

from twisted.trial.unittest import SkipTest

from tests.system.forks import Forked

ROOT = Path(__file__).parent.parent.parent
PORTS = (
    "smtp.port",
    "smtp.submission_port",
    "smtp.submissions_port",
    "smtp.lmtp_port",
    "imap.port",
    "imap.tls_port",
    "pop3.port",
    "pop3.tls_port",
    "federation.port",
    "federation.https_port",
    "webhook.port",
    "panel.port",
    "health.port",
)
ADDRESS = "me@localhost.test"
NOBODY = "127.0.0.1:1"  # where no name server answers: a test never asks one of the machine
PATIENCE = 60.0  # seconds; only a failure takes so long

_PACKAGES = {
    "mbsync": "isync",
    "offlineimap": "offlineimap3",
    "swaks": "swaks with libnet-ssleay-perl",
    "knotd": "knot",
    "knotc": "knot",
    "keymgr": "knot",
    "clamd": "clamav-daemon",
    "dovecot": "dovecot-core",
    "opendkim-testmsg": "opendkim-tools",
    "smtp-sink": "postfix",
}
_SEARCH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))  # daemons lie where users do not look


def required() -> bool:
    """Whether a missing program is a failure."""
    return os.environ.get("MAILX_REQUIRE_SYSTEM") == "1"


def program(name: str) -> str:
    """The path of a program that a test drives; SkipTest, or an AssertionError where nothing may be skipped."""
    path = shutil.which(name, path=_SEARCH)
    package = _PACKAGES.get(name, name)
    if path is not None and (
        name != "swaks" or subprocess.run(["perl", "-MNet::SSLeay", "-e1"], stderr=subprocess.DEVNULL).returncode == 0
    ):
        return path
    reason = f"{name} is not installed (Debian package {package})"
    if required():
        raise AssertionError(reason)
    raise SkipTest(reason)


_claims: int | None = None
_given: set[int] = set()


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nothing uses, all different.

    They lie below those that the system gives to outgoing connections: one that is free while its server restarts is not taken.
    Nor is it by tests in other processes: what was given once is kept until this process ends.
    """
    ports: list[int] = []
    while len(ports) < count:
        port = random.randrange(10000, 32000)
        if not _claimed(port):
            continue
        with socket.socket() as stream, socket.socket(type=socket.SOCK_DGRAM) as datagram:
            try:
                stream.bind(("127.0.0.1", port))
                datagram.bind(("127.0.0.1", port))
            except OSError:
                continue
        ports.append(port)
    return ports


def _claimed(port: int) -> bool:
    """Take ``port`` for this process: a lock on one octet of a file that all tests of this user share."""
    global _claims
    if _claims is None:
        path = os.path.join(tempfile.gettempdir(), f"mailx-test-ports-{os.getuid()}")
        _claims = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)  # closing it would give all ports back
    if port in _given:
        return False
    try:
        fcntl.lockf(_claims, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    _given.add(port)
    return True


class Server:
    """One server. ``settings`` maps further keys (``"log.level"``) to TOML values. Stopped at the end of the test.

    ``tables`` is TOML of its own, for lists of tables. ``address`` is the loopback address that it listens on, ``domain`` that of
    its first account. Unless ``settings`` name another name server, nobody answers at its own.
    """

    forked = True  # False: ``start`` runs the program; what is measured then has not been touched by another process

    def __init__(
        self,
        case: TestCase,
        settings: dict[str, str] | None = None,
        tables: str = "",
        address: str = "127.0.0.1",
        domain: str = "localhost.test",
    ) -> None:
        self.case = case
        self.tables = tables
        self.address, self.account = address, f"me@{domain}"
        self.directory = Path(tempfile.mkdtemp(prefix="mailx-"))  # not case.mktemp: the path of a socket must be short
        case.addCleanup(shutil.rmtree, self.directory)
        self.ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        self.settings = {
            **{name: str(port) for name, port in self.ports.items()},
            "server.interface": f'"{address}"',
            "server.first_domain": f'"{domain}"',
            "dns.servers": f'["{NOBODY}"]',
            **(settings or {}),
        }
        self.environ: dict[str, str] = {}  # further variables of its environment
        self.constants: dict[str, float] = {}  # for ``start``: what is not what it is in the program, see Forked
        self.password = ""
        self.code = ""  # sets up the first administrator
        self.process: subprocess.Popen[bytes] | Forked | None = None
        self.write_configuration()
        case.addCleanup(self.stop, signal.SIGKILL)

    @property
    def certificate(self) -> Path:
        """The self-signed certificate, to be trusted by clients."""
        return self.directory / "var" / "tls" / "self-signed.crt"

    def write_configuration(self) -> None:
        sections: dict[str, list[str]] = {}
        for name, value in self.settings.items():
            section, key = name.split(".")
            sections.setdefault(section, []).append(f"{key} = {value}\n")
        text = "".join(f"[{section}]\n{''.join(lines)}" for section, lines in sections.items())
        (self.directory / "mailx.toml").write_text(f"{text}\n{self.tables}", encoding="utf-8")

    def spawn(self, *options: str, environ: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Begin to start; standard output goes to the file ``log``, standard error is a pipe."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **self.environ, **(environ or {})}
        with open(self.directory / "log", "ab") as log:
            process = subprocess.Popen(self._command(*options), cwd=self.directory, stdout=log, stderr=subprocess.PIPE, env=environment)
        self.process = process
        return process

    def _fork(self) -> Forked:
        """The same, without options, sooner."""
        ours, theirs = os.pipe()
        with open(self.directory / "log", "ab") as log, open(os.devnull, "rb") as nothing:
            process = Forked(self._command(), self.directory, {**os.environ, **self.environ}, (nothing, log, theirs), self.constants)
        os.close(theirs)
        process.stderr = os.fdopen(ours, "rb", 0)
        self.process = process
        return process

    def _command(self, *options: str) -> list[str]:
        return [str(Path(sys.executable).with_name("twistd")), "-n", "--pidfile=", *options, "mailx"]

    def start(self, *options: str) -> str:
        """Start and wait until it says that it runs; returns all that it said."""
        process = self._fork() if self.forked and not options else self.spawn(*options)
        assert process.stderr is not None
        said = b""
        with selectors.DefaultSelector() as selector:
            selector.register(process.stderr, selectors.EVENT_READ)
            deadline = time.monotonic() + PATIENCE
            while not said.endswith(b"\n\n\n"):
                self.case.assertTrue(selector.select(deadline - time.monotonic()), f"not started: {said!r}")
                more = os.read(process.stderr.fileno(), 65536)
                self.case.assertTrue(more, f"ended instead of starting: {said.decode()}")
                said += more
        notice = said.decode()
        if found := re.search(r"^  password +(\S+)", notice, re.M):
            self.password = found[1]
        if found := re.search(r"^  with the code +(\S+)", notice, re.M):
            self.code = found[1]
        return notice

    def stop(self, with_signal: signal.Signals = signal.SIGTERM) -> int | None:
        """Send a signal and wait for the end; returns the exit status."""
        process, self.process = self.process, None
        if process is None:
            return None
        process.send_signal(with_signal)
        status = process.wait(PATIENCE)
        if process.stderr is not None:
            process.stderr.close()
        return status

    def kill(self) -> None:
        """As a power cut would."""
        self.stop(signal.SIGKILL)

    def log(self) -> str:
        return (self.directory / "log").read_text(encoding="utf-8", errors="replace")

    def run(self, *command: str, given: str | bytes = b"", expect: int | None = 0, **environ: str) -> str:
        """Run a client program; fails the test when it ends with another status than ``expect``. Returns what it wrote."""
        data = given.encode() if isinstance(given, str) else given
        environment = {**os.environ, "HOME": str(self.directory), "LC_ALL": "C.UTF-8", **environ}
        done = subprocess.run(
            [program(command[0]), *command[1:]],
            input=data,
            cwd=self.directory,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE,
            check=False,
        )
        output = done.stdout.decode("utf-8", "replace")
        if expect is not None:
            self.case.assertEqual(done.returncode, expect, f"{command[0]}: {output}")
        return output

    def ctl(self, *arguments: str, given: str = "", expect: int | None = 0) -> str:
        """What ``mailxctl`` says; fails the test when it ends with another status than ``expect``."""
        command = [str(Path(sys.executable).with_name("mailxctl")), *arguments]
        environment = {**os.environ, "HOME": str(self.directory), "LC_ALL": "C.UTF-8"}
        with tempfile.TemporaryFile() as asked, tempfile.TemporaryFile() as said:
            asked.write(given.encode())
            asked.seek(0)
            status = Forked(command, self.directory, environment, (asked, said, said)).wait(PATIENCE)
            said.seek(0)
            output = said.read().decode("utf-8", "replace")
        if expect is not None:
            self.case.assertEqual(status, expect, f"mailxctl: {output}")
        return output

    def trust(self) -> ssl.SSLContext:
        """A client's TLS context that trusts nothing but the generated certificate, and checks the name where it stands in there."""
        context = ssl.create_default_context(cafile=str(self.certificate))
        context.check_hostname = self.address == "127.0.0.1"
        return context

    @property
    def host(self) -> str:
        """What a client connects to."""
        return "localhost" if self.address == "127.0.0.1" else self.address

    def mx(self) -> SMTP:
        """A client on the MX port."""
        client = SMTP(self.host, self.ports["smtp.port"], "client.example.test", PATIENCE)
        self.case.addCleanup(client.close)
        return client

    def send(self, subject: str, body: str = "It works.") -> None:
        """Bring a message in from outside."""
        message = f"From: out@example.test\r\nTo: {self.account}\r\nSubject: {subject}\r\n"
        with self.mx() as client:
            client.sendmail("out@example.test", [self.account], f"{message}Message-ID: <{subject}@example.test>\r\n\r\n{body}\r\n")

    def submission(self) -> SMTP:
        """A client that is logged in to submit."""
        client = SMTP_SSL(self.host, self.ports["smtp.submissions_port"], timeout=PATIENCE, context=self.trust())
        self.case.addCleanup(client.close)
        client.login(self.account, self.password)
        return client

    def submit(self, to: str | list[str], subject: str, body: str = "It works.", options: Sequence[str] = ()) -> None:
        """Submit a message from the first account; ``options`` are those of RCPT."""
        shown = to if isinstance(to, str) else ", ".join(to)
        message = f"From: {self.account}\r\nTo: {shown}\r\nSubject: {subject}\r\n\r\n{body}\r\n"
        with self.submission() as client:
            client.sendmail(self.account, to, message.encode(), rcpt_options=options)

    def metrics(self) -> dict[str, float]:
        """What the health port says, by name with labels."""
        with urlopen(f"http://127.0.0.1:{self.ports['health.port']}/metrics", timeout=PATIENCE) as answer:
            lines = answer.read().decode().splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if not line.startswith("#"))}

    def imap(self) -> IMAP4_SSL:
        """A client that is logged in."""
        client = IMAP4_SSL(self.host, self.ports["imap.tls_port"], ssl_context=self.trust(), timeout=PATIENCE)
        self.case.addCleanup(lambda: client.file.close() or client.sock.close())
        client.login(self.account, self.password)
        return client

    def messages(self, mailbox: str = "INBOX") -> list[EmailMessage]:
        """Everything in the mailbox of the first account, in order."""
        client = self.imap()
        client.select(mailbox, readonly=True)
        _, data = client.fetch("1:*", "(BODY.PEEK[])")
        client.logout()
        parts = [part[1] for part in data if isinstance(part, tuple)]
        return [message_from_bytes(part, policy=policy.SMTP) for part in parts]

    def subjects(self, mailbox: str = "INBOX") -> list[str]:
        """The subjects of the mailbox, in order."""
        return [message["Subject"] for message in self.messages(mailbox)]

    def message(self, subject: str, mailbox: str = "INBOX") -> EmailMessage:
        """The message with this subject, waited for; fails the test if it never comes."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            for message in self.messages(mailbox):
                if message["Subject"] == subject:
                    return message
            time.sleep(0.05)
        raise AssertionError(f"no message {subject!r}: {self.log()[-3000:]}")
