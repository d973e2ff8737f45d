"""Channels to other MailX servers, kept open and shared: one line for each pair of a domain of ours and one of theirs.

A channel carries several transfers at a time; another is opened when all are full. Whoever comes while one is being opened waits for
it. Failure to open one is told to all who wait and have no other. Channels that are not used end by themselves.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from attrs import define, field
from twisted.internet.defer import Deferred

from mailx.core.metrics import FEDERATION_NO_CHANNEL
from mailx.core.peer import STATIC, Peer
from mailx.federation.channel import Channel, Unreachable

CHANNELS = 4  # of one line: far less than a domain may have by default

_Line = tuple[str, str]


class Connects(Protocol):
    """Opens channels; :class:`mailx.federation.connect.Connector`."""

    async def connect(self, local: str, remote: str, servers: Sequence[tuple[str, int]], anywhere: bool = False) -> Channel:
        """One from ``local``, a domain of ours, to ``remote``. Raises Unreachable."""


@define(eq=False)
class _Open:
    """The channels of one line, and who waits for one."""

    channels: dict[int, tuple[Channel, int]] = field(factory=dict)  # by id: the transfers under way over it
    connecting: int = 0
    waiting: deque["Deferred[Channel]"] = field(factory=deque)

    @property
    def idle(self) -> bool:
        return not (self.channels or self.connecting or self.waiting)


class Pool:
    """All channels that this server opened. ``transfers``: how many one may carry at a time."""

    def __init__(self, connector: Connects, transfers: Callable[[], int]) -> None:
        self._connector = connector
        self._transfers = transfers
        self._lines: dict[_Line, _Open] = {}
        self._stopped = False

    def __len__(self) -> int:
        return sum(len(line.channels) for line in self._lines.values())

    async def lease(self, local: str, peer: Peer) -> Channel:
        """A channel for one transfer, to be given back by ``release``. Raises Unreachable."""
        if self._stopped:
            raise Unreachable("the server stops")
        key = local, peer.domain
        line = self._lines.setdefault(key, _Open())
        channel = self._free(line)
        if channel is not None:
            return channel
        waiter: Deferred[Channel] = Deferred()
        line.waiting.append(waiter)
        self._widen(key, line, peer)
        return await waiter

    def release(self, channel: Channel) -> None:
        """A transfer is over."""
        line = self._lines.get((channel.local, channel.remote))
        if line is None or id(channel) not in line.channels:
            return
        line.channels[id(channel)] = channel, line.channels[id(channel)][1] - 1
        self._serve(line)

    def stop(self) -> None:
        """Open no more; those that are open end when what runs is through."""
        self._stopped = True
        for line in list(self._lines.values()):
            for channel, _ in list(line.channels.values()):
                channel.close()

    def _free(self, line: _Open) -> Channel | None:
        """The channel with the fewest transfers under way, if it may carry one more; it is counted."""
        least = min((entry for entry in line.channels.values() if not entry[0].closed), key=lambda entry: entry[1], default=None)
        if least is None or least[1] >= self._transfers():
            return None
        line.channels[id(least[0])] = least[0], least[1] + 1
        return least[0]

    def _widen(self, key: _Line, line: _Open, peer: Peer) -> None:
        """Open a channel for those who wait, unless one is being opened that has room for them."""
        room = line.connecting * self._transfers()
        if len(line.waiting) > room and len(line.channels) + line.connecting < CHANNELS:
            line.connecting += 1
            Deferred.fromCoroutine(self._open(key, line, peer)).addErrback(self._failed, line, key)

    async def _open(self, key: _Line, line: _Open, peer: Peer) -> None:
        try:
            channel = await self._connector.connect(key[0], peer.domain, peer.servers, peer.source == STATIC)
        finally:
            line.connecting -= 1
        line.channels[id(channel)] = channel, 0
        channel.on_close(lambda channel: self._closed(key, line, channel, peer))
        if self._stopped:
            channel.close()
        self._serve(line)

    def _failed(self, failure: object, line: _Open, key: _Line) -> None:
        error = getattr(failure, "value", None)
        FEDERATION_NO_CHANNEL.labels("unproved" if isinstance(error, Unreachable) and error.security else "unreached").inc()
        if line.channels and not self._stopped:
            return  # those who wait have their turn over the others
        waiting, line.waiting = line.waiting, deque()
        for waiter in waiting:
            if not waiter.called:
                waiter.errback(error if isinstance(error, Exception) else Unreachable("no connection"))
        self._forget(key, line)

    def _closed(self, key: _Line, line: _Open, channel: Channel, peer: Peer) -> None:
        line.channels.pop(id(channel), None)
        if line.waiting and not self._stopped:
            self._widen(key, line, peer)
        self._forget(key, line)

    def _serve(self, line: _Open) -> None:
        while line.waiting:
            if line.waiting[0].called:  # given up
                line.waiting.popleft()
                continue
            channel = self._free(line)
            if channel is None:
                return
            line.waiting.popleft().callback(channel)

    def _forget(self, key: _Line, line: _Open) -> None:
        if line.idle and self._lines.get(key) is line:
            del self._lines[key]
