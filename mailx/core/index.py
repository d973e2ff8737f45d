"""Searching with the index: which messages of an account surely have what is looked for, and which surely lack it, without opening any.

Messages that it does not know are looked at, and so are those whose words fit but do not prove it. When the index fails,
everything is looked at. It is fed by :mod:`mailx.core.indexer`. Segments of a sealed account open while its owner is here, and are
forgotten with its keys.
"""

from array import array
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from functools import partial
from itertools import chain
from threading import Lock
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from mailx.core.arrangement import Arrangement, arranged
from mailx.core.lookup import About, Lookup, Ranking, Shelf
from mailx.mail.reply import Unavailable
from mailx.store import Store, Txn, segments
from mailx.store.cipher import CipherError
from mailx.store.postings import Postings, Segment
from mailx.store.segments import Overtaken, Place
from mailx.store.texts import Damaged, Texts

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from mailx.core.keyring import Keyring
    from mailx.store.cipher import Cipher
    from mailx.store.vault import Vault

log = Logger()

_CACHE = 192 * 1024 * 1024  # octets of opened segments kept
_DROPPED = 50  # segments removed by one job
_ANSWER = 3000  # octets that what was found in a segment takes beside its marks, with what was looked for
_FEW = 16  # documents of a segment, one in so many: fewer are marked one by one

_Key = tuple[int, int, Hashable]  # account, segment or mailbox, what of it
Marks = tuple[bytes, bytes]  # of each document of a segment: 1 if it has it, 1 if it is to be looked at
Found = tuple[list[int], list[int]]  # indexes of messages that have it, and of those that are to be looked at; rising


class Index:
    """Searches the index in ``store``, which holds nothing else or shares the database of mail."""

    def __init__(self, store: Store, cipher: "Cipher", keyring: "Keyring | None" = None) -> None:
        """``keyring`` has the keys of sealed accounts whose owners are here."""
        self._store = store
        self._cipher = cipher
        self.keyring = keyring
        self.opened = Opened(_CACHE)
        self.trusted = False  # until the indexer has seen that it is one of this database
        self.damaged: Callable[[], Any] = lambda: None  # called when a segment does not open
        self.turned: Callable[[int], Any] = lambda account: None  # to be called when the mail of an account was sealed, or opened
        if keyring is not None:
            keyring.on_close(self.opened.close)

    async def found(self, account: int, mailbox: int, ids: "array[int]", lookup: Lookup, owner: bool = True) -> Found | None:
        """Which of the messages ``ids`` of a mailbox of ``account`` have it, and which may; None: nothing is known.

        Not the ``owner``: a guest asks, who is to feel nothing of what the owner looked for.
        """
        found: Found | None = await self._reading(account, partial(self._found, mailbox, ids, owner), lookup, None)
        return found

    async def scores(self, account: int, about: About) -> dict[int, float]:
        """How much messages of ``account`` are about words, by id; those that are left out are not, or were not indexed."""
        found: dict[int, float] = await self._reading(account, self._scores, about, {})
        return found

    async def _reading(self, account: int, job: Callable[..., Any], lookup: Any, otherwise: Any) -> Any:
        """What ``job`` finds in the segments; ``otherwise`` when they cannot be read."""
        if not self.trusted:
            return otherwise
        vault = self.vault(account)
        try:
            return await self._store.read(job, account, lookup, vault)
        except (CipherError, Damaged) as error:
            log.error("The search index is damaged: {reason}", event="index.damaged", reason=str(error))
            self.damaged()
        except (Unavailable, Overtaken):
            pass  # the store has said why in the log
        finally:
            if vault is not None and self.vault(account) is not vault:
                self.opened.close(account)  # what a thread has opened since the keys were forgotten
        return otherwise

    def vault(self, account: int) -> "Vault | None":
        """What opens the segments of a sealed account; None: its owner is not here, or it is none."""
        return None if self.keyring is None else self.keyring.vault(account)

    async def drop(self, account: int) -> None:
        """Forget everything of an account: searches look into its mail. Raises Unavailable."""
        while await self._store.write(segments.forget, account, _DROPPED):
            pass
        self.opened.close(account)

    def _found(self, mailbox: int, ids: "array[int]", owner: bool, txn: Txn, account: int, lookup: Lookup, vault: "Vault | None") -> Found:
        """Runs in a reader's thread."""
        there = array("q")
        has, unsure = bytearray(), bytearray()
        for place, shelf in self._shelves(txn, account, vault):
            told = self.opened.marks(place, lookup, shelf) if owner and lookup.dear else _marks(lookup, shelf)
            has += told[0]
            unsure += told[1]
            there += shelf.segment.ids
        arrangement = self.opened.arrangement(account, mailbox, ids, there)
        doubtful = [*arrangement.unknown]
        if 1 in unsure:
            doubtful = sorted([*doubtful, *arrangement.marked(unsure)])
        return arrangement.marked(has), doubtful

    def _scores(self, txn: Txn, account: int, about: About, vault: "Vault | None") -> dict[int, float]:
        """Runs in a reader's thread."""
        shelves = [shelf for _, shelf in self._shelves(txn, account, vault)]
        lengths = chain.from_iterable(zip(shelf.segment.ids, shelf.segment.lengths, strict=True) for shelf in shelves)
        counted = [length for id, length in lengths if about.among is None or id in about.among]
        length = sum(counted) / len(counted) if counted else 1.0
        scores: dict[int, float] = {}
        for shelf in shelves:
            ids = dict(zip(shelf.segment.numbers, shelf.segment.ids, strict=True))
            for number, score in Ranking(about, max(length, 1.0)).scores(shelf).items():
                scores[ids[number]] = score
        return scores

    def _shelves(self, txn: Txn, account: int, vault: "Vault | None") -> Iterator[tuple[Place, Shelf]]:
        """The segments of an account that open, with what reads their other parts."""
        for place in segments.places(txn, account):
            sealer = segments.opener(self._cipher, vault, place)
            if sealer is None:
                continue
            segment = self.opened.words(place, partial(segments.open_words, txn, sealer, place.id))
            if segment is not None:
                postings = partial(self.opened.postings, place, partial(segments.open_postings, txn, sealer, place.id))
                texts = partial(self.opened.texts, place, partial(segments.open_texts, txn, sealer, place.id))
                yield place, Shelf(segment, postings, partial(segments.open_places, txn, sealer, place.id), texts)


def _marks(lookup: Lookup, shelf: Shelf) -> Marks:
    """What is found in a segment."""
    has, unsure = lookup.find(shelf)
    return _marked(shelf.segment.numbers, has), _marked(shelf.segment.numbers, unsure)


def _marked(numbers: "array[int]", some: "AbstractSet[int]") -> bytes:
    """A mark for each of ``numbers``, the documents of a segment: 1 for ``some`` of them, else 0."""
    if len(some) * _FEW >= len(numbers):
        return bytes(map(some.__contains__, numbers))
    marks = bytearray(len(numbers))
    for number in some:
        marks[bisect_left(numbers, number)] = 1
    return bytes(marks)


class Opened:
    """Opened segments, the least recently used forgotten first. May be used from any thread."""

    def __init__(self, limit: int) -> None:
        """At most ``limit`` octets are kept."""
        self._limit = limit
        self._octets = 0
        self._held: OrderedDict[_Key, tuple[Any, int]] = OrderedDict()
        self._lock = Lock()

    def close(self, account: int) -> None:
        """Keep nothing of an account."""
        with self._lock:
            for key in [key for key in self._held if key[0] == account]:
                self._octets -= self._held.pop(key)[1]

    @property
    def octets(self) -> int:
        """What is kept, about."""
        return self._octets

    def words(self, place: Place, read: Callable[[], Segment | None]) -> Segment | None:
        segment: Segment | None = self._get((place.account, place.id, "words"))
        if segment is None:
            segment = read()
            if segment is not None:
                self._put((place.account, place.id, "words"), segment, segment.octets)
        return segment

    def postings(self, place: Place, read: Callable[[], Postings]) -> Postings:
        postings: Postings | None = self._get((place.account, place.id, "postings"))
        if postings is None:
            postings = read()
            self._put((place.account, place.id, "postings"), postings, 3 * len(postings[1]))
        return postings

    def texts(self, place: Place, read: Callable[[], Texts]) -> Texts:
        texts: Texts | None = self._get((place.account, place.id, "texts"))
        if texts is None:
            texts = read()
            self._put((place.account, place.id, "texts"), texts, texts.octets)
        return texts

    def marks(self, place: Place, lookup: Lookup, shelf: Shelf) -> Marks:
        """What is found in a segment, which never changes."""
        key = place.account, place.id, lookup
        marks: Marks | None = self._get(key)
        if marks is None:
            marks = _marks(lookup, shelf)
            self._put(key, marks, 2 * len(marks[0]) + _ANSWER)
        return marks

    def arrangement(self, account: int, mailbox: int, ids: "array[int]", there: "array[int]") -> Arrangement:
        """Of a mailbox and the documents of its account. Kept until one of them changes."""
        key = account, mailbox, "arrangement"
        known: Arrangement | None = self._get(key)
        if known is not None and known.fits(ids, there):
            return known
        made = arranged(ids, there)
        self._drop(key)
        self._put(key, made, made.octets)
        return made

    def _drop(self, key: _Key) -> None:
        with self._lock:
            if key in self._held:
                self._octets -= self._held.pop(key)[1]

    def _get(self, key: _Key) -> Any:
        with self._lock:
            held = self._held.get(key)
            if held is None:
                return None
            self._held.move_to_end(key)
            return held[0]

    def _put(self, key: _Key, value: Any, octets: int) -> None:
        with self._lock:
            if key in self._held:
                return
            self._held[key] = value, octets
            self._octets += octets
            while self._octets > self._limit and self._held:
                _, (_, freed) = self._held.popitem(last=False)
                self._octets -= freed
