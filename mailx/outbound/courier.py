"""The courier that brings mail to the recipients' own servers (RFC 5321 5.1).

It tries the servers of the destination in their order until one of them has a session for the message; what that one says is
what came of it, unless the session breaks off before the message is taken. A server that could not be reached, or broke off,
is tried last for a while. Never raises for a mail reason.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from time import time
from typing import Any

from attrs import evolve
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from zope.interface import implementer

from mailx import config
from mailx.core.cache import Cache
from mailx.core.courier import Attempt, ICourier
from mailx.core.remembered import Remembered
from mailx.core.resolver import Resolver
from mailx.mail.address import Address
from mailx.mail.envelope import Envelope
from mailx.mail.reply import Refused
from mailx.outbound.client import Connection, Rendering
from mailx.outbound.downgrade import Downgrades
from mailx.outbound.hop import OPPORTUNISTIC, STARTTLS_NOT_SUPPORTED, VALIDATION_FAILURE, Unreachable
from mailx.outbound.mx import Own
from mailx.outbound.plan import Plan, Plans, Target, Way
from mailx.outbound.pool import Pool
from mailx.outbound.security import Asked, waives
from mailx.outbound.sts import Policies
from mailx.outbound.sts_fetch import Fetcher
from mailx.outbound.tls_reports import TLSReports
from mailx.outbound.wire import broken_off

log = Logger()

HEADER_LIMIT = 65536  # octets of a message that are looked through for TLS-Required
_RESTING_SECONDS = 60.0
_RESTING_SIZE = 10000


@implementer(ICourier)
class SMTPCourier:
    """Delivers directly. ``reports`` counts for TLS reporting."""

    def __init__(
        self,
        settings: config.Outbound,
        hostname: str,
        pool: Pool,
        outgoing: Rendering,
        resolver: Resolver,
        remembered: Remembered,
        own_listeners: Iterable[tuple[str, int]],
        reactor: Any,
        *,
        fetcher: Fetcher | None = None,
        now: Callable[[], float] = time,
    ) -> None:
        """``own_listeners`` (interface, port): where mail comes in here. ``now`` gives seconds since 1970."""
        self._settings = settings
        self._pool = pool
        self._outgoing = outgoing
        self._reactor = reactor
        self.reports = TLSReports(remembered, reactor, now)
        self._downgrades = Downgrades(remembered, now)
        fetcher = fetcher or Fetcher(resolver, reactor, loopback=settings.loopback)
        policies = Policies(resolver, remembered, fetcher, now) if settings.mta_sts else None
        if settings.tls == "off":
            log.warn("UNSAFE: all mail to the recipients' servers goes unencrypted", event="outbound.unencrypted")
        own = Own(hostname, own_listeners)
        self._plans = Plans(settings, own, resolver, policies, self._downgrades, self.reports, resolver.validating, reactor.seconds)
        self._resting: Cache[tuple[str, int], bool] = Cache(_RESTING_SIZE, _RESTING_SECONDS, reactor.seconds)

    async def deliver(self, envelope: Envelope, recipients: Sequence[Address], destination: str) -> Mapping[Address, Attempt]:
        """Try to pass ``envelope`` on to ``recipients`` at ``destination``, their domain (A-labels) or address literal."""
        asked = Asked.NOTHING
        try:
            plan = await self._plans.plan(destination)
            asked = await self._asked(envelope, plan)
            way = plan.way(asked)
        except Refused as refused:
            unreachable = refused.reply.temporary and asked is not Asked.REQUIRED
            return dict.fromkeys(recipients, Attempt(refused.reply, unreachable=unreachable))
        found: dict[Address, Attempt] = {}
        left = recipients
        failed: list[Unreachable] = []
        for target in self._ordered(way):
            try:
                brought = await self._pool.deliver(
                    way.key,
                    target.hop,
                    target.security,
                    None,
                    self._settings.connect_timeout,
                    envelope,
                    left,
                    self._outgoing,
                    partial(self._opened, target=target, plan=plan, asked=asked),
                    fresh=bool(found),  # an idle one may lead to whoever has just broken off
                )
            except Unreachable as error:
                failed.append(error)
                await self._failed(error, target, plan, destination)
                continue
            found.update(brought)
            left = [one for one in left if broken_off(found[one].reply)]
            if not left:
                break
            self._resting.put((target.hop.address, target.hop.port), True)
        if found:
            return found
        # While one of them may take it later, the others' "never" is not the last word.
        attempt = next((error for error in failed if error.reply.temporary), failed[-1]).attempt()
        # What this message asks for, or what is wanting here, says nothing of other mail to the destination.
        special = any(error.ours or (error.tls_failure and asked is Asked.REQUIRED) for error in failed)
        return dict.fromkeys(recipients, evolve(attempt, unreachable=attempt.reply.temporary and not special))

    async def stop(self) -> None:
        """Close idle connections: those of all couriers, which stop together. Counts for reports are written."""
        self._pool.stop()
        await self.reports.stop()

    async def _asked(self, envelope: Envelope, plan: Plan) -> Asked:
        if envelope.demands.require_tls:
            return Asked.REQUIRED
        if not plan.strict:
            return Asked.NOTHING
        content = envelope.message.content
        if not isinstance(content, bytes):
            try:
                content = await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), content.read, HEADER_LIMIT)
            except Exception:  # whoever renders the message says what is wrong with it
                return Asked.NOTHING
        return Asked.OPTIONAL if waives(content) else Asked.NOTHING

    def _ordered(self, way: Way) -> Sequence[Target]:
        """The targets, those that could not be reached lately last."""
        if not len(self._resting) or len(way.targets) == 1:
            return way.targets
        return sorted(way.targets, key=lambda target: self._resting.get((target.hop.address, target.hop.port)) is not None)

    def _opened(self, connection: Connection, target: Target, plan: Plan, asked: Asked) -> None:
        """A new session has come about: it counts for TLS reports and for the memory of who speaks TLS."""
        hop, domain, applied = target.hop, plan.exchangers.domain, target.applied
        self._resting.pop((hop.address, hop.port))
        if plan.exchangers.literal or asked is Asked.OPTIONAL or self._settings.tls == "off":
            return
        if connection.tls:
            self._downgrades.encrypted(domain)
        elif target.security.level == OPPORTUNISTIC:
            self._downgrades.plain(domain)
        failure = connection.tls_failure
        if not failure and not connection.tls:
            failure = STARTTLS_NOT_SUPPORTED
        if not failure and target.mismatch:
            failure = VALIDATION_FAILURE
        if failure:
            self.reports.failure(domain, plan.places, applied, failure, hop.name, hop.address)
        else:
            self.reports.success(domain, plan.places, applied)

    async def _failed(self, error: Unreachable, target: Target, plan: Plan, destination: str) -> None:
        hop, domain = target.hop, plan.exchangers.domain
        if error.reply.temporary and not error.ours:
            self._resting.put((hop.address, hop.port), True)
        if error.tls_failure:
            self.reports.failure(domain, plan.places, target.applied, error.tls_failure, hop.name, hop.address)
            if target.steady:
                await self._downgrades.missing(domain, error.tls_failure)
            self._plans.forget(destination)  # its policy or its keys may have changed
