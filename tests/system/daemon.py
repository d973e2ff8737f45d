"""A program of another project, run in the foreground in a directory of its own and killed at the end."""

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import mkdtemp

from tests.system.server import PATIENCE, program


class Daemon:
    """One such program. ``directory`` is short, for the sake of sockets, and open to the user the program becomes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = program(name)
        self.directory = Path(mkdtemp(prefix=f"mailx-{name}-"))
        self.directory.chmod(0o755)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, arguments: Sequence[str], ready: Callable[[], bool]) -> None:
        """Start it and wait until ``ready``; raises AssertionError with what it wrote if that never comes."""
        with open(self.directory / "output", "ab") as output:
            self._process = subprocess.Popen(
                [self.path, *arguments], cwd=self.directory, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        wait(
            ready, lambda: f"{self.name} did not start: {self.output()}", lambda: self._process is None or self._process.poll() is not None
        )

    def output(self) -> str:
        """What it wrote so far."""
        return (self.directory / "output").read_text(encoding="utf-8", errors="replace")

    def stop(self) -> None:
        """Kill it and delete all that it made."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE)
        shutil.rmtree(self.directory, ignore_errors=True)


def wait(ready: Callable[[], bool], complaint: Callable[[], str], hopeless: Callable[[], bool] = lambda: False) -> None:
    """Return once ``ready``; raises AssertionError when it takes too long or is ``hopeless``."""
    deadline = time.monotonic() + PATIENCE
    while not ready():
        if hopeless() or time.monotonic() > deadline:
            raise AssertionError(complaint())
        time.sleep(0.02)


def listens(address: str, port: int) -> bool:
    """Whether something accepts TCP connections there."""
    try:
        socket.create_connection((address, port), 1).close()
    except OSError:
        return False
    return True


def ended(pid: int) -> bool:
    """Whether the process ``pid``, no child of this one, is gone, or dead and not yet taken note of."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
