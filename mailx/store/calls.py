"""Calls of the webhook receiver: what was asked for, under which keys it is found again, and how far it has come.

A call enters in the transaction that accepts its message (:mod:`mailx.store.delivery`), or not at all: two with the same
signature and body, or the same idempotency key, never both enter. What does not enter is answered by what did before.
"""

from collections.abc import Sequence

from attrs import evolve, frozen

from mailx.store import Row, Txn

QUEUED, DEFERRED, DELIVERED, BOUNCED = STATES = ("queued", "deferred", "delivered", "bounced")

_COLUMNS = "id, envelope, replay, idempotency, created, type, state, changed, details"
_ROWS = 200  # hashes asked for in one statement


@frozen
class Call:
    """One row. ``id`` is 0 as long as it has not entered; times are seconds since 1970."""

    id: int
    envelope: str
    replay: bytes | None
    idempotency: bytes | None
    created: int
    type: str
    state: str
    changed: int
    details: bytes  # sealed
    host: bytes | None = None  # of a call that enters: where its callbacks go, hashed; None: it has none


class Register:
    """Takes in the calls of one transaction, many in one statement."""

    def __init__(self, txn: Txn, calls: Sequence[Call]) -> None:
        """``calls`` are all that may come: those that are known already are found at once."""
        self._txn = txn
        self._fresh: list[Call] = []
        self.called_back: list[tuple[int, str, bytes, int]] = []  # of those that have callbacks: number, state, host, created
        self._known: dict[tuple[str, bytes], Call] = {}
        for name in ("replay", "idempotency"):
            hashes = list({value for call in calls if (value := getattr(call, name)) is not None})
            for start in range(0, len(hashes), _ROWS):
                for row in _matching(txn, name, hashes[start : start + _ROWS]):
                    self._remember(_call(row))
        last = txn.one("SELECT seq FROM sqlite_sequence WHERE name = 'calls'") if txn.dialect == "sqlite" and calls else None
        self._last = last[0] if last else 0  # nobody else writes: the next ids are ours

    def known(self, call: Call) -> Call | None:
        """What entered before under one of the keys of ``call``."""
        found = self._known.get(("replay", call.replay)) if call.replay is not None else None
        if found is None and call.idempotency is not None:
            found = self._known.get(("idempotency", call.idempotency))
        return found

    def enter(self, call: Call, state: str) -> Call:
        """``call`` with its number; it is written by ``write``, or at once where the database gives the numbers."""
        if self._txn.dialect == "sqlite":
            self._last += 1
            entered = evolve(call, id=self._last, state=state)
            self._fresh.append(entered)
        else:
            values = (call.envelope, call.replay, call.idempotency, call.created, call.type, state, call.changed, call.details)
            columns = _COLUMNS.removeprefix("id, ")
            ((id,),) = self._txn.insert_many(f"INSERT INTO calls ({columns}) VALUES ? RETURNING id", [values])
            entered = evolve(call, id=id, state=state)
        self._remember(entered)
        if call.host is not None:
            self.called_back.append((entered.id, state, call.host, call.created))
        return entered

    def write(self) -> None:
        """Write what has entered."""
        if self._fresh:
            rows = [
                (call.id, call.envelope, call.replay, call.idempotency, call.created, call.type, call.state, call.changed, call.details)
                for call in self._fresh
            ]
            self._txn.insert_many(f"INSERT INTO calls ({_COLUMNS}) VALUES ?", rows)

    def _remember(self, call: Call) -> None:
        if call.replay is not None:
            self._known["replay", call.replay] = call
        if call.idempotency is not None:
            self._known["idempotency", call.idempotency] = call


def _matching(txn: Txn, name: str, hashes: Sequence[bytes]) -> list[Row]:
    """The rows whose ``name`` is among ``hashes``. None is the rule, and then SQLite answers in one step."""
    among = ", ".join("?" * len(hashes))
    return txn.all(f"SELECT {_COLUMNS} FROM calls WHERE {name} IN ({among})", hashes)


def find(txn: Txn, replay: bytes | None, idempotency: bytes | None) -> Call | None:
    """The call that entered under one of the keys, under ``replay`` first."""
    for name, value in (("replay", replay), ("idempotency", idempotency)):
        if value is not None and (row := txn.one(f"SELECT {_COLUMNS} FROM calls WHERE {name} = ?", (value,))) is not None:
            return _call(row)
    return None


def show(txn: Txn, id: int) -> Call | None:
    """The call with this number."""
    row = txn.one(f"SELECT {_COLUMNS} FROM calls WHERE id = ?", (id,))
    return _call(row) if row else None


def of_envelopes(txn: Txn, envelopes: Sequence[str]) -> list[Call]:
    """The calls whose messages are these."""
    found = []
    for start in range(0, len(envelopes), _ROWS):
        part = envelopes[start : start + _ROWS]
        among = ", ".join("?" * len(part))
        found += [_call(row) for row in txn.all(f"SELECT {_COLUMNS} FROM calls WHERE envelope IN ({among})", part)]
    return found


def page(txn: Txn, states: Sequence[str], before: int, limit: int) -> list[Call]:
    """At most ``limit`` calls in one of ``states`` (none: any), the latest first, with numbers below ``before`` (0: all)."""
    conditions: list[str] = []
    values: list[int | str] = []
    if before:
        conditions.append("id < ?")
        values.append(before)
    if states:
        conditions.append(f"state IN ({', '.join('?' * len(states))})")
        values += states
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return [_call(row) for row in txn.all(f"SELECT {_COLUMNS} FROM calls{where} ORDER BY id DESC LIMIT ?", (*values, limit))]


def prune(txn: Txn, before: int, limit: int) -> int:
    """Forget at most ``limit`` calls made before this time that nothing can come of any more; their number."""
    over = (
        "SELECT id FROM calls WHERE created < ? AND state IN ('delivered', 'bounced') AND NOT EXISTS (SELECT 1 FROM callbacks c"
        " WHERE c.call_id = calls.id AND c.state IN ('waiting', 'posting', 'behind')) ORDER BY created LIMIT ?"
    )
    return txn.execute(f"DELETE FROM calls WHERE id IN ({over})", (before, limit))


def _call(row: Row) -> Call:
    id, envelope, replay, idempotency, created, type, state, changed, details = row
    return Call(
        id,
        envelope,
        None if replay is None else bytes(replay),
        None if idempotency is None else bytes(idempotency),
        created,
        type,
        state,
        changed,
        bytes(details),
    )
