"""First contact and blocking with real servers: over federation, by SMTP, decided with ordinary mail clients."""

import imaplib
import json
import re
from smtplib import SMTP_SSL, SMTPRecipientsRefused
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.system.daemon import wait
from tests.system.federation import federated, key_of
from tests.system.neighbours import Neighbours
from tests.system.server import PATIENCE, Server

imaplib.Commands.setdefault("MOVE", ("SELECTED",))
REFUSED = "Sender not accepted by recipient"


def holds(server: Server, mailbox: str, count: int) -> bool:
    """Whether the mailbox of the first account holds that many messages."""
    client = server.imap()
    _, data = client.status(mailbox, "(MESSAGES)")
    client.logout()
    found = re.search(rb"MESSAGES (\d+)", data[0] or b"")
    return found is not None and int(found[1]) == count


def move(server: Server, target: str) -> None:
    """Everything in Requests, by UID MOVE."""
    client = server.imap()
    client.select("Requests")
    assert client.uid("MOVE", "1:*", target)[0] == "OK"
    client.logout()


def copy_away(server: Server, target: str) -> None:
    """Everything in Requests, as clients without MOVE do it."""
    client = server.imap()
    client.select("Requests")
    assert client.uid("COPY", "1:*", target)[0] == "OK"
    assert client.uid("STORE", "1:*", "+FLAGS.SILENT", "(\\Deleted)")[0] == "OK"
    assert client.expunge()[0] == "OK"
    client.logout()


def contacts(server: Server) -> dict[str, Any]:
    """The contacts of the first account, by address."""
    found = json.loads(server.ctl("--json", "contact", "list", server.account))["contacts"]
    return {one["address"]: one for one in found}


class Federated(SynchronousTestCase):
    """Two MailX servers."""

    def until(self, server: Server, mailbox: str, count: int) -> None:
        wait(lambda: holds(server, mailbox, count), lambda: server.log()[-3000:])

    def submit_as(self, server: Server, account: str, password: str, to: str, subject: str) -> None:
        client = SMTP_SSL(server.host, server.ports["smtp.submissions_port"], timeout=PATIENCE, context=server.trust())
        with client:
            client.login(account, password)
            client.sendmail(account, to, f"From: {account}\r\nTo: {to}\r\nSubject: {subject}\r\n\r\nHello\r\n")

    def test_from_a_request_to_a_conversation(self) -> None:
        one, two = federated(self, ["a.test", "b.test"], {"contacts.requests": '"federation"'})
        one.submit(two.account, "hello")
        self.until(two, "Requests", 1)
        wait(lambda: one.account in contacts(two), two.log)
        self.assertEqual(contacts(two)[one.account]["trust"], "requested")
        two.submit(one.account, "an answer")  # who is written to is known
        self.until(one, "INBOX", 1)
        one.submit(two.account, "again")
        self.until(two, "INBOX", 1)
        move(two, "INBOX")
        self.until(two, "INBOX", 2)
        self.assertTrue(contacts(two)[one.account]["chosen"])

    def test_a_report_of_another_server_on_own_mail_comes_in(self) -> None:
        one, two = federated(self, ["a.test", "b.test"], {"contacts.requests": '"all"'})
        one.submit(two.account, "tell me", options=["NOTIFY=SUCCESS"])
        self.until(two, "Requests", 1)
        self.until(one, "INBOX", 1)
        (report,) = one.messages()
        self.assertIn("multipart/report", report["Content-Type"])

    def test_a_new_key_is_announced(self) -> None:
        """There is no discovery: nothing but the announcement can tell the other of it."""
        one, two = federated(self, ["a.test", "b.test"])
        one.submit(two.account, "before")
        self.until(two, "INBOX", 1)
        old = key_of(one)
        one.ctl("key", "rotate", "a.test")
        new = key_of(one)
        self.assertNotEqual(old, new)
        wait(lambda: f"key: {new}" in two.ctl("peer", "show", "a.test"), two.log)
        one.submit(two.account, "after")
        self.until(two, "INBOX", 2)

    def test_a_rejection(self) -> None:
        one, two = federated(self, ["a.test", "b.test"], {"contacts.requests": '"federation"'})
        made = json.loads(one.ctl("--json", "user", "add", "eve@a.test", "--generate"))
        two.ctl("contact", "settings", two.account, "--notices", "on")
        self.submit_as(one, "eve@a.test", made["password"], two.account, "buy")
        self.until(two, "Requests", 1)
        copy_away(two, "Trash")
        self.assertEqual(contacts(two)["eve@a.test"]["trust"], "blocked")
        self.submit_as(one, "eve@a.test", made["password"], two.account, "buy more")
        bounces = []

        def bounced() -> bool:
            client = imaplib.IMAP4_SSL(one.host, one.ports["imap.tls_port"], ssl_context=one.trust(), timeout=PATIENCE)
            client.login("eve@a.test", made["password"])
            client.select("INBOX", readonly=True)
            _, data = client.fetch("1:*", "(BODY.PEEK[])")
            client.logout()
            bounces[:] = [part[1] for part in data if isinstance(part, tuple)]
            return bool(bounces)

        wait(bounced, one.log)
        self.assertIn(REFUSED.encode(), b"".join(bounces))
        self.assertEqual((holds(two, "INBOX", 0), holds(two, "Requests", 0), holds(two, "Trash", 1)), (True, True, True))

        def told() -> bool:
            found = json.loads(one.ctl("--json", "contact", "list", "eve@a.test"))["contacts"]
            return [each["refuses"] for each in found if each["address"] == two.account] == [True]

        wait(told, lambda: one.log()[-2000:] + two.log()[-2000:])
        self.assertIn("takes no mail from here", one.ctl("contact", "list", "eve@a.test"))


class BySMTP(Neighbours):
    """A server that is asked about all strangers, and verifies who they are."""

    def setUp(self) -> None:
        super().setUp()
        names = self.names(
            {
                "friend.example": '@ MX 10 mx\nmx A 127.0.0.1\n@ TXT "v=spf1 ip4:127.0.0.1 -all"\n_dmarc TXT "v=DMARC1; p=none"\n',
                "plain.example": "@ A 127.0.0.1\n",
            }
        )
        settings = {"contacts.requests": '"all"', "checks.trusted": "[]", "checks.spf": '"mark"', "checks.dmarc": '"mark"'}
        self.here = self.server(names, settings)

    def bring(self, sender: str, author: str = "", to: str = "") -> None:
        """A message from outside."""
        with self.here.mx() as client:
            client.sendmail(sender, [to or self.here.account], f"From: {author or sender}\r\nSubject: hello\r\n\r\nHello\r\n")

    def until(self, mailbox: str, count: int) -> None:
        wait(lambda: holds(self.here, mailbox, count), lambda: self.here.log()[-3000:])

    def test_only_what_is_proved_is_believed(self) -> None:
        self.bring("ada@friend.example")
        self.until("Requests", 1)
        move(self.here, "Archive")
        self.assertEqual(contacts(self.here)["ada@friend.example"]["trust"], "accepted")
        self.bring("ada@friend.example")
        self.until("INBOX", 1)
        self.bring("eve@plain.example", author="ada@friend.example")
        self.until("Requests", 1)
        self.assertTrue(holds(self.here, "INBOX", 1))
        move(self.here, "Trash")
        self.assertEqual(contacts(self.here)["ada@friend.example"]["trust"], "accepted", "a forgery harms no friend")

    def test_blocked_at_the_door(self) -> None:
        self.here.ctl("contact", "block", self.here.account, "ada@friend.example")
        self.here.ctl("blocklist", "add", "@plain.example")
        for sender in ("ada@friend.example", "anybody@plain.example", "anybody@sub.plain.example"):
            with self.assertRaises(SMTPRecipientsRefused) as raised:
                self.bring(sender)
            (code, text) = raised.exception.recipients[self.here.account]
            self.assertEqual((code, text), (550, f"5.7.1 {REFUSED}".encode()), sender)
        self.here.ctl("contact", "accept", self.here.account, "ada@friend.example")
        self.bring("ada@friend.example")
        self.until("INBOX", 1)
        for mailbox in ("Requests", "Spam"):
            self.assertTrue(holds(self.here, mailbox, 0))

    def test_whom_one_wrote_to_survives_a_power_cut(self) -> None:
        """The answer to the submission is the last that the server ever said."""
        for number in range(20):
            self.here.submit(f"someone{number}@friend.example", "hello")
        self.here.kill()
        self.here.start()
        known = contacts(self.here)
        self.assertEqual({known[f"someone{number}@friend.example"]["trust"] for number in range(20)}, {"accepted"})
