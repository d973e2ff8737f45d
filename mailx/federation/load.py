"""How much all channels together hold in memory: the calls that peers sent and that are not answered yet.

A single channel is bounded by its number of calls; many channels together are bounded here: while more than ``most`` octets
are held, no channel that holds some of them is read from.
"""

from typing import Protocol


class Reading(Protocol):
    """A channel that can be told to wait."""

    def hold_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


class Load:
    """The octets of calls under way, of all channels."""

    def __init__(self, most: int = 256 * 1024 * 1024) -> None:
        self.most = most
        self.octets = 0
        self._waiting: dict[Reading, None] = {}

    def take(self, channel: Reading, size: int) -> None:
        """``channel`` got a call of ``size`` octets."""
        self.octets += size
        if self.octets > self.most and channel not in self._waiting:
            self._waiting[channel] = None
            channel.hold_reading()

    def give(self, size: int) -> None:
        """A call of ``size`` octets is answered."""
        self.octets -= size
        if self._waiting and self.octets <= self.most:
            waiting, self._waiting = self._waiting, {}
            for channel in waiting:
                channel.resume_reading()

    def forget(self, channel: Reading) -> None:
        """``channel`` has ended."""
        self._waiting.pop(channel, None)
