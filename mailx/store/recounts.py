"""Counters put right: what mailboxes and accounts say they hold, compared with what they hold.

The comparison is one statement, so it sees one moment although mail comes and goes; it runs beside the writer. What is
found is a difference, and what else changes counters adds to them or takes from them: so the difference may be put right
any time later, but once only, which ``accounts.recounts`` sees to.
"""

from attrs import frozen

from mailx.store import Txn
from mailx.store.mailboxes import DYING
from mailx.store.messages import CHARGE

_COUNTED = f"""
SELECT m.id, m.special_use = '{DYING}', m.messages, m.unseen, m.deleted, m.size, m.uidnext, a.used, a.recounts,
 (SELECT coalesce(sum({CHARGE}), 0) FROM waiting w WHERE w.account_id = a.id),
 count(e.uid), coalesce(sum(CASE WHEN e.flags & 1 = 0 THEN 1 ELSE 0 END), 0),
 coalesce(sum(CASE WHEN e.flags & 8 <> 0 THEN 1 ELSE 0 END), 0), coalesce(sum(e.size), 0), coalesce(max(e.uid), 0),
 coalesce(sum(e.size * 105 / 100), 0), m.expunged, (SELECT count(*) FROM expunged x WHERE x.mailbox_id = m.id)
FROM accounts a JOIN mailboxes m ON m.account_id = a.id LEFT JOIN entries e ON e.mailbox_id = m.id
WHERE a.id = ? AND a.state <> 'erased'
GROUP BY m.id, m.special_use, m.messages, m.unseen, m.deleted, m.size, m.uidnext, m.expunged, a.id, a.used, a.recounts ORDER BY m.id
"""


@frozen
class Off:
    """How much a mailbox's counters must change; ``uidnext`` is what that one must at least be, 0: it is right."""

    mailbox: int
    messages: int
    unseen: int
    deleted: int
    size: int
    uidnext: int = 0
    expunged: int = 0

    @property
    def any(self) -> bool:
        return bool(self.messages or self.unseen or self.deleted or self.size or self.uidnext or self.expunged)


@frozen
class Drift:
    """What is wrong with an account's counters. ``used``: octets that its charge must change."""

    account: int
    recounts: int
    used: int
    mailboxes: tuple[Off, ...]
    counted: int = 0  # messages looked at

    @property
    def any(self) -> bool:
        return bool(self.used or self.mailboxes)


def compare(txn: Txn, account_id: int) -> Drift | None:
    """What is wrong with the account's counters now; None if it has no mailboxes, or is gone."""
    found: list[Off] = []
    real = used = recounts = counted = 0
    rows = txn.all(_COUNTED, (account_id,))
    for place, row in enumerate(rows):
        id, dying, *kept = row[:7]
        used, recounts, waiting = int(row[7]), int(row[8]), int(row[9])
        messages, unseen, deleted, size, last, cost = map(int, row[10:16])
        expunged = int(row[17]) - int(row[16])
        if not place:
            real += waiting
        real += cost
        counted += messages
        if dying:
            continue  # it keeps no counters any more
        off = Off(
            int(id), messages - kept[0], unseen - kept[1], deleted - kept[2], size - kept[3], last + 1 if kept[4] <= last else 0, expunged
        )
        if off.any:
            found.append(off)
    return Drift(account_id, recounts, real - used, tuple(found), counted) if rows else None


def mend(txn: Txn, drift: Drift) -> bool:
    """Put right what ``compare`` found; False if somebody else has done it meanwhile."""
    sql = "UPDATE accounts SET used = used + ?, recounts = recounts + 1 WHERE id = ? AND recounts = ? AND state <> 'erased'"
    if not txn.execute(sql, (drift.used, drift.account, drift.recounts)):
        return False
    for off in drift.mailboxes:
        txn.execute(
            "UPDATE mailboxes SET messages = messages + ?, unseen = unseen + ?, deleted = deleted + ?, size = size + ?,"
            " uidnext = CASE WHEN uidnext < ? THEN ? ELSE uidnext END, expunged = expunged + ? WHERE id = ?",
            (off.messages, off.unseen, off.deleted, off.size, off.uidnext, off.uidnext, off.expunged, off.mailbox),
        )
    return True
