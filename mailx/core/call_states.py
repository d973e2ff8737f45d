"""The states of calls, brought up to date with what became of their mail.

The queue's rows decide; a call's state follows from them, and with the state the callbacks and the suppression list, in one
transaction. Steps are gathered while a transaction is on its way, so many calls share one. What a crash keeps from being
noted is found at the start, by looking at every call that is not over; so is, a little later, what changed without a step.
"""

from collections.abc import Callable
from itertools import islice
from time import time
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailx.core.progress import Progress, Step
from mailx.core.suppressions import Suppressions
from mailx.mail.envelope import WEBHOOK
from mailx.mail.reply import Unavailable
from mailx.store import Store
from mailx.store.callbacks import SLICE, Derivation, derive, stale

log = Logger()

_WAITING = 100_000  # envelopes in memory; more are found by looking at all
_GATHERING = 0.05  # seconds in which steps come together that share a transaction
_AGAIN = 1.0  # seconds until what the store did not take is tried again, doubled each time
_AGAIN_AT_MOST = 30.0
_SOON = 1.0  # seconds until all are looked at after something changed without a step,
_REST = 30.0  # and between two such looks at least
_PAUSE = 0.02  # between slices, for whoever else waits for the store


class CallStates:
    """Follows ``progress`` from its making on; ``start`` when the queue runs, ``await stop()`` after it, before the store closes."""

    def __init__(
        self,
        store: Store,
        progress: Progress,
        suppressions: Suppressions,
        told: Callable[[], object],
        reactor: Any,
        *,
        now: Callable[[], float] = time,
    ) -> None:
        """``told()`` hears when there are new callbacks; ``now`` is the time of day."""
        self._store = store
        self._suppressions = suppressions
        self._told = told
        self._reactor = reactor
        self._now = now
        self._waiting: dict[str, None] = {}
        self._turning: Deferred[None] | None = None
        self._looking: Deferred[None] | None = None
        self._look_due: IDelayedCall | None = None
        self._again = False  # all are to be looked at once more
        self._looked = float("-inf")
        self._sleep: Deferred[None] | None = None
        self._started = self._stopping = False
        progress.listen(self._step)
        progress.listen_many(self._many)

    def start(self) -> None:
        """Look at every call that is not over."""
        self._started = True
        self._look()

    async def stop(self) -> None:
        """Returns when all that was heard is noted, or the store does not take it."""
        self._stopping = True
        if self._look_due is not None and self._look_due.active():
            self._look_due.cancel()
        if self._sleep is not None:
            self._sleep.cancel()
        for running in (self._turning, self._looking):
            if running is not None:
                ended: Deferred[None] = Deferred()
                running.chainDeferred(ended)
                await ended

    def _step(self, step: Step) -> None:
        if step.protocol != WEBHOOK or not step.row:
            return
        if len(self._waiting) >= _WAITING:
            self._many()
            return
        self._waiting[step.envelope] = None
        if self._turning is None:
            self._turning = Deferred.fromCoroutine(self._turn())
            self._turning.addBoth(self._turned)

    async def _turn(self) -> None:
        """Note what was heard, until there is nothing more."""
        wait = _AGAIN
        while self._waiting:
            if not self._stopping:
                await deferLater(self._reactor, _GATHERING)
            part = list(islice(self._waiting, SLICE))
            for envelope in part:
                del self._waiting[envelope]
            try:
                await self._derive(part)
                wait = _AGAIN
            except Unavailable as error:
                log.warn("The states of calls are noted later: {reason}", event="calls.delayed", reason=error.reason)
                if self._stopping:
                    return
                self._waiting.update(dict.fromkeys(part))
                await self._rested(wait)
                wait = min(2 * wait, _AGAIN_AT_MOST)

    async def _derive(self, envelopes: list[str]) -> None:
        derived = await self._store.write(derive, Derivation(tuple(envelopes), int(self._now()), self._suppressions.judge))
        if derived.callbacks:
            self._told()
        if derived.suppressed:
            await self._suppressions.changed()

    def _turned(self, result: Any) -> None:
        self._turning = None
        if isinstance(result, Failure):
            log.failure("The states of calls were not noted", result, event="calls.failed")
            self._many()

    def _many(self) -> None:
        """Look at all before long."""
        if not self._started or self._stopping:
            return
        if self._looking is not None:
            self._again = True
        elif self._look_due is None or not self._look_due.active():
            wait = max(_SOON, self._looked + _REST - self._reactor.seconds())
            self._look_due = self._reactor.callLater(wait, self._look)

    def _look(self) -> None:
        if self._looking is None:
            self._again = False
            self._looking = Deferred.fromCoroutine(self._look_at_all())
            self._looking.addBoth(self._looked_at)

    async def _look_at_all(self) -> None:
        after: int | None = 0
        while after is not None and not self._stopping:
            after, found = await self._store.read(stale, after, SLICE)
            if found:
                await self._derive(found)
            if after is not None:
                await deferLater(self._reactor, _PAUSE)

    def _looked_at(self, result: Any) -> None:
        self._looking = None
        self._looked = self._reactor.seconds()
        if isinstance(result, Failure):
            if isinstance(result.value, Unavailable):
                log.warn("The states of calls are noted later: {reason}", event="calls.delayed", reason=result.value.reason)
            else:
                log.failure("The states of calls were not noted", result, event="calls.failed")
            self._again = True
        if self._again:
            self._many()

    async def _rested(self, seconds: float) -> None:
        self._sleep = deferLater(self._reactor, seconds)
        try:
            await self._sleep
        except CancelledError:
            pass  # the server stops: one last time
        finally:
            self._sleep = None
