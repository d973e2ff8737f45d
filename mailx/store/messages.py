"""Messages: the one stored copy of whatever was accepted, shared by every entry that shows it.

Owns how a message is sealed and opened, what an entry of it costs its account, and the count of references.
A message without references is dead at once and removed by :mod:`mailx.store.sweep`.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Protocol

from mailx.store import Txn

CHARGE = "size * 105 / 100"  # `charge` in SQL, over a column `size`; integer division in both engines

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
    """Count one more reference for each id given; an id given twice counts two."""
    counts = Counter(message_ids)
    txn.executemany("UPDATE messages SET refs = refs + ? WHERE id = ?", [(count, id) for id, count in sorted(counts.items())])


def release(txn: Txn, message_ids: Iterable[int]) -> None:
    """Drop one reference for each id given; an id given twice drops two. The sweep removes what has none left."""
    counts = Counter(message_ids)
    txn.executemany("UPDATE messages SET refs = refs - ? WHERE id = ?", [(count, id) for id, count in sorted(counts.items())])


def count_messages(txn: Txn, account_id: int) -> int:
    """Messages in all mailboxes of an account."""
    row = txn.one("SELECT coalesce(sum(messages), 0) FROM mailboxes WHERE account_id = ?", (account_id,))
    return 0 if row is None else int(row[0])
