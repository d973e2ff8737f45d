"""The delivery log's pages in the database: lines of text, compressed and sealed, the oldest dropped when all are too much.

Ids of pages rise with time; only the newest page of a node is ever rewritten, while it is short. What does not open is
CipherError or Damaged.
"""

import os
import zlib
from collections.abc import Sequence
from typing import Protocol

from attrs import frozen

from mailx.store import Row, Txn

_PURPOSE = b"delivery log"
_LEVEL = 1  # of zlib
_PAGE_LIMIT = 1 << 24  # octets that a page may unpack to
_DROPPED = 500  # pages that one job drops


class Sealer(Protocol):
    """What pages need of :class:`mailx.store.cipher.Cipher`."""

    def seal_bulk(self, purpose: bytes, context: bytes, plain: bytes) -> bytes: ...

    def open_bulk(self, purpose: bytes, context: bytes, sealed: bytes) -> bytes: ...


class Damaged(Exception):
    """A page opened and holds no lines."""


@frozen
class Page:
    """A page ready to be stored; with an ``id`` it takes the place of one that is there."""

    octets: int
    guid: bytes
    lines: bytes
    id: int = 0


def sealed(cipher: Sealer, lines: Sequence[str], id: int = 0) -> Page:
    """A page of ``lines``, each without its end."""
    text = "".join([f"{line}\n" for line in lines]).encode(errors="replace")
    guid = os.urandom(16)
    return Page(len(text), guid, cipher.seal_bulk(_PURPOSE, guid, zlib.compress(text, _LEVEL)), id)


def opened(cipher: Sealer, guid: bytes, lines: bytes) -> bytes:
    """The text of a page; raises CipherError, Damaged."""
    try:
        return zlib.decompressobj().decompress(cipher.open_bulk(_PURPOSE, guid, lines), _PAGE_LIMIT)
    except zlib.error:
        raise Damaged("a page of the delivery log holds no lines") from None


def add(txn: Txn, pages: Sequence[Page], limit: int) -> int:
    """Store ``pages`` in their order, drop the oldest ones beyond ``limit`` octets of text; returns the id of the last."""
    id = 0
    for page in pages:
        values = (page.octets, page.guid, page.lines)
        if page.id and txn.execute("UPDATE delivery_log SET octets = ?, guid = ?, lines = ? WHERE id = ?", (*values, page.id)):
            id = page.id
        else:
            row = txn.one("INSERT INTO delivery_log (octets, guid, lines) VALUES (?, ?, ?) RETURNING id", values)
            id = int(row[0]) if row is not None else 0
    trim(txn, limit)
    return id


def trim(txn: Txn, limit: int) -> bool:
    """Drop the oldest pages beyond ``limit`` octets; whether there are more to be dropped."""
    row = txn.one("SELECT COALESCE(SUM(octets), 0) FROM delivery_log")
    excess = (int(row[0]) if row is not None else 0) - limit
    if excess <= 0:
        return False
    last = 0
    for id, octets in txn.all("SELECT id, octets FROM delivery_log ORDER BY id LIMIT ?", (_DROPPED,)):
        last = int(id)
        excess -= int(octets)
        if excess <= 0:
            break
    txn.execute("DELETE FROM delivery_log WHERE id <= ?", (last,))
    return excess > 0


def older(txn: Txn, before: int | None, limit: int) -> list[Row]:
    """(id, guid, lines) of at most ``limit`` pages with ids up to ``before``, the newest first."""
    if before is None:
        return txn.all("SELECT id, guid, lines FROM delivery_log ORDER BY id DESC LIMIT ?", (limit,))
    return txn.all("SELECT id, guid, lines FROM delivery_log WHERE id <= ? ORDER BY id DESC LIMIT ?", (before, limit))


def newer(txn: Txn, after: int, limit: int) -> list[Row]:
    """(id, guid, lines) of at most ``limit`` pages with ids above ``after``, the oldest first."""
    return txn.all("SELECT id, guid, lines FROM delivery_log WHERE id > ? ORDER BY id LIMIT ?", (after, limit))


def rewrite(txn: Txn, guid: bytes, page: Page) -> bool:
    """Put ``page`` in the place of the one with its ``id`` and this ``guid``; False if that has gone or changed."""
    sql = "UPDATE delivery_log SET octets = ?, guid = ?, lines = ? WHERE id = ? AND guid = ?"
    return bool(txn.execute(sql, (page.octets, page.guid, page.lines, page.id, guid)))


def size(txn: Txn) -> int:
    """Octets of text in all pages."""
    row = txn.one("SELECT COALESCE(SUM(octets), 0) FROM delivery_log")
    return int(row[0]) if row is not None else 0
