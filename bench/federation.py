"""``make bench-federation``: mail from one MailX server to another by federation, beside a bare PB-over-TLS echo of the same octets.

``p95_s``: from submission to the remote mailbox, as IDLE tells, of single messages on idle servers. ``messages_per_s``: 4 KB
messages submitted as fast as they are taken, until the last is in its mailbox. ``mb_per_s_25m``: messages of 25 MB that wait for a server
which was away, from the moment it is there. The echo is two processes that do nothing else; a message is one call there.
"""

import argparse
import base64
import os
import smtplib
import ssl
import statistics
import tempfile
import time
from pathlib import Path

from bench.echo import Server as Echo
from bench.federated import acquaint, server
from bench.hop import READERS, Watch, measure
from bench.report import finish, progress
from bench.servers import PASSWORD, ROOT, MailX
from tests.system.certificates import Authority

SMALL, LARGE, PIECE = 4096, 25_000_000, 262_144


def submit_large(here: MailX, there: MailX, count: int) -> None:
    """``count`` messages of LARGE octets that nothing can shrink."""
    trust = ssl.create_default_context()
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    sender = f"u1@{here.domain}"
    for number in range(count):
        body = base64.encodebytes(os.urandom((LARGE - 500) * 76 // 77 * 3 // 4)).replace(b"\n", b"\r\n")[: LARGE - 500]
        with smtplib.SMTP("127.0.0.1", here.ports["submission"], "client.example.net", 300) as client:
            client.starttls(context=trust)
            client.login(sender, PASSWORD)
            head = f"From: <{sender}>\r\nSubject: large {number}\r\nContent-Transfer-Encoding: base64\r\nContent-Type: image/png\r\n\r\n"
            client.sendmail(sender, [f"u{number % READERS + 1}@{there.domain}"], head.encode() + body)


def large_rate(here: MailX, there: MailX, count: int) -> float:
    """Octets a second, in millions, of messages that wait for ``there``."""
    there.stop()
    submit_large(here, there, count)
    deadline = time.monotonic() + 60
    while sum(here.api("GET", "/v1/queue", {"limit": "1"})["counts"][state] for state in ("deferred", "pending")) < count:
        if time.monotonic() > deadline:
            raise TimeoutError("the large messages do not wait")
        time.sleep(0.1)
    here.ctl("queue", "hold", "--all", "--yes")  # else a retry may be ahead of the clock
    there.start()
    watches = [Watch(there, user) for user in range(1, READERS + 1)]
    began = time.monotonic()
    here.ctl("queue", "release", "--all", "--yes")
    while (arrived := sum(watch.count() for watch in watches)) < count:
        if time.monotonic() > began + 300:
            raise TimeoutError(f"only {arrived} of {count} messages arrived")
        time.sleep(0.01)
    rate = count * LARGE / (time.monotonic() - began) / 1e6
    for watch in watches:
        watch.close()
    return rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--count", type=int, default=5000, help="small messages in each run")
    parser.add_argument("--large", type=int, default=20, help="large messages in each run")
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--keep", action="store_true", help="leave the servers running until Enter, for a profiler")
    options = parser.parse_args()
    directory = ROOT / "bench" / "var" / "federation"
    here, there = server(directory / "here", "here.test", READERS), server(directory / "there", "there.test", READERS)
    small, large = [], []
    with tempfile.TemporaryDirectory(prefix="mailx-bench-") as certificates:
        echo = Echo(Authority(Path(certificates)).issue("echo.test"))
        try:
            acquaint([here, there])
            progress("warming up")
            measure(here, there, 200, 0.0, options.sessions)
            progress("single messages")
            idle = measure(here, there, 100, 5.0, 2)
            for _ in range(options.runs):
                small.append(measure(here, there, options.count, 0.0, options.sessions)["messages_per_s"])
                progress(f"{small[-1]:.0f} messages/s")
            if options.keep:
                input(f"pids {here.process and here.process.pid} {there.process and there.process.pid}; Enter ends")
            for _ in range(options.runs):
                large.append(large_rate(here, there, options.large))
                progress(f"{large[-1]:.0f} MB/s")
        finally:
            here.stop()
            there.stop()
        try:
            calls = statistics.median(echo.rate(SMALL, options.count) for _ in range(options.runs))
            pieces = statistics.median(echo.rate(PIECE, 400) for _ in range(options.runs)) * PIECE / 1e6
        finally:
            echo.stop()
    messages, megabytes = statistics.median(small), statistics.median(large)
    figures = {"p95_s": idle["p95_s"], "p50_s": idle["p50_s"], "messages_per_s": messages, "mb_per_s_25m": round(megabytes, 1)}
    floor = {"echo_calls_per_s": round(calls, 1), "echo_mb_per_s": round(pieces, 1)}
    finish("federation", {**figures, **floor}, {"messages_vs_echo": messages / calls, "mb_vs_echo": megabytes / pieces})


if __name__ == "__main__":
    main()
