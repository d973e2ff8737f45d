"""The queue as its administrator sees it, and its upkeep: listing, changing states by hand, removing what is over.

A change by hand is answered with the ids it held for: rows that a node is sending are left alone, for what becomes of them
is being decided elsewhere.
"""

from collections import Counter
from collections.abc import Sequence

from attrs import frozen

from mailx.store import Row, Txn
from mailx.store.queue import (
    DEFERRED,
    FAILED,
    HELD,
    PENDING,
    SENT,
    SLICE,
    STATES,
    Claimed,
    among,
    announce,
    claimed,
    padded,
    refresh,
    release_dispatches,
)

_DAY = 86400
_LISTED = (
    "q.id, q.dispatch_id, q.destination, q.recipient, q.state, q.priority, q.due, q.attempts, q.waits, q.history, q.word, q.finished,"
    " d.envelope, d.guid, d.details, d.account_id, d.size, d.created"
)


@frozen
class Listed:
    """A row with what its dispatch says."""

    id: int
    dispatch: int
    destination: bytes
    recipient: bytes
    state: str
    priority: int
    due: int
    attempts: int
    waits: int
    history: bytes
    word: bytes
    finished: int
    envelope: str
    guid: bytes
    details: bytes
    account: int | None
    size: int
    created: int


@frozen
class Filter:
    """Which rows are meant; what is None does not matter."""

    states: tuple[str, ...] | None = None
    destination: bytes | None = None
    account: int | None = None
    envelope: str | None = None
    ids: tuple[int, ...] | None = None
    before: int | None = None  # created before, seconds since 1970

    def sql(self) -> tuple[str, list[object]]:
        """The condition over ``queue q JOIN dispatches d``, and its parameters."""
        parts: list[tuple[str, Sequence[object]]] = [("q.id > ?", [])]
        if self.states is not None:
            parts.append((f"q.state IN ({', '.join('?' * len(self.states))})", self.states))
        if self.destination is not None:
            parts.append(("q.destination = ?", [self.destination]))
        if self.account is not None:
            parts.append(("d.account_id = ?", [self.account]))
        if self.envelope is not None:
            parts.append(("d.envelope = ?", [self.envelope]))
        if self.ids is not None:
            ids = self.ids or (0,)
            parts.append((among("q.id", ids), padded(ids)))
        if self.before is not None:
            parts.append(("d.created < ?", [self.before]))
        return " AND ".join(text for text, _ in parts), [value for _, values in parts for value in values]


def listing(txn: Txn, which: Filter, after: int, limit: int) -> list[Listed]:
    """At most ``limit`` rows above the id ``after``, ids rising."""
    condition, values = which.sql()
    rows = txn.all(
        f"SELECT {_LISTED} FROM queue q JOIN dispatches d ON d.id = q.dispatch_id WHERE {condition} ORDER BY q.id LIMIT ?",
        (after, *values, limit),
    )
    return [Listed(*row) for row in rows]


def chosen(txn: Txn, which: Filter, states: Sequence[str], after: int, limit: int) -> list[int]:
    """At most ``limit`` ids above ``after`` of the rows that are meant and in one of ``states``, rising.

    A reader looks for them, however many others there are; the writer is then given their ids.
    """
    return [id for id, *_ in _chosen(txn, which, states, after, limit, lock=False)]


def count(txn: Txn, which: Filter, most: int) -> int:
    """How many rows are meant, counted up to ``most``."""
    condition, values = which.sql()
    join = " JOIN dispatches d ON d.id = q.dispatch_id" if "d." in condition else ""
    return _number(txn.one(f"SELECT count(*) FROM (SELECT 1 FROM queue q{join} WHERE {condition} LIMIT ?) AS meant", (0, *values, most)))


def counts(txn: Txn, now: int) -> dict[str, int]:
    """How many rows are in each state; of those that were sent only the last day's."""
    found = dict.fromkeys(STATES, 0)
    waiting = txn.all("SELECT state, count(*) FROM queue WHERE state IN ('pending', 'deferred') GROUP BY state")
    found.update({state: count for state, count in waiting})
    for state, condition in (("sending", "state = 'sending'"), (HELD, "state = 'held'")):
        found[state] = _number(txn.one(f"SELECT count(*) FROM queue WHERE {condition}"))
    found[FAILED] = _number(txn.one("SELECT count(*) FROM queue WHERE finished > 0 AND state = 'failed'"))
    found[SENT] = _number(txn.one("SELECT count(*) FROM queue WHERE finished > ? AND finished > 0 AND state = 'sent'", (now - _DAY,)))
    return found


def _number(row: Row | None) -> int:
    return int(row[0]) if row is not None else 0


def retry(txn: Txn, which: Filter, after: int, now: int) -> list[tuple[int, bytes, str]]:
    """Let a slice of rows that wait, are held or failed be tried now; id, destination and envelope of each.

    Dead letters begin anew. An attempt that comes before its time does not count: else whoever retries often makes mail bounce.
    """
    rows = _chosen(txn, which, (PENDING, DEFERRED, HELD, FAILED), after)
    if rows:
        ids = [id for id, *_ in rows]
        txn.execute(
            "UPDATE queue SET due = ?, priority = 0, finished = 0, state = CASE WHEN attempts > 0 THEN 'deferred' ELSE 'pending' END,"
            " attempts = CASE WHEN state = 'failed' THEN 0 WHEN attempts > 0 AND due > ? THEN attempts - 1 ELSE attempts END"
            f" WHERE {among('id', ids)}",
            (now, now, *padded(ids)),
        )
        announce(txn, [(destination, now) for _, destination, _ in rows])
    return rows


def hold(txn: Txn, which: Filter, after: int) -> list[tuple[int, bytes, str]]:
    """Keep a slice of waiting rows from being tried until they are released."""
    rows = _chosen(txn, which, (PENDING, DEFERRED), after)
    if rows:
        ids = [id for id, *_ in rows]
        txn.execute(f"UPDATE queue SET state = 'held' WHERE {among('id', ids)}", padded(ids))
        for destination in sorted({destination for _, destination, _ in rows}):
            refresh(txn, destination)
    return rows


def take(txn: Txn, which: Filter, after: int, limit: int, node: str) -> list[Claimed]:
    """Take at most ``limit`` waiting or held rows above the id ``after`` for ``node``, which decides about them at once."""
    rows = _chosen(txn, which, (PENDING, DEFERRED, HELD), after, limit)
    if not rows:
        return []
    ids = [id for id, *_ in rows]
    txn.execute(f"UPDATE queue SET state = 'sending', node = ? WHERE {among('id', ids)}", (node, *padded(ids)))
    for destination in sorted({destination for _, destination, _ in rows}):
        refresh(txn, destination)
    return claimed(txn, ids)


def delete(txn: Txn, which: Filter, after: int) -> tuple[list[tuple[int, bytes, str]], list[str]]:
    """Remove a slice of rows that nobody sends, without a word to anybody; also the files that nothing names any more."""
    rows = _chosen(txn, which, (PENDING, DEFERRED, HELD, SENT, FAILED), after)
    if not rows:
        return [], []
    files = _remove(txn, [id for id, *_ in rows])
    for destination in sorted({destination for _, destination, _ in rows}):
        refresh(txn, destination)
    return rows, files


def prune(txn: Txn, before: int) -> int:
    """Remove a slice of rows that were finished before that time; their messages are left to the sweep."""
    ids: list[int] = []
    for state in (SENT, FAILED):
        rows = txn.all(
            "SELECT id FROM queue WHERE state = ? AND finished > 0 AND finished < ? ORDER BY finished LIMIT ?",
            (state, before, SLICE - len(ids)),
        )
        ids += [id for (id,) in rows]
    if ids:
        _remove(txn, ids)
    return len(ids)


def waiting(txn: Txn, after: bytes, limit: int) -> list[bytes]:
    """At most ``limit`` destinations above the hash ``after`` for which somebody waits, hashes rising."""
    rows = txn.all("SELECT hash FROM destinations WHERE hash > ? ORDER BY hash LIMIT ?", (after, limit))
    return [bytes(hash) for (hash,) in rows]


def hasten(txn: Txn, destinations: Sequence[bytes], now: int) -> int:
    """Let a slice of what waits for these destinations be tried now, for it goes another way; how many rows.

    An attempt that comes before its time does not count, as in ``retry``.
    """
    lock = "" if txn.dialect == "sqlite" else " FOR UPDATE SKIP LOCKED"
    rows = txn.all(
        f"SELECT id, destination FROM queue WHERE {among('destination', destinations)} AND state IN ('pending', 'deferred')"
        f" AND priority IN (0, 1, 2) AND due > ? LIMIT ?{lock}",
        (*padded(destinations), now, SLICE),
    )
    if rows:
        ids = [id for id, _ in rows]
        txn.execute(
            "UPDATE queue SET due = ?, attempts = CASE WHEN attempts > 0 AND state = 'deferred' THEN attempts - 1 ELSE attempts END"
            f" WHERE {among('id', ids)}",
            (now, *padded(ids)),
        )
        announce(txn, [(bytes(destination), now) for _, destination in rows])
    return len(rows)


def pull(txn: Txn, now: int, longest: int) -> int:
    """Let a slice of what waits for longer than any schedule says, for the clock was ahead, be tried now."""
    latest = now + longest + 60
    rows = txn.all("SELECT id, destination FROM queue WHERE state IN ('pending', 'deferred') AND due > ? LIMIT ?", (latest, SLICE))
    if rows:
        ids = [id for id, *_ in rows]
        txn.execute(f"UPDATE queue SET due = ? WHERE {among('id', ids)}", (now, *padded(ids)))
        announce(txn, [(bytes(destination), now) for _, destination in rows])
    return len(rows)


def shift(txn: Txn, seconds: int, after: int) -> int | None:
    """The clock was set back by ``seconds``: so much sooner those rows are due that wait, of a slice of ids above ``after``.

    Returns the last id of the slice, None when there are no others.
    """
    row = txn.one("SELECT max(id) FROM queue")
    end = int(row[0]) if row is not None and row[0] is not None else 0
    last = min(after + SLICE, end)
    only = "+" if txn.dialect == "sqlite" else ""  # the range of ids is the better index
    rows = txn.all(
        f"UPDATE queue SET due = due - ? WHERE id > ? AND id <= ? AND {only}state IN ('pending', 'deferred') RETURNING destination, due",
        (seconds, after, last),
    )
    announce(txn, [(bytes(destination), due) for destination, due in rows])
    return last if last < end else None


def _chosen(
    txn: Txn, which: Filter, states: Sequence[str], after: int, limit: int = SLICE, lock: bool = True
) -> list[tuple[int, bytes, str]]:
    condition, values = which.sql()
    rows = txn.all(
        f"SELECT q.id, q.destination, d.envelope FROM queue q JOIN dispatches d ON d.id = q.dispatch_id WHERE {condition}"
        f" AND q.state IN ({', '.join('?' * len(states))}) ORDER BY q.id LIMIT ?"
        + (" FOR UPDATE OF q" if lock and txn.dialect != "sqlite" else ""),
        (after, *values, *states, limit),
    )
    return [(id, bytes(destination), envelope) for id, destination, envelope in rows]


def _remove(txn: Txn, ids: Sequence[int]) -> list[str]:
    """Remove rows, dispatches that have none left, and messages that nobody needs; the files of these."""
    rows = txn.all(f"SELECT dispatch_id, state FROM queue WHERE {among('id', ids)}", padded(ids))
    txn.execute(f"DELETE FROM queue WHERE {among('id', ids)}", padded(ids))
    files = release_dispatches(txn, Counter(dispatch for dispatch, state in rows if state != SENT))
    dispatches = sorted({dispatch for dispatch, _ in rows})
    txn.execute(
        f"DELETE FROM dispatches WHERE {among('id', dispatches)} AND NOT EXISTS (SELECT 1 FROM queue WHERE dispatch_id = dispatches.id)",
        padded(dispatches),
    )
    return files
