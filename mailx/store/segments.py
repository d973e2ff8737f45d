"""Segments of the search index in their database: jobs that read, add, merge and forget them.

The sealed octets are bound to their account and to a random guid of the segment. Those of a sealed account are sealed under its
vault key inside the server's own encryption. A value that does not open raises CipherError or Damaged: the index is to be rebuilt.
"""

import os
from array import array
from collections.abc import Collection, Sequence
from struct import pack

from attrs import frozen

from mailx.store import Txn
from mailx.store.erasing import erasing
from mailx.store.messages import Sealer, scope
from mailx.store.postings import STRETCH, Draft, Postings, Segment, Whole, merge, unpack_places, unpack_postings
from mailx.store.texts import Texts
from mailx.store.vault import Vault

_WORDS = b"index words"
_POSTINGS = b"index postings"
_PLACES = b"index places"
_TEXTS = b"index texts"


class Overtaken(Exception):
    """The index was changed meanwhile (another node, a rebuild): what was prepared is worthless."""


CLEARING = -1


@frozen
class State:
    """How far the index has come."""

    position: int  # every message up to this id was looked at; CLEARING: what there is must go first
    anchor: bytes  # guid of the last one indexed


@frozen
class Size:
    """How much there is."""

    segments: int
    documents: int
    octets: int


@frozen
class Place:
    """One stored segment without its octets."""

    id: int
    account: int
    last: int
    documents: int
    vault: bytes = b""  # as ``mark``; empty: no vault key seals it

    @property
    def stretch(self) -> int:
        return self.last // STRETCH


@frozen
class Sealed:
    """A segment to be stored."""

    account: int
    last: int
    documents: int
    guid: bytes
    words: bytes
    postings: bytes
    places: tuple[tuple[int, bytes], ...]  # each piece with the number of its first word
    texts: bytes
    vault: bytes


def mark(vault: Vault, account: int) -> bytes:
    """By which a segment of the account tells that it is sealed under this vault key, and under no other."""
    return vault.hash(b"index", scope(account), b"")


def opener(cipher: Sealer, vault: Vault | None, place: Place) -> Sealer | None:
    """What opens the segment at ``place``; None if that takes another key than that of ``vault``."""
    if not place.vault:
        return cipher
    return vault if vault is not None and mark(vault, place.account) == place.vault else None


def sealed(cipher: Sealer, account: int, last: int, draft: Draft, vault: bytes = b"") -> Sealed:
    """``draft``, whose last document has the number ``last``, ready to be stored. ``vault``: the mark of ``cipher``, if it is one."""
    guid = os.urandom(16)
    context = scope(account) + guid
    packed = draft.packed()
    return Sealed(
        account,
        last,
        len(draft.documents),
        guid,
        cipher.seal_bulk(_WORDS, context, packed.words),
        cipher.seal_bulk(_POSTINGS, context, packed.postings),
        tuple((first, cipher.seal_bulk(_PLACES, context + pack("<I", first), piece)) for first, piece in packed.places),
        cipher.seal_bulk(_TEXTS, context, packed.texts),
        vault,
    )


def state(txn: Txn) -> State:
    row = txn.one("SELECT position, anchor FROM index_state WHERE id = 1")
    assert row is not None, "a step of the schema makes it"
    return State(row[0], bytes(row[1]))


def size(txn: Txn) -> Size:
    octets = "length(words) + length(postings) + length(texts)"
    row = txn.one(f"SELECT count(*), coalesce(sum(documents), 0), coalesce(sum({octets}), 0) FROM index_segments")
    places = txn.one("SELECT coalesce(sum(length(places)), 0) FROM index_places")
    return Size(row[0], row[1], row[2] + places[0]) if row is not None and places is not None else Size(0, 0, 0)


def add(txn: Txn, before: State, after: State, segments: Sequence[Sealed]) -> None:
    """Store ``segments`` and move on from ``before`` to ``after``; raises Overtaken."""
    moved = txn.execute(
        "UPDATE index_state SET position = ?, anchor = ? WHERE id = 1 AND position = ?", (after.position, after.anchor, before.position)
    )
    if not moved:
        raise Overtaken
    insert(txn, segments)


def replace(txn: Txn, old: Collection[int], new: Sequence[Sealed]) -> None:
    """Exchange the segments ``old`` for ``new``; raises Overtaken."""
    if txn.execute(f"DELETE FROM index_segments WHERE id IN ({_marks(old)})", [*old]) != len(old):
        raise Overtaken
    insert(txn, new)


def condemn(txn: Txn) -> None:
    """Everything in the index is worthless: ``clear`` must follow, even if the program ends before it could."""
    txn.execute("UPDATE index_state SET position = ?, anchor = ? WHERE id = 1", (CLEARING, b""))
    txn.execute("DELETE FROM index_accounts")


def clear(txn: Txn, limit: int) -> bool:
    """Remove at most ``limit`` segments of a condemned index. True when it is empty and begins anew."""
    if state(txn).position != CLEARING:  # another node was faster
        return True
    if txn.execute("DELETE FROM index_segments WHERE id IN (SELECT id FROM index_segments LIMIT ?)", (limit,)) == limit:
        return False
    txn.execute("UPDATE index_state SET position = 0 WHERE id = 1")
    return True


def last_numbers(txn: Txn, accounts: Collection[int]) -> dict[int, int]:
    """The highest number of a document that each account has; accounts without any are left out."""
    sql = f"SELECT account_id, max(last) FROM index_segments WHERE account_id IN ({_marks(accounts)}) GROUP BY account_id"
    return dict(txn.all(sql, [*accounts]))


def places(txn: Txn, account: int) -> list[Place]:
    """The segments of an account, older ones first."""
    rows = txn.all("SELECT id, account_id, last, documents, vault FROM index_segments WHERE account_id = ? ORDER BY last", (account,))
    return [Place(id, account, last, documents, bytes(vault)) for id, account, last, documents, vault in rows]


def crowded(txn: Txn, accounts: Collection[int], least: int) -> list[int]:
    """Those of ``accounts`` that have ``least`` segments or more."""
    sql = f"SELECT account_id FROM index_segments WHERE account_id IN ({_marks(accounts)}) GROUP BY account_id HAVING count(*) >= ?"
    return sorted(account for (account,) in txn.all(sql, [*accounts, least]))


def forget(txn: Txn, account: int, limit: int) -> list[int]:
    """Remove at most ``limit`` segments of an account for good, and how far it was followed; the ids of the segments."""
    txn.execute("DELETE FROM index_accounts WHERE account_id = ?", (account,))
    rows = txn.all("SELECT id FROM index_segments WHERE account_id = ? LIMIT ?", (account, limit))
    with erasing(txn):
        for row in rows:
            txn.execute("DELETE FROM index_segments WHERE id = ?", row)
    return [id for (id,) in rows]


def accounts(txn: Txn, after: int, limit: int) -> list[int]:
    """At most ``limit`` accounts above ``after`` that have segments, rising."""
    rows = txn.all("SELECT DISTINCT account_id FROM index_segments WHERE account_id > ? ORDER BY account_id LIMIT ?", (after, limit))
    return [account for (account,) in rows]


def open_words(txn: Txn, cipher: Sealer, segment_id: int) -> Segment | None:
    """One segment opened; None when it is not there any more. Raises CipherError, Damaged."""
    row = txn.one("SELECT account_id, guid, words FROM index_segments WHERE id = ?", (segment_id,))
    return None if row is None else Segment(cipher.open_bulk(_WORDS, scope(row[0]) + bytes(row[1]), bytes(row[2])))


def open_postings(txn: Txn, cipher: Sealer, segment_id: int) -> Postings:
    """The postings of one segment; raises CipherError, Damaged, Overtaken."""
    row = txn.one("SELECT account_id, guid, postings FROM index_segments WHERE id = ?", (segment_id,))
    if row is None:
        raise Overtaken
    return unpack_postings(cipher.open_bulk(_POSTINGS, scope(row[0]) + bytes(row[1]), bytes(row[2])))


def open_texts(txn: Txn, cipher: Sealer, segment_id: int) -> Texts:
    """The texts of one segment; raises CipherError, Damaged, Overtaken."""
    row = txn.one("SELECT account_id, guid, texts FROM index_segments WHERE id = ?", (segment_id,))
    if row is None:
        raise Overtaken
    return Texts(cipher.open_bulk(_TEXTS, scope(row[0]) + bytes(row[1]), bytes(row[2])))


def open_places(txn: Txn, cipher: Sealer, segment_id: int, word: int) -> "tuple[int, array[int]]":
    """The piece of places that has those of a common word, and its first word; raises CipherError, Damaged, Overtaken."""
    row = txn.one(
        "SELECT s.account_id, s.guid, p.first, p.places FROM index_segments s JOIN index_places p ON p.guid = s.guid"
        " WHERE s.id = ? AND p.first <= ? ORDER BY p.first DESC LIMIT 1",
        (segment_id, word),
    )
    if row is None:
        raise Overtaken
    return row[2], unpack_places(cipher.open_bulk(_PLACES, scope(row[0]) + bytes(row[1]) + pack("<I", row[2]), bytes(row[3])))


def opened(txn: Txn, cipher: Sealer, ids: Sequence[int]) -> list[Whole]:
    """Whole segments for merging; raises CipherError, Damaged, Overtaken."""
    found: list[Whole] = []
    for id in ids:
        segment = open_words(txn, cipher, id)
        if segment is None:
            raise Overtaken
        rows = txn.all(
            "SELECT s.account_id, s.guid, p.first, p.places FROM index_segments s JOIN index_places p ON p.guid = s.guid"
            " WHERE s.id = ? ORDER BY p.first",
            (id,),
        )
        pieces = [
            cipher.open_bulk(_PLACES, scope(account) + bytes(guid) + pack("<I", first), bytes(places))
            for account, guid, first, places in rows
        ]
        if not pieces:
            raise Overtaken
        found.append((segment, open_postings(txn, cipher, id), b"".join(pieces[:-1]), pieces[-1], open_texts(txn, cipher, id)))
    return found


def merged(cipher: Sealer, places: Sequence[Place], parts: Sequence[Whole], gone: Collection[int]) -> Sealed | None:
    """One segment for all of ``parts``, which are at ``places``, without the messages ``gone``; None when no document is left."""
    draft = merge(parts, gone)
    last = max(place.last for place in places)
    return sealed(cipher, places[0].account, last, draft, places[0].vault) if draft.documents else None


def insert(txn: Txn, segments: Sequence[Sealed]) -> None:
    """Store ``segments``."""
    rows = [(one.account, one.last, one.documents, one.guid, one.words, one.postings, one.texts, one.vault) for one in segments]
    if rows:
        txn.insert_many("INSERT INTO index_segments (account_id, last, documents, guid, words, postings, texts, vault) VALUES ?", rows)
        pieces = [(one.guid, first, piece) for one in segments for first, piece in one.places]
        txn.insert_many("INSERT INTO index_places (guid, first, places) VALUES ?", pieces)


def _marks(values: Collection[int]) -> str:
    return ", ".join("?" * len(values))
