import os
import shutil
import socket
import tempfile
import threading
from pathlib import Path
from unittest import TestCase

from mailx.ctl.imap_source import ImapSource, Login
from mailx.ctl.maildir_source import MaildirSource
from mailx.ctl.mbox_source import MboxSource
from mailx.ctl.sources import SourceError, folder_name
from mailx.mail import names
from mailx.mail.mailbox import Flag

MARK = b"From anna@example.test Fri Feb 22 17:06:23 2008\n"


class Sources(TestCase):
    def setUp(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="mailx-"))
        self.addCleanup(shutil.rmtree, self.root)

    def maildir(self, *path: str) -> Path:
        place = self.root.joinpath(*path)
        for part in ("cur", "new", "tmp"):
            (place / part).mkdir(parents=True)
        return place

    def file(self, path: Path, content: bytes = b"Subject: x\n\ny\n", at: int = 1000) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (at, at))


class Maildirs(Sources):
    def test_folders_in_one_name(self) -> None:
        for path in ((), (".Sent",), (".Work.2024",), (".Entw&APw-rfe",), (".M&APw-ll.Größe",)):
            self.maildir(*path)
        found = MaildirSource(str(self.root)).folders()
        self.assertEqual([folder.name for folder in found], ["INBOX", "Entwürfe", "Müll/Größe", "Sent", "Work/2024"])
        self.assertEqual({folder.name: folder.special_use for folder in found}["Entwürfe"], "\\Drafts")

    def test_folders_in_each_other(self) -> None:
        for path in (("inbox",), ("Work", "2024"), ("100%25", "a%2Fb"), ("Work", ".Hidden")):
            self.maildir(*path)
        found = MaildirSource(str(self.root)).folders()
        self.assertEqual([folder.name for folder in found], ["INBOX", "100_/a_b", "Work/2024", "Work/Hidden"])

    def test_two_spellings(self) -> None:
        for path in ((".a%2Ab",), (".a_b",)):
            self.maildir(*path)
        self.assertEqual([folder.name for folder in MaildirSource(str(self.root)).folders()], ["a_b", "a_b_"])

    def test_messages(self) -> None:
        place = self.maildir()
        self.file(place / "cur" / "20.b:2,FS", b"second")
        self.file(place / "new" / "9.a", b"first", at=500)
        self.file(place / "cur" / "20.c,S=5:2,a", b"third")
        self.file(place / "cur" / ".nfs0001", b"none")
        (place / "cur" / "a directory").mkdir()
        (place / "dovecot-keywords").write_text("0 work\n")
        source = MaildirSource(str(self.root))
        [inbox] = source.folders()
        self.assertEqual(
            [(item.content, item.flags, item.keywords, item.received) for item in source.items(inbox)],
            [(b"first", 0, (), 500), (b"second", Flag.FLAGGED | Flag.SEEN, (), 1000), (b"third", 0, ("work",), 1000)],
        )

    def test_a_program_at_work(self) -> None:
        place = self.maildir()
        for number in (1, 2, 3):
            self.file(place / "new" / f"{number}.x", b"%d" % number)
        source = MaildirSource(str(self.root))
        items = source.items(source.folders()[0])
        self.assertEqual(next(items).content, b"1")
        (place / "new" / "2.x").rename(place / "cur" / "2.x:2,S")
        (place / "new" / "3.x").unlink()
        self.assertEqual([(item.content, item.flags) for item in items], [(b"2", Flag.SEEN)])

    def test_what_somebody_laid_there(self) -> None:
        """Whoever imports may read more than the owner of the Maildir: what a link leads to does not come, and no pipe is waited for."""
        secret = self.root / "secret" / "cur" / "1.key:2,"
        self.file(secret, b"secret")
        (secret.parents[1] / "new").mkdir()
        home = self.maildir("home")
        (home / "cur" / "1.link:2,S").symlink_to(secret)
        os.mkfifo(home / "cur" / "2.pipe:2,S")
        os.mkfifo(home / "dovecot-keywords")
        self.file(home / "cur" / "3.real:2,S", b"real")
        (home / ".Linked").symlink_to(secret.parents[1])
        (home / ".Half").mkdir()
        (home / ".Half" / "cur").symlink_to(secret.parent)
        (home / ".Half" / "new").mkdir()
        swapped = self.maildir("home", ".Swapped")
        self.file(swapped / "cur" / "1.mine", b"mine")
        source = MaildirSource(str(home))
        inbox, other = source.folders()
        self.assertEqual((inbox.name, other.name), ("INBOX", "Swapped"))
        self.assertEqual([item.content for item in source.items(inbox)], [b"real"])
        shutil.rmtree(swapped)
        swapped.symlink_to(secret.parents[1])
        with self.assertRaises(SourceError):
            list(source.items(other))

    def test_nothing_there(self) -> None:
        for path in (self.root, self.root / "absent"):
            with self.assertRaises(SourceError):
                MaildirSource(str(path)).folders()


class Mboxes(Sources):
    def test_a_file(self) -> None:
        self.file(self.root / "Old mail.mbox", MARK + b"Subject: a\n\nx\n\n" + MARK + b"Subject: b\n\ny\n")
        source = MboxSource(str(self.root / "Old mail.mbox"))
        [folder] = source.folders()
        self.assertEqual((folder.name, source.count(folder)), ("Old mail", 2))
        self.assertEqual([item.content for item in source.items(folder)], [b"Subject: a\n\nx\n", b"Subject: b\n\ny\n"])

    def test_trees(self) -> None:
        for path in ("Inbox", "Sent", "Work.sbd/2024", "Apple.mbox/mbox", "deep/mbox"):
            self.file(self.root / path, MARK + b"\nx\n")
        self.file(self.root / "Inbox.msf", b"// index")
        found = MboxSource(str(self.root)).folders()
        self.assertEqual([folder.name for folder in found], ["INBOX", "Apple", "Sent", "Work/2024", "deep"])

    def test_what_somebody_laid_there(self) -> None:
        self.file(self.root / "secret", MARK + b"\nsecret\n")
        for name in ("swapped", "real"):
            self.file(self.root / "home" / name, MARK + b"\nmine\n")
        (self.root / "home" / "link").symlink_to(self.root / "secret")
        os.mkfifo(self.root / "home" / "pipe")
        source = MboxSource(str(self.root / "home"))
        real, swapped = source.folders()
        self.assertEqual([item.content for item in source.items(real)], [b"\nmine\n"])
        (self.root / "home" / "swapped").unlink()
        (self.root / "home" / "swapped").symlink_to(self.root / "secret")
        self.assertEqual((source.count(swapped), list(source.items(swapped))), (0, []))

    def test_no_mbox(self) -> None:
        self.file(self.root / "letter", b"Subject: x\n\nFrom me\n")
        for path in (self.root, self.root / "letter", self.root / "absent"):
            with self.assertRaises(SourceError):
                MboxSource(str(path)).folders()


class Scripted:
    """A server that answers each command by what ``answers`` has for its first word, else with OK."""

    def __init__(self, **answers: bytes) -> None:
        self.said: list[bytes] = []
        self._answers = answers
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._socket.accept()
        with connection, connection.makefile("rwb") as file:
            file.write(b"* OK ready\r\n")
            file.flush()
            for line in file:
                tag, _, rest = line.rstrip(b"\r\n").partition(b" ")
                self.said.append(rest)
                word = rest.split(b" ")[0 if not rest.startswith(b"UID") else 1].decode()
                try:
                    file.write(self._answers.get(word, b"* CAPABILITY IMAP4rev1\r\n" if word == "CAPABILITY" else b""))
                    file.write(tag + b" OK done\r\n")
                    file.flush()
                except OSError:
                    return

    def close(self) -> None:
        self._socket.close()
        self._thread.join(10)


class HostileServers(TestCase):
    """Whoever imports is told, and goes on or not; nothing it says makes more of itself than a folder or a message."""

    EXAMINE = b"* 1 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n"
    SEARCH = b"* SEARCH 1\r\n"

    def source(self, **answers: bytes) -> tuple[ImapSource, Scripted]:
        server = Scripted(**answers)
        self.addCleanup(server.close)
        source = ImapSource(Login("127.0.0.1", server.port, "anna", "secret", security="none", timeout=20))
        self.addCleanup(source.close)
        return source, server

    def test_names(self) -> None:
        """In UTF-8 as some have them; one with a line end in it is no name."""
        raw = "Entw\u00fcrfe".encode()
        source, server = self.source(LIST=b'* LIST () "/" "%b"\r\n* LIST () "/" {12}\r\nx"\r\ny LOGOUT\r\n' % raw, EXAMINE=self.EXAMINE)
        [folder] = source.folders()
        self.assertEqual((folder.name, source.count(folder)), ("Entw\u00fcrfe", 1))
        self.assertIn(b'EXAMINE "%b"' % raw, server.said)

    def test_answers_that_make_no_sense(self) -> None:
        fetch = b'* 1 FETCH (UID 1 FLAGS () INTERNALDATE "%b" RFC822.SIZE 5)\r\n'
        for changed in (
            {"EXAMINE": b"* 1 EXISTS\r\n* OK [UIDVALIDITY x] x\r\n"},
            {"SEARCH": b"* SEARCH 1 x\r\n"},
            {"SEARCH": b"* SEARCH " + b"1" * 5000 + b"\r\n"},
            {"FETCH": fetch % b"01-Jan-0000 00:00:00 +0000"},
            {"FETCH": b"* 1 FETCH (UID 1 FLAGS () RFC822.SIZE 99999999999)\r\n"},
            {"FETCH": b"* 1 FETCH (UID 1 FLAGS () RFC822.SIZE 5 BODY[] {99999999999}\r\n"},
        ):
            with self.subTest(changed=changed):
                answers = {"LIST": b'* LIST () "/" INBOX\r\n', "EXAMINE": self.EXAMINE, "SEARCH": self.SEARCH, **changed}
                source, _ = self.source(**answers)
                [inbox] = source.folders()
                with self.assertRaises(SourceError):
                    list(source.items(inbox))
                source.close()

    def test_a_password_that_cannot_be_said(self) -> None:
        server = Scripted()
        self.addCleanup(server.close)
        source = ImapSource(Login("127.0.0.1", server.port, "anna", "g\u00e4nse", security="none", timeout=20))
        with self.assertRaises(SourceError) as caught:
            source.folders()
        self.assertNotIn("\u00e4", str(caught.exception))


class FolderNames(TestCase):
    def test_every_name_may_be_made(self) -> None:
        for levels in (["a/b", "c*%"], [" x "], [""], ["\ud800\x01"], ["ä" * 300], ["x"] * 40, ["inbox", "y"]):
            name = folder_name(levels)
            self.assertEqual(names.new(name), name, levels)
