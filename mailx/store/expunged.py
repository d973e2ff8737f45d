"""What was expunged from a mailbox and when, in mod-sequences: what a client that comes back asks for (RFC 7162 3.2).

A mailbox remembers its latest :data:`REMEMBERED` messages. Up to its floor the older ones are forgotten: whoever was
last there before must compare the UIDs that it knows with those that are there.
"""

from collections.abc import Sequence

from mailx.store import Txn

REMEMBERED = 50_000  # expunged messages of one mailbox, some 20 octets each
_FORGOTTEN = 2_000  # about as many are forgotten in one go, so that it takes a millisecond


def remember(txn: Txn, mailbox_id: int, modseq: int, uids: Sequence[int], keep: int | None = None) -> None:
    """Note that ``uids`` left a locked mailbox with its mod-sequence ``modseq``; ``keep`` instead of REMEMBERED."""
    txn.insert_many("INSERT INTO expunged (mailbox_id, modseq, uid) VALUES ?", [(mailbox_id, modseq, uid) for uid in uids])
    row = txn.one("UPDATE mailboxes SET expunged = expunged + ? WHERE id = ? RETURNING expunged", (len(uids), mailbox_id))
    keep = REMEMBERED if keep is None else keep
    if row is not None and row[0] > keep:
        _forget(txn, mailbox_id, row[0] - keep + min(_FORGOTTEN, keep // 2))


def since(txn: Txn, mailbox_id: int, modseq: int) -> list[int] | None:
    """The UIDs of what left after ``modseq``, in no order; None if that is forgotten."""
    row = txn.one("SELECT expunged_floor FROM mailboxes WHERE id = ?", (mailbox_id,))
    if row is None or modseq < row[0]:
        return None
    return [uid for (uid,) in txn.all("SELECT uid FROM expunged WHERE mailbox_id = ? AND modseq > ?", (mailbox_id, modseq))]


def between(txn: Txn, mailbox_id: int, modseq: int, until: int) -> list[int] | None:
    """The UIDs of what left after ``modseq`` and not after ``until``, rising; None if that is forgotten."""
    row = txn.one("SELECT expunged_floor FROM mailboxes WHERE id = ?", (mailbox_id,))
    if row is None or modseq < row[0]:
        return None
    rows = txn.all("SELECT uid FROM expunged WHERE mailbox_id = ? AND modseq > ? AND modseq <= ? ORDER BY uid", (mailbox_id, modseq, until))
    return [uid for (uid,) in rows]


def _forget(txn: Txn, mailbox_id: int, number: int) -> None:
    """Forget the oldest ``number`` or a few more: what one transaction expunged is forgotten as a whole."""
    row = txn.one("SELECT modseq FROM expunged WHERE mailbox_id = ? ORDER BY modseq LIMIT 1 OFFSET ?", (mailbox_id, number - 1))
    if row is None:
        return
    forgotten = txn.execute("DELETE FROM expunged WHERE mailbox_id = ? AND modseq <= ?", (mailbox_id, row[0]))
    txn.execute("UPDATE mailboxes SET expunged = expunged - ?, expunged_floor = ? WHERE id = ?", (forgotten, row[0], mailbox_id))
