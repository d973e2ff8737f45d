"""Our calls on one connection: each has a number, a time limit, and its turn.

A call that was not answered in time keeps its place until the answer comes after all: the peer is still busy with it, and
takes no more than it said. A peer that has sent nothing at all since a call that timed out is as good as gone.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from attrs import frozen
from twisted.internet.defer import Deferred

from mailx.federation.banana_limits import Violation
from mailx.federation.broker import Broker
from mailx.federation.channel import CallTimeout, ChannelLost, PeerRefused
from mailx.federation.service import Fields, Plain
from mailx.mail.reply import Reply


class Clock(Protocol):
    """What is used of a reactor."""

    def seconds(self) -> float: ...
    def callLater(self, delay: float, callable: Callable[..., Any], *args: Any) -> Any: ...


@frozen(eq=False)
class _Call:
    done: "Deferred[dict[str, Plain]]"
    timer: Any
    read: int  # octets that had come when it was sent


class Calls:
    """``most`` may be under way at a time; ``stalled`` is called when the peer is as good as gone."""

    def __init__(self, broker: Broker, reactor: Clock, stalled: Callable[[], None]) -> None:
        self.most = 1
        self._broker = broker
        self._reactor = reactor
        self._stalled = stalled
        self._under_way: dict[int, _Call] = {}
        self._late: set[int] = set()
        self._turns: deque[Deferred[None]] = deque()
        self._last = 0
        self._lost = False

    @property
    def outstanding(self) -> int:
        """Those that are not answered, and those that wait for their turn."""
        return len(self._under_way) + len(self._turns)

    async def call(self, name: str, method: str, fields: Fields, timeout: float) -> dict[str, Plain]:
        """Call, when it is its turn; ``timeout`` counts from then. Raises ChannelFailure, or TypeError
        or ValueError if the fields are at fault."""
        while not self._lost and len(self._under_way) + len(self._late) >= self.most:
            turn: Deferred[None] = Deferred(self._leave)
            self._turns.append(turn)
            await turn
        if self._lost:
            raise ChannelLost("the connection has ended")
        self._last += 1
        identifier = self._last
        done: Deferred[dict[str, Plain]] = Deferred(lambda _: self._give_up(identifier))
        timer = self._reactor.callLater(timeout, self._too_late, identifier)
        self._under_way[identifier] = _Call(done, timer, self._broker.octets_read)
        try:
            self._broker.call(identifier, name, method, fields)
        except (TypeError, ValueError):
            self._under_way.pop(identifier).timer.cancel()
            self._next()
            raise
        return await done

    def answered(self, identifier: int, fields: dict[str, Plain]) -> None:
        """The peer's answer. Raises Violation if nothing was asked."""
        call = self._take(identifier)
        if call is not None:
            call.done.callback(fields)

    def refused(self, identifier: int, reply: Reply, retry_after: int) -> None:
        """The peer said no. Raises Violation likewise."""
        call = self._take(identifier)
        if call is not None:
            call.done.errback(PeerRefused(reply, retry_after))

    def fail(self, why: str) -> None:
        """The connection has ended."""
        self._lost = True
        under_way, self._under_way = self._under_way, {}
        turns, self._turns = self._turns, deque()
        for call in under_way.values():
            call.timer.cancel()
            call.done.errback(ChannelLost(why))
        for turn in turns:
            turn.callback(None)

    def _take(self, identifier: int) -> _Call | None:
        """The call that was answered; None: it was given up before."""
        call = self._under_way.pop(identifier, None)
        if call is not None:
            call.timer.cancel()
        elif identifier in self._late:
            self._late.remove(identifier)
        else:
            raise Violation("an answer to no call")
        self._next()
        return call

    def _too_late(self, identifier: int) -> None:
        call = self._under_way.pop(identifier)
        self._late.add(identifier)
        dead = call.read == self._broker.octets_read or len(self._late) >= self.most
        call.done.errback(CallTimeout("no answer in time"))
        if dead:
            self._stalled()

    def _give_up(self, identifier: int) -> None:
        """Who called does not want the answer any more."""
        call = self._under_way.pop(identifier, None)
        if call is not None:
            call.timer.cancel()
            self._late.add(identifier)

    def _leave(self, turn: "Deferred[None]") -> None:
        """Who waits for a turn does not want it any more."""
        if turn in self._turns:
            self._turns.remove(turn)

    def _next(self) -> None:
        if self._turns:
            self._turns.popleft().callback(None)
