"""Waking: when another MailX server connects, it is there again, and what waits for it need not wait any longer.

A server that comes and goes wakes its mail once in a while only. Failure costs nothing: the mail is tried when it is due.
"""

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from mailx.core.cache import Cache
from mailx.mail.reply import Unavailable

log = Logger()

PAUSE = 60.0  # seconds between two times that the same domain is heard
_DOMAINS = 10000


class Hastens(Protocol):
    """:class:`mailx.core.queue.Queue`."""

    async def hasten(self, domain: str) -> int:
        """Raises Unavailable."""


class Connected(Protocol):
    """A channel, as far as it matters here."""

    @property
    def remote(self) -> str: ...


class Waking:
    """``connected`` is told of every channel that a peer opens."""

    def __init__(self, queue: Hastens, now: Callable[[], float]) -> None:
        """``now`` gives monotonic seconds."""
        self._queue = queue
        self._heard: Cache[str, bool] = Cache(_DOMAINS, PAUSE, now)

    def connected(self, channel: Connected) -> None:
        """The server of ``channel.remote`` works."""
        if self._heard.get(channel.remote) is None:
            self._heard.put(channel.remote, True)
            Deferred.fromCoroutine(self._wake(channel.remote)).addErrback(self._failed)

    async def _wake(self, domain: str) -> None:
        count = await self._queue.hasten(domain)
        if count:
            log.info("Mail that waited for a MailX server is tried now", event="queue.woken", destination=domain, rows=count)

    def _failed(self, failure: Any) -> None:
        if not failure.check(Unavailable):
            log.failure("Waiting mail was not hastened", failure, event="queue.hasten_failed")
