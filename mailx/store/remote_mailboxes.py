"""Mailboxes on other servers: rows whose address and credentials were sealed before they come here."""

from mailx.store import Row, Txn


class Taken(Exception):
    """The name belongs to another."""


class Full(Exception):
    """There are as many as there may be."""


class Changed(Exception):
    """Somebody else has changed or removed it meanwhile."""


_COLUMNS = "id, kind, name, guid, sealed, tested, result"


def every(txn: Txn, limit: int) -> list[Row]:
    """The first ``limit`` mailboxes, by kind and name."""
    return txn.all(f"SELECT {_COLUMNS} FROM remote_mailboxes ORDER BY kind, name LIMIT ?", (limit,))


def by_id(txn: Txn, id: int) -> Row | None:
    """The mailbox with this id."""
    return txn.one(f"SELECT {_COLUMNS} FROM remote_mailboxes WHERE id = ?", (id,))


def add(txn: Txn, kind: str, name: str, guid: bytes, sealed: bytes, limit: int) -> int:
    """Make one; its id. Raises Taken (the name), Full (there are ``limit`` already)."""
    row = txn.one("SELECT count(*) FROM remote_mailboxes")
    if row is not None and int(row[0]) >= limit:
        raise Full
    made = txn.one(
        "INSERT INTO remote_mailboxes (kind, name, guid, sealed) VALUES (?, ?, ?, ?) ON CONFLICT (name) DO NOTHING RETURNING id",
        (kind, name, guid, sealed),
    )
    if made is None:
        raise Taken
    return int(made[0])


def change(txn: Txn, id: int, before: bytes, name: str, guid: bytes, sealed: bytes) -> None:
    """Replace one whose guid is still ``before``; what was tested is forgotten. Raises Taken, Changed."""
    if txn.one("SELECT 1 FROM remote_mailboxes WHERE name = ? AND id <> ?", (name, id)):
        raise Taken
    found = txn.execute(
        "UPDATE remote_mailboxes SET name = ?, guid = ?, sealed = ?, tested = NULL, result = NULL WHERE id = ? AND guid = ?",
        (name, guid, sealed, id, before),
    )
    if not found:
        raise Changed


def tested(txn: Txn, id: int, guid: bytes, result: bytes, now: int) -> int:
    """Keep what the last test brought, if it was of what is there now."""
    return txn.execute("UPDATE remote_mailboxes SET tested = ?, result = ? WHERE id = ? AND guid = ?", (now, result, id, guid))


def remove(txn: Txn, id: int) -> None:
    """Raises Changed."""
    if not txn.execute("DELETE FROM remote_mailboxes WHERE id = ?", (id,)):
        raise Changed
