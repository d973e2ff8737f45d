"""Deleting for good: on SQLite what is deleted or replaced within is overwritten in the database's file.

What was copied elsewhere before (backups, the write-ahead log until it is used again, blocks of the disk that the file had)
is beyond that; so are rows that PostgreSQL has not vacuumed yet.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from mailx.store import Txn


@contextmanager
def erasing(txn: Txn) -> Iterator[None]:
    """Within, space that becomes free is filled with zeros."""
    if txn.dialect != "sqlite":
        yield
        return
    before = txn.one("PRAGMA secure_delete")
    txn.one("PRAGMA secure_delete = ON")
    try:
        yield
    finally:
        txn.one(f"PRAGMA secure_delete = {int(before[0]) if before else 0}")
