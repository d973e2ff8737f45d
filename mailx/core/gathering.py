"""Work of one kind that arrives in one turn of the reactor, done together at its end.

Pieces of the same work right after each other run on warm caches: with many sessions, a twentieth of all that a message
costs. Nobody waits for longer than the turn.
"""

from typing import Any

from twisted.internet.defer import Deferred


class Gathering:
    """``await gathering.turn()`` before the work."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._waiting: list[Deferred[None]] = []

    def turn(self) -> "Deferred[None]":
        """Fires in the reactor's next step, after all that asked before and ahead of all that ask later."""
        waiter: Deferred[None] = Deferred()
        if not self._waiting:
            self._reactor.callLater(0, self._begin)
        self._waiting.append(waiter)
        return waiter

    def _begin(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(None)
