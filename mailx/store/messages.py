"""Messages: the one stored copy of whatever was accepted, shared by every entry that shows it.

Owns how a message is sealed and opened, what an entry of it costs its account, and the count of references.
A message without references is dead at once and removed by :mod:`mailx.store.sweep`.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Protocol

from mailx.store import Txn

CHARGE = "size * 105 / 100"  # `charge` in SQL, over a column `size`; integer division in both engines

_IDS = 1000  # messages of one statement
_SUMMARY = b"summary"
_CONTENT = b"content"


class Sealer(Protocol):
    """What this module needs of :class:`mailx.store.cipher.Cipher`."""

    def seal_bulk(self, purpose: bytes, context: bytes, plain: bytes) -> bytes: ...

    def open_bulk(self, purpose: bytes, context: bytes, sealed: bytes) -> bytes: ...


def scope(account_id: int) -> bytes:
    """The scope of an account's keyed hashes: its id as 8 octets, big-endian."""
    return account_id.to_bytes(8, "big")


def charge(size: int) -> int:
    """Octets that one entry of a message of ``size`` octets takes from its account's quota: 5 % over its size."""
    return size * 105 // 100


def seal_summary(cipher: Sealer, guid: bytes, summary: bytes) -> bytes:
    """``summary`` as it stands in ``messages.summary``."""
    return cipher.seal_bulk(_SUMMARY, guid, summary)


def open_summary(cipher: Sealer, guid: bytes, sealed: bytes) -> bytes:
    """The summary in a ``messages.summary``; raises CipherError if it was tampered with."""
    return cipher.open_bulk(_SUMMARY, guid, sealed)


def seal_content(cipher: Sealer, guid: bytes, content: bytes) -> bytes:
    """``content`` as it stands in ``bodies.content``."""
    return cipher.seal_bulk(_CONTENT, guid, content)


def open_content(cipher: Sealer, guid: bytes, sealed: bytes) -> bytes:
    """The content in a ``bodies.content``; raises CipherError if it was tampered with."""
    return cipher.open_bulk(_CONTENT, guid, sealed)


def retain(txn: Txn, message_ids: Iterable[int]) -> None:
    """Count one more reference for each id given; an id given twice counts two.

    They are counted beside the messages, whose rows are large.
    """
    txn.insert_many(
        "INSERT INTO copies (message_id, count) VALUES ? ON CONFLICT (message_id) DO UPDATE SET count = copies.count + excluded.count",
        sorted(Counter(message_ids).items()),
    )


def release(txn: Txn, message_ids: Iterable[int]) -> None:
    """Drop one reference for each id given; an id given twice drops two. The sweep removes what has none left."""
    counts = Counter(message_ids)
    ids = sorted(counts)
    for start in range(0, len(ids), _IDS):
        _release(txn, ids[start : start + _IDS], counts)


def _release(txn: Txn, ids: Sequence[int], counts: dict[int, int]) -> None:
    among = ", ".join("?" * len(ids))
    locked = " ORDER BY message_id FOR UPDATE" if txn.dialect == "postgresql" else ""
    copies: dict[int, int] = dict(txn.all(f"SELECT message_id, count FROM copies WHERE message_id IN ({among}){locked}", ids))
    if copies:
        gone = [id for id, count in copies.items() if count <= counts[id]]
        if gone:
            txn.execute(f"DELETE FROM copies WHERE message_id IN ({', '.join('?' * len(gone))})", gone)
        fewer = [(counts[id], id) for id, count in copies.items() if count > counts[id]]
        txn.executemany("UPDATE copies SET count = count - ? WHERE message_id = ?", fewer)
    rest = [(count, id) for id in ids if (count := counts[id] - copies.get(id, 0)) > 0]
    txn.executemany("UPDATE messages SET refs = refs - ? WHERE id = ?", rest)


def references(txn: Txn, message_id: int) -> int:
    """How many references a message has."""
    row = txn.one(
        "SELECT m.refs + coalesce(c.count, 0) FROM messages m LEFT JOIN copies c ON c.message_id = m.id WHERE m.id = ?", (message_id,)
    )
    return 0 if row is None else int(row[0])


def count_messages(txn: Txn, account_id: int) -> int:
    """Messages in all mailboxes of an account."""
    row = txn.one("SELECT coalesce(sum(messages), 0) FROM mailboxes WHERE account_id = ?", (account_id,))
    return 0 if row is None else int(row[0])
