"""HTTP connections whose clients must take their answers: until they do, no further request is read, nor answered.

Twisted stops reading when a client takes nothing, but not where the answer that is too much is made at once, and never amid
what has been read already: one who sends requests by the thousand and reads nothing would fill the memory.
"""

from typing import Any

from twisted.web.http import HTTPChannel


class PressedChannel(HTTPChannel):
    """One connection."""

    _networkProducer: Any
    _buffer: bytes

    def pauseProducing(self) -> None:
        """The client is behind with its answers."""
        super().pauseProducing()  # type: ignore[no-untyped-call]
        self.paused = True  # requests that are here already wait, too
        self._networkProducer.pauseProducing()

    def resumeProducing(self) -> None:
        """It has caught up."""
        self.paused = False
        super().resumeProducing()  # type: ignore[no-untyped-call]
        if self._buffer:  # amid an answer, this moves it to where the answer's end looks for the next request
            self.dataReceived(b"")  # type: ignore[no-untyped-call]
