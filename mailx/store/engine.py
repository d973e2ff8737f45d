"""What both database engines share: connections, calls that wait for a commit, and the order in which a commit is told.

After a commit, on the reactor thread: first the ``after_commit`` calls of each job, then the listeners with what
it published, in the order of the commits; then the Deferreds of the writes fire. A listener that fails is logged
and disturbs nobody.
"""

from collections import deque
from collections.abc import Callable, Sequence
from functools import lru_cache
from queue import SimpleQueue
from time import perf_counter
from typing import Any

from attrs import define, field
from twisted.enterprise import adbapi
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailx.mail.mailbox import Change

log = Logger()

_REACTOR_SLICE = 0.002  # seconds of continuations of writes that the reactor runs in one go


class Conflict(Exception):
    """A constraint of the database (unique, foreign key, not null, check) refused what a job wrote."""


class Session(adbapi.Connection):
    """adbapi's connection of one thread, opened at its first use.

    Jobs end their own transactions, so adbapi's commit and rollback do nothing.
    """

    def __init__(self, pool: "Pool") -> None:
        self._pool = pool
        self._connection = pool.connections.get(pool.threadID())  # type: ignore[no-untyped-call]

    @property
    def raw(self) -> Any:
        """The driver's connection, opened anew if it was lost; raises the driver's errors."""
        if self._connection is None:
            self.reconnect()
        return self._connection

    def reconnect(self) -> None:
        super().reconnect()  # type: ignore[no-untyped-call]

    def drop(self) -> None:
        """Let go of a connection that may be broken; the next use opens another."""
        if self._connection is not None:
            self._pool.disconnect(self._connection)
            self._connection = None

    def commit(self) -> None:
        """See the class."""

    def rollback(self) -> None:
        """See the class."""


Job = tuple["Deferred[Any]", Callable[..., Any], tuple[Any, ...], dict[str, Any]]
Inbox = SimpleQueue[Job | None]


class Pool(adbapi.ConnectionPool):
    """adbapi's pool of threads with a connection each. A thread waits for its next job at an inbox of its own.

    adbapi would pass every job through its pool's coordinator, and the thread back through it: more than a small read
    takes. At one queue for all, every job would wake every thread.
    """

    connectionFactory = Session

    def __init__(self, driver: str, *args: Any, **options: Any) -> None:
        super().__init__(driver, *args, **options)  # type: ignore[no-untyped-call]
        self._jobs: deque[Job] = deque()  # that no thread has taken yet
        self._inboxes: list[Inbox] = []  # one a thread
        self._idle: list[Inbox] = []  # of threads that wait; the last one waits for the shortest time

    def runWithConnection(self, func: Callable[..., Any], *args: Any, **kw: Any) -> "Deferred[Any]":
        """``func(session, ...)`` in a thread of the pool."""
        deferred: Deferred[Any] = Deferred()
        job = deferred, func, args, kw
        if self._idle:
            self._idle.pop().put(job)
        elif len(self._inboxes) < self.max:
            inbox: Inbox = SimpleQueue()
            inbox.put(job)
            self._inboxes.append(inbox)
            self.threadpool.callInThread(self._work, inbox)
        else:
            self._jobs.append(job)
        return deferred

    def _work(self, inbox: Inbox) -> None:
        """What a thread does until the pool is closed."""
        job: Job | None
        while (job := inbox.get()) is not None:
            while job is not None:
                deferred, answer = job[0], self._outcome(job)
                try:
                    job = self._jobs.popleft()
                except IndexError:
                    job = None
                self._reactor.callFromThread(self._answer, deferred, answer, inbox if job is None else None)
                del deferred, answer  # hold nothing while waiting

    def _outcome(self, job: Job) -> Any:
        try:
            return self._runWithConnection(job[1], *job[2], **job[3])  # type: ignore[no-untyped-call]
        except BaseException:
            return Failure()

    def _answer(self, deferred: "Deferred[Any]", answer: Any, free: Inbox | None) -> None:
        if free is not None:
            if self._jobs:
                free.put(self._jobs.popleft())
            else:
                self._idle.append(free)
        deferred.callback(answer)

    def close(self) -> None:
        super().close()  # type: ignore[no-untyped-call]

    def finalClose(self) -> None:
        """Also called by adbapi when the reactor stops: the threads end after what they have to do."""
        for inbox in self._inboxes:
            inbox.put(None)
        super().finalClose()  # type: ignore[no-untyped-call]


@define(eq=False)
class Call:
    """One ``store.write`` that waits for its commit."""

    job: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    deferred: "Deferred[Any]"


@define(eq=False)
class Effects:
    """What a job asked to happen after its commit."""

    calls: list[tuple[Callable[..., Any], tuple[Any, ...]]] = field(factory=list)
    changes: list[Change] = field(factory=list)


@define(eq=False)
class Outcome:
    """How one call ended. ``error`` None: ``answer`` was committed, and ``effects`` (if any) are due."""

    call: Call
    answer: Any = None
    error: BaseException | None = None
    effects: Effects | None = None


class Writing:
    """What a job's transaction has in both engines: the effects it asks for."""

    __slots__ = ("effects",)

    def __init__(self) -> None:
        self.effects: Effects | None = None

    def after_commit(self, call: Callable[..., Any], *args: Any) -> None:
        if self.effects is None:
            self.effects = Effects()
        self.effects.calls.append((call, args))

    def publish(self, change: Change) -> None:
        if self.effects is None:
            self.effects = Effects()
        self.effects.changes.append(change)


class Reading:
    """Mixed into a transaction that commits nothing, so that nothing can be told."""

    __slots__ = ()

    def after_commit(self, call: Callable[..., Any], *args: Any) -> None:
        raise TypeError("a read commits nothing")

    def publish(self, change: Change) -> None:
        raise TypeError("a read commits nothing")


def is_batched(call: Call) -> bool:
    """Whether the job takes many calls at once."""
    return getattr(call.job, "batched", False)


def run(txn: Writing, calls: list[Call]) -> list[Outcome]:
    """Run one job: a batched one for all ``calls``, another for its only call. The effects hang on the first outcome.

    Raises what the job raises.
    """
    job = calls[0].job
    if is_batched(calls[0]):
        answers = job(txn, [call.args[0] for call in calls])
        if len(answers) != len(calls):
            raise RuntimeError("a batched job must answer each of its calls")
    else:
        answers = [job(txn, *calls[0].args, **calls[0].kwargs)]
    outcomes = [
        Outcome(call, error=answer) if isinstance(answer, Exception) else Outcome(call, answer)
        for call, answer in zip(calls, answers, strict=True)
    ]
    outcomes[0].effects = txn.effects
    return outcomes


class Unanswered:
    """Counts the calls of a store that have no answer yet, so that closing can wait for them."""

    def __init__(self) -> None:
        self.closed = False
        self._count = 0
        self._none: Deferred[None] | None = None

    def add(self, deferred: "Deferred[Any]") -> "Deferred[Any]":
        """Count ``deferred`` until it fires."""
        self._count += 1
        return deferred.addBoth(self._answered)

    async def close(self) -> None:
        """Wait until every call has its answer; the caller takes no more."""
        self.closed = True
        if self._count:
            self._none = Deferred()
            await self._none

    def _answered(self, answer: Any) -> Any:
        self._count -= 1
        if not self._count and self._none is not None:
            none, self._none = self._none, None
            none.callback(None)
        return answer


class Announcer:
    """Tells outcomes on the reactor thread, in the order in which they were posted."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._listeners: list[Callable[[Change], Any]] = []
        self._posted: deque[Sequence[Outcome]] = deque()
        self._firing: deque[Outcome] = deque()
        self._awake = False

    def listen(self, listener: Callable[[Change], Any]) -> None:
        self._listeners.append(listener)

    def post(self, outcomes: Sequence[Outcome]) -> None:
        """Tell these soon; may be called from any thread."""
        self._posted.append(outcomes)
        if not self._awake:
            self._awake = True
            self._reactor.callFromThread(self._drain)

    def announce(self, outcomes: Sequence[Outcome]) -> None:
        """Tell these now; reactor thread only. Their Deferreds may fire a little later, when there are many."""
        self._posted.append(outcomes)
        self._drain()

    def tell(self, change: Change) -> None:
        """Tell every listener; reactor thread only."""
        for listener in self._listeners:
            try:
                listener(change)
            except Exception:
                log.failure("A listener of the store failed", event="store.listener_failed", mailbox=change.mailbox)

    def _drain(self) -> None:
        self._awake = False
        while self._posted:
            for outcome in self._posted.popleft():
                if outcome.effects is not None:
                    self._announce(outcome.effects)
                self._firing.append(outcome)
        deadline = perf_counter() + _REACTOR_SLICE
        while self._firing:
            fire(self._firing.popleft())
            if self._firing and perf_counter() > deadline:
                if not self._awake:
                    self._awake = True
                    self._reactor.callLater(0, self._drain)
                return

    def _announce(self, effects: Effects) -> None:
        for call, args in effects.calls:
            try:
                call(*args)
            except Exception:
                log.failure("A call after a commit failed", event="store.after_commit_failed")
        for change in effects.changes:
            self.tell(change)


def fire(outcome: Outcome) -> None:
    """Give the caller of ``write`` its answer."""
    if outcome.error is None:
        outcome.call.deferred.callback(outcome.answer)
    else:
        outcome.call.deferred.errback(Failure(outcome.error))


@lru_cache(maxsize=2048)
def multi_row(sql: str, columns: int, rows: int) -> str:
    """``INSERT ... VALUES ?`` with the ``?`` written out for that many rows."""
    head, found, tail = sql.partition("VALUES ?")
    if not found:
        raise ValueError("insert_many takes INSERT INTO t (a, b) VALUES ? ...")
    row = "(" + ", ".join("?" * columns) + ")"
    return f"{head}VALUES {', '.join([row] * rows)}{tail}"
