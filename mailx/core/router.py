"""The router: where mail for an address goes. It decides nothing else; reception and the queue ask it."""

from enum import Enum

from attrs import frozen

from mailx.core.accounts import Accounts, User
from mailx.mail.address import Address


class Way(Enum):
    """Which way a recipient's mail goes."""

    LOCAL = "local"
    REMOTE = "remote"
    UNKNOWN = "unknown"  # a local domain, but nobody there


@frozen
class Route:
    """The way to one recipient; ``users`` are the accounts that a LOCAL one reaches, suspended ones included."""

    recipient: Address
    way: Way
    users: tuple[User, ...] = ()


class Router:
    """Routes addresses by the directory."""

    def __init__(self, directory: Accounts) -> None:
        self._directory = directory

    async def route(self, address: Address) -> Route:
        """The way to ``address``. An empty domain stands for this server: RFC 5321 4.1.1.3 allows a bare ``postmaster`` only."""
        if address.domain and not self._directory.local(address.domain):
            return Route(address, Way.REMOTE)
        resolved = await self._directory.resolve(address)
        if resolved is None or not resolved.users:
            return Route(address, Way.UNKNOWN)
        return Route(address, Way.LOCAL, resolved.users)
