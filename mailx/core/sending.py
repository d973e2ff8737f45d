"""Sending: what happens while a lane has its turn. Rows are claimed, contents read, a courier tries, the outcome is settled.

A courier that fails in a way nobody foresaw has made an attempt that failed and is tried again. A destination that does not work
is left alone: whatever else is due there is put off with it, unopened, by one statement. One that worked a moment ago, or
a relay, which works as a rule, first rests for half a minute, then for longer, and nobody's attempts are counted. What does
not open is held for somebody to look at. What would leave another way by now, for the routes have changed, is moved there.
"""

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from math import inf
from random import random
from typing import Any

from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailx.core import metrics
from mailx.core.attempting import tried
from mailx.core.bounces import Report
from mailx.core.courier import Attempt, ICourier
from mailx.core.lanes import Health, Lane, Lanes, Slot
from mailx.core.loading import Loading
from mailx.core.parcels import Parcels, Past
from mailx.core.routes import HERE, Routes, Way
from mailx.core.settling import Settling
from mailx.core.shipments import BROKEN, INTERRUPTED, RECIPIENTS, SPARED, UNSAID, Shipment, Waiter, limited_for, wait
from mailx.core.spans import Step, untraced
from mailx.core.timetable import ROUND, Timetable
from mailx.mail.address import Address
from mailx.mail.envelope import Envelope
from mailx.mail.message import Message
from mailx.mail.reply import Refused, Unavailable
from mailx.store import Store, queue
from mailx.store.cipher import CipherError
from mailx.store.queue import HELD, Claimed, Settled

log = Logger()

_CLAIMED = 5000  # claimed rows in memory, beyond which a lane claims few at a time
_BATCH = 100
_FEW = 10
_CROWDED = 2  # seconds until a lane may claim again when there are far too many
_LONGEST = 3600.0  # seconds that an attempt may last
_DEAD_SECONDS = 60  # that a destination rests when there is no schedule
_SPREAD = 0.25  # of the time that a destination wants to hear nothing, by which it is left alone for longer
_LAST = 4  # destinations whose last attempts are given up at a time: each row costs a report
_AGAIN = 60  # seconds until a row is tried again whose content the store could not give
_GRACE = 5.0  # seconds in which an attempt that is broken off must have ended
_NOTHING = Message(b"", 0)  # stands for a content that is still in the store


class Sending:
    """Makes the attempts of one server."""

    def __init__(
        self,
        store: Store,
        loading: Loading,
        couriers: Mapping[str, ICourier],
        routes: Routes,
        parcels: Parcels,
        key: Callable[[str], bytes],
        lanes: Lanes[Shipment],
        settling: Settling,
        timetable: Timetable,
        reactor: Any,
        node: str,
        now: Callable[[], float],
        shutdown: float,
        local: Callable[[str], bool],
        step: Step = untraced,
    ) -> None:
        """``key`` hashes a lane's name; ``local`` knows our domains.

        ``shutdown`` is how many seconds attempts may still last after ``stop``.
        """
        self._store = store
        self._loading = loading
        self._couriers = couriers
        self._routes = routes
        self._parcels = parcels
        self._key = key
        self._local, self._step = local, step
        self._lanes = lanes
        self._settling = settling
        self._timetable = timetable
        self._reactor = reactor
        self._node = node
        self._now = now
        self._shutdown = shutdown
        self._claimed = 0  # claimed rows that are not settled
        self._trying: dict[int, Deferred[Any]] = {}  # by id of the slot
        self._busy = 0  # turns and other work under way
        self._none: list[Deferred[None]] = []
        self._tick: Any = None
        self._putting_off: set[bytes] = set()
        self._last = DeferredSemaphore(_LAST)
        lanes.start = self._begin

    def start(self) -> None:
        """Watch over attempts that last long."""
        self._tick = self._reactor.callLater(1.0, self._ticked)

    async def stop(self) -> bool:
        """Whether no attempt is under way any more; those that last too long are broken off. What was not begun is put back.

        One that does not end although it was broken off is left behind: its rows stay in "sending".
        """
        if self._tick is not None and self._tick.active():
            self._tick.cancel()
        self.put_back_waiting()
        if self._busy:
            none: Deferred[None] = Deferred()
            self._none.append(none)
            timers = [
                self._reactor.callLater(self._shutdown, self._break_off),
                self._reactor.callLater(self._shutdown + _GRACE, self._leave_behind),
            ]
            await none
            for timer in timers:
                if timer.active():
                    timer.cancel()
        self.put_back_waiting()
        return not self._busy

    def put_back_waiting(self) -> None:
        """What waits in memory waits in the store again."""
        now = int(self._now())
        for lane in self._lanes.lanes:
            self._put_back_lane(lane, now)

    async def late(self, rows: Sequence[Claimed]) -> None:
        """Tell the senders of these rows that they wait; one that cannot be told is not told."""
        by_id = {row.id: row for row in rows}
        for shipment in self._shipments(rows, keep=False):
            try:
                await self._loading.load(shipment, waits=False)
                reports = [self._delayed(shipment, each, by_id[each.id]) for each in shipment.waiters]
                await self._settling.report(shipment.envelope, reports)
            except (Refused, CipherError) as error:
                id = shipment.envelope.id
                log.warn("A delay was not reported: {reason}", event="queue.report_refused", reason=str(error), message_id=id)
            except Exception:
                log.failure("A delay was not reported", event="queue.report_failed", message_id=shipment.envelope.id)
            finally:
                shipment.release()

    def reroute(self, couriers: Mapping[str, ICourier], lanes: Collection[bytes] | None) -> None:
        """Routes have changed, and these are the couriers: what waits in memory for another way than theirs goes back to the store.

        The ``lanes`` (None: all) begin anew, for what made them rest was said of what they led to before.
        """
        self._couriers = couriers
        for lane in self._lanes.lanes:
            if lane.jobs:
                lane.jobs = deque([shipment for shipment in lane.jobs if self.fits(shipment)])
            if lanes is None or lane.key in lanes:
                self._lanes.renew(lane)

    def fits(self, shipment: Shipment) -> bool:
        """Whether ``shipment`` leaves by the lane that it was made for; if not, its rows wait in the store for other ways."""
        if shipment.generation == self._routes.generation:
            return True
        ways = [self._way(each.consignee.address, shipment.envelope) for each in shipment.waiters]
        keys = [self._key(way.lane) for way in ways]
        if all(key == shipment.destination for key in keys):
            shipment.way, shipment.generation = ways[0], self._routes.generation
            return True
        self._settling.put_back(shipment, shipment.idle, int(self._now()), destinations=keys)
        return False

    def give_up(self, rows: Sequence[Claimed], attempt: Attempt, generation: int | None = None) -> list[Deferred[None]]:
        """Settle claimed rows with this outcome, whose report needs their contents; each Deferred fires when one is durable.

        ``generation`` is that of the routes of which the outcome speaks: under others what it holds for is tried instead.
        """
        return [self._work(self._give_up(shipment, attempt, generation)) for shipment in self._shipments(rows)]

    def _delayed(self, shipment: Shipment, waiter: Waiter, row: Claimed) -> Report:
        """What the sender is told of a recipient who still waits: the last that was heard, and until when it is tried."""
        pasts: list[Past | None] = list(self._parcels.open_history(row.guid, row.history))
        pasts.append(self._parcels.open_word(row.destination, row.word))
        last = max((past for past in pasts if past is not None), key=lambda past: past.time, default=None)
        attempt = last.attempt if last is not None else UNSAID
        retry, now = shipment.way.retry, int(self._now())
        next_ = last.time + wait(retry, waiter.attempts - 1) if last is not None and waiter.attempts else now
        until = max(next_, now) + sum(retry[waiter.attempts :])
        to, tried = waiter.consignee, last.time if last is not None else None
        return Report(to.address, to.original, to.wish, attempt, "delayed", waiter.attempts, until, tried)

    # One turn of a lane.

    def _begin(self, slot: Slot[Shipment]) -> None:
        metrics.QUEUE_RUNNING.inc()
        self._work(self._turn(slot))

    async def _turn(self, slot: Slot[Shipment]) -> None:
        lane = slot.lane
        reached: bool | None = None
        try:
            if lane.cold and len(lane.jobs) < lane.window:  # what waits in the store has its turn although new mail keeps coming
                await self._fetch(lane)
            if lane.jobs:
                shipment = lane.jobs.popleft()
                try:
                    reached = await self._attempt(slot, shipment)
                except Exception:
                    self._hold(shipment)
        finally:
            metrics.QUEUE_RUNNING.dec()
            self._lanes.ended(slot, reached)

    async def _fetch(self, lane: Lane[Shipment]) -> None:
        """Claim what is due for the lane: one message for a lane that may be dead, else a batch."""
        lane.cold = False  # whoever adds something meanwhile says so again
        if self._claimed >= 2 * _CLAIMED:
            self._timetable.expect(int(self._now()) + _CROWDED)
            return
        single = lane.health is not Health.LIVE
        if lane.leaving:  # nothing is tried: they are only moved
            single = False
        limit = _BATCH if self._claimed < _CLAIMED and (lane.leaving or not self._lanes.paced) else _FEW
        try:
            rows = await self._store.write(queue.claim, lane.key, int(self._now()), limit, self._node, single)
        except Unavailable as error:
            log.warn("The queue was not read: {reason}", event="queue.unavailable", reason=error.reason)
            self._timetable.expect(int(self._now()) + _AGAIN)
            return
        turn, lane = lane, self._lanes.known(lane.key) or lane  # there may be another in its place by now
        lane.cold = lane.cold or bool(rows) if single else lane.cold or len(rows) == limit
        shipments = self._shipments(rows)
        lane.leaving = bool(shipments) and all(shipment.destination != lane.key for shipment in shipments)
        for shipment in shipments:
            if shipment.destination == lane.key:
                lane.jobs.append(shipment)
            else:
                self._settling.put_back(shipment, shipment.idle, int(self._now()))
        if not self._lanes.open:
            self.put_back_waiting()
        elif len(lane.jobs) > 1 or lane is not turn:
            self._reactor.callLater(0, self._lanes.offer, lane)  # others may begin; this turn takes the first

    async def _attempt(self, slot: Slot[Shipment], shipment: Shipment) -> bool | None:
        """Try to deliver; whether the destination's server answered, None if nothing was tried."""
        try:
            await self._loading.load(shipment)
        except Unavailable:
            self._settling.put_back(shipment, shipment.idle, int(self._now()) + _AGAIN)
            return None
        except CipherError as error:
            self._settling.put_back(shipment, HELD, 0, str(error))
            return None
        if not self._lanes.open:
            self._settling.put_back(shipment, shipment.idle, int(self._now()))
            return None
        if not self._timetable.leased():  # others may be sending it; what they have taken is not put back
            self._settling.put_back(shipment, shipment.idle, int(self._now() + ROUND))
            return None
        if not self.fits(shipment):
            return None
        courier = self._couriers.get(shipment.way.relay)
        recipients = shipment.addresses
        attempts: Mapping[Address, Attempt]
        if courier is None:
            log.error("A route names a relay that is not configured", event="queue.no_courier", relay=shipment.way.relay)
            attempts = dict.fromkeys(recipients, BROKEN)
        else:
            answer = await self._carry(slot, courier, shipment, recipients)
            if answer is None:
                return None
            attempts = answer
            if self._overtaken(shipment, courier):  # what it met says nothing of where the mail goes now
                attempts = {to: evolve(each, unreachable=True) if each.reply.temporary else each for to, each in attempts.items()}
                self._settling.conclude(shipment, attempts, 1, inf)
                return None
        self._reschedule(shipment)
        if (seconds := limited_for(attempts)) and not shipment.way.relay:
            return self._pause(slot.lane, shipment, attempts, seconds)
        dead = next((each for each in attempts.values() if each.unreachable and not each.reply.done), None)
        rest = 0
        if dead is not None and dead.reply.code < 500:
            rest = self._lanes.stumbled(slot.lane, shipment.way.retry[0] if shipment.way.retry else 0, bool(shipment.way.relay))
        self._settling.conclude(shipment, attempts, rest)
        if rest:
            self._put_back_lane(slot.lane, int(self._now()) + rest)
            return False
        if dead is not None:
            self._dead(slot.lane, shipment, dead)
            return False
        return any(each.host for each in attempts.values()) or None

    def _pause(self, lane: Lane[Shipment], shipment: Shipment, attempts: Mapping[Address, Attempt], seconds: int) -> bool:
        """The destination has heard enough. That is no failure, unless it says nothing else for as long as mail is tried."""
        rest = 1 + int(seconds * (1 + _SPREAD * random()))
        spared = inf if self._now() - shipment.created < sum(shipment.way.retry) else SPARED
        self._lanes.pause(lane, rest)
        attempts = {to: evolve(each, unreachable=True) if each.rest and each.reply.temporary else each for to, each in attempts.items()}
        self._settling.conclude(shipment, attempts, rest, spared)
        self._put_back_lane(lane, int(self._now()) + rest)
        return True

    def _reschedule(self, shipment: Shipment) -> None:
        """The attempt may have taught that the destination has a MailX server, or none: other waits hold then."""
        way = self._way(shipment.waiters[0].consignee.address, shipment.envelope)
        if way.federated != shipment.way.federated and self._key(way.lane) == shipment.destination:
            shipment.way = way
            shipment.waiters = [evolve(each, waits=self._routes.waits(way, each.waits)) for each in shipment.waiters]

    def _overtaken(self, shipment: Shipment, courier: ICourier) -> bool:
        """Whether the mail would go another way, or by another courier, if the attempt began now."""
        if shipment.generation == self._routes.generation and self._couriers.get(shipment.way.relay) is courier:
            return False
        ways = [self._way(each.consignee.address, shipment.envelope) for each in shipment.waiters]
        return any(self._couriers.get(way.relay) is not courier or self._key(way.lane) != shipment.destination for way in ways)

    async def _carry(
        self, slot: Slot[Shipment], courier: ICourier, shipment: Shipment, recipients: Sequence[Address]
    ) -> Mapping[Address, Attempt] | None:
        """What the courier brings; None: it was broken off by the end of the server, and nobody knows."""
        envelope = evolve(shipment.envelope, recipients=tuple(recipients), wishes=shipment.wishes, dispatch=shipment.guid)
        trying: Deferred[Mapping[Address, Attempt]] = Deferred.fromCoroutine(
            tried(self._step, shipment, courier.deliver(envelope, recipients, shipment.way.destination))
        )
        self._trying[id(slot)] = trying
        try:
            return await trying
        except CancelledError:
            if not self._lanes.open:
                log.warn("An attempt was broken off", event="queue.broken_off", message_id=envelope.id)
                shipment.release()
                return None
            return dict.fromkeys(recipients, INTERRUPTED)
        except Exception:
            log.failure("A courier failed", event="queue.courier_failed", message_id=envelope.id)
            return dict.fromkeys(recipients, BROKEN)
        finally:
            del self._trying[id(slot)]

    # Destinations that do not work.

    def _dead(self, lane: Lane[Shipment], shipment: Shipment, attempt: Attempt) -> None:
        """Leave the destination alone for a while, and put off what else is due there."""
        retry = shipment.way.waits
        self._lanes.dead(lane, retry[0] if retry else _DEAD_SECONDS)  # each row has its own wait; new mail may probe after the first
        waiting, lane.jobs = list(lane.jobs), type(lane.jobs)()
        for each in waiting:
            self._work(self._give_up(each, attempt, self._routes.generation))
        lane.cold = False
        if lane.key not in self._putting_off:
            self._putting_off.add(lane.key)
            self._work(self._put_off(lane, retry, attempt, shipment.envelope.id))

    async def _put_off(self, lane: Lane[Shipment], retry: Sequence[int], attempt: Attempt, probe: str) -> None:
        """``probe`` is the envelope whose attempt spoke for all."""
        now = int(self._now())
        total, generation = 0, self._routes.generation
        word = self._parcels.seal_word(lane.key, Past(now, attempt))
        due: int | None = None
        try:
            while self._lanes.open and generation == self._routes.generation:
                count, due = await self._store.write(queue.defer, lane.key, now, retry, word)
                total += count
                if count < queue.SLICE:
                    break
            await self._last.run(self._give_up_last, lane.key, now, attempt, generation)
            if due is not None:
                self._timetable.expect(due)
        except Unavailable as error:
            log.warn("A destination was not put off: {reason}", event="queue.unavailable", reason=error.reason)
            self._timetable.expect(now + _AGAIN)
        finally:
            self._putting_off.discard(lane.key)
            if total:
                self._settling.tell_put_off(probe, total)

    async def _give_up_last(self, destination: bytes, now: int, attempt: Attempt, generation: int) -> None:
        """Give up those that had no wait left, unless they may go another way by now."""
        while self._lanes.open and generation == self._routes.generation:
            rows = await self._store.write(queue.claim_last, destination, now, _BATCH, self._node)
            if generation != self._routes.generation:
                for shipment in self._shipments(rows):
                    self._settling.put_back(shipment, shipment.idle, int(self._now()))
                return
            for settled in self.give_up(rows, attempt, generation):
                await settled
            if len(rows) < _BATCH:
                return

    async def _give_up(self, shipment: Shipment, attempt: Attempt, generation: int | None) -> None:
        """Settle with an outcome that was no attempt of its own; the content is for the report."""
        try:
            await self._loading.load(shipment)
            if generation not in (None, self._routes.generation):
                self._settling.put_back(shipment, shipment.idle, int(self._now()))
                return
            await self._settling.conclude(shipment, dict.fromkeys(shipment.addresses, attempt))
        except Unavailable:
            self._settling.put_back(shipment, shipment.idle, int(self._now()) + _AGAIN)
        except CipherError as error:
            self._settling.put_back(shipment, HELD, 0, str(error))
        except Exception:
            self._hold(shipment)

    def _hold(self, shipment: Shipment) -> None:
        """A fault of this program, now being handled: trying again would meet it again, and may send what was sent."""
        log.failure("Sending failed", event="queue.failed_to_send", message_id=shipment.envelope.id)
        self._settling.put_back(shipment, HELD, 0, "a fault of the program")

    # What the store has.

    def _shipments(self, rows: Sequence[Claimed], keep: bool = True) -> list[Shipment]:
        """Rows of one destination or several, put together by message; with ``keep`` those that do not open are held."""
        envelopes: dict[int, Envelope] = {}
        shipments: dict[tuple[int, bytes], Shipment] = {}
        made: list[Shipment] = []
        for row in rows:
            try:
                consignee = self._parcels.open_recipient(row.guid, row.recipient)
                envelope = envelopes.get(row.dispatch)
                if envelope is None:
                    envelope = envelopes[row.dispatch] = self._parcels.open_envelope(row, _NOTHING)
            except CipherError as error:
                if keep:
                    settled = Settled(row.id, HELD, 0, row.attempts, row.destination, row.history)
                    self._settling.hold([settled], row.envelope, str(error))
                continue
            way = self._way(consignee.address, envelope)
            key = row.dispatch, self._key(way.lane)
            shipment = shipments.get(key)
            if shipment is None or len(shipment.waiters) >= RECIPIENTS:
                shipment = shipments[key] = Shipment(row.guid, key[1], way, envelope, [], row.created, row.size, row.dispatch)
                shipment.generation = self._routes.generation
                made.append(shipment)
            shipment.waiters.append(Waiter(row.id, consignee, row.attempts, self._routes.waits(way, row.waits), row.history))
        if keep:
            for shipment in made:
                self._settling.entrust(shipment)
                self._claimed += len(shipment.waiters)
                shipment.held.append(partial(self._unclaim, len(shipment.waiters)))
        return made

    def _way(self, recipient: Address, envelope: Envelope) -> Way:
        way = self._routes.route(recipient, envelope.sender)
        return evolve(way, relay=HERE) if self._local(recipient.domain) else way

    def _unclaim(self, count: int) -> None:
        self._claimed -= count

    def _put_back_lane(self, lane: Lane[Shipment], due: int) -> None:
        while lane.jobs:
            shipment = lane.jobs.popleft()
            self._settling.put_back(shipment, shipment.idle, due)

    # Work under way.

    def _work(self, work: Any) -> "Deferred[None]":
        self._busy += 1
        return Deferred.fromCoroutine(work).addBoth(self._done)

    def _done(self, result: Any) -> None:
        if isinstance(result, Failure):
            log.failure("Sending failed", result, event="queue.failed_to_send")
        self._busy -= 1
        if not self._busy:
            self._tell_none()

    def _tell_none(self) -> None:
        waiters, self._none = self._none, []
        for waiter in waiters:
            waiter.callback(None)

    def _ticked(self) -> None:
        self._tick = self._reactor.callLater(1.0, self._ticked)
        self._lanes.tell_slow()
        before = self._reactor.seconds() - _LONGEST
        for slot in self._lanes.running:
            if slot.began <= before and (trying := self._trying.get(id(slot))) is not None:
                trying.cancel()

    def _break_off(self) -> None:
        for trying in list(self._trying.values()):
            trying.cancel()

    def _leave_behind(self) -> None:
        log.error("Attempts that were broken off have not ended; they are left behind", event="queue.left_behind", count=self._busy)
        self._tell_none()
