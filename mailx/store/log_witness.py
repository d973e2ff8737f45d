"""Heads of other domains' key logs: the rows of ``log_heads`` and ``log_evidence``. Domains are hashed and sealed before they come here."""

from mailx.store import Row, Txn

EVIDENCE_LIMIT = 20  # pieces that are kept of one domain
EPOCHS_KEPT = 20  # of one log
_SLICE = 500  # logs that are forgotten at a time


def latest(txn: Txn, hash: bytes) -> Row | None:
    """(epoch, size, guid, sealed, seen) of the head that is kept of a log, of its latest epoch."""
    return txn.one("SELECT epoch, size, guid, sealed, seen FROM log_heads WHERE hash = ? ORDER BY epoch DESC LIMIT 1", (hash,))


def keep(txn: Txn, hash: bytes, epoch: int, size: int, guid: bytes, sealed: bytes, now: int, anew: bool = False) -> bool:
    """Keep a head in the place of a smaller one of its epoch, or the same shown again; False if a larger one is there.

    Heads of epochs long before it are dropped; ``anew``: all others of the log are.
    """
    if anew:
        txn.execute("DELETE FROM log_heads WHERE hash = ?", (hash,))
    kept = txn.execute(
        "INSERT INTO log_heads (hash, epoch, size, guid, sealed, seen) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (hash, epoch) DO UPDATE"
        " SET size = excluded.size, guid = excluded.guid, sealed = excluded.sealed, seen = excluded.seen"
        " WHERE log_heads.size <= excluded.size",
        (hash, epoch, size, guid, sealed, now),
    )
    txn.execute("DELETE FROM log_heads WHERE hash = ? AND epoch <= ?", (hash, epoch - EPOCHS_KEPT))
    return bool(kept)


def prune(txn: Txn, before: int) -> int:
    """Forget logs that were not shown since ``before``, and evidence from before it; returns how many rows went."""
    gone = txn.execute(
        "DELETE FROM log_heads WHERE hash IN (SELECT hash FROM log_heads GROUP BY hash HAVING max(seen) < ? LIMIT ?)", (before, _SLICE)
    )
    return gone + txn.execute(
        "DELETE FROM log_evidence WHERE id IN (SELECT id FROM log_evidence WHERE found < ? ORDER BY id LIMIT ?)", (before, _SLICE)
    )


def all_latest(txn: Txn, limit: int) -> list[Row]:
    """(guid, sealed, seen) of the latest heads, those shown last first."""
    return txn.all(
        "SELECT guid, sealed, seen FROM log_heads h WHERE epoch = (SELECT max(epoch) FROM log_heads o WHERE o.hash = h.hash)"
        " ORDER BY seen DESC, hash LIMIT ?",
        (limit,),
    )


def add_evidence(txn: Txn, hash: bytes, mark: bytes, guid: bytes, sealed: bytes, now: int) -> bool:
    """Keep what contradicts; False if it is there, or there is enough."""
    row = txn.one("SELECT count(*) FROM log_evidence WHERE hash = ?", (hash,))
    if row is not None and row[0] >= EVIDENCE_LIMIT:
        return False
    return bool(
        txn.execute(
            "INSERT INTO log_evidence (hash, mark, guid, sealed, found) VALUES (?, ?, ?, ?, ?) ON CONFLICT (mark) DO NOTHING",
            (hash, mark, guid, sealed, now),
        )
    )


def evidence(txn: Txn, hash: bytes | None, limit: int) -> list[Row]:
    """(guid, sealed, found) of what is kept about one log, or about all; the newest first."""
    if hash is None:
        return txn.all("SELECT guid, sealed, found FROM log_evidence ORDER BY id DESC LIMIT ?", (limit,))
    return txn.all("SELECT guid, sealed, found FROM log_evidence WHERE hash = ? ORDER BY id DESC LIMIT ?", (hash, limit))
