"""API keys: name, visible prefix, what they allow, and a keyed hash of the rest."""

from collections.abc import Sequence

from attrs import frozen

from mailx.store import Row, Txn
from mailx.store.names import Missing, Taken

_COLUMNS = "id, name, prefix, hash, scopes, creator, created, expires, revoked, last_used"


@frozen(repr=False)
class Stored:
    """One row. Times are seconds since 1970."""

    id: int
    name: str
    prefix: str
    hash: bytes
    scopes: tuple[str, ...]
    creator: str
    created: int
    expires: int | None
    revoked: int | None
    last_used: int | None


def add(txn: Txn, name: str, prefix: str, hash: bytes, scopes: Sequence[str], creator: str, now: int, expires: int | None) -> Stored:
    """A new key; raises Taken when a key has that name."""
    row = txn.one(
        "INSERT INTO api_keys (name, prefix, hash, scopes, creator, created, expires) VALUES (?, ?, ?, ?, ?, ?, ?)"
        f" ON CONFLICT (name) DO NOTHING RETURNING {_COLUMNS}",
        (name, prefix, hash, " ".join(scopes), creator, now, expires),
    )
    if row is None:
        raise Taken("API key", name)
    return _stored(row)


def all(txn: Txn) -> list[Stored]:
    """Every key, by name."""
    return [_stored(row) for row in txn.all(f"SELECT {_COLUMNS} FROM api_keys ORDER BY name")]


def by_name(txn: Txn, name: str) -> Stored | None:
    """The key of that name."""
    row = txn.one(f"SELECT {_COLUMNS} FROM api_keys WHERE name = ?", (name,))
    return None if row is None else _stored(row)


def by_prefix(txn: Txn, prefix: str) -> Stored | None:
    """The key that begins so."""
    row = txn.one(f"SELECT {_COLUMNS} FROM api_keys WHERE prefix = ?", (prefix,))
    return None if row is None else _stored(row)


def revoke(txn: Txn, name: str, now: int) -> None:
    """The key is good for nothing any more; raises Missing, also when it was revoked before."""
    if not txn.execute("UPDATE api_keys SET revoked = ? WHERE name = ? AND revoked IS NULL", (now, name)):
        raise Missing("API key", name)


def delete(txn: Txn, name: str) -> None:
    """Forget a key; raises Missing."""
    if not txn.execute("DELETE FROM api_keys WHERE name = ?", (name,)):
        raise Missing("API key", name)


def used(txn: Txn, id: int, now: int) -> None:
    """The key was used."""
    txn.execute("UPDATE api_keys SET last_used = ? WHERE id = ?", (now, id))


def _stored(row: Row) -> Stored:
    id, name, prefix, hash, scopes, creator, created, expires, revoked, last_used = row
    times = [None if value is None else int(value) for value in (expires, revoked, last_used)]
    return Stored(int(id), name, prefix, bytes(hash), tuple(scopes.split()), creator, int(created), *times)
