"""``make bench-smtp``: durable local delivery beside Postfix + Dovecot LMTP, counted when readable by IMAP.

``indexed_per_s`` counts when readable and in the search index too: a rate that can be kept up; ``index_lag_s`` is for how long
the index still worked after the last message was readable.

The load is Debian's smtp-source: as many processes as mailboxes, a new connection for each message. Each figure is the
median of several runs that alternate between the servers, so that a noisy moment hits all of them.
"""

import argparse
import imaplib
import os
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

from bench.corpus import Corpus
from bench.report import finish, progress
from bench.servers import DOMAIN, PASSWORD, ROOT, Aiosmtpd, MailX, PostfixDovecot, Sink

MAILBOXES = 10


class Counter:
    """How many messages the mailboxes of a server hold, asked by IMAP STATUS."""

    def __init__(self, port: int) -> None:
        self._sessions = []
        for number in range(1, MAILBOXES + 1):
            session = imaplib.IMAP4("127.0.0.1", port)
            session.login(f"u{number}@{DOMAIN}", PASSWORD)
            self._sessions.append(session)

    def total(self) -> int:
        count = 0
        for session in self._sessions:
            answer = session.status("INBOX", "(MESSAGES)")[1][0]
            count += int(answer.rsplit(b" ", 1)[1].rstrip(b")"))
        return count

    def close(self) -> None:
        for session in self._sessions:
            session.logout()


def corpus_files(directory: Path, octets: int) -> list[Path]:
    """One message file for each mailbox, with the LF line ends that smtp-source wants."""
    directory.mkdir(parents=True, exist_ok=True)
    corpus, paths = Corpus(octets), []
    for number in range(MAILBOXES):
        path = directory / f"{octets}-{number}.eml"
        path.write_bytes(corpus.message(number * 2, octets).replace(b"\r\n", b"\n"))
        paths.append(path)
    return paths


def load(server: Any, files: list[Path], count: int, sessions: int, octets: int) -> dict[str, float]:
    """Send ``count`` messages over ``sessions`` connections; rates in messages/s and MB/s until all are readable."""
    counter = Counter(server.imap_port) if server.imap_port else None
    before = counter.total() if counter else 0
    indexed_before = server.indexed() if server.name == "mailx" else 0
    began, senders = time.monotonic(), []
    for number in range(MAILBOXES):
        share = count // MAILBOXES + (number < count % MAILBOXES)
        parallel = sessions // MAILBOXES + (number < sessions % MAILBOXES)
        senders.append(
            subprocess.Popen(
                ["smtp-source", "-s", str(parallel), "-m", str(share), "-F", str(files[number]), "-f", "sender@example.net"]
                + ["-t", f"u{number + 1}@{DOMAIN}", "-M", "client.example.net", f"inet:127.0.0.1:{server.smtp_port}"],
                stderr=subprocess.PIPE,
            )
        )
    for sender in senders:
        _, errors = sender.communicate(timeout=600)
        if sender.returncode:
            raise RuntimeError(f"smtp-source to {server.name}: {errors.decode(errors='replace')[-300:]}")
    accepted = time.monotonic() - began
    while counter and counter.total() - before < count:
        if time.monotonic() - began > 600:
            raise RuntimeError(f"{server.name} never showed all {count} messages")
        time.sleep(0.02)
    readable = time.monotonic() - began
    if counter:
        counter.close()
    rates = {"messages_per_s": count / readable, "accepted_per_s": count / accepted, "mb_per_s": count * octets / 1e6 / readable}
    if server.name == "mailx":
        server.wait_for_index(indexed_before + count)
        done = time.monotonic() - began
        rates |= {"indexed_per_s": count / done, "index_lag_s": done - readable}
    return rates


def measure(servers: list[Any], files: list[Path], count: int, sessions: int, octets: int, runs: int) -> dict[str, dict[str, float]]:
    results: dict[str, list[dict[str, float]]] = {server.name: [] for server in servers}
    for run in range(runs + 1):
        for server in servers:
            # Run 0 warms caches up.
            some = count if run else min(count, 400 if octets < 65536 else 40)
            result = load(server, files, some, sessions, octets)
            if run:
                results[server.name].append(result)
                rates = f"{result['messages_per_s']:.0f} messages/s, {result['mb_per_s']:.1f} MB/s"
                progress(f"{octets} octets, {sessions} sessions, {server.name}: {rates}")
    return {name: {key: statistics.median(run[key] for run in runs_) for key in runs_[0]} for name, runs_ in results.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--count", type=int, default=4000, help="messages of 4 KB in each run")
    parser.add_argument("--big", type=int, default=400, help="messages of 1 MB in each run")
    parser.add_argument("--floors", action=argparse.BooleanOptionalAction, default=True, help="aiosmtpd and smtp-sink too")
    parser.add_argument("--only-mailx", action="store_true")
    options = parser.parse_args()
    directory = ROOT / "bench" / "var" / "smtp"
    mailx = MailX(directory / "mailx")
    servers: list[Any] = [mailx] if options.only_mailx else [mailx, PostfixDovecot(directory / "peer")]
    floors: list[Any] = [Aiosmtpd(), Sink()] if options.floors and not options.only_mailx else []
    if os.geteuid() and len(servers) > 1:
        raise SystemExit("bench-smtp: Postfix and Dovecot start as root only; run it as root, or with --only-mailx")
    started = []
    try:
        for server in servers + floors:
            progress(f"starting {server.name}")
            server.start()
            started.append(server)
        mailx.populate()
        figures: dict[str, Any] = {}
        small, big = corpus_files(directory / "corpus", 4096), corpus_files(directory / "corpus", 1000000)
        for sessions in (10, 50):
            figures[f"4k_{sessions}_sessions"] = measure(servers + floors, small, options.count, sessions, 4096, options.runs)
        figures["1m_10_sessions"] = measure(servers + floors, big, options.big, 10, 1000000, options.runs)
    finally:
        for server in reversed(started):
            server.stop()
    ratios = {}
    if len(servers) > 1:
        peer = servers[1].name
        ratio = {key: rows["mailx"]["messages_per_s"] / rows[peer]["messages_per_s"] for key, rows in figures.items()}
        ratios = {
            "4k_vs_postfix_dovecot": min(ratio["4k_10_sessions"], ratio["4k_50_sessions"]),
            "4k_10_sessions_vs_postfix_dovecot": ratio["4k_10_sessions"],
            "4k_50_sessions_vs_postfix_dovecot": ratio["4k_50_sessions"],
            "1m_vs_postfix_dovecot": ratio["1m_10_sessions"],
        }
    finish("smtp", figures, ratios)


if __name__ == "__main__":
    main()
