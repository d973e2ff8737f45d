"""Opened summaries in memory, bounded in octets: the least recently used go first."""

from collections import OrderedDict
from collections.abc import Sequence

from mailx.mail.summary import Summary

CAPACITY = 24 * 1024 * 1024  # octets; ten thousand messages of the usual kind
_OVERHEAD = 350  # octets of a summary's objects beside its data


class Summaries:
    """(guid, summary) by message id. A message never changes, so nothing here is ever out of date."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._size = 0
        self._held: OrderedDict[int, tuple[bytes, Summary]] = OrderedDict()

    def get_all(self, message_ids: Sequence[int]) -> list[tuple[bytes, Summary] | None]:
        """(guid, summary) of each message, None where it is not here."""
        held = self._held
        found = [held.get(id) for id in message_ids]
        touch = held.move_to_end
        for id, one in zip(message_ids, found, strict=True):
            if one is not None:
                touch(id)
        return found

    def put(self, message_id: int, guid: bytes, data: bytes) -> Summary:
        summary = Summary(data)
        size = len(data) + _OVERHEAD
        replaced = self._held.pop(message_id, None)
        if replaced is not None:
            self._size -= replaced[1].size + _OVERHEAD
        self._held[message_id] = guid, summary
        self._size += size
        while self._size > self._capacity and len(self._held) > 1:
            _, (_, oldest) = self._held.popitem(last=False)
            self._size -= oldest.size + _OVERHEAD
        return summary
