"""The queue's rows: one for each recipient elsewhere, from acceptance until its retention is over.

A message with such recipients has one row in ``dispatches``, which counts one of its references as long as somebody may
still need the content. ``insert`` is called by the job that delivers, ``settle`` by itself or by that job (the report of
a failure enters in the transaction that settles it). A destination has a row in ``destinations`` as long as recipients
wait for it, due never after the first of them; so what is to be done next is found without looking at those who wait.
Rows that another node took, or that somebody changed meanwhile, are left alone: each statement names the state it
expects.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

from attrs import frozen

from mailx.store import Row, Txn, batched, clock, together

PENDING = "pending"  # not tried yet
SENDING = "sending"  # a node is at it
DEFERRED = "deferred"  # tried, and to be tried again
HELD = "held"  # waits for somebody to say so
SENT = "sent"
FAILED = "failed"  # for good: a dead letter

STATES = (PENDING, SENDING, DEFERRED, HELD, SENT, FAILED)
FIRST, NORMAL, LAST = PRIORITIES = (0, 1, 2)

SLICE = 1000  # rows that a job changes at most: about 10 ms of the writer
_ROWS = 128  # rows of one multi-row statement at most

_HERE = "destination = ? AND state IN ('pending', 'deferred')"  # who waits, as the index queue_waiting says it


@frozen
class Waiting:
    """One recipient's row, as it is inserted."""

    destination: bytes  # hash
    recipient: bytes  # sealed
    state: str
    due: int
    priority: int
    waits: int = 0  # attempts that may fail before one that fails is the last
    warn: int = 0  # when to tell the sender of the delay; 0: never


@frozen
class Parcel:
    """What ``insert`` writes for the recipients of one message."""

    envelope: str
    guid: bytes
    details: bytes  # sealed
    account: int | None
    size: int
    created: int
    rows: tuple[Waiting, ...]
    node: str = ""  # who is sending those rows that are SENDING


@frozen
class Settled:
    """What one row becomes."""

    id: int
    state: str
    due: int
    attempts: int
    destination: bytes
    history: bytes  # sealed
    waits: int = -1  # as of Waiting; -1: as it was


@frozen
class Settlement:
    """What came of an attempt, for all its rows.

    ``files`` is called after the commit, on the reactor thread, with the blob files that nothing names any more.
    """

    rows: tuple[Settled, ...]
    node: str
    now: int
    files: Callable[[Sequence[str]], Any] | None = None


@frozen
class Claimed:
    """A row that this node now sends, with what its dispatch says."""

    id: int
    dispatch: int
    destination: bytes
    recipient: bytes
    attempts: int
    waits: int
    history: bytes
    word: bytes
    envelope: str
    guid: bytes
    details: bytes
    account: int | None
    size: int
    created: int


def insert(txn: Txn, parcels: Sequence[tuple[int, Parcel]]) -> list[list[int]]:
    """Write the rows of (message id, parcel); the ids of each parcel's rows, in order. The caller counts the references."""
    dispatches = [
        (message, parcel.guid, parcel.envelope, parcel.details, parcel.account, parcel.size, parcel.created, len(parcel.rows))
        for message, parcel in parcels
    ]
    txn.insert_many("INSERT INTO dispatches (id, guid, envelope, details, account_id, size, created, open) VALUES ?", dispatches)
    rows = [
        (
            message,
            row.destination,
            row.recipient,
            row.state,
            row.priority,
            row.due,
            row.waits,
            row.warn,
            parcel.node if row.state == SENDING else "",
        )
        for message, parcel in parcels
        for row in parcel.rows
    ]
    ids = _insert_rows(txn, rows)
    announce(txn, [(row[1], row[5]) for row in rows if row[3] in (PENDING, DEFERRED)])
    answer = []
    start = 0
    for _, parcel in parcels:
        answer.append(ids[start : start + len(parcel.rows)])
        start += len(parcel.rows)
    return answer


def _insert_rows(txn: Txn, rows: Sequence[tuple[Any, ...]]) -> list[int]:
    columns = "dispatch_id, destination, recipient, state, priority, due, waits, warn, node"
    if txn.dialect != "sqlite":
        return [id for (id,) in txn.insert_many(f"INSERT INTO queue ({columns}) VALUES ? RETURNING id", rows)]
    last = txn.one("SELECT seq FROM sqlite_sequence WHERE name = 'queue'")  # nobody else writes: the next ids are ours
    ids = range(last[0] + 1 if last else 1, (last[0] if last else 0) + len(rows) + 1)
    txn.insert_many(f"INSERT INTO queue (id, {columns}) VALUES ?", [(id, *row) for id, row in zip(ids, rows, strict=True)])
    return list(ids)


def announce(txn: Txn, dues: Iterable[tuple[bytes, int]]) -> None:
    """Say that somebody waits for each of these destinations, due then."""
    first: dict[bytes, int] = {}
    for destination, due in dues:
        if due < first.get(destination, due + 1):
            first[destination] = due
    if first:
        txn.insert_many(
            "INSERT INTO destinations (hash, due) VALUES ? ON CONFLICT (hash) DO UPDATE SET due = excluded.due"
            " WHERE excluded.due < destinations.due",
            sorted(first.items()),
        )


def due(txn: Txn, now: int, limit: int) -> tuple[list[bytes], int | None]:
    """At most ``limit`` destinations for which somebody is due, the longest overdue first; when the first of the others is."""
    found = [bytes(hash) for (hash,) in txn.all("SELECT hash FROM destinations WHERE due <= ? ORDER BY due LIMIT ?", (now, limit))]
    row = txn.one("SELECT min(due) FROM destinations WHERE due > ?", (now,))
    return found, row[0] if row else None


def claim(txn: Txn, destination: bytes, now: int, limit: int, node: str, single: bool = False) -> list[Claimed]:
    """Take at most ``limit`` due rows of a destination for ``node``, by priority, then by time; with ``single`` those of one message."""
    lock = "" if txn.dialect == "sqlite" else " FOR UPDATE SKIP LOCKED"
    only = "+" if txn.dialect == "sqlite" else ""  # the index of dispatches is the better one here
    ids: list[int] = []
    for priority in PRIORITIES:
        rows = txn.all(
            f"SELECT id, dispatch_id FROM queue WHERE {_HERE} AND priority = ? AND due <= ? ORDER BY due LIMIT ?{lock}",
            (destination, priority, now, 1 if single else limit - len(ids)),
        )
        if rows and single:
            rows = txn.all(
                f"SELECT id, dispatch_id FROM queue WHERE dispatch_id = ? AND {only}{_HERE} AND due <= ? ORDER BY id LIMIT ?{lock}",
                (rows[0][1], destination, now, limit),
            )
        ids += [row[0] for row in rows]
        if len(ids) >= limit or (single and ids):
            break
    if ids:
        txn.execute(f"UPDATE queue SET state = 'sending', node = ? WHERE {among('id', ids)}", (node, *padded(ids)))
    refresh(txn, destination)
    return claimed(txn, ids)


def claim_last(txn: Txn, destination: bytes, now: int, limit: int, node: str) -> list[Claimed]:
    """Take at most ``limit`` due rows of a destination that have no wait left."""
    lock = "" if txn.dialect == "sqlite" else " FOR UPDATE SKIP LOCKED"
    rows = txn.all(
        f"SELECT id FROM queue WHERE {_HERE} AND priority IN (0, 1, 2) AND due <= ? AND attempts >= waits LIMIT ?{lock}",
        (destination, now, limit),
    )
    ids = [id for (id,) in rows]
    if ids:
        txn.execute(f"UPDATE queue SET state = 'sending', node = ? WHERE {among('id', ids)}", (node, *padded(ids)))
        refresh(txn, destination)
    return claimed(txn, ids)


def claim_late(txn: Txn, now: int, limit: int) -> list[Claimed]:
    """At most ``limit`` rows whose sender is to be told of the delay. They are not taken, only not found here again."""
    lock = "" if txn.dialect == "sqlite" else " FOR UPDATE SKIP LOCKED"
    sql = f"SELECT id FROM queue WHERE state = 'deferred' AND warn > 0 AND warn <= ? ORDER BY warn LIMIT ?{lock}"
    ids = [id for (id,) in txn.all(sql, (now, limit))]
    if ids:
        txn.execute(f"UPDATE queue SET warn = 0 WHERE {among('id', ids)}", padded(ids))
    return claimed(txn, ids)


def refresh(txn: Txn, destination: bytes) -> int | None:
    """Put right when the first row of a destination is due; None: nobody waits for it."""
    firsts = [
        row[0]
        for priority in PRIORITIES
        if (row := txn.one(f"SELECT min(due) FROM queue WHERE {_HERE} AND priority = ?", (destination, priority))) and row[0] is not None
    ]
    if not firsts:
        txn.execute("DELETE FROM destinations WHERE hash = ?", (destination,))
        return None
    txn.execute(
        "INSERT INTO destinations (hash, due) VALUES (?, ?) ON CONFLICT (hash) DO UPDATE SET due = excluded.due",
        (destination, min(firsts)),
    )
    return int(min(firsts))


@batched
def settle(txn: Txn, calls: list[Any]) -> list[Any]:
    """Apply each :class:`Settlement`; answers how many of its rows had been taken away meanwhile.

    A row that was sent is sent whoever has it; everything else holds only for rows that the node still sends. So a
    settlement that comes twice, for its first commit had lost its answer, changes nothing the second time.
    """
    rows = [(call, row) for call in calls for row in call.rows]
    applied: list[int] = []  # by row, its dispatch; 0: it was no longer theirs
    for start in range(0, len(rows), _ROWS):
        applied += _apply(txn, rows[start : start + _ROWS])
    taken = [(row, dispatch) for (_, row), dispatch in zip(rows, applied, strict=True) if dispatch]
    announce(txn, [(row.destination, row.due) for row, _ in taken if row.state in (PENDING, DEFERRED)])
    files = release_dispatches(txn, Counter(dispatch for row, dispatch in taken if row.state == SENT))
    listener = next((call.files for call in calls if call.files is not None), None)
    if files and listener is not None:
        txn.after_commit(listener, files)
    answers = iter(applied)
    return [sum(not next(answers) for _ in call.rows) for call in calls]


def _apply(txn: Txn, rows: Sequence[tuple[Settlement, Settled]]) -> list[int]:
    """Write those of ``rows`` that are still theirs; for each its dispatch, else 0."""
    found = _found(txn, [row.id for _, row in rows])
    values: list[Any] = []
    dispatches = []
    for call, row in rows:
        dispatch, state, node = found.get(row.id, (0, "", ""))
        if not (state == SENDING and node == call.node or row.state == SENT and state not in (SENT, FAILED)):
            dispatch = 0
        if dispatch:
            del found[row.id]  # only once
            finished = call.now if row.state in (SENT, FAILED) else 0
            values += (row.id, row.state, row.due, row.attempts, row.destination, row.history, finished, row.waits)
        dispatches.append(dispatch)
    if values:
        txn.execute(_settling(len(values) // _SETTLED), values)
    return dispatches


def _found(txn: Txn, ids: Sequence[int]) -> dict[int, tuple[int, str, str]]:
    """Dispatch, state and node of each row that exists."""
    rows = together(txn, "id, dispatch_id, state, node", f"FROM queue WHERE {among('id', ids)}", padded(ids))
    return {id: (dispatch, state, node) for id, dispatch, state, node in rows}


_SETTLED = 8  # columns of a row of _settling


@lru_cache(maxsize=_ROWS)
def _settling(count: int) -> str:
    rows = ", ".join([f"({', '.join('?' * _SETTLED)})"] * count)
    return (
        f"WITH v (id, state, due, attempts, destination, history, finished, waits) AS (VALUES {rows}) UPDATE queue SET state = v.state,"
        " due = v.due, attempts = v.attempts, destination = v.destination, history = v.history, finished = v.finished, node = '',"
        " waits = CASE WHEN v.waits < 0 THEN queue.waits ELSE v.waits END"
        " FROM v WHERE queue.id = v.id"
    )


def release_dispatches(txn: Txn, done: Counter[int]) -> list[str]:
    """Count off recipients that need their message no longer, and let go of messages that nobody needs.

    A message without other references goes at once; the names of the files of such.
    """
    files: list[str] = []
    dispatches = sorted(done)
    for start in range(0, len(dispatches), _ROWS):
        part = dispatches[start : start + _ROWS]
        values = [value for id in part for value in (id, done[id])]
        txn.execute(_closing(len(part)), values)
        closed = f"SELECT id FROM dispatches WHERE {among('id', part)} AND open = 0"
        rows = txn.all(f"DELETE FROM messages WHERE id IN ({closed}) AND refs = 1 RETURNING id, file", padded(part))
        files += [str(file) for _, file in rows if file is not None]
        if len(rows) < len(part):
            gone = padded([id for id, _ in rows] or [0])
            txn.execute(
                f"UPDATE messages SET refs = refs - 1 WHERE id IN ({closed}) AND NOT ({among('id', gone)})",
                (*padded(part), *padded(gone)),
            )
    return files


@lru_cache(maxsize=_ROWS)
def _closing(count: int) -> str:
    rows = ", ".join(["(?, ?)"] * count)
    return f"WITH v (id, done) AS (VALUES {rows}) UPDATE dispatches SET open = open - v.done FROM v WHERE dispatches.id = v.id"


def defer(txn: Txn, destination: bytes, now: int, waits: Sequence[int], word: bytes) -> tuple[int, int | None]:
    """The destination does not work: put off at most a slice of its due rows, those that have a wait left, each by its next one.

    ``word`` is sealed: what was said. Returns how many rows, and when the first row of the destination is due now.
    """
    cases = " ".join(f"WHEN {number} THEN {int(wait)}" for number, wait in enumerate(waits[:-1]))
    wait = f"CASE attempts {cases} ELSE {int(waits[-1])} END" if cases else str(int(waits[-1])) if waits else "0"
    lock = "" if txn.dialect == "sqlite" else " FOR UPDATE SKIP LOCKED"
    chosen = f"SELECT id FROM queue WHERE {_HERE} AND priority IN (0, 1, 2) AND due <= ? AND attempts < waits LIMIT {SLICE}{lock}"
    count = txn.execute(
        f"UPDATE queue SET state = 'deferred', due = ? + {wait}, attempts = attempts + 1, word = ? WHERE id IN ({chosen})",
        (now, word, destination, now),
    )
    return count, refresh(txn, destination)


def sending(txn: Txn, node: str) -> list[int]:
    """The rows that ``node`` sends."""
    return [id for (id,) in txn.all("SELECT id FROM queue WHERE state = 'sending' AND node = ?", (node,))]


def take_back(txn: Txn, node: str | None, now: int, ids: Sequence[int] = ()) -> int:
    """Let others send at most a slice of what is being sent by ``node`` (None: by nodes that have not been heard of for long).

    With ``ids`` only these. Returns how many rows; whether their recipients got the message is not known.
    """
    which = "node = ?" if node is not None else f"node NOT IN (SELECT node FROM nodes WHERE seen > {clock(txn)} - {LEASE})"
    these = f" AND {among('id', ids)}" if ids else ""
    lock = "" if txn.dialect == "sqlite" else " FOR UPDATE SKIP LOCKED"
    rows = txn.all(
        f"SELECT id, destination FROM queue WHERE state = 'sending' AND {which}{these} LIMIT {SLICE}{lock}",
        (*(() if node is None else (node,)), *(padded(ids) if ids else ())),
    )
    for start in range(0, len(rows), _ROWS):
        ids = [id for id, _ in rows[start : start + _ROWS]]
        txn.execute(
            "UPDATE queue SET state = CASE WHEN attempts > 0 THEN 'deferred' ELSE 'pending' END, due = ?, node = ''"
            f" WHERE {among('id', ids)}",
            (now, *padded(ids)),
        )
    announce(txn, [(bytes(destination), now) for _, destination in rows])
    return len(rows)


LEASE = 120  # seconds without a sign of life after which what a node was sending is taken from it


def beat(txn: Txn, node: str) -> None:
    """Say that ``node`` lives, and forget nodes that have been silent for a day."""
    now = clock(txn)  # a node whose own is wrong must not take others for dead
    txn.execute(f"INSERT INTO nodes (node, seen) VALUES (?, {now}) ON CONFLICT (node) DO UPDATE SET seen = excluded.seen", (node,))
    txn.execute(f"DELETE FROM nodes WHERE seen < {now} - 86400")


def leave(txn: Txn, node: str) -> None:
    """``node`` ends: what it leaves in "sending" is for the others at once."""
    txn.execute("DELETE FROM nodes WHERE node = ?", (node,))


def claimed(txn: Txn, ids: Sequence[int]) -> list[Claimed]:
    """What a courier needs of these rows, in the order of ``ids``."""
    if not ids:
        return []
    rows: dict[int, Row] = {}
    for start in range(0, len(ids), _ROWS):
        part = ids[start : start + _ROWS]
        found = txn.all(
            "SELECT q.id, q.dispatch_id, q.destination, q.recipient, q.attempts, q.waits, q.history, q.word, d.envelope, d.guid, d.details,"
            f" d.account_id, d.size, d.created FROM queue q JOIN dispatches d ON d.id = q.dispatch_id WHERE {among('q.id', part)}",
            padded(part),
        )
        rows.update({row[0]: row for row in found})
    return [Claimed(*rows[id]) for id in ids]


def among(column: str, ids: Sequence[Any]) -> str:
    """The condition that ``column`` is one of ``ids``, padded so that few statements are prepared."""
    return f"{column} IN ({', '.join('?' * _rounded(len(ids)))})"


def padded(ids: Sequence[Any]) -> tuple[Any, ...]:
    """The parameters of ``among``."""
    return (*ids, *[ids[-1]] * (_rounded(len(ids)) - len(ids)))


def _rounded(count: int) -> int:
    return 1 << (count - 1).bit_length()
