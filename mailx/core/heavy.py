"""Work that takes much memory while it lasts: one piece at a time for each account, and few altogether.

Whoever has many sessions waits behind them; others do not.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from twisted.internet.defer import DeferredLock, DeferredSemaphore

MOST = 4  # pieces at a time
LIGHT = 2000  # messages that are no heavy work


class Heavy:
    """The turns of one process."""

    def __init__(self, most: int = MOST) -> None:
        self._all = DeferredSemaphore(most)
        self._each: dict[int, DeferredLock] = {}

    @asynccontextmanager
    async def turn(self, account: int, messages: int) -> AsyncIterator[None]:
        """Wait for the turn of work on so many ``messages`` for an account; the block is the work."""
        if messages <= LIGHT:
            yield
            return
        own = self._each.setdefault(account, DeferredLock())
        await own.acquire()
        try:
            await self._all.acquire()
            try:
                yield
            finally:
                self._all.release()
        finally:
            own.release()
            if not own.locked:
                self._each.pop(account, None)
