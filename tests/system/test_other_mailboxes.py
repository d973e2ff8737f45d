"""Mailboxes on other servers, tried out from the panel: Dovecot's, by IMAP and POP3, with STARTTLS and with TLS from the first octet."""

import re

from tests.system.administrator import Client
from tests.system.dovecot import PASSWORD, PROTOCOLS, USERNAME, Dovecot
from tests.system.neighbours import Neighbours

HOST = "mailboxes.example"


class OtherMailboxes(Neighbours):
    def setUp(self) -> None:
        super().setUp()
        self.dovecot = Dovecot(self.authority.issue(HOST))
        self.addCleanup(self.dovecot.stop)
        self.dovecot.start()
        names = self.names({HOST: "@ A 127.0.0.1", "elsewhere.example": "@ A 127.0.0.1"})
        self.here = self.server(names, trusting=True)
        self.client = Client(self, self.here)
        self.client.set_up(self.here)

    def fields(self, kind: str, **more: str) -> dict[str, str]:
        """The form of a new mailbox."""
        place = {"name": f"By {kind}", "host": HOST, "port": str(self.dovecot.ports[kind]), "timeout": "60", "verify": "yes"}
        return {**place, "username": USERNAME, "password": PASSWORD, **more}

    def attempt(self, kind: str, **more: str) -> str:
        """Keep a mailbox, test it, and return what the page says."""
        self.client.get(f"/mailboxes/add/{kind}")
        kept = self.client.post(f"/mailboxes/add/{kind}", {name: value for name, value in self.fields(kind, **more).items() if value})
        self.assertEqual(kept.status, 303, kept.text)
        self.client.get(kept.location)
        page = self.client.post(f"{kept.location}/test")
        self.assertEqual(page.status, 200, page.text)
        self.assertNotIn(PASSWORD, page.text)
        return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.text))

    def test_every_kind(self) -> None:
        for kind in PROTOCOLS:
            said = self.attempt(kind)
            self.assertIn("It works.", said, kind)
            self.assertIn("TLSv1.3", said, kind)
        self.assertEqual(self.dovecot.log().count("Login: user="), len(PROTOCOLS))
        overview = self.client.get("/mailboxes")
        for kind in PROTOCOLS:
            self.assertIn(f"By {kind}", overview.text)
        self.assertNotIn(PASSWORD, overview.text)
        self.assertNotIn(PASSWORD, self.here.log())
        for path in (self.here.directory / "var").rglob("*"):
            if path.is_file():
                self.assertNotIn(PASSWORD.encode(), path.read_bytes(), path.name)

    def test_what_goes_wrong_is_explained(self) -> None:
        for kind in PROTOCOLS:
            self.assertIn("It does not work.", self.attempt(kind, password="wrong"), kind)
        self.assertIn("certificate", self.attempt("imaps", name="Not its name", host="elsewhere.example"))
        self.assertIn("It works.", self.attempt("imaps", name="Believed", host="elsewhere.example", verify=""))
        self.assertIn("It does not work.", self.attempt("imaps", name="Another port", timeout="2", port=str(self.dovecot.ports["pop3"])))
