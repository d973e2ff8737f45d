"""Mail of a sealed account reads as the same mail of any other: every answer of two sessions is compared."""

from base64 import encodebytes
from imaplib import IMAP4_SSL
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from bench.corpus import Corpus
from tests.system.server import Server

MESSAGES = 25

_FETCHES = (
    "(UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE BODY)",
    "(BODY.PEEK[])",
    "(BODY.PEEK[HEADER] BODY.PEEK[TEXT] BODY.PEEK[1] BODY.PEEK[1.MIME] BODY.PEEK[2] BODY.PEEK[2.1.HEADER])",
    "(BODY.PEEK[HEADER.FIELDS (SUBJECT FROM)] BODY.PEEK[HEADER.FIELDS.NOT (RECEIVED)])",
    "(BODY.PEEK[]<0.10> BODY.PEEK[]<65530.20> BODY.PEEK[TEXT]<131000.200> BODY.PEEK[2]<70000.70000> BODY.PEEK[]<9999999.1>)",
)
_SEARCHES = (
    "ALL",
    "SUBJECT quarterly",
    "BODY zymurgy",
    "TEXT needle",
    "BODY needle FROM example.net",
    "NOT TEXT ba",
    "OR LARGER 60000 SUBJECT quarterly",
    "HEADER Message-ID example",
    "HEADER X-None x",
    "SENTSINCE 5-Mar-2025 SENTBEFORE 20-Jun-2025",
    "UNSEEN KEYWORD marked",
)
_SORTS = ("SUBJECT", "REVERSE DATE", "FROM", "TO SIZE", "REVERSE ARRIVAL", "CC")


def messages() -> list[bytes]:
    """Ordinary ones, large ones, threads, and odd ones."""
    source = Corpus(7)
    made = list(source.messages(MESSAGES))
    filler = b"".join(b"filler words of line %d\r\n" % number for number in range(12_000))
    binary = encodebytes(bytes(range(256)) * 1200).replace(b"\n", b"\r\n")
    head = b"From: A <a@example.net>\r\nTo: b@example.test\r\nDate: Mon, 3 Mar 2025 10:00:00 +0000\r\n"
    made.append(head + b"Subject: large\r\n\r\n" + filler + b"needle\r\n")
    made.append(
        head + b'Subject: attached\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="x"\r\n\r\n--x\r\n\r\nneedle\r\n--x\r\n'
        b"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n" + binary + b"--x--\r\n"
    )
    for size in (65536 - len(head) - 2, 65536 * 2 - len(head) - 2):
        made.append(head + b"\r\n" + b"x" * size)
    for number in range(1, 5):
        answers = b"In-Reply-To: <t%d@example.net>\r\n" % (number // 2) if number > 1 else b""
        made.append(head + b"Subject: Re: thread\r\nMessage-ID: <t%d@example.net>\r\n" % number + answers + b"\r\ntext\r\n")
    made += [b"\r\n", b"no fields at all\r\n", b"Subject: only fields\r\n", head + b"Subject: \xc3\xbc\r\n\r\n\xc3\xa4\xff\r\n"]
    return made


class Alike(SynchronousTestCase):
    def setUp(self) -> None:
        self.server = Server(self, {"store.file_above": "50000"})
        self.server.start()
        self.other = f"other@{self.server.account.partition('@')[2]}"
        self.server.ctl("user", "add", self.other, "--password-stdin", given=f"{self.server.password}\n")

    def session(self, account: str) -> IMAP4_SSL:
        client = IMAP4_SSL(self.server.host, self.server.ports["imap.tls_port"], ssl_context=self.server.trust(), timeout=60)
        client.login(account, self.server.password)
        return client

    def append(self, content: list[bytes]) -> None:
        for account in (self.server.account, self.other):
            client = self.session(account)
            for number, each in enumerate(content):
                flags = "(\\Seen marked)" if number % 3 else None
                self.assertEqual(client.append("INBOX", flags, '"05-Mar-2025 10:00:00 +0000"', each)[0], "OK")  # type: ignore[arg-type]
            client.logout()

    def answers(self, account: str) -> list[tuple[str, Any]]:
        client = self.session(account)
        found: list[tuple[str, Any]] = []
        try:
            client.select("INBOX")
            for items in _FETCHES:
                found.append((items, client.fetch("1:*", items)))
            for criteria in _SEARCHES:
                found.append((criteria, client.search(None, criteria)))  # type: ignore[arg-type]
            client.literal = "Übersicht".encode()  # type: ignore[attr-defined]
            found.append(("encoded words", client.search("UTF-8", "SUBJECT")))
            for key in _SORTS:
                found.append((key, client.sort(f"({key})", "UTF-8", "ALL")))
            found.append(("copy", client.copy("2:5", "Archive")[0]))
            found.append(("store", client.store("1:3", "+FLAGS", "(\\Deleted)")))
            found.append(("expunge", client.expunge()))
            client.select("Archive")
            found.append(("archive", client.fetch("1:*", "(ENVELOPE BODY.PEEK[TEXT])")))
            found.append(("quota", client.getquotaroot("INBOX")[1][1]))
            return found
        finally:
            client.shutdown()

    def test_every_answer(self) -> None:
        content = messages()
        self.append(content[::2])  # sealed later
        self.server.ctl("user", "seal", self.server.account, "server", "--password-stdin", given=f"{self.server.password}\n")
        self.append(content[1::2])
        sealed, ordinary = self.answers(self.server.account), self.answers(self.other)
        for (what, mine), (_, theirs) in zip(sealed, ordinary, strict=True):
            self.assertEqual(mine, theirs, what)
        self.assertTrue(any(b"needle" in str(answer).encode() for _, answer in sealed))
