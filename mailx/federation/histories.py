"""Asking a server whose key is not believed for the history of its keys.

The connection proves only that who is there holds the key that is shown. Nothing else is said over it and nothing it says
is believed: the history proves itself, or it does not (:mod:`mailx.core.peer_following`).
"""

from collections.abc import Awaitable, Callable, Sequence
from time import time
from typing import Any, Protocol

from twisted.logger import Logger

from mailx.federation.channel import Channel, ChannelFailure, Unreachable
from mailx.federation.discovery_service import NAME
from mailx.federation.service import Fields, items
from mailx.identity.domain_keys import HISTORY_LIMIT, DomainKey, chain
from mailx.identity.encoding import Malformed, parse
from mailx.mail.reply import Refused

log = Logger()

Threads = Callable[..., Awaitable[Any]]

_SECONDS = 10.0  # that the answer may take
_LOCAL = 3  # domains of ours that are tried: the other server need not know all of them
_STATEMENT = 8192  # octets


class AsShown:
    """Believes of a domain what is shown of it."""

    async def keys(self, domain: str, presented: bytes) -> tuple[bytes, ...]:
        """See :class:`mailx.federation.channel.Trust`."""
        return (presented,)


class Connects(Protocol):
    """A :class:`mailx.federation.connect.Connector` whose trust is AsShown."""

    async def connect(self, local: str, remote: str, servers: Sequence[tuple[str, int]], anywhere: bool = False) -> Channel:
        """Raises Unreachable."""


class Histories:
    """Asks. ``domains`` lists ours; histories are checked in ``threads``; ``now`` gives seconds since 1970."""

    def __init__(
        self, connector: Connects, domains: Callable[[], Sequence[str]], threads: Threads, now: Callable[[], float] = time
    ) -> None:
        self._connector, self._domains, self._threads, self._now = connector, domains, threads, now

    async def history(self, domain: str, servers: Sequence[tuple[str, int]]) -> tuple[DomainKey, ...]:
        """The keys of ``domain`` that its server shows, each proved to follow the one before; none if it is not to be had. Never raises."""
        reason = "no domain of ours has a key"
        for local in sorted(self._domains())[:_LOCAL]:
            try:
                channel = await self._connector.connect(local, domain, servers, True)
            except Unreachable as unreachable:
                reason = unreachable.reason
                continue
            try:
                fields = await channel.call(NAME, "history", {}, _SECONDS)
                found: tuple[DomainKey, ...] = await self._threads(_proved, domain, fields, int(self._now()))
                return found
            except (ChannelFailure, Refused, Malformed) as error:
                reason = f"{type(error).__name__}: {error}"
            finally:
                channel.close()
        log.info("A server did not tell its keys: {reason}", event="peer.untold", domain=domain, reason=reason)
        return ()


def _proved(domain: str, fields: Fields, now: int) -> tuple[DomainKey, ...]:
    """Raises Malformed, Refused."""
    keys = []
    for each in items(fields, "history", HISTORY_LIMIT):
        if not isinstance(each, bytes):
            raise Malformed("not a statement")
        keys.append(DomainKey.decode(parse(each, _STATEMENT)))
    history = chain(keys, now)
    if history[0].domain != domain:
        raise Malformed("the history of another domain")
    return history
