"""The sweep: messages that lost their last reference go, and blob files that no message names.

Messages go in slices, shortly after the commit that dropped their last reference; a row goes before its file. Files
without a row are what a crash left behind: they are looked for at the start and once a day. Failure of the store or
the disk is logged; what was not swept is found again by the next sweep.
"""

from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailx.core import metrics
from mailx.core.content import Threads
from mailx.mail.mailbox import Change
from mailx.mail.reply import Unavailable
from mailx.store import Store, sweep
from mailx.store.blobs import Blobs

log = Logger()

_DELAY = 2.0  # seconds after a removal: a burst of them is swept in one go
_PAUSE = 0.05  # seconds between slices, for whoever else waits for the writer
_SLICE = 100  # messages removed by one job
_NAMES = 10000  # names of files read by one job
_ORPHANS_EVERY = 86400.0  # seconds


class Sweep:
    """Sweeps one store and its blob files: ``start`` once, ``stop`` before the store closes."""

    def __init__(self, store: Store, blobs: Blobs, reactor: Any, young: float = 0) -> None:
        """Files of the last ``young`` seconds are left alone: with several nodes, another one may be about to name them."""
        self._store = store
        self._blobs = blobs
        self._reactor = reactor
        self._young = young
        self._threads: Threads = partial(deferToThreadPool, reactor, reactor.getThreadPool())
        self._due: IDelayedCall | None = None
        self._orphans_after = 0.0  # when to look for orphans again
        self._running = False
        self._stopped = False
        self._idle: list[Deferred[None]] = []

    def start(self) -> None:
        """Sweep now, and whenever something was removed."""
        self._store.listen(self._heard)
        self._orphans_after = self._reactor.seconds()
        self._wake(0)

    async def stop(self) -> None:
        """Sweep no more; returns when the running slice is through."""
        self._stopped = True
        if self._due is not None:
            self._due.cancel()
            self._due = None
        if self._running:
            waiter: Deferred[None] = Deferred()
            self._idle.append(waiter)
            await waiter

    async def messages(self) -> int:
        """Remove the messages without references, and their files; returns how many. Raises Unavailable, OSError."""
        total = 0
        while True:
            count, files = await self._store.write(sweep.remove_unreferenced, _SLICE)
            total += count
            if files:
                await self._threads(self._unlink, files)
            if count < _SLICE or self._stopped:
                break
            await deferLater(self._reactor, _PAUSE)
        if total:
            metrics.SWEPT.inc(total)
            log.info("Messages swept", event="sweep.messages", count=total)
        return total

    async def orphans(self) -> int:
        """Remove the files that no message names; returns how many. Raises Unavailable, OSError."""
        candidates = await self._threads(self._blobs.candidates, self._young)
        if not candidates:
            return 0
        referenced: set[str] = set()
        after = ""
        while names := await self._store.read(sweep.referenced_files, after, _NAMES):
            referenced.update(names)
            after = names[-1]
        removed: int = await self._threads(self._blobs.sweep, candidates, referenced)
        if removed:
            log.info("Orphaned files swept", event="sweep.orphans", count=removed)
        return removed

    def _heard(self, change: Change) -> None:
        if change.removed or change.gone or change.partial:
            self._wake(_DELAY)

    def _wake(self, delay: float) -> None:
        """Sweep in ``delay`` seconds, or sooner if that is already settled."""
        if self._stopped:
            return
        if self._due is None:
            self._due = self._reactor.callLater(delay, self._begin)
        elif self._due.getTime() > self._reactor.seconds() + delay:
            self._due.reset(delay)

    def _begin(self) -> None:
        self._due = None
        if self._running:
            self._wake(_DELAY)
            return
        self._running = True
        Deferred.fromCoroutine(self._sweep()).addBoth(self._ended)

    async def _sweep(self) -> None:
        try:
            await self.messages()
            if self._reactor.seconds() >= self._orphans_after:
                self._orphans_after = self._reactor.seconds() + _ORPHANS_EVERY
                await self.orphans()
        except (Unavailable, OSError) as error:
            reason = error.reason if isinstance(error, Unavailable) else str(error)
            log.warn("The sweep was interrupted: {reason}", event="sweep.interrupted", reason=reason)

    def _ended(self, result: object) -> None:
        self._running = False
        if isinstance(result, Failure):
            log.failure("The sweep failed", result, event="sweep.failed")
        self._wake(_ORPHANS_EVERY)
        waiters, self._idle = self._idle, []
        for waiter in waiters:
            waiter.callback(None)

    def _unlink(self, names: list[str]) -> None:
        for name in names:
            self._blobs.unlink(name)
