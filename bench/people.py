"""The people of the soak: what each of them does over and over, and what they take for a failure."""

import imaplib
import json
import random
import smtplib
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable

from bench.corpus import Corpus, submitted
from bench.servers import PASSWORD, MailX
from mailx.webhook_client import CallRefused, WebhookClient

USERS = 10
SECRET = "what programs that call sign with"
ELSEWHERE = "elsewhere.example"  # treats recipients as their names say
DEAD = "dead.example"  # has a server that nobody reaches
STRICT = "strict.example"  # wants forged mail refused
NOWHERE = "nowhere.example"  # does not exist
KINDS = ("ok", "ok", "ok", "ok", "slow", "defer", "reject")


class Actors:
    """Each public method is one thing that one of them does. ``failed`` counts what should not have happened."""

    def __init__(self, here: MailX, there: MailX, strict: str) -> None:
        """``strict`` is the address from which STRICT sends."""
        self._here, self._there, self._strict = here, there, strict
        self._stop = threading.Event()
        self._corpus = list(Corpus(5).messages(60)) + [Corpus(6).message(n, 300_000) for n in (17, 18)] + [Corpus(7).message(18, 2_000_000)]
        self._tls = {server: self._trust(server) for server in (here, there)}
        self.done: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()

    def run(self, seconds: float) -> None:
        jobs: list[Callable[[], None]] = [self.send] * 2 + [self.submit] + [self.read] * 2 + [self.tidy] * 2 + [self.break_off, self.idle]
        jobs += [self.submit_out] * 2 + [self.forward, self.arrive, self.forge, self.from_there, self.tidy_there]
        jobs += [self.look, self.meddle, self.command, self.call, self.call_again]
        threads = [threading.Thread(target=self._repeat, args=(job,)) for job in jobs]
        for thread in threads:
            thread.start()
        self._stop.wait(seconds)
        self._stop.set()
        for thread in threads:
            thread.join()

    def _repeat(self, job: Callable[[], None]) -> None:
        while not self._stop.is_set():
            try:
                job()
                self.done[job.__name__] += 1
            except (OSError, RuntimeError, CallRefused, imaplib.IMAP4.error, smtplib.SMTPException) as error:
                self.failed[f"{job.__name__}: {type(error).__name__} {str(error)[:80]}"] += 1
            self._stop.wait(random.uniform(0, 0.1))

    @staticmethod
    def _user(server: MailX) -> str:
        return f"u{random.randint(1, USERS)}@{server.domain}"

    @staticmethod
    def _trust(server: MailX) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(server.directory / "var" / "tls" / "self-signed.crt"))
        context.check_hostname = False
        return context

    # Mail in.

    def _mx(self, source: str = "") -> smtplib.SMTP:
        from_ = (source, 0) if source else None
        return smtplib.SMTP(self._here.interface, self._here.smtp_port, "client.example.net", 60, from_)

    def send(self) -> None:
        with self._mx(random.choice(("", self._strict))) as client:
            for _ in range(random.randint(1, 5)):
                client.sendmail("someone@example.net", [self._user(self._here), self._user(self._here)], random.choice(self._corpus))

    def forward(self) -> None:
        with self._mx(random.choice(("", self._strict))) as client:
            name = random.choice(("away", "both", "both", "gone"))
            client.sendmail("someone@example.net", [f"{name}@{self._here.domain}"], random.choice(self._corpus))

    def arrive(self) -> None:
        with self._mx(self._strict) as client:
            client.sendmail(f"ada@{STRICT}", [self._user(self._here)], submitted(random.choice(self._corpus), f"ada@{STRICT}"))

    def forge(self) -> None:
        with self._mx("127.0.0.6") as client:
            try:
                client.sendmail(f"ada@{STRICT}", [self._user(self._here)], submitted(random.choice(self._corpus), f"ada@{STRICT}"))
            except smtplib.SMTPDataError as error:
                if error.smtp_code != 550:
                    raise
            else:
                self.failed["forge: taken"] += 1

    def break_off(self) -> None:
        client = self._mx()
        client.ehlo("client.example.net")
        client.mail("someone@example.net")
        client.rcpt(random.choice((self._user(self._here), f"away@{self._here.domain}")))
        client.putcmd("DATA")
        client.getreply()
        client.send(random.choice(self._corpus)[: random.randint(1, 3000)])
        client.close()

    # Mail out.

    def _submit(self, server: MailX, recipients: list[str]) -> None:
        sender = self._user(server)
        options = random.choice(([], [], [], ["NOTIFY=SUCCESS,FAILURE"], ["NOTIFY=NEVER"]))
        with smtplib.SMTP(server.interface, server.ports["submission"], timeout=60) as client:
            client.starttls(context=self._tls[server])
            client.login(sender, PASSWORD)
            client.sendmail(sender, recipients, submitted(random.choice(self._corpus), sender), (), options)

    def submit(self) -> None:
        self._submit(self._here, [self._user(self._here)])

    def submit_out(self) -> None:
        choices = [f"{random.choice(KINDS)}-{random.randint(1, 10**9)}@{ELSEWHERE}" for _ in range(3)]
        choices += [self._user(self._there), self._user(self._there), self._user(self._here), f"nobody@{self._there.domain}"]
        choices += [f"ada@{DEAD}", f"ada@{NOWHERE}"]
        self._submit(self._here, random.sample(choices, random.choice((1, 1, 1, 2, 3))))

    def from_there(self) -> None:
        aliases = [f"{name}@{self._here.domain}" for name in ("away", "both")]
        self._submit(self._there, [random.choice((self._user(self._here), self._user(self._here), *aliases))])

    # Programs that call.

    def _calling(self) -> WebhookClient:
        return WebhookClient(f"http://{self._here.interface}:{self._here.ports['webhook']}", SECRET)

    def call(self) -> None:
        """For people here and elsewhere; then ask how far it has come."""
        to = random.choice((self._user(self._here), f"{random.choice(KINDS)}-{random.randint(1, 10**9)}@{ELSEWHERE}"))
        client = self._calling()
        taken = client.verify_email(to, token=str(random.randint(1, 10**6)), expires_at="2030-01-01T00:00:00Z")
        self._stop.wait(random.uniform(0, 1))
        if client.status(taken["queued_id"])["to"] != to:
            raise RuntimeError("another call's status")

    def call_again(self) -> None:
        """Twice with one idempotency key: one call."""
        fields = {"type": "message", "to": self._user(self._here), "subject": "Twice", "text": "Once is enough. " * random.randint(1, 500)}
        key = str(random.random())
        first, second = (self._calling().send(fields, key) for _ in range(2))
        if first != second:
            raise RuntimeError("one idempotency key, two calls")

    # Mailboxes.

    def _imap(self, server: MailX) -> imaplib.IMAP4:
        session = imaplib.IMAP4_SSL(server.interface, server.ports["imaps"], ssl_context=self._tls[server], timeout=60)
        session.login(self._user(server), PASSWORD)
        session.select("INBOX")
        return session

    def read(self) -> None:
        session = self._imap(self._here)
        session.uid("FETCH", "1:*", "(FLAGS ENVELOPE RFC822.SIZE BODYSTRUCTURE)")
        unseen = session.uid("SEARCH", "UNSEEN")[1][0].split()
        for uid in random.sample(unseen, min(5, len(unseen))):
            session.uid("FETCH", uid.decode(), "(BODY[])")
        session.search(None, "TEXT", "zymurgy")
        session.list()
        session.logout()

    def tidy(self) -> None:
        self._tidy(self._here)

    def tidy_there(self) -> None:
        self._tidy(self._there)

    def _tidy(self, server: MailX) -> None:
        """Keep mailboxes from growing: the oldest go to Trash, some at once for good."""
        session = self._imap(server)
        uids = session.uid("SEARCH", "ALL")[1][0].split()
        if len(uids) > 100:
            oldest = b",".join(uids[:-100]).decode()
            if random.random() < 0.5:
                session.uid("MOVE", oldest, "Trash")
            else:
                session.uid("STORE", oldest, "+FLAGS.SILENT", "(\\Deleted)")
            session.expunge()
        for mailbox in ("Trash", "Spam"):
            session.select(mailbox)
            session.uid("STORE", "1:*", "+FLAGS.SILENT", "(\\Deleted)")
            session.expunge()
        session.logout()

    def idle(self) -> None:
        session = self._imap(self._here)
        session.send(b"i IDLE\r\n")
        session.readline()
        time.sleep(random.uniform(0.1, 1.0))
        session.send(b"DONE\r\n")
        session.shutdown()

    # The administrator.

    def look(self) -> None:
        here = self._here
        found = here.api("GET", "/v1/queue", {"state": random.choice(("deferred", "sent", "failed")), "limit": "20"})["entries"]
        for entry in random.sample(found, min(2, len(found))):
            here.api("GET", f"/v1/queue/{entry['id']}")
            here.api("GET", "/v1/trace", {"what": str(entry["recipient"])})
        here.api("GET", "/v1/trace", {"what": self._user(here)})
        self._stop.wait(0.5)

    def meddle(self) -> None:
        """Hold some of what waits, and let it go again."""
        here = self._here
        for entry in here.api("GET", "/v1/queue", {"state": "deferred", "limit": "3"})["entries"]:
            here.api("POST", "/v1/queue/hold", body={"id": entry["id"]})
        self._stop.wait(1.0)
        here.api("POST", "/v1/queue/release", body={"state": "held"})
        if random.random() < 0.2:
            here.api("POST", "/v1/queue/retry", body={"state": random.choice(("deferred", "failed"))})

    def command(self) -> None:
        """The same, as people do it."""
        json.loads(self._here.ctl("queue", "list", "--json"))
        self._here.ctl("trace", self._user(self._here))
        self._here.ctl("status")
        self._stop.wait(5.0)
