"""Asking other MailX servers: one call over a channel of the pool, opened if there is none.

Whatever goes wrong is raised as it is: :class:`mailx.federation.channel.Unreachable` and ChannelFailure, and Refused where nothing
is known of the domain.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from mailx.core.peer import Peer
from mailx.federation.channel import Unreachable
from mailx.federation.pool import Pool


class Finds(Protocol):
    """:class:`mailx.core.peers.Peers`."""

    async def find(self, domain: str, seconds: float | None = None) -> Peer | None: ...


class ChannelAsking:
    """Asks over ``pool``; ``domains`` lists ours."""

    def __init__(self, pool: Pool, peers: Finds, domains: Callable[[], Sequence[str]]) -> None:
        self._pool = pool
        self._peers = peers
        self._domains = domains

    async def ask(
        self, sender: str, domain: str, service: str, method: str, fields: Mapping[str, Any], timeout: float
    ) -> Mapping[str, Any]:
        """What ``method`` of ``service`` answers at ``domain``; ``sender``: which of our domains asks, "": the first."""
        peer = await self._peers.find(domain)
        local = sender or min(self._domains(), default="")
        if peer is None or not local:
            raise Unreachable("no MailX server is known there" if peer is None else "no domain of ours has a key")
        channel = await self._pool.lease(local, peer)
        try:
            return await channel.call(service, method, fields, timeout)
        finally:
            self._pool.release(channel)
