"""What went between this server and others, by day: rows of ``peer_days``, found by the hash of the domain."""

from collections.abc import Mapping, Sequence

from mailx.store import Txn

COLUMNS = ("received", "received_octets", "sent", "sent_octets", "refused", "delayed", "failed", "violations")
_ADDED = ", ".join(f"{name} = peer_days.{name} + excluded.{name}" for name in COLUMNS)
_NAMES = ", ".join(COLUMNS)
_SUMS = ", ".join(f"coalesce(sum({name}), 0)" for name in COLUMNS)


def add(txn: Txn, day: int, amounts: Sequence[tuple[bytes, Mapping[str, int]]]) -> None:
    """Add to the counts of ``day``."""
    txn.executemany(
        f"INSERT INTO peer_days (hash, day, {_NAMES}) VALUES (?, ?, {', '.join('?' * len(COLUMNS))})"
        f" ON CONFLICT (hash, day) DO UPDATE SET {_ADDED}",
        [(hash, day, *(counts.get(name, 0) for name in COLUMNS)) for hash, counts in amounts],
    )


def totals(txn: Txn, hash: bytes, since: int) -> tuple[int, ...]:
    """The sums of one domain from the day ``since`` on, in the order of COLUMNS."""
    row = txn.one(f"SELECT {_SUMS} FROM peer_days WHERE hash = ? AND day >= ?", (hash, since))
    assert row is not None
    return tuple(map(int, row))


def all_totals(txn: Txn, since: int) -> dict[bytes, tuple[int, ...]]:
    """The same of every domain."""
    rows = txn.all(f"SELECT hash, {_SUMS} FROM peer_days WHERE day >= ? GROUP BY hash", (since,))
    return {bytes(row[0]): tuple(map(int, row[1:])) for row in rows}


def prune(txn: Txn, before: int, limit: int) -> int:
    """Remove at most ``limit`` rows of days before that one."""
    return txn.execute(
        "DELETE FROM peer_days WHERE (hash, day) IN (SELECT hash, day FROM peer_days WHERE day < ? LIMIT ?)", (before, limit)
    )
