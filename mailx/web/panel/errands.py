"""Changes of many rows: they go on in the background when they take longer than a browser should wait, and tell how far they are.

An errand belongs to the administrator's act: its first write carries the audit row, whichever slice that is. It lives in memory;
when the server stops it ends between two slices, and what is done is done. A failure in the background is logged and
shown where the errand is.
"""

from collections.abc import Awaitable, Callable
from secrets import token_hex
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailx.core import audit
from mailx.core.users import DirectoryError
from mailx.mail.reply import Unavailable

log = Logger()

PATIENCE = 2.0  # seconds that a browser waits for an answer
RUNNING = 4  # errands at a time
_KEPT = 50  # errands that are remembered


class Stopped(Exception):
    """The server stops."""


@define(eq=False)
class Errand:
    """One change of many rows."""

    title: str
    admin: str
    back: str  # the page that it began at
    started: float
    id: str = field(factory=lambda: token_hex(8))
    done: int = 0
    ended: float = 0.0  # 0: it goes on
    problem: str = ""
    stopping: bool = False

    def step(self, count: int) -> None:
        """``count`` more rows are done; raises Stopped when no more is to be done."""
        self.done += count
        if self.stopping:
            raise Stopped


Work = Callable[[Errand], Awaitable[object]]


class Errands:
    """Runs errands of one page. ``stop`` before the store closes."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._errands: dict[str, Errand] = {}
        self._running: dict[str, Deferred[None]] = {}

    async def run(self, errand: Errand, work: Work) -> None:
        """Begin ``work``; returns when it has ended, or after PATIENCE while it goes on. Raises what it raised until then."""
        if len(self._running) >= RUNNING:
            raise DirectoryError("limit", f"{RUNNING} such changes are going on already", "Wait until one of them has ended.")
        self._remember(errand)
        waiter: Deferred[None] = Deferred()
        failures: list[Failure] = []

        def ended(result: object) -> None:
            errand.ended = self._reactor.seconds()
            del self._running[errand.id]
            if isinstance(result, Failure) and waiter.called:
                errand.problem = _told(result)
            elif isinstance(result, Failure):
                failures.append(result)
            _end(None, waiter)

        working = Deferred.fromCoroutine(_under(audit.current(), errand, work))
        self._running[errand.id] = working
        working.addBoth(ended)
        if not errand.ended:
            delayed = self._reactor.callLater(PATIENCE, _end, None, waiter)
            await waiter
            if delayed.active():
                delayed.cancel()
        if failures:
            del self._errands[errand.id]
            failures[0].raiseException()

    def find(self, id: str) -> Errand | None:
        """The errand with this id, if it is remembered."""
        return self._errands.get(id)

    def going_on(self) -> list[Errand]:
        """What goes on now, the oldest first."""
        return [self._errands[id] for id in self._running]

    async def stop(self) -> None:
        """End what goes on, each behind the slice that it is at."""
        for errand in self.going_on():
            errand.stopping = True
        for working in list(self._running.values()):
            waiter: Deferred[None] = Deferred()
            working.addBoth(_end, waiter)
            await waiter

    def _remember(self, errand: Errand) -> None:
        over = [each for each in self._errands.values() if each.ended]
        for old in over[: max(0, len(self._errands) - _KEPT + 1)]:
            del self._errands[old.id]
        self._errands[errand.id] = errand


def _end(result: object, waiter: "Deferred[None]") -> None:
    if not waiter.called:
        waiter.callback(None)


async def _under(act: audit.Act | None, errand: Errand, work: Work) -> None:
    """``work`` under an act of its own, like the one of the request, which ends with the answer; that one's row is this one's now."""
    if act is None:
        await work(errand)
        return
    act.spent = act.recorded = True
    with audit.acting(act.actor, act.action, act.target):
        audit.note(before=act.before, after=act.after)
        await work(errand)


def _told(failure: Failure) -> str:
    """What an errand says of its end."""
    error = failure.value
    if isinstance(error, Stopped):
        return "The server stopped before all was done. Do it again for the rest."
    if isinstance(error, DirectoryError):
        return " ".join(filter(None, (error.text, error.remedy)))
    if isinstance(error, Unavailable):
        log.error("A change of many rows ended: {reason}", event="panel.errand_ended", reason=error.reason)
        return "The store did not answer. Do it again for the rest; the server's log tells the reason."
    log.failure("A change of many rows failed", failure, event="panel.errand_failed")
    return "It failed. The server's log tells the reason; do it again for the rest."
