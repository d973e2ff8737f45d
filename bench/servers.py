"""The servers that are measured: MailX and its peers, each in a directory of its own, on loopback ports.

``MailX`` starts a real ``twistd``; ``PostfixDovecot`` needs Debian's packages postfix, dovecot-core, dovecot-imapd and
dovecot-lmtpd and root (both insist on switching users); ``Aiosmtpd`` and ``Sink`` are bare floors.
"""

import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.report import progress
from mailx.ctl.client import NoServer, SocketClient
from tests.system.server import free_ports

DOMAIN = "example.test"
PASSWORD = "correct horse"
USERS = 20
NO_RESOLVER = "127.0.0.1:1"
ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent


def wait_for_port(port: int, seconds: float = 60.0, process: subprocess.Popen[bytes] | None = None, address: str = "127.0.0.1") -> None:
    """Return once something listens on ``port`` of the loopback ``address``; raises TimeoutError, or RuntimeError if ``process`` ended."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection((address, port), 1).close()
            return
        except OSError as error:
            if process is not None and process.poll() is not None:
                raise RuntimeError(f"the server ended with code {process.returncode}") from error
            if time.monotonic() > deadline:
                raise TimeoutError(f"nothing listens on port {port}") from error
            time.sleep(0.02)


def free_port() -> int:
    return free_ports(1)[0]


class MailX:
    """A real ``twistd -n mailx`` below ``directory``; limits raised, everything else as shipped."""

    name = "mailx"

    def __init__(
        self,
        directory: Path,
        users: int = USERS,
        settings: str = "",
        keep: bool = False,
        domain: str = DOMAIN,
        interface: str = "127.0.0.1",
        resolver: str = NO_RESOLVER,
        smtp_port: int = 0,
    ) -> None:
        """``settings`` are further tables of the configuration; ``interface`` is the loopback address that it listens on.

        ``resolver`` is the name server; by default nobody answers there, so that nothing is asked elsewhere.
        ``smtp_port`` is that of its MX, 0: a free one.
        """
        self.directory = directory
        self.users = users
        self.domain, self.interface, self.resolver = domain, interface, resolver
        mail = ("smtp", "submission", "submissions", "lmtp", "imap", "imaps")
        self.ports = {name: free_port() for name in (*mail, "webhook", "panel", "pop3", "pop3s", "health", "federation", "public")}
        self.smtp_port = self.ports["smtp"] = smtp_port or self.ports["smtp"]
        self.imap_port = self.ports["imap"]
        self.process: subprocess.Popen[bytes] | None = None
        self._settings = settings
        if not keep:
            shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True, exist_ok=True)
        self._write_configuration()

    def configure(self, settings: str) -> None:
        """Have these further tables from the next start on."""
        self._settings = settings
        self._write_configuration()

    def _write_configuration(self) -> None:
        port = self.ports
        (self.directory / "mailx.toml").write_text(
            f"""[server]
hostname = "mail.{self.domain}"
interface = "{self.interface}"
first_domain = ""
[smtp]
port = {port["smtp"]}
submission_port = {port["submission"]}
submissions_port = {port["submissions"]}
lmtp_port = {port["lmtp"]}
max_connections = 2000
max_per_address = 2000
message_size = 52428800
[imap]
port = {port["imap"]}
tls_port = {port["imaps"]}
max_connections = 5000
max_per_address = 5000
max_per_account = 5000
plaintext_login = true
[log]
file = "mailx.log"
[health]
port = {port["health"]}
[dns]
servers = ["{self.resolver}"]
{self._settings}"""
        )

    def start(self) -> None:
        command = [str(BIN / "twistd"), "-n", "--pidfile=", "mailx", "--config", "mailx.toml"]
        # By the environment, so that ``settings`` may have tables of these names.
        ports = {f"MAILX_{name.upper()}__PORT": str(self.ports[name]) for name in ("webhook", "panel", "pop3")}
        ports["MAILX_POP3__TLS_PORT"] = str(self.ports["pop3s"])
        ports.update(MAILX_FEDERATION__PORT=str(self.ports["federation"]), MAILX_FEDERATION__HTTPS_PORT=str(self.ports["public"]))
        with open(self.directory / "twistd.log", "ab") as log:
            self.process = subprocess.Popen(command, cwd=self.directory, stdout=log, stderr=log, env={**os.environ, **ports})
        wait_for_port(self.ports["imaps"], process=self.process, address=self.interface)
        wait_for_port(self.imap_port, process=self.process, address=self.interface)
        self._wait_for_administration()

    def _wait_for_administration(self, seconds: float = 60.0) -> None:
        """The ports accept as soon as they are bound; the admin socket opens last. Raises TimeoutError."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                self.api("GET", "/v1/queue", {"limit": "1"})
                return
            except (OSError, RuntimeError) as error:
                if time.monotonic() > deadline:
                    raise TimeoutError("the admin socket does not answer") from error
                time.sleep(0.02)

    def ctl(self, *arguments: str, given: str = "") -> str:
        command = [str(BIN / "mailxctl"), "--config", str(self.directory / "mailx.toml"), *arguments]
        done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"mailxctl {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def populate(self) -> None:
        """The domain and its users ``u1`` to ``uN``."""
        self.ctl("domain", "add", self.domain)
        progress(f"making {self.users} accounts")
        for number in range(1, self.users + 1):
            self.ctl("user", "add", f"u{number}@{self.domain}", "--password-stdin", given=PASSWORD + "\n")

    def api(self, method: str, path: str, parameters: Mapping[str, str] | None = None, body: Any = None) -> Any:
        """The JSON of one request to the admin API; raises RuntimeError for a refusal, OSError when the server is away."""
        client = SocketClient(str(self.directory / "var" / "admin.sock"))
        try:
            client.open()
        except NoServer:
            raise ConnectionError("no server on the admin socket") from None
        status, answer = client.call(method, path, parameters or {}, body)
        client.close()
        if status >= 400:
            raise RuntimeError(f"{method} {path}: {status} {answer}")
        return answer

    def metric(self, name: str) -> float:
        """The value of a metric, with its labels if it has some; 0 before it has one."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports['health']}/metrics") as answer:
            found = re.search(rb"^%s ([0-9.e+-]+)$" % re.escape(name.encode()), answer.read(), re.MULTILINE)
        return float(found[1]) if found else 0.0

    def indexed(self) -> int:
        """How many messages the search index has taken in since the start."""
        return int(self.metric("mailx_messages_indexed_total"))

    def wait_for_index(self, count: int, seconds: float = 600.0) -> None:
        """Return once the search index has taken in ``count`` messages since the start; raises TimeoutError."""
        deadline = time.monotonic() + seconds
        while self.indexed() < count:
            if time.monotonic() > deadline:
                raise TimeoutError("the search index never caught up")
            time.sleep(0.1)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(70)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def kill(self) -> None:
        """kill -9, as a power cut would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()


_FULL_TEXT = """mail_plugins = fts fts_xapian
plugin {
  fts = xapian
  fts_xapian = partial=3 full=20
  fts_enforced = yes
}
service indexer-worker {
  vsz_limit = 2G
}
"""


class Dovecot:
    """Dovecot 2.3 with IMAP and LMTP; ``mail_fsync`` by default is its own (optimized: on wherever mail could be lost)."""

    def __init__(
        self, directory: Path, layout: str = "sdbox", full_text: bool = False, fsync: str = "optimized", name: str = "dovecot"
    ) -> None:
        """``full_text`` adds its Xapian index, from Debian's package dovecot-fts-xapian."""
        self.name = name
        self.directory = directory
        self.imap_port, self.lmtp_port = free_port(), free_port()
        self._layout = layout
        self._settings = f"mail_fsync = {fsync}\n{_FULL_TEXT if full_text else ''}"
        self._full_text = full_text

    def start(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)
        home, user = self.directory / "mail", pwd.getpwnam("nobody")
        for folder in (self.directory, home, self.directory / "run", self.directory / "state"):
            folder.mkdir(parents=True, exist_ok=True)
        os.chown(home, user.pw_uid, user.pw_gid)
        (self.directory / "users").write_text("".join(f"u{n}@{DOMAIN}:{{PLAIN}}{PASSWORD}\n" for n in range(1, USERS + 1)))
        location = {"sdbox": "sdbox:~/sdbox", "maildir": "maildir:~/Maildir"}[self._layout]
        self._configuration = self.directory / "dovecot.conf"
        self._configuration.write_text(
            f"""protocols = imap lmtp
listen = 127.0.0.1
base_dir = {self.directory}/run
state_dir = {self.directory}/state
log_path = {self.directory}/dovecot.log
instance_name = mailx-bench
ssl = no
disable_plaintext_auth = no
passdb {{
  driver = passwd-file
  args = username_format=%Lu {self.directory}/users
}}
userdb {{
  driver = static
  args = uid={user.pw_uid} gid={user.pw_gid} home={home}/%n allow_all_users=yes
}}
first_valid_uid = 1
first_valid_gid = 1
mail_location = {location}
mail_max_userip_connections = 1000
namespace inbox {{
  inbox = yes
}}
service imap-login {{
  inet_listener imap {{
    port = {self.imap_port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service lmtp {{
  inet_listener lmtp {{
    port = {self.lmtp_port}
  }}
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
{self._settings}"""
        )
        subprocess.run(["dovecot", "-c", str(self._configuration)], check=True)
        wait_for_port(self.imap_port)
        wait_for_port(self.lmtp_port)

    def wait_for_index(self, messages: int) -> None:
        """Index what user 1 has in INBOX, if there is an index."""
        if self._full_text:
            subprocess.run(["doveadm", "-c", str(self._configuration), "index", "-u", f"u1@{DOMAIN}", "INBOX"], check=True)

    def stop(self) -> None:
        subprocess.run(["doveadm", "-c", str(self._configuration), "stop"], check=False, capture_output=True)


class PostfixDovecot:
    """Debian's Postfix delivering to Dovecot by LMTP; Postfix keeps its defaults but for names, ports and size limit."""

    name = "postfix_dovecot"

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.dovecot = Dovecot(directory / "dovecot", "maildir")
        self.smtp_port, self.imap_port = free_port(), self.dovecot.imap_port
        self._configuration = directory / "postfix"

    def start(self) -> None:
        self.dovecot.start()
        conf, spool, data = self._configuration, self.directory / "spool", self.directory / "data"
        for folder in (conf, spool, data):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        shutil.chown(data, "postfix")
        (conf / "mailboxes").write_text("".join(f"u{n}@{DOMAIN} u{n}\n" for n in range(1, USERS + 1)))
        (conf / "main.cf").write_text(
            f"""compatibility_level = 3.6
queue_directory = {spool}
data_directory = {data}
maillog_file = {self.directory}/postfix.log
maillog_file_prefixes = {self.directory}
myhostname = mail.{DOMAIN}
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
virtual_mailbox_domains = {DOMAIN}
virtual_mailbox_maps = hash:{conf}/mailboxes
virtual_transport = lmtp:inet:127.0.0.1:{self.dovecot.lmtp_port}
message_size_limit = 52428800
virtual_mailbox_limit = 0
mailbox_size_limit = 0
alias_maps =
alias_database =
"""
        )
        for name in ("postfix-files", "dynamicmaps.cf"):
            shutil.copy(f"/etc/postfix/{name}", conf)
        for name in ("postfix-files.d", "dynamicmaps.cf.d"):
            (conf / name).mkdir()
        (conf / "master.cf").write_text(self._master())
        subprocess.run(["postmap", "-c", str(conf), f"hash:{conf}/mailboxes"], check=True)
        subprocess.run(["postfix", "-c", str(conf), "start"], check=True, capture_output=True)
        wait_for_port(self.smtp_port)

    def _master(self) -> str:
        # The shipped service table, with our port and without chroot (there is no tree to change to).
        lines = []
        for line in Path("/usr/share/postfix/master.cf.dist").read_text().splitlines():
            words = line.split()
            if line[:1].isalpha() and len(words) >= 8:
                if words[:2] == ["smtp", "inet"]:
                    words[0] = f"127.0.0.1:{self.smtp_port}"
                words[4] = "n"
                line = " ".join(words)
            lines.append(line)
        return "\n".join(lines) + "\n"

    def stop(self) -> None:
        subprocess.run(["postfix", "-c", str(self._configuration), "stop"], check=False, capture_output=True)
        self.dovecot.stop()


class Sink:
    """smtp-sink of Debian's Postfix: answers and forgets, the floor that no server can pass."""

    name = "smtp_sink"
    imap_port = 0

    def __init__(self) -> None:
        self.smtp_port = free_port()
        self._tail = b""

    def start(self) -> None:
        command = ["smtp-sink", "-c", "-m", "2000", *(["-u", "nobody"] if os.geteuid() == 0 else [])]
        self._process = subprocess.Popen([*command, f"127.0.0.1:{self.smtp_port}", "2000"], stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)
        self._reader = threading.Thread(target=self._read, daemon=True)
        wait_for_port(self.smtp_port)
        self._reader.start()

    def _read(self) -> None:
        """Keep the end of what it writes: its counters, again after every message."""
        assert self._process.stdout is not None
        while self._process.poll() is None:
            time.sleep(0.005)
            while data := self._process.stdout.read(65536):
                self._tail = (self._tail + data)[-200:]

    def count(self) -> int:
        """How many messages it has got."""
        found = re.findall(rb"mesg= *(\d+)\r", self._tail)
        return int(found[-1]) if found else 0

    def wait_for(self, count: int, seconds: float = 600.0) -> None:
        """Return once it has got ``count`` messages; raises TimeoutError."""
        deadline = time.monotonic() + seconds
        while (got := self.count()) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"only {got} of {count} messages arrived")
            time.sleep(0.005)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


class Aiosmtpd:
    """aiosmtpd, whose message is dropped after DATA: the floor of an SMTP server in Python that keeps nothing."""

    name = "aiosmtpd"
    imap_port = 0

    def __init__(self) -> None:
        self.smtp_port = free_port()

    def start(self) -> None:
        command = [sys.executable, "-m", "aiosmtpd", "-n", "-c", "aiosmtpd.handlers.Sink", "-l", f"127.0.0.1:{self.smtp_port}"]
        self._process = subprocess.Popen(command)
        wait_for_port(self.smtp_port, process=self._process)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
