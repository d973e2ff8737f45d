"""Plays the scripts in tests/dialogs/pop3; their form is that of tests/imap/test_dialogs.py."""

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from tests.imap.test_dialogs import Script
from tests.imap.wire import Client
from tests.pop3.wire import Edge
from tests.scenery import world

SCRIPTS = Path(__file__).parent.parent / "dialogs" / "pop3"


class POP3Script(Script):
    """The same steps on connections of POP3."""

    pop3: Edge | None = None

    def client(self, number: str) -> Client:
        if self.pop3 is None:
            self.pop3 = Edge(self.world, **self.settings)
            self.test.addCleanup(self.pop3.close)
        if number not in self.clients:
            self.clients[number] = self.pop3.connect(self.tls)
        return self.clients[number]


class DialogTests(TestCase):
    """One test for each script."""

    timeout = 240

    async def play(self, path: Path) -> None:
        made = await world(self)
        await made.user("me@example.test")
        await made.user("you@example.test")
        await POP3Script(self, made, path).play()
        self.assertEqual(self.flushLoggedErrors(), [])


def _test(path: Path) -> Any:
    def test(self: DialogTests) -> Deferred[None]:
        return Deferred.fromCoroutine(self.play(path))

    test.__doc__ = path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
    return test


for _path in sorted(SCRIPTS.glob("*.txt")):
    setattr(DialogTests, "test_" + _path.stem.replace("-", "_"), _test(_path))
