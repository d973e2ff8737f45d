"""Warnings of quotas: the owner is told by mail when the account crosses one of the percents of ``lifecycle.warn_percent``.

Each crossing is told once: what is crossed is kept with the account, and must be fallen below before it can be crossed again.
Whatever changes how full accounts are is seen within seconds (changes of mailboxes) or with the next pass (changed quotas,
sealed mail that waits). The mail is from postmaster, with the null sender, and gets in whatever is full. Failure of the
store or of reception is logged; what was not told is told by a later pass.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailx.core.settings import Settings
from mailx.core.trace import received
from mailx.mail import sizes
from mailx.mail.address import Address
from mailx.mail.compose import compose
from mailx.mail.envelope import GENERATED, Demands, Envelope, Origin, new_id
from mailx.mail.mailbox import Change
from mailx.mail.message import Message
from mailx.mail.reply import Refused, Unavailable
from mailx.store import Store
from mailx.store import quota_warnings as rows
from mailx.store.quota_warnings import Full

log = Logger()

Accept = Callable[..., Awaitable[Any]]

_DELAY = 2.0  # seconds after a change: a burst of mail is one crossing
_PAGE = 1000  # accounts looked at by one job
_LEASE = 600  # seconds after which another node takes over what was not told
_TOLD = 100  # crossings told in one go
_FIELDS = (("Auto-Submitted", "auto-generated"), ("X-Auto-Response-Suppress", "All"), ("Precedence", "bulk"))


class QuotaWarnings:
    """Warns the owners of one server: ``start`` once, ``stop`` before the store closes. ``now`` is the time of day."""

    def __init__(self, store: Store, settings: Settings, accept: Accept, reactor: Any, now: Callable[[], float]) -> None:
        self._store = store
        self._settings = settings
        self._accept = accept
        self._reactor = reactor
        self._now = now
        self._changed: set[int] = set()
        self._due: IDelayedCall | None = None
        self._running: Deferred[None] | None = None
        self._stopped = False

    def start(self) -> None:
        """Look at accounts whose mailboxes change."""
        self._store.listen(self._heard)

    async def stop(self) -> None:
        """Look no more; what runs ends."""
        self._stopped = True
        if self._due is not None:
            self._due.cancel()
            self._due = None
        if self._running is not None:
            await self._running

    async def look(self) -> int:
        """Look at every account, and tell what was left untold; returns how many owners were told. Raises Unavailable."""
        total = after = 0
        while not self._stopped:
            found = await self._store.read(rows.every, self._default, after, _PAGE)
            total += await self._judge(found)
            if len(found) < _PAGE:
                break
            after = found[-1].id
        left = await self._store.read(rows.untold, self._default, int(self._now()) - _LEASE, _TOLD)
        return total + await self._tell([(one, one.warning, one.at) for one in left])

    @property
    def _default(self) -> int:
        return int(self._settings.current.accounts.quota)

    def _heard(self, change: Change) -> None:
        if (change.added or change.removed or change.partial) and not self._stopped:
            self._changed.add(change.mailbox)
            self._soon()

    def _soon(self) -> None:
        if self._due is None and self._running is None:
            self._due = self._reactor.callLater(_DELAY, self._begin)

    def _begin(self) -> None:
        self._due = None
        self._running = Deferred.fromCoroutine(self._look_at_changed()).addBoth(self._ended)

    async def _look_at_changed(self) -> None:
        changed, self._changed = self._changed, set()
        if self._settings.current.lifecycle.warn_percent:
            await self._judge(await self._store.read(rows.of_mailboxes, self._default, sorted(changed)))

    def _ended(self, result: object) -> None:
        self._running = None
        if isinstance(result, Failure):
            if isinstance(result.value, Unavailable):
                log.warn("Quotas are looked at later: {reason}", event="quota.not_looked_at", reason=result.value.reason)
            else:
                log.failure("Quotas were not looked at", result, event="quota.failed")
        if self._changed and not self._stopped:
            self._soon()

    async def _judge(self, accounts: Sequence[Full]) -> int:
        """Note what they crossed or fell below, and tell of the former. Raises Unavailable."""
        percents = sorted({int(percent) for percent in self._settings.current.lifecycle.warn_percent}, reverse=True)
        levels = [(one, percent) for one in accounts if (percent := level(one.used, one.quota, percents)) != one.warned]
        if not levels:
            return 0
        now = int(self._now())
        risen = set(await self._store.write(rows.crossed, [(one.id, one.warned, percent) for one, percent in levels], now))
        return await self._tell([(one, percent, now) for one, percent in levels if one.id in risen])

    async def _tell(self, crossings: Sequence[tuple[Full, int, int]]) -> int:
        total = 0
        for account, percent, at in crossings:
            if self._stopped:
                break
            total += await self._mail(account, percent, at)
            await self._store.write(rows.told, account.id, percent)
        return total

    async def _mail(self, account: Full, percent: int, at: int) -> bool:
        """Whether the owner's mailbox took it. Raises Unavailable; a refusal for good is logged."""
        hostname = self._settings.current.server.hostname
        to = Address(account.local, account.domain)
        id = new_id()
        origin = Origin(GENERATED, new_id(), helo=hostname)
        content = received(hostname, origin, id, None, (to,), self._now()) + letter(account, percent, at, hostname, self._now())
        envelope = Envelope(
            id, None, (to,), Message(content, len(content), not content.isascii()), origin, demands=Demands(utf8=not to.ascii)
        )
        try:
            await self._accept(envelope)
        except Unavailable:
            raise
        except Refused as refused:
            text = "A warning of a quota was refused: {reason}"
            log.warn(text, event="quota.warning_refused", user_id=account.id, email=str(to), reason=refused.reason)
            return False
        log.info("The owner was warned of the quota", event="quota.warned", user_id=account.id, email=str(to), percentage=percent)
        return True


def level(used: int, quota: int, percents: Sequence[int]) -> int:
    """The highest of ``percents`` (falling) that ``used`` octets have reached; 0: none, or there is no quota."""
    return next((percent for percent in percents if used * 100 >= quota * percent), 0) if quota else 0


def letter(account: Full, percent: int, at: int, hostname: str, now: float) -> bytes:
    """The mail that tells of a crossing."""
    to = Address(account.local, account.domain)
    full = account.used * 100 // account.quota if account.quota else 0
    text = (
        f"The mailboxes of {to} are {full} % full: {sizes.text(account.used)} of {sizes.text(account.quota)} are used.\n\n"
        "When they are full, new mail is refused and goes back to its senders.\n\n"
        "To make room, delete mail that you no longer need, the largest first, and empty the folders Trash and Spam.\n"
        f"If you need more room, write to postmaster@{account.domain}.\n\n"
        f"You get this once when {percent} % are crossed.\n"
    )
    return compose(
        sender=Address("postmaster", hostname),
        sender_name="Mail server",
        to=to,
        subject=f"Your mailboxes are {full} % full",
        date=now,
        message_id=f"quota.{account.id}.{percent}.{at}@{hostname}",
        text=text,
        fields=_FIELDS,
    )
