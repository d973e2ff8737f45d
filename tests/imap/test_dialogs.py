"""Plays the scripts in tests/dialogs/imap: what a client sends, and what the server answers, line for line.

A script has one step a line::

    # a comment
    @ plain                       the connection has no TLS yet (first line only)
    @ set append_size=70000       a setting of the edge (before the first C)
    @ file NAME [MAILBOX [FLAGS]] put the message NAME of tests/imap/messages.py into a mailbox of me@example.test
    @ deliver NAME                bring it as mail
    @ close 2                     the second connection breaks off
    C: a NOOP                     the client sends this line
    C~: a NO\\x00OP\\r\\n            the client sends this as it is, escapes of Python resolved
    S: a OK ...                   the server's next line; "..." stands for anything
    S: <closed>                   the server has closed the connection
    C2: b NOOP                    the second connection; the first unless numbered

The account is me@example.test with the password "secret"; there is a second one, you@example.test.
"""

import re
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from mailx.mail.mailbox import SYSTEM_FLAGS
from tests.imap.messages import BY_NAME
from tests.imap.wire import Client, Closed, Edge
from tests.scenery import World, world

SCRIPTS = Path(__file__).parent.parent / "dialogs" / "imap"
_STEP = re.compile(r"([CS])(\d?)(~?): ?(.*)\Z")


class Script:
    """One script being played."""

    def __init__(self, test: TestCase, made: World, path: Path) -> None:
        self.test = test
        self.world = made
        self.path = path
        self.tls = True
        self.settings: dict[str, Any] = {}
        self.edge: Edge | None = None
        self.clients: dict[str, Client] = {}

    def client(self, number: str) -> Client:
        if self.edge is None:
            self.edge = Edge(self.world, **self.settings)
            self.test.addCleanup(self.edge.close)
        if number not in self.clients:
            self.clients[number] = self.edge.connect(self.tls)
        return self.clients[number]

    async def play(self) -> None:
        for number, step in enumerate(self.path.read_text(encoding="utf-8").splitlines(), 1):
            if step and not step.startswith("#"):
                try:
                    await self.step(step)
                except Exception as error:
                    raise AssertionError(f"{self.path.name}:{number}: {step}\n{type(error).__name__}: {error}") from error
        for number, client in self.clients.items():
            if client.data:
                raise AssertionError(f"{self.path.name}: connection {number or 1} has said more: {bytes(client.data)!r}")

    async def step(self, step: str) -> None:
        if step.startswith("@ "):
            await self.direct(step.split()[1:])
            return
        match = _STEP.match(step)
        assert match is not None, "not a step"
        who, number, raw, text = match.groups()
        client = self.client(number)
        if who == "C":
            octets = text.encode().decode("unicode_escape").encode("latin-1") if raw else text.encode() + b"\r\n"
            client.send(octets)
        elif text == "<closed>":
            await client.gone()
            assert not client.data, bytes(client.data)
        else:
            await self.expect(client, text)

    async def expect(self, client: Client, text: str) -> None:
        try:
            line = (await client.line()).decode("utf-8", "backslashreplace")
        except Closed:
            line = "<closed>"
        pattern = ".*".join(re.escape(piece) for piece in text.split("..."))
        assert re.fullmatch(pattern, line, re.S), f"the server said: {line}"

    async def direct(self, words: list[str]) -> None:
        if words[0] == "plain":
            self.tls = False
        elif words[0] == "set":
            name, _, value = words[1].partition("=")
            self.settings[name] = value == "true" if value in ("true", "false") else int(value)
        elif words[0] == "deliver":
            await self.world.deliver("me@example.test", BY_NAME[words[1]])
        elif words[0] == "close":
            self.client(words[1] if words[1] != "1" else "").disconnect()
        else:
            user = (await self.world.accounts.resolve(_address("me@example.test"))).users[0]
            flags = sum(int(SYSTEM_FLAGS[name]) for name in words[3:])
            mailbox = words[2] if len(words) > 2 else "INBOX"
            await self.world.file(user, BY_NAME[words[1]], mailbox, flags=flags, received=1162465445)


def _address(text: str) -> Any:
    from mailx.mail.address import Address

    return Address.parse(text)


class DialogTests(TestCase):
    """One test for each script."""

    timeout = 240

    async def play(self, path: Path) -> None:
        made = await world(self)
        await made.user("me@example.test")
        await made.user("you@example.test")
        await Script(self, made, path).play()
        self.assertEqual(self.flushLoggedErrors(), [])


def _test(path: Path) -> Any:
    def test(self: DialogTests) -> Deferred[None]:
        return Deferred.fromCoroutine(self.play(path))

    test.__doc__ = path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
    return test


for _path in sorted(SCRIPTS.glob("*.txt")):
    setattr(DialogTests, "test_" + _path.stem.replace("-", "_"), _test(_path))
