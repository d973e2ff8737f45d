"""Loading: contents are read from the store for the attempts that need them, into bounded memory; whoever finds no room waits.

Small ones find room although large ones, at servers that take them slowly, hold all that is theirs for long. Attempts that begin in
one turn of the reactor, as after a commit or an answer for many, share a reading.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred

from mailx.core.lanes import Budget
from mailx.core.shipments import Shipment
from mailx.mail.message import Message
from mailx.store import Store, contents
from mailx.store.blobs import BlobFile, Blobs
from mailx.store.cipher import Cipher, CipherError

_OCTETS = 67108864  # of contents read from the store that lie in memory
_LARGE = 1048576  # octets from which a content leaves an eighth of the room to smaller ones
_LARGE_SHARE = 0.875
_TOGETHER = 32  # contents that are read at once


class Loading:
    """Reads the contents of shipments."""

    def __init__(self, store: Store, cipher: Cipher, blobs: Blobs, reactor: Any) -> None:
        self._store = store
        self._cipher = cipher
        self._blobs = blobs
        self._reactor = reactor
        self.room = Budget(1 << 30, _OCTETS)
        self._waiting: list[Deferred[None]] = []
        self._asked: dict[int, list[Deferred[contents.Opened]]] = {}  # who waits for the next reading, by message

    async def load(self, shipment: Shipment, waits: bool = True) -> None:
        """Read the content, if it is not there; without ``waits`` even if there is no room. Raises Unavailable, CipherError."""
        if not shipment.message:
            return
        size = min(shipment.size, _OCTETS // 2)
        share = _LARGE_SHARE if size > _LARGE else 1.0
        while waits and not self.room.fits(size, share):
            waiter: Deferred[None] = Deferred()
            self._waiting.append(waiter)
            await waiter
        self.room.take(size)
        shipment.held.append(partial(self._give_back, size))
        opened = await self._opened(shipment.message)
        stored = opened.contents.get(shipment.message)
        if stored is None:
            raise CipherError("the content does not open" if opened.damaged else "the content is not there")
        eight_bit = shipment.envelope.message.eight_bit
        if stored.file is not None:
            message = Message(BlobFile(stored.file, stored.size, self._blobs), stored.size, eight_bit)
        elif stored.content is not None:
            message = Message(stored.content, stored.size, eight_bit)
        else:
            raise CipherError("the content is not there")
        shipment.envelope = evolve(shipment.envelope, message=message)
        shipment.message = 0

    async def _opened(self, message: int) -> contents.Opened:
        """A reading with the content of ``message``. Raises Unavailable."""
        if not self._asked:
            self._reactor.callLater(0, self._read)
        waiter: Deferred[contents.Opened] = Deferred()
        self._asked.setdefault(message, []).append(waiter)
        return await waiter

    def _read(self) -> None:
        asked, self._asked = self._asked, {}
        messages = list(asked)
        for start in range(0, len(messages), _TOGETHER):
            some = messages[start : start + _TOGETHER]
            waiters = [waiter for message in some for waiter in asked[message]]
            self._store.read(contents.opened, self._cipher, (), some).addBoth(_tell, waiters)

    def _give_back(self, size: int) -> None:
        self.room.give(size)
        waiters, self._waiting = self._waiting, []
        for waiter in waiters:
            self._reactor.callLater(0, waiter.callback, None)


def _tell(result: Any, waiters: "Sequence[Deferred[contents.Opened]]") -> None:
    for waiter in waiters:
        waiter.callback(result)  # a Failure, too
