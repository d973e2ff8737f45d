"""Debian's Dovecot as somebody else's mailbox host: IMAP and POP3, each with STARTTLS and with TLS from the first octet.

It starts as root only, because it switches users.
"""

import os
import pwd
import shutil
from pathlib import Path

from twisted.trial.unittest import SkipTest

from tests.system.daemon import Daemon, listens
from tests.system.server import free_ports, program

USERNAME, PASSWORD = "reader@example.net", "what a reader knows"
PROTOCOLS = ("imap", "imaps", "pop3", "pop3s")

_LIBRARY = Path("/usr/lib/dovecot")


class Dovecot:
    """One account; ``ports`` says where each of PROTOCOLS listens on 127.0.0.1. ``chain`` is a file with key and certificate.

    ``namespace`` is that of its mailboxes, as Dovecot's configuration has it.
    """

    def __init__(self, chain: Path, namespace: str = "") -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root can start Dovecot")
        self._daemon = Daemon("dovecot")
        for protocol in ("imap", "pop3"):
            if not (_LIBRARY / protocol).exists():
                program(f"dovecot-{protocol}d")  # never a program: it says which package is missing
        self.ports = dict(zip(PROTOCOLS, free_ports(len(PROTOCOLS)), strict=True))
        self._chain, self._namespace = chain, namespace

    def start(self) -> None:
        """Raises AssertionError if it does not run."""
        directory, user = self._daemon.directory, pwd.getpwnam("nobody")
        (directory / "mail").mkdir()
        shutil.chown(directory / "mail", "nobody")
        shutil.copy(self._chain, directory / "chain.pem")
        (directory / "users").write_text(
            f"{USERNAME}:{{PLAIN}}{PASSWORD}:{user.pw_uid}:{user.pw_gid}::{directory}/mail\n", encoding="ascii"
        )
        (directory / "dovecot.conf").write_text(self._configuration(directory), encoding="ascii")
        self._daemon.start(["-F", "-c", "dovecot.conf"], lambda: all(listens("127.0.0.1", port) for port in self.ports.values()))

    def log(self) -> str:
        path = self._daemon.directory / "log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def stop(self) -> None:
        self._daemon.stop()

    def _configuration(self, directory: Path) -> str:
        logins = "".join(
            f"""service {protocol}-login {{
  inet_listener {protocol} {{
    address = 127.0.0.1
    port = {self.ports[protocol]}
  }}
  inet_listener {protocol}s {{
    address = 127.0.0.1
    port = {self.ports[protocol + "s"]}
    ssl = yes
  }}
}}
"""
            for protocol in ("imap", "pop3")
        )
        return f"""protocols = imap pop3
base_dir = {directory}/run
state_dir = {directory}/state
log_path = {directory}/log
ssl = yes
ssl_cert = <{directory}/chain.pem
ssl_key = <{directory}/chain.pem
disable_plaintext_auth = yes
auth_mechanisms = plain login
auth_failure_delay = 0
first_valid_uid = 1
mail_location = maildir:~/Maildir
passdb {{
  driver = passwd-file
  args = username_format=%u {directory}/users
}}
userdb {{
  driver = passwd-file
  args = username_format=%u {directory}/users
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
# Who fails is not kept waiting.
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
{self._namespace}{logins}"""
