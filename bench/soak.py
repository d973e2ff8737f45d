"""``make soak``: mixed load for a long time; memory must stay flat and the log free of errors.

People send by SMTP and submission, read, flag, move, delete and idle by IMAP, with connections that come and go and some
that break off. Much of what they submit goes out, signed, to a second MailX over STARTTLS, to a server that accepts,
refuses, puts off and is slow, to one that is dead and to domains that do not exist; aliases forward, what the second MailX
sends is checked, programs call the webhook receiver, and somebody looks at the queue and holds, releases and retries. Resident
memory and open descriptors of both are sampled; the figures are their growth from the middle third to the last, and what is
open when all is quiet.
"""

import argparse
import json
import os
import shutil
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from bench.hop import sign
from bench.idle import resident
from bench.people import DEAD, ELSEWHERE, SECRET, STRICT, USERS, Actors
from bench.recorder import Recorder
from bench.report import finish, progress
from bench.servers import DOMAIN, ROOT, MailX, free_port
from tests.system.names import Names

THERE = "there.example"
HERE_ADDRESS, THERE_ADDRESS, ELSEWHERE_ADDRESS, STRICT_ADDRESS = "127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.5"
QUIET = 90.0  # seconds in which everything must have come to rest
ZONES = {
    DOMAIN: f'@ MX 10 mx\nmx A {HERE_ADDRESS}\n@ TXT "v=spf1 ip4:{HERE_ADDRESS} -all"\n_dmarc TXT "v=DMARC1; p=reject"',
    THERE: f'@ MX 10 mx\nmx A {THERE_ADDRESS}\n@ TXT "v=spf1 ip4:{THERE_ADDRESS} -all"\n_dmarc TXT "v=DMARC1; p=reject"',
    ELSEWHERE: f"@ MX 10 mx\nmx A {ELSEWHERE_ADDRESS}",
    DEAD: "@ MX 10 mx\nmx A 127.0.0.9",
    STRICT: f'@ TXT "v=spf1 ip4:{STRICT_ADDRESS} -all"\n_dmarc TXT "v=DMARC1; p=reject"',
    "example.net": f'@ TXT "v=spf1 ip4:{STRICT_ADDRESS} ~all"\n* TXT "v=spf1 ip4:{STRICT_ADDRESS} ~all"',
}
SETTINGS = """[checks]
trusted = ["127.0.0.1/32"]
[limits]
account_hour = 0
account_day = 0
address_minute = 0
[outbound]
port = {port}
loopback = true
interface = "{address}"
[queue]
retry = ["2s", "5s", "20s"]
warn_after = "10s"
[webhook]
secret = "{secret}"
sender_domain = "{domain}"
per_minute = 0
"""


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


def warnings_in(log: Path) -> Counter[str]:
    """How often the log warned of what."""
    entries = (json.loads(line) for line in log.read_text(errors="replace").splitlines() if '"warn"' in line)
    return Counter(str(entry.get("event")) for entry in entries if entry.get("level") == "warn")


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


class Watched:
    """A server of the soak, and what it took at each sample."""

    def __init__(self, server: MailX) -> None:
        self.server = server
        self.memory: list[float] = []
        self.open: list[int] = []
        self.at_rest = 0
        self.queue: dict[str, int] = {}

    @property
    def _pid(self) -> int:
        assert self.server.process is not None
        return self.server.process.pid

    def sample(self) -> None:
        self.memory.append(resident(self._pid))
        self.open.append(descriptors(self._pid))

    def rest(self, deadline: float) -> bool:
        """Wait until nothing is being sent or waits for its turn; whether that came."""
        while time.monotonic() < deadline:
            self.server.api("POST", "/v1/queue/release", body={"state": "held"})
            counts = self.server.api("GET", "/v1/queue", {"limit": "1"})["counts"]
            if not any(counts.get(state) for state in ("pending", "sending", "deferred", "held")):
                return True
            time.sleep(0.5)
        return False

    def figures(self) -> dict[str, Any]:
        third = max(1, len(self.memory) // 3)

        def middle_and_last(values: list[Any]) -> dict[str, float]:
            middle, last = values[third : 2 * third] or values, values[-third:]
            return {
                "first": round(values[0], 1),
                "middle": round(sum(middle) / len(middle), 1),
                "last": round(sum(last) / len(last), 1),
                "most": round(max(values), 1),
            }

        return {
            "resident_mb": middle_and_last(self.memory),
            "descriptors": middle_and_last(self.open) | {"at_rest": self.at_rest},
            "warnings": dict(warnings_in(self.server.directory / "var" / "mailx.log")),
            "queue": self.queue,
        }

    def errors(self) -> list[str]:
        return errors_in(self.server.directory / "var" / "mailx.log") + errors_in(self.server.directory / "twistd.log")


def servers(directory: Path, resolver: str, port: int) -> tuple[MailX, MailX]:
    """Here and there, whose MX listens on ``port`` of an address of its own."""
    here, there = (
        MailX(
            directory / name,
            users=USERS,
            domain=domain,
            interface=address,
            resolver=resolver,
            smtp_port=port,
            settings=SETTINGS.format(port=port, address=address, secret=SECRET, domain=domain),
        )
        for name, domain, address in (("here", DOMAIN, HERE_ADDRESS), ("there", THERE, THERE_ADDRESS))
    )
    return here, there


def prepare(here: MailX, there: MailX, names: Names) -> None:
    """Accounts, aliases, and keys with which both sign."""
    for server in (here, there):
        server.populate()
        sign(server, names)
    here.ctl("alias", "add", f"away@{DOMAIN}", f"ok-away@{ELSEWHERE}")
    here.ctl("alias", "add", f"gone@{DOMAIN}", f"reject-gone@{ELSEWHERE}")
    here.ctl("alias", "add", f"both@{DOMAIN}", f"u1@{DOMAIN}", f"u2@{THERE}")


def watch(actors: Actors, watched: list[Watched], seconds: float) -> None:
    """Let the people act for so long, and take samples."""
    began = time.monotonic()
    load = threading.Thread(target=actors.run, args=(seconds,))
    load.start()
    while load.is_alive():
        load.join(max(1.0, seconds / 60))
        if not load.is_alive():
            break
        for each in watched:
            each.sample()
        taken = ", ".join(f"{each.memory[-1]:.1f} MB {each.open[-1]} open" for each in watched)
        done, failed = sum(actors.done.values()), sum(actors.failed.values())
        progress(f"{(time.monotonic() - began) / 60:.1f} min, {taken}, {done} done, {failed} failed")


def settle(watched: list[Watched]) -> list[str]:
    """Wait until all is quiet and note what is open then; what never came to rest."""
    deadline = time.monotonic() + QUIET
    faults = [f"the queue of {each.server.domain} never became empty" for each in watched if not each.rest(deadline)]
    time.sleep(15)  # connections that are kept for more are closed
    for each in watched:
        assert each.server.process is not None
        each.at_rest = descriptors(each.server.process.pid)
        each.queue = each.server.api("GET", "/v1/queue", {"limit": "1"})["counts"]
    return faults


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3600)
    options = parser.parse_args()
    directory = ROOT / "bench" / "var" / "soak"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    port, names = free_port(), Names(ZONES)
    here, there = servers(directory, f"127.0.0.1:{names.resolver}", port)
    recorder = Recorder(directory / "arrivals.txt", 2.0, ELSEWHERE_ADDRESS, port)
    started: list[Any] = []
    try:
        for each in (names, there, here):
            started.append(each)
            each.start()
        prepare(here, there, names)
        watched = [Watched(here), Watched(there)]
        actors = Actors(here, there, STRICT_ADDRESS)
        watch(actors, watched, options.seconds)
        faults = settle(watched)
    finally:
        for each in reversed(started):
            each.stop()
        recorder.close()
    errors = faults + [error for each in watched for error in each.errors()]
    figures = {
        "minutes": round(options.seconds / 60, 1),
        "done": dict(actors.done),
        "failed": dict(actors.failed),
        "arrived_elsewhere": len(recorder.arrivals),
        "growth_mb": round(sum(each.figures()["resident_mb"]["last"] - each.figures()["resident_mb"]["middle"] for each in watched), 1),
        "here": watched[0].figures(),
        "there": watched[1].figures(),
        "errors": errors[:10],
        "error_count": len(errors),
    }
    finish("soak", figures, {})
    raise SystemExit(1 if errors or actors.failed else 0)


if __name__ == "__main__":
    main()
