"""Telling of alerts: each one once, by mail through reception and as signed JSON to a URL; of too many in an hour one summary.

What was not told yet stands in the store, so a crash forgets none, and of several nodes one tells; one that falls between
the telling and its note is told again, with the same Message-ID and key. A mail of this kind has the null sender and says
that it is automatic: nothing answers it. What cannot be told for a day is given up.
"""

import json
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailx.core.posting import NotPosted, signed
from mailx.core.settings import Settings
from mailx.core.trace import received
from mailx.core.users import canonical_domain
from mailx.mail.address import Address, AddressError
from mailx.mail.compose import compose, mailbox
from mailx.mail.envelope import GENERATED, Demands, Envelope, Origin, new_id
from mailx.mail.message import Message
from mailx.mail.printable import printable
from mailx.mail.reply import Refused
from mailx.mail.times import iso
from mailx.store import Row, Store
from mailx.store import alerts as rows
from mailx.store.alerts import MAILED, POSTED

log = Logger()

PER_HOUR = 20  # told one by one; the others in one summary
_HOUR = 3600.0
_DAY = 86400
_AGAIN, _AGAIN_AT_MOST = 60.0, 3600.0  # seconds until what failed is tried again, doubled each time
_LEASE = 120  # seconds that a node may take to tell
_SUMMED = 200  # alerts of one summary
_MINE = 1000  # envelopes that are remembered as ours

Accept = Callable[..., Awaitable[Any]]


@frozen
class Alert:
    """One alert. Times are seconds since 1970."""

    id: int
    kind: str
    title: str
    subject: str
    text: str
    opened: int
    closed: int | None = None
    acknowledged: int | None = None
    acknowledged_by: str = ""


class Poster(Protocol):
    """Posts: :class:`mailx.core.posting.Posting`."""

    async def post(self, url: str, body: bytes, fields: Mapping[str, str]) -> int:
        """The status of the answer; raises NotPosted."""


class _Failed(Exception):
    """It was not told; worth another try."""


class _Channel:
    """One way of telling: how often it was used within the hour, and how long it rests after a failure."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.times: deque[float] = deque()
        self.held = False  # more than PER_HOUR: what comes goes into a summary
        self.wait = _AGAIN
        self.rests = 0.0  # until when

    def failed(self, now: float) -> float:
        """It failed: how long it rests."""
        wait, self.wait = self.wait, min(2 * self.wait, _AGAIN_AT_MOST)
        self.rests = now + wait
        return wait

    def worked(self) -> None:
        self.wait, self.rests = _AGAIN, 0.0

    def room(self, now: float) -> int:
        while self.times and self.times[0] <= now - _HOUR:
            self.times.popleft()
        return max(0, PER_HOUR - len(self.times))


class Notices:
    """Tells of the alerts that the store says are untold."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        hostname: str,
        reactor: Any,
        now: Callable[[], float],
        opened: Callable[[Iterable[Row]], list[Alert]],
    ) -> None:
        self._store = store
        self._settings = settings
        self._hostname = hostname
        self._reactor = reactor
        self._now = now
        self._opened = opened
        self._accept: Accept | None = None
        self._poster: Poster | None = None
        self._channels = (_Channel(MAILED), _Channel(POSTED))
        self._due: IDelayedCall | None = None
        self._running: Deferred[None] | None = None
        self._again = False
        self._stopped = False
        self._mine: OrderedDict[str, None] = OrderedDict()

    def start(self, accept: Accept, poster: Poster | None) -> None:
        """Tell from now on, also of what was left untold."""
        self._accept, self._poster = accept, poster
        self.wake()

    async def stop(self) -> None:
        """Begin nothing more; what is under way ends."""
        self._stopped = True
        if self._due is not None:
            self._due.cancel()
            self._due = None
        if self._running is not None:
            await self._running

    def wake(self) -> None:
        """There may be something to tell."""
        self._later(0.0)

    def mine(self, envelope: str) -> bool:
        """Whether the envelope with this id told of an alert."""
        return envelope in self._mine

    def post_now(self, alert: Alert) -> None:
        """Post ``alert``, which is not in the store; one try."""
        if self._poster is not None and self._settings.current.alerts.url:
            Deferred.fromCoroutine(self._post([alert], f"{alert.kind}-{alert.opened}")).addErrback(self._untold, POSTED)

    def _later(self, wait: float) -> None:
        if self._stopped or self._accept is None:
            return
        if self._running is not None:
            self._again = True
        elif self._due is None:
            self._due = self._reactor.callLater(wait, self._begin)
        elif self._due.getTime() > self._reactor.seconds() + wait:
            self._due.reset(wait)

    def _begin(self) -> None:
        self._due = None
        self._again = False
        self._running = Deferred.fromCoroutine(self._run()).addBoth(self._ended)

    def _ended(self, result: Any) -> None:
        self._running = None
        if isinstance(result, Failure):
            self._untold(result, "")
            self._later(_AGAIN)
        elif result is not None:
            self._later(result)
        if self._again:
            self._later(0.0)

    async def _run(self) -> float | None:
        """Tell by every channel; after how many seconds to go on, if at all. Raises Unavailable."""
        waits = [await self._tell_by(channel) for channel in self._channels]
        return min((wait for wait in waits if wait is not None), default=None)

    async def _tell_by(self, channel: _Channel) -> float | None:
        """Tell what there is; after how many seconds to go on, if at all. Raises Unavailable."""
        now: float = self._reactor.seconds()  # for what goes by hours; it never jumps
        if now < channel.rests:
            return channel.rests - now
        found = self._opened(await self._store.read(rows.untold, channel.name, int(self._now()), _LEASE, _SUMMED))
        found = await self._without_old(channel, found)
        room = channel.room(now)
        if not found or (channel.held and not room):
            return channel.times[0] + _HOUR - now if found else None
        batches = [found] if channel.held else [[alert] for alert in found[:room]]
        try:
            for batch in batches:
                await self._tell(channel, batch)
        except _Failed as failed:
            log.warn("An alert was not told: {reason}", event="alert.not_told", channel=channel.name, reason=str(failed))
            return channel.failed(now)
        channel.worked()
        if channel.held:
            channel.held = False
            return 0.0 if len(found) == _SUMMED else None
        channel.held = len(found) > room
        return max(1.0, channel.times[0] + _HOUR - now) if channel.held else None

    async def _without_old(self, channel: _Channel, found: list[Alert]) -> list[Alert]:
        """Those that are worth telling still, and may be told by this channel."""
        settings = self._settings.current.alerts
        wanted = bool(settings.mail if channel.name == MAILED else settings.url and self._poster is not None)
        since = int(self._now()) - _DAY if wanted else int(self._now()) + 1
        gone = [alert.id for alert in found if alert.opened < since]
        if gone:
            if wanted:
                log.error("Alerts were told to nobody for a day: given up", event="alert.given_up", channel=channel.name, count=len(gone))
            await self._store.write(rows.told, channel.name, gone, 0)
        return [alert for alert in found if alert.opened >= since]

    async def _tell(self, channel: _Channel, alerts: list[Alert]) -> None:
        """Tell of one alert or sum up several, and note it; not of what another node is telling. Raises _Failed, Unavailable."""
        ours = set(await self._store.write(rows.claim, channel.name, [alert.id for alert in alerts], int(self._now()), _LEASE))
        alerts = [alert for alert in alerts if alert.id in ours]
        if not alerts:
            return
        channel.times.append(self._reactor.seconds())
        try:
            if channel.name == MAILED:
                await self._mail(alerts)
            else:
                await self._post(alerts, f"alert-{alerts[0].id}-{len(alerts)}")
        except _Failed:
            await self._store.write(rows.release, channel.name, sorted(ours))
            raise
        await self._store.write(rows.told, channel.name, sorted(ours), int(self._now()))

    async def _mail(self, alerts: Sequence[Alert]) -> None:
        recipients = _addresses(self._settings.current.alerts.mail)
        if not recipients or self._accept is None:
            return
        now = self._now()
        id = new_id()
        origin = Origin(GENERATED, new_id(), helo=self._hostname)
        head = received(self._hostname, origin, id, None, recipients, now)
        content = head + _letter(alerts, recipients, self._hostname, now)
        demands = Demands(utf8=not recipients[0].ascii)
        envelope = Envelope(id, None, tuple(recipients), Message(content, len(content), not content.isascii()), origin, demands=demands)
        self._mine[id] = None
        if len(self._mine) > _MINE:
            self._mine.popitem(last=False)
        try:
            replies = await self._accept(envelope, each=True)
        except Refused as refused:
            raise _Failed(refused.reason) from None
        refusals = {recipient: reply for recipient, reply in replies.items() if not reply.done}
        if refusals and len(refusals) == len(replies):  # somebody may put the address right
            raise _Failed(str(next(iter(refusals.values()))))
        for recipient, reply in refusals.items():
            log.warn("An alert was refused: {reason}", event="alert.refused", recipient=str(recipient), reason=str(reply))

    async def _post(self, alerts: Sequence[Alert], key: str) -> None:
        settings = self._settings.current
        if self._poster is None:
            return
        value = {"type": "alert" if len(alerts) == 1 else "alerts", "server": self._hostname, "alerts": [_json(alert) for alert in alerts]}
        body = json.dumps(value).encode()
        fields = signed(settings.webhook.header_prefix, settings.alerts.secret, body, self._now())
        try:
            status = await self._poster.post(settings.alerts.url, body, {**fields, "Idempotency-Key": key})
        except NotPosted as error:
            raise _Failed(error.reason) from None
        if not 200 <= status < 300:
            raise _Failed(f"status {status}")

    def _untold(self, failure: Failure, channel: str) -> None:
        if isinstance(failure.value, Refused):
            log.warn("Alerts are told later: {reason}", event="alert.delayed", reason=failure.value.reason)
        elif isinstance(failure.value, _Failed):
            log.warn("An alert was not told: {reason}", event="alert.not_told", channel=channel, reason=str(failure.value))
        else:
            log.failure("Alerts were not told", failure, event="alert.failed")


def _addresses(texts: Iterable[str]) -> list[Address]:
    """The addresses, those in ASCII first: the header names others only where there are none (RFC 6532 needs SMTPUTF8 all the way)."""
    found = []
    for text in texts:
        try:
            address = Address.parse(text)
        except AddressError:
            continue
        found.append(Address(address.local, canonical_domain(address.domain)) if address.local.isascii() else address)
    return sorted(found, key=lambda each: not each.ascii)


def _json(alert: Alert) -> dict[str, Any]:
    return {
        "id": alert.id,
        "kind": alert.kind,
        "title": alert.title,
        "subject": alert.subject,
        "text": alert.text,
        "openedAt": iso(alert.opened),
    }


def _letter(alerts: Sequence[Alert], recipients: Sequence[Address], hostname: str, now: float) -> bytes:
    """The mail that tells of ``alerts``."""
    first = alerts[0]
    title = first.title if len(alerts) == 1 else f"{len(alerts)} alerts"
    opened = [datetime.fromtimestamp(alert.opened, UTC) for alert in alerts]
    texts = [f"{at:%Y-%m-%d %H:%M} UTC  {alert.title}\n{printable(alert.text)}\n" for at, alert in zip(opened, alerts, strict=True)]
    text = "\n".join(
        [f"The mail server {hostname} has something to tell:\n", *texts, "Open alerts stand on the page Alerts of its control panel."]
    )
    fields = [("Auto-Submitted", "auto-generated"), ("X-Auto-Response-Suppress", "All"), ("Precedence", "bulk")]
    if copies := ", ".join(mailbox(each) for each in recipients[1:4] if each.ascii):
        fields.append(("Cc", copies))
    return compose(
        sender=Address("postmaster", hostname),
        sender_name="Mail server",
        to=recipients[0],
        subject=f"[{hostname}] {title}"[:200],
        date=now,
        message_id=f"alert.{first.id}.{first.opened}.{len(alerts)}@{hostname}",
        text=text,
        fields=fields,
    )
