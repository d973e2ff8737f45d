"""Mail that waits for its owner: sealed for an account whose keys are not here now.

It is charged to the account when it comes, and has no UID, no summary and no thread before it is opened. The job that
makes it an entry (:func:`mailx.store.delivery.deliver`) removes its row in the same transaction: so it is there once,
whatever happens.
"""

from collections.abc import Collection, Iterable, Sequence

from attrs import frozen

from mailx.store import Txn
from mailx.store.messages import charge

_ROWS = 256  # of one statement


@frozen
class Arrived:
    """One message as it comes."""

    account: int
    mailbox: int
    guid: bytes
    size: int
    flags: int
    received: int
    saved: int
    file: str | None
    content: bytes | None


@frozen
class Waiting:
    """One message to be opened. ``mailbox`` is the hash of the name of the one that it goes to; INBOX in place of one that is gone."""

    id: int
    guid: bytes
    size: int
    mailbox: bytes | None
    flags: int
    received: int
    file: str | None
    content: bytes | None


def insert(txn: Txn, rows: Iterable[Arrived]) -> None:
    """Keep what came; the mailboxes and accounts are locked and charged."""
    txn.insert_many(
        "INSERT INTO waiting (account_id, mailbox_id, guid, size, flags, received, saved, file, content) VALUES ?",
        [(row.account, row.mailbox, row.guid, row.size, row.flags, row.received, row.saved, row.file, row.content) for row in rows],
    )


def some(txn: Txn, account: int, after: int, limit: int, octets: int) -> list[Waiting]:
    """What waits for an account beyond the row ``after``, oldest first: at most ``limit``, and about ``octets`` in rows."""
    ids: list[int] = []
    sql = "SELECT id, size, file FROM waiting WHERE account_id = ? AND id > ? ORDER BY id LIMIT ?"
    for id, size, file in txn.all(sql, (account, after, limit)):
        octets -= 0 if file else size
        if ids and octets < 0:
            break
        ids.append(id)
    if not ids:
        return []
    rows = txn.all(
        "SELECT w.id, w.guid, w.size, m.hash, w.flags, w.received, w.file, w.content FROM waiting w"
        " LEFT JOIN mailboxes m ON m.id = w.mailbox_id AND m.account_id = w.account_id AND m.special_use <> '-'"
        " WHERE w.account_id = ? AND w.id BETWEEN ? AND ? ORDER BY w.id",
        (account, ids[0], ids[-1]),
    )
    return [
        Waiting(id, bytes(guid), size, _bytes(hash), flags, received, file, _bytes(content))
        for id, guid, size, hash, flags, received, file, content in rows
    ]


def total(txn: Txn) -> int:
    """How many messages wait for all accounts together."""
    row = txn.one("SELECT count(*) FROM waiting")
    return 0 if row is None else int(row[0])


def who(txn: Txn, accounts: Sequence[int]) -> list[int]:
    """Those of ``accounts`` for which something waits."""
    found: list[int] = []
    for start in range(0, len(accounts), _ROWS):
        part = accounts[start : start + _ROWS]
        rows = txn.all(f"SELECT DISTINCT account_id FROM waiting WHERE account_id IN ({', '.join('?' * len(part))})", part)
        found += [id for (id,) in rows]
    return found


class Register:
    """The rows that a batch of deliveries opens: each is taken once."""

    def __init__(self, txn: Txn, ids: Collection[int]) -> None:
        self._txn = txn
        self._there: dict[int, int] = {}
        self._taken: list[int] = []
        if ids:
            held = " ORDER BY id FOR UPDATE" if txn.dialect == "postgresql" else ""
            rows = txn.all(f"SELECT id, size FROM waiting WHERE id IN ({', '.join('?' * len(ids))}){held}", [*ids])
            self._there = dict(rows)

    def take(self, id: int) -> int | None:
        """What the account was charged for it; None if somebody else has opened it."""
        size = self._there.pop(id, None)
        if size is None:
            return None
        self._taken.append(id)
        return charge(size)

    def write(self) -> None:
        """Remove the rows that were taken."""
        if self._taken:
            self._txn.execute(f"DELETE FROM waiting WHERE id IN ({', '.join('?' * len(self._taken))})", self._taken)


def _bytes(value: bytes | memoryview | None) -> bytes | None:
    return None if value is None else bytes(value)
