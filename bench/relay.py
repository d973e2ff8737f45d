"""``make bench-relay``: mail submitted and relayed through a smart host, beside Postfix with the same load and the same kind of sink.

4 KB messages come by long-lived sessions over TLS with AUTH, from several accounts, and go over pooled connections to a
smtp-sink. ``messages_per_s`` counts until the sink has got them all, ``accepted_per_s`` until the last was acknowledged.
The servers take turns; each figure is the median. With ``--signed`` MailX signs with DKIM too, as an extra figure.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.corpus import Corpus, submitted
from bench.report import finish, progress
from bench.servers import DOMAIN, PASSWORD, ROOT, MailX, Sink
from bench.submission import Load, close, connect
from tests.system import postfix
from tests.system.certificates import Authority

ACCOUNTS = 10
OCTETS = 4675  # of the corpus, so that 4,096 are left on average
CONNECTIONS = 20  # to the smart host; the default of Postfix


class RelayingMailX:
    """MailX with a route to a sink of its own; limits raised by configuration, all else as shipped."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.sink = Sink()
        self.server = MailX(directory, users=ACCOUNTS, settings=self._settings())
        self.port = self.server.ports["submission"]
        self.users = [f"u{number}@{DOMAIN}" for number in range(1, ACCOUNTS + 1)]
        self.password = PASSWORD

    def _settings(self) -> str:
        return f"""[limits]
account_hour = 0
account_day = 0
[outbound]
per_destination = {CONNECTIONS}
per_connection = 10000
[[outbound.relays]]
name = "sink"
hosts = ["127.0.0.1:{self.sink.smtp_port}"]
security = "plain"
[[outbound.routes]]
relay = "sink"
"""

    def start(self) -> None:
        self.sink.start()
        self.server.start()
        self.server.populate()

    def stop(self) -> None:
        self.server.stop()
        self.sink.stop()


class RelayingPostfix:
    """Debian's Postfix with a sink of its own as relayhost and Dovecot for AUTH; its limit on one client's connections is off."""

    name = "postfix"

    def __init__(self, chain: Path) -> None:
        self.sink = Sink()
        settings = {
            "default_transport": "smtp",
            "relayhost": f"[127.0.0.1]:{self.sink.smtp_port}",
            "smtp_destination_concurrency_limit": str(CONNECTIONS),
            "smtpd_client_connection_count_limit": "0",
            "smtpd_tls_loglevel": "0",
        }
        self.server = postfix.Postfix(f"mail.{DOMAIN}", chain=chain, login=True, settings=settings)
        self.port = self.server.port
        self.users = [postfix.USERNAME]
        self.password = postfix.PASSWORD

    def start(self) -> None:
        self.sink.start()
        self.server.start()

    def stop(self) -> None:
        self.server.stop()
        self.sink.stop()


def load(server: Any, contents: list[bytes], count: int, sessions: int) -> dict[str, float]:
    """Submit ``count`` messages; rates in messages/s."""
    connections = connect(server.port, server.users, sessions, server.password)
    before = server.sink.count()
    began = time.monotonic()
    Load(connections, count, lambda number: contents[number % len(contents)], lambda number: f"r{number % 1000}@example.net").run()
    accepted = time.monotonic() - began
    server.sink.wait_for(before + count)
    arrived = time.monotonic() - began
    close(connections)
    return {"messages_per_s": count / arrived, "accepted_per_s": count / accepted}


def measure(servers: list[Any], contents: list[bytes], count: int, sessions: int, runs: int) -> dict[str, dict[str, float]]:
    results: dict[str, list[dict[str, float]]] = {server.name: [] for server in servers}
    for run in range(runs + 1):
        for server in servers:
            # Run 0 warms caches and connections up.
            result = load(server, contents, count if run else min(count, 500), sessions)
            if run:
                results[server.name].append(result)
                progress(f"{sessions} sessions, {server.name}: " + ", ".join(f"{name} {value:.0f}" for name, value in result.items()))
    return {name: {key: statistics.median(run[key] for run in each) for key in each[0]} for name, each in results.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--count", type=int, default=5000, help="messages in each run")
    parser.add_argument("--sessions", type=int, default=50)
    parser.add_argument("--signed", action="store_true", help="a second MailX that signs with DKIM")
    parser.add_argument("--only-mailx", action="store_true")
    options = parser.parse_args()
    if os.geteuid() and not options.only_mailx:
        raise SystemExit("bench-relay: Postfix starts as root only; run it as root, or with --only-mailx")
    directory = ROOT / "bench" / "var" / "relay"
    contents = [submitted(message, f"u1@{DOMAIN}").replace(b"\r\n.", b"\r\n..") for message in Corpus().messages(200, OCTETS)]
    with tempfile.TemporaryDirectory(prefix="mailx-bench-") as certificates:
        servers: list[Any] = [RelayingMailX("mailx", directory / "mailx")]
        if options.signed:
            servers.append(RelayingMailX("mailx_signing", directory / "signing"))
        if not options.only_mailx:
            servers.append(RelayingPostfix(Authority(Path(certificates)).issue(f"mail.{DOMAIN}")))
        started = []
        try:
            for server in servers:
                progress(f"starting {server.name}")
                started.append(server)
                server.start()
                if server.name == "mailx_signing":
                    server.server.ctl("dkim", "create", DOMAIN)
                    server.server.ctl("dkim", "activate", DOMAIN, "--force")
            figures = measure(servers, contents, options.count, options.sessions, options.runs)
            for server in servers:
                if server.name == "mailx_signing" and not server.server.metric('mailx_dkim_signatures_total{algorithm="rsa-sha256"}'):
                    raise RuntimeError("nothing was signed")
        finally:
            for server in reversed(started):
                server.stop()
    rates = {name: figure["messages_per_s"] for name, figure in figures.items()}
    ratios = {"vs_postfix": rates["mailx"] / rates["postfix"]} if "postfix" in rates else {}
    octets = round(statistics.mean(map(len, contents)))
    finish("relay", {"messages_per_s": rates["mailx"], "sessions": options.sessions, "octets": octets, **figures}, ratios)


if __name__ == "__main__":
    main()
