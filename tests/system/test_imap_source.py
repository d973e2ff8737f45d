"""A mailbox at Debian's Dovecot, read as the source of an import."""

import shutil
import ssl
import tempfile
from collections.abc import Sequence
from imaplib import IMAP4_SSL
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mailx.ctl.imap_source import ImapSource, Login
from mailx.ctl.sources import Folder, Item, SourceError
from mailx.mail.mailbox import Flag
from tests.system.certificates import Authority
from tests.system.dovecot import PASSWORD, USERNAME, Dovecot

AT = 1203699983


class Source(SynchronousTestCase):
    def setUp(self) -> None:
        directory = Path(tempfile.mkdtemp(prefix="mailx-"))
        self.addCleanup(shutil.rmtree, directory)
        self.authority = Authority(directory)
        self.dovecot = Dovecot(self.authority.issue("localhost"))
        self.addCleanup(self.dovecot.stop)
        self.dovecot.start()
        self.owner = IMAP4_SSL("localhost", self.dovecot.ports["imaps"], ssl_context=ssl.create_default_context(cafile=self.trusted))
        self.addCleanup(self.owner.shutdown)
        self.owner.login(USERNAME, PASSWORD)
        for name in ("Gesendete Elemente", "Entw&APw-rfe", "Work.2024", '"a b"', "Empty"):
            self.owner.create(f'"{name}"' if not name.startswith('"') else name)

    @property
    def trusted(self) -> str:
        return str(self.authority.certificate)

    def source(self, **settings: str) -> ImapSource:
        login = {"security": "tls", "password": PASSWORD, "authorities": self.trusted, **settings}
        kind = "imaps" if login["security"] == "tls" else "imap"
        source = ImapSource(Login("localhost", self.dovecot.ports[kind], USERNAME, **login))  # type: ignore[arg-type]
        self.addCleanup(source.close)
        return source

    def put(self, mailbox: str, count: int, flags: str = "") -> None:
        for number in range(count):
            self.owner.append(mailbox, flags, '"22-Feb-2008 19:06:23 +0200"', b"Subject: %d\r\n\r\nFrom me (\r\n" % number)

    def test_folders(self) -> None:
        found = self.source().folders()
        self.assertEqual([folder.name for folder in found], ["INBOX", "Empty", "Entwürfe", "Gesendete Elemente", "Work/2024", "a b"])
        self.assertEqual([folder.special_use for folder in found], ["", "", "\\Drafts", "\\Sent", "", ""])

    def test_messages(self) -> None:
        self.put("INBOX", 250, "(\\Seen \\Flagged $Forwarded)")
        self.put('"a b"', 1)
        for security in ("tls", "starttls"):
            source = self.source(security=security)
            folders = {folder.name: folder for folder in source.folders()}
            self.assertEqual(source.count(folders["INBOX"]), 250)
            items = list(source.items(folders["INBOX"]))
            self.assertEqual([item.content for item in items], [b"Subject: %d\r\n\r\nFrom me (\r\n" % number for number in range(250)])
            self.assertEqual({(item.flags, item.keywords, item.received) for item in items}, {(5, ("$Forwarded",), AT)})
            self.assertEqual(len({item.identity for item in items}), 250)
            self.assertEqual([item.flags for item in source.items(folders["a b"])], [0])
            self.assertEqual(list(source.items(folders["Empty"])), [])

    def test_known_messages_are_not_downloaded(self) -> None:
        self.put("INBOX", 3)
        source = self.source()
        inbox = source.folders()[0]
        first = list(source.items(inbox))
        self.owner.select("INBOX")
        self.owner.store("2", "+FLAGS", "(\\Answered)")
        self.put("INBOX", 1)

        def known(folder: Folder, identities: Sequence[str]) -> set[str]:
            self.assertEqual(folder, inbox)
            return {item.identity for item in first}.intersection(identities)

        source.known = known
        again = list(source.items(inbox))
        self.assertEqual([item.content for item in again], [b"", b"", b"", b"Subject: 0\r\n\r\nFrom me (\r\n"])
        self.assertEqual([item.flags for item in again], [0, Flag.ANSWERED, 0, 0])
        self.assertEqual([item.identity for item in again[:3]], [item.identity for item in first])

    def test_the_server_goes_away_and_comes_back(self) -> None:
        self.put("INBOX", 150)
        source = self.source()
        items = source.items(source.folders()[0])
        found: list[Item] = [next(items)]
        assert source._connection is not None
        source._connection.shutdown()
        found += items
        self.assertEqual(len({item.identity for item in found}), 150)
        self.assertEqual(len(found), 150)

    def test_what_is_wrong_is_said(self) -> None:
        for said, settings in (
            ("does not let", {"password": "wrong"}),
            ("--authorities", {"authorities": ""}),
        ):
            with self.assertRaises(SourceError) as caught:
                self.source(**settings).folders()
            self.assertIn(said, str(caught.exception))
            self.assertNotIn("wrong", str(caught.exception))
