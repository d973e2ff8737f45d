"""Alerts: what administrators are told without asking, once when it begins, and shown until it is over.

``settle`` is told what holds now of one kind: it opens what is new and closes what is over, durably. ``tell`` raises an event,
which is over when somebody acknowledges it; it returns at once and never fails. Both are told by mail and URL by
:mod:`mailx.core.alert_notices`. While the store does not answer, events wait in memory, and the trouble itself is told by URL.
"""

import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Set
from time import time
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailx.core import audit
from mailx.core.alert_notices import Accept, Alert, Notices, Poster
from mailx.core.progress import BOUNCED, Step
from mailx.core.settings import Settings
from mailx.core.users import DirectoryError
from mailx.mail.reply import Unavailable
from mailx.store import Row, Store
from mailx.store import alerts as rows
from mailx.store.alerts import Figures, Raised
from mailx.store.cipher import Cipher, CipherError

log = Logger()

QUEUE_AGE = "queue.age"
QUEUE_DEPTH = "queue.depth"
FAILURES = "deliveries.failed"
QUOTA = "account.quota"
DISK = "disk.full"
CERTIFICATE = "certificate.expires"
LOGINS = "logins.failed"
UNSAFE = "settings.unsafe"
STORE = "store.away"
LOCKOUT = "security.lockout"
SESSION_SECRET = "security.session_secret"
PEER_KEY = "security.peer_key"
REMOTE_KEY = "security.remote_key"
LOG_FORK = "security.key_log_fork"
LOG_LOST = "security.key_log_lost"
LOG_RESTORED = "security.key_log_restored"

TITLES: Mapping[str, str] = {
    QUEUE_AGE: "Mail waits for long",
    QUEUE_DEPTH: "Much mail waits",
    FAILURES: "Many deliveries fail",
    QUOTA: "An account is nearly full",
    DISK: "The disk is nearly full",
    CERTIFICATE: "A certificate ends soon",
    LOGINS: "Many logins of administrators fail",
    UNSAFE: "A setting is unsafe",
    STORE: "The store did not answer",
    LOCKOUT: "Logins are locked for a while",
    SESSION_SECRET: "All administrators were logged out",
    PEER_KEY: "A MailX server shows another key",
    REMOTE_KEY: "A MailX server shows wrong keys of a user",
    LOG_FORK: "A key log was forked",
    LOG_LOST: "A key log goes on without entries that were in it",
    LOG_RESTORED: "Our key log is not the one that others know",
}
EVENTS = frozenset((LOCKOUT, SESSION_SECRET, PEER_KEY, REMOTE_KEY, LOG_FORK, LOG_LOST, LOG_RESTORED))  # over when they are acknowledged
# What one of several nodes may see and the others not: it is over when none of them sees it any more.
OF_A_NODE = frozenset((FAILURES, DISK, CERTIFICATE, LOGINS, UNSAFE))

KIND_LIMIT = 50  # alerts of one kind that may be open at a time; more are not raised, lest they crowd out other kinds
OPEN_LIMIT = len(TITLES) * KIND_LIMIT
KEEP_DAYS = 365  # that past alerts are kept
_PURPOSE = b"alert"
_TEXT = 1000  # characters
_EVENTS_LIMIT = 100  # events that wait for the store
_AGAIN = 60.0  # seconds until the store is tried again
_PRUNED = 500
_FULL = 200  # full accounts that are looked at
_HOUR = 3600


class _Hourly:
    """How often something happened within the last hour, to the minute, by the clock that never jumps."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._minutes: deque[list[int]] = deque()  # minute, count

    def add(self) -> None:
        minute = int(self._reactor.seconds()) // 60
        if not self._minutes or self._minutes[-1][0] != minute:
            self._minutes.append([minute, 0])
        self._minutes[-1][1] += 1

    def count(self) -> int:
        since = int(self._reactor.seconds()) // 60 - 60
        while self._minutes and self._minutes[0][0] <= since:
            self._minutes.popleft()
        return sum(count for _, count in self._minutes)


@frozen
class _Event:
    kind: str
    subject: str
    text: str
    at: int
    over: bool = False


class Alerts:
    """The alerts of one store. ``start`` when reception works, ``stop`` before it ends."""

    def __init__(
        self, store: Store, cipher: Cipher, settings: Settings, hostname: str, reactor: Any, now: Callable[[], float] = time
    ) -> None:
        self._store = store
        self._cipher = cipher
        self._settings = settings
        self._reactor = reactor
        self._now = now
        self._notices = Notices(store, settings, hostname, reactor, now, self._opened)
        self._open: dict[bytes, str] = {}  # hash to kind of what is open, as far as is known here
        self._acknowledged = 0  # of them
        self._failures = _Hourly(reactor)
        self._logins = _Hourly(reactor)
        self._events: deque[_Event] = deque(maxlen=_EVENTS_LIMIT)
        self._due: IDelayedCall | None = None
        self._writing: Deferred[None] | None = None
        self._away_since = 0
        self._stopped = False
        self._single = not getattr(store, "node", "")  # no other server uses the database

    async def start(self, accept: Accept, poster: Poster | None = None) -> None:
        """Tell from now on: mail goes in by ``accept`` (of Reception), ``poster`` posts. Raises Unavailable."""
        await self.refresh()
        self._notices.start(accept, poster)
        self._soon()

    async def stop(self) -> None:
        """Raise what was told last; what the store does not take now is lost and logged."""
        self._stopped = True
        if self._due is not None:
            self._due.cancel()
            self._due = None
        if self._writing is not None:
            await self._writing
        if self._events:
            await self._write_events()
        await self._notices.stop()

    # What is raised.

    def tell(self, kind: str, subject: str, text: str) -> None:
        """Raise an event. Returns at once; the same again is not raised before it was acknowledged."""
        self._events.append(_Event(kind, subject, text, int(self._now())))
        self._soon()

    def login_failed(self) -> None:
        """A login of an administrator failed."""
        self._logins.add()

    def note(self, step: Step) -> None:
        """A listener of :class:`mailx.core.progress.Progress`. Alerts that bounce are no reason for further alerts."""
        if step.state == BOUNCED and not self._notices.mine(step.envelope):
            self._failures.add()

    def failures(self) -> int:
        """Deliveries that failed for good within the last hour, since this server runs."""
        return self._failures.count()

    def logins(self) -> int:
        """Logins of administrators that failed within the last hour, since this server runs."""
        return self._logins.count()

    async def settle(self, kind: str, holds: Mapping[str, str], keeps: Set[str] = frozenset()) -> None:
        """What holds now of ``kind``: for each subject a text. Others are over, but for ``keeps``, which stay as they are.

        Raises Unavailable.
        """
        now = int(self._now())
        hashes = {self._hash(kind, subject): subject for subject in holds}
        staying = {self._hash(kind, subject) for subject in keeps}
        alone = self._single or kind not in OF_A_NODE
        if not alone and (seen := [hash for hash in self._open if hash in hashes or hash in staying]):
            with audit.apart():
                await self._store.write(rows.confirm, seen)
        for hash, subject in hashes.items():
            if hash not in self._open:
                await self._raise(_Event(kind, subject, holds[subject], now))
        for hash in [hash for hash, of in self._open.items() if of == kind and hash not in hashes and hash not in staying]:
            with audit.apart():
                closed = await self._store.write(rows.close, hash, now, alone)
            if closed or alone:
                self._open.pop(hash, None)
            if closed:
                log.info("An alert is over", event="alert.closed", kind=kind)

    async def _raise(self, event: _Event) -> None:
        """Store one alert. Raises Unavailable."""
        hash = self._hash(event.kind, event.subject)
        if sum(kind == event.kind for kind in self._open.values()) >= KIND_LIMIT:
            return
        guid = os.urandom(16)
        value = json.dumps({"subject": event.subject[:_TEXT], "text": event.text[:_TEXT]}).encode()
        settings = self._settings.current.alerts
        raised = Raised(
            event.kind,
            hash,
            guid,
            self._cipher.seal(_PURPOSE, guid, value),
            event.at,
            int(self._now()) if event.over else None,
            bool(settings.mail),
            bool(settings.url),
        )
        with audit.apart():
            new = await self._store.write(rows.add, raised)
        if not event.over:
            self._open[hash] = event.kind
        if new:
            log.warn("Alert: {title}", event="alert.raised", kind=event.kind, title=TITLES.get(event.kind, event.kind))
            self._notices.wake()

    # The store's own trouble.

    def store_away(self, reason: str) -> None:
        """The store does not answer: told by URL now, raised when it answers again."""
        if not self._away_since:
            self._away_since = int(self._now())
            log.error("Alert: the store does not answer: {reason}", event="alert.store_away", reason=reason)
            text = "The store does not answer: mail in is put off, and mail out waits."
            self._notices.post_now(Alert(0, STORE, TITLES[STORE], "", text, self._away_since))

    def store_back(self) -> None:
        """The store answers."""
        if self._away_since:
            minutes = max(1, (int(self._now()) - self._away_since + 59) // 60)
            text = f"The store did not answer for about {minutes} minutes. Its log tells why: space, rights, or the database server."
            self._events.append(_Event(STORE, "", text, self._away_since, over=True))
            self._away_since = 0
            self._soon()

    async def figures(self, percent: int) -> Figures:
        """What the store knows of queue and accounts; those that have used ``percent`` of their quota. Raises Unavailable."""
        return await self._store.read(rows.figures, percent, self._settings.current.accounts.quota, _FULL)

    # What is shown.

    @property
    def count(self) -> int:
        """Open alerts that nobody has acknowledged, as far as is known without asking the store."""
        return max(0, len(self._open) - self._acknowledged)

    async def open(self) -> list[Alert]:
        """The open alerts, the newest first. Raises Unavailable."""
        found = self._opened(await self._store.read(rows.open_ones, OPEN_LIMIT))
        self._acknowledged = sum(alert.acknowledged is not None for alert in found)
        return found

    async def past(self, before: int = 0, limit: int = 50) -> list[Alert]:
        """At most ``limit`` alerts that are over, with ids below ``before``, the newest first. Raises Unavailable."""
        return self._opened(await self._store.read(rows.past, before, limit))

    async def acknowledge(self, id: int) -> None:
        """Whoever acts has seen it; an event is over with that. Raises DirectoryError, Unavailable."""
        row = await self._store.read(rows.by_id, id)
        if row is None:
            raise DirectoryError("not_found", "There is no such alert", "It may have been dropped, being old.")
        (alert,) = self._opened([row])
        audit.note(target=f"{alert.kind} {id}", after={"acknowledged": True})
        closes = alert.kind in EVENTS
        try:
            await self._store.write(rows.acknowledge, id, audit.by(), int(self._now()), closes)
        except rows.Seen:
            raise DirectoryError("exists", "Somebody has acknowledged it already", "Nothing is left to do.") from None
        await self.refresh()

    async def refresh(self) -> None:
        """See what is open, other nodes' alerts too, and whether something is still to be told. Raises Unavailable."""
        found = await self._store.read(rows.open_ones, OPEN_LIMIT)
        self._open = {bytes(row[2]): str(row[1]) for row in found}
        self._acknowledged = sum(row[7] is not None for row in found)
        self._notices.wake()

    async def prune(self) -> None:
        """Drop what was over long ago. Raises Unavailable."""
        before = int(self._now()) - KEEP_DAYS * 24 * _HOUR
        while await self._store.write(rows.prune, before, _PRUNED) == _PRUNED:
            pass

    # Events, written behind.

    def _soon(self, wait: float = 0.0) -> None:
        if self._events and self._due is None and self._writing is None and not self._stopped:
            self._due = self._reactor.callLater(wait, self._begin)

    def _begin(self) -> None:
        self._due = None
        self._writing = Deferred.fromCoroutine(self._write_events()).addBoth(self._written)

    async def _write_events(self) -> None:
        try:
            while self._events:
                event = self._events[0]
                await self._raise(event)
                if self._events and self._events[0] is event:  # too many others may have pushed it out meanwhile
                    self._events.popleft()
        except Unavailable as error:
            log.warn("Alerts are raised later: {reason}", event="alert.delayed", reason=error.reason)

    def _written(self, result: object) -> None:
        self._writing = None
        if isinstance(result, Failure):
            log.failure("An alert was not raised", result, event="alert.failed")
            self._events.clear()
        self._soon(_AGAIN)

    def _hash(self, kind: str, subject: str) -> bytes:
        return self._cipher.hash(_PURPOSE, kind.encode(), subject.encode(errors="replace"))

    def _opened(self, found: Iterable[Row]) -> list[Alert]:
        """Rows as values; what does not open is told without its text."""
        alerts = []
        for id, kind, _, guid, sealed, opened, closed, acknowledged, by in found:
            try:
                value = json.loads(self._cipher.open(_PURPOSE, bytes(guid), bytes(sealed)))
            except (CipherError, ValueError):
                log.error("An alert does not open", event="alert.damaged", id=id)
                value = {}
            subject, text = str(value.get("subject", "")), str(value.get("text", ""))
            alerts.append(Alert(int(id), str(kind), TITLES.get(kind, str(kind)), subject, text, opened, closed, acknowledged, str(by)))
        return alerts
