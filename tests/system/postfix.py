"""Debian's Postfix as somebody else's server: an MX, or a smart host with AUTH; what it accepts lies in one maildir.

It starts as root only, because it switches users. Dovecot's authentication service knows the one login of a smart host.
"""

import os
import pwd
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from tempfile import mkdtemp

from twisted.trial.unittest import SkipTest

from tests.system.daemon import Daemon, ended, listens, wait
from tests.system.server import PATIENCE, free_ports, program

USERNAME, PASSWORD = "relaying@example.net", "a long and good password"

_DAEMONS = "/usr/lib/postfix/sbin"
_QUEUES = ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private", "saved", "trace")
_PUBLIC = {"maildrop": "postdrop", "public": "postdrop"}  # and their groups


class Authentication:
    """Dovecot, reduced to its authentication service on a TCP port."""

    def __init__(self) -> None:
        self.port = free_ports(1)[0]
        self._daemon = Daemon("dovecot")

    def start(self) -> None:
        directory = self._daemon.directory
        (directory / "users").write_text(f"{USERNAME}:{{PLAIN}}{PASSWORD}\n", encoding="ascii")
        (directory / "dovecot.conf").write_text(
            f"""protocols =
base_dir = {directory}/run
state_dir = {directory}/state
log_path = {directory}/log
ssl = no
auth_mechanisms = plain login cram-md5 scram-sha-256
passdb {{
  driver = passwd-file
  args = username_format=%u {directory}/users
}}
service auth {{
  inet_listener {{
    address = 127.0.0.1
    port = {self.port}
  }}
}}
""",
            encoding="ascii",
        )
        self._daemon.start(["-F", "-c", "dovecot.conf"], lambda: listens("127.0.0.1", self.port))

    def stop(self) -> None:
        self._daemon.stop()


class Postfix:
    """One instance on ``address``:``port``. ``settings`` go to main.cf, beyond or in place of those below.

    ``chain`` is a file with key and certificate: with it STARTTLS is offered. ``verdicts`` maps recipients to what they get in
    place of acceptance: ``"450 4.7.1 Greylisted"``. With ``login`` it is a smart host, which takes mail for everybody from
    whoever logs in; ``tls_port`` is then its port for TLS from the first octet.
    """

    def __init__(
        self,
        name: str,
        address: str = "127.0.0.1",
        port: int = 0,
        *,
        domains: tuple[str, ...] = (),
        chain: Path | None = None,
        verdicts: Mapping[str, str] | None = None,
        login: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root can start Postfix")
        self._program = program("postfix")
        self.name, self.address = name, address
        self.port, self.tls_port = free_ports(2)
        self.port = port or self.port
        self.directory = Path(mkdtemp(prefix="mailx-postfix-"))
        self._configuration = self.directory / "conf"
        self._authentication = Authentication() if login else None
        self._settings = self._main(domains, chain) | dict(settings or {})
        self._verdicts = dict(verdicts or {})

    def start(self) -> None:
        if self._authentication is not None:
            self._authentication.start()
        self._lay_out()
        self.judge(self._verdicts)
        # Not by `postfix start`, which checks an installation for a second or two first.
        master = [f"{_DAEMONS}/master", "-w", "-c", str(self._configuration)]
        started = subprocess.run(master, capture_output=True, text=True, check=False)
        wait(
            lambda: listens(self.address, self.port),
            lambda: f"Postfix did not start: {started.stderr}{self.log()}",
            lambda: bool(started.returncode),
        )

    def judge(self, verdicts: Mapping[str, str]) -> None:
        """From now on recipients get these verdicts."""
        (self._configuration / "verdicts").write_text("".join(f"{who} {what}\n" for who, what in verdicts.items()), encoding="ascii")
        if (self.directory / "spool" / "pid" / "master.pid").exists():
            subprocess.run([self._program, "-c", str(self._configuration), "reload"], capture_output=True, check=True)

    def stop(self) -> None:
        """Kill it and delete all that it made."""
        pids = self.directory / "spool" / "pid" / "master.pid"
        if pids.exists():
            pid = int(pids.read_text())
            os.killpg(pid, signal.SIGKILL)  # SIGTERM takes it a second or two
            wait(lambda: ended(pid), lambda: "Postfix did not end")
        if self._authentication is not None:
            self._authentication.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def log(self) -> str:
        path = self.directory / "log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def messages(self) -> list[bytes]:
        """What was delivered so far."""
        return [path.read_bytes() for path in sorted((self.directory / "mail" / "inbox" / "new").glob("*"))]

    def message(self, subject: str) -> EmailMessage:
        """The delivered message with this subject, waited for; raises AssertionError if it never comes."""
        found: list[EmailMessage] = []

        def look() -> bool:
            every = [message_from_bytes(content, policy=policy.SMTP.clone(raise_on_defect=False)) for content in self.messages()]
            found[:] = [message for message in every if message["Subject"] == subject]
            return bool(found)

        wait(look, lambda: f"no message {subject!r} in {PATIENCE} seconds: {self.log()[-3000:]}")
        return found[0]

    def connections(self) -> int:
        """How many clients began TLS."""
        return len(re.findall(r"TLS connection established from", self.log()))

    def _main(self, domains: tuple[str, ...], chain: Path | None) -> dict[str, str]:
        user, base = pwd.getpwnam("nobody"), self.directory
        settings = {
            "compatibility_level": "3.6",
            "queue_directory": f"{base}/spool",
            "data_directory": f"{base}/data",
            "maillog_file": f"{base}/log",
            "maillog_file_prefixes": f"{base}",
            "myhostname": self.name,
            "inet_interfaces": "127.0.0.1",  # master.cf names another address of the loopback network, which is not found here
            "inet_protocols": "ipv4",
            "mydestination": "",
            "mynetworks": "",
            "local_header_rewrite_clients": "",
            "smtpd_peername_lookup": "no",  # it would ask the name servers of this machine
            "alias_maps": "",
            "alias_database": "",
            "virtual_mailbox_domains": ", ".join(domains),
            "virtual_mailbox_maps": "static:inbox/",
            "virtual_mailbox_base": f"{base}/mail",
            "virtual_minimum_uid": "1",
            "virtual_uid_maps": f"static:{user.pw_uid}",
            "virtual_gid_maps": f"static:{user.pw_gid}",
            "default_transport": "virtual",
            "smtpd_recipient_restrictions": f"check_recipient_access texthash:{base}/conf/verdicts",
            "smtpd_relay_restrictions": "permit_sasl_authenticated, reject_unauth_destination",
        }
        if chain is not None:
            shutil.copy(chain, self.directory / "chain.pem")
            settings |= {"smtpd_tls_chain_files": f"{base}/chain.pem", "smtpd_tls_security_level": "may"}
            settings |= {"smtpd_tls_loglevel": "1", "smtpd_tls_received_header": "yes"}
        if self._authentication is not None:
            settings |= {"smtpd_sasl_auth_enable": "yes", "smtpd_sasl_type": "dovecot", "smtpd_tls_auth_only": "yes"}
            settings |= {"smtpd_sasl_path": f"inet:127.0.0.1:{self._authentication.port}", "smtpd_sasl_authenticated_header": "yes"}
        return settings

    def _lay_out(self) -> None:
        for name in ("conf", "conf/dynamicmaps.cf.d", "spool", "data", "mail", "mail/inbox"):
            (self.directory / name).mkdir()
        self.directory.chmod(0o755)
        shutil.chown(self.directory / "data", "postfix")
        for owned in ("mail", "mail/inbox"):
            shutil.chown(self.directory / owned, "nobody")
        spool = self.directory / "spool"
        for name in (*_QUEUES, *_PUBLIC):
            (spool / name).mkdir(mode=0o700)
            shutil.chown(spool / name, "postfix", _PUBLIC.get(name))
        (spool / "maildrop").chmod(0o730)
        (spool / "public").chmod(0o710)
        (spool / "pid").mkdir()
        shutil.copy("/etc/postfix/dynamicmaps.cf", self._configuration)
        main = "".join(f"{name} = {value}\n" for name, value in self._settings.items())
        (self._configuration / "main.cf").write_text(main, encoding="ascii")
        os.utime(self._configuration / "main.cf", (0, 0))  # Postfix waits until a file that was just changed is two seconds old
        (self._configuration / "master.cf").write_text(self._master(), encoding="ascii")

    def _master(self) -> str:
        # The shipped service table, with our port and without chroot (there is no tree to change to).
        lines = []
        for line in Path("/usr/share/postfix/master.cf.dist").read_text(encoding="ascii").splitlines():
            words = line.split()
            if line[:1].isalpha() and len(words) >= 8:
                words[4] = "n"
                if words[:2] == ["smtp", "inet"]:
                    words[0] = f"{self.address}:{self.port}"
                    if self._authentication is not None:
                        lines.append(" ".join([f"{self.address}:{self.tls_port}", *words[1:], "-o", "smtpd_tls_wrappermode=yes"]))
                line = " ".join(words)
            lines.append(line)
        return "\n".join(lines) + "\n"
