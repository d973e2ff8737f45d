"""Mail of sealed accounts, already in mailboxes: sealed when an account becomes one, opened when it is one no more, given up.

An account's older mail is converted message by message, each in a transaction of its own. A message that the account has for
itself keeps its row; of one that it shares with others (or with the queue) it gets a copy, and its entries change over.
Entries keep their UIDs, and sessions hear of nothing.
"""

from collections.abc import Sequence

from attrs import frozen

from mailx.mail.mailbox import Change
from mailx.store import Row, Txn
from mailx.store.entries import remove as remove_entries
from mailx.store.erasing import erasing
from mailx.store.mailboxes import lock, lock_account
from mailx.store.messages import references, release

_SLICE = 200  # entries of one job
_HASHES = 500  # hashes of one job


@frozen
class Held:
    """A message of an account as it is stored."""

    id: int
    guid: bytes
    size: int
    summary: bytes
    content: bytes | None
    file: str | None


@frozen
class Converted:
    """The same message sealed another way. ``threads`` maps hashes as they were to what they become."""

    id: int
    summary: bytes
    content: bytes | None
    file: str | None
    vault: bool
    threads: Sequence[tuple[bytes, bytes]] = ()


def after(txn: Txn, account: int, position: int, vault: bool, limit: int, octets: int) -> list[Held]:
    """Messages of an account beyond the id ``position``, ids rising, that are sealed for it alone (``vault``) or are not."""
    ids: list[int] = []
    for id, size, file in txn.all(
        "SELECT DISTINCT m.id, m.size, m.file FROM mailboxes b JOIN entries e ON e.mailbox_id = b.id JOIN messages m ON m.id = e.message_id"
        " WHERE b.account_id = ? AND m.id > ? AND m.vault = ? ORDER BY m.id LIMIT ?",
        (account, position, int(vault), limit),
    ):
        octets -= 0 if file else size
        if ids and octets < 0:
            break
        ids.append(id)
    if not ids:
        return []
    rows = txn.all(
        "SELECT m.id, m.guid, m.size, m.summary, b.content, m.file FROM messages m LEFT JOIN bodies b ON b.message_id = m.id"
        f" WHERE m.id IN ({', '.join('?' * len(ids))}) ORDER BY m.id",
        ids,
    )
    return [
        Held(id, bytes(guid), size, bytes(summary), None if content is None else bytes(content), file)
        for id, guid, size, summary, content, file in rows
    ]


def convert(txn: Txn, account: int, new: Converted) -> tuple[bool, str | None]:
    """Store ``new`` in place of what the account has; whether it was still there, and the file that nothing names any more."""
    if txn.dialect == "postgresql":
        txn.one("SELECT 1 FROM accounts WHERE id = ? FOR UPDATE", (account,))
    entries = txn.all(
        "SELECT e.mailbox_id, e.uid, e.flags FROM entries e JOIN mailboxes b ON b.id = e.mailbox_id"
        " WHERE e.message_id = ? AND b.account_id = ? ORDER BY e.mailbox_id, e.uid",
        (new.id, account),
    )
    message = txn.one("SELECT file, vault FROM messages WHERE id = ?", (new.id,))
    if not entries or message is None or bool(message[1]) == new.vault:
        return False, None
    file = message[0]
    _rekey(txn, account, new.threads)
    if references(txn, new.id) == len(entries):
        with erasing(txn):
            txn.execute(
                "UPDATE messages SET summary = ?, file = ?, vault = ? WHERE id = ?", (new.summary, new.file, int(new.vault), new.id)
            )
            txn.execute("DELETE FROM bodies WHERE message_id = ?", (new.id,))
        _body(txn, new.id, new.content)
        return True, file
    _copy(txn, new, entries)
    return True, None


def _copy(txn: Txn, new: Converted, entries: Sequence[Row]) -> None:
    """The account's own copy, to which its entries change over."""
    made = txn.one(
        "INSERT INTO messages (guid, size, refs, file, summary, vault)"
        " SELECT guid, size, ?, ?, ?, ? FROM messages WHERE id = ? RETURNING id",
        (len(entries), new.file, new.summary, int(new.vault), new.id),
    )
    assert made is not None
    _body(txn, made[0], new.content)
    release(txn, [new.id] * len(entries))
    for mailbox in sorted({row[0] for row in entries}):
        modseq: int = lock(txn, mailbox)[0] + 1
        own = [row for row in entries if row[0] == mailbox]
        txn.executemany(
            "UPDATE entries SET message_id = ?, modseq = ? WHERE mailbox_id = ? AND uid = ?",
            [(made[0], modseq, mailbox, row[1]) for row in own],
        )
        txn.execute("UPDATE mailboxes SET modseq = ? WHERE id = ?", (modseq, mailbox))
        txn.publish(Change(mailbox, modseq, flagged=[row[1] for row in own], flags=[row[2] for row in own]))


def _body(txn: Txn, id: int, content: bytes | None) -> None:
    if content is not None:
        txn.execute("INSERT INTO bodies (message_id, content) VALUES (?, ?)", (id, content))


def _rekey(txn: Txn, account: int, pairs: Sequence[tuple[bytes, bytes]]) -> None:
    """Let the threads be known by the new hashes of their identifiers; the old ones go when all is converted."""
    for old, new in pairs:
        txn.execute(
            "INSERT INTO threads (account_id, hash, thread_id) SELECT account_id, ?, thread_id FROM threads"
            " WHERE account_id = ? AND hash = ? ON CONFLICT DO NOTHING",
            (new, account, old),
        )


def forget_hashes(txn: Txn, account: int, octets: int) -> bool:
    """Remove a slice of the account's thread hashes that are ``octets`` long; whether more are left."""
    rows = txn.all("SELECT hash FROM threads WHERE account_id = ? AND length(hash) = ? ORDER BY hash LIMIT ?", (account, octets, _HASHES))
    with erasing(txn):
        for (hash,) in rows:
            txn.execute("DELETE FROM threads WHERE account_id = ? AND hash = ?", (account, bytes(hash)))
    return len(rows) == _HASHES


def remove(txn: Txn, account: int) -> bool:
    """Give up a slice of what nobody can open any more: entries and waiting mail of the account. Whether more is left."""
    row = txn.one(
        "SELECT e.mailbox_id FROM mailboxes b JOIN entries e ON e.mailbox_id = b.id JOIN messages m ON m.id = e.message_id"
        " WHERE b.account_id = ? AND m.vault = 1 AND b.special_use <> '-' ORDER BY e.mailbox_id LIMIT 1",
        (account,),
    )
    if row is not None:
        mailbox = row[0]
        lock_account(txn, mailbox)
        lock(txn, mailbox)
        rows = txn.all(
            "SELECT e.uid, e.message_id, e.flags, e.size FROM entries e JOIN messages m ON m.id = e.message_id"
            " WHERE e.mailbox_id = ? AND m.vault = 1 ORDER BY e.uid LIMIT ?",
            (mailbox, _SLICE),
        )
        remove_entries(txn, mailbox, account, rows)
        return True
    return _remove_waiting(txn, account)


def _remove_waiting(txn: Txn, account: int) -> bool:
    if txn.dialect == "postgresql":
        txn.one("SELECT 1 FROM accounts WHERE id = ? FOR UPDATE", (account,))
    rows = txn.all(
        "DELETE FROM waiting WHERE id IN (SELECT id FROM waiting WHERE account_id = ? ORDER BY id LIMIT ?) RETURNING size",
        (account, _SLICE),
    )
    if rows:
        txn.execute("UPDATE accounts SET used = used - ? WHERE id = ?", (sum(size * 105 // 100 for (size,) in rows), account))
    return len(rows) == _SLICE
