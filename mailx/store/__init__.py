"""Persistence: the only place with SQL.

``Store`` is what the core sees of either engine. A job is a plain function ``job(txn, *args)``: SQL and pure
computation, possibly run twice, never touching a socket or the reactor.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from twisted.internet.defer import Deferred

from mailx.mail.mailbox import Change

P = ParamSpec("P")
T = TypeVar("T")
Row = tuple[Any, ...]


class Txn(Protocol):
    """What a job sees of its transaction. Parameters stand as ``?`` in the SQL of both engines."""

    dialect: str  # "sqlite" or "postgresql"

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Run one statement; returns the number of rows it changed."""

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> None: ...

    def one(self, sql: str, parameters: Sequence[Any] = ()) -> Row | None:
        """The first row of the answer, or None. Also for ``... RETURNING``."""

    def all(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]: ...

    def insert_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> list[Row]:
        """One multi-row ``INSERT INTO t (a, b) VALUES ? [RETURNING x]``: the ``?`` becomes the rows. Returned rows in the order given."""

    def after_commit(self, call: Callable[..., Any], *args: Any) -> None:
        """Call on the reactor thread, only on success, before the Deferred of ``write`` fires."""

    def publish(self, change: Change) -> None:
        """Tell every listener of the store (and the other nodes) of ``change`` after the commit."""


class Store(Protocol):
    """One database. Every failure that is not the job's own becomes ``mail.reply.Unavailable``."""

    def read(self, job: Callable[Concatenate[Txn, P], T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Run ``job`` in a reader thread, in a read-only transaction with one consistent snapshot."""

    def write(self, job: Callable[Concatenate[Txn, P], T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Run ``job`` in a writing transaction; fires after COMMIT and fsync, after the listeners were told.

        A job decorated with :func:`batched` is called once for all its calls that share a commit.
        """

    def listen(self, listener: Callable[[Change], Any]) -> None:
        """``listener(change)`` is called on the reactor thread after each commit that published."""


def clock(txn: Txn) -> str:
    """SQL for the time by the database's clock, in seconds since 1970. All nodes share it; the own one of some may be wrong."""
    return "CAST(strftime('%s', 'now') AS INTEGER)" if txn.dialect == "sqlite" else "CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS BIGINT)"


def together(txn: Txn, columns: str, source: str, parameters: Sequence[Any]) -> list[Row]:
    """All rows of ``SELECT columns source``, whose values JSON can hold; of SQLite in one step, for its driver gives the interpreter
    away at each row.
    """
    if txn.dialect == "sqlite":
        row = txn.one(f"SELECT json_group_array(json_array({columns})) {source}", parameters)
        return [tuple(each) for each in json.loads(row[0])] if row else []
    return txn.all(f"SELECT {columns} {source}", parameters)


def batched(job: Callable[[Txn, list[Any]], list[Any]]) -> Callable[[Txn, Any], Any]:
    """Mark ``job(txn, calls) -> answers``: ``store.write(job, call)`` calls that meet in one commit run as one job.

    Each answer belongs to the call at its place; an answer that is an exception fails that call alone.
    If the batch as a whole raises, it is undone and its calls are run one by one.
    """
    job.batched = True  # type: ignore[attr-defined]
    return job


J = TypeVar("J", bound=Callable[..., Any])


def single(job: J) -> J:
    """Mark a job of ``read`` that runs one statement, which is a snapshot of its own: no transaction is begun for it."""
    job.single = True  # type: ignore[attr-defined]
    return job
