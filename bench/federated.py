"""MailX servers that know each other: each with a domain of its own, on loopback ports, static peers of all others."""

from collections.abc import Sequence
from pathlib import Path

from bench.servers import MailX

SETTINGS = """[limits]
account_hour = 0
account_day = 0
address_minute = 0
[contacts]
requests = "none"
[outbound]
port = 1
loopback = true
per_destination = {attempts}
[federation]
per_minute = 0
per_hour = 0
fallback = "never"
discover = false
{federation}"""
PEER = """[[federation.peers]]
domain = "{domain}"
hosts = ["{host}:{port}"]
key = "{key}"
"""


def server(directory: Path, domain: str, users: int, attempts: int = 20, federation: str = "") -> MailX:
    """One that is not started, and knows nobody. ``attempts``: transfers to one domain at a time."""
    return MailX(directory, users=users, domain=domain, settings=SETTINGS.format(attempts=attempts, federation=federation))


def acquaint(servers: Sequence[MailX], attempts: int = 20, federation: str = "", ways: dict[tuple[str, str], int] | None = None) -> None:
    """Make domains and accounts, tell each server of the others, and leave all running.

    ``ways`` are the ports by which one domain reaches another, where that is not the other's own.
    """
    keys = {}
    for each in servers:
        each.start()
        each.populate()
        (keys[each.domain],) = [found["key"] for found in each.api("GET", "/v1/keys")["domains"] if found["domain"] == each.domain]
        each.stop()
    for each in servers:
        peers = ""
        for other in servers:
            if other is not each:
                port = (ways or {}).get((each.domain, other.domain), other.ports["federation"])
                peers += PEER.format(domain=other.domain, host=other.interface, port=port, key=keys[other.domain])
        each.configure(SETTINGS.format(attempts=attempts, federation=federation) + peers)
        each.start()
