"""How much may be sent: budgets of accounts, of their domains, and of the addresses that strangers' mail comes from.

Each budget is a token bucket: it holds as much as its limit, fills evenly over its period, and every recipient takes one
out. So after a pause as much as the limit may go at once, and on average no more than it. A refusal is temporary
(4xx), in words. A message that is not stored after all gives back what it took.

Memory is bounded: of each kind the budgets used last are kept. Those of accounts and domains are filled in from the queue
when they are not in memory, so that a restart, or the bound, gives nobody a new one; recipients on this server are not
in the queue, and forgotten then. Each server of several on one database counts for itself.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Sequence
from functools import partial
from time import time
from typing import Any

from attrs import define
from twisted.logger import Logger

from mailx import config
from mailx.core.accounts import Accounts
from mailx.core.policy import Findings, Policy
from mailx.core.throttle import network
from mailx.mail.address import Address
from mailx.mail.envelope import GENERATED, WEBHOOK, Envelope, Origin
from mailx.mail.networks import within
from mailx.mail.reply import Reply
from mailx.store import Row, Store, spent

log = Logger()

MINUTE, HOUR, DAY = 60, 3600, 86400
_PER = {MINUTE: "a minute", HOUR: "an hour", DAY: "a day"}
_OTHERWISE = (GENERATED, WEBHOOK)  # this server's own mail has no limit, and the receiver limits its callers itself
_SIZE = 20000  # budgets of a kind that are kept

TOO_FAST = Reply(451, "4.7.1", "Too much mail from your address; try again in a minute")


@define
class Bucket:
    """One budget: ``limit`` recipients in ``period`` seconds. Times are seconds of a clock that does not jump."""

    limit: int
    period: int
    level: float
    at: float
    told: bool = False  # the log says already that it is empty

    def fill(self, now: float) -> None:
        """Add what has come in since."""
        self.level = min(self.limit, self.level + (now - self.at) * self.limit / self.period)
        self.at = now

    def take(self, count: float) -> None:
        """Take out ``count``, or put back ``-count``."""
        self.level = min(self.limit, self.level - count)

    def lacks(self, count: int) -> int:
        """Seconds until ``count`` are in it, if it ever holds as many; 0: they are."""
        missing = min(count, self.limit) - self.level
        return 0 if missing <= 0 else int(missing * self.period / self.limit) + 1


class Budgets:
    """The budgets of one kind, by key; each has a bucket for every (limit, period), of which none limits by 0."""

    def __init__(self, limits: Sequence[tuple[int, int]], size: int = _SIZE) -> None:
        self.limits: list[tuple[int, int]] = []
        self._size = size
        self._buckets: OrderedDict[Hashable, tuple[Bucket, ...]] = OrderedDict()
        self.renew(limits)

    def renew(self, limits: Sequence[tuple[int, int]]) -> None:
        """From now on these hold. What was used of a budget stays used; the buckets of a key are made anew when it comes next."""
        self.limits = [(limit, period) for limit, period in limits if limit]

    def get(self, key: Hashable, now: float) -> tuple[Bucket, ...] | None:
        """The buckets of ``key``, filled up to ``now``; None if they are not in memory."""
        buckets = self._buckets.get(key)
        if buckets is None:
            return None
        self._buckets.move_to_end(key)
        for bucket in buckets:
            bucket.fill(now)
        if [(bucket.limit, bucket.period) for bucket in buckets] != self.limits:
            renewed = self._renewed({bucket.period: bucket for bucket in buckets})
            if renewed is None:
                del self._buckets[key]
                return None
            buckets = self._buckets[key] = renewed
        return buckets

    def _renewed(self, before: dict[int, Bucket]) -> tuple[Bucket, ...] | None:
        """The buckets of the present limits after those ``before``; None when there was none of a period."""
        renewed = []
        for limit, period in self.limits:
            bucket = before.get(period)
            if bucket is None:
                return None
            renewed.append(Bucket(limit, period, limit - (bucket.limit - bucket.level), bucket.at, bucket.told))
        return tuple(renewed)

    def begin(self, key: Hashable, now: float, past: Sequence[tuple[float, int]] = ()) -> tuple[Bucket, ...]:
        """Keep buckets for ``key`` that are as full as they are after ``past``: (time, recipients), in order."""
        buckets = []
        for limit, period in self.limits:
            bucket = Bucket(limit, period, limit, min([now, *[when for when, _ in past[:1]]]))
            for when, count in past:
                bucket.fill(max(when, bucket.at))
                bucket.take(count)
            bucket.fill(now)
            buckets.append(bucket)
        self._buckets[key] = tuple(buckets)
        if len(self._buckets) > self._size:
            self._buckets.popitem(last=False)
        return self._buckets[key]

    def __len__(self) -> int:
        return len(self._buckets)


class SendLimits(Policy):
    """The policy that keeps to ``settings``. It stands last: what others refuse costs nothing.

    Addresses in the ``trusted`` networks have no limit; ``accounts`` knows the domains of accounts, ``store`` what they
    have sent. ``wall`` gives seconds since 1970.
    """

    def __init__(
        self,
        settings: config.Limits,
        trusted: tuple[str, ...],
        accounts: Accounts,
        store: Store,
        reactor: Any,
        wall: Callable[[], float] = time,
        size: int = _SIZE,
    ) -> None:
        self._accounts = accounts
        self._store = store
        self._seconds: Callable[[], float] = reactor.seconds
        self._wall = wall
        self._by_account, self._by_domain, self._by_address = Budgets((), size), Budgets((), size), Budgets((), size)
        self.renew(settings)
        self._trusted = trusted

    def renew(self, settings: config.Limits) -> None:
        """Keep to ``settings`` from now on."""
        self._by_account.renew([(settings.account_hour, HOUR), (settings.account_day, DAY)])
        self._by_domain.renew([(settings.domain_hour, HOUR)])
        self._by_address.renew([(settings.address_minute, MINUTE)])

    async def sender(self, origin: Origin, sender: Address | None, size: int | None) -> Reply | None:
        """Refuse at once who may not send a single message now."""
        if origin.account is not None:
            return _objection(await self._own(origin.account), 1)
        buckets = self._of_address(origin)
        return TOO_FAST if any(bucket.lacks(1) for bucket in buckets) else None

    async def check(self, envelope: Envelope, findings: Findings) -> Reply | None:
        """Take the message's recipients out of the budgets, if they hold as many."""
        origin = envelope.origin
        if envelope.filing is not None or origin.protocol in _OTHERWISE:
            return None
        count = len(set(envelope.recipients)) if len(envelope.recipients) > 1 else 1
        if origin.account is not None:
            buckets = await self._own(origin.account)
            reply = _objection(buckets, count)
            if reply is not None:
                self._tell(buckets, origin, count)
                return reply
        else:
            buckets = self._of_address(origin)
            if any(bucket.lacks(count) for bucket in buckets):
                self._tell(buckets, origin, count)
                return TOO_FAST
        if buckets:
            for bucket in buckets:
                bucket.take(count)
                bucket.told = False
            findings.undo.append(partial(_give_back, buckets, count))
        return None

    def _of_address(self, origin: Origin) -> tuple[Bucket, ...]:
        """The budget of a stranger's address; a front server (LMTP) and trusted networks have none."""
        budgets = self._by_address
        if not budgets.limits or not origin.address or "LMTP" in origin.protocol or within(origin.address, self._trusted):
            return ()
        key, now = network(origin.address), self._seconds()
        return budgets.get(key, now) or budgets.begin(key, now)

    async def _own(self, account: int) -> tuple[Bucket, ...]:
        """The budgets of an account and of its domain."""
        buckets: tuple[Bucket, ...] = ()
        if self._by_account.limits:
            buckets = await self._remembered(self._by_account, account, lambda since: self._store.read(spent.by_account, account, since))
        if self._by_domain.limits:
            user = await self._accounts.user(account)
            if user is not None:
                domain = user.address.domain
                buckets += await self._remembered(self._by_domain, domain, lambda since: self._store.read(spent.by_domain, domain, since))
        return buckets

    async def _remembered(self, budgets: Budgets, key: Hashable, sent: Callable[[int], Awaitable[list[Row]]]) -> tuple[Bucket, ...]:
        """The buckets of ``key``; if they are not in memory, as the queue tells what was sent."""
        buckets = budgets.get(key, self._seconds())
        if buckets is None:
            wall = self._wall()
            rows = await sent(int(wall) - max(period for _, period in budgets.limits))
            now = self._seconds()
            # Another message of the same account may have come first meanwhile.
            buckets = budgets.get(key, now) or budgets.begin(key, now, [(now - max(0.0, wall - when), count) for when, count in rows])
        return buckets

    def _tell(self, buckets: Sequence[Bucket], origin: Origin, count: int) -> None:
        """Say in the log, once until mail passes again, that a budget is used up."""
        for bucket in buckets:
            if bucket.lacks(count) and not bucket.told:
                bucket.told = True
                log.warn(
                    "Sending limit reached",
                    event="limits.reached",
                    user_id=origin.account,
                    client_ip=origin.address,
                    limit=bucket.limit,
                    period_seconds=bucket.period,
                    recipients_count=count,
                )


def _give_back(buckets: Sequence[Bucket], count: int) -> None:
    for bucket in buckets:
        bucket.take(-count)


def _objection(buckets: Sequence[Bucket], count: int) -> Reply | None:
    """What to say to an account whose budgets do not hold ``count`` recipients."""
    for bucket in buckets:
        wait = bucket.lacks(count)
        limit = f"{bucket.limit} {'recipients' if bucket.limit > 1 else 'recipient'} {_PER[bucket.period]}"
        if count > bucket.limit:
            return Reply(452, "4.7.1", f"Too many recipients: you may send to {limit}")
        if wait:
            return Reply(452, "4.7.1", f"Sending limit of {limit} reached; try again in {_duration(wait)}")
    return None


def _duration(seconds: int) -> str:
    minutes = -(-seconds // MINUTE)
    if minutes < 120:
        return f"{minutes} minute{'s' if minutes > 1 else ''}"
    return f"{-(-minutes // 60)} hours"
