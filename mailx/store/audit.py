"""The rows of the audit log: only ever added, read by what they tell of, and dropped by their age.

Who, what and when stand plain; what was changed, from where, and the values before and after are sealed, bound to the
plain ones: a row whose actor or time was altered does not open. A row that does not open is told as :class:`Stored`
without details, never left out.
"""

import json
from collections.abc import Callable
from typing import Any, TypeAlias

from attrs import frozen

from mailx.store import Row, Txn
from mailx.store.cipher import Cipher, CipherError

JSON: TypeAlias = Any

_PURPOSE = b"audit"
_COLUMNS = "id, at, kind, name, action, sealed"


@frozen
class Line:
    """One row, ready to be stored."""

    at: int  # milliseconds since 1970
    kind: str
    name: str
    action: str
    target: bytes | None
    domain: bytes | None
    sealed: bytes


@frozen
class Stored:
    """One row as it was read. ``details`` None: it does not open."""

    id: int
    at: int
    kind: str
    name: str
    action: str
    details: dict[str, JSON] | None


@frozen
class Filter:
    """Which rows are meant; what is empty does not matter."""

    name: str = ""
    action: str = ""  # exact, or with a dot at its end: everything that begins so
    target: bytes | None = None  # hash of a target or of its domain
    since: int = 0  # milliseconds since 1970, inclusive
    until: int = 0  # exclusive


def digest(cipher: Cipher, text: str) -> bytes:
    """The hash by which a target, or a domain, is found; upper and lower case are the same."""
    return cipher.hash(_PURPOSE, b"", text.strip().lower().encode())


def line(cipher: Cipher, at: int, who: tuple[str, str], action: str, target: str, details: dict[str, JSON]) -> Line:
    """The row that tells of ``action``; ``who``: kind and name of its actor."""
    context = _context(at, *who, action)
    sealed = cipher.seal(_PURPOSE, context, json.dumps(details, separators=(",", ":"), ensure_ascii=False).encode())
    domain = target.rpartition("@")[2] if "@" in target else ""
    return Line(at, *who, action, digest(cipher, target) if target else None, digest(cipher, domain) if domain else None, sealed)


def insert(txn: Txn, line: Line) -> None:
    """Add a row."""
    txn.execute(
        "INSERT INTO audit (at, kind, name, action, target, domain, sealed) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (line.at, line.kind, line.name, line.action, line.target, line.domain, line.sealed),
    )


def page(txn: Txn, cipher: Cipher, which: Filter, before: int, limit: int) -> list[Stored]:
    """At most ``limit`` rows, the newest first, with ids below ``before`` (0: from the newest on)."""
    if which.target is None:
        return [_stored(cipher, row) for row in _rows(txn, which, "", before, limit)]
    # Each half goes down its own index; together in one query they would all be sorted first.
    found = {int(row[0]): row for column in ("target", "domain") for row in _rows(txn, which, column, before, limit)}
    return [_stored(cipher, found[id]) for id in sorted(found, reverse=True)[:limit]]


def _rows(txn: Txn, which: Filter, column: str, before: int, limit: int) -> list[Row]:
    clauses, values = _where(which)
    if column:
        clauses.append(f"{column} = ?")
        values.append(which.target)
    if before:
        clauses.append("id < ?")
        values.append(before)
    where = f" WHERE {' AND '.join(clauses)}" if clauses else ""
    return txn.all(f"SELECT {_COLUMNS} FROM audit{where} ORDER BY id DESC LIMIT ?", (*values, limit))


def actions(txn: Txn) -> list[str]:
    """Every action that the log has, by name."""
    found: list[str] = []
    row = txn.one("SELECT min(action) FROM audit")
    while row is not None and row[0] is not None:  # from name to name through the index, not through the rows
        found.append(row[0])
        row = txn.one("SELECT min(action) FROM audit WHERE action > ?", (row[0],))
    return found


def redact(txn: Txn, cipher: Cipher, target: bytes, change: Callable[[JSON], JSON], limit: int) -> int:
    """Let the details of at most ``limit`` rows of this target become what ``change`` makes of them; returns how many.

    They are not found by it any more. What does not open loses its target all the same.
    """
    rows = txn.all(f"SELECT {_COLUMNS} FROM audit WHERE target = ? ORDER BY id LIMIT ?", (target, limit))
    for row in rows:
        stored, sealed = _stored(cipher, row), bytes(row[5])
        if stored.details is not None:
            text = json.dumps(change(stored.details), separators=(",", ":"), ensure_ascii=False)
            sealed = cipher.seal(_PURPOSE, _context(stored.at, stored.kind, stored.name, stored.action), text.encode())
        txn.execute("UPDATE audit SET target = NULL, sealed = ? WHERE id = ?", (sealed, stored.id))
    return len(rows)


def prune(txn: Txn, before: int, limit: int) -> int:
    """Drop at most ``limit`` rows from before that time (milliseconds since 1970); returns how many."""
    return txn.execute("DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < ? ORDER BY at LIMIT ?)", (before, limit))


def _where(which: Filter) -> tuple[list[str], list[Any]]:
    clauses: list[str] = []
    values: list[Any] = []
    if which.name:
        clauses.append("name = ?")
        values.append(which.name)
    if which.action.endswith("."):
        clauses.append("action >= ? AND action < ?")
        values += [which.action, which.action[:-1] + "/"]  # "/" follows "." in both engines' binary order
    elif which.action:
        clauses.append("action = ?")
        values.append(which.action)
    if which.since:
        clauses.append("at >= ?")
        values.append(which.since)
    if which.until:
        clauses.append("at < ?")
        values.append(which.until)
    return clauses, values


def _stored(cipher: Cipher, row: Row) -> Stored:
    id, at, kind, name, action, sealed = row
    try:
        details = json.loads(cipher.open(_PURPOSE, _context(int(at), kind, name, action), bytes(sealed)))
    except (CipherError, ValueError):
        details = None
    return Stored(int(id), int(at), kind, name, action, details)


def _context(*values: Any) -> bytes:
    return "\0".join(map(str, values)).encode()
