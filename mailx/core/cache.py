"""Bounded memory: what was looked up, kept for a while and never more than so much of it."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Cache(Generic[K, V]):
    """At most ``size`` values; each is forgotten ``seconds`` after it was put, the least used first when there are too many.

    ``now`` gives the time in seconds (``IReactorTime.seconds``).
    """

    __slots__ = ("_entries", "_now", "_seconds", "_size")

    def __init__(self, size: int, seconds: float, now: Callable[[], float]) -> None:
        self._size = size
        self._seconds = seconds
        self._now = now
        self._entries: OrderedDict[K, tuple[float, V]] = OrderedDict()

    def get(self, key: K) -> V | None:
        """The value put under ``key``, or None."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry[0] <= self._now():
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        return entry[1]

    def put(self, key: K, value: V) -> None:
        """Keep ``value`` from now on."""
        self._entries[key] = (self._now() + self._seconds, value)
        self._entries.move_to_end(key)
        if len(self._entries) > self._size:
            self._entries.popitem(last=False)

    def replace(self, key: K, value: V) -> None:
        """Change the value under ``key`` without making it live longer; nothing if it is not there."""
        entry = self._entries.get(key)
        if entry is not None:
            self._entries[key] = (entry[0], value)

    def pop(self, key: K) -> None:
        """Forget ``key``."""
        self._entries.pop(key, None)

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()

    @property
    def full(self) -> bool:
        """Whether another value would push one out that still holds."""
        now = self._now()
        return len(self._entries) >= self._size and all(until > now for until, _ in self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)
