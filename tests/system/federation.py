"""Several MailX servers that know each other, on loopback addresses of their own, each with a domain of its own."""

import re
from unittest import TestCase

from tests.system.server import Server

NETWORK = '["127.0.0.0/8"]'


def federated(case: TestCase, domains: list[str], settings: dict[str, str] | None = None, tables: str = "") -> list[Server]:
    """Running servers, one for each of ``domains``; each has the others as static peers. ``settings`` hold for all."""
    servers = [
        Server(
            case,
            {
                "server.hostname": f'"mx.{domain}"',
                "federation.discover": "false",
                "federation.networks": NETWORK,
                "federation.per_minute": "0",
                "federation.per_hour": "0",
                "contacts.requests": '"none"',
                "limits.account_hour": "0",
                "limits.account_day": "0",
                **(settings or {}),
            },
            tables,
            f"127.0.1.{place + 1}",
            domain,
        )
        for place, domain in enumerate(domains)
    ]
    for server in servers:
        server.start()
    introduce(servers)
    return servers


def introduce(servers: list[Server]) -> None:
    """Let each of the running ``servers`` know the others' keys and places."""
    keys = {server: key_of(server) for server in servers}
    for server in servers:
        others = [other for other in servers if other is not server]
        server.tables += "".join(
            f'[[federation.peers]]\ndomain = "{domain_of(other)}"\nhosts = ["{other.address}:{other.ports["federation.port"]}"]\n'
            f'key = "{keys[other]}"\n'
            for other in others
        )
        server.write_configuration()
        server.ctl("config", "reload")


def domain_of(server: Server) -> str:
    return server.account.partition("@")[2]


def key_of(server: Server) -> str:
    """The public key of the server's domain, as ``mailxctl`` shows it."""
    shown = server.ctl("key", "show", domain_of(server))
    found = re.search(r"ed25519:[A-Za-z0-9_-]{43}", shown)
    assert found is not None, shown
    return found[0]
