"""``make soak``: mixed load for a long time; memory must stay flat and the log free of errors.

People send by SMTP and submission, read, flag, move, delete and idle by IMAP, with connections that come and go and some
that break off. Resident memory is sampled after a warm-up; the figure is its growth to the end.
"""

import argparse
import imaplib
import json
import random
import smtplib
import ssl
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from bench.corpus import Corpus
from bench.idle import resident
from bench.report import finish, progress
from bench.servers import DOMAIN, PASSWORD, ROOT, MailX

USERS = 10


class Actors:
    """The people of the soak: each method is one thing that one of them does, over and over."""

    def __init__(self, server: MailX) -> None:
        self._server = server
        self._stop = threading.Event()
        self._corpus = list(Corpus(5).messages(60)) + [Corpus(6).message(n, 300_000) for n in (17, 18)] + [Corpus(7).message(18, 2_000_000)]
        self.done: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()

    def run(self, seconds: float) -> None:
        jobs = [self.send] * 3 + [self.submit] + [self.read] * 3 + [self.tidy] * 2 + [self.break_off] + [self.idle]
        threads = [threading.Thread(target=self._repeat, args=(job,)) for job in jobs]
        for thread in threads:
            thread.start()
        self._stop.wait(seconds)
        self._stop.set()
        for thread in threads:
            thread.join()

    def _repeat(self, job: Any) -> None:
        while not self._stop.is_set():
            try:
                job()
                self.done[job.__name__] += 1
            except (OSError, imaplib.IMAP4.error, smtplib.SMTPException) as error:
                self.failed[f"{job.__name__}: {type(error).__name__} {str(error)[:80]}"] += 1
            self._stop.wait(random.uniform(0, 0.1))

    def _address(self) -> str:
        return f"u{random.randint(1, USERS)}@{DOMAIN}"

    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self._server.directory / "var" / "tls" / "self-signed.crt"))
        context.check_hostname = False
        return context

    def send(self) -> None:
        with smtplib.SMTP("127.0.0.1", self._server.smtp_port, timeout=60) as client:
            for _ in range(random.randint(1, 5)):
                client.sendmail("someone@example.net", [self._address(), self._address()], random.choice(self._corpus))

    def submit(self) -> None:
        sender = self._address()
        with smtplib.SMTP("127.0.0.1", self._server.ports["submission"], timeout=60) as client:
            client.starttls(context=self._tls())
            client.login(sender, PASSWORD)
            client.sendmail(sender, [self._address()], random.choice(self._corpus))

    def _imap(self) -> imaplib.IMAP4:
        session = imaplib.IMAP4_SSL("127.0.0.1", self._server.ports["imaps"], ssl_context=self._tls(), timeout=60)
        session.login(self._address(), PASSWORD)
        session.select("INBOX")
        return session

    def read(self) -> None:
        session = self._imap()
        session.uid("FETCH", "1:*", "(FLAGS ENVELOPE RFC822.SIZE BODYSTRUCTURE)")
        unseen = session.uid("SEARCH", "UNSEEN")[1][0].split()
        for uid in random.sample(unseen, min(5, len(unseen))):
            session.uid("FETCH", uid.decode(), "(BODY[])")
        session.search(None, "TEXT", "zymurgy")
        session.list()
        session.logout()

    def tidy(self) -> None:
        """Keep mailboxes from growing: the oldest go to Trash, some at once for good."""
        session = self._imap()
        uids = session.uid("SEARCH", "ALL")[1][0].split()
        if len(uids) > 100:
            oldest = b",".join(uids[:-100]).decode()
            if random.random() < 0.5:
                session.uid("MOVE", oldest, "Trash")
            else:
                session.uid("STORE", oldest, "+FLAGS.SILENT", "(\\Deleted)")
            session.expunge()
        session.select("Trash")
        session.uid("STORE", "1:*", "+FLAGS.SILENT", "(\\Deleted)")
        session.expunge()
        session.logout()

    def break_off(self) -> None:
        client = smtplib.SMTP("127.0.0.1", self._server.smtp_port, timeout=60)
        client.ehlo("client.example.net")
        client.mail("someone@example.net")
        client.rcpt(self._address())
        client.putcmd("DATA")
        client.getreply()
        client.send(random.choice(self._corpus)[: random.randint(1, 3000)])
        client.close()

    def idle(self) -> None:
        session = self._imap()
        session.send(b"i IDLE\r\n")
        session.readline()
        time.sleep(random.uniform(0.1, 1.0))
        session.send(b"DONE\r\n")
        session.shutdown()


def errors_in(log: Path) -> list[str]:
    """The lines of level error or above, and tracebacks, in the server's log and standard error."""
    found = []
    for line in log.read_text(errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            if "Traceback" in line or "Unhandled" in line:
                found.append(line[:200])
            continue
        if entry.get("level") in ("error", "critical"):
            found.append(line[:200])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3600)
    options = parser.parse_args()
    directory = ROOT / "bench" / "var" / "soak"
    server = MailX(directory, users=USERS)
    server.start()
    samples: list[float] = []
    try:
        server.populate()
        assert server.process is not None
        actors, pid = Actors(server), server.process.pid
        began, length = time.monotonic(), options.seconds
        load = threading.Thread(target=actors.run, args=(length,))
        load.start()
        while load.is_alive():
            load.join(max(1.0, length / 60))
            samples.append(resident(pid))
            minutes, done, failed = (time.monotonic() - began) / 60, sum(actors.done.values()), sum(actors.failed.values())
            progress(f"{minutes:.1f} min, {samples[-1]:.1f} MB, {done} done, {failed} failed")
    finally:
        server.stop()
    third = max(1, len(samples) // 3)
    middle, end = samples[third : 2 * third] or samples, samples[-third:]
    growth = sum(end) / len(end) - sum(middle) / len(middle)
    errors = errors_in(directory / "var" / "mailx.log") + errors_in(directory / "twistd.log")
    figures = {
        "minutes": round(options.seconds / 60, 1),
        "done": dict(actors.done),
        "failed": dict(actors.failed),
        "resident_mb": {"first": round(samples[0], 1), "middle": round(sum(middle) / len(middle), 1), "end": round(sum(end) / len(end), 1)},
        "growth_mb": round(growth, 1),
        "errors": errors[:10],
        "error_count": len(errors),
    }
    finish("soak", figures, {})
    raise SystemExit(1 if errors or actors.failed else 0)


if __name__ == "__main__":
    main()
