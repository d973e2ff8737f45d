"""Routes: which way mail for an address leaves, and when it is tried again.

``[[outbound.routes]]`` are asked in their order, the first that fits holds; what fits none goes through the host of
``[smarthost]``, or without one directly to the recipient's server. Domains that are known to have a MailX server are not for
the smart host: only a route leads their mail elsewhere than to them, and it has a schedule of its own. Deciding costs a
dictionary's lookup: the answer for a pair of domains is kept. Routes may change while mail is under way: each change is a
``generation`` of its own.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from random import random

from attrs import frozen

from mailx import config
from mailx.core.users import canonical_domain
from mailx.mail.address import Address

HERE = "(here)"  # Way.relay of mail that waits for a domain which has become one of ours
DIRECT = ""  # Way.relay of mail that goes to the recipients' own servers
_RELAY = "relay:"  # no domain has a colon in it
_KEPT = 10000  # pairs of domains whose way is kept
_SPREAD = 0.25  # of a wait, by which it may be longer


@frozen
class Way:
    """How mail for one recipient leaves."""

    destination: str  # the recipient's domain in A-labels, or the name of a relay
    relay: str  # name of the relay, or DIRECT
    retry: tuple[int, ...]  # seconds between attempts
    federated: bool = False  # to a MailX server, as far as is known

    @property
    def waits(self) -> tuple[int, ...]:
        """``retry`` as it is to be used once: MailX servers whose peer comes back do not all come at the same moment."""
        return tuple([wait + int(wait * _SPREAD * random()) for wait in self.retry]) if self.federated else self.retry

    @property
    def lane(self) -> str:
        """What shares connections and fate: no domain and relay have the same."""
        return lane_of(self.relay) if self.relay else self.destination


def lane_of(relay: str) -> str:
    """The lane of everything that goes through ``relay``."""
    return _RELAY + relay


def smarthost_relay(smarthost: config.Smarthost) -> config.Relay:
    """The host of ``[smarthost]`` as a relay."""
    host = f"[{smarthost.host}]" if ":" in smarthost.host else smarthost.host
    return config.Relay(
        config.SMARTHOST,
        (f"{host}:{smarthost.port}",),
        smarthost.security,
        smarthost.username,
        smarthost.password,
        timeout=smarthost.timeout,
        verify=smarthost.verify,
    )


def relays(settings: config.Config) -> tuple[config.Relay, ...]:
    """Every relay that mail may go through, that of ``[smarthost]`` among them."""
    return (*settings.outbound.relays, *([smarthost_relay(settings.smarthost)] if settings.smarthost.host else []))


class Routes:
    """Decides ways by the configuration."""

    def __init__(
        self,
        outbound: config.Outbound,
        queue: config.Queue,
        smarthost: config.Smarthost | None = None,
        *,
        federated: Callable[[str], bool] | None = None,
        retry: Sequence[str] = (),
    ) -> None:
        """``federated`` knows the domains with a MailX server (:meth:`mailx.core.peers.Peers.known`); ``retry`` is their schedule."""
        self.generation = -1
        self._federated = federated
        self._federated_retry = waits(retry)
        self._peer = lru_cache(maxsize=_KEPT)(lambda domain: Way(domain, DIRECT, self._federated_retry, True))
        self.renew(outbound, queue, smarthost)

    def renew(self, outbound: config.Outbound, queue: config.Queue, smarthost: config.Smarthost | None = None) -> None:
        """Decide by these from now on."""
        self.generation += 1
        self._routes = outbound.routes
        self._retry = waits(queue.retry)
        self._smarthost = smarthost is not None and bool(smarthost.host)
        self._decided = lru_cache(maxsize=_KEPT)(self._decide)

    def route(self, recipient: Address, sender: Address | None) -> Way:
        """The way of mail from ``sender`` (None: the null reverse-path) to ``recipient``."""
        routed, domain, way = self._decided(recipient.domain, "" if sender is None else sender.domain)
        return self._peer(domain) if not routed and self._federated is not None and self._federated(domain) else way

    def waits(self, way: Way, planned: int) -> int:
        """How many attempts may fail before the last, of a recipient for whom there were to be ``planned`` when he was queued.

        His domain may have turned out to have a MailX server since, or not to have one any more.
        """
        other = self._retry if way.federated else self._federated_retry
        return len(way.retry) if planned == len(other) else planned

    @property
    def routed(self) -> bool:
        """Whether some mail goes, or went since the start, through relays: its place in the queue does not tell its domain."""
        return bool(self._routes) or self._smarthost or self.generation > 0

    @property
    def longest(self) -> int:
        """The longest wait of any route, in seconds."""
        federated = int(max(self._federated_retry, default=0) * (1 + _SPREAD))
        return max((*self._retry, federated, *[wait for route in self._routes for wait in waits(route.retry)]), default=0)

    def _decide(self, recipient: str, sender: str) -> tuple[bool, str, Way]:
        """Whether a route decides, the recipient's domain, and the way if no MailX server is known there."""
        domain = canonical_domain(recipient)
        for route in self._routes:
            if _fits(route.recipients, domain) and _fits(route.senders, canonical_domain(sender)):
                return True, domain, Way(route.relay or domain, route.relay, waits(route.retry) or self._retry)
        return False, domain, Way(config.SMARTHOST, config.SMARTHOST, self._retry) if self._smarthost else Way(domain, DIRECT, self._retry)


def waits(texts: Sequence[str]) -> tuple[int, ...]:
    """Durations of the configuration in seconds."""
    return tuple([config.seconds(text) for text in texts])


def _fits(patterns: Sequence[str], domain: str) -> bool:
    """Whether one of ``patterns`` (``example.org``, ``*.example.org``) names ``domain``; no patterns name every one."""
    if not patterns:
        return True
    for pattern in patterns:
        below = pattern.startswith("*.")
        name = canonical_domain(pattern[2:] if below else pattern)
        if domain.endswith("." + name) if below else domain == name:
            return True
    return False
