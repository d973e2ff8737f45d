"""``make crash-federation``: three servers send each other mail while they are killed and the links between them cut or stalled.

4 KB messages, each with an id of its own, are submitted at all three to accounts of the two others, some to several at once. At
random moments a server gets kill -9 and starts again, all connections of a link are cut, or a link carries nothing for a while.
At the end all is whole and retried. Then every acknowledged message lies in each of its mailboxes exactly once, no other more than
once, and nothing has bounced.
"""

import argparse
import random
import re
import smtplib
import socket
import ssl
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.client import Client
from bench.federated import acquaint, server
from bench.report import finish, progress
from bench.servers import PASSWORD, ROOT, MailX, free_port

DOMAINS = ("one.test", "two.test", "three.test")
USERS = 2
OCTETS = 4096
RETRY = ", ".join(['"1s"', '"2s"', *['"3s"'] * 200])
SETTINGS = f"""timeout = 4
retry = [{RETRY}]
"""
PATIENCE = 240.0  # seconds until all has arrived in the end


class Link:
    """The way from one server to the port of another; it can be cut, and held."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", free_port()))
        self.port: int = self._listener.getsockname()[1]
        self._open = threading.Event()  # octets pass
        self._open.set()
        self._up = True
        self._sockets: set[socket.socket] = set()
        self.carried = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """End all connections, and take none until ``mend``."""
        self._up = False
        for each in list(self._sockets):
            _shut(each)

    def hold(self) -> None:
        """Carry nothing until ``mend``; nobody is told."""
        self._open.clear()

    def mend(self) -> None:
        self._up = True
        self._open.set()

    def close(self) -> None:
        self.cut()
        self._open.set()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if not self._up:
                near.close()
                continue
            try:
                far = socket.create_connection(("127.0.0.1", self._target), 5)
            except OSError:
                near.close()
                continue
            self._sockets |= {near, far}
            for source, sink in ((near, far), (far, near)):
                source.settimeout(None)
                threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                self._open.wait()
                sink.sendall(data)
                self.carried += len(data)
        except OSError:
            pass
        _shut(source)
        _shut(sink)
        self._sockets -= {source, sink}


def _shut(each: socket.socket) -> None:
    try:
        each.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    each.close()


class Load:
    """Submits at one server until ``count`` messages were acknowledged by all together."""

    def __init__(self, here: MailX, others: list[MailX], wanted: Callable[[], bool], done: Callable[[], None]) -> None:
        self._here, self._others, self._wanted, self._done = here, others, wanted, done
        self._number = 0
        self.attempted: dict[str, tuple[str, ...]] = {}
        self.acknowledged: set[str] = set()
        self._trust = ssl.create_default_context()
        self._trust.check_hostname, self._trust.verify_mode = False, ssl.CERT_NONE

    def run(self) -> None:
        while self._wanted():
            try:
                with smtplib.SMTP("127.0.0.1", self._here.ports["submission"], "client.example.net", 20) as client:
                    client.starttls(context=self._trust)
                    client.login(f"u1@{self._here.domain}", PASSWORD)
                    while self._wanted():
                        self._submit(client)
            except (OSError, smtplib.SMTPException):
                time.sleep(0.1)

    def _submit(self, client: smtplib.SMTP) -> None:
        self._number += 1
        attempt = f"{self._here.domain}-{self._number}"
        every = [f"u{user}@{other.domain}" for other in self._others for user in range(1, USERS + 1)]
        recipients = tuple(random.sample(every, random.choice((1, 1, 1, 2, 3))))
        self.attempted[attempt] = recipients
        head = f"From: <u1@{self._here.domain}>\r\nX-Attempt: {attempt}\r\nSubject: crash\r\n\r\n".encode()
        client.sendmail(f"u1@{self._here.domain}", recipients, head + (b"x" * 76 + b"\r\n") * ((OCTETS - len(head)) // 78))
        self.acknowledged.add(attempt)
        self._done()


class Trial:
    """Three servers, six links, and what befalls them. ``directory`` is emptied."""

    def __init__(self, directory: Path) -> None:
        self.servers = [server(directory / domain, domain, USERS, federation=SETTINGS) for domain in DOMAINS]
        self.links = {
            (here.domain, there.domain): Link(there.ports["federation"])
            for here in self.servers
            for there in self.servers
            if here is not there
        }
        self.troubles: Counter[str] = Counter()
        self._left = 0
        self._lock = threading.Lock()

    def start(self) -> None:
        acquaint(self.servers, federation=SETTINGS, ways={pair: link.port for pair, link in self.links.items()})

    def stop(self) -> None:
        for each in self.servers:
            each.stop()
        for link in self.links.values():
            link.close()

    def run(self, count: int, pause: float, at_least: Sequence[str] = ()) -> list[Load]:
        """Submit ``count`` messages or more while trouble comes every ``pause`` seconds or so, all ``at_least`` first."""
        self._left = count
        due = list(at_least)

        def wanted() -> bool:
            return self._left > 0 or bool(due)

        loads = [Load(each, [other for other in self.servers if other is not each], wanted, self._one) for each in self.servers]
        threads = [threading.Thread(target=load.run, daemon=True) for load in loads]
        for thread in threads:
            thread.start()
        while wanted():
            time.sleep(random.uniform(0.5, 1.5) * pause)
            self._trouble(due[0] if due else random.choice(("kill", "cut", "cut", "hold")))
            del due[:1]
        for thread in threads:
            thread.join()
        return loads

    def _one(self) -> None:
        with self._lock:
            self._left -= 1

    def _trouble(self, kind: str) -> None:
        self.troubles[kind] += 1
        if kind == "kill":
            victim = random.choice(self.servers)
            victim.kill()
            victim.start()
            return
        link = random.choice(list(self.links.values()))
        link.cut() if kind == "cut" else link.hold()
        time.sleep(random.choice((0.0, 0.2, 1.0, 6.0)) if kind == "hold" else random.choice((0.0, 0.2, 2.0)))
        link.mend()

    def settle(self) -> None:
        """Mend all, and wait until nothing waits. Raises TimeoutError."""
        for link in self.links.values():
            link.mend()
        deadline = time.monotonic() + PATIENCE
        while waiting := sum(self._waiting(each) for each in self.servers):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{waiting} recipients still wait")
            time.sleep(1)

    @staticmethod
    def _waiting(each: MailX) -> int:
        counts = each.api("GET", "/v1/queue", {"limit": "1"})["counts"]
        return int(sum(counts[state] for state in ("pending", "sending", "deferred", "held")))

    def faults(self, loads: list[Load]) -> list[str]:
        """What is not as promised, as sentences."""
        shown: dict[str, Counter[str]] = defaultdict(Counter)
        faults = []
        for each in self.servers:
            failed = each.api("GET", "/v1/queue", {"limit": "1"})["counts"]["failed"]
            if failed:
                faults.append(f"{each.domain}: {failed} recipients bounced")
            for user in range(1, USERS + 1):
                for attempt in _attempts(each, user):
                    shown[attempt][f"u{user}@{each.domain}"] += 1
        for load in loads:
            for attempt, recipients in load.attempted.items():
                there = shown.pop(attempt, Counter())
                for recipient in recipients:
                    if there[recipient] != 1 and (there[recipient] or attempt in load.acknowledged):
                        faults.append(f"{attempt} is there {there[recipient]} times for {recipient}")
                faults += [f"{attempt} came to {other}, for whom it was not" for other in there.keys() - set(recipients)]
        return faults + [f"{attempt} was never sent" for attempt in shown]


def _attempts(each: MailX, user: int) -> list[str]:
    client = Client(each.imap_port, user, domain=each.domain)
    found = []
    if client.select():
        answer = client.command(b"FETCH 1:* (BODY.PEEK[HEADER.FIELDS (X-Attempt)])")
        found = [attempt.decode() for attempt in re.findall(rb"^X-Attempt: (\S+)", answer, re.MULTILINE | re.IGNORECASE)]
    client.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10000, help="messages that must be acknowledged")
    parser.add_argument("--pause", type=float, default=0.4, help="seconds between troubles, on average")
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    random.seed(options.seed)
    trial = Trial(ROOT / "bench" / "var" / "crash-federation")
    try:
        trial.start()
        progress("submitting")
        loads = trial.run(options.count, options.pause)
        progress(f"settling, after {dict(trial.troubles)}")
        trial.settle()
        faults = trial.faults(loads)
        repeated = sum(each.metric('mailx_federation_messages_total{direction="in",outcome="repeated"}') for each in trial.servers)
    finally:
        trial.stop()
    for fault in faults[:20]:
        progress(fault)
    acknowledged = sum(len(load.acknowledged) for load in loads)
    finish("crash-federation", {"acknowledged": acknowledged, "faults": len(faults), "repeated": int(repeated), **trial.troubles}, {})
    raise SystemExit(bool(faults))


if __name__ == "__main__":
    main()
