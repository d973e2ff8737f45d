"""Settling: what an attempt brought becomes durable, with the reports that the sender is to have.

Without a report it is one call that shares its commit with others. A report is a message like any other: reception
places it in the same transaction that settles the attempt, so that nobody hears twice of a failure, or never. When the
store does not answer, the outcome is kept and tried again until it does: it must not be forgotten, for a message that
was sent would be sent again. What a crash leaves unsettled is found in the state "sending" at the next start.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailx.core import metrics
from mailx.core.bounces import Report
from mailx.core.courier import Attempt
from mailx.core.parcels import Parcels, Past
from mailx.core.shipments import UNSAID, Shipment, Verdict, Waiter, verdict
from mailx.core.timeline import Timeline
from mailx.mail.address import Address
from mailx.mail.envelope import Envelope, Notify
from mailx.mail.reply import Refused, Unavailable
from mailx.store import Store
from mailx.store.blobs import Blobs
from mailx.store.cipher import CipherError
from mailx.store.queue import DEFERRED, FAILED, HELD, SENT, Settled, Settlement, settle

log = Logger()

_AGAIN = 1.0  # seconds until what the store did not take is tried again, doubled each time
_AGAIN_AT_MOST = 30.0
_TEXT = 200  # characters of a reply in a log line

_EVENTS = {SENT: "delivered", DEFERRED: "deferred", FAILED: "bounced"}  # in the timeline


class Accept(Protocol):
    """``Reception.accept``, as far as reports need it."""

    def __call__(self, envelope: Envelope, *, settling: Settlement | None) -> Awaitable[Any]: ...


class IReports(Protocol):
    """What the queue needs of ``Bounces``."""

    def envelope(self, original: Envelope, reports: Sequence[Report]) -> Awaitable[Envelope | None]: ...


class Settling:
    """Makes outcomes durable."""

    def __init__(
        self,
        store: Store,
        parcels: Parcels,
        blobs: Blobs,
        timeline: Timeline,
        reactor: Any,
        node: str,
        now: Callable[[], float],
        expect: Callable[[int], None],
    ) -> None:
        """``expect(due)`` hears when somebody waits again."""
        self._store = store
        self._parcels = parcels
        self._blobs = blobs
        self._timeline = timeline
        self._reactor = reactor
        self._node = node
        self._now = now
        self._expect = expect
        self._reports: IReports | None = None
        self._accept: Accept | None = None
        self._count = 0  # outcomes that are not durable yet
        self._none: list[Deferred[None]] = []
        self._stopping = False
        self._attempts = {state: metrics.QUEUE_ATTEMPTS.labels(_EVENTS[state]) for state in _EVENTS}

    def start(self, reports: IReports, accept: Accept) -> None:
        """Reports are made by ``reports`` and enter by ``accept``."""
        self._reports, self._accept = reports, accept

    async def stop(self) -> None:
        """Returns when everything is durable; what the store does not take now stays in "sending"."""
        self._stopping = True
        if self._count:
            waiter: Deferred[None] = Deferred()
            self._none.append(waiter)
            await waiter

    def conclude(self, shipment: Shipment, attempts: Mapping[Address, Attempt]) -> "Deferred[None]":
        """Settle what ``attempts`` brought for each recipient; fires when it is durable."""
        now = int(self._now())
        retry = shipment.way.retry
        verdicts = []
        for waiter in shipment.waiters:
            attempt = attempts.get(waiter.consignee.address, UNSAID)
            verdicts.append((waiter, attempt, verdict(waiter, attempt, retry, now)))
        rows = tuple([self._settled(shipment, waiter, attempt, decided, now) for waiter, attempt, decided in verdicts])
        reports = [report for each in verdicts if (report := _report(*each)) is not None]
        settlement = Settlement(rows, self._node, now, self.unlink)
        return self._begin(self._settle(shipment, settlement, reports, verdicts), shipment)

    def put_back(self, shipment: Shipment, state: str, due: int, reason: str = "") -> None:
        """No attempt was made: the rows become ``state`` again. ``reason`` is for the log when they are held."""
        now = int(self._now())
        rows = tuple([Settled(each.id, state, due, each.attempts, shipment.destination, each.history) for each in shipment.waiters])
        if state == HELD:
            log.error(
                "A queued message is held: {reason}", event="queue.damaged", reason=reason, message_id=shipment.envelope.id, rows=len(rows)
            )
            self._timeline.note(shipment.envelope.id, "held", reason=reason)
        self._begin(self._settle(shipment, Settlement(rows, self._node, now), (), ()), shipment)

    def hold(self, rows: Sequence[Settled], envelope: str, reason: str) -> None:
        """Rows that do not open wait for somebody to look at them."""
        log.error("A queued message is held: {reason}", event="queue.damaged", reason=reason, message_id=envelope, rows=len(rows))
        self._timeline.note(envelope, "held", reason=reason)
        self._begin(self._write(Settlement(tuple(rows), self._node, int(self._now()))), None)

    async def report(self, envelope: Envelope, reports: Sequence[Report]) -> None:
        """Tell the sender of ``envelope`` something that settles nothing. Raises Refused."""
        report = await self._report(envelope, reports)
        if report is not None and self._accept is not None:
            await self._accept(report, settling=None)

    def _settled(self, shipment: Shipment, waiter: Waiter, attempt: Attempt, decided: Verdict, now: int) -> Settled:
        past = Past(now, attempt)
        history = [past]
        if waiter.history:
            try:
                history = [*self._parcels.open_history(shipment.guid, waiter.history), past]
            except CipherError:
                log.error("The history of a queued message does not open", event="queue.damaged", message_id=shipment.envelope.id)
        sealed = self._parcels.seal_history(shipment.guid, history)
        return Settled(waiter.id, decided.state, decided.due, decided.attempts, shipment.destination, sealed)

    def _begin(self, work: Any, shipment: Shipment | None) -> "Deferred[None]":
        self._count += 1
        return Deferred.fromCoroutine(work).addBoth(self._ended, shipment)

    def _ended(self, result: Any, shipment: Shipment | None) -> None:
        if isinstance(result, Failure):
            log.failure("An attempt was not settled", result, event="queue.settle_failed")
        if shipment is not None:
            shipment.release()
        self._count -= 1
        if not self._count:
            waiters, self._none = self._none, []
            for waiter in waiters:
                waiter.callback(None)

    async def _settle(
        self,
        shipment: Shipment,
        settlement: Settlement,
        reports: Sequence[Report],
        verdicts: Sequence[tuple[Waiter, Attempt, Verdict]],
    ) -> None:
        report = await self._report(shipment.envelope, reports) if reports else None
        if not await (self._write(settlement) if report is None else self._with_report(settlement, report)):
            return
        due = [row.due for row in settlement.rows if row.due]
        if due:
            self._expect(min(due))
        for waiter, attempt, decided in verdicts:
            self._tell(shipment, waiter, attempt, decided, report)

    async def _report(self, envelope: Envelope, reports: Sequence[Report]) -> Envelope | None:
        """The message that tells the sender, if anybody is to be told."""
        if self._reports is None:
            return None
        try:
            return await self._reports.envelope(envelope, reports)
        except Exception:
            log.failure("A delivery report was not made", event="queue.report_failed", message_id=envelope.id)
            return None

    async def _write(self, settlement: Settlement) -> bool:
        """Settle without a report; whether that is durable."""
        return await self._until_taken(lambda: self._store.write(settle, settlement))

    async def _with_report(self, settlement: Settlement, report: Envelope) -> bool:
        """Settle together with a report. A report that nobody takes must not keep the attempt from being settled."""
        accept = self._accept
        if accept is None:
            return await self._write(settlement)
        try:
            return await self._until_taken(lambda: accept(report, settling=settlement))
        except Refused as refused:
            log.warn("A delivery report was refused: {reason}", event="queue.report_refused", reason=refused.reason, message_id=report.id)
        except Exception:
            log.failure("A delivery report was not stored", event="queue.report_failed", message_id=report.id)
        return await self._write(settlement)

    async def _until_taken(self, write: Callable[[], Awaitable[Any]]) -> bool:
        """Try again until the store answers, or the server stops."""
        wait = _AGAIN
        while True:
            try:
                await write()
                return True
            except Unavailable as error:
                if self._stopping:
                    log.error("An attempt was not settled: {reason}", event="queue.unsettled", reason=error.reason)
                    return False
                log.warn("An attempt is settled later: {reason}", event="queue.settle_delayed", reason=error.reason)
            await deferLater(self._reactor, wait)
            wait = min(wait * 2, _AGAIN_AT_MOST)

    def _tell(self, shipment: Shipment, waiter: Waiter, attempt: Attempt, decided: Verdict, report: Envelope | None) -> None:
        """The log, the timeline and the metrics hear of it."""
        self._attempts[decided.state].inc()
        facts: dict[str, Any] = {"recipient": str(waiter.consignee.address), "reply": str(attempt.reply), "attempts": decided.attempts}
        if attempt.host:
            facts.update(host=attempt.host, tls=attempt.tls, security=attempt.security)
        if shipment.way.relay:
            facts["relay"] = shipment.way.relay
        if decided.due:
            facts["next"] = decided.due
        if decided.state == SENT:
            metrics.QUEUE_SECONDS.observe(max(0.0, self._now() - shipment.created))
        elif report is not None:
            facts["report"] = report.id
        self._timeline.note(shipment.envelope.id, _EVENTS[decided.state], (facts["recipient"],), **facts)
        if decided.state == SENT:
            log.info("Message sent", event="queue.sent", message_id=shipment.envelope.id, host=attempt.host, tls=attempt.tls)
        else:
            text = str(attempt.reply)[:_TEXT]
            if decided.state == DEFERRED:
                log.info("Message deferred", event="queue.deferred", message_id=shipment.envelope.id, host=attempt.host, reply=text)
            else:
                log.info("Message failed", event="queue.failed", message_id=shipment.envelope.id, host=attempt.host, reply=text)

    def unlink(self, names: Sequence[str]) -> None:
        """Remove files that no message names any more, in a thread; one that stays is found by the sweep."""
        if not names:
            return
        unlink: Any = partial(_unlink_all, self._blobs, names)
        deferToThreadPool(self._reactor, self._reactor.getThreadPool(), unlink).addErrback(
            lambda failure: log.failure("A file was not removed", failure, event="queue.file_not_removed")
        )


def _report(waiter: Waiter, attempt: Attempt, decided: Verdict) -> Report | None:
    """What the sender is told of one recipient: failures, and successes that nobody further on will tell (RFC 3461 5.2)."""
    consignee = waiter.consignee
    if decided.state == FAILED:
        action = "failed"
    elif decided.state == SENT and consignee.wish.notify & Notify.SUCCESS and not attempt.reports:
        action = "relayed"
    else:
        return None
    return Report(consignee.address, consignee.original, consignee.wish, attempt, action, decided.attempts, None)


def _unlink_all(blobs: Blobs, names: Sequence[str]) -> None:
    for name in names:
        blobs.unlink(name)
