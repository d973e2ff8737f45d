"""What this server has learnt of others and keeps over restarts for a while, with a bounded memory in front of the store.

Everything here can be learnt again, so failure is no disaster: ``get`` answers None while the store is away, and a value that
does not open is as good as none. What other nodes write is seen within ``FRESH_SECONDS``.
"""

import json
from collections.abc import Callable
from time import time
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailx.core.cache import Cache
from mailx.mail.reply import Unavailable
from mailx.store import Store, remembered
from mailx.store.cipher import Cipher, CipherError
from mailx.store.remembered import JSON

__all__ = ["JSON", "Remembered"]

log = Logger()

FRESH_SECONDS = 300.0
_SIZE = 20000  # values in memory
_LARGE = 8192  # characters of a value that is read from the store each time
_PRUNE_EVERY = 3600.0
_PRUNED = 1000  # rows a step
ALL_LIMIT = 100_000


class Remembered:
    """Values of JSON under a kind and a key. ``now`` gives seconds since 1970."""

    def __init__(self, store: Store, cipher: Cipher, now: Callable[[], float] = time) -> None:
        self._store = store
        self._cipher = cipher
        self._now = now
        self._cache: Cache[tuple[str, str], tuple[JSON, float]] = Cache(_SIZE, FRESH_SECONDS, now)
        self._changes = 0  # so that a read overtaken by a change is not kept
        self._prune_after = now() + _PRUNE_EVERY

    async def get(self, kind: str, key: str) -> JSON:
        """The value under ``key``, or None. Do not change it."""
        kept = self._cache.get((kind, key))
        if kept is not None:
            return kept[0] if kept[1] > self._now() else None
        changes = self._changes
        try:
            found = await self._store.read(remembered.get, self._cipher, kind, key, int(self._now()))
        except (Unavailable, CipherError):
            return None
        value, expires = found if found is not None else (None, float("inf"))
        if changes == self._changes:
            self._cache_put(kind, key, value, expires)
        return value

    async def put(self, kind: str, key: str, value: JSON, until: float) -> None:
        """Keep ``value`` until then (seconds since 1970). In memory it holds at once; raises Unavailable if it was not written."""
        self._changes += 1
        self._cache_put(kind, key, value, until)
        await self._store.write(remembered.put, self._cipher, kind, key, value, int(until))
        self._prune()

    async def change(self, kind: str, key: str, change: Callable[[JSON], JSON], until: float) -> JSON:
        """Put what ``change``, a pure function, makes of the value that is there; raises Unavailable."""
        value: JSON = await self._store.write(remembered.change, self._cipher, kind, key, change, int(until), int(self._now()))
        self._changes += 1
        self._cache_put(kind, key, value, until)
        self._prune()
        return value

    async def forget(self, kind: str, key: str) -> None:
        """Forget the value; raises Unavailable if it was not removed from the store."""
        self._changes += 1
        self._cache_put(kind, key, None, float("inf"))
        await self._store.write(remembered.forget, self._cipher, kind, key)

    async def all(self, kind: str) -> list[tuple[str, JSON]]:
        """Every (key, value) of ``kind``, at most ALL_LIMIT, by key; raises Unavailable."""
        found: list[tuple[str, JSON]] = await self._store.read(remembered.all, self._cipher, kind, int(self._now()), ALL_LIMIT)
        return found

    def _cache_put(self, kind: str, key: str, value: JSON, expires: float) -> None:
        if len(json.dumps(value)) > _LARGE:
            self._cache.pop((kind, key))
        else:
            self._cache.put((kind, key), (value, expires))

    def _prune(self) -> None:
        """Now and then remove what is past its time, behind the writes."""
        now = self._now()
        if now >= self._prune_after:
            self._prune_after = now + _PRUNE_EVERY
            Deferred.fromCoroutine(self._prune_all(int(now))).addErrback(self._not_pruned)

    async def _prune_all(self, now: int) -> None:
        while await self._store.write(remembered.prune, now, _PRUNED) == _PRUNED:
            pass

    def _not_pruned(self, failure: Failure) -> None:
        if failure.check(Unavailable) is None:
            log.failure("What is past its time was not removed", failure, event="remembered.failed")


def record(value: JSON) -> dict[str, Any]:
    """``value`` if it is a JSON object, else an empty one: for readers of what an older version may have written."""
    return value if isinstance(value, dict) else {}
