"""The block lists of the server: its own, and those that others share. Patterns and URLs are sealed.

Every change raises one version, by which other processes on the same database see that they must read again.
"""

from attrs import frozen

from mailx.store import Row, Txn
from mailx.store.names import Missing, Taken

LIMIT = 20_000  # of the server's own
LISTS_LIMIT = 20
_COLUMNS = "id, hash, sealed, digest, entries, serial, created, checked, changed, trouble"


class Full(Exception):
    """There are as many as there may be."""


@frozen
class Kept:
    """One pattern of the server's own list."""

    hash: bytes
    sealed: bytes
    created: int


@frozen
class Shared:
    """One shared list without its content."""

    id: int
    hash: bytes
    sealed: bytes  # URL and key
    digest: bytes
    entries: int
    serial: int
    created: int
    checked: int
    changed: int
    trouble: str


@frozen
class Reading:
    """What is taken of a shared list."""

    content: bytes  # sealed
    digest: bytes
    entries: int
    serial: int


def version(txn: Txn) -> int:
    """It is another after every change."""
    row = txn.one("SELECT version FROM block_version WHERE id = 1")
    return int(row[0]) if row else 0


def _changed(txn: Txn) -> None:
    txn.execute("UPDATE block_version SET version = version + 1 WHERE id = 1")


def own(txn: Txn) -> list[Kept]:
    """The server's own list."""
    rows = txn.all("SELECT hash, sealed, created FROM server_blocks ORDER BY id")
    return [Kept(bytes(hash), bytes(sealed), int(created)) for hash, sealed, created in rows]


def add_own(txn: Txn, one: Kept, name: str) -> None:
    """Put one on the server's own list. Raises Taken, Full."""
    _changed(txn)  # first, so that two who add wait for each other
    row = txn.one("SELECT count(*) FROM server_blocks")
    if row is not None and row[0] >= LIMIT:
        raise Full
    sql = "INSERT INTO server_blocks (hash, sealed, created) VALUES (?, ?, ?) ON CONFLICT (hash) DO NOTHING"
    if not txn.execute(sql, (one.hash, one.sealed, one.created)):
        raise Taken("block", name)


def delete_own(txn: Txn, hash: bytes, name: str) -> None:
    """Take one off it. Raises Missing."""
    _changed(txn)
    if not txn.execute("DELETE FROM server_blocks WHERE hash = ?", (hash,)):
        raise Missing("block", name)


def shared(txn: Txn) -> list[Shared]:
    """All shared lists."""
    return [_shared(row) for row in txn.all(f"SELECT {_COLUMNS} FROM shared_lists ORDER BY id")]


def one_shared(txn: Txn, id: int) -> Shared | None:
    """The shared list with this id."""
    row = txn.one(f"SELECT {_COLUMNS} FROM shared_lists WHERE id = ?", (id,))
    return None if row is None else _shared(row)


def content(txn: Txn, id: int) -> tuple[bytes, bytes] | None:
    """The hash of the URL, and the sealed entries in use."""
    row = txn.one("SELECT hash, content FROM shared_lists WHERE id = ?", (id,))
    return None if row is None else (bytes(row[0]), bytes(row[1]))


def add_shared(txn: Txn, hash: bytes, sealed: bytes, read: Reading, now: int, name: str) -> int:
    """Use a list from now on; its id. Raises Taken, Full."""
    _changed(txn)
    row = txn.one("SELECT count(*) FROM shared_lists")
    if row is not None and row[0] >= LISTS_LIMIT:
        raise Full
    made = txn.one(
        "INSERT INTO shared_lists (hash, sealed, content, digest, entries, serial, created, checked, changed, trouble)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, '') ON CONFLICT (hash) DO NOTHING RETURNING id",
        (hash, sealed, read.content, read.digest, read.entries, read.serial, now, now, now),
    )
    if made is None:
        raise Taken("list", name)
    return int(made[0])


def take(txn: Txn, id: int, read: Reading, now: int) -> bool:
    """Use what was read in place of what was there; false if the list was removed, or has a later serial meanwhile."""
    _changed(txn)
    return bool(
        txn.execute(
            "UPDATE shared_lists SET content = ?, digest = ?, entries = ?, serial = ?, checked = ?, changed = ?, trouble = ''"
            " WHERE id = ? AND serial <= ?",
            (read.content, read.digest, read.entries, read.serial, now, now, id, read.serial),
        )
    )


def claim(txn: Txn, id: int, before: int, now: int) -> bool:
    """Whether this process is the one to read the list again, which was read last at ``before``."""
    return bool(txn.execute("UPDATE shared_lists SET checked = ? WHERE id = ? AND checked = ?", (now, id, before)))


def note_trouble(txn: Txn, id: int, trouble: str, now: int) -> None:
    """Why the list was not taken; empty: it is as it was."""
    txn.execute("UPDATE shared_lists SET trouble = ?, checked = ? WHERE id = ?", (trouble, now, id))


def delete_shared(txn: Txn, id: int) -> None:
    """Use a list no more. Raises Missing."""
    _changed(txn)
    if not txn.execute("DELETE FROM shared_lists WHERE id = ?", (id,)):
        raise Missing("list", str(id))


def totals(txn: Txn) -> int:
    """The entries of all shared lists."""
    row = txn.one("SELECT coalesce(sum(entries), 0) FROM shared_lists")
    return int(row[0]) if row else 0


def _shared(row: Row) -> Shared:
    id, hash, sealed, digest, *numbers, trouble = row
    entries, serial, created, checked, changed = map(int, numbers)
    return Shared(int(id), bytes(hash), bytes(sealed), bytes(digest), entries, serial, created, checked, changed, trouble)
