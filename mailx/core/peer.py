"""What is known of another MailX server, and what looking for one brings.

``Known`` is what is kept of a domain: its keys with the moment that each was first seen, its servers, until when that holds.
``Peer`` is what the rest of the program sees of it. Reading what was kept raises :class:`Malformed` when it is damaged.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from attrs import asdict, field, frozen

from mailx.identity import domain_keys
from mailx.identity.domain_keys import DomainKey
from mailx.identity.encoding import Malformed, b64, unb64
from mailx.mail.reply import Refused, Reply

STATIC, DNSSEC, HTTPS = "static", "dnssec", "https"  # where a key comes from
UNPINNED, NEVER = "unpinned", "never"  # when mail for a MailX domain may go by SMTP
MAILX, NONE, REFUSED, UNSURE = "mailx", "none", "refused", "unsure"  # what looking brings
KEYS_KEPT = 32  # of a domain's history


class Undecided(Refused):
    """Whether, or how, the domain is reached by federation cannot be said now.

    ``fallback``: the policy lets its mail go by SMTP meanwhile. ``reason`` is fit for logs and timelines.
    """

    def __init__(self, reason: str, fallback: bool) -> None:
        super().__init__(Reply(451, "4.4.0", "The MailX server of the domain is not found"), reason)
        self.fallback = fallback


@frozen
class Peer:
    """A MailX server of another domain. Limits are None where those of the configuration hold."""

    domain: str
    keys: tuple[bytes, ...]  # the domain keys that are believed now, the current one first
    servers: tuple[tuple[str, int], ...]  # host and port; the next is tried when one fails
    source: str  # STATIC, DNSSEC or HTTPS
    verified: int  # when what is known was seen last, in seconds since 1970
    expires: int  # when it is looked for again
    pinned_until: int
    blocked: bool = False
    fallback: str = UNPINNED
    per_minute: int | None = None
    per_hour: int | None = None
    burst: int | None = None
    connections: int | None = None
    message_size: int = 0  # the largest that it takes; 0: it does not say
    capabilities: tuple[str, ...] = ()


@frozen
class PeerSettings:
    """What an administrator set for one domain; None or "": as the configuration has it."""

    blocked: bool = False
    fallback: str = ""
    per_minute: int | None = None
    per_hour: int | None = None
    burst: int | None = None
    connections: int | None = None

    def encode(self) -> dict[str, Any]:
        """For keeping: what is set."""
        return {name: value for name, value in asdict(self).items() if value is not None and value is not False and value != ""}

    @classmethod
    def decode(cls, value: Mapping[str, Any]) -> "PeerSettings":
        """What ``encode`` wrote."""
        return cls(**{name: value[name] for name in asdict(cls()) if name in value})


@frozen
class Step:
    """One step of looking for a server, for whoever wants to know why it ended as it did."""

    name: str
    outcome: str  # "ok", "none", "refused" or "failed"
    text: str


@frozen
class Found:
    """What looking for the MailX server of a domain brought."""

    outcome: str  # MAILX, NONE, REFUSED (something is wrong there) or UNSURE (nobody can say now)
    reason: str = ""  # of REFUSED and UNSURE; holds nothing that the other side chose
    ttl: int = 0  # seconds
    evidence: bool = False  # DNS says that there is one
    source: str = ""
    key: bytes = b""
    history: tuple[DomainKey, ...] = ()  # proved; empty when only DNS spoke
    servers: tuple[tuple[str, int], ...] = ()
    capabilities: tuple[str, ...] = ()
    message_size: int = 0
    until: int = 0  # how long it may be used when it cannot be looked for again
    steps: tuple[Step, ...] = ()


class Discoverer(Protocol):
    """Looks for MailX servers; :class:`mailx.core.discovery.Discovery`."""

    async def look(self, domain: str, anew: bool = False) -> Found:
        """What there is now; ``anew``: also past what the resolver remembers. Never raises."""


@frozen
class Known:
    """What is kept of one domain. Times are seconds since 1970."""

    domain: str
    mailx: bool = False  # a server was found once, and its keys are kept
    source: str = ""
    key: bytes = b""  # the current one
    history: tuple[tuple[DomainKey, int], ...] = field(default=(), repr=False)  # proved keys, oldest first, and when each was first seen
    servers: tuple[tuple[str, int], ...] = ()
    capabilities: tuple[str, ...] = ()
    message_size: int = 0
    verified: int = 0
    expires: int = 0
    until: int = 0
    pinned_until: int = 0
    absent: bool = False  # the last look found none
    trouble: str = ""  # why the last look brought no answer
    evidence: bool = False  # DNS says that there is one

    @property
    def serial(self) -> int:
        """The number of the current key; 0: it has none that is known."""
        return self.history[-1][0].serial if self.history else 0

    def keys(self, now: float) -> tuple[bytes, ...]:
        """The keys believed at ``now``, the current one first."""
        if not self.history:
            return (self.key,) if self.key else ()
        return domain_keys.valid([key for key, _ in self.history], int(now))

    def recoveries(self, now: float) -> tuple[bytes, ...]:
        """The recovery keys believed at ``now``."""
        return domain_keys.recoveries(self.history, int(now))

    def peer(self, own: PeerSettings, fallback: str, now: float) -> Peer:
        """What the rest of the program sees of it at ``now``; ``own`` is what is set for it."""
        limits = own.per_minute, own.per_hour, own.burst, own.connections
        places = self.keys(now), self.servers, self.source, self.verified, self.expires, self.pinned_until
        return Peer(self.domain, *places, own.blocked, fallback, *limits, self.message_size, self.capabilities)

    def encode(self) -> dict[str, Any]:
        """For keeping, as JSON; times that are columns of their own are left out."""
        return {
            "domain": self.domain,
            "source": self.source,
            "key": b64(self.key),
            "history": [[key.statement.encode(), seen] for key, seen in self.history[-KEYS_KEPT:]],
            "servers": [list(server) for server in self.servers],
            "capabilities": list(self.capabilities),
            "message_size": self.message_size,
            "until": self.until,
            "absent": self.absent,
            "trouble": self.trouble,
            "evidence": self.evidence,
        }

    @classmethod
    def decode(cls, value: Mapping[str, Any], **columns: Any) -> "Known":
        """What ``encode`` wrote; raises Malformed."""
        try:
            return cls(
                domain=value["domain"],
                source=value["source"],
                key=unb64(value["key"]),
                history=tuple((DomainKey.decode(each), int(seen)) for each, seen in value["history"]),
                servers=_servers(value["servers"]),
                capabilities=tuple(value["capabilities"]),
                message_size=int(value["message_size"]),
                until=int(value["until"]),
                absent=value["absent"],
                trouble=value["trouble"],
                evidence=value["evidence"],
                **columns,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise Malformed(f"what was kept of a peer: {type(error).__name__}") from None


def _servers(value: Sequence[Sequence[Any]]) -> tuple[tuple[str, int], ...]:
    return tuple((str(host), int(port)) for host, port in value)
