"""``make bench-hop``: how long a message takes from its submission to its arrival in a second MailX, over SMTP with STARTTLS.

The first server finds the second by DNS (Knot and Unbound), signs with DKIM and encrypts; the second checks SPF, DKIM and
DMARC and stores. Sent is when the client had the last octet on the way; arrived is when an IMAP session in IDLE was told.
"""

import argparse
import re
import statistics
import threading
import time
from pathlib import Path
from typing import Any

from bench.client import Client
from bench.corpus import Corpus, submitted
from bench.report import finish, percentile, progress
from bench.servers import DOMAIN, ROOT, MailX
from bench.submission import Load, close, connect
from tests.system.names import Names

THERE = "there.example"
ADDRESS = "127.0.0.2"
READERS = 4
OWN_ZONE = '@ A 127.0.0.1\n@ TXT "v=spf1 ip4:127.0.0.1 -all"\n_dmarc TXT "v=DMARC1; p=reject"'


class Watch:
    """When the messages of one mailbox arrived, as IDLE tells."""

    def __init__(self, server: MailX, user: int) -> None:
        self._server, self._user = server, user
        self._client = Client(server.imap_port, user, address=server.interface, domain=server.domain)
        self._before = self._client.select()
        self._times: list[tuple[int, float]] = []
        self._client.begin_idle()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in self._client.notices():
            found = re.match(rb"\* (\d+) EXISTS", line)
            if found:
                self._times.append((int(found[1]), time.monotonic()))

    def count(self) -> int:
        """How many have arrived since it began."""
        return self._times[-1][0] - self._before if self._times else 0

    def arrivals(self) -> dict[int, float]:
        """Number of each message, by its X-Number, and when it arrived."""
        client = Client(self._server.imap_port, self._user, address=self._server.interface, domain=self._server.domain)
        client.select()
        answer = client.command(b"FETCH %d:* (BODY.PEEK[HEADER.FIELDS (X-Number)])" % (self._before + 1))
        numbers = [int(number) for number in re.findall(rb"X-Number: (\d+)", answer)]
        client.close()
        arrived, place = {}, self._before
        for exists, moment in self._times:
            while place < exists:
                arrived[numbers[place - self._before]] = moment
                place += 1
        return arrived

    def close(self) -> None:
        self._client.close()


def servers(directory: Path, names: Names) -> tuple[MailX, MailX]:
    resolver = f"127.0.0.1:{names.resolver}"
    there = MailX(
        directory / "there",
        users=READERS,
        domain=THERE,
        interface=ADDRESS,
        resolver=resolver,
        settings="[checks]\ntrusted = []\n[limits]\naddress_minute = 0\n",
    )
    here = MailX(
        directory / "here",
        users=READERS,
        resolver=resolver,
        settings=f'[outbound]\nport = {there.smtp_port}\nloopback = true\ntls = "required"\n[limits]\naccount_hour = 0\naccount_day = 0\n',
    )
    return here, there


def sign(server: MailX, names: Names) -> None:
    """Make keys for its domain, publish and use them."""
    domain = server.domain
    server.ctl("dkim", "create", domain)
    names.publish(domain, "\n".join(line for line in server.ctl("dkim", "show", domain).splitlines() if "._domainkey." in line))
    server.ctl("dkim", "activate", domain, "--force")


def require_verdicts(there: MailX) -> None:
    """Raise RuntimeError unless the last message that arrived was found authentic."""
    client = Client(there.imap_port, address=there.interface, domain=there.domain)
    last = client.select()
    shown = client.command(b"FETCH %d (BODY.PEEK[HEADER.FIELDS (Authentication-Results)])" % last)
    client.close()
    for verdict in (b"spf=pass", b"dkim=pass", b"dmarc=pass"):
        if verdict not in shown:
            raise RuntimeError(f"not found authentic: {shown.decode()}")


def measure(here: MailX, there: MailX, count: int, rate: float, sessions: int) -> dict[str, float]:
    """Submit ``count`` messages, ``rate`` a second (0: as fast as they are taken); latencies in seconds."""
    every = (submitted(message, f"u1@{here.domain}") for message in Corpus().messages(count))
    contents = [b"X-Number: %d\r\n" % number + message.replace(b"\r\n.", b"\r\n..") for number, message in enumerate(every)]
    watches = [Watch(there, user) for user in range(1, READERS + 1)]
    connections = connect(here.ports["submission"], [f"u{user}@{here.domain}" for user in range(1, READERS + 1)], sessions)
    sent = Load(connections, count, lambda number: contents[number], lambda number: f"u{number % READERS + 1}@{there.domain}", rate).run()
    deadline = time.monotonic() + 300
    while (arrived := sum(watch.count() for watch in watches)) < count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"only {arrived} of {count} messages arrived")
        time.sleep(0.01)
    moments: dict[int, float] = {}
    for watch in watches:
        moments |= watch.arrivals()
        watch.close()
    close(connections)
    latencies = [moments[each.number] - each.sent for each in sent]
    return {
        "p50_s": round(statistics.median(latencies), 4),
        "p95_s": round(percentile(latencies, 0.95), 4),
        "max_s": round(max(latencies), 4),
        "messages_per_s": round(count / (max(moments.values()) - min(each.sent for each in sent)), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="messages")
    parser.add_argument("--rate", type=float, default=20.0, help="messages a second")
    parser.add_argument("--sessions", type=int, default=4)
    options = parser.parse_args()
    names = Names({DOMAIN: OWN_ZONE, THERE: f"@ MX 10 mx\nmx A {ADDRESS}"})
    here, there = servers(ROOT / "bench" / "var" / "hop", names)
    started: list[Any] = []
    try:
        for each in (names, there, here):
            started.append(each)
            each.start()
        here.populate()
        there.populate()
        sign(here, names)
        progress("warming up")
        measure(here, there, 50, 20.0, options.sessions)
        require_verdicts(there)
        progress(f"{options.count} messages, {options.rate:g} a second")
        steady = measure(here, there, options.count, options.rate, options.sessions)
    finally:
        for each in reversed(started):
            each.stop()
    finish("hop", {**steady, "rate": options.rate, "count": options.count}, {})


if __name__ == "__main__":
    main()
