"""Statements over many rows at a time: looked up by (account, hash), or changed by id.

Each statement answers in one step, or in none: SQLite's driver gives the interpreter away at every row
it steps through, and while the reactor is busy it takes up to a switch interval to come back.
"""

import json
from collections.abc import Iterator, Sequence
from functools import lru_cache

from mailx.store import Row, Txn

_ROWS = 256  # rows of one multi-row SELECT at most: two parameters each, far below every engine's limit


def matching(txn: Txn, columns: str, source: str, lock: str, pairs: Sequence[tuple[int, bytes]]) -> Iterator[Row]:
    """For each of the (account, hash) ``pairs`` that ``source`` finds: its place among them, then ``columns``, all integers.

    A row may come twice. CROSS JOIN keeps SQLite to this order, one index search a pair; with ``IN (VALUES ...)`` it
    would scan.
    """
    for start in range(0, len(pairs), _ROWS):
        part = pairs[start : start + _ROWS]
        count = _rounded(len(part))
        values = [value for place, pair in enumerate(part, start) for value in (place, *pair)]
        values += values[-3:] * (count - len(part))
        sql = _select(txn.dialect, columns, source, lock, count)
        if txn.dialect == "sqlite":
            row = txn.one(sql, values)
            yield from json.loads(row[0]) if row else ()
        else:
            yield from txn.all(sql, values)


def update(txn: Txn, sql: str, rows: Sequence[tuple[int, ...]]) -> None:
    """One UPDATE of many rows, whose ids rise and stand first."""
    for start in range(0, len(rows), _ROWS):
        part = rows[start : start + _ROWS]
        txn.execute(_with(sql, len(part[0]), len(part)), [value for row in part for value in row])


def _rounded(count: int) -> int:
    """``count`` rounded up to a power of two, so that few statements are prepared."""
    return 1 << (count - 1).bit_length()


@lru_cache(maxsize=64)
def _select(dialect: str, columns: str, source: str, lock: str, count: int) -> str:
    wanted = f"WITH wanted (place, account, hash) AS (VALUES {', '.join(['(?, ?, ?)'] * count)})"
    if dialect == "sqlite":
        return f"{wanted} SELECT json_group_array(json_array(w.place, {columns})) {source}"
    return f"{wanted} SELECT w.place, {columns} {source}{lock}"


@lru_cache(maxsize=4 * _ROWS)
def _with(sql: str, columns: int, count: int) -> str:
    row = f"({', '.join('?' * columns)})"
    return f"WITH {sql.replace('VALUES ?', 'VALUES ' + ', '.join([row] * count))}"
