"""The queue: mail to other servers, from its acceptance until each recipient is served or given up.

Two paths lead to an attempt. *Hot*: reception asks for a plan, commits it with the message, and the attempt begins at
once from what is still in memory. *Cold*: the timetable finds in the store which destinations have something due, and their
rows are claimed in batches when a lane has its turn. Both meet in the lanes (:mod:`mailx.core.lanes`), which decide who
may try next, and end in settling (:mod:`mailx.core.settling`). Memory is bounded on both: what does not fit waits in the
store. A message is in the state "sending" from the moment somebody may be sending it until the outcome is durable;
whatever a crash leaves there is sent again.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

from attrs import define
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from mailx import config
from mailx.core import metrics
from mailx.core.courier import ICourier
from mailx.core.homecoming import Homecoming
from mailx.core.lanes import Budget, Health, Lane, Lanes
from mailx.core.ledger import Ledger
from mailx.core.loading import Loading
from mailx.core.parcels import Consignee, Parcels, new_guid
from mailx.core.progress import Progress
from mailx.core.router import Onward
from mailx.core.routes import HERE, Routes, Way, lane_of
from mailx.core.sending import Sending
from mailx.core.settling import Accept, IReports, Settling
from mailx.core.shipments import RECIPIENTS, Shipment, Waiter, wait
from mailx.core.spans import Step, untraced
from mailx.core.timeline import Timeline
from mailx.core.timetable import Timetable
from mailx.core.turns import Turns
from mailx.mail.envelope import GENERATED, Envelope, Notify
from mailx.store import Store, queue_upkeep
from mailx.store.blobs import Blobs
from mailx.store.cipher import Cipher
from mailx.store.queue import LAST, NORMAL, PENDING, SENDING, SLICE, Parcel, Waiting

log = Logger()

_MESSAGES = 1000  # on the hot path
_OCTETS = 33554432  # of their contents
_COPIES = 8388608  # octets of one message times its recipients, for each attempt may make a copy
_LANE_JOBS = 100  # messages that wait in memory for a destination that is alive
_LANE_JOBS_NEW = 8  # for another
_NEW = 0.5  # of the hot path, what is for destinations that may be dead
_MANY = 50  # recipients from which a message lets others go first
_NAMES = 10000  # destinations whose hash is kept
_CROWDED = 5  # seconds until destinations are looked for again that were too many to remember


@define(eq=False)
class Planned:
    """What ``Queue.plan`` decided; ``parcel`` goes into the delivery, the whole back to ``placed`` or ``dropped``."""

    envelope: Envelope
    parcel: Parcel
    onward: Sequence[Onward]
    ways: list[Way]
    octets: int  # taken from the budget of the hot path; -1: nothing is
    generation: int = 0  # of the routes


class Queue:
    """The queue of one server. ``start`` before anything is accepted, ``stop`` after the edges, before the store closes."""

    def __init__(
        self,
        store: Store,
        cipher: Cipher,
        blobs: Blobs,
        couriers: Mapping[str, ICourier],
        routes: Routes,
        settings: config.Queue,
        outbound: config.Outbound,
        timeline: Timeline,
        reactor: Any,
        *,
        now: Callable[[], float] = time.time,
        local: Callable[[str], bool] = lambda domain: False,
        progress: Progress | None = None,
        step: Step = untraced,
    ) -> None:
        """``couriers`` by the name of their relay, "" carries directly; ``now`` is the time of day, ``local`` knows our domains.

        ``progress`` hears what becomes of each recipient; ``step`` is :meth:`mailx.core.spans.Spans.step`.
        """
        self._home = Homecoming(blobs, partial(deferToThreadPool, reactor, reactor.getThreadPool()))
        self._routes = routes
        self._store = store
        self._warn_after = config.seconds(settings.warn_after)
        self._reactor = reactor
        self._now = now
        self._node = str(getattr(store, "node", ""))
        self._parcels = Parcels(cipher)
        self._key = lru_cache(maxsize=_NAMES)(self._parcels.destination)
        self._lanes: Lanes[Shipment] = Lanes(
            outbound.connections, outbound.per_destination, outbound.per_minute, reactor.seconds, reactor.callLater
        )
        self._timetable = Timetable(store, reactor, self._node, now, self._due, self._entrusted, lambda: routes.longest, settings.keep_days)
        self._settling = Settling(
            store, self._parcels, blobs, timeline, reactor, self._node, now, self._timetable.expect, progress or Progress()
        )
        parcels, lanes, settling, timetable = self._parcels, self._lanes, self._settling, self._timetable
        loading, ending = Loading(store, cipher, blobs, reactor), settings.shutdown_seconds
        carriers = {**couriers, HERE: self._home}
        self._sending = Sending(
            store, loading, carriers, routes, parcels, self._key, lanes, settling, timetable, reactor, self._node, now, ending, local, step
        )
        self._budget = Budget(_MESSAGES, _OCTETS)
        self._running = False
        self.ledger = Ledger(
            store, parcels, routes, self._key, lanes, self._sending, settling, timetable, timeline, reactor, self._node, now
        )

    async def start(self, bounces: IReports, accept: Accept) -> None:
        """Send what waits. ``bounces`` makes reports, ``accept`` (of Reception) takes them. Raises Unavailable."""
        self._settling.start(bounces, accept)
        self._home.accept = accept
        self._sending.start()
        self._lanes.open = True
        taken = await self._timetable.start(self._sending.late, self._sending.put_back_waiting)
        if taken:
            metrics.QUEUE_UNCERTAIN.inc(taken)
            log.warn("What was being sent when the server died is sent again", event="queue.taken_back", rows=taken)
        self._running = True

    @property
    def running(self) -> bool:
        """Whether it sends; without, the ledger can do everything but tell senders."""
        return self._running

    async def stop(self) -> None:
        """Begin no more attempts; those under way may end within ``queue.shutdown_seconds``, the rest is broken off."""
        self._running = False
        self._lanes.close()
        await self._timetable.stop()
        ended = await self._sending.stop()
        await self._settling.stop()
        if ended:  # else others wait until this node is silent
            await self._timetable.leave()

    def reroute(
        self,
        outbound: config.Outbound,
        settings: config.Queue,
        smarthost: config.Smarthost,
        couriers: Mapping[str, ICourier],
        relays: Collection[str] | None,
    ) -> None:
        """From now on mail goes the way that these say, by these couriers (as in the constructor), what waits in memory too.

        ``relays`` are those that lead elsewhere than before; None: other ways may, too. Attempts under way end with the
        courier that they began with. What waits in the store goes the new way when it is due, or is hastened
        (:mod:`mailx.core.rerouting`).
        """
        self._warn_after = config.seconds(settings.warn_after)
        self._routes.renew(outbound, settings, smarthost)
        lanes = None if relays is None else {self.lane(relay) for relay in relays}
        self._sending.reroute({**couriers, HERE: self._home}, lanes)

    def wake(self) -> None:
        """The store has something that is due now."""
        self._timetable.expect(int(self._now()))

    async def hasten(self, domain: str) -> int:
        """``domain``, whose server did not work, is there again: what waits for it is tried now; how many recipients.

        One that works and merely wants to hear nothing for a while is left alone. Raises Unavailable.
        """
        key = self._key(domain)
        lane = self._lanes.known(key)
        if not self._running or (lane is not None and lane.health is Health.LIVE):
            return 0
        total = 0
        while (count := await self._store.write(queue_upkeep.hasten, [key], int(self._now()))) > 0:
            total += count
            if count < SLICE:
                break
        if lane is not None:
            self._lanes.revive(lane)
        if total:
            self.wake()
        return total

    def lane(self, relay: str) -> bytes:
        """The destination of rows that wait for ``relay``."""
        return self._key(lane_of(relay))

    async def plan(self, envelope: Envelope, onward: Sequence[Onward]) -> Planned:
        """What to store for the recipients ``onward`` of ``envelope``, and which of them will be tried at once.

        It waits for nothing; with many recipients others have their turn meanwhile.
        """
        now = int(self._now())
        generation = self._routes.generation  # a change while others have their turn is noticed when the rows are placed
        guid = new_guid()
        details = self._parcels.seal_details(guid, envelope)
        priority = LAST if len(onward) > _MANY or envelope.origin.protocol == GENERATED else NORMAL
        content = envelope.message.content
        octets = len(content) if isinstance(content, bytes) else 0
        # What lies in a file waits for its room in memory (core.loading), and so does what many attempts would hold copies of.
        whole = isinstance(content, bytes) and octets * len(onward) <= _COPIES
        may = self._running and whole and len(onward) <= RECIPIENTS
        turns = Turns(self._reactor)
        hot = False
        ways = []
        rows = []
        seal = self._parcels.seal_recipient
        for each in onward:
            if not may:
                await turns.spare()
            way = self._routes.route(each.address, envelope.sender)
            ways.append(way)
            key = self._key(way.lane)
            lane = self._lanes.known(key)
            if lane is not None or (may and self._budget.fits(octets, _NEW)):  # a lane that nobody needs takes no other's place
                lane = self._lanes.lane(key)
            state, due = SENDING, now
            if lane is not None and (rest := self._lanes.rest(lane)) is not None:
                state, due = PENDING, now + min(rest, wait(way.retry, 0))
            elif lane is None or not may or not self._fits(lane, octets):
                state = PENDING
            else:
                hot = True
            warn = 0 if not self._warn_after or not _warned(each.wish.notify) else now + self._warn_after
            rows.append(Waiting(key, seal(guid, each.address, each.original, each.wish), state, due, priority, len(way.retry), warn))
        if hot:
            self._budget.take(octets)
        account = envelope.origin.account
        parcel = Parcel(envelope.id, guid, details, account, envelope.message.size, now, tuple(rows), self._node)
        return Planned(envelope, parcel, onward, ways, octets if hot else -1, generation)

    def placed(self, planned: Planned, row_ids: Sequence[int]) -> None:
        """``planned`` is durable, its rows have these ids: begin what can begin."""
        parcel = planned.parcel
        hot: dict[bytes, list[Waiter]] = {}
        ways: dict[bytes, Way] = {}
        cold: set[bytes] = set()
        for id, row, each, way in zip(row_ids, parcel.rows, planned.onward, planned.ways, strict=True):
            if row.state != SENDING:
                if row.due > parcel.created:
                    self._timetable.expect(row.due)
                else:
                    cold.add(row.destination)
                continue
            consignee = Consignee(each.address, each.original, each.wish)
            hot.setdefault(row.destination, []).append(Waiter(id, consignee, 0, row.waits))
            ways[row.destination] = way
        hold = _Hold(len(hot), lambda: self._given_back(planned))
        for key, waiters in hot.items():
            held, generation = [hold.release], planned.generation
            shipment = Shipment(parcel.guid, key, ways[key], planned.envelope, waiters, parcel.created, held=held, generation=generation)
            self._settling.entrust(shipment)
            if not self._sending.fits(shipment):
                continue
            lane = self._lanes.lane(key)
            if lane is None:
                self._settling.put_back(shipment, PENDING, parcel.created)
                continue
            lane.jobs.append(shipment)
            self._lanes.offer(lane)
        if len(cold) > RECIPIENTS:
            self._timetable.expect(parcel.created)
        else:
            for key in cold:
                self._due(key)

    def dropped(self, planned: Planned) -> None:
        """``planned`` was not stored."""
        self._given_back(planned)

    def _given_back(self, planned: Planned) -> None:
        if planned.octets >= 0:
            self._budget.give(planned.octets)
            planned.octets = -1

    def _fits(self, lane: Lane[Shipment], octets: int) -> bool:
        """Whether a message for ``lane`` may wait in memory. Lanes that may be dead or are paced leave half of it to the others."""
        if lane.health is Health.LIVE and not self._lanes.paced:
            # Once some wait in the store, new ones go there too, so that those have their turn.
            return not lane.cold and len(lane.jobs) < _LANE_JOBS and self._budget.fits(octets)
        return len(lane.jobs) < _LANE_JOBS_NEW and self._budget.fits(octets, _NEW)

    def _entrusted(self, id: int) -> bool:
        return self._settling.entrusted(id)

    def _due(self, destination: bytes) -> None:
        """The store has something due for this destination."""
        lane = self._lanes.lane(destination, stored=True)
        if lane is None:
            self._timetable.expect(int(self._now()) + _CROWDED)
            return
        lane.cold = True
        self._lanes.offer(lane)


@define
class _Hold:
    """Something that several parts of one message hold, given back by the last."""

    count: int
    back: Callable[[], None]

    def release(self) -> None:
        self.count -= 1
        if not self.count:
            self.back()


def _warned(notify: int) -> bool:
    """Whether the sender wants to hear of a delay: unless said otherwise, yes (RFC 3461 4.1)."""
    return notify == Notify.UNSAID or bool(notify & Notify.DELAY)
