"""Entries: the messages of a mailbox as the mailbox sees them. UID, flags, mod-sequence, dates, size.

Each job here changes at most a slice of entries, so that it holds the writer for milliseconds; whoever has more to
do calls again. A job raises the mailbox's mod-sequence by one, keeps its counters, and publishes one Change; a
job that finds nothing to change does none of that. UIDs given to a job rise.
"""

from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import compress
from operator import invert, pos
from typing import Any, Literal

from attrs import frozen

from mailx.mail.mailbox import Change, Flag
from mailx.store import Row, Txn, expunged
from mailx.store.mailboxes import count, lock, lock_account
from mailx.store.messages import charge, release

SLICE = 1000  # entries a job copies, moves or removes at most: about 10 ms of the writer
FLAGS_SLICE = 10_000  # entries whose flags a job changes at most: about 8 ms

COLUMNS = "uid, flags, modseq, size, message_id, received, saved, thread_id"

_SEEN = int(Flag.SEEN)  # plain integers: an operation on an IntFlag costs a hundred times as much
_DELETED = int(Flag.DELETED)

Mode = Literal["add", "remove", "replace"]


@frozen
class Among:
    """Some UIDs of a mailbox as a condition in SQL.

    ``whole`` says that every entry between the first and the last is meant.
    """

    uids: Sequence[int]
    whole: bool = False

    def sql(self, column: str = "uid") -> str:
        if self.whole:
            return f"{column} BETWEEN ? AND ?"
        return f"{column} IN ({', '.join('?' * _padded(len(self.uids)))})"

    def parameters(self) -> tuple[int, ...]:
        if self.whole:
            return self.uids[0], self.uids[-1]
        padding = _padded(len(self.uids)) - len(self.uids)
        return (*self.uids, *[self.uids[-1]] * padding)


def _padded(number: int) -> int:
    """``number`` rounded up, so that few statements are prepared."""
    return 1 << (number - 1).bit_length() if number <= 64 else -(-number // 256) * 256


@frozen
class Since:
    """What happened to a mailbox after a mod-sequence."""

    modseq: int
    uidnext: int
    changed: list[Row]  # COLUMNS, uids rising
    removed: list[int]  # uids
    there: "array[int] | None" = None  # what was removed is forgotten: every uid that is there, rising

    def removed_of(self, uids: "array[int]") -> Sequence[int]:
        """Those of ``uids``, rising, that were removed; perhaps with others."""
        return self.removed if self.there is None else sorted(set(uids).difference(self.there))


@frozen
class Known:
    """The flags of some entries, as they are while the mailbox has this mod-sequence."""

    modseq: int
    flags: Sequence[int]


@frozen
class Flagged:
    """What a slice of a STORE did: UIDs, rising."""

    modseq: int
    changed: list[int]
    failed: list[int]


def snapshot(txn: Txn, mailbox_id: int) -> list[Row]:
    """Every entry, as ``COLUMNS``, uids rising."""
    return txn.all(f"SELECT {COLUMNS} FROM entries WHERE mailbox_id = ? ORDER BY uid", (mailbox_id,))


def some(txn: Txn, mailbox_id: int, uids: Sequence[int]) -> list[Row]:
    """The entries with these UIDs that exist, as ``COLUMNS``, uids rising."""
    among = Among(uids)
    return txn.all(f"SELECT {COLUMNS} FROM entries WHERE mailbox_id = ? AND {among.sql()} ORDER BY uid", (mailbox_id, *among.parameters()))


def since(txn: Txn, mailbox_id: int, modseq: int) -> Since | None:
    """What changed after ``modseq``; None if the mailbox is gone."""
    row = txn.one("SELECT modseq, uidnext FROM mailboxes WHERE id = ? AND special_use <> '-'", (mailbox_id,))
    if row is None:
        return None
    changed = txn.all(f"SELECT {COLUMNS} FROM entries WHERE mailbox_id = ? AND modseq > ? ORDER BY uid", (mailbox_id, modseq))
    removed = expunged.since(txn, mailbox_id, modseq)
    if removed is not None:
        return Since(row[0], row[1], changed, removed)
    there = txn.all("SELECT uid FROM entries WHERE mailbox_id = ? ORDER BY uid", (mailbox_id,))
    return Since(row[0], row[1], changed, [], array("L", [uid for (uid,) in there]))


def set_flags(
    txn: Txn,
    mailbox_id: int,
    among: Among,
    mode: Mode,
    mask: int,
    unchanged_since: int | None,
    own: Callable[[int], Any],
    known: Known | None = None,
) -> Flagged:
    """Add, remove or replace flags. ``own(modseq)`` is called after the commit, before the Change is heard.

    With ``unchanged_since`` entries of a higher mod-sequence are left alone (RFC 7162 3.1.3). ``known`` saves reading
    the entries, if the mailbox is still as it was.
    """
    mask = int(mask)
    modseq: int = lock(txn, mailbox_id)[0]
    where = f"mailbox_id = ? AND {among.sql()}"
    failed: list[int] = []
    uids: Sequence[int]
    if known is not None and known.modseq == modseq and unchanged_since is None:
        uids, flags, limit = among.uids, known.flags, modseq
    else:
        rows = txn.all(f"SELECT uid, flags, modseq FROM entries WHERE {where} ORDER BY uid", (mailbox_id, *among.parameters()))
        limit = modseq if unchanged_since is None else unchanged_since
        failed = [uid for uid, _, at in rows if at > limit]
        uids = [uid for uid, _, at in rows if at <= limit]
        flags = [flags for _, flags, at in rows if at <= limit]
    counts = {flags[0]: len(flags)} if _alike(flags) else Counter(flags)
    change, differs, operand = _EDITS[mode]
    mask = operand(mask)
    new = {old: _edited(mode, old, mask) for old in counts}
    changing = {old: made for old, made in new.items() if made != old}
    if changing:
        modseq += 1
        txn.execute(
            f"UPDATE entries SET flags = {change}, modseq = ? WHERE {where} AND modseq <= ? AND {differs}",
            (mask, modseq, mailbox_id, *among.parameters(), limit, mask),
        )
        unseen = sum([((old & _SEEN) - (made & _SEEN)) // _SEEN * counts[old] for old, made in changing.items()])
        deleted = sum([((made & _DELETED) - (old & _DELETED)) // _DELETED * counts[old] for old, made in changing.items()])
        count(txn, mailbox_id, modseq, unseen=unseen, deleted=deleted)
        flagged: Sequence[int] = uids
        if len(changing) < len(new):
            flagged = list(compress(uids, map(changing.__contains__, flags)))
        told = [changing[old] for old in flags if old in changing] if len(changing) > 1 else [*changing.values()] * len(flagged)
        txn.after_commit(own, modseq)
        txn.publish(Change(mailbox_id, modseq, flagged=flagged, flags=told))
    return Flagged(modseq, list(uids), failed)


# What each mode makes of flags: the SQL, how to see whether it makes a difference, and its operand for a mask.
_EDITS: dict[Mode, tuple[str, str, Callable[[int], int]]] = {
    "add": ("flags | ?", "(flags | ?) <> flags", pos),
    "remove": ("flags & ?", "(flags & ?) <> flags", invert),
    "replace": ("?", "flags <> ?", pos),
}


def _edited(mode: Mode, old: int, operand: int) -> int:
    """What the SQL of ``mode`` makes of the flags ``old``."""
    if mode == "replace":
        return operand
    return old | operand if mode == "add" else old & operand


def _alike(flags: Sequence[int]) -> bool:
    """Whether it takes no counting to see that all flags are the same."""
    return isinstance(flags, array) and len(flags) > 0 and flags == flags[:1] * len(flags)


def expunge(txn: Txn, mailbox_id: int, among: Among | None) -> list[int]:
    """Remove a slice of what is \\Deleted, of ``among`` or of all; returns the UIDs removed.

    Without ``among`` call again until nothing is returned.
    """
    where, parameters = ("", ()) if among is None else (f" AND {among.sql()}", among.parameters())
    return _take(txn, mailbox_id, f"flags & ? <> 0{where}", (_DELETED, *parameters))


def discard(txn: Txn, mailbox_id: int, among: Among) -> list[int]:
    """Remove a slice of messages whatever their flags; returns the UIDs removed."""
    return _take(txn, mailbox_id, among.sql(), among.parameters())


def _take(txn: Txn, mailbox_id: int, which: str, parameters: Sequence[Any]) -> list[int]:
    lock_account(txn, mailbox_id)
    _, _, _, account_id = lock(txn, mailbox_id)
    rows = txn.all(
        f"SELECT uid, message_id, flags, size FROM entries WHERE mailbox_id = ? AND {which} ORDER BY uid LIMIT ?",
        (mailbox_id, *parameters, SLICE),
    )
    remove(txn, mailbox_id, account_id, rows)
    return [row[0] for row in rows]


def remove(txn: Txn, mailbox_id: int, account_id: int, rows: Sequence[Row], keep: bool = False) -> None:
    """Take entries (uid, message_id, flags, size) out of a locked mailbox.

    With ``keep`` their messages live on in another mailbox of the account, and its charge stays.
    """
    if not rows:
        return
    modseq: int = lock(txn, mailbox_id)[0] + 1
    uids = [row[0] for row in rows]
    among = Among(uids)
    txn.execute(f"DELETE FROM entries WHERE mailbox_id = ? AND {among.sql()}", (mailbox_id, *among.parameters()))
    expunged.remember(txn, mailbox_id, modseq, uids)
    messages, unseen, deleted, size = tally(rows)
    count(txn, mailbox_id, modseq, -messages, -unseen, -deleted, -size)
    if not keep:
        cost = sum(charge(row[3]) for row in rows)
        txn.execute("UPDATE accounts SET used = used - ? WHERE id = ?", (cost, account_id))
        release(txn, [row[1] for row in rows])
    txn.publish(Change(mailbox_id, modseq, removed=tuple(uids)))


def tally(rows: Sequence[Row]) -> tuple[int, int, int, int]:
    """(messages, unseen, deleted, octets) of rows (uid, message_id, flags, size)."""
    unseen = sum([not row[2] & _SEEN for row in rows])
    deleted = sum([row[2] & _DELETED for row in rows]) // _DELETED
    return len(rows), unseen, deleted, sum([row[3] for row in rows])


def purge(txn: Txn, mailbox_id: int) -> bool:
    """Remove a slice of a buried mailbox, with the last its row; returns whether more is left."""
    lock_account(txn, mailbox_id)
    row = txn.one("SELECT account_id, modseq FROM mailboxes WHERE id = ?", (mailbox_id,))
    if row is None:
        return False
    rows = txn.all("SELECT uid, message_id, size FROM entries WHERE mailbox_id = ? ORDER BY uid LIMIT ?", (mailbox_id, SLICE))
    if rows:
        txn.execute("DELETE FROM entries WHERE mailbox_id = ? AND uid <= ?", (mailbox_id, rows[-1][0]))
        txn.execute("UPDATE accounts SET used = used - ? WHERE id = ?", (sum(charge(size) for _, _, size in rows), row[0]))
        release(txn, [message_id for _, message_id, _ in rows])
        if len(rows) == SLICE:
            return True
    forgotten = txn.execute(
        "DELETE FROM expunged WHERE mailbox_id = ? AND uid IN (SELECT uid FROM expunged WHERE mailbox_id = ? LIMIT ?)",
        (mailbox_id, mailbox_id, 10 * SLICE),
    )
    if forgotten:
        return True
    txn.execute("DELETE FROM mailboxes WHERE id = ?", (mailbox_id,))
    txn.publish(Change(mailbox_id, row[1] + 1, gone=True))  # once more: now the sweep finds all that was released
    return False
