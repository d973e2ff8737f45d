"""Long work on the reactor thread, in turns with everybody else's."""

from time import perf_counter
from typing import Any

from twisted.internet.task import deferLater

TURN = 0.001  # seconds of work after which others get a turn


class Turns:
    """``await turns.spare()`` between small steps: it gives way to the reactor whenever a turn is used up."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._end = perf_counter() + TURN

    async def spare(self) -> None:
        if perf_counter() >= self._end:
            await deferLater(self._reactor, 0)
            self._end = perf_counter() + TURN
