"""The watch: once a minute it looks at queue, deliveries, accounts, disk, certificates, logins and settings, and tells the alerts.

Every look is one read by a reader of the store and one call in a thread; nothing holds up the event loop or the writer. An alert
that was opened at a threshold is over only well below it, so that nobody is told again and again of what goes up and down.
While the store does not answer, that is the alert.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import time
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from mailx import config
from mailx.core import alerts as kinds
from mailx.core.alerts import Alerts
from mailx.core.content import Threads
from mailx.core.dangers import dangers
from mailx.core.disk import disk
from mailx.core.settings import Settings
from mailx.mail.reply import Unavailable
from mailx.mail.times import duration

log = Logger()

INTERVAL = 60.0
_DAY = 86400
_PRUNE_EVERY = 1440  # looks
_STAYS = 0.8  # part of a threshold down to which an alert stays
_STAYS_RARE = 0.5  # for counts of what happens now and then
_QUOTA_STAYS, _DISK_STAYS = 5, 2  # percent below the threshold
_AWAY = 2  # looks that the store may leave unanswered


class Served(Protocol):
    """What is looked at of a certificate: :class:`mailx.ops.certificates.Overview`."""

    @property
    def names(self) -> Sequence[str]: ...

    @property
    def expires(self) -> float: ...

    @property
    def certificate_file(self) -> str: ...


class Certificates(Protocol):
    """The certificates of the listeners: :class:`mailx.ops.certificates.Certificates`."""

    def overview(self) -> Sequence[Served]: ...


class Watch:
    """Looks once a minute, from ``start`` until ``stop``."""

    def __init__(
        self, alerts: Alerts, settings: Settings, data: Path, certificates: Certificates, reactor: Any, now: Callable[[], float] = time
    ) -> None:
        """``data`` lies on the disk that is watched."""
        self._alerts = alerts
        self._settings = settings
        self._data = data
        self._certificates = certificates
        self._now = now
        self._threads: Threads = partial(deferToThreadPool, reactor, reactor.getThreadPool())
        self._loop = LoopingCall(self._tick)
        self._loop.clock = reactor
        self._running: Deferred[None] | None = None
        self._unanswered = 0
        self._looks = 0

    def start(self) -> None:
        """Look now and every minute."""
        self._loop.start(INTERVAL)

    async def stop(self) -> None:
        """Look no more; what is under way ends."""
        if self._loop.running:
            self._loop.stop()
        if self._running is not None:
            await self._running

    def _tick(self) -> "Deferred[None]":
        self._running = Deferred.fromCoroutine(self.look())
        return self._running

    async def look(self) -> None:
        """One look at everything. Never raises; what stumbles keeps nothing else from being looked at."""
        try:
            await self._look()
        except Unavailable as error:
            self._unanswered += 1
            if self._unanswered >= _AWAY:
                self._alerts.store_away(error.reason)
        else:
            self._unanswered = 0
            self._alerts.store_back()

    async def _look(self) -> None:
        for part in (self._told, self._queue, self._disk, self._ends, self._counts, self._dangers, self._past):
            try:
                await part(self._settings.current.alerts)
            except Unavailable:
                raise
            except Exception:
                log.failure("The watch stumbled", event="watch.failed")
        self._looks += 1

    async def _told(self, wanted: config.Alerts) -> None:
        await self._alerts.refresh()

    async def _counts(self, wanted: config.Alerts) -> None:
        await self._counted(kinds.FAILURES, self._alerts.failures(), wanted.failures_per_hour, "deliveries failed for good")
        await self._counted(kinds.LOGINS, self._alerts.logins(), wanted.logins_per_hour, "logins of administrators failed")

    async def _dangers(self, wanted: config.Alerts) -> None:
        await self._alerts.settle(kinds.UNSAFE, {danger.key: str(danger) for danger in dangers(self._settings.current)})

    async def _past(self, wanted: config.Alerts) -> None:
        if self._looks % _PRUNE_EVERY == 0:
            await self._alerts.prune()

    async def _queue(self, wanted: config.Alerts) -> None:
        """What the store knows: how much waits, for how long, and which accounts are full."""
        now, percent, age = self._now(), wanted.quota_percent, config.seconds(wanted.queue_age)
        figures = await self._alerts.figures(max(1, percent - _QUOTA_STAYS) if percent else 0)
        text = f"{figures.waiting} recipients wait in the queue. The page Queue shows for which servers."
        await self._threshold(kinds.QUEUE_DEPTH, figures.waiting, wanted.queue_depth, _STAYS, text)
        waited = int(now) - figures.oldest if figures.oldest else 0
        text = f"A message has waited for {duration(waited)}. The page Queue shows why its server does not take it."
        await self._threshold(kinds.QUEUE_AGE, waited, age, _STAYS, text)
        full, nearly = {}, set()
        for address, used, quota in figures.full:
            if used * 100 >= quota * percent:
                full[address] = f"{address} uses {used * 100 // quota} percent of its storage; mail for it is refused when it is full."
            else:
                nearly.add(address)
        await self._alerts.settle(kinds.QUOTA, full, nearly)

    async def _disk(self, wanted: config.Alerts) -> None:
        percent = wanted.disk_percent and (await self._threads(disk, self._data)).full
        holds: dict[str, str] = {}
        keeps = {"data"} if percent >= wanted.disk_percent - _DISK_STAYS and wanted.disk_percent else set()
        if wanted.disk_percent and percent >= wanted.disk_percent:
            holds["data"] = f"The disk with the data is full to {percent} percent. When it is full, mail in is put off."
        await self._alerts.settle(kinds.DISK, holds, keeps)

    async def _ends(self, wanted: config.Alerts) -> None:
        """Certificates whose end is near."""
        holds: dict[str, str] = {}
        for one in self._certificates.overview() if wanted.certificate_days else ():
            left = one.expires - self._now()
            if left < wanted.certificate_days * _DAY:
                name, day = (
                    one.names[0] if one.names else one.certificate_file,
                    datetime.fromtimestamp(one.expires, UTC).strftime("%Y-%m-%d"),
                )
                verb = "has ended" if left <= 0 else "ends"
                holds[one.certificate_file] = (
                    f"The certificate for {name} {verb} on {day}. Renew it: programs refuse to connect after that day."
                )
        await self._alerts.settle(kinds.CERTIFICATE, holds)

    async def _counted(self, kind: str, count: int, most: int, what: str) -> None:
        await self._threshold(kind, count, most, _STAYS_RARE, f"{count} {what} within an hour.")

    async def _threshold(self, kind: str, value: int, most: int, stays: float, text: str) -> None:
        """Open from ``most`` (0: never) on, over below ``stays`` times that."""
        holds = {"": text} if most and value >= most else {}
        keeps = {""} if most and value >= most * stays else set()
        await self._alerts.settle(kind, holds, keeps)
