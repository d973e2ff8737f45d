"""``make bench-crash``: kill -9 at random moments under load, then the promise is checked by reading everything back.

Every attempt to hand over a message, by SMTP or IMAP APPEND, carries an id of its own. After each kill the server starts
again and IMAP must show: every acknowledged attempt exactly once, no attempt twice, no UID ever used for another
message. At the end no blob file is without its message and none is missing.
"""

import argparse
import random
import re
import smtplib
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from bench.client import Client
from bench.database import IDatabase, SQLite
from bench.report import finish, progress
from bench.servers import DOMAIN, ROOT, MailX

USERS = 4
SIZES = (300, 4096, 4096, 4096, 200_000, 1_500_000)


class Load:
    """Senders that hand over messages until the server dies; knows what was acknowledged."""

    def __init__(self, server: MailX, name: str) -> None:
        self._server = server
        self._name = name
        self._lock = threading.Lock()
        self._count = 0
        self.attempted: set[str] = set()
        self.acknowledged: dict[str, set[int]] = {}  # attempt -> users who must have it

    def message(self) -> tuple[str, bytes]:
        with self._lock:
            self._count += 1
            attempt = f"{self._name}-{self._count}"
            self.attempted.add(attempt)
        octets = random.choice(SIZES)
        body = (b"x" * 76 + b"\r\n") * (octets // 78 + 1)
        return attempt, f"X-Attempt: {attempt}\r\nSubject: crash\r\n\r\n".encode() + body

    def _acknowledge(self, attempt: str, users: set[int]) -> None:
        with self._lock:
            self.acknowledged[attempt] = users

    def by_smtp(self) -> None:
        try:
            with smtplib.SMTP("127.0.0.1", self._server.smtp_port, timeout=60) as client:
                while True:
                    attempt, content = self.message()
                    users = set(random.sample(range(1, USERS + 1), random.choice((1, 1, 2))))
                    client.sendmail("sender@example.net", [f"u{user}@{DOMAIN}" for user in users], content)
                    self._acknowledge(attempt, users)
        except (OSError, smtplib.SMTPException):
            return

    def by_append(self, user: int) -> None:
        try:
            client = Client(self._server.imap_port, user)
            while True:
                attempt, content = self.message()
                client.append(b"INBOX", content)
                self._acknowledge(attempt, {user})
        except (OSError, RuntimeError):
            return


class Ledger:
    """What the mailboxes showed so far, to find a lost, doubled or renumbered message."""

    def __init__(self) -> None:
        self.uids: dict[tuple[int, int, int], str] = {}  # (user, uidvalidity, uid) -> attempt
        self.highest: Counter[tuple[int, int]] = Counter()
        self.expunged: set[tuple[int, str]] = set()

    def check(self, server: MailX, load: Load) -> list[str]:
        """Read every mailbox; the faults found, as sentences."""
        faults: list[str] = []
        for user in range(1, USERS + 1):
            client = Client(server.imap_port, user)
            selected = client.command(b"SELECT INBOX")
            validity = int(re.findall(rb"UIDVALIDITY (\d+)", selected)[0])
            following = int(re.findall(rb"UIDNEXT (\d+)", selected)[0])
            shown = self._attempts(client)
            faults += self._compare(user, validity, shown, load)
            before = self.highest[user, validity]
            if following <= before:
                faults.append(f"user {user}: UIDNEXT {following} after UID {before} was given out")
            self.highest[user, validity] = max(before, following - 1)
            self._expunge_some(client, user, shown)
            client.close()
        return faults

    @staticmethod
    def _attempts(client: Client) -> dict[int, str]:
        answer = client.command(b"UID FETCH 1:* (BODY.PEEK[HEADER.FIELDS (X-Attempt)])")
        pairs = re.findall(rb"UID (\d+) BODY\[HEADER\.FIELDS \(X-Attempt\)\] \{\d+\}\r\nX-Attempt: (\S+)", answer, re.IGNORECASE)
        return {int(uid): attempt.decode() for uid, attempt in pairs}

    def _compare(self, user: int, validity: int, shown: dict[int, str], load: Load) -> list[str]:
        faults = []
        for uid, attempt in shown.items():
            earlier = self.uids.setdefault((user, validity, uid), attempt)
            if earlier != attempt:
                faults.append(f"user {user}: UID {uid} was {earlier}, is {attempt}")
        for attempt, count in Counter(shown.values()).items():
            if count > 1:
                faults.append(f"user {user}: {attempt} is there {count} times")
        there = set(shown.values())
        for attempt, users in load.acknowledged.items():
            if user in users and attempt not in there:
                faults.append(f"user {user}: {attempt} was acknowledged and is lost")
        for gone_user, attempt in self.expunged:
            if gone_user == user and attempt in there:
                faults.append(f"user {user}: {attempt} was expunged and is back")
        return faults

    def _expunge_some(self, client: Client, user: int, shown: dict[int, str]) -> None:
        """Remove all that was checked, now and then only the newest, so that a reused UID would show."""
        if not shown:
            return
        doomed = list(shown) if random.random() < 0.7 else [max(shown)]
        client.run(b"UID STORE %s +FLAGS.SILENT (\\Deleted)" % b",".join(b"%d" % uid for uid in doomed))
        client.run(b"EXPUNGE")
        self.expunged |= {(user, shown[uid]) for uid in doomed}


def orphans(directory: Path, database: IDatabase) -> list[str]:
    """Blob files without a message, messages without their blob file, and messages without an entry."""
    named = {name for (name,) in database.rows("SELECT file FROM messages WHERE file IS NOT NULL")}
    unreferenced = database.rows("SELECT count(*) FROM messages WHERE refs = 0")[0][0]
    lying = {path.name for path in (directory / "var" / "blobs").glob("??/*") if path.is_file()}
    faults = [f"blob {name} has no message" for name in lying - named] + [f"blob {name} is missing" for name in named - lying]
    return faults + ([f"{unreferenced} messages without an entry were not swept"] if unreferenced else [])


def swept(directory: Path, database: IDatabase, seconds: float) -> list[str]:
    """What the sweep has left after ``seconds`` at most; it begins when the server starts and works in slices."""
    deadline = time.monotonic() + seconds
    while (faults := orphans(directory, database)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return faults


def round_of_load(server: MailX, number: int, seconds: float) -> Load:
    load = Load(server, f"r{number}")
    workers = [threading.Thread(target=load.by_smtp) for _ in range(4)]
    workers += [threading.Thread(target=load.by_append, args=(user,)) for user in (1, 2)]
    for worker in workers:
        worker.start()
    time.sleep(random.uniform(0.05, seconds))
    server.kill()
    for worker in workers:
        worker.join()
    return load


def run(directory: Path, rounds: int, seconds: float, seed: int) -> dict[str, Any]:
    """All rounds; the figures, with ``faults`` as a list that should be empty."""
    random.seed(seed)
    server = MailX(directory, users=USERS)
    server.start()
    ledger, faults, acknowledged, attempted = Ledger(), [], 0, 0
    try:
        server.populate()
        for number in range(1, rounds + 1):
            load = round_of_load(server, number, seconds)
            server.start()
            faults += ledger.check(server, load)
            acknowledged += len(load.acknowledged)
            attempted += len(load.attempted)
            ledger.expunged = {pair for pair in ledger.expunged if pair[1].startswith((f"r{number}-", f"r{number - 1}-"))}
            if number % 10 == 0 or faults:
                progress(f"round {number}: {acknowledged} of {attempted} attempts acknowledged, {len(faults)} faults")
        faults += swept(directory, SQLite(directory), 30)
    finally:
        server.stop()
    return {"rounds": rounds, "attempted": attempted, "acknowledged": acknowledged, "faults": faults[:20], "fault_count": len(faults)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=1.5, help="the longest life of the server in a round")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    progress(f"seed {options.seed}")
    figures = run(ROOT / "bench" / "var" / "crash", options.rounds, options.seconds, options.seed)
    finish("crash", figures | {"seed": options.seed}, {})
    raise SystemExit(1 if figures["fault_count"] else 0)


if __name__ == "__main__":
    main()
