"""The way to a destination: which servers in which order, and what TLS must be with each.

What DNS, its policy and our memory say of a destination is put together once and kept for as long as DNS says, five minutes at
most. Failure is :class:`Refused`: 5xx when there is no way as far as anybody knows, else 4xx.
"""

from collections.abc import Callable, Coroutine
from hashlib import blake2b
from typing import Any

from attrs import define, frozen
from twisted.internet.defer import Deferred, gatherResults

from mailx import config
from mailx.core.cache import Cache
from mailx.core.resolver import DNSFailure
from mailx.mail.reply import Refused, Reply
from mailx.outbound.dane import Vouched, vouched
from mailx.outbound.downgrade import Downgrades
from mailx.outbound.hop import DANE, ENCRYPT, NONE, VALIDATION_FAILURE, Hop, Security
from mailx.outbound.mx import Exchanger, Exchangers, Lookups, Own, exchangers
from mailx.outbound.security import Asked, Known, Unfit, security
from mailx.outbound.sts import ENFORCE, TESTING, WITHOUT, Policies, Standing
from mailx.outbound.tls_reports import STS, TLSA, Applied, TLSReports, places

TTL_LEAST, TTL_MOST = 5.0, 300.0  # seconds that a plan holds
_SIZE = 5000


@frozen
class Target:
    """One address to try."""

    hop: Hop
    security: Security
    applied: Applied
    mismatch: bool = False  # its name is not in the domain's policy, which is only being tested
    steady: bool = False  # TLS is needed because it always was there


@frozen
class Way:
    """What to try for one kind of message, best first; at least one target. ``key`` names the set of servers and their TLS."""

    key: str
    targets: tuple[Target, ...]


@define
class Plan:
    """A destination as it stands now."""

    settings: config.Outbound
    exchangers: Exchangers
    vouched: tuple[Vouched | DNSFailure | None, ...]  # for each exchanger
    standing: Standing
    steady: bool
    places: tuple[str, ...]  # where it wants TLS reports
    until: float
    _ways: dict[Asked, Way | Refused]

    @property
    def strict(self) -> bool:
        """Whether there is something that ``TLS-Required: No`` would lift."""
        return self.steady or self.standing.policy is not None or any(each is not None for each in self.vouched)

    def way(self, asked: Asked) -> Way:
        """Where a message that asks for this goes; raises Refused."""
        found = self._ways.get(asked)
        if found is None:
            found = self._ways[asked] = self._way(asked)
        if isinstance(found, Refused):
            raise Refused(found.reply, found.reason)
        return found

    def _way(self, asked: Asked) -> Way | Refused:
        known = Known(self.settings.tls, self.standing.policy, self.steady)
        targets: list[Target] = []
        unfit: list[Reply] = []
        for host, dane in zip(self.exchangers.hosts, self.vouched, strict=True):
            if isinstance(dane, DNSFailure):
                if asked is not Asked.OPTIONAL:  # RFC 7672 2.1.2: as if the host could not be reached
                    unfit.append(Reply(451, "4.7.5", f"The TLSA records of {host.name} could not be looked up"))
                    continue
                dane = None
            try:
                needed = security(host, self.exchangers, dane, known, asked)
            except Unfit as error:
                unfit.append(error.reply)
                continue
            targets += self._targets(host, needed, dane)
        if targets:
            return Way(_key(targets), tuple(targets))
        return Refused(next((reply for reply in unfit if reply.temporary), unfit[0]))

    def _targets(self, host: Exchanger, needed: Security, dane: Vouched | None) -> list[Target]:
        policy = self.standing.policy
        applied = Applied()
        if needed.level == DANE and dane is not None:
            lines = tuple(f"{one.usage} {one.selector} {one.matching} {one.data.hex()}" for one in dane.records)
            applied = Applied(TLSA, lines, (host.name,))
        elif policy is not None and policy.mode in (ENFORCE, TESTING) and needed.level != NONE:
            applied = Applied(STS, tuple(policy.lines()), policy.mx)
        mismatch = applied.type == STS and policy is not None and not policy.matches(host.name)
        steady = self.steady and needed.level == ENCRYPT
        port = self.settings.port
        return [Target(Hop(host.name, address, port), needed, applied, mismatch, steady) for address in host.addresses]


def _key(targets: list[Target]) -> str:
    """The same for destinations with the same servers under the same conditions: they share connections."""
    servers = sorted({repr((target.hop.name, target.hop.port, target.security)) for target in targets})
    return "mx " + blake2b("\n".join(servers).encode(), digest_size=16).hexdigest()


class Plans:
    """Makes plans and keeps them."""

    def __init__(
        self,
        settings: config.Outbound,
        own: Own,
        resolver: Lookups,
        policies: Policies | None,
        downgrades: Downgrades,
        reports: TLSReports,
        validating: bool,
        now: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._own = own
        self._resolver = resolver
        self._policies = policies
        self._downgrades = downgrades
        self._reports = reports
        self._dane = settings.dane and validating and settings.tls != "off"
        self._now = now
        self._kept: Cache[str, Plan] = Cache(_SIZE, TTL_MOST, now)

    async def plan(self, destination: str) -> Plan:
        """The plan for ``destination``, a domain or an address literal; raises Refused."""
        kept = self._kept.get(destination)
        if kept is not None and kept.until > self._now():
            return kept
        made = await self._made(destination)
        self._kept.put(destination, made)
        return made

    def forget(self, destination: str) -> None:
        """Make the next plan for ``destination`` anew."""
        self._kept.pop(destination)

    async def _made(self, destination: str) -> Plan:
        settings = self._settings
        standing: Any
        wanted: Any
        steady: Any
        asked: list[Coroutine[Any, Any, Any]]
        found = await exchangers(destination, self._resolver, self._own, settings.port, settings.loopback)
        if settings.tls == "off" or found.literal:
            standing, wanted, steady, vouchers = WITHOUT, (), False, [None] * len(found.hosts)
        else:
            asked = [self._standing(found.domain), self._places(found.domain), self._downgrades.steady(found.domain)]
            asked += [self._vouched(host, found.secure) for host in found.hosts]
            standing, wanted, steady, *vouchers = await gatherResults([Deferred.fromCoroutine(each) for each in asked])
        self._report(found, wanted, standing, vouchers)
        ttl = TTL_LEAST if any(isinstance(each, DNSFailure) for each in vouchers) else max(found.ttl, TTL_LEAST)
        until = self._now() + min(ttl, TTL_MOST)
        return Plan(settings, found, tuple(vouchers), standing, steady, wanted, until, {})

    def _report(self, found: Exchangers, places: tuple[str, ...], standing: Standing, vouchers: list[Any]) -> None:
        """Count for TLS reports what keeps sessions from being tried at all."""
        policy = standing.policy
        if standing.failure:
            self._reports.failure(found.domain, places, Applied(STS), standing.failure)
        if policy is None or policy.mode != ENFORCE:
            return
        applied = Applied(STS, tuple(policy.lines()), policy.mx)
        for host, dane in zip(found.hosts, vouchers, strict=True):
            if dane is None and not policy.matches(host.name):
                self._reports.failure(found.domain, places, applied, VALIDATION_FAILURE, host.name)

    async def _standing(self, domain: str) -> Standing:
        return WITHOUT if self._policies is None else await self._policies.standing(domain)

    async def _places(self, domain: str) -> tuple[str, ...]:
        try:
            return places(list((await self._resolver.query(f"_smtp._tls.{domain}", "TXT")).records))
        except DNSFailure:
            return ()

    async def _vouched(self, host: Exchanger, secure: bool) -> Vouched | DNSFailure | None:
        if not (self._dane and secure):
            return None
        try:
            return await vouched(host, self._settings.port, self._resolver)
        except DNSFailure as error:
            return error
