"""Who has sessions open on this node, by whatever protocol, and whether those still may be open.

Another node tells when they must end. Where its word may have been lost, every account that has a session here is looked at
again. A store that cannot answer is asked once more a little later.
"""

from collections import Counter
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailx.mail.mailbox import Change
from mailx.mail.reply import Unavailable

if TYPE_CHECKING:
    from mailx.core.accounts import Accounts
    from mailx.core.users import User

log = Logger()

_RETRY = 5.0  # seconds


class Holding:
    """The sessions of all protocols, as accounts with the password that they logged in by."""

    def __init__(self, accounts: "Accounts", clock: IReactorTime) -> None:
        self._accounts = accounts
        self._clock = clock
        self._open: Counter[tuple[int, bytes]] = Counter()
        self._doubts = 0  # counts the times that something may have been missed
        self._again: IDelayedCall | None = None
        self._stopped = False
        accounts.listen(self._heard)

    def stop(self) -> None:
        """Look no more."""
        self._stopped = True
        if self._again is not None and self._again.active():
            self._again.cancel()

    def hold(self, user: "User") -> None:
        """A session of the account has begun."""
        self._open[user.id, user.credentials_version] += 1

    def release(self, user: "User") -> None:
        """That session is over."""
        session = user.id, user.credentials_version
        self._open[session] -= 1
        if self._open[session] <= 0:
            del self._open[session]

    def _heard(self, change: Change) -> None:
        if not change.mailbox:
            self._doubts += 1
            self._begin(self._doubts)

    def _begin(self, doubt: int) -> None:
        if doubt == self._doubts and self._open:
            Deferred.fromCoroutine(self._look(doubt)).addErrback(_failed)

    async def _look(self, doubt: int) -> None:
        for account, version in [*self._open]:
            try:
                now = await self._accounts.fresh(account)
            except Unavailable:
                if not self._stopped:
                    self._again = self._clock.callLater(_RETRY, self._begin, doubt)
                return
            if now is None or not now.active or now.credentials_version != version:
                self._accounts.revoke(account)


def _failed(failure: Failure) -> None:
    log.failure("Sessions could not be looked at again", failure, event="auth.sessions_unknown")
