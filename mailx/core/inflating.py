"""What a client sends compressed (RFC 4978), opened no faster than it is read: a few octets may stand for megabytes.

At most ``TURN`` octets are opened in one turn of the reactor, and none while the reader has more than it may hold; the socket is
not read meanwhile. Data that is no DEFLATE, or that ends, is reported once and nothing is read after it.
"""

import zlib
from collections.abc import Callable
from typing import Any

from mailx.core.input import Input

TURN = 65536  # octets opened in one go


class Inflating:
    """Stands between a transport and ``source``."""

    def __init__(
        self, source: Input, stop: Callable[[], object], go_on: Callable[[], object], reactor: Any, broken: Callable[[], object]
    ) -> None:
        """``stop`` and ``go_on`` act on the transport; ``broken`` is told of data that is no DEFLATE."""
        self._source = source
        self._stop = stop
        self._go_on = go_on
        self._reactor = reactor
        self._broken = broken
        self._inflate: Any = zlib.decompressobj(-zlib.MAX_WBITS)
        self._tail = b""  # octets not opened yet
        self._more = False  # something may be left to open
        self._full = False  # the reader takes no more now
        self._turn: Any = None
        self._closed = False
        source.behind(self._pause, self._resume)

    def feed(self, data: bytes) -> None:
        if self._closed:
            return
        self._tail += data
        self._more = True
        if self._turn is None and not self._full:
            self._open()

    def close(self) -> None:
        """Open nothing more. May be called again."""
        self._closed = True
        self._tail = b""
        self._inflate = None  # much memory, and this object may lie around until garbage is collected
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.cancel()

    def _open(self) -> None:
        """One portion; what is left waits for the reactor's next turn."""
        self._turn = None
        try:
            opened = self._inflate.decompress(self._tail, TURN)
        except zlib.error:
            self._fail()
            return
        self._tail = self._inflate.unconsumed_tail
        self._more = bool(self._tail) or len(opened) == TURN
        ended = self._inflate.eof
        if self._more and not ended:
            # Before the reader is woken: it may close everything, or wait again.
            self._turn = self._reactor.callLater(0, self._open)
            self._stop()
        if opened:
            self._source.feed(opened)
        if ended:
            self._fail()
        elif self._full and self._turn is not None:
            self._turn.cancel()
            self._turn = None
        elif not self._more and not self._full and not self._closed:
            self._go_on()

    def _fail(self) -> None:
        if not self._closed:
            self.close()
            self._broken()

    def _pause(self) -> None:
        self._full = True
        self._stop()

    def _resume(self) -> None:
        self._full = False
        if self._closed:
            return
        if not self._more:
            self._go_on()
        elif self._turn is None:
            self._turn = self._reactor.callLater(0, self._open)
