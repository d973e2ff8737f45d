"""The bytes on their way to a client, never more than the client takes (back-pressure), never too long in a row.

A command that writes much calls ``ready`` between its pieces: it waits while the transport's buffer is full, and
hands the reactor back every 2 ms, so that one session's work is not another session's waiting.
"""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from mailx.imap.input import Hangup

TURN_SECONDS = 0.002
STALL_SECONDS = 300  # a client that reads nothing for so long is gone


@implementer(IPushProducer)
class Output:
    """The writing side of one connection."""

    def __init__(self, transport: Any, reactor: Any) -> None:
        self._transport = transport
        self._reactor = reactor
        self._waiting: Deferred[None] | None = None
        self._full = False
        self._closed = False
        self._turn = 0.0
        transport.registerProducer(self, True)

    def write(self, data: bytes) -> None:
        if not self._closed:
            self._transport.write(data)

    def start_turn(self) -> None:
        """The reactor has just handed over."""
        self._turn = self._reactor.seconds()

    async def ready(self) -> None:
        """Wait until the client takes more; raises Hangup when it is gone."""
        if self._closed:
            raise Hangup
        if self._full:
            await self._drained()
        elif self._reactor.seconds() - self._turn > TURN_SECONDS:
            await self._next_turn()

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
        self._closed = True
        self._transport.unregisterProducer()
        self._release(Hangup())

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
        self._closed = True
        self._release(Hangup())
