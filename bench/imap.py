"""``make bench-imap``: what mail programs do to mailboxes of 1,000, 10,000 and 100,000 messages, beside Dovecot 2.3 and pymap.

All servers hold the same messages. Dovecot (sdbox) has its Xapian index; STORE and APPEND are measured beside a second
Dovecot with ``mail_fsync=always`` too, since MailX answers after fsync. pymap (Maildir) takes part in the smallest mailbox only:
larger ones take it hours. Each operation runs several times on each server in turn; the figure is the median after a first, cold run
(stated apart). Times are in milliseconds. ``growth`` says how many times dearer an operation is in the largest mailbox than in the
one before it. Then one user runs each heavy command over and over while another sends NOOP: its latency is the figure.
"""

import argparse
import multiprocessing
import os
import statistics
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from bench.client import Client
from bench.corpus import Corpus
from bench.imap_operations import HEAVY, operations, renew
from bench.pymap import Pymap
from bench.report import finish, percentile, progress
from bench.servers import ROOT, Dovecot, MailX

DURABLE = "dovecot_durable"  # answers after fsync always; asked only what that makes dearer
PYMAP_RUNS = 1  # of operations that take it minutes
SLOW_FOR_PYMAP = 20000.0  # milliseconds after which it is not asked again


def fill(server: Any, messages: int) -> None:
    """APPEND the corpus over four connections."""
    client = Client(server.imap_port)
    missing = messages - client.select()
    client.close()
    if missing <= 0:
        return
    progress(f"filling {server.name} with {missing} messages")
    corpus, lock = iter(Corpus().messages(messages)), threading.Lock()
    for _ in range(messages - missing):
        next(corpus)

    def work() -> None:
        session = Client(server.imap_port)
        while True:
            with lock:
                message = next(corpus, None)
            if message is None:
                return session.close()
            session.append(b"INBOX", message)

    workers = [threading.Thread(target=work) for _ in range(1 if server.name == "pymap" else 4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if hasattr(server, "wait_for_index"):
        server.wait_for_index(missing)


def asked(server: Any, name: str) -> bool:
    """Whether ``server`` takes part in the operation ``name``."""
    return server.name != DURABLE or name in ("store_all", "single_store", "append")


def measure(servers: list[Any], messages: int, runs: int, only: set[str]) -> dict[str, Any]:
    """Milliseconds of each operation on each server."""
    figures: dict[str, Any] = {}
    for name, operation in operations(messages).items():
        if only and name not in only:
            continue
        values: dict[str, list[float]] = {server.name: [] for server in servers if asked(server, name)}
        for _ in range(runs + 1):
            for server in servers:
                row = values.get(server.name)
                if row is None or (server.name == "pymap" and len(row) > PYMAP_RUNS and max(row) > SLOW_FOR_PYMAP):
                    continue
                try:
                    row.append(operation(server.client, server))
                except RuntimeError as error:  # what a peer does not know
                    if server.name == "mailx":
                        raise
                    progress(f"{server.name} refuses {name}: {error}")
                    del values[server.name]
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
        heavy.join(120)
        other.close()
        figures[name] = {"p50": round(percentile(values, 0.5), 2), "p99": round(percentile(values, 0.99), 2), "max": round(max(values), 2)}
        progress(f"NOOP beside {name} on {server.name}: {figures[name]}")
    return figures


def ratios(figures: dict[str, dict[str, Any]]) -> dict[str, float]:
    """How many times faster MailX is than each peer, by size, operation and peer; and ``growth`` from the last size but one to the last."""
    found = {}
    for size, rows in figures.items():
        for name, row in rows.items():
            mine = row["mailx"]["median"]
            found.update({f"{size}/{name}/{who}": other["median"] / mine for who, other in row.items() if who != "mailx"})
    if len(figures) > 1:
        before, most = sorted(figures, key=int)[-2:]
        for name, row in figures[before].items():
            found[f"growth/{name}"] = figures[most][name]["mailx"]["median"] / row["mailx"]["median"]
    return found


def gather(directory: Path, options: argparse.Namespace) -> list[Any]:
    """The servers that take part, running."""
    mailx = MailX(directory / "mailx", settings="[accounts]\nquota = 0\n")
    servers: list[Any] = [mailx]
    if not options.only_mailx:
        servers += [Dovecot(directory / "dovecot", full_text=True), Dovecot(directory / DURABLE, fsync="always", name=DURABLE)]
        if options.pymap:
            servers.append(Pymap(directory / "pymap"))
    for server in servers:
        progress(f"starting {server.name}")
        server.start()
    mailx.populate()
    return servers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", default="1000,10000,100000", help="sizes of the mailbox, 1000 at least, rising, separated by commas")
    parser.add_argument("--runs", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=3, help="of each heavy command beside a NOOP; 0: not measured")
    parser.add_argument("--only", default="", help="operations, separated by commas")
    parser.add_argument("--only-mailx", action="store_true")
    parser.add_argument("--pymap", action=argparse.BooleanOptionalAction, default=True, help="beside pymap too")
    options = parser.parse_args()
    if os.geteuid() and not options.only_mailx:
        raise SystemExit("bench-imap: Dovecot starts as root only; run it as root, or with --only-mailx")
    directory = ROOT / "bench" / "var" / "imap"
    subprocess.run(["rm", "-rf", str(directory)], check=True)
    servers = gather(directory, options)
    figures: dict[str, Any] = {}
    neighbours: dict[str, Any] = {}
    try:
        for size in map(int, options.messages.split(",")):
            if figures:
                for pymap in [server for server in servers if server.name == "pymap"]:
                    pymap.stop()
                    servers.remove(pymap)
            for server in servers:
                fill(server, size)
                server.client = Client(server.imap_port)
                server.client.select()
            figures[str(size)] = measure(servers, size, options.runs, set(filter(None, options.only.split(","))))
            if options.seconds and not options.only:
                rivals = [server for server in servers if server.name in ("mailx", "dovecot")]
                neighbours[str(size)] = {server.name: neighbour(server, options.seconds) for server in rivals}
    finally:
        for server in reversed(servers):
            server.stop()
    finish("imap", {**figures, "neighbour_noop": neighbours}, ratios(figures))


if __name__ == "__main__":
    main()
