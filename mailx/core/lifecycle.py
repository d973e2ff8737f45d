"""What time does to mail and accounts: once an hour mail whose time is over goes, accounts whose grace is over are erased, and
owners whose quota is nearly full are told.

One pass runs at a time; each step of it can be cut short anywhere and is taken up by the next pass. Failure is logged.
A clock that leaps forward while the server runs is not believed for a day: what it makes due cannot be had back.
"""

import time
from collections.abc import Callable
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailx.core.departures import Departures
from mailx.core.login_log import LoginLog
from mailx.core.quota_warnings import QuotaWarnings
from mailx.core.recounting import Recounting
from mailx.core.retention import Retention
from mailx.mail.reply import Unavailable

log = Logger()

_FIRST = 60.0  # seconds after the start
_EVERY = 3600.0
_LEAP = 3600.0  # seconds that the clock may gain on the machine's own count between two passes
_DOUBT = 86400.0  # seconds for which one that gained more is not believed


@frozen
class Passed:
    """What a pass did, and when it ended in seconds since 1970."""

    ended: float
    removed: int  # messages whose time was over
    erased: int  # accounts
    warned: int  # owners


def steady() -> float:
    """Seconds that nobody sets; they go on while the machine sleeps, where the system tells them so."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Leaps:
    """Tells a time of day that was put forward from one that passed."""

    def __init__(self, now: Callable[[], float], steady: Callable[[], float]) -> None:
        self._now = now
        self._steady = steady
        self._seen = now(), steady()
        self._doubted: float | None = None  # since when, by the steady clock

    def believed(self) -> bool:
        """Whether the time of day may be acted upon."""
        now, steady = self._now(), self._steady()
        leapt = (now - self._seen[0]) - (steady - self._seen[1])
        if leapt > _LEAP:
            if self._doubted is None:
                self._doubted = steady
                text = "The clock leapt {hours} hours forward: for a day nothing is removed or erased. Put it right, if it is wrong."
                log.error(text, event="lifecycle.clock_leapt", hours=round(leapt / 3600))
            if steady - self._doubted < _DOUBT:
                return False
        self._doubted = None
        self._seen = now, steady
        return True


class Lifecycle:
    """Runs the passes: ``start`` once, ``stop`` before the store closes. ``now`` is the time of day."""

    def __init__(
        self,
        retention: Retention,
        departures: Departures,
        recounting: Recounting,
        warnings: QuotaWarnings | None,
        logins: LoginLog,
        reactor: Any,
        now: Callable[[], float],
        steady: Callable[[], float] = steady,
    ) -> None:
        """Without ``warnings`` (no server runs) nobody is warned."""
        self.retention = retention
        self.departures = departures
        self.recounting = recounting
        self.last: Passed | None = None
        self._warnings = warnings
        self._logins = logins
        self._reactor = reactor
        self._now = now
        self._leaps = Leaps(now, steady)
        self._lock = DeferredLock()
        self._due: IDelayedCall | None = None
        self._stopped = False

    def start(self) -> None:
        """The first pass comes in a minute, then one an hour."""
        if self._warnings is not None:
            self._warnings.start()
        self._due = self._reactor.callLater(_FIRST, self._begin)

    async def stop(self) -> None:
        """Begin no more; what runs ends with its slice."""
        self._stopped = True
        if self._due is not None and self._due.active():
            self._due.cancel()
        self.retention.stop()
        self.departures.stop()
        if self._warnings is not None:
            await self._warnings.stop()
        await self._lock.acquire()
        self._lock.release()

    async def run(self) -> Passed:
        """One pass, now, whatever the clock did; behind one that runs. Raises Unavailable."""
        await self._lock.acquire()
        try:
            removed = await self.retention.purge()
            erased = await self.departures.erase_due()
            await self._logins.prune()
            warned = 0 if self._warnings is None else await self._warnings.look()
            self.last = Passed(self._now(), removed, erased, warned)
            return self.last
        finally:
            self._lock.release()

    def _begin(self) -> None:
        self._due = self._reactor.callLater(_EVERY, self._begin)
        if not self._lock.locked and self._leaps.believed():
            Deferred.fromCoroutine(self._run()).addErrback(_failed)

    async def _run(self) -> None:
        await self.run()


def _failed(failure: Failure) -> None:
    if isinstance(failure.value, Unavailable):
        log.warn("What time does to mail is done later: {reason}", event="lifecycle.delayed", reason=failure.value.reason)
    else:
        log.failure("What time does to mail was not done", failure, event="lifecycle.failed")
