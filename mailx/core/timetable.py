"""The timetable: which destinations the store has something due for, and the queue's upkeep.

The store keeps for every destination when the first of its recipients is due; the timetable asks for those that are, and
sleeps until the next one. Once every so often it looks after the rest: what dead nodes were sending, senders who are to
hear of a delay, finished recipients that are too old, and a clock that was set back, which would leave everybody
waiting for so much longer. Failure of the store is logged; everything is tried again on the next round.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailx.core import metrics
from mailx.core.turns import Turns
from mailx.mail.reply import Unavailable
from mailx.store import Store, queue, queue_upkeep

log = Logger()

ROUND = 15.0  # seconds between rounds of upkeep
_DESTINATIONS = 5000  # that one look at the store brings
_SOON = 5.0  # seconds until the next look when there were more
_LATE = 100  # recipients whose senders are told of a delay in one go
_LATE_SLICES = 20  # such goes in a round: a round must not last for long, for it says that this node lives
_SLICES = 100  # slices of old rows removed in a round
_PAUSE = 0.05  # seconds between slices, for whoever else waits for the writer
_JUMP = 30  # seconds by which a clock set back is worth the trouble
_PRUNE_EVERY = 3600.0
_COUNT_EVERY = 60.0
_DAY = 86400

_LEASED = queue.LEASE - 2 * ROUND  # seconds without a sign of life after which others may take what this node holds

Late = Callable[[Sequence[queue.Claimed]], Awaitable[None]]


class Timetable:
    """Watches one store for the queue: ``start`` once, ``stop`` before the store closes."""

    def __init__(
        self,
        store: Store,
        reactor: Any,
        node: str,
        now: Callable[[], float],
        due: Callable[[bytes], None],
        entrusted: Callable[[int], bool],
        longest: Callable[[], int],
        keep_days: int,
    ) -> None:
        """``due(hash)`` hears which destinations have something due; ``entrusted(id)`` tells whether a row is known to be sent.

        ``longest()`` is the longest wait of any schedule, in seconds.
        """
        self._store = store
        self._reactor = reactor
        self._node = node
        self._now = now
        self._heard_due = due
        self._entrusted = entrusted
        self._strangers: set[int] = set()  # rows that this node sends and that nobody here knows of
        self._late: Late | None = None
        self._lapsed: Callable[[], None] | None = None
        self._beat_at = 0.0
        self._longest = longest
        self._keep = keep_days * _DAY
        self._timer: Any = None
        self._round: Any = None
        self._offset = 0.0  # of the time of day against the clock that never jumps
        self._prune_at = 0.0
        self._count_at = 0.0
        self._looking = False
        self._again = False
        self._busy: list[Deferred[None]] = []
        self._stopped = False

    async def start(self, late: Late, lapsed: Callable[[], None]) -> int:
        """Take back what was being sent when this server died, and begin; how many that were. Raises Unavailable.

        ``late(rows)`` tells senders of a delay. ``lapsed()`` hears when this node was silent for so long that others may
        have taken what it holds.
        """
        self._late, self._lapsed = late, lapsed
        self._offset = self._now() - time.monotonic()
        taken = await self._take_back()
        await self._sliced(queue_upkeep.pull, int(self._now()), self._longest())
        self._look_soon(0)
        self._round = self._reactor.callLater(0, self._begin_round)
        return taken

    async def stop(self) -> None:
        """Look no more; returns when what runs is through."""
        self._stopped = True
        for timer in (self._timer, self._round):
            if timer is not None and timer.active():
                timer.cancel()
        self._timer = self._round = None
        while self._busy:
            await self._busy[0]

    async def leave(self) -> None:
        """Everything is settled: what this node left, the others may send at once."""
        if self._node:
            with suppress(Unavailable):
                await self._store.write(queue.leave, self._node)

    def leased(self) -> bool:
        """Whether the others have heard of this node of late, so that what it holds is its own."""
        return not self._node or self._reactor.seconds() - self._beat_at < _LEASED

    async def _beat(self) -> None:
        """Say that this node lives."""
        lapsed, now = not self.leased(), self._reactor.seconds()
        await self._store.write(queue.beat, self._node)
        self._beat_at = now
        if lapsed and self._lapsed is not None:
            self._lapsed()

    def expect(self, due: int) -> None:
        """Somebody waits until ``due``."""
        self._look_soon(max(0.0, due - self._now()))

    def _look_soon(self, seconds: float) -> None:
        if self._stopped:
            return
        if self._timer is None or not self._timer.active():
            self._timer = self._reactor.callLater(seconds, self._begin_look)
        elif self._timer.getTime() > self._reactor.seconds() + seconds:
            self._timer.reset(seconds)

    def _begin_look(self) -> None:
        self._timer = None
        if self._looking:
            self._again = True
            return
        self._looking = True
        self._run(self._look())

    async def _look(self) -> None:
        """Ask the store who is due."""
        self._again = False
        try:
            found, following = await self._store.read(queue.due, int(self._now()), _DESTINATIONS)
            turns = Turns(self._reactor)
            for destination in found:
                self._heard_due(destination)
                await turns.spare()
            if len(found) == _DESTINATIONS:
                self._look_soon(_SOON)
            if following is not None:
                self._look_soon(max(0.05, following - self._now()))
        except Unavailable as error:
            log.warn("The queue was not read: {reason}", event="queue.unavailable", reason=error.reason)
            self._look_soon(_SOON)
        finally:
            self._looking = False
            if self._again:
                self._look_soon(0)

    def _begin_round(self) -> None:
        self._round = None
        self._run(self._go_round())

    async def _go_round(self) -> None:
        try:
            await self._upkeep()
        except Unavailable as error:
            log.warn("The queue's upkeep was interrupted: {reason}", event="queue.unavailable", reason=error.reason)
        finally:
            if not self._stopped:
                self._round = self._reactor.callLater(ROUND, self._begin_round)

    async def _upkeep(self) -> None:
        await self._mind_clock()
        if self._node:
            await self._beat()
            taken = await self._sliced(queue.take_back, None, int(self._now()))
            if taken:
                metrics.QUEUE_UNCERTAIN.inc(taken)
                log.warn("What a dead node was sending is sent by others", event="queue.taken_back", rows=taken)
        await self._find_forgotten()
        self._look_soon(0)  # other nodes add to the queue without a word
        for _ in range(_LATE_SLICES):
            rows = await self._store.write(queue.claim_late, int(self._now()), _LATE)
            if rows and self._late is not None:
                await self._late(rows)
            if len(rows) < _LATE or self._stopped:
                break
        seconds = self._reactor.seconds()
        if seconds >= self._prune_at:
            pruned = await self.prune()
            self._prune_at = seconds + (_PRUNE_EVERY if pruned < _SLICES * queue.SLICE else 0)
        if seconds >= self._count_at:
            self._count_at = seconds + _COUNT_EVERY
            for state, count in (await self._store.read(queue_upkeep.counts, int(self._now()))).items():
                metrics.QUEUE_RECIPIENTS.labels(state).set(count)

    async def _find_forgotten(self) -> None:
        """Take back rows in "sending" that nobody here knows of, round after round.

        The answer to the commit that claimed or inserted them was lost. What was just committed is not known yet.
        """
        rows = await self._store.read(queue.sending, self._node)
        strangers = {id for id in rows if not self._entrusted(id)}
        forgotten = sorted(strangers & self._strangers)[: queue.SLICE]
        self._strangers = strangers.difference(forgotten)
        if forgotten:
            taken = await self._store.write(queue.take_back, self._node, int(self._now()), forgotten)
            metrics.QUEUE_UNCERTAIN.inc(taken)
            log.warn("Rows were claimed and never sent: they are sent now", event="queue.taken_back", rows=taken)

    async def prune(self) -> int:
        """Forget finished recipients that are old enough, up to a limit; how many. Raises Unavailable."""
        pruned = await self._sliced(queue_upkeep.prune, int(self._now()) - self._keep, slices=_SLICES)
        if pruned:
            log.info("Finished recipients were removed from the queue", event="queue.pruned", rows=pruned)
        return pruned

    async def _mind_clock(self) -> None:
        """Whoever waits does not wait for longer because the clock was set back."""
        offset = self._now() - time.monotonic()
        moved, self._offset = offset - self._offset, offset
        if moved < -_JUMP:
            log.warn("The clock was set back by {seconds} s", event="queue.clock", seconds=int(-moved))
            after: int | None = 0
            while after is not None and not self._stopped:
                after = await self._store.write(queue_upkeep.shift, int(-moved), after)
            self._look_soon(0)

    async def _take_back(self) -> int:
        """What this server, or its last run, was sending. With several nodes, those that are dead lose theirs a little later."""
        if self._node:
            await self._beat()
        return await self._sliced(queue.take_back, None if self._node else "", int(self._now()))

    async def _sliced(self, job: Callable[..., int], *args: Any, slices: int = 0) -> int:
        """Run ``job`` until it finds less than a slice, or has done so many; what it did in all."""
        total = 0
        while not self._stopped:
            count = await self._store.write(job, *args)
            total += count
            if count < queue.SLICE or (slices and total >= slices * queue.SLICE):
                break
            await deferLater(self._reactor, _PAUSE)
        return total

    def _run(self, work: Any) -> None:
        running: Deferred[None] = Deferred()
        self._busy.append(running)

        def done(result: Any) -> None:
            if isinstance(result, Failure):
                log.failure("The queue's timetable failed", result, event="queue.timetable_failed")
            self._busy.remove(running)
            running.callback(None)

        Deferred.fromCoroutine(work).addBoth(done)
