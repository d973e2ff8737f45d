"""The bytes a client sent and nobody has read yet: bounded, in lines and in literal-sized pieces.

Reading waits; when the connection is gone, or a deadline passed, whatever waits ends with ``Hangup``. More than
``HIGH_WATER`` octets unread stop the transport until half of them are read.
"""

from collections.abc import Callable

from twisted.internet.defer import Deferred

HIGH_WATER = 131072
_TAIL = 40  # octets kept of an over-long line: enough to see the literal it may end in


class Hangup(Exception):
    """There is nobody to read from any more."""


class LongLine(Exception):
    """A line was longer than allowed; ``tail`` is its end, the rest is dropped. It was read to its end."""

    def __init__(self, head: bytes, tail: bytes) -> None:
        super().__init__()
        self.head = head
        self.tail = tail


class BareLine(Exception):
    """A line ended in LF without CR, or held a CR elsewhere; it was read to its end."""

    def __init__(self, line: bytes) -> None:
        super().__init__()
        self.line = line


class Input:
    """What arrives, for one reader."""

    def __init__(self, stop: Callable[[], object], go_on: Callable[[], object], waits: Callable[[], object]) -> None:
        """``stop`` and ``go_on`` act on the transport; ``waits`` is told each time a reader has to wait."""
        self._stop = stop
        self._go_on = go_on
        self._waits = waits
        self._buffer = bytearray()
        self._waiting: Deferred[None] | None = None
        self._stopped = False
        self._closed = False

    @property
    def pending(self) -> bool:
        """Whether octets lie unread."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> None:
        if self._closed:
            return
        self._buffer += data
        if len(self._buffer) > HIGH_WATER and not self._stopped:
            self._stopped = True
            self._stop()
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    def close(self) -> None:
        """Nothing more is read: what waits, or will wait, ends with Hangup."""
        self._closed = True
        self._buffer.clear()
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.errback(Hangup())

    def clear(self) -> None:
        """Forget what is unread (RFC 9051 6.2.1, RFC 2595 4: nothing sent before the TLS handshake counts after it)."""
        self._buffer.clear()
        self._taken()

    def behind(self, stop: Callable[[], object], go_on: Callable[[], object]) -> None:
        """What comes from here on comes through something that ``stop`` and ``go_on`` act on."""
        self._stop = stop
        self._go_on = go_on
        self._stopped = False

    def taken_back(self) -> bytes:
        """What is unread, which somebody else is to make sense of first."""
        unread = bytes(self._buffer)
        self._buffer.clear()
        return unread

    async def more(self) -> None:
        """Wait until something unread arrives beyond what is there."""
        if self._closed:
            raise Hangup
        self._waits()
        waiting: Deferred[None] = Deferred()
        self._waiting = waiting
        if self._stopped:
            self._stopped = False
            self._go_on()
        await waiting

    async def wait(self) -> None:
        """Wait until something lies unread."""
        while not self._buffer:
            await self.more()

    async def line(self, limit: int) -> bytes:
        """The next line without its CRLF; raises LongLine or BareLine when that line has been read."""
        if self._closed:
            raise Hangup
        buffer = self._buffer
        scanned = 0
        while (end := buffer.find(b"\n", scanned)) < 0:
            if len(buffer) > limit + 1:
                await self._long(limit)
            scanned = len(buffer)
            await self.more()
        if end > limit + 1:
            await self._long(limit)
        line = bytes(buffer[:end])
        del buffer[: end + 1]
        self._taken()
        if not line.endswith(b"\r") or line.find(b"\r") != len(line) - 1:
            raise BareLine(line)
        return line[:-1]

    async def _long(self, limit: int) -> None:
        buffer = self._buffer
        head = bytes(buffer[:limit])
        tail = b""
        while (end := buffer.find(b"\n")) < 0:
            tail = (tail + bytes(buffer[-_TAIL:]))[-_TAIL:]
            buffer.clear()
            self._taken()
            await self.more()
        tail = (tail + bytes(buffer[max(0, end - _TAIL) : end]))[-_TAIL:]
        del buffer[: end + 1]
        self._taken()
        raise LongLine(head, tail.removesuffix(b"\r"))

    async def some(self, limit: int) -> bytes:
        """Between 1 and ``limit`` octets, as many as there are."""
        await self.wait()
        buffer = self._buffer
        piece = bytes(buffer[:limit])
        del buffer[:limit]
        self._taken()
        return piece

    async def exactly(self, size: int) -> bytes:
        """``size`` octets, which the caller has found small enough to hold."""
        while len(self._buffer) < size:
            await self.more()
        piece = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._taken()
        return piece

    async def skip(self, size: int) -> None:
        """Drop ``size`` octets."""
        while size:
            size -= len(await self.some(size))

    def _taken(self) -> None:
        if self._stopped and len(self._buffer) <= HIGH_WATER // 2 and not self._closed:
            self._stopped = False
            self._go_on()
