"""The last words on a connection that does not become a channel: said once, and nothing is heard any more.

Whatever else the peer does, and after PARTING seconds at the latest, the connection is cut.
"""

from collections.abc import Callable
from typing import Any

from mailx.federation.handshake import Shaken
from mailx.federation.link import PARTING
from mailx.mail.reply import Reply


class Parting:
    """A :class:`mailx.federation.broker.Party` that speaks no more; what derives from it says the last word."""

    def __init__(self, shaken: Shaken, reactor: Any) -> None:
        self._shaken = shaken
        self._timer = reactor.callLater(PARTING, self._cut)

    def _cut(self) -> None:
        self._shaken.wire.abortConnection()

    def _close(self) -> None:
        """The last word was said."""
        self._shaken.end()
        self._shaken.wire.loseConnection()

    def opened(self) -> None:
        """The peer speaks PB."""

    def called(self, identifier: int, name: str, method: str, fields: object, size: int) -> None:
        self._cut()

    def answered(self, identifier: int, fields: object) -> None:
        self._cut()

    def refused(self, identifier: int, reply: Reply, retry_after: int) -> None:
        self._cut()

    def busy(self, go_on: Callable[[], None]) -> None:
        self._cut()

    def violated(self, reason: str) -> None:
        self._cut()

    def lost(self) -> None:
        if self._timer.active():
            self._timer.cancel()
