"""Counts of what happened, in rows that each cover ``step`` seconds."""

from collections.abc import Sequence

from mailx.store import Txn


def add(txn: Txn, counts: Sequence[tuple[str, int, int, int]]) -> None:
    """Add each (name, step, beginning, count) to what is there; several nodes may do so."""
    txn.executemany(
        "INSERT INTO figures (name, step, at, count) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (step, at, name) DO UPDATE SET count = figures.count + excluded.count",
        sorted(counts),  # in one order on every node, so that none waits for another in a circle
    )


def between(txn: Txn, step: int, since: int, until: int) -> list[tuple[str, int, int]]:
    """(name, beginning, count) of every row of ``step`` that begins from ``since`` to before ``until``."""
    rows = txn.all("SELECT name, at, count FROM figures WHERE step = ? AND at >= ? AND at < ?", (step, since, until))
    return [(str(name), int(at), int(count)) for name, at, count in rows]


def prune(txn: Txn, step: int, before: int) -> int:
    """Remove the rows of ``step`` that begin before ``before``; returns how many."""
    return txn.execute("DELETE FROM figures WHERE step = ? AND at < ?", (step, before))
