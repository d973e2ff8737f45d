"""``mailxctl import`` and ``export`` as they are typed, and what stands between a source and the server."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mailx.core.importing import Imports
from mailx.ctl import import_run
from mailx.ctl.exports import Box, Mail, MaildirTarget, MboxTarget, as_file, as_mbox
from mailx.ctl.import_run import Ahead, Read, Run
from mailx.ctl.maildir_source import MaildirSource
from mailx.ctl.mbox_source import MboxSource
from mailx.ctl.session import Session
from mailx.ctl.sources import Folder, Item
from mailx.mail import mbox
from mailx.mail.mailbox import Flag
from mailx.ops.admin import AdminService
from mailx.ops.administration import Administration
from tests.core.lives_scene import lives
from tests.core.test_importing import importing
from tests.ctl.test_commands import Base

ME = "me@example.test"
SEEN, ANSWERED = int(Flag.SEEN), int(Flag.ANSWERED)


class Commands(Base):
    async def prepare(self, size: int = 10_000_000, **messages: bytes) -> Path:
        """A Maildir with these messages in INBOX."""
        await self.open(serve=False)
        await self.world.user(ME)
        imports: Imports = importing(self.world)
        imports.size = size
        self.addCleanup(lambda: Deferred.fromCoroutine(imports.stop()))
        person = lives(self, self.world).person
        service = AdminService(
            self.socket, Administration(self.world.accounts, self.world.config, imports=imports, person=person), self.world.reactor
        )
        service.startService()
        self.addCleanup(service.stopService)
        root = Path(self.mktemp())
        for part in ("cur", "new", "tmp"):
            (root / part).mkdir(parents=True)
        for name, content in messages.items():
            (root / "cur" / f"1700000000.{name}:2,S").write_bytes(content)
        return root

    async def test_what_is_told(self) -> None:
        root = await self.prepare(a=b"Subject: a\n\nx\n", b=b"Subject: b\n\nx\0y\n", c=b"Subject: a\n\nx\n")
        said = await self.run_command("import", "maildir", str(root), "--to", ME)
        self.assertIn("Messages read: 3, folders: 1. New for me@example.test: 3, had come before: 0.", said)
        self.assertIn("in content and date: equal: 3, different: 0.", said)
        self.assertIn("1 had NUL in them", said)
        again = await self.run_json("import", "maildir", str(root), "--to", ME)
        self.assertEqual((again["added"], again["known"], again["equal"], again["flags"]), (0, 3, 3, 0))
        (root / "cur" / "1700000000.a:2,S").rename(root / "cur" / "1700000000.a:2,RS")
        self.assertEqual((await self.run_json("import", "maildir", str(root), "--to", ME))["flags"], 1)
        self.assertIn(str(root.resolve()), await self.run_command("import", "list"))

    async def test_too_large(self) -> None:
        root = await self.prepare(1000, a=b"Subject: a\n\nx\n", b=b"Subject: b\n\n" + b"x\n" * 1000)
        error = await self.fail_after("import", "maildir", str(root), "--to", ME)
        self.assertEqual(error["code"], "too_large")
        self.assertEqual((await self.run_json("import", "list"))[0]["messages"], 1)

    async def test_large_ones_in_pieces(self) -> None:
        large = {f"m{number}": b"Subject: %d\n\n" % number + b"x" * 70 * 9000 + b"\n" for number in range(10)}
        root = await self.prepare(**large)
        told = await self.run_json("import", "maildir", str(root), "--to", ME)
        self.assertEqual((told["added"], told["equal"]), (10, 10))

    async def test_a_source_that_is_none(self) -> None:
        await self.prepare()
        self.assertEqual((await self.fail_with("import", "maildir", "/nowhere", "--to", ME))["code"], "source")
        self.assertEqual((await self.fail_with("import", "mbox", "/nowhere", "--to", ME))["code"], "source")
        self.assertEqual((await self.run_raw("import", "imap", "--from", "nobody", "--to", ME)).exit_code, 2)

    async def test_nobody(self) -> None:
        root = await self.prepare(a=b"Subject: a\n\nx\n")
        self.assertEqual((await self.fail_after("import", "maildir", str(root), "--to", "no@example.test"))["code"], "not_found")
        self.assertEqual((await self.fail_with("import", "forget", "7"))["code"], "not_found")

    async def test_without_a_server(self) -> None:
        await self.open()
        self.assertIn("running server", (await self.fail_after("import", "list"))["message"])

    async def fail_after(self, *arguments: str) -> dict[str, Any]:
        """The error of a command that fails after it has done something."""
        result = await self.run_raw("--json", *arguments)
        self.assertEqual(result.exit_code, 1, result.output)
        return dict(json.loads(result.stderr.splitlines()[-1])["error"])


class Written(SynchronousTestCase):
    """What an export writes is what an import reads."""

    def check(self, content: bytes, flags: int = 0, keywords: tuple[str, ...] = ()) -> None:
        mail = Mail(1, flags, keywords, 1_203_699_983, content)
        lines = (as_mbox(mail) * 2).splitlines(keepends=True)
        found = list(mbox.messages(lines))
        self.assertEqual(len(found), 2, content)
        for one in found:
            self.assertEqual((one.content, one.flags, one.keywords, one.received), (as_file(content), flags, keywords, 1_203_699_983))

    def test_an_mbox_file(self) -> None:
        self.check(b"Subject: x\r\n\r\nFrom me Fri Feb 22 17:06:23 2008\r\n>From you\r\n\r\nFrom me Fri Feb 22 17:06:23 2008\r\n")
        self.check(b"Subject: x\r\n\r\n", SEEN | ANSWERED, ("$Forwarded", "work"))
        self.check(b"Subject: x\r\n\r\n\r\n\r\n", int(Flag.DELETED | Flag.DRAFT | Flag.FLAGGED))

    def test_without_a_header(self) -> None:
        self.check(b"\r\nFrom me Fri Feb 22 17:06:23 2008\r\n\r\nFrom me Fri Feb 22 17:06:23 2008\r\n")

    def test_names_that_files_cannot_have(self) -> None:
        """Nothing of one mailbox takes the place of another's, also when it is written once more; none leads out of the target."""
        long = "\u044f" * 127
        names = [
            ".a",
            "_a",
            "b\\c",
            "b_c",
            long,
            f"{long[:-1]}\u0451",
            "x" * 255,
            "..",
            "./..",
            "_./x",
            ".a/below",
            "_a/below",
            f"{long}/z",
        ]
        boxes = [Box(name, number) for number, name in enumerate(names, 1)]
        for made, source in ((MaildirTarget, MaildirSource), (MboxTarget, MboxSource)):
            root = Path(self.mktemp()) / "within"
            root.mkdir(parents=True)
            for uid in (1, 2):
                target = made(root)
                self.assertEqual(sorted(target.after()), sorted((box.name, box.uidvalidity, 1) for box in boxes if uid > 1))
                for box in boxes:
                    target.begin(box)
                    target.add(Mail(uid, 0, (), 1000, b"Subject: %d\r\n\r\n%d\r\n" % (box.uidvalidity, uid)))
                target.end()
            self.assertEqual([path.name for path in root.parent.iterdir()], ["within"])
            read = source(str(root))
            found = sorted(sorted(item.content for item in read.items(folder)) for folder in read.folders())
            every = [[b"Subject: %d\n\n%d\n" % (box.uidvalidity, uid) for uid in (1, 2)] for box in boxes]
            self.assertEqual([each for each in found if each], sorted(every))

    def test_what_somebody_laid_there(self) -> None:
        """Links in the target are not written through."""
        root = Path(self.mktemp())
        (root / "tmp").mkdir(parents=True)
        victim = root.parent / "victim"
        victim.write_text("as it was")
        for name in ("mailx-mailbox", "mailx-mailbox.new", "dovecot-keywords", "tmp/1000.V1U1.mailx,S=4:2,a"):
            (root / name).symlink_to(victim)
        target = MaildirTarget(root)
        target.begin(Box("INBOX", 1))
        target.add(Mail(1, 0, ("work",), 1000, b"x\r\n\r\n"))
        target.end()
        (root / "INBOX.mbox").symlink_to(victim)
        with self.assertRaises(OSError):
            MboxTarget(root).begin(Box("INBOX", 1))
        self.assertEqual(victim.read_text(), "as it was")
        self.assertEqual((root / "dovecot-keywords").read_text(), "0 work\n")

    def test_line_ends(self) -> None:
        self.assertEqual(as_file(b"a\r\nb\r\n"), b"a\nb\n")
        self.assertEqual(as_file(b"a\r\nb\n"), b"a\r\nb\n")


class Source:
    """A source with these folders."""

    label = "here"

    def __init__(self, **folders: list[Item]) -> None:
        self._folders = folders

    def folders(self) -> list[Folder]:
        return [Folder(name) for name in self._folders]

    def count(self, folder: Folder) -> int:
        return len(self._folders[folder.name])

    def items(self, folder: Folder) -> Iterator[Item]:
        yield from self._folders[folder.name]


def _read(*octets: int) -> list[Read]:
    return [Read(b"k", "INBOX", 0, (), None, b"x" * size, b"d", "") for size in octets]


class Reading(SynchronousTestCase):
    def keys(self, **folders: list[Item]) -> list[bytes]:
        run = Run(Session(), Session(), Source(**folders), "maildir")
        return [one.key for one in run._read([(Folder(name), name) for name in folders])]

    def test_keys(self) -> None:
        """A key depends on folder and content alone, so that names and places in files may change; equal messages are counted."""
        one, two = Item(b"a\n", 0, (), 1), Item(b"b\n", 0, (), 1)
        keys = self.keys(INBOX=[one, two, one], Other=[one])
        self.assertEqual(len(set(keys)), 4)
        self.assertEqual(sorted(self.keys(INBOX=[two, one, one])), sorted(keys[:3]))
        self.assertEqual(self.keys(INBOX=[Item(b"a\r\n", SEEN, (), 2)]), keys[:1], "line ends, flags and dates do not count")
        named = self.keys(INBOX=[Item(b"a", 0, (), 1, "1.1"), Item(b"a", 0, (), 1, "1.2")])
        self.assertEqual(len({*named, *keys}), 6)

    def test_not_too_far_ahead(self) -> None:
        self.patch(import_run, "_AHEAD", 1000)
        self.patch(import_run, "_WINDOW", 500)
        ahead = Ahead(iter(_read(*[100] * 50, 5000)))
        found: list[Read] = []
        while window := ahead.window():
            self.assertLessEqual(sum(len(one.content or b"") for one in window), 5100)
            found += window
        self.assertEqual(len(found), 51)
        ahead.stop()

    def test_a_source_that_fails(self) -> None:
        def failing() -> Iterator[Read]:
            yield from _read(1)
            raise OSError("gone")

        ahead = Ahead(failing())
        self.assertEqual(len(ahead.window()), 1)
        with self.assertRaises(OSError):
            ahead.window()
        ahead.stop()

    def test_stopped(self) -> None:
        self.patch(import_run, "_AHEAD", 1000)
        ahead = Ahead(iter(_read(*[900] * 1000)))
        ahead.window()
        ahead.stop()
        self.assertFalse(ahead._thread.is_alive())
