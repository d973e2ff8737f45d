"""What is remembered of others for a while: values of JSON under a kind and a key, sealed, found by keyed hash.

The kind is plain and chosen by this program, never by a stranger. A row past its time is as good as gone; :func:`prune` removes it.
"""

import json
from collections.abc import Callable
from typing import Any, TypeAlias

from mailx.store import Txn
from mailx.store.cipher import Cipher

JSON: TypeAlias = dict[str, "JSON"] | list["JSON"] | str | int | float | bool | None

_PURPOSE = b"remembered"


def get(txn: Txn, cipher: Cipher, kind: str, key: str, now: int) -> tuple[JSON, int] | None:
    """(value, expires) under ``kind`` and ``key``, or None."""
    hash = _hash(cipher, kind, key)
    row = txn.one("SELECT sealed, expires FROM remembered WHERE kind = ? AND hash = ? AND expires > ?", (kind, hash, now))
    return None if row is None else (_open(cipher, kind, hash, bytes(row[0]))[1], int(row[1]))


def put(txn: Txn, cipher: Cipher, kind: str, key: str, value: JSON, expires: int) -> None:
    """Keep ``value`` until ``expires``, in place of what was there."""
    hash = _hash(cipher, kind, key)
    sealed = cipher.seal_bulk(_PURPOSE, _context(kind, hash), json.dumps({"key": key, "value": value}).encode())
    txn.execute(
        "INSERT INTO remembered (kind, hash, sealed, expires) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (kind, hash) DO UPDATE SET sealed = excluded.sealed, expires = excluded.expires",
        (kind, hash, sealed, expires),
    )


def change(txn: Txn, cipher: Cipher, kind: str, key: str, change: Callable[[JSON], JSON], expires: int, now: int) -> JSON:
    """Put what ``change`` makes of the value that is there (None if there is none), nobody else in between; returns it."""
    if txn.dialect == "postgresql":  # a row that is not there yet cannot be locked
        number = int.from_bytes(_hash(cipher, kind, key)[:8], signed=True)
        txn.one("SELECT pg_advisory_xact_lock(?)", (number,))
    found = get(txn, cipher, kind, key, now)
    value = change(None if found is None else found[0])
    put(txn, cipher, kind, key, value, expires)
    return value


def forget(txn: Txn, cipher: Cipher, kind: str, key: str) -> None:
    """Remove what is there, if anything."""
    txn.execute("DELETE FROM remembered WHERE kind = ? AND hash = ?", (kind, _hash(cipher, kind, key)))


def all(txn: Txn, cipher: Cipher, kind: str, now: int, limit: int) -> list[tuple[str, JSON]]:
    """At most ``limit`` (key, value) of ``kind``, by key."""
    rows = txn.all("SELECT hash, sealed FROM remembered WHERE kind = ? AND expires > ? LIMIT ?", (kind, now, limit))
    return sorted((_open(cipher, kind, bytes(hash), bytes(sealed)) for hash, sealed in rows), key=lambda each: each[0])


def prune(txn: Txn, now: int, limit: int) -> int:
    """Remove at most ``limit`` rows past their time; returns how many."""
    return txn.execute(
        "DELETE FROM remembered WHERE (kind, hash) IN (SELECT kind, hash FROM remembered WHERE expires <= ? LIMIT ?)", (now, limit)
    )


def _hash(cipher: Cipher, kind: str, key: str) -> bytes:
    return cipher.hash(_PURPOSE, kind.encode(), key.encode())


def _context(kind: str, hash: bytes) -> bytes:
    return kind.encode() + b"\0" + hash


def _open(cipher: Cipher, kind: str, hash: bytes, sealed: bytes) -> tuple[str, Any]:
    kept = json.loads(cipher.open_bulk(_PURPOSE, _context(kind, hash), sealed))
    return kept["key"], kept["value"]
