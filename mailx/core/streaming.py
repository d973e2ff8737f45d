"""Long answers over HTTP, written as fast as the client takes them; one that takes nothing for a while is cut off."""

from collections.abc import AsyncIterator
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

STALLED = 60.0  # seconds that a client may take nothing of its answer


@implementer(IPushProducer)
class Stream:
    """Writes what ``parts`` brings as fast as the client takes it."""

    def __init__(self, request: Any, parts: AsyncIterator[bytes], reactor: Any) -> None:
        self._request = request
        self._parts = parts
        self._reactor = reactor
        self._resumed: Deferred[None] | None = None
        self._stopped = False
        self._stalled: Any = None

    async def run(self) -> None:
        """Write everything; returns early when the client has gone or takes nothing."""
        request = self._request
        request.notifyFinish().addErrback(lambda _: self.stopProducing())
        request.registerProducer(self, True)
        try:
            async for part in self._parts:
                if self._stopped:
                    return
                request.write(part)
                if self._resumed is not None:
                    await self._resumed
        finally:
            if not self._stopped:
                request.unregisterProducer()

    def pauseProducing(self) -> None:
        """See IPushProducer."""
        if self._resumed is None and not self._stopped:
            self._resumed = Deferred()
            self._stalled = self._reactor.callLater(STALLED, self._request.channel.forceAbortClient)

    def resumeProducing(self) -> None:
        """See IPushProducer."""
        resumed, self._resumed = self._resumed, None
        if resumed is not None:
            self._stalled.cancel() if self._stalled.active() else None
            resumed.callback(None)

    def stopProducing(self) -> None:
        """See IPushProducer."""
        self._stopped = True
        self.resumeProducing()
