"""pymap, an IMAP server in Python: a peer that is measured. It gets an environment of its own, so that its libraries meet none of ours."""

import os
import subprocess
import sys
from pathlib import Path

from bench.report import progress
from bench.servers import DOMAIN, PASSWORD, ROOT, USERS, free_port, wait_for_port

_ENVIRONMENT = ROOT / "bench" / "var" / "pymap-environment"
_PASSWORDS = """
import sys
from pysasl.hashing import BuiltinHash
hashed = BuiltinHash().hash(sys.argv[2]).replace(":", chr(92) + ":")
with open("pymap-etc-passwd", "w", newline="") as users, open("pymap-etc-shadow", "w", newline="") as secrets:
    for number in range(1, int(sys.argv[3]) + 1):
        users.write(f"u{number}@{sys.argv[1]}:x::::u{number}:\\r\\n")
        secrets.write(f"u{number}@{sys.argv[1]}:{hashed}:::::::\\r\\n")
open("pymap-etc-group", "w").close()
"""


class Pymap:
    """pymap with its Maildir back end, without TLS."""

    name = "pymap"

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.imap_port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        python = _environment()
        self.directory.mkdir(parents=True, exist_ok=True)
        if not (self.directory / "pymap-etc-passwd").exists():
            subprocess.run([python, "-c", _PASSWORDS, DOMAIN, PASSWORD, str(USERS)], cwd=self.directory, check=True)
        program = str(python.with_name("pymap"))
        command = [program, "--host", "127.0.0.1", "--port", str(self.imap_port), "--no-tls", "maildir", str(self.directory)]
        with open(self.directory / "pymap.log", "ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "PYTHONUNBUFFERED": "1"})
        wait_for_port(self.imap_port)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def _environment() -> Path:
    """The interpreter of pymap's environment, which is made when it is not there."""
    python = _ENVIRONMENT / "bin" / "python"
    if not python.with_name("pymap").exists():
        progress("installing pymap")
        subprocess.run([sys.executable, "-m", "venv", str(_ENVIRONMENT)], check=True)
        subprocess.run(
            [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "pymap", "typing-extensions"], check=True
        )
    return python
