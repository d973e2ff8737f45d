"""The bytes on their way to a client, never more than the client takes (back-pressure), never too long in a row.

What a command writes is gathered and sent together: at its end (``flush``), or before when there is much of it.
``ready`` waits while the client does not take more, and hands the reactor back every millisecond, so that one session's work
is not another session's waiting.

A plain connection is written to at once. The transport would wait for the reactor's next round and change its
interest in the socket twice: half of what a NOOP costs. It gets only what the socket does not take.
"""

import zlib
from collections.abc import Callable
from socket import socket as Socket
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPullProducer, IPushProducer
from twisted.internet.tcp import Connection
from zope.interface import implementer

from mailx.core.input import Hangup

TURN_SECONDS = 0.001
STALL_SECONDS = 300  # a client that reads nothing for so long is gone
GATHERED = 65536  # octets that are sent without waiting for ``flush``
SMALL = 16384  # octets that wait for what comes behind them
_PORTION = 32768  # octets that are compressed in one go
_LEVEL = 3  # of 9: half of the time of the default


@implementer(IPushProducer)
class Output:
    """The writing side of one connection."""

    def __init__(self, transport: Any, reactor: Any) -> None:
        self._transport = transport
        self._reactor = reactor
        self._seconds = reactor.seconds
        self._gathered: list[bytes] = []
        self._octets = 0
        self._waiting: Deferred[None] | None = None
        self._full = False  # on a plain connection: the transport holds something back
        self._closed = False
        self._turn = 0.0
        self._socket: Socket | None = None
        self._deflate: Any = None
        if isinstance(transport, Connection):
            self._socket = transport.getHandle()
        else:
            transport.registerProducer(self, True)

    def write(self, data: bytes) -> None:
        if self._closed:
            return
        self._gathered.append(data)
        self._octets += len(data)
        if self._octets > GATHERED and self._deflate is None:
            self.flush()

    def flush(self) -> None:
        """Send what was written."""
        gathered = self._gathered
        if not gathered:
            return
        data = gathered[0] if len(gathered) == 1 else b"".join(gathered)
        gathered.clear()
        self._octets = 0
        if self._deflate is not None:
            data = self._deflate.compress(data) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        self._pass_on(data)

    def _pass_on(self, data: bytes) -> None:
        if not data:
            return
        if self._socket is not None and not self._full:
            self._send(self._socket, data)
        elif data:
            self._transport.write(data)

    def _send(self, socket: Socket, data: bytes) -> None:
        try:
            sent = socket.send(data)
        except OSError:  # full, or broken: the transport finds out
            sent = 0
        if sent < len(data):
            self._full = True
            self._transport.write(data[sent:])
            self._transport.registerProducer(_Rest(self._transport, self.resumeProducing, self.stopProducing), False)

    def encrypted(self) -> None:
        """The transport begins TLS now: from here on everything goes through it."""
        self.flush()
        if self._socket is not None:
            self._socket = None
            self._full = False
            self._transport.unregisterProducer()
            self._transport.registerProducer(self, True)

    def compress(self) -> None:
        """Everything from here on is raw DEFLATE, whole after each ``flush``.

        A window of 8 KiB and tables to match: 64 KiB a connection instead of the 256 KiB of zlib's defaults.
        """
        self.flush()
        self._deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, -13, 6)

    def start_turn(self) -> None:
        """The reactor has just handed over."""
        self._turn = self._seconds()

    async def ready(self) -> None:
        """Between two pieces: wait until the client takes more; raises Hangup when it is gone."""
        if self._closed:
            raise Hangup
        if self._octets > SMALL:
            if self._deflate is not None:
                await self._compress_in_turns()
            self.flush()
        if self._full:
            self.flush()
            await self._drained()
        elif self._seconds() - self._turn > TURN_SECONDS:
            await self._next_turn()

    async def room(self) -> None:
        """Between two commands, or two tellings: as ``ready``, but only if the client has left something lying."""
        if self._full and not self._closed:
            self.flush()
            await self._drained()

    async def _compress_in_turns(self) -> None:
        """All but the last portion; what is written meanwhile by others stays behind it."""
        while self._octets > _PORTION and not self._closed:
            data = b"".join(self._gathered)
            self._gathered[:] = [data[_PORTION:]]
            self._octets -= _PORTION
            self._pass_on(self._deflate.compress(data[:_PORTION]))
            if self._full:
                await self._drained()
            elif self._seconds() - self._turn > TURN_SECONDS:
                turn: Deferred[None] = Deferred()
                self._reactor.callLater(0, turn.callback, None)
                await turn
                self.start_turn()
        if self._closed:
            raise Hangup

    async def _drained(self) -> None:
        stalled = self._reactor.callLater(STALL_SECONDS, self._transport.abortConnection)
        self._waiting = Deferred()
        try:
            await self._waiting
        finally:
            if stalled.active():
                stalled.cancel()
        self.start_turn()

    async def _next_turn(self) -> None:
        self.flush()
        turn: Deferred[None] = Deferred()
        self._reactor.callLater(0, turn.callback, None)
        await turn
        if self._closed:
            raise Hangup
        self.start_turn()

    def close(self) -> None:
        """Write no more; what was written still goes out. May be called again."""
        if self._closed:
            return
        self.flush()
        self._closed = True
        self._transport.unregisterProducer()
        self._release(Hangup())

    def discard(self) -> None:
        """Write no more, not even what was written: the connection is given up."""
        self._closed = True
        self._gathered.clear()
        self._deflate = None  # much memory, and this object may lie around until garbage is collected

    def _release(self, hangup: Hangup | None = None) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is None:
            return
        if hangup is None:
            waiting.callback(None)
        else:
            waiting.errback(hangup)

    def pauseProducing(self) -> None:
        self._full = True

    def resumeProducing(self) -> None:
        self._full = False
        self._release()

    def stopProducing(self) -> None:
        self.discard()
        self._release(Hangup())


@implementer(IPullProducer)
class _Rest:
    """What the socket did not take lies in the transport, which asks for more when that is sent."""

    def __init__(self, transport: Any, sent: Callable[[], None], lost: Callable[[], None]) -> None:
        self._transport = transport
        self._sent = sent
        self._lost = lost
        self._registered = False

    def resumeProducing(self) -> None:
        if not self._registered:  # registering asks for a first piece
            self._registered = True
            return
        self._transport.unregisterProducer()
        self._sent()

    def stopProducing(self) -> None:
        self._lost()
