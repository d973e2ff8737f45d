"""Searching with the index: which messages of an account surely lack a search string, without opening any.

The index names what need not be looked at, and nothing else: messages that it does not know are looked at, and so are
those whose words fit. When the index fails, everything is looked at. It is fed by :mod:`mailx.core.indexer`.
"""

from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterable
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.logger import Logger

from mailx.mail.reply import Unavailable
from mailx.mail.words import patterns
from mailx.store import Store, Txn, segments
from mailx.store.cipher import CipherError
from mailx.store.postings import Damaged, Segment
from mailx.store.segments import Overtaken

if TYPE_CHECKING:
    from mailx.store.cipher import Cipher

log = Logger()

_CACHE = 32 * 1024 * 1024  # octets of opened segments kept
_DROPPED = 50  # segments removed by one job

T = TypeVar("T")


class Index:
    """Searches the index in ``store``, which holds nothing else or shares the database of mail."""

    def __init__(self, store: Store, cipher: "Cipher") -> None:
        self._store = store
        self._cipher = cipher
        self.opened = Opened(_CACHE)
        self.trusted = False  # until the indexer has seen that it is one of this database
        self.damaged: Callable[[], Any] = lambda: None  # called when a segment does not open

    async def without(self, account: int, needle: str) -> set[int]:
        """Ids of messages of ``account`` that do not contain ``needle`` (folded); never all, as some may not be indexed yet."""
        wanted = patterns(needle)
        if not wanted or not self.trusted:
            return set()
        try:
            lacking: set[int] = await self._store.read(self._without, account, wanted)
        except (CipherError, Damaged) as error:
            log.error("The search index is damaged: {reason}", event="index.damaged", reason=str(error))
            self.damaged()
        except (Unavailable, Overtaken):
            pass  # the store has said why in the log
        else:
            return lacking
        return set()

    async def drop(self, account: int) -> None:
        """Forget everything of an account: its mail is sealed, and searches look into it. Raises Unavailable."""
        while ids := await self._store.write(segments.forget, account, _DROPPED):
            self.opened.forget(ids)

    def _without(self, txn: Txn, account: int, wanted: tuple[bytes, ...]) -> set[int]:
        """Runs in a reader's thread."""
        lacking: set[int] = set()
        for place in segments.places(txn, account):
            segment = self.opened.words(place.id, partial(segments.open_words, txn, self._cipher, place.id))
            if segment is not None:
                postings = partial(segments.open_postings, txn, self._cipher, place.id)
                lacking.update(segment.without(wanted, partial(self.opened.postings, place.id, postings)))
        return lacking


class Opened:
    """Opened segments by id, the least recently used forgotten first. May be used from any thread."""

    def __init__(self, limit: int) -> None:
        """At most ``limit`` octets are kept."""
        self._limit = limit
        self._octets = 0
        self._held: OrderedDict[tuple[int, str], tuple[Any, int]] = OrderedDict()
        self._lock = Lock()

    def forget(self, ids: Iterable[int]) -> None:
        """Keep nothing of these segments."""
        with self._lock:
            for key in [(id, kind) for id in ids for kind in ("words", "postings")]:
                held = self._held.pop(key, None)
                if held is not None:
                    self._octets -= held[1]

    @property
    def octets(self) -> int:
        """What is kept, about."""
        return self._octets

    def words(self, id: int, read: Callable[[], Segment | None]) -> Segment | None:
        segment: Segment | None = self._get((id, "words"))
        if segment is None:
            segment = read()
            if segment is not None:
                self._put((id, "words"), segment, segment.octets)
        return segment

    def postings(self, id: int, read: "Callable[[], array[int]]") -> "array[int]":
        postings: array[int] | None = self._get((id, "postings"))
        if postings is None:
            postings = read()
            self._put((id, "postings"), postings, 2 * len(postings))
        return postings

    def _get(self, key: tuple[int, str]) -> Any:
        with self._lock:
            held = self._held.get(key)
            if held is None:
                return None
            self._held.move_to_end(key)
            return held[0]

    def _put(self, key: tuple[int, str], value: Any, octets: int) -> None:
        with self._lock:
            if key in self._held:
                return
            self._held[key] = value, octets
            self._octets += octets
            while self._octets > self._limit and self._held:
                _, (_, freed) = self._held.popitem(last=False)
                self._octets -= freed
