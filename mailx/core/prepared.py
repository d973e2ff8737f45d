"""Texts made of batches of messages, kept to be given again: most of the response when a mail program reads a whole list once more.

A message never changes, so a text of some messages stays true; what changes is put into it each time. Bounded in octets. What goes is
chosen at random: of a mailbox that is larger than the room, whoever reads it from end to end would find nothing of it if the
oldest went.
"""

import os
import random
from collections.abc import Hashable

_LEAST = 16 * 1024 * 1024  # octets
_MOST = 160 * 1024 * 1024  # two lists of a hundred thousand messages each
_SHARE = 64  # of the machine's memory that they may take is one part in so many
CAPACITY = min(_MOST, max(_LEAST, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // _SHARE))
_OVERHEAD = 400  # octets that a text takes beside itself, with a key of two numbers


class Prepared:
    """Texts by what they are of."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._held: dict[Hashable, bytes] = {}
        self._sizes: dict[Hashable, int] = {}
        self._order: list[Hashable] = []
        self.octets = 0  # that it takes, about

    def get(self, key: Hashable) -> bytes | None:
        return self._held.get(key)

    def put(self, key: Hashable, text: bytes, besides: int = 0) -> None:
        """Keep ``text``; ``besides`` are octets of ``key``."""
        size = len(text) + besides + _OVERHEAD
        if key in self._held or size > self._capacity:
            return
        while self.octets + size > self._capacity:
            self._drop(random.randrange(len(self._order)))
        self._held[key] = text
        self._sizes[key] = size
        self._order.append(key)
        self.octets += size

    def _drop(self, place: int) -> None:
        order = self._order
        order[place], order[-1] = order[-1], order[place]
        key = order.pop()
        del self._held[key]
        self.octets -= self._sizes.pop(key)
