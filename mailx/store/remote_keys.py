"""The keys of users elsewhere, as their domains attested them: rows of ``remote_keys``, found by the hash of the address.

Every statement is kept under its serial; the highest is the one in use. Serial 0 says that the address has none, and goes
when a statement comes.
"""

from collections.abc import Sequence

from attrs import frozen

from mailx.store import Txn

_COLUMNS = "address, hash, serial, sealed, verified, expires"


@frozen
class KeyRow:
    """One statement. Times are seconds since 1970."""

    address: bytes
    hash: bytes  # of the domain
    serial: int
    sealed: bytes
    verified: int
    expires: int


def get(txn: Txn, address: bytes) -> KeyRow | None:
    """What is in use."""
    row = txn.one(f"SELECT {_COLUMNS} FROM remote_keys WHERE address = ? ORDER BY serial DESC LIMIT 1", (address,))
    return None if row is None else _key(*row)


def history(txn: Txn, address: bytes, limit: int) -> list[KeyRow]:
    """The last ``limit`` statements, the newest first."""
    rows = txn.all(f"SELECT {_COLUMNS} FROM remote_keys WHERE address = ? AND serial > 0 ORDER BY serial DESC LIMIT ?", (address, limit))
    return [_key(*row) for row in rows]


def put(txn: Txn, rows: Sequence[KeyRow]) -> None:
    """Keep statements, or that there is none; a statement that is there already stays as it is, but for its times."""
    for row in rows:
        if row.serial:
            txn.execute("DELETE FROM remote_keys WHERE address = ? AND serial = 0", (row.address,))
        elif txn.one("SELECT 1 FROM remote_keys WHERE address = ? AND serial > 0", (row.address,)) is not None:
            continue
        txn.execute(
            f"INSERT INTO remote_keys ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (address, serial) DO UPDATE SET verified = excluded.verified, expires = excluded.expires",
            (row.address, row.hash, row.serial, row.sealed, row.verified, row.expires),
        )


def prune(txn: Txn, now: int, limit: int) -> int:
    """Remove at most ``limit`` rows of addresses without keys whose time is over."""
    return txn.execute(
        "DELETE FROM remote_keys WHERE serial = 0 AND address IN"
        " (SELECT address FROM remote_keys WHERE serial = 0 AND expires <= ? LIMIT ?)",
        (now, limit),
    )


def _key(address: bytes, hash: bytes, serial: int, sealed: bytes, verified: int, expires: int) -> KeyRow:
    return KeyRow(bytes(address), bytes(hash), int(serial), bytes(sealed), int(verified), int(expires))
