"""Rows that may name people who are nobody's here: calls of the webhook, suppressed addresses, alerts, the audit log.

They are read a page at a time, opened and sealed anew by a thread, and put back only where they are still as they were read.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from attrs import frozen

from mailx.store import Txn
from mailx.store.cipher import Cipher, CipherError

JSON: TypeAlias = Any


@frozen
class Kind:
    """One table: where its sealed JSON is, and what that is bound to. ``goes``: a row that is about the person is removed."""

    table: str
    purpose: bytes
    sealed: str
    bound: tuple[str, ...]  # columns, of which ``name`` may be a person's
    goes: bool = False


CALLS = Kind("calls", b"call", "details", ("envelope",))
SUPPRESSIONS = Kind("suppressions", b"suppression", "sealed", ("hash",), goes=True)
ALERTS = Kind("alerts", b"alert", "sealed", ("guid",))
AUDIT = Kind("audit", b"audit", "sealed", ("at", "kind", "name", "action"))
KINDS = (CALLS, SUPPRESSIONS, ALERTS, AUDIT)


@frozen
class Record:
    """One row: what it is bound to, and what is sealed."""

    id: int
    bound: tuple[Any, ...]
    sealed: bytes


@frozen
class Rewritten:
    """What takes the place of a record. ``sealed`` None: nothing does."""

    record: Record
    bound: tuple[Any, ...]
    sealed: bytes | None


def after(txn: Txn, kind: Kind, id: int, limit: int) -> list[Record]:
    """At most ``limit`` rows with ids above ``id``, the oldest first."""
    columns = ", ".join((kind.sealed, *kind.bound))
    rows = txn.all(f"SELECT id, {columns} FROM {kind.table} WHERE id > ? ORDER BY id LIMIT ?", (id, limit))
    return [Record(int(id), tuple(bound), bytes(sealed)) for id, sealed, *bound in rows]


def without(cipher: Cipher, kind: Kind, records: Sequence[Record], change: Callable[[JSON], JSON]) -> list[Rewritten]:
    """Those of ``records`` that ``change`` changes. What does not open stays. Runs in a thread."""
    found = []
    for record in records:
        bound = record.bound
        if kind is AUDIT and bound[1] == "user":
            bound = (*bound[:2], change(bound[2]), bound[3])
        try:
            value = json.loads(cipher.open(kind.purpose, _context(record.bound), record.sealed))
        except (CipherError, ValueError):
            continue
        new = change(value)
        if kind.goes and new[0] != value[0]:
            found.append(Rewritten(record, bound, None))
        elif new != value or bound != record.bound:
            text = json.dumps(new, separators=(",", ":"), ensure_ascii=False).encode(errors="replace")
            found.append(Rewritten(record, bound, cipher.seal(kind.purpose, _context(bound), text)))
    return found


def rewrite(txn: Txn, kind: Kind, changed: Sequence[Rewritten]) -> int:
    """Put them in their places; how many were still as they had been read."""
    total = 0
    for one in changed:
        same = f"WHERE id = ? AND {kind.sealed} = ?"
        if one.sealed is None:
            total += txn.execute(f"DELETE FROM {kind.table} {same}", (one.record.id, one.record.sealed))
            continue
        name, values = (", name = ?", [one.bound[2]]) if kind is AUDIT else ("", [])
        values = [one.sealed, *values, one.record.id, one.record.sealed]
        total += txn.execute(f"UPDATE {kind.table} SET {kind.sealed} = ?{name} {same}", values)
    return total


def _context(bound: tuple[Any, ...]) -> bytes:
    """What the seal is bound to: octets as they are, texts and numbers as :mod:`mailx.store.audit` writes them."""
    if isinstance(bound[0], bytes | memoryview):
        return bytes(bound[0])
    return "\0".join(map(str, bound)).encode()
