"""What the search index needs of the database of mail: messages that it has not seen, and which of its own still exist."""

from collections.abc import Collection, Sequence

from attrs import frozen

from mailx.store import Txn, account_keys

# A PostgreSQL transaction may commit a message with a lower id than others have committed: rows as young as the oldest
# transaction that still runs are left for later, with all that follow them.
_SETTLED = "NOT (age(m.xmin) BETWEEN 0 AND age(pg_snapshot_xmin(pg_current_snapshot())::xid))"


@frozen
class Unindexed:
    """One message as it is stored: sealed, or in the blob file ``file``."""

    id: int
    guid: bytes
    size: int
    file: str | None
    summary: bytes
    content: bytes | None
    accounts: tuple[int, ...]  # that have an entry of it


def head(txn: Txn) -> int:
    """The highest id of a message, 0 when there is none."""
    row = txn.one("SELECT coalesce(max(id), 0) FROM messages")
    return row[0] if row is not None else 0


def belongs(txn: Txn, position: int, anchor: bytes) -> bool:
    """Whether an index that has come to ``position`` can be one of this database: it is not after a backup was put back."""
    if txn.dialect == "sqlite":
        row = txn.one("SELECT seq FROM sqlite_sequence WHERE name = 'messages'")
        if position > (row[0] if row is not None else 0):
            return False
    row = txn.one("SELECT guid FROM messages WHERE id = ?", (position,))
    return row is None or bytes(row[0]) == anchor


def after(txn: Txn, position: int, limit: int, octets: int) -> list[Unindexed]:
    """The messages after ``position``, ids rising: at most ``limit`` and about ``octets`` of what lies in the database."""
    settled = _SETTLED if txn.dialect == "postgresql" else "1"
    ids: list[int] = []
    for id, size, file, ready in txn.all(
        f"SELECT m.id, m.size, m.file, {settled} FROM messages m WHERE m.id > ? ORDER BY m.id LIMIT ?", (position, limit)
    ):
        octets -= 0 if file else size
        if not ready or (ids and octets < 0):
            break
        ids.append(id)
    if not ids:
        return []
    owners: dict[int, list[int]] = {}
    for id, account in txn.all(
        "SELECT DISTINCT e.message_id, b.account_id FROM entries e JOIN mailboxes b ON b.id = e.mailbox_id"
        f" WHERE e.message_id IN ({_marks(ids)}) ORDER BY 1, 2",
        ids,
    ):
        owners.setdefault(id, []).append(account)
    sealed = account_keys.among(txn, accounts) if (accounts := {each for found in owners.values() for each in found}) else set()
    if sealed:  # searches look into their mail, which only their owners' keys open
        owners = {id: [account for account in found if account not in sealed] for id, found in owners.items()}
    rows = txn.all(
        "SELECT m.id, m.guid, m.size, m.file, m.summary, b.content FROM messages m LEFT JOIN bodies b ON b.message_id = m.id"
        " WHERE m.id BETWEEN ? AND ? ORDER BY m.id",
        (ids[0], ids[-1]),
    )
    return [
        Unindexed(id, bytes(guid), size, file, bytes(summary), None if content is None else bytes(content), tuple(owners.get(id, ())))
        for id, guid, size, file, summary, content in rows
    ]


def alive(txn: Txn, account: int, ids: Sequence[int]) -> set[int]:
    """Those of the messages ``ids`` of which ``account`` has an entry."""
    rows = txn.all(
        "SELECT DISTINCT e.message_id FROM entries e JOIN mailboxes b ON b.id = e.mailbox_id"
        f" WHERE b.account_id = ? AND e.message_id IN ({_marks(ids)})",
        [account, *ids],
    )
    return {id for (id,) in rows}


def owners(txn: Txn, mailboxes: Sequence[int]) -> dict[int, int]:
    """The account of each mailbox that still exists."""
    return {id: account for id, account in txn.all(f"SELECT id, account_id FROM mailboxes WHERE id IN ({_marks(mailboxes)})", mailboxes)}


def _marks(values: Collection[int]) -> str:
    return ", ".join("?" * len(values))
