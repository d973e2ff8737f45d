"""COPY and MOVE: new entries for messages that are already stored. None is read or written, unless it goes to another account.

A job takes one slice (:data:`mailx.store.entries.SLICE`); the core puts slices together and, when a later one fails,
takes the earlier ones back with :func:`undo`.
"""

from collections.abc import Sequence

from attrs import frozen

from mailx.mail.mailbox import Change
from mailx.mail.names import MailboxError
from mailx.store import Row, Txn
from mailx.store.entries import Among, remove, tally
from mailx.store.mailboxes import lock, lock_account
from mailx.store.messages import charge, count_messages, retain


@frozen
class Slice:
    """What one slice did. ``source`` and ``target`` are UIDs side by side."""

    uidvalidity: int
    source: list[int]
    target: list[int]


def copy(txn: Txn, source_id: int, among: Among, target_id: int, now: int, default_quota: int, more: int = 0, mask: int = -1) -> Slice:
    """Give the entries ``among`` of one mailbox a second place in another (or in the same), with the flags in ``mask``.

    ``more`` octets will be charged by later slices: a quota that cannot hold them too refuses at once (MailboxError
    "OVERQUOTA"). ``default_quota`` holds for accounts without one; 0 is unlimited.
    """
    foreign = _lock(txn, source_id, target_id)
    modseq, uidnext, uidvalidity, account_id = lock(txn, target_id)
    rows = _rows(txn, source_id, among)
    if not rows:
        return Slice(uidvalidity, [], [])
    _charge(txn, account_id, rows, more, default_quota)
    target = _place(txn, source_id, rows, target_id, modseq + 1, uidnext, now, mask, foreign)
    if not foreign:
        retain(txn, [row[1] for row in rows])
    return Slice(uidvalidity, [row[0] for row in rows], target)


def move(
    txn: Txn, source_id: int, among: Among | None, target_id: int, now: int, limit: int, default_quota: int = 0, mask: int = -1
) -> Slice:
    """Give at most ``limit`` entries, ``among`` or the lowest UIDs, a place in another mailbox instead of this one (RFC 6851).

    Between two accounts the charge moves too; a quota that cannot hold it refuses (MailboxError "OVERQUOTA").
    """
    foreign = _lock(txn, source_id, target_id)
    rows = _rows(txn, source_id, among, limit)
    modseq, uidnext, uidvalidity, account_id = lock(txn, target_id)
    if not rows:
        return Slice(uidvalidity, [], [])
    target = _place(txn, source_id, rows, target_id, modseq + 1, uidnext, now, mask, foreign)
    if foreign:
        _charge(txn, account_id, rows, 0, default_quota, placed=len(rows))
        remove(txn, source_id, lock(txn, source_id)[3], rows)
    else:
        remove(txn, source_id, account_id, rows, keep=True)
    return Slice(uidvalidity, [row[0] for row in rows], target)


def undo(txn: Txn, mailbox_id: int, uids: Sequence[int]) -> None:
    """Take copies back out of the mailbox, those that are still there."""
    lock_account(txn, mailbox_id)
    account_id: int = lock(txn, mailbox_id)[3]
    remove(txn, mailbox_id, account_id, _rows(txn, mailbox_id, Among(uids)))


def _lock(txn: Txn, source_id: int, target_id: int) -> bool:
    """Hold both mailboxes and what is charged; whether they belong to two accounts, of which neither may be sealed."""
    owners = txn.all(
        "SELECT DISTINCT a.id, a.sealed FROM mailboxes m JOIN accounts a ON a.id = m.account_id WHERE m.id IN (?, ?) ORDER BY a.id",
        (source_id, target_id),
    )
    if len(owners) > 1:
        if any(sealed for _, sealed in owners):
            raise MailboxError("CANNOT", "Sealed mail does not go between accounts; append a copy instead")
        if txn.dialect == "postgresql":
            for account_id, _ in owners:
                txn.one("SELECT 1 FROM accounts WHERE id = ? FOR UPDATE", (account_id,))
    else:
        lock_account(txn, target_id)
    for mailbox_id in sorted({source_id, target_id}):
        lock(txn, mailbox_id)
    return len(owners) > 1


def _rows(txn: Txn, mailbox_id: int, among: Among | None, limit: int | None = None) -> list[Row]:
    where, parameters = ("", ()) if among is None else (f" AND {among.sql()}", among.parameters())
    most = "" if limit is None else f" LIMIT {int(limit)}"
    sql = f"SELECT uid, message_id, flags, size FROM entries WHERE mailbox_id = ?{where} ORDER BY uid{most}"
    return txn.all(sql, (mailbox_id, *parameters))


def _charge(txn: Txn, account_id: int, rows: Sequence[Row], more: int, default_quota: int, placed: int = 0) -> None:
    """Charge an account for ``rows``, of which ``placed`` have been counted among its messages already."""
    cost = sum([charge(row[3]) for row in rows])
    row = txn.one("UPDATE accounts SET used = used + ? WHERE id = ? RETURNING used, quota, message_quota", (cost, account_id))
    if row is None:
        raise MailboxError("NONEXISTENT", "No such account")
    used, quota, messages = row
    limit = default_quota if quota is None else quota
    if limit and used + more > limit:
        raise MailboxError("OVERQUOTA", "The copies would exceed the quota")
    if messages is not None and count_messages(txn, account_id) + len(rows) - placed > messages:
        raise MailboxError("OVERQUOTA", "The copies would exceed the number of messages")


def _place(
    txn: Txn, source_id: int, rows: Sequence[Row], target_id: int, modseq: int, uidnext: int, now: int, mask: int, foreign: bool
) -> list[int]:
    """Insert entries for ``rows`` of the source into the target, ``foreign`` if that is another account's; returns their UIDs."""
    if foreign:
        _found(txn, source_id, rows, target_id, modseq, uidnext, now, mask)
    else:
        among = Among([row[0] for row in rows], rows[-1][0] - rows[0][0] == len(rows) - 1)
        flags, masked = ("flags", ()) if mask == -1 else ("flags & ?", (mask,))
        uid, before = ("uid", rows[0][0]) if among.whole else ("row_number() OVER (ORDER BY uid)", 1)
        txn.execute(
            "INSERT INTO entries (mailbox_id, uid, message_id, flags, modseq, received, saved, size, thread_id)"
            f" SELECT ?, {uid} + ?, message_id, {flags}, ?, received, ?, size, thread_id"
            f" FROM entries WHERE mailbox_id = ? AND {among.sql()}",
            (target_id, uidnext - before, *masked, modseq, now, source_id, *among.parameters()),
        )
    if mask != -1:
        rows = [(row[0], row[1], row[2] & mask, row[3]) for row in rows]
    messages, unseen, deleted, size = tally(rows)
    txn.execute(
        "UPDATE mailboxes SET uidnext = uidnext + ?, modseq = ?, messages = messages + ?, unseen = unseen + ?, deleted = deleted + ?,"
        " size = size + ? WHERE id = ?",
        (messages, modseq, messages, unseen, deleted, size, target_id),
    )
    target = list(range(uidnext, uidnext + messages))
    txn.publish(Change(target_id, modseq, added=tuple([(uid, row[2], row[3]) for uid, row in zip(target, rows, strict=True)])))
    return target


def _found(txn: Txn, source_id: int, rows: Sequence[Row], target_id: int, modseq: int, uidnext: int, now: int, mask: int) -> None:
    """Entries of another account: of messages of its own, which have the same content, or the same file, and begin threads.

    They are new messages, so that the account's index gets to them.
    """
    among = Among([row[0] for row in rows])
    dates: dict[int, int] = dict(
        txn.all(f"SELECT uid, received FROM entries WHERE mailbox_id = ? AND {among.sql()}", (source_id, *among.parameters()))
    )
    made = []
    for uid, (source, message_id, flags, size) in enumerate(rows, uidnext):
        new = txn.one(
            "INSERT INTO messages (guid, size, refs, file, summary) SELECT guid, size, 1, file, summary FROM messages WHERE id = ?"
            " RETURNING id",
            (message_id,),
        )
        assert new is not None
        txn.execute("INSERT INTO bodies (message_id, content) SELECT ?, content FROM bodies WHERE message_id = ?", (new[0], message_id))
        made.append((target_id, uid, new[0], flags & mask, modseq, dates[source], now, size, new[0]))
    columns = "mailbox_id, uid, message_id, flags, modseq, received, saved, size, thread_id"
    txn.insert_many(f"INSERT INTO entries ({columns}) VALUES ?", made)
