"""The timelines' pages in the database: sealed, compressed, only ever added, merged and dropped.

A page holds what was noted within a short time, of many messages. Beside its sealed events stand the sorted beginnings
of the keyed hashes by which it is found (queue ids, addresses, Message-IDs). A search runs over these, newest first:
it takes longer than a look into an index with a row for each hash, but noting costs one row a page and not a dirty
page of the disk for each key, and a day goes with one range. 32 bits of a hash may lie: the page itself decides.
Failure: :class:`Changed` when another node was at the same pages; a page that does not open is CipherError or Damaged.
"""

import json
import os
import sys
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Protocol, TypeAlias

from attrs import frozen

from mailx.store import Txn
from mailx.store.messages import Sealer

JSON: TypeAlias = Any
Event = tuple[int, str, dict[str, JSON]]  # milliseconds since 1970, what happened, facts
Story = tuple[str, Collection[str], Sequence[Event]]  # of one envelope in one page: its id, further keys, events in order

SMALL = 32768  # octets of sealed events: smaller pages of past days are merged
_PURPOSE = b"timeline"
_LEVEL = 1  # of zlib: the lines are so alike that more hardly pays
_STORY_LIMIT = 65536  # characters of one story in a page; a longer one is trimmed
_TEXT_LIMIT = 500  # characters of a trimmed text
_ITEMS_LIMIT = 50  # items of a trimmed list
_PAGE_LIMIT = 1 << 28  # octets of events that a page may unpack to

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, default=str).encode


class Hasher(Protocol):
    """What finding needs of :class:`mailx.store.cipher.Cipher`."""

    def hash(self, purpose: bytes, scope: bytes, value: bytes) -> bytes: ...


class Cipher(Sealer, Hasher, Protocol):
    """What pages need of :class:`mailx.store.cipher.Cipher`."""


class Damaged(Exception):
    """A page opened and holds no events."""


class Changed(Exception):
    """Somebody else merged or dropped these pages meanwhile."""


@frozen
class Page:
    """A page ready to be stored."""

    day: int
    guid: bytes
    hashes: bytes
    events: bytes


@frozen
class Place:
    """Where a stored page is, and how large."""

    id: int
    day: int
    octets: int


def normal(key: str) -> str:
    """What two spellings of one queue id, address or Message-ID share."""
    return key.strip().removeprefix("<").removesuffix(">").lower()


def found_by(cipher: Hasher, key: str) -> int:
    """The beginning of the hash of ``key``, which must be normal."""
    return int.from_bytes(cipher.hash(_PURPOSE, b"", key.encode(errors="replace"))[:4], "little")


def sealed(cipher: Cipher, day: int, stories: Iterable[Story]) -> Page:
    """A page of ``stories``. Their keys must be normal. Never raises for what stands in the facts."""
    keys: set[str] = set()
    lines = []
    for id, more, events in stories:
        keys.add(id)
        keys.update(more)
        lines.append(_line(id, list(more), list(events)))
    numbers = array("I", sorted({found_by(cipher, key) for key in keys}))
    if sys.byteorder == "big":
        numbers.byteswap()
    guid = os.urandom(16)
    packed = zlib.compress("\n".join(lines).encode(errors="replace"), _LEVEL)
    return Page(day, guid, numbers.tobytes(), cipher.seal_bulk(_PURPOSE, guid, packed))


def opened(cipher: Sealer, guid: bytes, events: bytes) -> list[Story]:
    """The stories of a page; raises CipherError, Damaged."""
    try:
        unpacking = zlib.decompressobj()
        text = unpacking.decompress(cipher.open_bulk(_PURPOSE, guid, events), _PAGE_LIMIT)
        stories: list[Story] = []
        for line in text.decode().split("\n"):
            id, keys, noted = json.loads(line)
            stories.append((str(id), [str(key) for key in keys], [(int(at), str(event), dict(facts)) for at, event, facts in noted]))
        return stories
    except (zlib.error, ValueError, TypeError, RecursionError):
        raise Damaged("a page of the timelines holds no events") from None


def _line(id: str, keys: list[str], events: list[Event]) -> str:
    try:
        line = _encode((id, keys, events))
        if len(line) <= _STORY_LIMIT:
            return line
        return _encode((id, keys[:_ITEMS_LIMIT], [(at, event, _trimmed(facts)) for at, event, facts in events]))
    except (ValueError, TypeError, RecursionError):  # facts that are no JSON: what happened is told without them
        return _encode((id, keys, [(at, event, {}) for at, event, _ in events]))


def _trimmed(facts: dict[str, JSON]) -> dict[str, JSON]:
    return {name[:_TEXT_LIMIT]: _shorter(value) for name, value in list(facts.items())[:_ITEMS_LIMIT]}


def _shorter(value: JSON) -> JSON:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple):
        return [str(one)[:_TEXT_LIMIT] for one in value[:_ITEMS_LIMIT]]
    return str(value)[:_TEXT_LIMIT]


def add(txn: Txn, page: Page) -> None:
    """Store a page."""
    txn.execute("INSERT INTO timeline (day, guid, hashes, events) VALUES (?, ?, ?, ?)", (page.day, page.guid, page.hashes, page.events))


def scan(txn: Txn, wanted: Collection[int], before: int | None, limit: int) -> tuple[list[int], int | None]:
    """Which of the ``limit`` newest pages with ids below ``before`` are found by one of ``wanted``; where to go on, or None."""
    condition = "" if before is None else "WHERE id < ?"
    rows = txn.all(f"SELECT id, hashes FROM timeline {condition} ORDER BY id DESC LIMIT ?", (limit,) if before is None else (before, limit))
    found = [int(id) for id, hashes in rows if _holds(bytes(hashes), wanted)]
    return found, int(rows[-1][0]) if len(rows) == limit else None


def newest(txn: Txn, limit: int) -> list[int]:
    """The ids of the ``limit`` newest pages, the newest first."""
    return [int(id) for (id,) in txn.all("SELECT id FROM timeline ORDER BY id DESC LIMIT ?", (limit,))]


def _holds(hashes: bytes, wanted: Collection[int]) -> bool:
    numbers = array("I", hashes)
    if sys.byteorder == "big":
        numbers.byteswap()
    last = len(numbers)
    return any((place := bisect_left(numbers, number)) < last and numbers[place] == number for number in wanted)


def read(txn: Txn, id: int) -> tuple[bytes, bytes] | None:
    """Guid and sealed events of a page, None if it has gone."""
    row = txn.one("SELECT guid, events FROM timeline WHERE id = ?", (id,))
    return None if row is None else (bytes(row[0]), bytes(row[1]))


def after(txn: Txn, id: int, limit: int) -> list[tuple[int, bytes, bytes]]:
    """(id, guid, sealed events) of at most ``limit`` pages with ids above ``id``, the oldest first."""
    rows = txn.all("SELECT id, guid, events FROM timeline WHERE id > ? ORDER BY id LIMIT ?", (id, limit))
    return [(int(id), bytes(guid), bytes(events)) for id, guid, events in rows]


def rewrite(txn: Txn, id: int, guid: bytes, page: Page) -> bool:
    """Put ``page`` in the place of the one with this ``guid``, on the same day; False if that has gone or changed."""
    sql = "UPDATE timeline SET guid = ?, hashes = ?, events = ? WHERE id = ? AND guid = ?"
    return bool(txn.execute(sql, (page.guid, page.hashes, page.events, id, guid)))


def small(txn: Txn, first: int, last: int, limit: int) -> list[Place]:
    """At most ``limit`` small pages of the days from ``first`` to ``last``, by day and age."""
    rows = txn.all(
        "SELECT id, day, length(events) FROM timeline WHERE day BETWEEN ? AND ? AND length(events) < ? ORDER BY day, id LIMIT ?",
        (first, last, SMALL, limit),
    )
    return [Place(int(id), int(day), int(octets)) for id, day, octets in rows]


def replace(txn: Txn, ids: Sequence[int], page: Page) -> None:
    """Put ``page`` in the place of those it was merged from, which keeps the pages in their order; raises Changed."""
    *others, last = ids
    gone = txn.execute(f"DELETE FROM timeline WHERE id IN ({', '.join('?' * len(others))})", others)
    sql = "UPDATE timeline SET day = ?, guid = ?, hashes = ?, events = ? WHERE id = ?"
    if gone + txn.execute(sql, (page.day, page.guid, page.hashes, page.events, last)) != len(ids):
        raise Changed


def drop(txn: Txn, before: int, limit: int) -> int:
    """Drop at most ``limit`` pages of the days before ``before``; returns how many there were."""
    return txn.execute("DELETE FROM timeline WHERE id IN (SELECT id FROM timeline WHERE day < ? ORDER BY day LIMIT ?)", (before, limit))
