"""The suppression list: addresses that calls of the webhook may not send to. They are sealed and found by keyed hash."""

from collections.abc import Sequence

from attrs import frozen

from mailx.store import Txn

_ROWS = 10000  # hashes read at a time


@frozen
class Suppression:
    """One address. ``reason`` is the enhanced status of what was said, empty for one that was added by hand."""

    hash: bytes
    sealed: bytes
    reason: str
    id: int = 0
    created: int = 0  # seconds since 1970


def add(txn: Txn, one: Suppression, now: int) -> bool:
    """Add it; False if the address is there already, which stays as it is."""
    return bool(
        txn.execute(
            "INSERT INTO suppressions (hash, sealed, reason, created) VALUES (?, ?, ?, ?) ON CONFLICT (hash) DO NOTHING",
            (one.hash, one.sealed, one.reason, now),
        )
    )


def remove(txn: Txn, hash: bytes) -> bool:
    """Remove an address; whether it was there."""
    return bool(txn.execute("DELETE FROM suppressions WHERE hash = ?", (hash,)))


def find(txn: Txn, hash: bytes) -> Suppression | None:
    """The entry of an address."""
    row = txn.one("SELECT hash, sealed, reason, id, created FROM suppressions WHERE hash = ?", (hash,))
    return None if row is None else _entry(*row)


def show(txn: Txn, id: int) -> Suppression | None:
    """The entry with this id."""
    row = txn.one("SELECT hash, sealed, reason, id, created FROM suppressions WHERE id = ?", (id,))
    return None if row is None else _entry(*row)


def page(txn: Txn, before: int, limit: int) -> list[Suppression]:
    """At most ``limit`` entries, the latest first, with ids below ``before`` (0: from the latest on)."""
    where, values = (" WHERE id < ?", [before]) if before else ("", [])
    rows = txn.all(f"SELECT hash, sealed, reason, id, created FROM suppressions{where} ORDER BY id DESC LIMIT ?", (*values, limit))
    return [_entry(*row) for row in rows]


def version(txn: Txn) -> tuple[int, int]:
    """How many entries there are and the last id: it differs after every change."""
    row = txn.one("SELECT count(*), coalesce(max(id), 0) FROM suppressions")
    assert row is not None
    return int(row[0]), int(row[1])


def hashes(txn: Txn) -> Sequence[bytes]:
    """The hashes of all."""
    found: list[bytes] = []
    last = 0
    while True:
        rows = txn.all("SELECT id, hash FROM suppressions WHERE id > ? ORDER BY id LIMIT ?", (last, _ROWS))
        found += [bytes(hash) for _, hash in rows]
        if len(rows) < _ROWS:
            return found
        last = rows[-1][0]


def _entry(hash: bytes, sealed: bytes, reason: str, id: int, created: int) -> Suppression:
    return Suppression(bytes(hash), bytes(sealed), reason, int(id), int(created))
