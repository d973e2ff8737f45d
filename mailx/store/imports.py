"""Imports: which messages of a source have come, so that none comes twice.

A message's row enters in the transaction that stores it (:mod:`mailx.store.delivery`), or not at all. Rows stay when their
message is removed: what the owner has removed does not come back with the next run.
"""

from collections.abc import Sequence
from typing import Any

from attrs import frozen

from mailx.mail.mailbox import Change
from mailx.store import Txn
from mailx.store.mailboxes import count, lock, lock_account
from mailx.store.queue import among, padded

_ROWS = 128  # of one statement
SLICE = 1000  # rows that a job removes at most

_SEEN, _DELETED = 1, 8


@frozen
class Import:
    """One source and the account that takes it."""

    id: int
    account: int
    source: bytes  # hash
    sealed: bytes
    started: int
    finished: int | None
    messages: int = 0


@frozen
class Entry:
    """A message of the source, as it is written if it is stored."""

    key: bytes  # hash
    digest: bytes  # hash
    flags: int


@frozen
class Journal:
    """What an import brings in one call: an entry for each delivery."""

    import_id: int
    entries: tuple[Entry, ...]


@frozen
class Known:
    """A message that has come."""

    key: bytes
    mailbox: int
    uid: int
    digest: bytes
    flags: int


class Register:
    """Takes in the journals of one transaction, many in one statement. The accounts are locked."""

    def __init__(self, txn: Txn, journals: Sequence[Journal]) -> None:
        self._txn = txn
        self._known = {(each.import_id, entry.key) for each in journals for entry in known(txn, each.import_id, _keys(each))}
        self._imports = {id for id in {each.import_id for each in journals} if find(txn, id) is not None}
        self._entered: list[tuple[Journal, Sequence[Any]]] = []

    def met(self, journal: Journal) -> bool:
        """Whether one of its messages has come already, or it was forgotten: then none of them may be stored."""
        names = {(journal.import_id, key) for key in _keys(journal)}
        return journal.import_id not in self._imports or len(names) < len(journal.entries) or not self._known.isdisjoint(names)

    def enter(self, journal: Journal, outcomes: Sequence[Any]) -> None:
        """Its messages are stored; ``outcomes`` has each one's place when ``write`` is called."""
        self._known.update((journal.import_id, key) for key in _keys(journal))
        self._entered.append((journal, outcomes))

    def write(self) -> None:
        """Write what has entered."""
        rows = [
            (journal.import_id, entry.key, outcome[0].mailbox, outcome[0].uid, entry.digest, entry.flags)
            for journal, outcomes in self._entered
            for entry, outcome in zip(journal.entries, outcomes, strict=True)
        ]
        if rows:
            self._txn.insert_many("INSERT INTO imported (import_id, key, mailbox_id, uid, digest, flags) VALUES ?", rows)


def _keys(journal: Journal) -> list[bytes]:
    return [entry.key for entry in journal.entries]


def begin(txn: Txn, account: int, source: bytes, sealed: bytes, now: int) -> Import:
    """The import of that source, made if there is none; it runs from now on."""
    txn.execute(
        "INSERT INTO imports (account_id, source, sealed, started) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (account_id, source) DO UPDATE SET finished = NULL",
        (account, source, sealed, now),
    )
    row = txn.one("SELECT id FROM imports WHERE account_id = ? AND source = ?", (account, source))
    found = find(txn, row[0]) if row is not None else None
    assert found is not None
    return found


def find(txn: Txn, id: int) -> Import | None:
    """The import of that id, without counting its messages."""
    row = txn.one("SELECT id, account_id, source, sealed, started, finished FROM imports WHERE id = ?", (id,))
    return None if row is None else Import(row[0], row[1], bytes(row[2]), bytes(row[3]), row[4], row[5])


def every(txn: Txn, limit: int) -> list[Import]:
    """The latest imports with the numbers of their messages."""
    rows = txn.all(
        "SELECT i.id, i.account_id, i.source, i.sealed, i.started, i.finished,"
        " (SELECT count(*) FROM imported m WHERE m.import_id = i.id) FROM imports i ORDER BY i.id DESC LIMIT ?",
        (limit,),
    )
    return [Import(id, account, bytes(source), bytes(sealed), *rest) for id, account, source, sealed, *rest in rows]


def finish(txn: Txn, id: int, sealed: bytes, now: int) -> int:
    """A run came to its end; how many imports there are of that id."""
    return txn.execute("UPDATE imports SET sealed = ?, finished = ? WHERE id = ?", (sealed, now, id))


def forget(txn: Txn, id: int) -> bool:
    """Remove a slice of what is known of an import, and at last the import; whether there is more."""
    rows = txn.all("SELECT key FROM imported WHERE import_id = ? LIMIT ?", (id, SLICE))
    if rows:
        txn.executemany("DELETE FROM imported WHERE import_id = ? AND key = ?", [(id, key) for (key,) in rows])
    if len(rows) == SLICE:
        return True
    txn.execute("DELETE FROM imports WHERE id = ?", (id,))
    return False


def known(txn: Txn, id: int, keys: Sequence[bytes]) -> list[Known]:
    """What has come of these, in no order."""
    found: list[Known] = []
    for start in range(0, len(keys), _ROWS):
        part = sorted(keys[start : start + _ROWS])
        rows = txn.all(
            f"SELECT key, mailbox_id, uid, digest, flags FROM imported WHERE import_id = ? AND {among('key', part)}", [id, *padded(part)]
        )
        found += [Known(bytes(key), mailbox, uid, bytes(digest), flags) for key, mailbox, uid, digest, flags in rows]
    return found


def flag(txn: Txn, id: int, mailbox: int, flags: Sequence[tuple[bytes, int]]) -> int:
    """Bring to messages of one mailbox what has changed at the source since it was last asked; how many changed.

    Flags that the owner has changed here meanwhile stay as they are. Messages that are gone are passed over.
    """
    lock_account(txn, mailbox)
    held = txn.one("SELECT 1 FROM mailboxes WHERE id = ? AND special_use <> '-'", (mailbox,))
    wanted = dict(flags)
    changes = {each.uid: (each.flags, wanted[each.key]) for each in known(txn, id, list(wanted)) if each.mailbox == mailbox}
    txn.executemany("UPDATE imported SET flags = ? WHERE import_id = ? AND key = ?", [(now, id, key) for key, now in flags])
    if held is None or not changes:
        return 0
    modseq = lock(txn, mailbox)[0] + 1
    changed: list[tuple[int, int, int]] = []
    uids = sorted(changes)
    for start in range(0, len(uids), _ROWS):
        part = uids[start : start + _ROWS]
        sql = f"SELECT uid, flags FROM entries WHERE mailbox_id = ? AND uid IN ({', '.join('?' * len(part))}) ORDER BY uid"
        for uid, old in txn.all(sql, (mailbox, *part)):
            before, now = changes[uid]
            made = (old | (now & ~before)) & ~(before & ~now)
            if made != old:
                changed.append((uid, old, made))
    if not changed:
        return 0
    sql = "UPDATE entries SET flags = ?, modseq = ? WHERE mailbox_id = ? AND uid = ?"
    txn.executemany(sql, [(made, modseq, mailbox, uid) for uid, _, made in changed])
    unseen = sum([(not made & _SEEN) - (not old & _SEEN) for _, old, made in changed])
    deleted = sum([bool(made & _DELETED) - bool(old & _DELETED) for _, old, made in changed])
    count(txn, mailbox, modseq, unseen=unseen, deleted=deleted)
    txn.publish(Change(mailbox, modseq, flagged=[uid for uid, _, _ in changed], flags=[made for _, _, made in changed]))
    return len(changed)
