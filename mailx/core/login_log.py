"""The log of logins: what each owner may want to know of the own account, kept for a while.

``note`` takes a login at once and never fails: logins are gathered in memory, many of a kind as one, and written once a
minute; a crash costs the last minute. While the store does not answer they wait, up to a limit. Who reads the account's
export, or its page, sees them.
"""

from collections.abc import Callable
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailx.mail.reply import Unavailable
from mailx.mail.times import iso
from mailx.store import Store
from mailx.store import logins as rows
from mailx.store.cipher import Cipher
from mailx.store.logins import Login

log = Logger()

KEPT = 90  # days
_DAY = 86400
_HOUR = 3600
_DELAY = 60.0  # seconds until logins are written
_LIMIT = 20_000  # kinds of logins that wait at most
_SLICE = 500  # rows written or dropped by one job


class LoginLog:
    """The log of one store: ``stop`` before the store closes. ``now`` is the time of day."""

    def __init__(self, store: Store, cipher: Cipher, reactor: Any, now: Callable[[], float]) -> None:
        self._store = store
        self._cipher = cipher
        self._reactor = reactor
        self._now = now
        self._waiting: dict[tuple[int, str, str, int], Login] = {}
        self._due: IDelayedCall | None = None
        self._stopped = False

    def note(self, account: int, address: str, mechanism: str) -> None:
        """The account logged in now, from ``address``."""
        now = int(self._now())
        key = account, address, mechanism, now // _HOUR
        known = self._waiting.get(key)
        if known is not None:
            self._waiting[key] = evolve(known, last=now, count=known.count + 1)
        elif len(self._waiting) < _LIMIT:
            self._waiting[key] = Login(account, address, mechanism, now, now, 1)
        if self._due is None and not self._stopped:
            self._due = self._reactor.callLater(_DELAY, self._begin)

    async def stop(self) -> None:
        """Write what waits; what the store does not take now is lost."""
        self._stopped = True
        if self._due is not None:
            self._due.cancel()
            self._due = None
        try:
            await self.flush()
        except Unavailable as error:
            log.warn("The last logins are not in the log of logins: {reason}", event="logins.not_written", reason=error.reason)

    async def flush(self) -> None:
        """Write what waits. Raises Unavailable; then it waits on."""
        while self._waiting:
            keys = list(self._waiting)[:_SLICE]
            batch = {key: self._waiting.pop(key) for key in keys}
            try:
                await self._store.write(rows.note, self._cipher, list(batch.values()))
            except Unavailable:
                self._waiting = {**batch, **self._waiting}
                raise

    async def of(self, account: int) -> list[dict[str, Any]]:
        """What is kept of an account, the oldest first, ready for JSON. Raises Unavailable."""
        await self.flush()
        return [
            {"from": one.address, "way": one.mechanism, "first": iso(one.first), "last": iso(one.last), "count": one.count}
            for one in await self._store.read(rows.of_account, self._cipher, account)
        ]

    async def prune(self) -> int:
        """Drop what is too old; returns how many rows. Raises Unavailable."""
        total = 0
        while dropped := await self._store.write(rows.prune, int(self._now()) - KEPT * _DAY, _SLICE):
            total += dropped
        return total

    def _begin(self) -> None:
        self._due = None
        Deferred.fromCoroutine(self.flush()).addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        if isinstance(failure.value, Unavailable):
            log.warn("The log of logins is written later: {reason}", event="logins.delayed", reason=failure.value.reason)
            if self._due is None and not self._stopped:
                self._due = self._reactor.callLater(_DELAY, self._begin)
        else:
            log.failure("The log of logins was not written", failure, event="logins.failed")
