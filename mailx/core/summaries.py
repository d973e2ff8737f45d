"""Packed summaries in memory, bounded in octets: the least recently used go first.

They are held as octets and not as objects: twenty thousand more objects would make every full garbage collection
some milliseconds longer, and that is a pause for everybody.
"""

import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence

_LEAST = 24 * 1024 * 1024  # octets; ten thousand messages of the usual kind
_MOST = 256 * 1024 * 1024  # a hundred thousand, of which mail programs show lists as quickly then
_SHARE = 32  # of the machine's memory that they may take is one part in so many
CAPACITY = min(_MOST, max(_LEAST, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // _SHARE))
_OVERHEAD = 250  # octets that one message takes beside its summary


class Summaries:
    """Summary and guid by message id. A message never changes, so nothing here is ever out of date."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._size = 0
        self._held: OrderedDict[int, bytes] = OrderedDict()
        self._guids: dict[int, bytes] = {}

    def get_all(self, message_ids: Sequence[int]) -> list[bytes | None]:
        """The packed summary of each message, None where it is not here."""
        held = self._held
        found = [held.get(id) for id in message_ids]
        touch = held.move_to_end
        for id, one in zip(message_ids, found, strict=True):
            if one is not None:
                touch(id)
        return found

    def guid(self, message_id: int) -> bytes:
        """The guid of a message whose summary is here; else nothing."""
        return self._guids.get(message_id, b"")

    def put_all(self, read: Mapping[int, tuple[bytes, bytes]]) -> None:
        """Keep (guid, summary) by message id."""
        for id, (guid, data) in read.items():
            self.put(id, guid, data)

    def put(self, message_id: int, guid: bytes, data: bytes) -> None:
        replaced = self._held.pop(message_id, None)
        if replaced is not None:
            self._size -= len(replaced) + _OVERHEAD
        self._held[message_id] = data
        self._guids[message_id] = guid
        self._size += len(data) + _OVERHEAD
        while self._size > self._capacity and len(self._held) > 1:
            oldest, dropped = self._held.popitem(last=False)
            del self._guids[oldest]
            self._size -= len(dropped) + _OVERHEAD
