"""The router: where mail for an address goes. It decides nothing else; reception asks it."""

from enum import Enum

from attrs import frozen

from mailx.core.accounts import Accounts, User
from mailx.core.srs import SRS, rewritten
from mailx.mail.address import Address
from mailx.mail.envelope import WISHES_NOTHING, Wish

_FOLLOWED = 1000  # addresses that one alias leads to, over others


class Way(Enum):
    """Which way a recipient's mail goes."""

    LOCAL = "local"  # to accounts, or on to other servers because an alias says so
    REMOTE = "remote"  # to another server
    BOUNCE = "bounce"  # back to a sender whose address this server had rewritten
    UNKNOWN = "unknown"  # a local domain, but nobody there
    LOOP = "loop"  # aliases that lead to each other, and to nobody else


@frozen
class Onward:
    """One recipient on another server."""

    address: Address
    original: Address  # whom the message came for: the alias, or ``address`` itself
    wish: Wish = WISHES_NOTHING


@frozen
class Route:
    """The way to one recipient; ``users`` are the accounts that a LOCAL one reaches, suspended ones included."""

    recipient: Address
    way: Way
    users: tuple[User, ...] = ()
    onward: tuple[Onward, ...] = ()


class Router:
    """Routes addresses by the directory; without ``srs`` no address is taken for one that was rewritten."""

    def __init__(self, directory: Accounts, srs: SRS | None = None) -> None:
        self._directory = directory
        self._srs = srs

    async def route(self, address: Address) -> Route:
        """The way to ``address``. An empty domain stands for this server: RFC 5321 4.1.1.3 allows a bare ``postmaster`` only."""
        if address.domain and not self._directory.local(address.domain):
            return Route(address, Way.REMOTE, onward=(Onward(address, address),))
        if self._srs is not None and rewritten(address):
            sender = await self._srs.reverse(address)
            if sender is not None:
                return await self._back(address, sender)
        resolved = await self._directory.resolve(address)
        if resolved is None:
            return Route(address, Way.UNKNOWN)
        if not resolved.remotes:
            return Route(address, Way.LOCAL, resolved.users)
        return await self._followed(address, resolved.users, resolved.remotes)

    async def _back(self, address: Address, sender: Address) -> Route:
        """The way back to ``sender``, who may be one of ours by now."""
        if not self._directory.local(sender.domain):
            return Route(address, Way.BOUNCE, onward=(Onward(sender, address),))
        resolved = await self._directory.resolve(sender)
        if resolved is None or not resolved.users:
            return Route(address, Way.UNKNOWN)
        return Route(address, Way.LOCAL, resolved.users)

    async def _followed(self, alias: Address, users: tuple[User, ...], remotes: tuple[Address, ...]) -> Route:
        """The way of an alias with addresses elsewhere. Those whose domain has become local since are followed, each once."""
        found = {user.id: user for user in users}
        onward: dict[str, Onward] = {}
        seen = {alias.key}
        waiting = list(remotes)
        while waiting and len(seen) < _FOLLOWED:
            address = waiting.pop()
            if address.key in seen:
                continue
            seen.add(address.key)
            if not self._directory.local(address.domain):
                onward[address.key] = Onward(address, alias)
                continue
            resolved = await self._directory.resolve(address)
            if resolved is not None:
                found.update({user.id: user for user in resolved.users})
                waiting += resolved.remotes
        if not found and not onward:
            return Route(alias, Way.LOOP)
        return Route(alias, Way.LOCAL, tuple(found.values()), tuple(onward.values()))
