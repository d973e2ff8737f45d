"""How many connections a listener holds, in all and from one client address. Shared by every edge."""

from mailx.core.throttle import network


class Gate:
    """Counts the connections of one listener. ``enter`` and ``leave`` cost the same at any count.

    One client address is an IPv4 address or the /64 of an IPv6 one, within which anybody can move.
    Unix sockets have no client address: they pass "" and count only towards the total.
    """

    def __init__(self, max_connections: int, max_per_address: int) -> None:
        self.max_connections = max_connections
        self.max_per_address = max_per_address
        self.count = 0
        self._addresses: dict[str, int] = {}

    @property
    def full(self) -> bool:
        """Whether the listener as a whole has no room."""
        return self.count >= self.max_connections

    def enter(self, address: str) -> bool:
        """Take a place for a connection from ``address``; False (nothing taken) if there is none."""
        if self.full:
            return False
        if address:
            address = network(address)
            here = self._addresses.get(address, 0)
            if here >= self.max_per_address:
                return False
            self._addresses[address] = here + 1
        self.count += 1
        return True

    def leave(self, address: str) -> None:
        """Give back the place that ``enter(address)`` took."""
        self.count -= 1
        if address:
            address = network(address)
            here = self._addresses[address] - 1
            if here:
                self._addresses[address] = here
            else:
                del self._addresses[address]
