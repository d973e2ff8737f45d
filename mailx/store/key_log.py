"""The key logs of our own domains: the rows of ``key_logs``, ``key_log_leaves``, ``key_log_nodes`` and ``key_log_epochs``.

An entry is written in the transaction of what it tells of, with the hashes of every node that it completes: the tree is
never computed anew. Entries are never changed and never deleted.
"""

from collections.abc import Iterable

from attrs import frozen

from mailx.mail.log_leaf import Leaf, leaf_hash, node_hash
from mailx.store import Row, Txn

__all__ = ["Leaf", "State", "add_epoch", "append", "confirm", "domains", "epochs", "labelled", "leaves", "nodes", "state"]

_BEGIN = "INSERT INTO key_logs (domain, size, epoch, confirmed) VALUES (?, 0, 0, 0) ON CONFLICT (domain) DO NOTHING"


@frozen
class State:
    """How far a log is."""

    size: int = 0
    epoch: int = 0
    confirmed: int = 0  # entries that some peer has seen under a head of ours


def append(txn: Txn, domain: str, leaf: Leaf) -> int:
    """Add ``leaf`` to the log of ``domain``, which begins with its first entry; returns its place. ``leaf.previous`` is filled in here."""
    txn.execute(_BEGIN, (domain,))
    row = txn.one("UPDATE key_logs SET size = size + 1 WHERE domain = ? RETURNING size", (domain,))  # and nobody else adds until we commit
    assert row is not None
    number = int(row[0]) - 1
    before = txn.one("SELECT max(number) FROM key_log_leaves WHERE domain = ? AND label = ?", (domain, leaf.label))
    octets = leaf.after(None if before is None or before[0] is None else int(before[0])).encode()
    txn.execute("INSERT INTO key_log_leaves (domain, number, label, leaf) VALUES (?, ?, ?, ?)", (domain, number, leaf.label, octets))
    level, at, hash = 0, number, leaf_hash(octets)
    rows = [(domain, level, at, hash)]
    while at & 1:  # the right one of two: the node above them is complete
        left = txn.one("SELECT hash FROM key_log_nodes WHERE domain = ? AND level = ? AND number = ?", (domain, level, at - 1))
        assert left is not None
        level, at, hash = level + 1, at >> 1, node_hash(bytes(left[0]), hash)
        rows.append((domain, level, at, hash))
    txn.executemany("INSERT INTO key_log_nodes (domain, level, number, hash) VALUES (?, ?, ?, ?)", rows)
    return number


def state(txn: Txn, domain: str) -> State:
    """The log of ``domain``; an empty one if it has none."""
    row = txn.one("SELECT size, epoch, confirmed FROM key_logs WHERE domain = ?", (domain,))
    return State() if row is None else State(*map(int, row))


def domains(txn: Txn) -> list[str]:
    """The domains that have a log."""
    return [str(row[0]) for row in txn.all("SELECT domain FROM key_logs ORDER BY domain")]


def confirm(txn: Txn, domain: str, size: int) -> None:
    """A peer keeps a head of the log with ``size`` entries, and it is ours."""
    txn.execute("UPDATE key_logs SET confirmed = ? WHERE domain = ? AND confirmed < ? AND size >= ?", (size, domain, size, size))


def nodes(txn: Txn, domain: str, wanted: Iterable[tuple[int, int]]) -> dict[tuple[int, int], bytes]:
    """The hashes of the complete nodes ``wanted``, as (level, number). Those that are not complete are left out."""
    found: dict[tuple[int, int], bytes] = {}
    for level, number in wanted:
        row = txn.one("SELECT hash FROM key_log_nodes WHERE domain = ? AND level = ? AND number = ?", (domain, level, number))
        if row is not None:
            found[level, number] = bytes(row[0])
    return found


def leaves(txn: Txn, domain: str, first: int, count: int) -> list[bytes]:
    """At most ``count`` entries from the one at ``first`` on."""
    rows = txn.all(
        "SELECT leaf FROM key_log_leaves WHERE domain = ? AND number >= ? AND number < ? ORDER BY number", (domain, first, first + count)
    )
    return [bytes(row[0]) for row in rows]


def labelled(txn: Txn, domain: str, label: bytes, below: int, limit: int) -> list[tuple[int, bytes]]:
    """(place, entry) of the last ``limit`` entries about ``label`` before the place ``below``, in their order."""
    rows: list[Row] = txn.all(
        "SELECT number, leaf FROM key_log_leaves WHERE domain = ? AND label = ? AND number < ? ORDER BY number DESC LIMIT ?",
        (domain, label, below, limit),
    )
    return [(int(number), bytes(leaf)) for number, leaf in reversed(rows)]


def add_epoch(txn: Txn, domain: str, epoch: int, statement: bytes, leaf: Leaf) -> bool:
    """Begin ``epoch``, which ``statement`` declares, with ``leaf`` about it; False if the log is there or beyond already."""
    txn.execute(_BEGIN, (domain,))
    if not txn.execute("UPDATE key_logs SET epoch = ? WHERE domain = ? AND epoch < ?", (epoch, domain, epoch)):
        return False
    txn.execute("INSERT INTO key_log_epochs (domain, epoch, statement) VALUES (?, ?, ?)", (domain, epoch, statement))
    append(txn, domain, leaf)
    return True


def epochs(txn: Txn, domain: str) -> list[bytes]:
    """The statements that declare the epochs of a log, oldest first."""
    return [bytes(row[0]) for row in txn.all("SELECT statement FROM key_log_epochs WHERE domain = ? ORDER BY epoch", (domain,))]
