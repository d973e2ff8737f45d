"""The courier of a smart host: its hosts in turn, TLS and login as configured, connections kept.

A relay that cannot be reached, shows a wrong certificate or refuses the login leaves the mail queued: that is its route's
trouble. What it says of a message or a recipient is final.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from attrs import define, evolve
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from zope.interface import implementer

from mailx import config
from mailx.config import Relay
from mailx.core.courier import Attempt, ICourier
from mailx.core.resolver import DNSFailure, ascii_name, system_addresses
from mailx.mail.address import Address
from mailx.mail.envelope import Envelope
from mailx.mail.networks import is_address
from mailx.mail.reply import Reply
from mailx.outbound.client import Rendering
from mailx.outbound.hop import ENCRYPT, NONE, VERIFY, Hop, Login, Security, Unreachable
from mailx.outbound.pool import Pool
from mailx.outbound.wire import broken_off

log = Logger()

PORTS = {"plain": 25, "starttls": 587, "tls": 465}
ADDRESSES = 4  # of one host that are tried
FRESH = 60.0  # seconds that the addresses of a host are used before they are looked up again
RESTING = 60.0  # seconds that a host which failed is tried last
LOGIN_REFUSALS = frozenset((530, 534, 535, 538))  # RFC 4954 6, also in answer to MAIL

NO_HOST = Reply(451, "4.4.4", "The relay has no host")
NO_NAME = Reply(451, "4.4.4", "The relay's host name does not exist or has no address")
REPLACED = Reply(451, "4.4.1", "The relay was replaced by another")
NO_DNS = Reply(451, "4.4.3", "The relay's host name cannot be looked up now")


class Addresses(Protocol):
    """Looks names up: :class:`mailx.core.resolver.Resolver`."""

    async def addresses(self, name: str) -> list[str]:
        """IP addresses; raises DNSFailure."""


@define
class _Host:
    name: str
    port: int
    hops: tuple[Hop, ...] = ()
    known: float = 0.0  # until when ``hops`` are used
    resting: float = 0.0  # until when others are tried first


@implementer(ICourier)
class RelayCourier:
    """Passes everything on to one smart host."""

    def __init__(self, relay: Relay, pool: Pool, outgoing: Rendering, resolver: Addresses, reactor: Any) -> None:
        self._relay = relay
        self._pool = pool
        self._outgoing = outgoing
        self._resolver = resolver
        self._reactor = reactor
        self._key = ("relay", relay.name, object())  # whoever comes after this one makes connections of its own
        self._retired = False
        self._hosts = [_Host(*endpoint(each, PORTS[relay.security])) for each in relay.hosts]
        self._login = Login(relay.username, relay.password, relay.mechanism) if relay.username else None
        if relay.security != "plain" and not relay.verify:
            log.warn("UNSAFE: the certificate of the relay {relay} is not checked", event="relay.unverified", relay=relay.name)
        if relay.security == "plain" and self._login is not None:
            log.warn("UNSAFE: the password for the relay {relay} goes unencrypted", event="relay.plaintext_login", relay=relay.name)

    async def deliver(self, envelope: Envelope, recipients: Sequence[Address], destination: str) -> Mapping[Address, Attempt]:
        """Through the first host that is there. Those that failed lately are tried last."""
        try:
            return await self._deliver(envelope, recipients)
        finally:
            if self._retired:
                self._pool.close(self._key)

    async def _deliver(self, envelope: Envelope, recipients: Sequence[Address]) -> Mapping[Address, Attempt]:
        now = self._reactor.seconds()
        failure = Unreachable(NO_HOST)
        found: dict[Address, Attempt] = {}
        left = recipients  # nobody has said anything of them, at most that a session ended
        for host in sorted(self._hosts, key=lambda each: each.resting > now) if len(self._hosts) > 1 else self._hosts:
            try:
                hops = host.hops if host.known > now or self._retired else await self._look_up(host)
            except Unreachable as unreachable:
                failure = unreachable
                continue
            for hop in hops:
                try:
                    found.update(await self._through(hop, envelope, left, bool(found)))
                except Unreachable as unreachable:
                    failure = unreachable
                    continue
                left = [recipient for recipient in left if broken_off(found[recipient].reply)]
                if not left:
                    host.resting = 0.0
                    return found
            host.resting = self._reactor.seconds() + RESTING
        if found:
            return found
        attempt = failure.attempt()
        return dict.fromkeys(recipients, attempt if attempt.reply.temporary else evolve(attempt, reply=_softened(attempt.reply)))

    async def _through(self, hop: Hop, envelope: Envelope, recipients: Sequence[Address], fresh: bool) -> Mapping[Address, Attempt]:
        """Over a connection to ``hop``, or an idle one to any host unless it must be ``fresh``: one of them has just broken off."""
        if self._retired:  # no further hosts are tried: the mail goes by another courier
            raise Unreachable(REPLACED)
        relay = self._relay
        level = NONE if relay.security == "plain" else VERIFY if relay.verify else ENCRYPT
        found = await self._pool.deliver(
            self._key, hop, Security(level, (hop.name,)), self._login, relay.timeout, envelope, recipients, self._outgoing, fresh=fresh
        )
        if any(attempt.reply.code in LOGIN_REFUSALS for attempt in found.values()):
            return {recipient: _without_login(attempt) for recipient, attempt in found.items()}
        return found

    async def _look_up(self, host: _Host) -> tuple[Hop, ...]:
        """Where ``host`` is; raises Unreachable."""
        name = host.name
        try:
            if is_address(name):
                addresses = [name]
            elif name == "localhost":  # RFC 6761 6.3: never asked of a server
                addresses = ["127.0.0.1", "::1"]
            else:
                threads = self._reactor.getThreadPool()
                addresses = await deferToThreadPool(self._reactor, threads, system_addresses, name)
                addresses = addresses or await self._resolver.addresses(name)
        except DNSFailure:
            raise Unreachable(NO_DNS) from None
        if not addresses:
            raise Unreachable(NO_NAME)
        tls = self._relay.security == "tls"
        host.hops = tuple(Hop(name, address, host.port, tls) for address in addresses[:ADDRESSES])
        host.known = self._reactor.seconds() + FRESH
        return host.hops

    def retire(self) -> None:
        """Another takes over: what runs ends, and with it the connections."""
        self._retired = True
        self._pool.close(self._key)

    async def stop(self) -> None:
        """Close idle connections: those of all couriers, which stop together."""
        self._pool.stop()


def endpoint(text: str, port: int) -> tuple[str, int]:
    """Host (A-labels) and port of a setting; ``port`` where it names none."""
    host, port = config.endpoint(text, port)
    return ascii_name(host) or host.lower(), port


def _softened(reply: Reply) -> Reply:
    """A "never" that a relay said of the session, not of the message: mail waits until it is mended."""
    return Reply(451, "4" + reply.enhanced[1:] if reply.enhanced else "4.3.0", f"The relay refuses the session: {reply}")


def _without_login(attempt: Attempt) -> Attempt:
    if attempt.reply.code not in LOGIN_REFUSALS:
        return attempt
    return evolve(attempt, reply=Reply(454, "4.7.0", f"The relay wants a login: {attempt.reply}"), unreachable=True)
