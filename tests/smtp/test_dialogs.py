"""Every dialogue of tests/dialogs/smtp, played over an in-memory transport."""

from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mailx.mail.reply import Reply
from mailx.smtp.door import LMTP, MX, SUBMISSION, SUBMISSIONS
from tests.smtp.fakes import Scene

DIALOGS = Path(__file__).parent.parent / "dialogs" / "smtp"
DOORS = {door.name: door for door in (MX, SUBMISSION, SUBMISSIONS, LMTP)}


def octets(text: str) -> bytes:
    return text.encode("latin-1").decode("unicode_escape").encode("latin-1")


class Player:
    """Plays one dialogue against one session."""

    def __init__(self, case: SynchronousTestCase, lines: list[str]) -> None:
        self.case = case
        self.lines = lines
        self.replies: list[str] = []
        settings: dict[str, Any] = {}
        door = MX
        for line in lines:
            word, _, rest = line.partition(" ")
            if word == "door":
                door = DOORS[rest]
            elif word == "set":
                name, value = rest.split()
                settings[name] = int(value)
        self.scene = Scene(door, **settings)
        self.scene.reception.each["full"] = Reply(552, "5.2.2", "Mailbox full")
        self.session, self.transport = self.scene.connect()
        self.expected: list[str] = []

    def send(self, data: bytes) -> None:
        self.session.dataReceived(data)

    def heard(self) -> None:
        self.replies += self.transport.take().decode().split("\r\n")[:-1]

    def expect(self, want: str, where: str) -> None:
        self.heard()
        self.case.assertTrue(self.replies, f"{where}: no reply")
        got = self.replies.pop(0)
        if want.endswith("..."):
            self.case.assertTrue(got.startswith(want[:-3]), f"{where}: {got!r} is not {want!r}")
        else:
            self.case.assertEqual(got, want, where)

    def wait(self, seconds: int, drip: bytes = b"") -> None:
        for _ in range(seconds):
            if drip:
                self.send(drip)
            self.scene.clock.advance(1)

    def play(self) -> None:
        for number, line in enumerate(self.lines, 1):
            where = f"line {number}"
            word, _, rest = line.partition(" ")
            if word in ("C:", "C-"):
                self.send(octets(rest) + (b"\r\n" if word == "C:" else b""))
            elif word == "S:":
                self.expect(rest, where)
            elif word == "M:":
                self.expected.append(rest)
            elif word == "TLS":
                self.transport.handshake()
            elif word == "QUIET":
                self.heard()
                self.case.assertEqual(self.replies, [], where)
            elif word == "CLOSED":
                self.case.assertTrue(self.transport.disconnecting, where)
            elif word == "WAIT":
                self.wait(int(rest))
            elif word == "DRIP":
                self.wait(int(rest), b"x")
            elif word == "FILL":
                self.send(b"x" * (int(rest) % 64) + (b"x" * 62 + b"\r\n") * (int(rest) // 64))
            elif word == "LONG":
                self.send(b"x" * int(rest))
            elif word == "LINE":
                self.send(b"x" * int(rest) + b"\r\n")
            elif word == "RCPTS":
                count, _, want = rest.partition(" ")
                self.send(b"RCPT TO:<me@example.test>\r\n" * int(count))
                self.scene.clock.pump([0] * (int(count) // 50 + 1))
                for _ in range(int(count)):
                    self.expect(want, where)
            elif word == "LOGGED":
                self.case.assertEqual([str(f.type.__name__) for f in self.case.flushLoggedErrors()], [rest])
            elif word not in ("", "#", "door", "set") and not word.startswith("#"):
                self.case.fail(f"{where}: what is {word}?")
        self.heard()
        self.case.assertEqual(self.replies, [], "replies nobody expected")
        self.check_messages()

    def check_messages(self) -> None:
        if self.expected:
            content = b"".join(self.scene.reception.messages)
            self.case.assertEqual(content.decode("latin-1").split("\r\n")[:-1], self.expected)


class Dialogs(SynchronousTestCase):
    """One test for each file."""


def _test(path: Path) -> Any:
    def test(self: Dialogs) -> None:
        Player(self, path.read_text(encoding="latin-1").splitlines()).play()

    return test


for _path in sorted(DIALOGS.glob("*.txt")):
    if _path.name != "README.txt":
        setattr(Dialogs, f"test_{_path.stem}", _test(_path))
