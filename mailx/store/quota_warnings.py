"""Which percent of its quota each account has crossed, as far as its owner knows, and which crossing is to be told.

A crossing is noted and marked to be told in one transaction, by one of several nodes; the mark goes when the mail is
accepted. So a crash between the two tells again, with the same Message-ID, and never forgets.
"""

from collections.abc import Sequence

from attrs import frozen

from mailx.store import Row, Txn

_COLUMNS = "a.id, a.local, d.name, a.used, coalesce(a.quota, ?), a.warned, a.warning, coalesce(a.warned_at, 0)"
_FROM = "FROM accounts a JOIN domains d ON d.id = a.domain_id WHERE a.state IN ('active', 'suspended')"
_AMONG = 256


@frozen
class Full:
    """An account and how full it is. ``quota`` 0: unlimited."""

    id: int
    local: str
    domain: str
    used: int
    quota: int
    warned: int
    warning: int
    at: int


def every(txn: Txn, default: int, after: int, limit: int) -> list[Full]:
    """At most ``limit`` accounts with ids above ``after``; ``default`` is the quota of those without one of their own."""
    return _full(txn.all(f"SELECT {_COLUMNS} {_FROM} AND a.id > ? ORDER BY a.id LIMIT ?", (default, after, limit)))


def of_mailboxes(txn: Txn, default: int, mailboxes: Sequence[int]) -> list[Full]:
    """The accounts that these mailboxes belong to."""
    found: list[Full] = []
    for start in range(0, len(mailboxes), _AMONG):
        part = mailboxes[start : start + _AMONG]
        among = f"SELECT account_id FROM mailboxes WHERE id IN ({', '.join('?' * len(part))})"
        found += _full(txn.all(f"SELECT {_COLUMNS} {_FROM} AND a.id IN ({among})", (default, *part)))
    return list({one.id: one for one in found}.values())


def untold(txn: Txn, default: int, before: int, limit: int) -> list[Full]:
    """At most ``limit`` accounts with a crossing from before this time that was not told yet."""
    sql = f"SELECT {_COLUMNS} {_FROM} AND a.warning > 0 AND a.warned_at < ? ORDER BY a.warned_at LIMIT ?"
    return _full(txn.all(sql, (default, before, limit)))


def crossed(txn: Txn, levels: Sequence[tuple[int, int, int]], now: int) -> list[int]:
    """Note (account, percent known of, percent crossed now); the accounts whose owner is to be told by the caller.

    A fall below takes back what was not told. Nothing happens where somebody else has noted something meanwhile.
    """
    risen = []
    for id, known, percent in levels:
        up = percent > known
        sql = "UPDATE accounts SET warned = ?, warned_at = ?, warning = ? WHERE id = ? AND warned = ? AND state IN ('active', 'suspended')"
        if txn.execute(sql, (percent, now if percent else None, percent if up else 0, id, known)) and up:
            risen.append(id)
    return risen


def told(txn: Txn, id: int, percent: int) -> None:
    """The owner was told of that crossing, or cannot be."""
    txn.execute("UPDATE accounts SET warning = 0 WHERE id = ? AND warning = ?", (id, percent))


def _full(rows: Sequence[Row]) -> list[Full]:
    return [Full(int(id), local, name, int(used), int(quota), int(warned), int(warning), int(at))
            for id, local, name, used, quota, warned, warning, at in rows]  # fmt: skip
