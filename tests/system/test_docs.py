"""Every command of the documentation is run against a real server, and answers what the page says it answers.

A page's commands are the ``$`` lines of its ``.. code-block:: console`` blocks; each page has a server of its own and runs
from top to bottom. What stands below a command must be its output: ``...`` stands for anything, and what differs from
run to run (dates, identifiers, passwords) is made equal first. A block after ``.. not-run: REASON`` is not run;
``NOT_RUN`` holds these reasons, so that none slips in unseen.

The Internet of the pages is example.net, whose server does not answer; no other domain exists.
"""

import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from attrs import field, frozen
from twisted.trial.unittest import SynchronousTestCase

from mailx.config import Config
from tests.system.names import Names
from tests.system.server import ROOT, Server, program

PAGES = [ROOT / "README.rst", *sorted((ROOT / "docs").glob("*.rst"))]
BLOCK = ".. code-block:: console"
MARK = ".. not-run: "
PASSWORD = "bunxr-8ysc6-dbvvd-hk99q"  # of the first account, as the pages show it
TOOLS = ("curl", "openssl", "swaks")  # a page that needs one that is not installed is skipped
INTERNET = {"example.net": "@ MX 10 mx\nmx A 127.0.0.9"}
DEFAULTS = Config()

NOT_RUN = {
    "it stays in the foreground; the system tests start the server in another way",
    "it runs these very tests",
}

# What differs from run to run, and what it becomes before texts are compared.
VOLATILE = (
    (r"\r", ""),
    (r"[A-Z][a-z]{2}, \d{1,2} [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d [+-]\d{4}", "DATE"),
    (r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?( UTC|Z|\+00:00)?", "TIME"),
    (r"(\w{5}-){3}\w{5}", "PASSWORD"),
    (r"\b[0-9a-f]{32}\b", "HEX"),
    (r"(?<=\bid )[a-z0-9]{16}\b|(?<=delivery )[a-z0-9]{16}\b", "ID"),
    (r"\b\d+(\.\d+)? (B|KiB)(?= |,|$)", "SIZE"),
    (r"[ \t]+", " "),
    (r"(?m)^ | $", ""),
)


@frozen
class Command:
    """One command with the lines that the page shows below it."""

    line: int
    text: str
    output: list[str] = field(factory=list)


@frozen
class Block:
    """One console block; ``reason`` says why it is not run."""

    page: Path
    line: int
    reason: str
    commands: list[Command]


def blocks(page: Path) -> Iterator[Block]:
    lines = page.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        if line.strip() == BLOCK:
            before = lines[number - 1].strip() if number else ""
            reason = before.removeprefix(MARK) if before.startswith(MARK) else ""
            yield Block(page, number + 1, reason, list(commands(lines, number + 1)))


def commands(lines: list[str], start: int) -> Iterator[Command]:
    """The commands of the block whose body begins at ``start``, an index."""
    margin = next(len(line) - len(line.lstrip()) for line in lines[start:] if line.strip())
    command: Command | None = None
    open_line = False
    for number in range(start, len(lines)):
        line = lines[number]
        if line.strip() and not line.startswith(" " * margin):
            break
        text = line[margin:]
        if open_line:
            assert command is not None
            command = Command(command.line, f"{command.text}\n{text}")
            open_line = text.endswith("\\")
        elif text.startswith("$ "):
            if command is not None:
                yield command
            command = Command(number + 1, text[2:])
            open_line = text.endswith("\\")
        elif command is not None:
            command.output.append(text)
    if command is not None:
        yield command


def equalised(text: str) -> str:
    for pattern, replacement in VOLATILE:
        text = re.sub(pattern, replacement, text)
    return text.strip("\n")


def pattern(output: str) -> re.Pattern[str]:
    """What an output must look like, as the page says it."""
    expression = ""
    for line in equalised(output).split("\n"):
        expression += r"(?:.*\n)*?" if line == "..." else ".*".join(map(re.escape, line.split("..."))) + r"\n"
    return re.compile(expression)


class Console(SynchronousTestCase):
    """The pages, each on a server of its own."""

    def play(self, page: Path) -> None:
        parts = [block for block in blocks(page) if not block.reason]
        for tool in TOOLS:
            if any(re.search(rf"\b{tool} ", command.text) for block in parts for command in block.commands):
                program(tool)
        names = Names(INTERNET)
        self.addCleanup(names.stop)
        names.start()
        server = Server(self, {"dns.servers": f'["127.0.0.1:{names.resolver}"]', "outbound.loopback": "true"})
        server.start()
        binaries = Path(sys.executable).parent
        (server.directory / ".venv").symlink_to(binaries.parent)
        search = f"{binaries}{os.pathsep}{os.environ['PATH']}"
        for block in parts:
            for command in block.commands:
                said = server.run("bash", "-o", "pipefail", "-c", adapted(command.text, server), PATH=search)
                if any(line.strip() for line in command.output):
                    shown = pattern(adapted("\n".join(command.output), server))
                    self.assertIsNotNone(shown.fullmatch(equalised(said) + "\n"), f"{page.name}:{command.line}: {command.text}\n{said}")


def adapted(text: str, server: Server) -> str:
    """``text`` with the ports and the password of ``server``."""
    for name, port in server.ports.items():
        section, key = name.split(".")
        default = getattr(getattr(DEFAULTS, section), key)
        if default:
            text = re.sub(rf"\b{default}\b", str(port), text)
    return text.replace(PASSWORD, server.password)


def _test(page: Path) -> Callable[[Console], None]:
    return lambda case: case.play(page)


for _page in PAGES:
    if any(not block.reason for block in blocks(_page)):
        setattr(Console, f"test_{_page.stem.lower()}", _test(_page))


class Marks(SynchronousTestCase):
    """What is not run is so on purpose."""

    def test_every_reason_is_known_and_needed(self) -> None:
        self.assertEqual({block.reason for page in PAGES for block in blocks(page) if block.reason}, NOT_RUN)

    def test_every_command_stands_in_a_console_block(self) -> None:
        for page in PAGES:
            shown = {number for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1) if re.match(r" *\$ ", line)}
            self.assertEqual(shown, {command.line for block in blocks(page) for command in block.commands}, page.name)
            self.assertTrue(all(block.commands for block in blocks(page)), page.name)
