"""Alerts in the database, and the figures that they are raised for.

An alert is open from its raising until what it is about is over; at most one of a kind and subject is open at a time, however
many nodes raise it. ``mailed`` and ``posted`` are NULL while that is still to be done, 0 when it was not asked for, and
negative while a node is at it: the time when it began, after which the others wait for a while. ``seen`` is for what
concerns one node and not the others: by the clock of the database, which all of them share.
"""

from collections.abc import Sequence

from attrs import frozen

from mailx.store import Row, Txn, clock

MAILED, POSTED = "mailed", "posted"
CHANNELS = (MAILED, POSTED)
STAYS = 180  # seconds after which what no node has seen to hold is over

_COLUMNS = "id, kind, hash, guid, sealed, opened, closed, acknowledged, acknowledged_by"


class Seen(Exception):
    """Somebody has acknowledged it already."""


@frozen
class Raised:
    """An alert to be stored. ``closed``: it is over already."""

    kind: str
    hash: bytes
    guid: bytes
    sealed: bytes
    opened: int
    closed: int | None
    mail: bool
    post: bool


def add(txn: Txn, raised: Raised) -> bool:
    """Store an alert unless the same is open; whether it was stored."""
    told = [None if wanted else 0 for wanted in (raised.mail, raised.post)]
    row = txn.one(
        "INSERT INTO alerts (kind, hash, guid, sealed, opened, closed, mailed, posted, seen)"
        f" VALUES (?, ?, ?, ?, ?, ?, ?, ?, {clock(txn)})"
        " ON CONFLICT (hash) WHERE closed IS NULL DO NOTHING RETURNING id",
        (raised.kind, raised.hash, raised.guid, raised.sealed, raised.opened, raised.closed, *told),
    )
    return row is not None


def confirm(txn: Txn, hashes: Sequence[bytes]) -> None:
    """What these alerts are about holds still, as one of several nodes sees it."""
    txn.execute(f"UPDATE alerts SET seen = {clock(txn)} WHERE closed IS NULL AND hash IN ({', '.join('?' * len(hashes))})", hashes)


def close(txn: Txn, hash: bytes, now: int, alone: bool = True) -> int:
    """What the alert is about is over, if ``alone`` is False only unless another node sees it to hold; whether it was open."""
    others = "" if alone else f" AND seen < {clock(txn)} - {STAYS}"
    return txn.execute(f"UPDATE alerts SET closed = ? WHERE hash = ? AND closed IS NULL{others}", (now, hash))


def open_ones(txn: Txn, limit: int) -> list[Row]:
    """The newest ``limit`` open alerts."""
    return txn.all(f"SELECT {_COLUMNS} FROM alerts WHERE closed IS NULL ORDER BY id DESC LIMIT ?", (limit,))


def past(txn: Txn, before: int, limit: int) -> list[Row]:
    """At most ``limit`` closed alerts with ids below ``before`` (0: all), the newest first."""
    return txn.all(
        f"SELECT {_COLUMNS} FROM alerts WHERE closed IS NOT NULL AND (? = 0 OR id < ?) ORDER BY id DESC LIMIT ?", (before, before, limit)
    )


def by_id(txn: Txn, id: int) -> Row | None:
    """The alert with this id."""
    return txn.one(f"SELECT {_COLUMNS} FROM alerts WHERE id = ?", (id,))


def acknowledge(txn: Txn, id: int, name: str, now: int, closes: bool) -> None:
    """Somebody has seen it; ``closes``: and with that it is over. Raises Seen when somebody had before."""
    closing = ", closed = COALESCE(closed, ?)" if closes else ""
    found = txn.execute(
        f"UPDATE alerts SET acknowledged = ?, acknowledged_by = ?{closing} WHERE id = ? AND acknowledged IS NULL",
        (now, name, *([now] if closes else []), id),
    )
    if not found:
        raise Seen


def untold(txn: Txn, channel: str, now: int, lease: int, limit: int) -> list[Row]:
    """At most ``limit`` alerts that are still to be told by ``channel``, the oldest first.

    Not among them are those that a node began to tell within ``lease`` seconds.
    """
    return txn.all(f"SELECT {_COLUMNS} FROM alerts WHERE {_free(channel)} ORDER BY id LIMIT ?", (*_leased(now, lease), limit))


def claim(txn: Txn, channel: str, ids: Sequence[int], now: int, lease: int) -> list[int]:
    """Those of ``ids`` that are to be told by whoever asks now: nobody else tells them for ``lease`` seconds."""
    rows = txn.all(
        f"UPDATE alerts SET {channel} = ? WHERE id IN ({', '.join('?' * len(ids))}) AND {_free(channel)} RETURNING id",
        (-now, *ids, *_leased(now, lease)),
    )
    return sorted(int(id) for (id,) in rows)


def release(txn: Txn, channel: str, ids: Sequence[int]) -> None:
    """They were not told: anybody may."""
    assert channel in CHANNELS
    txn.execute(f"UPDATE alerts SET {channel} = NULL WHERE id IN ({', '.join('?' * len(ids))}) AND {channel} < 0", ids)


def _free(channel: str) -> str:
    """The condition under which an alert is to be told; its parameters are those of ``_leased``."""
    assert channel in CHANNELS
    return f"({channel} IS NULL OR {channel} < 0) AND ({channel} IS NULL OR {channel} NOT BETWEEN ? AND ?)"


def _leased(now: int, lease: int) -> tuple[int, int]:
    """What a node writes that is at it; one that began long from now did so by a clock that was ahead."""
    return -now - lease, lease - now


def told(txn: Txn, channel: str, ids: Sequence[int], now: int) -> None:
    """They were told by ``channel``."""
    assert channel in CHANNELS
    txn.execute(f"UPDATE alerts SET {channel} = ? WHERE id IN ({', '.join('?' * len(ids))})", (now, *ids))


def prune(txn: Txn, before: int, limit: int) -> int:
    """Drop at most ``limit`` alerts that were over before then; how many there were."""
    return txn.execute("DELETE FROM alerts WHERE id IN (SELECT id FROM alerts WHERE closed < ? ORDER BY id LIMIT ?)", (before, limit))


@frozen
class Figures:
    """What the store knows of the state of things."""

    waiting: int  # recipients in the queue
    oldest: int  # when the oldest of their messages came; 0: none waits
    full: tuple[tuple[str, int, int], ...]  # accounts: address, octets used, quota


def figures(txn: Txn, percent: int, quota: int, limit: int) -> Figures:
    """The figures now; at most ``limit`` accounts that have used ``percent`` of their quota (default ``quota``; 0: unlimited)."""
    row = txn.one("SELECT count(*) FROM queue WHERE state IN ('pending', 'deferred')")
    oldest = txn.one("SELECT MIN(dispatch_id) FROM queue WHERE state IN ('pending', 'deferred')")
    came = txn.one("SELECT created FROM dispatches WHERE id = ?", (oldest[0],)) if oldest is not None and oldest[0] is not None else None
    full: list[Row] = []
    if percent:
        full = txn.all(
            "SELECT a.local || '@' || d.name, a.used, COALESCE(a.quota, ?) FROM accounts a JOIN domains d ON d.id = a.domain_id"
            " WHERE COALESCE(a.quota, ?) > 0 AND a.used * 100 >= COALESCE(a.quota, ?) * ? AND a.state <> 'erased' ORDER BY a.id LIMIT ?",
            (quota, quota, quota, percent, limit),
        )
    return Figures(
        int(row[0]) if row is not None else 0,
        int(came[0]) if came is not None else 0,
        tuple((str(address), int(used), int(most)) for address, used, most in full),
    )
