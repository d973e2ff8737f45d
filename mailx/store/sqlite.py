"""The SQLite engine: one writer thread with group commit, and readers beside it.

Jobs that arrive while a commit is in flight, or in the same turn of the reactor, share the next transaction, each in a
savepoint of its own, so that one fsync serves them all and a failing job is undone alone. Exactly one process uses a database file: a lock
file beside it is held exclusively. Failure of the database (full, locked, read-only, I/O error) becomes
:class:`~mailx.mail.reply.Unavailable` for the jobs it hit; the writer opens its connection anew and goes on.
"""

import fcntl
import os
import sqlite3
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from time import perf_counter
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailx.mail.mailbox import Change
from mailx.mail.reply import Unavailable
from mailx.store import Row
from mailx.store.engine import Announcer, Call, Conflict, Outcome, Pool, Reading, Session, Unanswered, Writing, is_batched, multi_row, run
from mailx.store.migrate import MAIL, SchemaError, migrate_sqlite

log = Logger()

_BATCH_CALLS = 256  # calls that share one commit at most
_BATCH_SECONDS = 0.02  # a batch that took so long is committed; the rest goes into the next
_SLOW_JOB = 0.05  # seconds; a job that holds the writer for longer is told in the log
_BUSY_SECONDS = 5.0  # how long another program (a shell, a copy) may hold the database before jobs fail
_ROWS_AT_ONCE = 64  # of a multi-row insert; halved for the rest, so that few distinct statements are prepared
_STATEMENTS = 512  # prepared statements kept by each connection


class StoreInUse(Exception):
    """Another process uses the database file."""


class _TransactionLost(Exception):
    """SQLite rolled the whole transaction back while a job ran."""


class SQLiteTxn(Writing):
    """One job's view of the open transaction."""

    __slots__ = ("_connection",)
    dialect = "sqlite"

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__()
        self._connection = connection

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        return self._connection.execute(sql, parameters).rowcount

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        self._connection.executemany(sql, rows)

    def one(self, sql: str, parameters: Sequence[Any] = ()) -> Row | None:
        row: Row | None = self._connection.execute(sql, parameters).fetchone()
        return row

    def all(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        return self._connection.execute(sql, parameters).fetchall()

    def insert_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> list[Row]:
        if len(rows) == 1:
            return self._connection.execute(multi_row(sql, len(rows[0]), 1), rows[0]).fetchall()
        answer: list[Row] = []
        start = 0
        count = _ROWS_AT_ONCE
        while start < len(rows):
            while count > len(rows) - start:
                count //= 2
            values = [value for row in rows[start : start + count] for value in row]
            answer += self._connection.execute(multi_row(sql, len(rows[0]), count), values).fetchall()
            start += count
        return answer


class ReadTxn(Reading, SQLiteTxn):
    """A reader's transaction."""

    __slots__ = ()


class SQLiteStore:
    """One database file; made by :func:`open_store`."""

    def __init__(self, path: str, readers: int, reactor: Any) -> None:
        self._path = path
        self._announcer = Announcer(reactor)
        self._lock_file = _lock(path)
        options = {"isolation_level": None, "check_same_thread": False, "timeout": _BUSY_SECONDS, "cached_statements": _STATEMENTS}
        self._writer = Pool(
            "sqlite3", path, cp_reactor=reactor, cp_min=1, cp_max=1, cp_name="writer", cp_openfun=_prepare_writer, **options
        )
        self._readers = Pool(
            "sqlite3", path, cp_reactor=reactor, cp_min=1, cp_max=readers, cp_name="readers", cp_openfun=_prepare_reader, **options
        )
        self._reactor = reactor
        self._pending: deque[Call] = deque()
        self._busy = False  # a batch is being committed, or about to be made up
        self._unanswered = Unanswered()

    def read(self, job: Callable[..., Any], *args: Any, **kwargs: Any) -> "Deferred[Any]":
        if self._unanswered.closed:
            return fail(Unavailable("the store is closed"))
        return self._unanswered.add(self._readers.runWithConnection(_read, job, args, kwargs))

    def write(self, job: Callable[..., Any], *args: Any, **kwargs: Any) -> "Deferred[Any]":
        if self._unanswered.closed:
            return fail(Unavailable("the store is closed"))
        deferred: Deferred[Any] = self._unanswered.add(Deferred())
        self._pending.append(Call(job, args, kwargs, deferred))
        if not self._busy:
            self._busy = True
            self._reactor.callLater(0, self._next_batch)  # what else this turn of the reactor writes shares the commit
        return deferred

    def listen(self, listener: Callable[[Change], Any]) -> None:
        self._announcer.listen(listener)

    async def close(self) -> None:
        """Answer what was asked, then let go of the file."""
        if self._unanswered.closed:
            return
        await self._unanswered.close()
        self._readers.close()
        self._writer.close()
        os.close(self._lock_file)

    async def migrate(self, schema: str) -> None:
        """Bring the schema up to date; raises SchemaError, Unavailable."""
        await self._writer.runWithConnection(lambda session: migrate_sqlite(session.raw, self._path, schema))

    def _next_batch(self) -> None:
        pending = self._pending
        calls = [pending.popleft() for _ in range(min(_BATCH_CALLS, len(pending)))]
        self._writer.runWithConnection(_run_batch, calls).addErrback(self._not_run, calls).addCallback(self._done)

    def _not_run(self, failure: Failure, calls: list[Call]) -> tuple[Sequence[Outcome], list[Call]]:
        """The batch failed in a way that nobody foresaw; no call may wait for ever."""
        log.failure("The writer failed", failure, event="store.writer_failed")
        return [Outcome(call, error=Unavailable(f"the writer failed: {failure.value!r}")) for call in calls], []

    def _done(self, answer: tuple[Sequence[Outcome], list[Call]]) -> None:
        """Tell what a batch came to; the calls that its answers bring about belong to the next one."""
        outcomes, rest = answer
        self._pending.extendleft(reversed(rest))
        self._announcer.announce(outcomes)
        if self._pending:
            self._reactor.callLater(0, self._next_batch)
        else:
            self._busy = False


async def open_store(path: str, readers: int, reactor: Any, schema: str = MAIL) -> SQLiteStore:
    """Open (or make) the database at ``path`` and bring its ``schema`` up to date.

    Raises StoreInUse, SchemaError, Unavailable.
    """
    store = SQLiteStore(os.path.abspath(path), readers, reactor)
    try:
        await store.migrate(schema)
    except BaseException as error:
        await store.close()
        if isinstance(error, sqlite3.Error):
            raise translate(error) from error
        raise
    return store


def translate(error: BaseException) -> BaseException:
    """What a caller sees of ``error``: Unavailable for the database's failures, Conflict for constraints."""
    if isinstance(error, sqlite3.IntegrityError):
        return Conflict(str(error))
    if isinstance(error, sqlite3.OperationalError) or type(error) is sqlite3.DatabaseError:
        return Unavailable(f"{getattr(error, 'sqlite_errorname', '')}: {error}")
    return error


def _lock(path: str) -> int:
    """Hold the lock file of ``path`` (not the database itself: closing it would drop SQLite's own locks)."""
    try:
        descriptor = os.open(path + ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Unavailable(f"the lock file of {path} cannot be opened: {error}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise StoreInUse(f"another process uses the database {path}: stop it, or speak to it through its admin socket") from None
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # SQLite would make it readable by all
    except OSError as error:
        os.close(descriptor)
        raise Unavailable(f"the database {path} cannot be opened: {error}") from None
    return descriptor


def _prepare_writer(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA wal_autocheckpoint = 1000")  # pages; larger ones stall the writer for longer at a time
    connection.execute("PRAGMA journal_size_limit = 67108864")  # octets; what a long read let grow is given back
    connection.execute("PRAGMA cache_size = -16384")  # KiB
    connection.execute("PRAGMA temp_store = MEMORY")


def _prepare_reader(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA query_only = ON")
    connection.execute("PRAGMA cache_size = -8192")
    connection.execute("PRAGMA temp_store = MEMORY")


def _read(session: Session, job: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """One read-only job on one snapshot, in a reader thread."""
    try:
        raw = session.raw
        if getattr(job, "single", False):  # a statement alone is a snapshot of its own
            return job(ReadTxn(raw), *args, **kwargs)
        raw.execute("BEGIN")
        try:
            return job(ReadTxn(raw), *args, **kwargs)
        finally:
            raw.execute("ROLLBACK")
    except sqlite3.Error as error:
        seen = translate(error)
        if isinstance(seen, Unavailable):
            log.error("A read failed: {reason}", event="store.unavailable", reason=seen.reason)
            session.drop()
        raise seen from error


def _run_batch(session: Session, calls: list[Call]) -> tuple[Sequence[Outcome], list[Call]]:
    """Run and commit ``calls``, in the writer thread; the outcomes, and the calls that must wait for the next batch."""
    try:
        if len(calls) == 1:
            return [_run_alone(session, calls[0])], []
        return _run_together(session, calls)
    except Exception as error:
        return _failed(session, calls, error), []


def _run_alone(session: Session, call: Call) -> Outcome:
    """A transaction of its own for one call. Raises sqlite3.Error when the transaction failed, not the job."""
    raw = session.raw
    raw.execute("BEGIN IMMEDIATE")
    txn = SQLiteTxn(raw)
    try:
        outcome = _timed(txn, [call])[0]
    except Exception as error:
        seen = translate(error)
        if isinstance(seen, Unavailable) and seen is not error:
            raise
        if raw.in_transaction:
            raw.execute("ROLLBACK")
        return Outcome(call, error=seen)
    raw.execute("COMMIT")
    return outcome


def _run_together(session: Session, calls: list[Call]) -> tuple[Sequence[Outcome], list[Call]]:
    """One transaction for many calls, or for as many as its time allows."""
    raw = session.raw
    raw.execute("BEGIN IMMEDIATE")
    outcomes: list[Outcome] = []
    groups = deque(_grouped(calls))
    deadline = perf_counter() + _BATCH_SECONDS
    try:
        while groups and (not outcomes or perf_counter() < deadline):
            outcomes += _run_group(raw, groups.popleft())
    except _TransactionLost:
        return [_run_again(session, call) for call in calls], []
    rest = [call for group in groups for call in group]
    try:
        raw.execute("COMMIT")
    except sqlite3.Error as error:
        return _failed(session, [outcome.call for outcome in outcomes], error), rest
    return outcomes, rest


def _run_again(session: Session, call: Call) -> Outcome:
    """One call of a batch that SQLite rolled back."""
    try:
        return _run_alone(session, call)
    except Exception as error:
        return _failed(session, [call], error)[0]


def _failed(session: Session, calls: list[Call], error: Exception) -> list[Outcome]:
    """The transaction of ``calls`` failed as a whole: undo it, let go of the connection, and say why."""
    seen = translate(error)
    reason = seen.reason if isinstance(seen, Unavailable) else f"{type(error).__name__}: {error}"
    log.error("A transaction failed: {reason}", event="store.unavailable", reason=reason, calls=len(calls))
    session.drop()  # closing rolls back
    return [Outcome(call, error=Unavailable(reason)) for call in calls]


def _grouped(calls: list[Call]) -> Iterator[list[Call]]:
    """Calls of one batched job together, at the place of the first; every other call by itself."""
    groups: dict[Any, list[Call]] = {}
    for call in calls:
        key = call.job if is_batched(call) else call
        groups.setdefault(key, []).append(call)
    yield from groups.values()


def _timed(txn: SQLiteTxn, group: list[Call]) -> list[Outcome]:
    """Run a group's job and tell when it took long."""
    started = perf_counter()
    try:
        return run(txn, group)
    finally:
        seconds = perf_counter() - started
        if seconds > _SLOW_JOB:
            job = getattr(group[0].job, "__qualname__", "")
            log.info("A job held the writer for {seconds:.3f} s", event="store.slow_job", job=job, seconds=seconds, calls=len(group))


def _run_group(raw: sqlite3.Connection, group: list[Call]) -> list[Outcome]:
    """Run a group in a savepoint. A failing one is undone; if it was a batch, its calls are tried one by one."""
    txn = SQLiteTxn(raw)
    raw.execute("SAVEPOINT job")
    try:
        outcomes = _timed(txn, group)
    except Exception as error:
        if not raw.in_transaction:
            raise _TransactionLost from error
        raw.execute("ROLLBACK TO job")
        raw.execute("RELEASE job")
        if len(group) == 1:
            seen = translate(error)
            if isinstance(seen, Unavailable) and seen is not error:
                log.error("A job failed: {reason}", event="store.unavailable", reason=seen.reason, calls=1)
            return [Outcome(group[0], error=seen)]
        return [outcome for call in group for outcome in _run_group(raw, [call])]
    raw.execute("RELEASE job")
    return outcomes


__all__ = ["Conflict", "SQLiteStore", "SQLiteTxn", "SchemaError", "StoreInUse", "open_store", "translate"]
