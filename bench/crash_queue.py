"""``make bench-crash-queue``: kill -9 at random moments while mail goes out, then every recipient is accounted for.

Submitted messages go to a next server that accepts, refuses, puts off or is slow, so that at every kill there are recipients
in every state; some are held. Each message carries an id of its own, and the next server notes it on disk before its 250.
At the end all is released and retried. Then every recipient of an acknowledged message must have arrived, or have
bounced to its sender exactly once; one that arrived twice is allowed only if a kill fell between the next server's 250 and
the commit: such a row was found in ``sending`` at the next start and counted by ``mailx_queue_uncertain_total``.

With ``--engine postgresql`` the database outlives the server. A new server is another node there, which has to wait until the
dead one was silent for long enough; the database's record of it is aged, so that this is at the next start.
"""

import argparse
import random
import re
import shutil
import smtplib
import ssl
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from bench.client import Client
from bench.crash import swept
from bench.database import ENGINES, IDatabase, database
from bench.recorder import Arrival, Recorder
from bench.report import finish, progress
from bench.servers import DOMAIN, PASSWORD, ROOT, MailX

USERS = 4
SENDERS = 4
SIZES = (300, 4096, 4096, 4096, 200_000)
KINDS = ("ok", "ok", "ok", "slow", "slow", "defer", "reject")
ELSEWHERE = "example.net"
LAG = 0.5  # seconds that this process may be late to read what the server sent
LATE = 10.0  # and the server to commit what it read, when others keep machine and disk busy; the longest is among the figures
UNCERTAIN = "mailx_queue_uncertain_total"
PATIENCE = 20.0  # seconds until the first login at most, on a busy machine
FEW = 20  # acknowledged messages, below which rounds go on: on a machine that stalls a server's second is soon over
MOST = 30  # rounds in which even such a machine must have acknowledged so many
ENOUGH = 50  # rounds, so that every state must have been met at a kill
SETTINGS = """[limits]
account_hour = 0
account_day = 0
[queue]
retry = ["1s", "2s", "5s", "1h", "1h", "1h"]
[outbound]
per_destination = 8
[[outbound.relays]]
name = "recorder"
hosts = ["127.0.0.1:{port}"]
security = "plain"
[[outbound.routes]]
relay = "recorder"
"""


class Load:
    """Senders that submit until the server dies; ``acknowledged`` maps each attempt to its sender and recipients."""

    def __init__(self, server: MailX, name: str) -> None:
        self._server, self._name = server, name
        self._lock = threading.Lock()
        self._count = 0
        self.begun = threading.Event()  # somebody is logged in
        self.acknowledged: dict[str, tuple[int, tuple[str, ...]]] = {}

    @property
    def attempted(self) -> int:
        return self._count

    def submit(self, user: int) -> None:
        trust = ssl.create_default_context()
        trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
        try:
            with smtplib.SMTP("127.0.0.1", self._server.ports["submission"], timeout=60) as client:
                client.starttls(context=trust)
                client.login(f"u{user}@{DOMAIN}", PASSWORD)
                self.begun.set()
                while True:
                    attempt, recipients, content = self._message()
                    client.sendmail(f"u{user}@{DOMAIN}", recipients, content)
                    with self._lock:
                        self.acknowledged[attempt] = (user, recipients)
        except (OSError, smtplib.SMTPException):
            return

    def _message(self) -> tuple[str, tuple[str, ...], bytes]:
        with self._lock:
            self._count += 1
            attempt = f"{self._name}-{self._count}"
        kinds = random.choices(KINDS, k=random.choice((1, 1, 1, 2, 3)))
        recipients = [f"{kind}-{attempt}-{place}@{ELSEWHERE}" for place, kind in enumerate(kinds)]
        if random.random() < 0.2:
            recipients.append(f"u{random.randint(1, USERS)}@{DOMAIN}")
        body = (b"x" * 76 + b"\r\n") * (random.choice(SIZES) // 78 + 1)
        return attempt, tuple(recipients), f"X-Attempt: {attempt}\r\nSubject: crash\r\n\r\n".encode() + body


def hold_some(server: MailX) -> None:
    """Hold what waits, now and then, until the server dies."""
    try:
        while True:
            time.sleep(0.1)
            for entry in server.api("GET", "/v1/queue", {"state": "pending,deferred", "limit": "3"})["entries"]:
                server.api("POST", "/v1/queue/hold", body={"id": entry["id"]})
    except (OSError, RuntimeError):
        return


def states(at: IDatabase) -> Counter[str]:
    """How many recipients are in which state on disk."""
    return Counter({state: count for state, count in at.rows("SELECT state, count(*) FROM queue GROUP BY state")})


def round_of_load(server: MailX, number: int, seconds: float) -> tuple[Load, float, int]:
    """Load until a kill; with the moment of the kill, and how many recipients were uncertain since the start."""
    load = Load(server, f"r{number}")
    workers = [threading.Thread(target=load.submit, args=(user % USERS + 1,)) for user in range(SENDERS)]
    workers.append(threading.Thread(target=hold_some, args=(server,)))
    for worker in workers:
        worker.start()
    if random.random() < 0.9:  # else the kill may come while the server has hardly begun
        load.begun.wait(PATIENCE)
    time.sleep(random.uniform(0.05, seconds))
    uncertain = int(server.metric(UNCERTAIN))
    moment = time.monotonic()
    server.kill()
    for worker in workers:
        worker.join()
    return load, moment, uncertain


def drain(server: MailX, recorder: Recorder, seconds: float = 600.0) -> list[str]:
    """Release and retry everything until nothing waits any more; what is wrong if that never comes."""
    recorder.recovered, recorder.slow_seconds = True, 0.0
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        counts: dict[str, int] = server.api("GET", "/v1/queue", {"limit": "1"})["counts"]
        waiting = {state: counts.get(state, 0) for state in ("held", "deferred", "pending", "sending")}
        if not any(waiting.values()):
            return []
        server.api("POST", "/v1/queue/release", body={"state": "held"})
        server.api("POST", "/v1/queue/retry", body={"state": "deferred"})
        time.sleep(0.2)
    return [f"{count} recipients stay {state}" for state, count in waiting.items() if count]


def mailboxes(server: MailX) -> tuple[Counter[tuple[int, str]], Counter[tuple[int, str]]]:
    """What the INBOXes hold: messages by (user, attempt), and failures reported by (user, recipient)."""
    kept: Counter[tuple[int, str]] = Counter()
    bounced: Counter[tuple[int, str]] = Counter()
    for user in range(1, USERS + 1):
        client = Client(server.imap_port, user)
        client.select()
        answer = client.command(b"UID FETCH 1:* (BODY.PEEK[HEADER.FIELDS (X-Attempt)])")
        kept.update((user, attempt.decode()) for attempt in re.findall(rb"X-Attempt: (\S+)", answer))
        reports = client.command(b'UID SEARCH HEADER Content-Type "report-type=delivery-status"').split(b"\r\n")[0].split()[2:]
        for start in range(0, len(reports), 200):
            text = client.command(b"UID FETCH %s (BODY.PEEK[])" % b",".join(reports[start : start + 200]))
            blocks = re.findall(rb"Final-Recipient: rfc822; ?(\S+)\r\n((?:[A-Z][^\r]*\r\n(?:[ \t][^\r]*\r\n)*)*)", text, re.IGNORECASE)
            bounced.update((user, recipient.decode()) for recipient, rest in blocks if b"failed" in rest.lower())
        client.close()
    return kept, bounced


class Account:
    """The last reckoning: ``faults`` that should not be, and for ``doubled`` recipients the seconds from the 250 to the kill.

    These are negative when the kill came while the next server had the message and had not answered yet.
    """

    def __init__(self, acknowledged: dict[str, tuple[int, tuple[str, ...]]], recorder: Recorder, kills: list[float]) -> None:
        self._acknowledged = acknowledged
        self._arrived: dict[tuple[str, str], list[Arrival]] = defaultdict(list)
        for arrival in recorder.arrivals:
            self._arrived[arrival.attempt, arrival.recipient].append(arrival)
        self._kills = kills
        self.faults: list[str] = []
        self.doubled: list[float] = []
        self.recipients = Counter[str]()

    def check(self, kept: Counter[tuple[int, str]], bounced: Counter[tuple[int, str]]) -> None:
        for attempt, (sender, recipients) in self._acknowledged.items():
            for recipient in recipients:
                self._check(attempt, sender, recipient, kept, bounced)
        for (attempt, recipient), arrivals in self._arrived.items():
            if len(arrivals) > 1:
                self._explain(attempt, recipient, arrivals)
        self.faults += [f"{attempt} is {count} times in the INBOX of user {user}" for (user, attempt), count in kept.items() if count > 1]
        self.faults += [
            f"{recipient} was reported {count} times to user {user}" for (user, recipient), count in bounced.items() if count > 1
        ]

    def _check(self, attempt: str, sender: int, recipient: str, kept: Counter[tuple[int, str]], bounced: Counter[tuple[int, str]]) -> None:
        kind = recipient.partition("-")[0]
        self.recipients[kind if recipient.endswith(f"@{ELSEWHERE}") else "local"] += 1
        if not recipient.endswith(f"@{ELSEWHERE}"):
            if not kept[int(recipient[1 : recipient.index("@")]), attempt]:
                self.faults.append(f"{attempt} to {recipient} was acknowledged and is lost")
        elif kind == "reject":
            if not bounced[sender, recipient]:
                self.faults.append(f"{attempt} to {recipient} was refused and its sender heard nothing")
        elif not self._arrived[attempt, recipient]:
            self.faults.append(f"{attempt} to {recipient} was acknowledged and is lost")

    def _explain(self, attempt: str, recipient: str, arrivals: list[Arrival]) -> None:
        """A recipient may have arrived again if a kill lies between two arrivals, at most LATE after the first one's answer."""
        for earlier, later in zip(arrivals, arrivals[1:], strict=False):
            between = [kill - earlier.noted for kill in self._kills if earlier.whole - LAG < kill < later.whole]
            if not between:
                self.faults.append(f"{attempt} to {recipient} arrived twice without a kill in between")
                continue
            nearest = min(between, key=abs)
            self.doubled.append(nearest)
            if nearest >= LATE:
                self.faults.append(f"{attempt} to {recipient} arrived twice, for {nearest:.1f} s passed from its 250 to the kill")


def remove(directory: Path) -> None:
    """Delete all that ``run`` made."""
    shutil.rmtree(directory, ignore_errors=True)


def run(directory: Path, rounds: int, seconds: float, seed: int, engine: str = "sqlite") -> dict[str, Any]:
    """At least so many rounds; the figures, with ``faults`` as a list that should be empty."""
    random.seed(seed)
    directory.mkdir(parents=True, exist_ok=True)
    recorder = Recorder(directory / "arrivals.txt")
    at = database(engine, directory / "mailx")
    server = MailX(directory / "mailx", users=USERS, settings=SETTINGS.format(port=recorder.port) + at.settings)
    acknowledged: dict[str, tuple[int, tuple[str, ...]]] = {}
    at_kills, kills, attempted, uncertain = Counter[str](), [], 0, 0
    server.start()
    try:
        server.populate()
        number = 0
        while number < rounds or (len(acknowledged) < FEW and number < MOST):
            number += 1
            load, moment, found = round_of_load(server, number, seconds)
            kills.append(moment)
            uncertain += found
            at_kills += states(at)
            acknowledged |= load.acknowledged
            attempted += load.attempted
            at.forget_the_dead()
            server.start()
            if number % 10 == 0:
                progress(f"round {number}: {len(acknowledged)} of {attempted} messages acknowledged, {uncertain} recipients uncertain")
        faults = drain(server, recorder)
        uncertain += int(server.metric(UNCERTAIN))
        account = Account(acknowledged, recorder, kills)
        account.check(*mailboxes(server))
        faults += account.faults + swept(server.directory, at, 30)
        if len(account.doubled) > uncertain:
            faults.append(f"{len(account.doubled)} recipients doubled, but only {uncertain} were counted as uncertain")
        if rounds >= ENOUGH:
            missing = [state for state in ("pending", "sending", "deferred", "held", "sent", "failed") if not at_kills[state]]
            faults += [f"at no kill was anything {state}" for state in missing]
    finally:
        server.stop()
        recorder.close()
    return {
        "engine": engine,
        "rounds": number,
        "attempted": attempted,
        "acknowledged": len(acknowledged),
        "recipients": dict(account.recipients),
        "states_at_kills": dict(at_kills),
        "uncertain": uncertain,
        "doubled": len(account.doubled),
        "longest_window_ms": round(max(account.doubled, default=0.0) * 1000, 1),
        "faults": faults[:20],
        "fault_count": len(faults),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=1.5, help="the longest life of the server in a round")
    parser.add_argument("--engine", choices=ENGINES, default="sqlite")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    progress(f"seed {options.seed}")
    figures = run(ROOT / "bench" / "var" / "crash_queue", options.rounds, options.seconds, options.seed, options.engine)
    finish("crash-queue", figures | {"seed": options.seed}, {})
    raise SystemExit(1 if figures["fault_count"] else 0)


if __name__ == "__main__":
    main()
