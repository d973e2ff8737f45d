"""The settings of federation: mail between MailX servers, who may write for the first time, and traces.

They are sections of :class:`mailx.config.Config` like the others; this module keeps that one short.
"""

from attrs import frozen

from mailx.config_setting import setting

PORT = 65535


@frozen
class StaticPeer:
    """A MailX server that is not looked for; `[[federation.peers]]` may stand several times."""

    domain: str = setting("", "The domain whose mail it takes.", form="domain")
    hosts: tuple[str, ...] = setting((), "Where it listens; the next is tried when one fails. Port 2590 unless said.", form="endpoint")
    key: str = setting("", "The public key of the domain: `ed25519:...`, as that server shows it.")


@frozen
class Federation:
    """Mail between MailX servers: sealed, over mutual TLS, proved by the keys of the domains."""

    port: int = setting(2590, "Port that other MailX servers deliver to; 0: off, and no mail leaves by federation.", least=0, most=PORT)
    https_port: int = setting(
        2443,
        "Port of the public site over HTTPS (443 in production): who this domain is, its key log, keys of users; 0: off.",
        least=0,
        most=PORT,
    )
    host: str = setting("", "Name that other servers reach `port` by; empty: `server.hostname`.", form="host")
    public_port: int = setting(0, "Port that others reach it by, if a firewall maps it; 0: `port`.", least=0, most=PORT)
    discover: bool = setting(True, "Look in DNS for MailX servers; false: only those of `peers`.", reread=True)
    fallback: str = setting(
        "unpinned",
        "What becomes of mail to a MailX domain that federation does not reach: `unpinned`: SMTP if none of its mail went by federation "
        "lately; `never`: it waits.",
        choices=("unpinned", "never"),
        live=True,
    )
    pin_days: int = setting(30, "Days that a domain once reached by federation is never sent mail another way.", least=1, live=True)
    retry: tuple[str, ...] = setting(
        ("1m", "2m", "4m", "8m", "16m", "32m", *["1h"] * 23),
        "Waits between attempts; after the one that follows the last wait the message bounces and is kept as a dead letter.",
        form="duration",
        reread=True,
    )
    lookup_seconds: int = setting(3, "Seconds that accepting a message may wait for the keys of its recipients.", least=0, most=20)
    per_minute: int = setting(100, "Messages from one domain a minute; 0: no limit.", least=0, live=True)
    per_hour: int = setting(1000, "Messages from one domain an hour; 0: no limit.", least=0, live=True)
    burst: int = setting(100, "Messages from one domain at once, before those limits slow it down.", least=1, live=True)
    connections: int = setting(10, "Connections of one domain to one of ours.", least=1, live=True)
    max_connections: int = setting(200, "Connections of all domains.", least=1)
    timeout: int = setting(30, "Seconds that one call may take.", least=1, most=600)
    idle_seconds: int = setting(60, "How long an unused connection is kept.", least=1, most=3600)
    transfers: int = setting(16, "Messages under way over one connection at a time.", least=1, most=64)
    message_size: int = setting(39321600, "Largest message in octets, sealed ones are a third larger than their text.", least=65536)
    shutdown_seconds: int = setting(30, "How long running transfers may finish after SIGTERM.", least=0)
    networks: tuple[str, ...] = setting(
        (), "Private or loopback networks that MailX servers may be found in; others of that kind are refused.", form="network", reread=True
    )
    well_known_port: int = setting(443, "Port of the others' sites; another than 443 is for tests only.", least=1, most=PORT)
    authorities: str = setting("", "PEM file with authorities believed besides the system's for the others' sites.", form="path")
    gossip: bool = setting(
        True,
        "Compare with other MailX servers what the key logs of third domains show; to that end they are told hashes of some domains "
        "that this server knows.",
        live=True,
    )
    peers: tuple[StaticPeer, ...] = setting((), "MailX servers that are not looked for.", reread=True)


@frozen
class Contacts:
    """Who writes to an account for the first time, and who may not write at all."""

    requests: str = setting(
        "federation",
        "Whose first message goes to the folder Requests, unless an account says otherwise: senders over `federation`, `all` senders, "
        "or `none`.",
        choices=("federation", "all", "none"),
        live=True,
    )
    list_hours: int = setting(24, "Hours between readings of shared block lists.", least=1, most=720, live=True)
    list_networks: tuple[str, ...] = setting(
        (), "Private or loopback networks that shared block lists may be read from; others of that kind are refused.", form="network"
    )


@frozen
class Traces:
    """OpenTelemetry traces. They hold ids, times, sizes and domains, never addresses or text."""

    endpoint: str = setting(
        "", "Where spans are posted to (OTLP over HTTP): `http://127.0.0.1:4318/v1/traces`; empty: nowhere.", form="url"
    )
    percent: int = setting(100, "Of a hundred messages, how many are traced; more if other servers trace theirs.", least=0, most=100)
