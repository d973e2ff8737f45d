"""Following the key of a server that the configuration names, when its announcement was missed: the server itself is asked.

Whoever answers there proves nothing by answering: a history of keys proves itself, from the key that is believed on. One that does
not lead from there changes nothing.
"""

from collections.abc import Callable, Sequence
from time import time
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from mailx.core import peer_keys
from mailx.core.peer import MAILX, Found, Known
from mailx.identity.domain_keys import DomainKey
from mailx.identity.statements import Statement
from mailx.mail.reply import Refused


class Histories(Protocol):
    """Asks servers whose key is not known; :class:`mailx.federation.histories.Histories`."""

    async def history(self, domain: str, servers: Sequence[tuple[str, int]]) -> tuple[DomainKey, ...]:
        """The keys of ``domain``, as a proved history, oldest first; none if it is not to be had. Never raises."""


class Follows(Protocol):
    """What is needed of :class:`mailx.core.peers.Peers`."""

    async def state(self, domain: str) -> Known: ...

    async def announced(self, domain: str, statement: Statement) -> None: ...


class Following:
    """Brings ``peers`` up to date. ``now`` gives seconds since 1970."""

    def __init__(self, peers: Follows, histories: Histories, now: Callable[[], float] = time) -> None:
        self._peers, self._histories, self._now = peers, histories, now
        self._under_way: set[str] = set()

    def under_way(self, domain: str) -> bool:
        """Whether its server is being asked."""
        return domain in self._under_way

    async def follow(self, domain: str) -> None:
        """Ask the server of ``domain``, and believe what follows from what is believed. Raises Unavailable.

        It goes on when whoever waits for it gives up: a connection is given less time to prove itself than this may take.
        """
        ended: Deferred[None] = Deferred()
        self._under_way.add(domain)
        Deferred.fromCoroutine(self._follow(domain)).addBoth(self._followed, domain, ended)
        await ended

    def _followed(self, result: Any, domain: str, ended: "Deferred[None]") -> None:
        self._under_way.discard(domain)
        ended.callback(result)

    async def _follow(self, domain: str) -> None:
        known = await self._peers.state(domain)
        history = await self._histories.history(domain, known.servers)
        if not history:
            return
        verdict, seen = peer_keys.judged(known, Found(MAILX, key=history[-1].key, history=history), int(self._now()))
        if verdict not in (peer_keys.ROTATION, peer_keys.RECOVERY):
            return
        for key, _ in seen[len(known.history) :]:
            try:
                await self._peers.announced(domain, key.statement)
            except Refused as refused:
                if refused.reply.temporary:
                    raise
                return  # somebody announced another one meanwhile
