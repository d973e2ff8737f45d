"""Peers over a real world and a clock, with a discoverer that answers as told."""

from collections.abc import Callable
from typing import Any

from attrs import define, evolve, field, frozen
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from mailx.core.peer import HTTPS, MAILX, NONE, Found, Undecided
from mailx.core.peer_control import PeerControl
from mailx.core.peer_figures import PeerCounting
from mailx.core.peers import Peers
from mailx.identity import domain_keys
from mailx.identity.domain_keys import DomainKey
from mailx.identity.statements import SeedSigner
from tests.scenery import World, world

THERE = "there.example"
START = 1_700_000_000
DAY = 86400
RECOVERY = SeedSigner(b"r" * 32)
KEYS = [SeedSigner(bytes([number]) * 32) for number in range(1, 6)]


def history(*reasons: str, at: int = START) -> list[DomainKey]:
    """The keys of THERE: the first, then one for each of ``reasons``, a day apart."""
    made = [domain_keys.first(THERE, RECOVERY.public, at, KEYS[0])]
    for number, reason in enumerate(reasons, 1):
        if reason == domain_keys.ROTATION:
            made.append(domain_keys.rotated(made[-1], KEYS[number - 1], KEYS[number], at + number * DAY))
        else:
            made.append(domain_keys.recovered(made[-1], RECOVERY, KEYS[number], at + number * DAY))
    return made


def found(keys: list[DomainKey], **values: Any) -> Found:
    """What looking brings when all is well."""
    made = Found(
        MAILX,
        ttl=3600,
        evidence=True,
        source=HTTPS,
        key=keys[-1].key,
        history=tuple(keys),
        servers=(("mx.there.example", 2590),),
        until=START + 90 * DAY,
    )
    return evolve(made, **values)


@frozen
class Channel:
    """What Peers sees of a channel."""

    remote: str
    key: bytes


@define
class Looks:
    """A discoverer that answers as told, and counts."""

    answer: Found = Found(NONE, ttl=3600)
    asked: list[str] = field(factory=list)
    waits: Deferred[None] | None = None

    async def look(self, domain: str, anew: bool = False) -> Found:
        self.asked.append(domain)
        if self.waits is not None:
            await self.waits
        return self.answer


class Alerts:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def tell(self, kind: str, subject: str, text: str) -> None:
        self.told.append((kind, subject))


class PeersTestCase(TestCase):
    """A world, a clock, and peers over them."""

    engine = ""

    async def scene(self, **federation: Any) -> None:
        self.world: World = await world(self, engine=self.engine, federation=federation)
        self.clock = Clock()
        self.clock.advance(START)
        self.looks = Looks()
        self.peers = await self.opened()

    async def opened(self, now: Callable[[], float] | None = None) -> Peers:
        """``now`` is the time of day, by default that of the clock."""
        made = Peers(
            self.world.store,
            self.world.cipher,
            self.world.settings,
            self.clock,
            discoverer=self.looks,
            local=self.world.accounts.local,
            now=now or self.clock.seconds,
        )
        made.alerts = self.alerts = Alerts()  # type: ignore[assignment]
        await made.load()
        self.addCleanup(made.stop)
        return made

    async def undecided(self, peers: Peers | None = None) -> Undecided:
        return await self.assertFailure(ensureDeferred((peers or self.peers).find(THERE)), Undecided)

    def control(self) -> PeerControl:
        """The administration of the peers."""
        self.counting = PeerCounting(self.world.store, self.peers.hash, self.clock, self.clock.seconds)
        return PeerControl(self.peers, self.counting)
