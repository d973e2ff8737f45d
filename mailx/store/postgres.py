"""The PostgreSQL engine: one job a transaction, several writers, several nodes.

Writing transactions are SERIALIZABLE, so that a job may read and then write as if it were alone; one that met another
is run again. A job that failed before its commit because the connection was lost is run again on a new one; if the
connection is lost while COMMIT is under way, the database is asked whether it took place. What remains becomes
:class:`~mailx.mail.reply.Unavailable`. Changes travel to the other nodes by NOTIFY, inside the transaction.
"""

import random
import re
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import lru_cache, partial
from threading import Lock
from typing import Any

import psycopg
from attrs import define, field
from psycopg import errors
from psycopg.abc import Buffer
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.numeric import Int8Dumper, NumericBinaryLoader
from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailx.mail.mailbox import Change
from mailx.mail.reply import Unavailable
from mailx.store import Row
from mailx.store.engine import Announcer, Call, Conflict, Outcome, Pool, Reading, Session, Unanswered, Writing, is_batched, multi_row, run
from mailx.store.migrate import INDEX, MAIL, migrate_postgresql
from mailx.store.notices import CHANNEL, Notices, encode

log = Logger()

_WRITERS = 4  # connections that write
_BATCH_CALLS = 256  # calls of a batched job that share one transaction at most
_ATTEMPTS = 12  # of a job that keeps meeting others
_PATIENCE = 4  # attempts after which the others of this node let it go first
_POLITENESS = 0.5  # seconds that they wait at most: what it waits for may be a row that another node holds
_ROWS_AT_ONCE = 500  # of a multi-row insert
_CONNECT = {"connect_timeout": 10, "application_name": "mailx", "keepalives_idle": 30, "tcp_user_timeout": 20000}
# Another node may hang while it holds a row: nobody waits for ever, and it must let go of it in the end.
_OPTIONS = "-c lock_timeout=10s -c idle_in_transaction_session_timeout=60s"

_MET_ANOTHER = (errors.SerializationFailure, errors.DeadlockDetected, errors.UniqueViolation)
_TOKEN = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|--[^\n]*|[?%]")


@lru_cache(maxsize=4096)
def placeholders(sql: str) -> str:
    """``sql`` with ``?`` parameters as the driver writes them."""

    def replace(match: re.Match[str]) -> str:
        token = match[0]
        return "%s" if token == "?" else token.replace("%", "%%")

    return _TOKEN.sub(replace, sql)


class _NumberLoader(NumericBinaryLoader):
    """``sum()`` of integers is numeric here: an int, as SQLite gives."""

    def load(self, data: Buffer) -> Any:
        number = super().load(data)
        return int(number) if number == number.to_integral_value() else float(number)


class PostgreSQLTxn(Writing):
    """One job's view of the open transaction."""

    __slots__ = ("_connection",)
    dialect = "postgresql"

    def __init__(self, connection: "psycopg.Connection[Row]") -> None:
        super().__init__()
        self._connection = connection

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        return self._connection.execute(placeholders(sql), parameters).rowcount

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        with self._connection.cursor() as cursor:
            cursor.executemany(placeholders(sql), rows)

    def one(self, sql: str, parameters: Sequence[Any] = ()) -> Row | None:
        return self._connection.execute(placeholders(sql), parameters, binary=True).fetchone()

    def all(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        return self._connection.execute(placeholders(sql), parameters, binary=True).fetchall()

    def insert_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> list[Row]:
        answer: list[Row] = []
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            part = rows[start : start + _ROWS_AT_ONCE]
            text = placeholders(multi_row(sql, len(part[0]), len(part)))
            cursor = self._connection.execute(text, [value for row in part for value in row], binary=True)
            if cursor.description is not None:
                answer += cursor.fetchall()
        return answer


class ReadTxn(Reading, PostgreSQLTxn):
    """A reader's transaction."""

    __slots__ = ()


@define(eq=False)
class _Commit:
    """A commit under way that publishes; told in the order in which these were registered.

    Whoever changes a mailbox after another has seen that one's commit, so it registers later: the order is right for
    each mailbox, whichever thread hears first that its commit is done.
    """

    outcomes: list[Outcome] | None = None


@define(eq=False)
class _Line:
    """The calls of one batched job that wait while its last batch is being committed."""

    calls: deque[Call] = field(factory=deque)
    busy: bool = False


class PostgreSQLStore:
    """One database; made by :func:`open_store`."""

    def __init__(self, url: str, password: str, readers: int, reactor: Any) -> None:
        self.node = secrets.token_hex(4)
        self._announcer = Announcer(reactor)
        options: dict[str, Any] = {**_CONNECT, **({"password": password} if password else {})}
        options["options"] = f"{_OPTIONS} {conninfo_to_dict(url).get('options') or ''}"

        def pool(name: str, most: int, prepare: Callable[[Any], None]) -> Pool:
            return Pool("psycopg", url, cp_reactor=reactor, cp_min=1, cp_max=most, cp_name=name, cp_openfun=prepare, **options)

        self._writers = pool("writers", _WRITERS, _prepare_writer)
        self._readers = pool("readers", readers, _prepare_reader)
        connect = partial(psycopg.connect, url, autocommit=True, **options)
        self._notices = Notices(reactor, self._readers, connect, self.node, self._announcer.tell)
        self._reactor = reactor
        self._lock = Lock()  # of _commits
        self._first = Lock()  # held by a job that was overtaken too often
        self._lines: dict[Any, _Line] = {}
        self._commits: deque[_Commit] = deque()
        self._unanswered = Unanswered()

    def read(self, job: Callable[..., Any], *args: Any, **kwargs: Any) -> "Deferred[Any]":
        if self._unanswered.closed:
            return fail(Unavailable("the store is closed"))
        return self._unanswered.add(self._readers.runWithConnection(_read, job, args, kwargs))

    def write(self, job: Callable[..., Any], *args: Any, **kwargs: Any) -> "Deferred[Any]":
        if self._unanswered.closed:
            return fail(Unavailable("the store is closed"))
        deferred: Deferred[Any] = self._unanswered.add(Deferred())
        call = Call(job, args, kwargs, deferred)
        if is_batched(call):
            line = self._lines.setdefault(job, _Line())
            line.calls.append(call)
            if not line.busy:
                line.busy = True
                self._reactor.callLater(0, self._next_batch, line)
        else:
            self._writers.runWithConnection(self._run, [call]).addErrback(self._not_run, [call])
        return deferred

    def listen(self, listener: Callable[[Change], Any]) -> None:
        """As the interface says. Changes of other nodes come ``partial``; mailbox 0 means that some may have been missed."""
        self._announcer.listen(listener)

    async def close(self) -> None:
        """Answer what was asked, then let go of the connections."""
        if self._unanswered.closed:
            return
        self._notices.stop()
        await self._unanswered.close()
        self._readers.close()
        self._writers.close()

    async def start(self) -> None:
        """Bring the schema up to date and listen to the other nodes; raises SchemaError, psycopg.Error."""
        for schema in (MAIL, INDEX):
            await self._writers.runWithConnection(lambda session, schema=schema: migrate_postgresql(session.raw, schema))
        await self._notices.start()

    def _next_batch(self, line: _Line) -> None:
        calls = [line.calls.popleft() for _ in range(min(_BATCH_CALLS, len(line.calls)))]
        self._writers.runWithConnection(self._run, calls).addErrback(self._not_run, calls).addCallback(self._batch_done, line)

    def _batch_done(self, _: None, line: _Line) -> None:
        if line.calls:
            self._reactor.callLater(0, self._next_batch, line)
        else:
            line.busy = False

    def _not_run(self, failure: Failure, calls: list[Call]) -> None:
        """The job failed in a way that nobody foresaw; no call may wait for ever."""
        log.failure("A writer failed", failure, event="store.writer_failed")
        self._announcer.post([Outcome(call, error=Unavailable(f"the writer failed: {failure.value!r}")) for call in calls])

    # The rest runs in writer threads.

    def _run(self, session: Session, calls: list[Call]) -> None:
        """One job in one transaction; a batch that fails is undone and its calls are run one by one."""
        try:
            if not self._attempts(session, calls):
                for call in calls:
                    self._run(session, [call])
        except Exception as error:
            seen = translate(error.cause if isinstance(error, _Uncertain) else error)
            if isinstance(seen, Unavailable) and seen is not error:
                log.error("A transaction failed: {reason}", event="store.unavailable", reason=seen.reason, calls=len(calls))
            self._announcer.post([Outcome(call, error=seen) for call in calls])

    def _attempts(self, session: Session, calls: list[Call]) -> bool:
        """Try until committed; False: a batch failed of itself. Raises what the job raised, psycopg.Error, _Uncertain.

        A long job would meet short ones each time: when it has met enough of them, the next ones wait for it.
        """
        lost = met = 0
        with ExitStack() as ahead:
            while True:
                if met < _PATIENCE and self._first.acquire(timeout=_POLITENESS):
                    self._first.release()
                try:
                    self._attempt(session, calls)
                    return True
                except _MET_ANOTHER as error:
                    met += 1
                    # Overlapping transactions may meet in a unique index first; one that meets it alone is at fault itself.
                    if met >= (2 if isinstance(error, errors.UniqueViolation) else _ATTEMPTS):
                        if len(calls) > 1:
                            return False
                        raise
                    time.sleep(random.uniform(0, 0.004) * met)
                    if met == _PATIENCE:
                        ahead.enter_context(self._first)
                except _ConnectionLost as error:
                    lost += 1
                    if lost > 1:
                        raise error.cause from None
                except _Uncertain:
                    raise
                except Exception:
                    if len(calls) > 1:
                        return False
                    raise

    def _attempt(self, session: Session, calls: list[Call]) -> None:
        """One transaction. Raises _ConnectionLost when running it again is safe, else what went wrong."""
        raw = _connected(session)
        txn = PostgreSQLTxn(raw)
        try:
            outcomes = run(txn, calls)
            changes = txn.effects.changes if txn.effects is not None else ()
            transaction = _notify(raw, self.node, changes)
        except Exception as error:
            _undo(session, raw, error)
            raise
        if transaction:
            self._commit_in_order(session, raw, outcomes, transaction)
        else:
            _commit(session, raw, "")
            self._announcer.post(outcomes)

    def _commit_in_order(self, session: Session, raw: "psycopg.Connection[Row]", outcomes: list[Outcome], transaction: str) -> None:
        commit = _Commit()
        with self._lock:
            self._commits.append(commit)
        try:
            _commit(session, raw, transaction)
        except BaseException:
            with self._lock:
                self._commits.remove(commit)
            raise
        else:
            commit.outcomes = outcomes
        finally:
            self._tell_committed()

    def _tell_committed(self) -> None:
        with self._lock:
            while self._commits and (outcomes := self._commits[0].outcomes) is not None:
                self._commits.popleft()
                self._announcer.post(outcomes)


class _ConnectionLost(Exception):
    """The connection broke, and nothing of the transaction was kept."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


class _Uncertain(Exception):
    """The connection broke during COMMIT, and whether it took place cannot be learnt: not to be run again."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


async def open_store(url: str, password: str, readers: int, reactor: Any) -> PostgreSQLStore:
    """Connect to the database at ``url`` (``postgresql://user@host/database``) and bring its schema up to date.

    ``password`` may be "". Raises SchemaError, Unavailable.
    """
    try:
        store = PostgreSQLStore(url, password, readers, reactor)
    except psycopg.ProgrammingError:  # whose text may hold a password
        raise Unavailable("the url of the database is malformed") from None
    try:
        await store.start()
    except BaseException as error:
        await store.close()
        seen = translate(error)
        if seen is not error:
            raise seen from None
        raise
    return store


def translate(error: BaseException) -> BaseException:
    """What a caller sees of ``error``: Unavailable for the database's failures, Conflict for constraints."""
    if not isinstance(error, psycopg.Error):
        return error
    reason = f"{error.sqlstate or type(error).__name__}: {error.diag.message_primary or error}"
    if isinstance(error, psycopg.IntegrityError):
        return Conflict(reason)
    if isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError)):
        return Unavailable(reason)
    return error


def _prepare(connection: "psycopg.Connection[Row]") -> None:
    connection.adapters.register_dumper(int, Int8Dumper)  # one type, so one prepared statement a text
    connection.adapters.register_loader("numeric", _NumberLoader)


def _prepare_writer(connection: "psycopg.Connection[Row]") -> None:
    _prepare(connection)
    connection.isolation_level = psycopg.IsolationLevel.SERIALIZABLE


def _prepare_reader(connection: "psycopg.Connection[Row]") -> None:
    _prepare(connection)
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    connection.read_only = True


def _read(session: Session, job: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """One read-only job on one snapshot, in a reader thread; once more if the connection was lost."""
    tries = 2
    while True:
        raw: psycopg.Connection[Row] | None = None
        try:
            raw = session.raw
            try:
                return job(ReadTxn(raw), *args, **kwargs)
            finally:
                raw.rollback()
        except psycopg.Error as error:
            tries -= 1
            lost = raw is None or raw.closed
            session.drop()
            if lost and tries:
                continue
            seen = translate(error)
            if isinstance(seen, Unavailable):
                log.error("A read failed: {reason}", event="store.unavailable", reason=seen.reason)
            raise seen from error


def _notify(raw: "psycopg.Connection[Row]", node: str, changes: Sequence[Change]) -> str:
    """Tell the other nodes with the commit; the id of the transaction, "" if there is nothing to tell."""
    number = ""
    for payload in encode(node, changes) if changes else ():
        row = raw.execute("SELECT pg_notify(%s, %s), pg_current_xact_id()::text", (CHANNEL, payload)).fetchone()
        number = row[1] if row is not None else ""
    return number


def _connected(session: Session) -> "psycopg.Connection[Row]":
    try:
        raw: psycopg.Connection[Row] = session.raw
    except psycopg.Error as error:
        raise _ConnectionLost(error) from error
    return raw


def _commit(session: Session, raw: "psycopg.Connection[Row]", transaction: str) -> None:
    """Commit. If the connection breaks meanwhile and ``transaction`` is known, the database is asked how it ended.

    Raises _ConnectionLost (nothing was kept), _Uncertain, or the reason why the server refused.
    """
    try:
        raw.commit()
    except psycopg.Error as error:
        if not raw.closed:
            _undo(session, raw, error)
            raise
        session.drop()
        if not transaction:
            raise _Uncertain(error) from error
        try:
            committed = _was_committed(session, transaction)
        except psycopg.Error:
            session.drop()
            raise _Uncertain(error) from error
        if not committed:
            raise _ConnectionLost(error) from error


def _was_committed(session: Session, transaction: str) -> bool:
    """Ask over a new connection how ``transaction`` ended; raises psycopg.Error if that cannot be learnt."""
    raw: psycopg.Connection[Row] = session.raw
    for _ in range(50):
        row = raw.execute("SELECT pg_xact_status(%s::xid8)", (transaction,)).fetchone()
        raw.rollback()
        if row is not None and row[0] != "in progress":
            return bool(row[0] == "committed")
        time.sleep(0.05)
    raise psycopg.OperationalError("a commit has been under way for too long")


def _undo(session: Session, raw: "psycopg.Connection[Row]", error: Exception) -> None:
    """Roll back; raises _ConnectionLost when the connection is gone."""
    try:
        if not raw.closed:
            raw.rollback()
    except psycopg.Error:
        log.failure("Rollback failed", event="store.rollback_failed")
    if raw.closed:
        session.drop()
        if isinstance(error, psycopg.Error):
            raise _ConnectionLost(error) from error
