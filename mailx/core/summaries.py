"""Opened summaries in memory, bounded in octets: the least recently used go first."""

from collections import OrderedDict
from collections.abc import Iterable

from mailx.mail.summary import Summary

CAPACITY = 24 * 1024 * 1024  # octets; ten thousand messages of the usual kind
_OVERHEAD = 350  # octets of a summary's objects beside its data


class Summaries:
    """(guid, summary) by message id. A message never changes, so nothing here is ever out of date."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._size = 0
        self._held: OrderedDict[int, tuple[bytes, Summary, int]] = OrderedDict()

    def get_all(self, message_ids: Iterable[int]) -> dict[int, tuple[bytes, Summary]]:
        """Those of the messages that are here."""
        found = {}
        held = self._held
        for id in message_ids:
            one = held.get(id)
            if one is not None:
                held.move_to_end(id)
                found[id] = one[0], one[1]
        return found

    def put(self, message_id: int, guid: bytes, data: bytes) -> Summary:
        summary = Summary(data)
        size = len(data) + _OVERHEAD
        if message_id in self._held:
            self._size -= self._held[message_id][2]
        self._held[message_id] = (guid, summary, size)
        self._size += size
        while self._size > self._capacity and len(self._held) > 1:
            _, (_, _, size) = self._held.popitem(last=False)
            self._size -= size
        return summary
