"""How much mail one domain may bring over its channels: token buckets by domain, and how many connections it may have.

A domain may bring ``burst`` messages at once; then so many a minute, and never more than so many an hour. Limits are those
of the configuration unless an administrator set others for that domain. Memory is bounded: of full buckets nothing is
kept, and of the others those used last.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from mailx.config_federation import Federation
from mailx.core.limits import HOUR, MINUTE, Bucket

_SIZE = 20000  # domains that are kept


class Own(Protocol):
    """What holds for one domain; None: as configured. :class:`mailx.core.peer.PeerSettings` is one."""

    @property
    def per_minute(self) -> int | None: ...
    @property
    def per_hour(self) -> int | None: ...
    @property
    def burst(self) -> int | None: ...
    @property
    def connections(self) -> int | None: ...


class Buckets:
    """``settings`` gives the configuration now, ``own`` what is set for a domain; ``now`` monotonic seconds."""

    def __init__(self, settings: Callable[[], Federation], own: Callable[[str], Own], now: Callable[[], float], size: int = _SIZE) -> None:
        self._settings, self._own, self._now, self._size = settings, own, now, size
        self._buckets: OrderedDict[str, tuple[Bucket, ...]] = OrderedDict()

    def take(self, domain: str, count: int = 1) -> int:
        """``domain`` brings ``count`` messages: 0, or (nothing is taken) the seconds after which it may try again."""
        now = self._now()
        buckets = self._of(domain, now)
        lacks = max((bucket.lacks(count) for bucket in buckets), default=0)
        if not lacks:
            for bucket in buckets:
                bucket.take(count)
        return lacks

    def give_back(self, domain: str, count: int = 1) -> None:
        """Of what was taken, ``count`` messages were not stored after all."""
        for bucket in self._of(domain, self._now()):
            bucket.take(-count)

    def connections(self, domain: str) -> int:
        """How many connections ``domain`` may have."""
        own = self._own(domain).connections
        return self._settings().connections if own is None else own

    def __len__(self) -> int:
        return len(self._buckets)

    def _of(self, domain: str, now: float) -> tuple[Bucket, ...]:
        """The buckets of ``domain``, filled up to ``now``. What was used stays used when limits change."""
        settings, own = self._settings(), self._own(domain)
        per_minute = settings.per_minute if own.per_minute is None else own.per_minute
        per_hour = settings.per_hour if own.per_hour is None else own.per_hour
        burst = max(1, settings.burst if own.burst is None else own.burst)
        # One fills within the time that its burst takes at the rate of a minute; the other within an hour.
        shapes = [(burst, burst * MINUTE // per_minute or 1)] if per_minute else []
        shapes += [(per_hour, HOUR)] if per_hour else []
        held = self._buckets.pop(domain, ())
        for bucket in held:
            bucket.fill(now)
        if [(bucket.limit, bucket.period) for bucket in held] != shapes:
            used = max((bucket.limit - bucket.level for bucket in held), default=0.0)
            held = tuple(Bucket(limit, period, max(0.0, limit - used), now) for limit, period in shapes)
        if held:
            self._buckets[domain] = held
            while len(self._buckets) > self._size:
                self._buckets.popitem(last=False)
        return held
