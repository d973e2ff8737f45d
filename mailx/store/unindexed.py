"""What the search index needs of the database of mail: messages that it has not seen, and which of its own still exist."""

from collections.abc import Collection, Sequence

from attrs import frozen

from mailx.store import Row, Txn, account_keys

# A PostgreSQL transaction may commit a message with a lower id than others have committed: rows as young as the oldest
# transaction that still runs are left for later, with all that follow them.
_SETTLED = "NOT (age(m.xmin) BETWEEN 0 AND age(pg_snapshot_xmin(pg_current_snapshot())::xid))"
_NEAR = 10_000  # messages of all accounts, among which to look for those of one
_STORED = "SELECT m.id, m.guid, m.size, m.file, m.summary, b.content FROM messages m LEFT JOIN bodies b ON b.message_id = m.id"


@frozen
class Unindexed:
    """One message as it is stored: sealed, or in the blob file ``file``."""

    id: int
    guid: bytes
    size: int
    file: str | None
    summary: bytes
    content: bytes | None
    accounts: tuple[int, ...]  # that have an entry of it, and whose segments get it
    sealed: tuple[int, ...] = ()  # that have one too, and are sealed: they are followed one by one


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
    made = []
    for row in txn.all(f"{_STORED} WHERE m.id BETWEEN ? AND ? ORDER BY m.id", (ids[0], ids[-1])):
        found = owners.get(row[0], ())
        made.append(_unindexed(row, [each for each in found if each not in sealed], [each for each in found if each in sealed]))
    return made


def lacking(txn: Txn, account: int, position: int, upto: int, vault: bool, limit: int) -> list[tuple[int, int]]:
    """At most ``limit`` messages of one account beyond ``position`` up to ``upto``, ids rising, that are sealed for it alone (``vault``),
    or are not: their ids, and the octets that they have in the database.
    """
    # An owner who was here lately has few new messages among few; one who was away has few among many of others'.
    near = upto - position <= _NEAR
    places = "entries e CROSS JOIN mailboxes b" if near else "mailboxes b CROSS JOIN entries e"
    return txn.all(
        f"SELECT DISTINCT m.id, CASE WHEN m.file IS NULL THEN m.size ELSE 0 END FROM {places} CROSS JOIN messages m"
        " WHERE b.id = e.mailbox_id AND m.id = e.message_id AND b.account_id = ? AND e.message_id > ? AND e.message_id <= ?"
        " AND m.vault = ? ORDER BY m.id LIMIT ?",
        (account, position, upto, int(vault), limit),
    )


def of(txn: Txn, account: int, ids: Sequence[int], vault: bool) -> list[Unindexed]:
    """Those of the messages ``ids`` of an account that are there and sealed as ``lacking`` was told, ids rising."""
    rows = txn.all(f"{_STORED} WHERE m.id IN ({_marks(ids)}) AND m.vault = ? ORDER BY m.id", [*ids, int(vault)])
    return [_unindexed(row, (account,)) for row in rows]


def beyond(txn: Txn, positions: Collection[tuple[int, int]]) -> int:
    """How many messages accounts have beyond a position each."""
    count = 0
    for account, position in positions:
        row = txn.one(
            "SELECT count(DISTINCT e.message_id) FROM mailboxes b JOIN entries e ON e.mailbox_id = b.id"
            " WHERE b.account_id = ? AND e.message_id > ?",
            (account, position),
        )
        count += row[0] if row is not None else 0
    return count


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


def _unindexed(row: Row, accounts: Sequence[int], sealed: Sequence[int] = ()) -> Unindexed:
    id, guid, size, file, summary, content = row
    return Unindexed(
        id, bytes(guid), size, file, bytes(summary), None if content is None else bytes(content), tuple(accounts), tuple(sealed)
    )


def _marks(values: Collection[int]) -> str:
    return ", ".join("?" * len(values))
