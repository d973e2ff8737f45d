"""``make bench-webhook``: signed calls accepted durably by the webhook receiver, whose mail goes on to a next server.

``calls_per_s`` counts acknowledged calls over 20 persistent connections, while their mail is delivered to a smtp-sink beside; ``p99_ms`` is
the time from a call to its answer. ``delivered_per_s`` counts until the sink has got all mail. ``cpu_us`` is what a call costs the
server, delivery included. Each figure is the median of the runs.

Then come kills: kill -9 at random moments under load. Every call that was acknowledged must arrive; each that was under way is
repeated, with the same signature and body, after the next start, and those acknowledged too: all must get the recorded answer,
and nothing may be queued twice.
"""

import argparse
import os
import random
import shutil
import sqlite3
import statistics
import threading
import time
from collections import Counter
from pathlib import Path

from bench import calling
from bench.calling import SECRET, Answered, Call, signed
from bench.recorder import Recorder
from bench.report import finish, percentile, progress
from bench.servers import DOMAIN, ROOT, MailX, Sink

SETTINGS = """[webhook]
secret = "{secret}"
sender_domain = "{domain}"
per_minute = 0
[queue]
retry = ["1s", "2s", "5s", "1h"]
[outbound]
per_destination = 20
per_connection = 10000
[[outbound.relays]]
name = "sink"
hosts = ["127.0.0.1:{port}"]
security = "plain"
[[outbound.routes]]
relay = "sink"
"""
NEEDED_PER_S, NEEDED_P99_MS = 1000.0, 100.0
UNCERTAIN = "mailx_queue_uncertain_total"


def server_for(port: int, directory: Path) -> MailX:
    """A server whose mail goes to ``port``."""
    return MailX(directory, settings=SETTINGS.format(secret=SECRET, domain=DOMAIN, port=port))


def cpu(server: MailX) -> float:
    """Seconds of CPU that the server has used."""
    assert server.process is not None
    fields = Path(f"/proc/{server.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def load(server: MailX, sink: Sink, count: int, connections: int) -> dict[str, float]:
    """``count`` calls; rates in calls/s, times in milliseconds, CPU in microseconds a call."""
    calls = [signed(f"r{number % 1000}@example.net", random.getrandbits(40)) for number in range(count)]
    before, used, began = sink.count(), cpu(server), time.monotonic()
    answers = calling.run(server.ports["webhook"], calls, connections)
    accepted = time.monotonic() - began
    wrong = Counter(answer.status for answer in answers if answer.status != 200)
    if wrong or len(answers) < count:
        raise RuntimeError(f"{len(answers)} answers, {dict(wrong)}")
    sink.wait_for(before + count)
    arrived = time.monotonic() - began
    times = [answer.seconds * 1000 for answer in answers]
    return {
        "calls_per_s": count / accepted,
        "delivered_per_s": count / arrived,
        "p50_ms": percentile(times, 0.5),
        "p99_ms": percentile(times, 0.99),
        "cpu_us": (cpu(server) - used) / count * 1e6,
    }


def speed(directory: Path, count: int, connections: int, runs: int) -> dict[str, float]:
    sink = Sink()
    server = server_for(sink.smtp_port, directory)
    sink.start()
    try:
        server.start()
        server.ctl("domain", "add", DOMAIN)
        load(server, sink, 1000, connections)  # warms caches and connections up
        results = []
        for _ in range(runs):
            results.append(load(server, sink, count, connections))
            progress(", ".join(f"{name} {value:.1f}" for name, value in results[-1].items()))
    finally:
        server.stop()
        sink.stop()
    figures = {name: statistics.median(result[name] for result in results) for name in results[0]}
    return figures


class Kills:
    """Rounds of load that end with kill -9."""

    def __init__(self, directory: Path) -> None:
        self.recorder = Recorder(directory / "arrivals", slow_seconds=0.0)
        self.server = server_for(self.recorder.port, directory / "server")
        self.made: dict[str, Call] = {}
        self.acknowledged: dict[str, Answered] = {}
        self.uncertain = 0
        self.faults: list[str] = []

    def round(self, number: int, seconds: float) -> None:
        """Load, a kill, and a new start; then all that was under way is repeated, and some of what was acknowledged."""
        calls = [signed(f"ok-{number}-{each}@example.net", each) for each in range(20000)]
        acknowledged: list[Answered] = []
        loading = threading.Thread(target=calling.run, args=(self.server.ports["webhook"], calls, 20, acknowledged.append))
        loading.start()
        time.sleep(random.uniform(0.1, seconds))
        self.server.kill()
        loading.join()
        for answer in acknowledged:
            self._judge(answer)
        done = {answer.call.to for answer in acknowledged}
        under_way = [call for call in calls[: len(done) + 40] if call.to not in done]
        self.made |= {call.to: call for call in under_way} | {answer.call.to: answer.call for answer in acknowledged}
        self.server.start()
        self.uncertain += int(self.server.metric(UNCERTAIN))
        again = under_way + [answer.call for answer in random.sample(acknowledged, min(200, len(acknowledged)))]
        for answer in calling.run(self.server.ports["webhook"], again * 2, 20):
            self._judge(answer)
        progress(f"round {number}: {len(acknowledged)} acknowledged before the kill, {len(again)} repeated twice")

    def _judge(self, answer: Answered) -> None:
        """One answer: it must be the one that its call was given before, if it was."""
        before = self.acknowledged.setdefault(answer.call.to, answer)
        if answer.status != 200 or answer.body != before.body:
            self.faults.append(f"{answer.call.to}: {answer.status} {answer.body}, before {before.body}")

    def account(self) -> dict[str, object]:
        """What arrived, what did not."""
        deadline = time.monotonic() + 300
        missing = set(self.acknowledged)
        while missing and time.monotonic() < deadline:
            missing -= {arrival.recipient for arrival in list(self.recorder.arrivals)}
            time.sleep(0.1)
            self.server.api("POST", "/v1/queue/retry", body={"state": "deferred"})
        self.server.stop()
        arrived = Counter(arrival.recipient for arrival in self.recorder.arrivals)
        twice = [to for to, count in arrived.items() if count > 1]
        connection = sqlite3.connect(self.server.directory / "var" / "mailx.db")
        (records,) = connection.execute("SELECT count(*) FROM calls").fetchone()
        (queued,) = connection.execute("SELECT count(DISTINCT envelope) FROM dispatches").fetchone()
        connection.close()
        if records != len(self.acknowledged):
            self.faults.append(f"{records} records of {len(self.acknowledged)} calls")
        if queued > records:
            self.faults.append(f"{queued} messages of {records} calls")
        if missing:
            self.faults.append(f"{len(missing)} acknowledged calls never arrived")
        if len(twice) > self.uncertain:
            self.faults.append(f"{len(twice)} arrived twice, {self.uncertain} were uncertain")
        return {
            "acknowledged": len(self.acknowledged),
            "arrived_twice": len(twice),
            "uncertain": self.uncertain,
            "faults": len(self.faults),
        }


def kills(directory: Path, rounds: int, seconds: float) -> tuple[dict[str, object], list[str]]:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    killing = Kills(directory)
    try:
        killing.server.start()
        killing.server.ctl("domain", "add", DOMAIN)
        for number in range(rounds):
            killing.round(number, seconds)
        return killing.account(), killing.faults
    finally:
        killing.server.stop()
        killing.recorder.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--count", type=int, default=10000, help="calls in each run")
    parser.add_argument("--connections", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=10, help="kills; 0: none")
    parser.add_argument("--seconds", type=float, default=2.0, help="longest load before a kill")
    options = parser.parse_args()
    directory = ROOT / "bench" / "var" / "webhook"
    figures: dict[str, object] = {}
    if options.runs:
        figures |= {
            name: round(value, 1) for name, value in speed(directory / "speed", options.count, options.connections, options.runs).items()
        }
    faults: list[str] = []
    if options.rounds:
        figures["kills"], faults = kills(directory / "kills", options.rounds, options.seconds)
    finish("webhook", figures, {"calls_per_s": float(str(figures.get("calls_per_s", 0))) / NEEDED_PER_S} if options.runs else {})
    for fault in faults[:20]:
        progress(fault)
    slow = options.runs and (float(str(figures["calls_per_s"])) < NEEDED_PER_S or float(str(figures["p99_ms"])) > NEEDED_P99_MS)
    if faults or slow:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
