"""A program on a terminal of its own, from its beginning to its end."""

import os
import pty
import subprocess
from collections.abc import Sequence
from pathlib import Path
from select import select
from time import monotonic
from unittest import TestCase

from tests.system.server import PATIENCE


def run_on_terminal(case: TestCase, command: Sequence[str], directory: Path, patience: float = PATIENCE) -> None:
    """Wait until ``command`` has ended well; fails the test with all that it showed if it does not within ``patience`` seconds."""
    deadline = monotonic() + patience
    ours, theirs = pty.openpty()
    environment = {**os.environ, "HOME": str(directory), "TERM": "vt100", "LC_ALL": "C.UTF-8"}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=directory, env=environment)
    os.close(theirs)
    screen = b""
    try:
        while monotonic() < deadline and select([ours], [], [], max(0.0, deadline - monotonic()))[0]:
            try:
                screen += os.read(ours, 4096)
            except OSError:  # a terminal whose last program ended reads as an I/O error
                break
        case.assertEqual(process.wait(max(0.0, deadline - monotonic())), 0, screen)
    except subprocess.TimeoutExpired:
        case.fail(f"{command[0]} did not end: {screen!r}")
    finally:
        process.kill()
        process.wait()
        os.close(ours)
