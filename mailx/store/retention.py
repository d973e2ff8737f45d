"""Mail whose time is over: finding it, and removing it in slices.

What counts is when a message came into its mailbox (``saved``). Each removal looks again under the lock, so whoever else
was at the same messages, or a crash in the middle, makes no difference.
"""

from collections.abc import Sequence

from attrs import frozen

from mailx.store import Txn
from mailx.store.entries import Among, remove
from mailx.store.mailboxes import DYING, lock, lock_account
from mailx.store.messages import charge
from mailx.store.names import Missing

SLICE = 200  # messages removed by one job: about 2 ms of the writer, and less than 10 on a busy machine

_DAYS = (
    "CASE WHEN m.retention IS NOT NULL THEN m.retention WHEN m.special_use = '\\Trash' THEN ? WHEN m.special_use = '\\Junk' THEN ?"
    " WHEN a.retention IS NOT NULL THEN a.retention ELSE ? END"
)


@frozen
class Days:
    """The server's settings; 0: mail stays."""

    trash: int
    spam: int
    others: int


@frozen
class Kept:
    """A mailbox with an end to its messages' time."""

    id: int
    account: int
    days: int


def limited(txn: Txn, days: Days, after: int, limit: int) -> list[Kept]:
    """At most ``limit`` mailboxes with ids above ``after`` that hold something and keep it for a while only.

    Those of accounts that are deleted wait: they may come back.
    """
    rows = txn.all(
        f"SELECT m.id, m.account_id, {_DAYS} FROM mailboxes m JOIN accounts a ON a.id = m.account_id"
        f" WHERE m.id > ? AND m.special_use <> '{DYING}' AND a.state IN ('active', 'suspended') AND {_DAYS} > 0"
        " AND (m.messages > 0 OR EXISTS (SELECT 1 FROM waiting w WHERE w.account_id = m.account_id AND w.mailbox_id = m.id))"
        " ORDER BY m.id LIMIT ?",
        (days.trash, days.spam, days.others, after, days.trash, days.spam, days.others, limit),
    )
    return [Kept(int(id), int(account), int(kept)) for id, account, kept in rows]


def due(txn: Txn, mailbox_id: int, before: int, limit: int) -> list[int]:
    """The UIDs of at most ``limit`` messages that came into a mailbox before this time, rising."""
    rows = txn.all("SELECT uid FROM entries WHERE mailbox_id = ? AND saved < ? ORDER BY uid LIMIT ?", (mailbox_id, before, limit))
    return [int(uid) for (uid,) in rows]


def purge(txn: Txn, mailbox_id: int, uids: Sequence[int], before: int) -> int:
    """Remove those of ``uids`` (rising, not none) that came before this time; returns how many. Raises MailboxError "NONEXISTENT"."""
    lock_account(txn, mailbox_id)
    account_id: int = lock(txn, mailbox_id)[3]
    among = Among(uids)
    rows = txn.all(
        f"SELECT uid, message_id, flags, size FROM entries WHERE mailbox_id = ? AND {among.sql()} AND saved < ? ORDER BY uid",
        (mailbox_id, *among.parameters(), before),
    )
    remove(txn, mailbox_id, account_id, rows)
    return len(rows)


def purge_waiting(txn: Txn, account_id: int, mailbox_id: int, before: int, limit: int) -> tuple[int, list[str]]:
    """The same of what waits for the owner of a sealed account: how many, and the files to unlink after the commit."""
    if txn.dialect == "postgresql":
        txn.one("SELECT 1 FROM accounts WHERE id = ? FOR UPDATE", (account_id,))
    rows = txn.all(
        "DELETE FROM waiting WHERE id IN (SELECT id FROM waiting WHERE account_id = ? AND mailbox_id = ? AND saved < ? ORDER BY id LIMIT ?)"
        " RETURNING size, file",
        (account_id, mailbox_id, before, limit),
    )
    if rows:
        txn.execute("UPDATE accounts SET used = used - ? WHERE id = ?", (sum(charge(size) for size, _ in rows), account_id))
    return len(rows), [str(file) for _, file in rows if file is not None]


def set_account(txn: Txn, account_id: int, days: int | None) -> None:
    """How long the account's mail stays; None: as the server's setting says, 0: for good. Raises Missing."""
    if not txn.execute("UPDATE accounts SET retention = ? WHERE id = ? AND state <> 'erased'", (days, account_id)):
        raise Missing("account", str(account_id))


def set_mailbox(txn: Txn, mailbox_id: int, days: int | None) -> None:
    """How long a mailbox's mail stays; None: as its account and its use have it. Raises MailboxError "NONEXISTENT"."""
    lock(txn, mailbox_id)
    txn.execute("UPDATE mailboxes SET retention = ? WHERE id = ?", (days, mailbox_id))


def own(txn: Txn, account_id: int) -> dict[int, int]:
    """The retention of each mailbox of the account that has one of its own, by id."""
    rows = txn.all(
        f"SELECT id, retention FROM mailboxes WHERE account_id = ? AND retention IS NOT NULL AND special_use <> '{DYING}'", (account_id,)
    )
    return {int(id): int(days) for id, days in rows}
