"""Hands the counters of :mod:`mailx.core.metrics` to Prometheus, with those of the process itself."""

from prometheus_client import CollectorRegistry, Gauge, ProcessCollector
from prometheus_client.exposition import choose_encoder
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from mailx import __version__
from mailx.core.accounts import Accounts
from mailx.core.metrics import ACCOUNTS, REGISTRY, STORAGE_OCTETS
from mailx.mail.reply import Unavailable

INFO = Gauge("mailx_info", "The version that runs.", ["version"], registry=REGISTRY)
INFO.labels(__version__).set(1)
DELAY = Gauge("mailx_reactor_delay_seconds", "How late the event loop came to its last timed call.", registry=REGISTRY)
ProcessCollector(registry=REGISTRY)

_INTERVAL = 1.0
_CENSUS_INTERVAL = 60.0


def exposition(accept: str, registry: CollectorRegistry = REGISTRY) -> tuple[bytes, str]:
    """All metrics as (body, content type), in the format that the ``Accept`` header prefers."""
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class Delay:
    """Watches how late the event loop is: what every session waits for."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._expected = 0.0
        self._loop = LoopingCall(self._measure)
        self._loop.clock = clock

    def start(self) -> None:
        self._expected = self._clock.seconds()
        self._loop.start(_INTERVAL)

    def stop(self) -> None:
        if self._loop.running:
            self._loop.stop()

    def _measure(self) -> None:
        now = self._clock.seconds()
        DELAY.set(max(0.0, now - self._expected))
        self._expected = now + _INTERVAL


class Census:
    """Counts accounts and what they store, once a minute; while the store is away the last figures stand."""

    def __init__(self, accounts: Accounts, clock: IReactorTime) -> None:
        self._accounts = accounts
        self._loop = LoopingCall(lambda: Deferred.fromCoroutine(self._count()))
        self._loop.clock = clock

    def start(self) -> None:
        self._loop.start(_CENSUS_INTERVAL)

    def stop(self) -> None:
        if self._loop.running:
            self._loop.stop()

    async def _count(self) -> None:
        try:
            count, octets = await self._accounts.totals()
        except Unavailable:
            return
        ACCOUNTS.set(count)
        STORAGE_OCTETS.set(octets)
