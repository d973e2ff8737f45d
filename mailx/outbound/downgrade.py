"""The memory against downgrades: a destination that has taken mail by TLS for a while is not given it in the clear one day.

An attacker on the way can remove STARTTLS from what a server says. So once sessions with a domain that lie ``STEADY`` seconds
apart were encrypted, and none between them was not, TLS is needed there. When it then fails, mail waits; after ``PATIENCE``
seconds of failure the domain has changed its mind rather than an attacker his, and is forgotten. A session in the clear, while
that is allowed, begins anew.
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailx.core.cache import Cache
from mailx.core.remembered import Remembered, record
from mailx.mail.reply import Unavailable

log = Logger()

STEADY = 86400.0
PATIENCE = 86400.0
_KEPT = 30 * 86400.0  # a domain not written to for so long is forgotten
_NOTED_EVERY = 86400.0  # how often success is written down
_SIZE = 20000
_KIND = "starttls"


class Downgrades:
    """Which domains take mail by TLS. ``now`` gives seconds since 1970."""

    def __init__(self, remembered: Remembered, now: Callable[[], float]) -> None:
        self._remembered = remembered
        self._now = now
        self._noted: Cache[str, bool] = Cache(_SIZE, _NOTED_EVERY, now)  # domain -> encrypted, as last written

    async def steady(self, domain: str) -> bool:
        """Whether TLS is needed with ``domain`` because it always was."""
        kept = record(await self._remembered.get(_KIND, domain))
        return bool(kept) and kept["last"] - kept["since"] >= STEADY

    def encrypted(self, domain: str) -> None:
        """A session with TLS came about."""
        if self._noted.get(domain) is not True:
            self._noted.put(domain, True)
            self._run(self._encrypted(domain))

    def plain(self, domain: str) -> None:
        """A session without TLS came about, which was allowed."""
        if self._noted.get(domain) is not False:
            self._noted.put(domain, False)
            self._run(self._plain(domain))

    async def missing(self, domain: str, failure: str) -> None:
        """TLS was needed with ``domain`` and failed; ``failure`` is a result type of RFC 8460 4.3."""
        now = self._now()
        kept = record(await self._remembered.get(_KIND, domain))
        if not kept:
            return
        self._noted.pop(domain)
        since = kept.get("missing")
        try:
            if since is None:
                log.warn(
                    "A destination that took mail by TLS no longer does: its mail waits",
                    event="outbound.downgrade",
                    domain=domain,
                    failure=failure,
                )
                await self._remembered.put(_KIND, domain, {**kept, "missing": now}, now + _KEPT)
            elif now - since >= PATIENCE:
                log.warn(
                    "A destination has taken no mail by TLS for long: it may go unencrypted",
                    event="outbound.downgrade_accepted",
                    domain=domain,
                    failure=failure,
                )
                await self._remembered.forget(_KIND, domain)
        except Unavailable:
            pass  # it holds in memory

    async def _encrypted(self, domain: str) -> None:
        now = self._now()
        kept = record(await self._remembered.get(_KIND, domain))
        await self._remembered.put(_KIND, domain, {"since": kept.get("since", now), "last": now}, now + _KEPT)

    async def _plain(self, domain: str) -> None:
        if await self._remembered.get(_KIND, domain) is not None:
            await self._remembered.forget(_KIND, domain)

    def _run(self, coroutine: Any) -> None:
        Deferred.fromCoroutine(coroutine).addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        if failure.check(Unavailable) is None:
            log.failure("Whether a destination speaks TLS was not written", failure, event="outbound.failed")
