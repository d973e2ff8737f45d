"""Settling: what an attempt brought becomes durable, with the reports that the sender is to have.

Without a report it is one call that shares its commit with others. A report is a message like any other: reception
places it in the same transaction that settles the attempt, so that nobody hears twice of a failure, or never. When the
store does not answer, the outcome is kept and tried again until it does: it must not be forgotten, for a message that
was sent would be sent again. What a crash leaves unsettled is found in the state "sending" at the next start.

It also knows all rows that memory answers for (``entrusted``): what else the store calls "sending" was forgotten, for the
answer to the commit that claimed it was lost, and is taken back by the timetable.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailx.core import metrics
from mailx.core.bounces import Report
from mailx.core.courier import Attempt
from mailx.core.parcels import Parcels, Past
from mailx.core.progress import Progress, Step
from mailx.core.shipments import SPARED, UNSAID, Shipment, Verdict, Waiter, verdict
from mailx.core.timeline import Timeline
from mailx.mail.address import Address
from mailx.mail.envelope import Envelope, Notify
from mailx.mail.reply import Refused, Unavailable
from mailx.store import Store
from mailx.store.blobs import Blobs
from mailx.store.cipher import CipherError
from mailx.store.queue import DEFERRED, FAILED, HELD, SENT, Settled, Settlement, settle

log = Logger()

T = TypeVar("T")

_AGAIN = 1.0  # seconds until what the store did not take is tried again, doubled each time
_AGAIN_AT_MOST = 30.0
_PASSES = "4.3."  # status of what is wrong with this server and passes (RFC 3463 3.4): no store, no space
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
        progress: Progress,
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
        self._progress = progress
        self._reports: IReports | None = None
        self._accept: Accept | None = None
        self._count = 0  # outcomes that are not durable yet
        self._none: list[Deferred[None]] = []
        self._stopping = False
        self._sleeping: set[Deferred[None]] = set()  # who waits for the store to answer again
        self._entrusted: set[int] = set()
        self._attempts = {state: metrics.QUEUE_ATTEMPTS.labels(_EVENTS[state]) for state in _EVENTS}

    def start(self, reports: IReports, accept: Accept) -> None:
        """Reports are made by ``reports`` and enter by ``accept``."""
        self._reports, self._accept = reports, accept

    async def stop(self) -> None:
        """Returns when everything is durable; what the store does not take now stays in "sending"."""
        self._stopping = True
        for sleep in list(self._sleeping):
            sleep.cancel()
        if self._count:
            waiter: Deferred[None] = Deferred()
            self._none.append(waiter)
            await waiter

    def entrust(self, shipment: Shipment) -> None:
        """Its rows are in "sending", and will be settled."""
        self._entrusted.update([each.id for each in shipment.waiters])

    def entrusted(self, id: int) -> bool:
        """Whether the row with this id is being sent, or what came of it is not durable yet."""
        return id in self._entrusted

    def conclude(
        self, shipment: Shipment, attempts: Mapping[Address, Attempt], rest: int = 0, spared_at_most: float = SPARED
    ) -> "Deferred[None]":
        """Settle what ``attempts`` brought for each recipient; fires when it is durable.

        ``rest`` are the seconds for which a destination rests that works as a rule, so that this attempt hardly counts: not at all
        if less than ``spared_at_most`` before it did not.
        """
        now = int(self._now())
        retry = shipment.way.waits
        verdicts = []
        rows = []
        for waiter in shipment.waiters:
            attempt = attempts.get(waiter.consignee.address, UNSAID)
            past = self._past(shipment, waiter)
            spared = len(past) - waiter.attempts
            decided = verdict(waiter, attempt, retry, now, rest if spared < spared_at_most else 0)
            verdicts.append((waiter, attempt, decided))
            sealed = self._parcels.seal_history(shipment.guid, [*past, Past(now, attempt)])
            rows.append(Settled(waiter.id, decided.state, decided.due, decided.attempts, shipment.destination, sealed, waiter.waits))
        reports = [report for each in verdicts if (report := _report(*each)) is not None]
        settlement = Settlement(tuple(rows), self._node, now, self.unlink)
        return self._begin(self._settle(shipment, settlement, reports, verdicts), shipment)

    def put_back(self, shipment: Shipment, state: str, due: int, reason: str = "", destinations: Sequence[bytes] = ()) -> None:
        """No attempt was made: the rows become ``state`` again. ``reason`` is for the log when they are held.

        ``destinations`` are those of the rows, when they go another way from now on.
        """
        now = int(self._now())
        places = destinations or [shipment.destination] * len(shipment.waiters)
        rows = tuple(
            [Settled(each.id, state, due, each.attempts, place, each.history) for each, place in zip(shipment.waiters, places, strict=True)]
        )
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

    def tell_put_off(self, probe: str, count: int) -> None:
        """``count`` recipients were put off for what the attempt of the envelope ``probe`` brought."""
        self._timeline.note(probe, "put_off", count=count)
        self._progress.many()

    def tell_changed(self) -> None:
        """Rows were changed by hand."""
        self._progress.many()

    async def report(self, envelope: Envelope, reports: Sequence[Report]) -> None:
        """Tell the sender of ``envelope`` something that settles nothing. Raises Refused."""
        report = await self._report(envelope, reports)
        if report is not None and self._accept is not None:
            await self._accept(report, settling=None)

    def _past(self, shipment: Shipment, waiter: Waiter) -> list[Past]:
        """The attempts that are remembered."""
        try:
            return self._parcels.open_history(shipment.guid, waiter.history)
        except CipherError:
            log.error("The history of a queued message does not open", event="queue.damaged", message_id=shipment.envelope.id)
            return []

    def _begin(self, work: Any, shipment: Shipment | None) -> "Deferred[None]":
        self._count += 1
        return Deferred.fromCoroutine(work).addBoth(self._ended, shipment)

    def _ended(self, result: Any, shipment: Shipment | None) -> None:
        if not isinstance(result, Failure):
            if shipment is not None:
                self._entrusted.difference_update([each.id for each in shipment.waiters])
        elif isinstance(result.value, Unavailable):
            log.error("An attempt was not settled: {reason}", event="queue.unsettled", reason=result.value.reason)
        else:  # nobody sends it again before the next start: that would meet the same fault
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
        report = await self._patiently(lambda: self._report(shipment.envelope, reports)) if reports else None
        await (self._write(settlement) if report is None else self._with_report(settlement, report))
        due = [row.due for row in settlement.rows if row.due]
        if due:
            self._expect(min(due))
        for waiter, attempt, decided in verdicts:
            self._tell(shipment, waiter, attempt, decided, report)

    async def _report(self, envelope: Envelope, reports: Sequence[Report]) -> Envelope | None:
        """The message that tells the sender, if anybody is to be told. Raises Unavailable."""
        if self._reports is None:
            return None
        try:
            return await self._reports.envelope(envelope, reports)
        except Unavailable:
            raise
        except Exception:
            log.failure("A delivery report was not made", event="queue.report_failed", message_id=envelope.id)
            return None

    async def _write(self, settlement: Settlement) -> None:
        """Settle without a report."""
        await self._patiently(lambda: self._store.write(settle, settlement))

    async def _with_report(self, settlement: Settlement, report: Envelope) -> None:
        """Settle together with a report. A report that nobody takes must not keep the attempt from being settled."""
        accept = self._accept
        if accept is not None:
            try:
                await self._patiently(lambda: accept(report, settling=settlement))
                return
            except Unavailable:
                raise
            except Refused as refused:
                log.warn(
                    "A delivery report was refused: {reason}", event="queue.report_refused", reason=refused.reason, message_id=report.id
                )
            except Exception:
                log.failure("A delivery report was not stored", event="queue.report_failed", message_id=report.id)
        await self._write(settlement)

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        """What ``work`` answers, which is tried until store and disk do; raises Unavailable when the server stops first."""
        wait = _AGAIN
        while True:
            try:
                return await work()
            except Refused as error:
                if not error.reply.enhanced.startswith(_PASSES):
                    raise
                if self._stopping:
                    raise Unavailable(error.reason) from None
                log.warn("An attempt is settled later: {reason}", event="queue.settle_delayed", reason=error.reason)
            sleep: Deferred[None] = deferLater(self._reactor, wait)
            self._sleeping.add(sleep)
            try:
                await sleep
            except CancelledError:
                pass  # the server stops: one last time
            finally:
                self._sleeping.discard(sleep)
            wait = min(wait * 2, _AGAIN_AT_MOST)

    def _tell(self, shipment: Shipment, waiter: Waiter, attempt: Attempt, decided: Verdict, report: Envelope | None) -> None:
        """The log, the timeline and the metrics hear of it."""
        self._attempts[decided.state].inc()
        facts: dict[str, Any] = {"recipient": str(waiter.consignee.address), "reply": str(attempt.reply), "attempts": waiter.attempts + 1}
        if attempt.host:
            facts.update(host=attempt.host, tls=attempt.tls, security=attempt.security)
        if attempt.proof:
            facts["proof"] = attempt.proof
        if shipment.way.relay:
            facts["relay"] = shipment.way.relay
        if decided.due:
            facts["next"] = decided.due
        if decided.state == SENT:
            metrics.QUEUE_SECONDS.observe(max(0.0, self._now() - shipment.created))
        elif report is not None:
            facts["report"] = report.id
        self._timeline.note(shipment.envelope.id, _EVENTS[decided.state], (facts["recipient"],), **facts)
        if self._progress.active:
            self._progress.tell(_step(shipment, waiter, attempt, decided))
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


def _step(shipment: Shipment, waiter: Waiter, attempt: Attempt, decided: Verdict) -> Step:
    envelope, consignee = shipment.envelope, waiter.consignee
    return Step(
        envelope.id,
        waiter.id,
        consignee.address,
        _EVENTS[decided.state],
        attempt,
        shipment.way.lane,
        envelope.origin.account,
        envelope.origin.protocol,
        consignee.original,
        envelope.sender,
        shipment.size or envelope.message.size,
        waiter.attempts + 1,
        decided.due,
    )


def _unlink_all(blobs: Blobs, names: Sequence[str]) -> None:
    for name in names:
        blobs.unlink(name)
