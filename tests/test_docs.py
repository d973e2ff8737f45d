"""What the documentation says of the code is so: files, tests, events, metrics, and the way of a message.

The commands of the pages are run by :mod:`tests.system.test_docs`.
"""

import ast
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from textwrap import dedent
from types import FrameType
from typing import Any

from click import Command, Group
from prometheus_client import CollectorRegistry
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

import mailx.ops.metrics  # noqa: F401  (registers its own)
from mailx.config import SMTP, Server
from mailx.config_file import load
from mailx.core.metrics import REGISTRY
from mailx.ctl.main import main
from mailx.smtp.door import MX
from mailx.smtp.listener import SMTPListener
from tests.core.mail_out import office
from tests.federation.post import post
from tests.outbound.servers import MailServer, listen
from tests.outbound.test_courier import scene
from tests.scenery import world

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.rst", *sorted((ROOT / "docs").glob("*.rst"))]
LITERAL = re.compile(r"``([^`\s]+)``")
COMMAND = re.compile(r"(?:`|: |\$ |bin/)mailxctl((?: --\w+ FILE)?(?: [a-z]+(?:-[a-z]+)*)+)")


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def literals(name: str) -> list[str]:
    """What stands between double back-quotes on a page, in order."""
    return LITERAL.findall(text(name))


class Names(SynchronousTestCase):
    """Every name of a thing is the name of a thing that is there."""

    def test_files(self) -> None:
        for page in PAGES:
            for name in literals(str(page.relative_to(ROOT))):
                if re.fullmatch(r"(mailx|tests|docs|etc|bench|twisted|\.ci)/[\w./-]+", name) and "NAME" not in name:
                    self.assertTrue((ROOT / name).exists(), f"{page.name}: {name}")

    def test_modules(self) -> None:
        for page in PAGES:
            for name in re.findall(r"(?:``|`|-m )((?:mailx|tests)(?:\.\w+)+)", page.read_text(encoding="utf-8")):
                path = ROOT / name.replace(".", "/")
                found = any(one.with_suffix(".py").exists() or one.is_dir() for one in (path, path.parent, path.parent.parent))
                self.assertTrue(found, f"{page.name}: {name}")

    def test_events(self) -> None:
        told = text("docs/operations.rst").partition(".. events")[2]
        self.assertEqual(set(re.findall(r"``([a-z0-9_]+\.[a-z_]+)``", told)), set(events()))

    def test_metrics(self) -> None:
        self.assertEqual({name for name in literals("docs/operations.rst") if name.startswith("mailx_")}, set(metric_names(REGISTRY)))

    def test_every_standard_that_is_spoken_has_a_test(self) -> None:
        for row in re.split(r"\n   \* - ", text("docs/rfc.rst"))[1:]:
            number, *cells = [cell.strip() for cell in re.split(r"\n     -", row.partition("\n\n")[0])]
            if number != "RFC":
                self.assertIn(cells[1], ("yes", "partial", "no"), number)
                self.assertEqual("``tests/" in cells[3], cells[1] != "no", number)

    def test_functions(self) -> None:
        told = text("docs/contributing.rst").partition("Follow one message\n")[2].partition("\nHow to add")[0]
        names = {name for name in LITERAL.findall(told) if re.fullmatch(r"([A-Z]\w*\.)?_?[a-z]\w*", name)}
        self.assertEqual(names - set(functions()), set())

    def test_commands(self) -> None:
        """Every ``mailxctl`` command that a page, a remedy or a hint names is one."""
        for path in (*PAGES, *(ROOT / "mailx").rglob("*.py")):
            for words in COMMAND.findall(path.read_text(encoding="utf-8")):
                names = words.replace("--config FILE", "").split()
                command: Command | None = main
                while isinstance(command, Group) and names:
                    command = command.commands.get(names.pop(0))
                self.assertIsNotNone(command, f"{path.relative_to(ROOT)}: mailxctl{words}")

    def test_configurations(self) -> None:
        for page in PAGES:
            for block in re.findall(r"\.\. code-block:: toml\n\n((?:    .*\n|\n)+)", page.read_text(encoding="utf-8")):
                directory = Path(mkdtemp(prefix="mailx-"))  # not mktemp: the path of a socket must be short
                self.addCleanup(rmtree, directory)
                for name in re.findall(r"/etc/mailx/(\S+\.(?:pem|password))", block):
                    (directory / name).write_text("secret\n", encoding="ascii")
                file = directory / "mailx.toml"
                file.write_text(dedent(block).replace("/etc/mailx", str(directory)), encoding="utf-8")
                load(file, {})


def functions() -> Iterator[str]:
    """Every function of the code, by its name and as ``Class.method``."""
    for path in (ROOT / "mailx").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                yield from (f"{node.name}.{each.name}" for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef))
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node.name


def names_in(file: str, told: str) -> Iterator[str]:
    """The functions of ``file`` that stand in ``told``, with their classes."""
    own = {
        f"{node.name}.{each.name}"
        for node in ast.walk(ast.parse(text(file)))
        if isinstance(node, ast.ClassDef)
        for each in node.body
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    for name in LITERAL.findall(told):
        yield from (each for each in sorted(own) if each == name or name.startswith("_") and each.endswith(f".{name}"))


def events() -> Iterator[str]:
    """Every ``event`` that the code logs."""
    for path in (ROOT / "mailx").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "event":
                assert isinstance(node.value, ast.Constant), f"{path}: an event is no constant"
                yield node.value.value


def metric_names(registry: CollectorRegistry) -> Iterator[str]:
    for family in registry.collect():
        if family.name.startswith("mailx_"):
            yield f"{family.name}_total" if family.type == "counter" else family.name


class FollowOneMessage(TestCase):
    """The README's ways, from the socket to the mailbox and to the next server, are those that a message takes."""

    def steps(self, begin: str, end: str) -> list[tuple[str, str]]:
        """(file, function) in the order of the README, between two of its texts."""
        told = text("README.rst").partition(begin)[2].partition(end)[0]
        steps: list[tuple[str, str]] = []
        file = owner = ""
        for name in LITERAL.findall(told):
            if name.endswith(".py"):
                file, owner = name, ""
            elif re.fullmatch(r"[A-Z]\w+\.[a-z_]\w*", name):
                owner = name.partition(".")[0]
                steps.append((file, name))
            elif re.fullmatch(r"do_[A-Z]+|_?[a-z_]+", name):
                steps.append((file, f"{owner}.{name}" if owner else name))
        return steps

    def follow(self) -> list[tuple[str, str]]:
        """(file, function) of each call from now on until ``leave``. The store's threads begin after it."""
        called: list[tuple[str, str]] = []

        def note(frame: FrameType, event: str, argument: Any) -> None:
            code = frame.f_code
            if event == "call" and code.co_filename.startswith(str(ROOT / "mailx")):
                called.append((str(Path(code.co_filename).relative_to(ROOT)), code.co_qualname))

        threading.setprofile(note)
        self.addCleanup(self.leave)
        sys.setprofile(note)
        return called

    def leave(self) -> None:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]

    def compare(self, steps: list[tuple[str, str]], called: list[tuple[str, str]]) -> None:
        self.assertEqual(set(steps) - set(called), set())
        files = list(dict.fromkeys(file for file, _ in steps))
        self.assertEqual(len(files), 6)
        first = [called.index(next(step for step in steps if step[0] == file)) for file in files]
        self.assertEqual(first, sorted(first))

    async def test_in(self) -> None:
        called = self.follow()
        here = await world(self)
        await here.user("me@example.test", "correct horse")
        listener = SMTPListener(MX, 0, SMTP(), Server(), here.reception, here.access, None, reactor)  # type: ignore[arg-type]
        port = reactor.listenTCP(0, listener, interface="127.0.0.1")  # type: ignore[attr-defined]
        called.clear()
        await deferToThread(self.send, port.getHost().port)
        self.leave()
        await port.stopListening()
        await listener.drain()
        listener.abort()
        self.compare(self.steps("Follow one message\n", "\nThen the write fires"), called)
        self.assertEqual(called.count(("mailx/store/delivery.py", "deliver")), 1)

    async def test_out(self) -> None:
        server = listen(self, MailServer())
        zone = {("example.org", "MX"): ["1 mx.example.org."], ("mx.example.org", "A"): ["127.0.0.1"]}
        outside = await scene(self, server.port, zone)
        here = await office(self)
        here.courier = outside.courier
        here = here.again()
        await here.start()
        called = self.follow()
        await here.send("you@example.org")
        await here.settled(sent=1)
        self.leave()
        self.assertEqual(len(server.messages), 1)
        self.compare(self.steps("from there to\nthe next server", "\nWhatever else these files call"), called)
        self.assertEqual(called.count(("mailx/core/settling.py", "Settling.conclude")), 1)

    async def test_to_another_mailx_server(self) -> None:
        """The way that the page for contributors tells: at most six files, each with what it does, in their order."""
        told = text("docs/contributing.rst").partition("Follow one message to another MailX server\n")[2].partition("\nFollow one call")[0]
        ways = re.findall(r"(?m)^``(mailx/[\w/]+\.py)``\n((?:   .*\n)+)", told)
        steps = [[(file, name) for name in names_in(file, paragraph)] for file, paragraph in ways]
        self.assertLessEqual(len(steps), 6)
        both = await post(self)
        await both.here.start()
        called = self.follow()
        await both.here.send("you@other.test")
        await both.here.settled(sent=1)
        self.leave()
        self.assertEqual(len(await both.arrived()), 1)
        self.assertEqual({step for each in steps for step in each} - set(called), set())
        place = -1
        for each in steps:
            self.assertTrue(each)
            place = called.index(each[0], place + 1)

    def send(self, port: int) -> None:
        from smtplib import SMTP as Client

        with Client("127.0.0.1", port) as client:
            client.sendmail("ada@example.org", ["me@example.test"], "Subject: Hello\r\n\r\nIt works.\r\n")
