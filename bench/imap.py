"""``make bench-imap``: what mail programs do to a mailbox of 10,000 messages, beside Dovecot 2.3 (sdbox).

Both servers hold the same messages. Each operation runs several times on each in turn; the figure is the median after a
first, cold run (stated apart). Times are in milliseconds unless the name says ``_per_s``. Then one user runs each
heavy command over and over while another sends NOOP: its latency is the figure.
"""

import argparse
import multiprocessing
import os
import random
import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

from bench.client import Client
from bench.corpus import Corpus
from bench.report import finish, percentile, progress
from bench.servers import ROOT, Dovecot, MailX

HEADERS = (
    b"UID FETCH 1:* (UID RFC822.SIZE FLAGS BODY.PEEK[HEADER.FIELDS (From To Cc Bcc Subject Date Message-ID "
    b"Priority X-Priority References Newsgroups In-Reply-To Content-Type Reply-To)])"
)
ENVELOPES = b"FETCH 1:* (UID FLAGS ENVELOPE RFC822.SIZE BODYSTRUCTURE)"
HEAVY = {
    "flags": b"FETCH 1:* (UID FLAGS)",
    "envelopes": ENVELOPES,
    "bodies": b"FETCH 1:* BODY.PEEK[]",
    "search_text": b"SEARCH TEXT zymurgy",
    "store": b"STORE 1:* +FLAGS (\\Flagged)",
    "copy": b'COPY 1:1000 "Heavy"',
}
Operation = Callable[[Client, Any], float]


def timed(command: bytes, answers: bytes = b"", least: int = 0) -> Operation:
    """Milliseconds of one command; ``answers`` must occur at least ``least`` times in what came back."""

    def operation(client: Client, server: Any) -> float:
        began = time.perf_counter()
        pieces = client.answer(client.send(command))
        elapsed = (time.perf_counter() - began) * 1e3
        if least and b"".join(pieces).count(answers) < least:
            raise RuntimeError(f"{server.name}: too few answers to {command[:40]!r}")
        return elapsed

    return operation


def each(command: Callable[[int], bytes], count: int) -> Operation:
    """Milliseconds of one of ``count`` commands sent one after the other."""

    def operation(client: Client, server: Any) -> float:
        began = time.perf_counter()
        for number in range(count):
            client.run(command(number))
        return (time.perf_counter() - began) * 1e3 / count

    return operation


def login_select(client: Client, server: Any) -> float:
    began = time.perf_counter()
    fresh = Client(server.imap_port)
    fresh.select()
    elapsed = (time.perf_counter() - began) * 1e3
    fresh.close()
    return elapsed


def renew(client: Client, mailbox: bytes) -> None:
    for verb in (b"DELETE ", b"CREATE "):
        try:
            client.run(verb + mailbox)
        except RuntimeError:
            pass


def store_all(client: Client, server: Any) -> float:
    elapsed = timed(b"STORE 1:* +FLAGS (\\Flagged)", b" FETCH (", 1)(client, server)
    client.run(b"STORE 1:* -FLAGS.SILENT (\\Flagged)")
    return elapsed


def copy_thousand(client: Client, server: Any) -> float:
    renew(client, b"Copies")
    return timed(b"COPY 1:1000 Copies")(client, server)


def expunge_thousand(client: Client, server: Any) -> float:
    renew(client, b"Doomed")
    client.run(b"COPY 1:1000 Doomed")
    other = Client(server.imap_port)
    other.select(b"Doomed")
    other.run(b"STORE 1:* +FLAGS.SILENT (\\Deleted)")
    elapsed = timed(b"EXPUNGE", b" EXPUNGE", 1000)(other, server)
    other.close()
    return elapsed


def append_two_hundred(client: Client, server: Any) -> float:
    renew(client, b"Fresh")
    messages = list(Corpus(9).messages(200))
    began = time.perf_counter()
    for message in messages:
        client.append(b"Fresh", message)
    return (time.perf_counter() - began) * 1e3 / len(messages)


def operations(messages: int) -> dict[str, Operation]:
    chosen = random.Random(3)
    return {
        "login_select": login_select,
        "noop": each(lambda number: b"NOOP", 300),
        "status": each(lambda number: b"STATUS INBOX (MESSAGES UNSEEN UIDNEXT)", 200),
        "list": each(lambda number: b'LIST "" *', 200),
        "flags": timed(HEAVY["flags"], b" FETCH (", messages),
        "envelopes": timed(ENVELOPES, b" FETCH (", messages),
        "headers": timed(HEADERS, b" FETCH (", messages),
        "bodies": timed(HEAVY["bodies"], b" FETCH (", messages),
        "single_fetch": each(lambda number: b"FETCH %d BODY.PEEK[]" % chosen.randint(1, messages), 200),
        "search_subject": timed(b"SEARCH SUBJECT quarterly"),
        "search_from": timed(b"SEARCH FROM corla"),
        "search_unseen": timed(b"SEARCH UNSEEN"),
        "search_text": timed(HEAVY["search_text"]),
        "store_all": store_all,
        "single_store": each(lambda number: b"STORE %d %cFLAGS (\\Flagged)" % (number // 2 + 1, b"+-"[number % 2]), 200),
        "copy_1000": copy_thousand,
        "expunge_1000": expunge_thousand,
        "append": append_two_hundred,
    }


def fill(server: Any, messages: int) -> None:
    """APPEND the corpus over four connections."""
    client = Client(server.imap_port)
    missing = messages - client.select()
    client.close()
    if missing <= 0:
        return
    progress(f"filling {server.name} with {missing} messages")
    corpus, lock = iter(list(Corpus().messages(messages))[messages - missing :]), threading.Lock()

    def work() -> None:
        session = Client(server.imap_port)
        while True:
            with lock:
                message = next(corpus, None)
            if message is None:
                return session.close()
            session.append(b"INBOX", message)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if isinstance(server, MailX):
        server.wait_for_index(missing)


def measure(servers: list[Any], messages: int, runs: int, only: set[str]) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for name, operation in operations(messages).items():
        if only and name not in only:
            continue
        values: dict[str, list[float]] = {server.name: [] for server in servers}
        for _ in range(runs + 1):
            for server in servers:
                values[server.name].append(operation(server.client, server))
        figures[name] = {who: {"cold": round(row[0], 3), "median": round(statistics.median(row[1:]), 3)} for who, row in values.items()}
        progress(f"{name}: " + ", ".join(f"{who} {row['median']} ms (cold {row['cold']})" for who, row in figures[name].items()))
    return figures


def _heavy(port: int, command: bytes, stop: Any) -> None:
    client = Client(port)
    client.select()
    while not stop.is_set():
        client.run(command)


def neighbour(server: Any, seconds: float) -> dict[str, Any]:
    """Milliseconds that another user's NOOP takes while one user repeats each heavy command."""
    figures = {}
    renew(server.client, b"Heavy")
    for name, command in HEAVY.items():
        stop = multiprocessing.Event()
        heavy = multiprocessing.Process(target=_heavy, args=(server.imap_port, command, stop))
        heavy.start()
        other, values = Client(server.imap_port, user=2), []
        other.select()
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            began = time.perf_counter()
            other.run(b"NOOP")
            values.append((time.perf_counter() - began) * 1e3)
            time.sleep(0.005)
        stop.set()
        heavy.join(60)
        other.close()
        figures[name] = {"p50": round(percentile(values, 0.5), 2), "p99": round(percentile(values, 0.99), 2), "max": round(max(values), 2)}
        progress(f"NOOP beside {name} on {server.name}: {figures[name]}")
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=10000)
    parser.add_argument("--runs", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=3, help="of each heavy command beside a NOOP")
    parser.add_argument("--only", default="", help="operations, separated by commas")
    parser.add_argument("--only-mailx", action="store_true")
    options = parser.parse_args()
    if os.geteuid() and not options.only_mailx:
        raise SystemExit("bench-imap: Dovecot starts as root only; run it as root, or with --only-mailx")
    directory = ROOT / "bench" / "var" / "imap"
    mailx = MailX(directory / "mailx")
    servers: list[Any] = [mailx] if options.only_mailx else [mailx, Dovecot(directory / "dovecot")]
    try:
        for server in servers:
            progress(f"starting {server.name}")
            server.start()
        mailx.populate()
        for server in servers:
            fill(server, options.messages)
            server.client = Client(server.imap_port)
            server.client.select()
        figures = measure(servers, options.messages, options.runs, set(filter(None, options.only.split(","))))
        if not options.only:
            figures["neighbour_noop"] = {server.name: neighbour(server, options.seconds) for server in servers}
    finally:
        for server in reversed(servers):
            server.stop()
    ratios = {}
    if len(servers) > 1:
        measured = {name: rows for name, rows in figures.items() if name != "neighbour_noop"}
        ratios = {name: rows["dovecot"]["median"] / max(rows["mailx"]["median"], 1e-6) for name, rows in measured.items()}
    finish("imap", figures, ratios)


if __name__ == "__main__":
    main()
