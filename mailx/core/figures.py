"""How much of what happened when: counts of five minutes for two days, of an hour for ninety.

``note`` is for the hot paths: it adds to a number in memory. What has gathered is written every few seconds, and at the stop;
a crash loses the counts of those seconds and nothing else. While the store cannot answer they wait, at most one number for
each name and five minutes of ninety days.
"""

from collections.abc import Callable, Mapping, Sequence
from time import time
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from mailx.core.progress import BOUNCED, DEFERRED, DELIVERED, Progress, Step
from mailx.mail.reply import Unavailable
from mailx.store import Store, figures

log = Logger()

# What is counted.
SENT = "delivered"  # recipients that another server took
LOCAL = "local"  # mailboxes here that were filled
PUT_OFF = "deferred"  # attempts that will be made again
FAILED = "bounced"  # recipients given up
CALLS = "calls"  # webhook calls taken
CALLS_REFUSED = "calls_refused"
NAMES = (SENT, LOCAL, PUT_OFF, FAILED, CALLS, CALLS_REFUSED)

FINE, COARSE = 300, 3600  # seconds that one count covers
KEPT: Mapping[int, int] = {FINE: 48 * 3600, COARSE: 90 * 86400}

_WRITE_SECONDS = 10.0
_PRUNE_SECONDS = 3600


@frozen
class Series:
    """Counts of equal spans of time, the oldest first."""

    since: int  # beginning of the first, seconds since 1970
    step: int
    counts: Mapping[str, Sequence[int]]  # for every one of NAMES

    def total(self, *names: str) -> int:
        """Everything that was counted under ``names``."""
        return sum(sum(self.counts[name]) for name in names)


class Figures:
    """Counts, writes, and gives back series. ``start`` once; ``stop`` before the store closes."""

    def __init__(self, store: Store, reactor: Any, now: Callable[[], float] = time) -> None:
        self._store = store
        self._reactor = reactor
        self._now = now
        self._gathered: dict[tuple[str, int], int] = {}  # (name, beginning of its five minutes) -> count
        self._due: IDelayedCall | None = None
        self._writing: Deferred[None] | None = None
        self._pruned = 0.0
        self._stopped = False

    def start(self, progress: Progress | None = None) -> None:
        """Hear of every recipient's progress, and write what gathers."""
        if progress is not None:
            progress.listen(self.heard)
        self._due = self._reactor.callLater(_WRITE_SECONDS, self._write_soon)

    def note(self, name: str, count: int = 1) -> None:
        """``count`` more of ``name``, which is one of NAMES, just now."""
        key = (name, int(self._now()) // FINE * FINE)
        self._gathered[key] = self._gathered.get(key, 0) + count

    def heard(self, step: Step) -> None:
        """One recipient got that far."""
        if step.state == DELIVERED:
            self.note(SENT if step.destination else LOCAL)
        elif step.state == DEFERRED:
            self.note(PUT_OFF)
        elif step.state == BOUNCED:
            self.note(FAILED)

    async def series(self, step: int, spans: int, *, of: int = 1) -> Series:
        """The last ``spans`` spans of time, each ``of`` times ``step`` (FINE or COARSE) long, the running one included."""
        width = step * of
        until = (int(self._now()) // width + 1) * width
        since = until - spans * width
        counts = {name: [0] * spans for name in NAMES}
        if self._writing is not None:
            await self._writing  # what is on its way is in neither place for sure
        waiting = list(self._gathered.items())
        for name, at, count in await self._store.read(figures.between, step, since, until):
            if name in counts:
                counts[name][(at - since) // width] += count
        for (name, at), count in waiting:
            if since <= at < until:
                counts[name][(at - since) // width] += count
        return Series(since, width, counts)

    async def stop(self) -> None:
        """Write what has gathered; what the store does not take now is lost."""
        self._stopped = True
        if self._due is not None and self._due.active():
            self._due.cancel()
        if self._writing is not None:
            await self._writing
        await self._write()

    def _write_soon(self) -> None:
        self._due = self._reactor.callLater(_WRITE_SECONDS, self._write_soon)
        if self._writing is None:
            self._writing = Deferred.fromCoroutine(self._write())
            self._writing.addBoth(self._written)

    def _written(self, result: Any) -> Any:
        self._writing = None
        return result

    async def _write(self) -> None:
        gathered, self._gathered = self._gathered, {}
        rows: dict[tuple[str, int, int], int] = {}
        for (name, at), count in gathered.items():
            for step in KEPT:
                key = (name, step, at // step * step)
                rows[key] = rows.get(key, 0) + count
        try:
            if rows:
                await self._store.write(figures.add, [(*key, count) for key, count in rows.items()])
            gathered = {}
            await self._prune()
        except Unavailable as error:
            log.warn("Figures were not written: {reason}", event="figures.not_written", reason=error.reason)
            for kept, count in gathered.items():
                self._gathered[kept] = self._gathered.get(kept, 0) + count

    async def _prune(self) -> None:
        now = self._now()
        if now - self._pruned < _PRUNE_SECONDS or self._stopped:
            return
        self._pruned = now
        for step, kept in KEPT.items():
            await self._store.write(figures.prune, step, int(now) - kept)
