"""What is known of other MailX servers: rows of ``peers`` and ``peer_settings``, found by the hash of the domain.

A row with ``mailx`` keeps keys that were believed, so it outlives its ``expires``; the serial of its key never goes back. What
was looked for in vain is a row without ``mailx``, removed when it expires. A pin only ever grows.
"""

from collections.abc import Sequence

from attrs import frozen

from mailx.store import Txn

_COLUMNS = "hash, sealed, mailx, serial, verified, expires, pinned_until"


@frozen
class PeerRow:
    """One domain. Times are seconds since 1970."""

    hash: bytes
    sealed: bytes
    mailx: bool
    serial: int
    verified: int
    expires: int
    pinned_until: int = 0


@frozen
class SettingsRow:
    """What an administrator set for one domain."""

    hash: bytes
    sealed: bytes


def get(txn: Txn, hash: bytes) -> PeerRow | None:
    """What is known of a domain."""
    row = txn.one(f"SELECT {_COLUMNS} FROM peers WHERE hash = ?", (hash,))
    return None if row is None else _peer(*row)


def put(txn: Txn, row: PeerRow, now: int) -> int | None:
    """Keep what was found, except an older key in place of a newer one (None). The pin stays, or grows; returned is until when."""
    kept = txn.one(
        f"INSERT INTO peers ({_COLUMNS}, changed) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (hash) DO UPDATE SET sealed = excluded.sealed, mailx = excluded.mailx, serial = excluded.serial,"
        " verified = excluded.verified, expires = excluded.expires, changed = excluded.changed,"
        " pinned_until = CASE WHEN excluded.pinned_until > peers.pinned_until THEN excluded.pinned_until ELSE peers.pinned_until END"
        " WHERE excluded.serial >= peers.serial RETURNING pinned_until",
        (row.hash, row.sealed, int(row.mailx), row.serial, row.verified, row.expires, row.pinned_until, now),
    )
    return None if kept is None else int(kept[0])


def pin(txn: Txn, hash: bytes, until: int, now: int) -> bool:
    """Let mail to the domain go no other way until then; False if nothing is known of it."""
    return bool(
        txn.execute(
            "UPDATE peers SET pinned_until = CASE WHEN ? > pinned_until THEN ? ELSE pinned_until END, changed = ? WHERE hash = ?",
            (until, until, now, hash),
        )
    )


def forget(txn: Txn, hash: bytes) -> bool:
    """Remove all that was learnt of a domain, with the keys of its users; its settings stay. Whether anything was there."""
    txn.execute("DELETE FROM remote_keys WHERE hash = ?", (hash,))
    return bool(txn.execute("DELETE FROM peers WHERE hash = ?", (hash,)))


def mailx(txn: Txn, after: bytes, limit: int) -> list[PeerRow]:
    """At most ``limit`` domains with a MailX server, by hash, behind ``after``."""
    rows = txn.all(f"SELECT {_COLUMNS} FROM peers WHERE mailx = 1 AND hash > ? ORDER BY hash LIMIT ?", (after, limit))
    return [_peer(*row) for row in rows]


def changed(txn: Txn, since: int, limit: int) -> list[PeerRow]:
    """At most ``limit`` rows written at ``since`` or later."""
    return [_peer(*row) for row in txn.all(f"SELECT {_COLUMNS} FROM peers WHERE changed >= ? ORDER BY changed LIMIT ?", (since, limit))]


def prune(txn: Txn, now: int, unseen: int, limit: int) -> int:
    """Remove at most ``limit`` rows that say nothing any more: in vain and expired, or not seen since ``unseen`` and not pinned."""
    return txn.execute(
        "DELETE FROM peers WHERE hash IN (SELECT hash FROM peers"
        " WHERE (mailx = 0 AND expires <= ? AND pinned_until <= ?) OR (mailx = 1 AND verified <= ? AND pinned_until <= ?) LIMIT ?)",
        (now, now, unseen, now, limit),
    )


def surplus(txn: Txn, now: int, most: int) -> int:
    """When the latest was seen of the servers that are not pinned, but for the ``most`` seen last; 0: there are no more."""
    row = txn.one("SELECT verified FROM peers WHERE mailx = 1 AND pinned_until <= ? ORDER BY verified DESC LIMIT 1 OFFSET ?", (now, most))
    return 0 if row is None else int(row[0])


def settings(txn: Txn) -> Sequence[SettingsRow]:
    """The settings of all domains that have some."""
    return [SettingsRow(bytes(hash), bytes(sealed)) for hash, sealed in txn.all("SELECT hash, sealed FROM peer_settings")]


def put_settings(txn: Txn, row: SettingsRow, now: int) -> None:
    """Set them, in place of what was set."""
    txn.execute(
        "INSERT INTO peer_settings (hash, sealed, changed) VALUES (?, ?, ?)"
        " ON CONFLICT (hash) DO UPDATE SET sealed = excluded.sealed, changed = excluded.changed",
        (row.hash, row.sealed, now),
    )


def drop_settings(txn: Txn, hash: bytes) -> bool:
    """Remove them; whether there were any."""
    return bool(txn.execute("DELETE FROM peer_settings WHERE hash = ?", (hash,)))


def _peer(hash: bytes, sealed: bytes, mailx: int, serial: int, verified: int, expires: int, pinned_until: int) -> PeerRow:
    return PeerRow(bytes(hash), bytes(sealed), bool(mailx), int(serial), int(verified), int(expires), int(pinned_until))
