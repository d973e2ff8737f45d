"""Callbacks: for each change of a call's state one row, posted in order, kept as long as the call.

``begin`` is called by the job that accepts the message. ``derive`` brings the states of calls up to date with the rows of the queue
and adds what follows from the change, all in one transaction; so whatever a crash interrupts, deriving again finds what is
missing and never tells twice. A row that is being posted is due again after its lease: what a crash interrupts is posted again.
"""

from collections.abc import Callable, Mapping, Sequence

from attrs import frozen

from mailx.store import Txn, batched, together
from mailx.store.calls import BOUNCED, DEFERRED, DELIVERED, QUEUED
from mailx.store.suppressions import Suppression, add

WAITING, POSTING, BEHIND, DONE, GIVEN_UP = STATES = ("waiting", "posting", "behind", "done", "given_up")

LEASE = 60  # seconds within which one that was claimed is finished
SLICE = 500  # rows of a job at most
_WINDOW = 200  # rows looked at to find some of different hosts
_ROUNDS = 8  # such windows of one claim
_ROWS = 128  # of one multi-row statement

_OPEN = "state IN ('waiting', 'posting')"  # as the index callbacks_due says it

Judge = Callable[[bytes, bytes, bytes], Suppression | None]


@frozen
class Derivation:
    """Which calls to bring up to date. ``judge`` says of a failed row (guid of the dispatch, recipient, history) whom to suppress."""

    envelopes: tuple[str, ...]
    now: int
    judge: Judge | None = None


@frozen
class Derived:
    """What changed."""

    calls: int = 0
    callbacks: int = 0
    suppressed: int = 0


@frozen
class Claimed:
    """A callback to be posted now."""

    id: int
    call: int
    event: str
    happened: int
    host: bytes
    attempts: int


@frozen
class Finished:
    """What came of one attempt: ``state`` is DONE, GIVEN_UP, or WAITING until ``due``."""

    id: int
    state: str
    due: int
    line: str


@frozen
class Told:
    """A callback as it is shown."""

    id: int
    call: int
    event: str
    happened: int
    state: str
    due: int
    attempts: int
    history: str


def begin(txn: Txn, calls: Sequence[tuple[int, str, bytes, int]]) -> None:
    """The first callbacks of calls that want some: (number, state, host, created)."""
    rows = []
    for id, state, host, created in calls:
        rows.append((id, QUEUED, created, host, WAITING, created))
        if state != QUEUED:
            rows.append((id, state, created, host, BEHIND, created))
    if rows:
        txn.insert_many("INSERT INTO callbacks (call_id, event, happened, host, state, due) VALUES ?", rows)


def stale(txn: Txn, after: int, limit: int) -> tuple[int | None, list[str]]:
    """Of at most ``limit`` calls above the number ``after`` that are not over, the envelopes of those to bring up to date.

    First the number to go on from, None when there are no more.
    """
    rows = txn.all(
        "SELECT id, envelope, state FROM calls WHERE state IN ('queued', 'deferred') AND id > ? ORDER BY id LIMIT ?", (after, limit)
    )
    fates = _fates(txn, [envelope for _, envelope, _ in rows])
    found = [envelope for _, envelope, state in rows if _fate(state, fates.get(envelope))[0] != state]
    return (rows[-1][0] if len(rows) == limit else None), found


@batched
def derive(txn: Txn, calls: list[Derivation]) -> list[Derived]:
    """Bring calls up to date; the whole change is answered to the first."""
    envelopes = list(dict.fromkeys(envelope for call in calls for envelope in call.envelopes))
    now = calls[-1].now
    judge = next((call.judge for call in calls if call.judge is not None), None)
    total = Derived()
    for start in range(0, len(envelopes), _ROWS):
        part = _derive(txn, envelopes[start : start + _ROWS], now, judge)
        total = Derived(total.calls + part.calls, total.callbacks + part.callbacks, total.suppressed + part.suppressed)
    return [total, *[Derived()] * (len(calls) - 1)]


def _derive(txn: Txn, envelopes: Sequence[str], now: int, judge: Judge | None) -> Derived:
    changed = []
    bounced = []
    fates = None
    lock = "" if txn.dialect == "sqlite" else " ORDER BY id FOR UPDATE"
    for id, envelope, state in together(txn, "id, envelope, state", f"FROM calls WHERE {_among('envelope', envelopes)}{lock}", envelopes):
        if fates is None:
            fates = _fates(txn, envelopes)
        new, finished = _fate(state, fates.get(envelope))
        if new != state:
            changed.append((id, new, finished or now))
            if new == BOUNCED:
                bounced.append(envelope)
    if not changed:
        return Derived()
    rows = ", ".join(["(?, ?, ?)"] * len(changed))
    cast = "" if txn.dialect == "sqlite" else "::BIGINT"
    values = [value for change in changed for value in change]
    txn.execute(
        f"WITH v (id, state, happened) AS (VALUES {rows}) UPDATE calls SET state = v.state, changed = v.happened{cast}"
        f" FROM v WHERE calls.id = v.id{cast}",
        values,
    )
    callbacks = txn.execute(
        f"INSERT INTO callbacks (call_id, event, happened, host, state, due) WITH v (id, state, happened) AS (VALUES {rows})"
        f" SELECT q.call_id, v.state, v.happened{cast}, q.host, CASE WHEN EXISTS (SELECT 1 FROM callbacks e WHERE e.call_id = q.call_id"
        f" AND e.state IN ('waiting', 'posting', 'behind')) THEN 'behind' ELSE 'waiting' END, ?{cast}"
        f" FROM v JOIN callbacks q ON q.call_id = v.id{cast} WHERE q.event = 'queued'",
        [*values, now],
    )
    return Derived(len(changed), callbacks, _suppress(txn, bounced, now, judge) if bounced and judge is not None else 0)


def _suppress(txn: Txn, envelopes: Sequence[str], now: int, judge: Judge) -> int:
    """Put on the list whom ``judge`` says of those that failed."""
    rows = txn.all(
        "SELECT d.guid, q.recipient, q.history FROM dispatches d JOIN queue q ON q.dispatch_id = d.id"
        f" WHERE {_among('d.envelope', envelopes)} AND q.state = 'failed'",
        envelopes,
    )
    judged = [judge(bytes(guid), bytes(recipient), bytes(history)) for guid, recipient, history in rows]
    return sum(add(txn, each, now) for each in judged if each is not None)


_Fate = tuple[int, int, int, int, int]  # rows, of these sent, failed, that were tried in vain; when the last was finished


def _fates(txn: Txn, envelopes: Sequence[str]) -> Mapping[str, _Fate]:
    """How the queue's rows of each envelope stand."""
    found: dict[str, _Fate] = {}
    for start in range(0, len(envelopes), _ROWS):
        part = envelopes[start : start + _ROWS]
        inner = (
            "SELECT d.envelope AS envelope, count(*) AS all_of_them, sum(CASE WHEN q.state = 'sent' THEN 1 ELSE 0 END) AS sent,"
            " sum(CASE WHEN q.state = 'failed' THEN 1 ELSE 0 END) AS failed,"
            " sum(CASE WHEN q.state = 'deferred' OR (q.attempts > 0 AND q.state NOT IN ('sent', 'failed')) THEN 1 ELSE 0 END) AS tried,"
            " max(q.finished) AS finished"
            f" FROM dispatches d JOIN queue q ON q.dispatch_id = d.id WHERE {_among('d.envelope', part)} GROUP BY d.envelope"
        )
        for envelope, *fate in together(txn, "envelope, all_of_them, sent, failed, tried, finished", f"FROM ({inner}) AS fates", part):
            found[envelope] = tuple(int(each) for each in fate)  # type: ignore[assignment]
    return found


def _fate(state: str, fate: _Fate | None) -> tuple[str, int]:
    """What a call in ``state`` is now, and since when (0: now)."""
    if fate is None:  # its rows were removed by hand; what is over was removed in time
        return (BOUNCED if state in (QUEUED, DEFERRED) else state), 0
    rows, sent, failed, tried, finished = fate
    if failed:
        return BOUNCED, finished
    if sent == rows:
        return DELIVERED, finished
    return (DEFERRED if tried else state), 0


def claim(txn: Txn, now: int, limit: int, free: Mapping[bytes, int], lease: int = LEASE) -> list[Claimed]:
    """Take at most ``limit`` that are due, of each host at most as many as ``free`` says, one of a host that it does not name."""
    lock = "" if txn.dialect == "sqlite" else " FOR UPDATE SKIP LOCKED"
    left = dict(free)
    taken: list[Claimed] = []
    for _ in range(_ROUNDS):
        full = [host for host, count in left.items() if count <= 0]
        but = f" AND host NOT IN ({', '.join('?' * len(full))})" if full else ""
        rows = txn.all(
            f"SELECT id, call_id, event, happened, host, attempts FROM callbacks WHERE {_OPEN} AND due <= ?"
            f"{but} ORDER BY due, id LIMIT ?{lock}",
            (now, *full, _WINDOW),
        )
        before = {each.id for each in taken}
        for id, call, event, happened, host, attempts in rows:
            host = bytes(host)
            if left.setdefault(host, 1) > 0 and len(taken) < limit and id not in before:
                left[host] -= 1
                taken.append(Claimed(id, call, event, happened, host, attempts))
        if len(taken) >= limit or len(rows) < _WINDOW:
            break
    if taken:
        ids = [each.id for each in taken]
        txn.execute(f"UPDATE callbacks SET state = 'posting', due = ? WHERE {_among('id', ids)}", (now + lease, *ids))
    return taken


def release(txn: Txn, now: int) -> int:
    """Nobody posts anything: what somebody who died was posting is due. How many."""
    return txn.execute("UPDATE callbacks SET state = 'waiting', due = ? WHERE state = 'posting'", (now,))


def pull(txn: Txn, now: int, longest: int) -> int:
    """Let a slice of those be due that wait for longer than anything does, for the clock was ahead; how many."""
    return txn.execute(
        f"UPDATE callbacks SET due = ? WHERE id IN (SELECT id FROM callbacks WHERE {_OPEN} AND due > ? LIMIT {SLICE})", (now, now + longest)
    )


def due(txn: Txn, now: int) -> tuple[bool, int | None, int | None]:
    """Whether any is due; when the first and the last of the others are."""
    some = txn.one(f"SELECT 1 FROM callbacks WHERE {_OPEN} AND due <= ? LIMIT 1", (now,)) is not None
    first, last = (txn.one(f"SELECT {which}(due) FROM callbacks WHERE {_OPEN} AND due > ?", (now,)) for which in ("min", "max"))
    return some, first[0] if first is not None else None, last[0] if last is not None else None


@batched
def finish(txn: Txn, calls: list[Finished]) -> list[bool]:
    """Note what came of attempts; the next one of a call has its turn after one that is over. Whether each was still waiting."""
    answers = []
    for one in calls:
        row = txn.one(
            "UPDATE callbacks SET state = ?, due = ?, attempts = attempts + 1, history = history || ?"
            f" WHERE id = ? AND {_OPEN} RETURNING call_id",
            (one.state, one.due, one.line + "\n", one.id),
        )
        answers.append(row is not None)
        if row is not None and one.state in (DONE, GIVEN_UP):
            _next(txn, row[0], one.due)
    return answers


def _next(txn: Txn, call: int, due: int) -> None:
    txn.execute(
        "UPDATE callbacks SET state = 'waiting', due = ? WHERE id = (SELECT min(id) FROM callbacks WHERE call_id = ? AND state = 'behind')",
        (due, call),
    )


def put_off(txn: Txn, host: bytes, now: int, waits: Sequence[int], line: str) -> int:
    """The host does not work: put off at most a slice of what is due there and has a wait left, each by its next one; how many."""
    cases = " ".join(f"WHEN {number} THEN {int(wait)}" for number, wait in enumerate(waits))
    return txn.execute(
        f"UPDATE callbacks SET due = ? + CASE attempts {cases} ELSE {int(waits[-1])} END, attempts = attempts + 1, history = history || ?"
        f" WHERE id IN (SELECT id FROM callbacks WHERE state = 'waiting' AND host = ? AND due <= ? AND attempts < ? LIMIT {SLICE})",
        (now, line + "\n", host, now, len(waits)),
    )


def give_up(txn: Txn, host: bytes, now: int, waits: int, line: str) -> int:
    """The host does not work: give up a slice of what is due there and has no wait left; how many."""
    rows = txn.all(
        f"SELECT id, call_id FROM callbacks WHERE state = 'waiting' AND host = ? AND due <= ? AND attempts >= ? LIMIT {SLICE}",
        (host, now, waits),
    )
    for id, _ in rows:
        txn.execute(
            "UPDATE callbacks SET state = 'given_up', due = ?, attempts = attempts + 1, history = history || ? WHERE id = ?",
            (now, line + "\n", id),
        )
    for call in dict.fromkeys(call for _, call in rows):
        _next(txn, call, now)
    return len(rows)


def again(txn: Txn, id: int, now: int) -> bool:
    """Begin anew with one that was given up."""
    return bool(txn.execute("UPDATE callbacks SET state = 'waiting', attempts = 0, due = ? WHERE id = ? AND state = 'given_up'", (now, id)))


def of_calls(txn: Txn, calls: Sequence[int]) -> list[Told]:
    """All callbacks of these calls, in order."""
    if not calls:
        return []
    columns = "id, call_id, event, happened, state, due, attempts, history"
    return [Told(*row) for row in txn.all(f"SELECT {columns} FROM callbacks WHERE {_among('call_id', calls)} ORDER BY id", calls)]


def counts(txn: Txn) -> tuple[int, int]:
    """How many are to be posted now or later, and how many were given up."""
    wait = txn.one(f"SELECT count(*) FROM callbacks WHERE {_OPEN}")
    given_up = txn.one("SELECT count(*) FROM callbacks WHERE state = 'given_up'")
    return int(wait[0]) if wait else 0, int(given_up[0]) if given_up else 0


def _among(column: str, values: Sequence[object]) -> str:
    return f"{column} IN ({', '.join('?' * len(values))})"
