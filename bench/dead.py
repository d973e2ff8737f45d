"""``make bench-dead``: mail to a live destination while a hundred thousand messages wait for a thousand dead ones.

Half of the dead destinations refuse connections, half are black holes, whose connections neither open nor fail. First a
stream goes out with nothing else in the queue; then the dead mail is submitted; then the same stream again, to a destination
the server has not met. ``p95_s`` is from a message's last octet at submission to its arrival. Memory is that of the server's process.
"""

import argparse
import socket
import statistics
import threading
import time
from typing import Any

import dns.flags
import dns.message
import dns.rrset

from bench.corpus import Corpus
from bench.recorder import Recorder
from bench.report import finish, percentile, progress
from bench.servers import DOMAIN, ROOT, MailX
from bench.submission import Load, close, connect

REFUSING, HOLE, LIVE = "127.0.1.1", "127.0.2.1", "127.0.0.1"
USERS = 4


class Names:
    """A name server: ``refuse*.example`` and ``hole*.example`` are dead, every other name is alive."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                wire, client = self._socket.recvfrom(4096)
            except OSError:
                return
            query = dns.message.from_wire(wire)
            question = query.question[0]
            answer = dns.message.make_response(query)
            answer.flags |= dns.flags.RA
            if dns.rdatatype.to_text(question.rdtype) == "A":
                name = question.name.to_text()
                address = REFUSING if name.startswith("refuse") else HOLE if name.startswith("hole") else LIVE
                answer.answer.append(dns.rrset.from_text(question.name, 300, "IN", "A", address))
            self._socket.sendto(answer.to_wire(), client)

    def close(self) -> None:
        self._socket.close()


class Hole:
    """A port that takes no connection: nobody accepts, and its backlog is full."""

    def __init__(self, port: int) -> None:
        self._listener = socket.socket()
        self._listener.bind((HOLE, port))
        self._listener.listen(0)
        self._fillers = []
        for _ in range(8):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex((HOLE, port))
            self._fillers.append(filler)

    def close(self) -> None:
        for each in (self._listener, *self._fillers):
            each.close()


def memory(server: MailX) -> float:
    """MiB of the server's process."""
    return server.metric("process_resident_memory_bytes") / 1048576


def stream(server: MailX, recorder: Recorder, domain: str, count: int, rate: float) -> dict[str, float]:
    """Submit ``count`` messages to ``domain``, ``rate`` a second; how long after their submission they arrived."""
    corpus = Corpus()
    contents = [
        b"X-Attempt: %s-%d\r\n" % (domain.encode(), number) + corpus.message(number).replace(b"\r\n.", b"\r\n..") for number in range(count)
    ]
    connections = connect(server.ports["submission"], [f"u{user}@{DOMAIN}" for user in range(1, USERS + 1)], USERS)
    sent = Load(connections, count, lambda number: contents[number], lambda number: f"u{number}@{domain}", rate).run()
    close(connections)
    deadline = time.monotonic() + 300
    while True:
        arrived = {each.attempt: each.whole for each in recorder.arrivals if each.attempt.startswith(domain)}
        if len(arrived) == count:
            break
        if time.monotonic() > deadline:
            raise TimeoutError(f"only {len(arrived)} of {count} messages arrived")
        time.sleep(0.05)
    waits = [max(0.0, arrived[f"{domain}-{each.number}"] - each.sent) for each in sent]
    return {
        "p50_s": round(statistics.median(waits), 4),
        "p95_s": round(percentile(waits, 0.95), 4),
        "max_s": round(max(waits), 4),
    }


def submit_dead(server: MailX, count: int, destinations: int) -> float:
    """Submit ``count`` messages to dead destinations in turns; messages/s."""
    corpus = Corpus()
    contents = [corpus.message(number).replace(b"\r\n.", b"\r\n..") for number in range(200)]

    def recipient(number: int) -> str:
        place = number % destinations
        return f"u{number // destinations}@{'hole' if place % 2 else 'refuse'}{place}.example"

    connections = connect(server.ports["submission"], [f"u{user}@{DOMAIN}" for user in range(1, USERS + 1)], 20)
    began = time.monotonic()
    Load(connections, count, lambda number: contents[number % len(contents)], recipient).run()
    seconds = time.monotonic() - began
    close(connections)
    return count / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000, help="messages to dead destinations")
    parser.add_argument("--destinations", type=int, default=1000)
    parser.add_argument("--live", type=int, default=1200, help="messages of the stream")
    parser.add_argument("--rate", type=float, default=20.0, help="of the stream, messages a second")
    options = parser.parse_args()
    directory = ROOT / "bench" / "var" / "dead"
    directory.mkdir(parents=True, exist_ok=True)
    recorder = Recorder(directory / "arrivals")
    names, hole = Names(), Hole(recorder.port)
    settings = f"[limits]\naccount_hour = 0\naccount_day = 0\n[outbound]\nport = {recorder.port}\nloopback = true\nmta_sts = false\n"
    server = MailX(directory / "mailx", users=USERS, resolver=f"127.0.0.1:{names.port}", settings=settings)
    figures: dict[str, Any] = {"count": options.count, "destinations": options.destinations, "rate": options.rate}
    try:
        server.start()
        server.populate()
        progress("the stream alone")
        figures["alone"] = stream(server, recorder, "first.example", min(options.live, 400), options.rate)
        figures["memory_before_mib"] = round(memory(server), 1)
        progress(f"submitting {options.count} messages to {options.destinations} dead destinations")
        figures["submitted_per_s"] = round(submit_dead(server, options.count, options.destinations), 1)
        figures["memory_queued_mib"] = round(memory(server), 1)
        progress("the stream beside them")
        figures.update(stream(server, recorder, "live.example", options.live, options.rate))
        figures["memory_after_mib"] = round(memory(server), 1)
        figures["states"] = server.api("GET", "/v1/queue", {"limit": "1"}).get("counts")
    finally:
        server.stop()
        hole.close()
        names.close()
        recorder.close()
    growth = figures["memory_after_mib"] - figures["memory_before_mib"]
    finish("dead", {**figures, "memory_growth_mib": round(growth, 1)}, {})


if __name__ == "__main__":
    main()
