"""The queue of a simulated server: real lanes, real schedules, and rows in memory.

What becomes of an attempt follows :mod:`mailx.core.sending`: a destination that does not answer rests, one message asks
after it, and all that waits for it shares the answer; one that wants to hear less is left alone for as long as it said.
"""

from collections.abc import Callable
from random import Random

from attrs import define
from twisted.internet.defer import Deferred

from bench.simulated import Network, Server
from mailx.config import Outbound, Queue
from mailx.core.lanes import Health, Lane, Lanes, Slot
from mailx.core.routes import Routes, Way
from mailx.core.shipments import wait
from mailx.mail.address import Address
from mailx.mail.envelope import Envelope, Origin
from mailx.mail.message import Message

_BATCH = 100
_SPREAD = 0.25


@define(eq=False)
class Row:
    """One message for one recipient."""

    envelope: Envelope
    to: Address
    created: float
    way: Way
    due: float
    known: bool  # whether its domain was known to have a MailX server when it was sent
    attempts: int = 0


class Outbox:
    """Mail that leaves one server. ``delivered(row, security)`` is told of each that was taken."""

    def __init__(self, network: Network, server: Server, random: Random, delivered: Callable[[Row, str], None]) -> None:
        outbound = Outbound()
        self._network, self._server, self._random, self._delivered = network, server, random, delivered
        self._routes = Routes(outbound, Queue(), federated=server.peers.known, retry=network.config.federation.retry)
        self._waiting: dict[bytes, list[Row]] = {}
        self._expected: dict[bytes, float] = {}
        time = network.time
        self._lanes: Lanes[Row] = Lanes(outbound.connections, outbound.per_destination, 0, time.seconds, time.callLater)
        self._lanes.start = self._begin
        self._lanes.open = True
        self._sent = 0
        self.left = 0  # rows that are not settled
        server.woken = self.hasten

    def submit(self, to: Address, content: bytes) -> None:
        """One message more."""
        self._sent += 1
        self.left += 1
        now = self._network.time.now
        domain = self._server.domain
        sender = Address("me", domain)
        id = f"{domain}-{self._sent}"
        envelope = Envelope(id, sender, (to,), Message(content, len(content)), Origin("SIMULATION", id, "", 0), dispatch=id.encode())
        way = self._routes.route(to, sender)
        row = Row(envelope, to, now, way, now, way.federated)
        lane = self._lane(way.lane.encode())
        rest = self._lanes.rest(lane)
        if rest is None:
            lane.jobs.append(row)
            self._lanes.offer(lane)
        else:
            self._put_back(lane, row, min(rest, wait(way.retry, 0)))

    def hasten(self, domain: str) -> None:
        """The server of ``domain`` is there: what waits for it is tried now."""
        key = domain.encode()
        lane = self._lanes.known(key)
        waiting = self._waiting.get(key)
        if lane is None or not waiting:
            return
        now = self._network.time.now
        for row in waiting:
            row.due = min(row.due, now)
        lane.cold = True
        self._lanes.revive(lane)

    # Attempts.

    def _lane(self, key: bytes) -> Lane[Row]:
        lane = self._lanes.lane(key)
        assert lane is not None
        return lane

    def _begin(self, slot: Slot[Row]) -> None:
        Deferred.fromCoroutine(self._turn(slot))

    async def _turn(self, slot: Slot[Row]) -> None:
        lane = slot.lane
        reached: bool | None = None
        if lane.cold and len(lane.jobs) < lane.window:
            self._fetch(lane)
        try:
            if lane.jobs:
                reached = await self._attempt(lane, lane.jobs.popleft())
        finally:
            self._lanes.ended(slot, reached)

    def _fetch(self, lane: Lane[Row]) -> None:
        """What is due: one message for a lane that may be dead, else a batch."""
        lane.cold = False
        single = lane.health is not Health.LIVE
        now = self._network.time.now
        waiting = self._waiting.get(lane.key, [])
        due = [row for row in waiting if row.due <= now][: 1 if single else _BATCH]
        self._waiting[lane.key] = [row for row in waiting if row not in due]
        lane.jobs.extend(due)
        lane.cold = bool(due) if single else len(due) == _BATCH
        if len(lane.jobs) > 1:
            self._network.time.callLater(0, self._lanes.offer, lane)
        self._expect(lane.key)

    async def _attempt(self, lane: Lane[Row], row: Row) -> bool | None:
        self._network.counts["attempts"] += 1
        attempts = await self._server.choosing.deliver(row.envelope, [row.to], row.way.destination)
        attempt = attempts[row.to]
        row.way = self._routes.route(row.to, row.envelope.sender)
        if attempt.rest and attempt.reply.temporary:
            return self._paused(lane, row, attempt.rest)
        if attempt.unreachable and not attempt.reply.done:
            return self._unreached(lane, row)
        if attempt.reply.done:
            self.left -= 1
            self._delivered(row, attempt.security)
        elif attempt.reply.temporary:
            self._later(lane, row, row.way.waits)
        else:
            self.left -= 1
            self._network.counts["bounced"] += 1
        return bool(attempt.host) or None

    def _paused(self, lane: Lane[Row], row: Row, seconds: int) -> bool:
        rest = 1 + int(seconds * (1 + _SPREAD * self._random.random()))
        self._lanes.pause(lane, rest)
        for each in (row, *self._taken_out(lane)):
            self._put_back(lane, each, rest)
        return True

    def _unreached(self, lane: Lane[Row], row: Row) -> bool:
        rest = self._lanes.stumbled(lane, row.way.retry[0], False)
        if rest:
            for each in (row, *self._taken_out(lane)):
                self._put_back(lane, each, rest)
            return False
        waits = row.way.waits
        self._lanes.dead(lane, waits[0])
        lane.cold = False
        now = self._network.time.now
        due = [each for each in self._waiting.get(lane.key, ()) if each.due <= now]
        self._waiting[lane.key] = [each for each in self._waiting.get(lane.key, ()) if each.due > now]
        for each in (row, *self._taken_out(lane), *due):
            self._later(lane, each, waits)
        return False

    def _taken_out(self, lane: Lane[Row]) -> list[Row]:
        rows = list(lane.jobs)
        lane.jobs.clear()
        return rows

    def _later(self, lane: Lane[Row], row: Row, waits: tuple[int, ...]) -> None:
        """The next of its waits, or the end."""
        if row.attempts >= len(waits):
            self.left -= 1
            self._network.counts["dead letters"] += 1
            return
        row.attempts += 1
        self._put_back(lane, row, waits[row.attempts - 1])

    def _put_back(self, lane: Lane[Row], row: Row, seconds: float) -> None:
        row.due = self._network.time.now + seconds
        self._waiting.setdefault(lane.key, []).append(row)
        self._expect(lane.key)

    def _expect(self, key: bytes) -> None:
        """Look again when the first of what waits is due."""
        waiting = self._waiting.get(key)
        if not waiting:
            return
        now = self._network.time.now
        first = max(now, min(row.due for row in waiting))
        if self._expected.get(key, 0.0) > now and self._expected[key] <= first:
            return
        self._expected[key] = first
        self._network.time.callLater(first - now, self._look, key, first)

    def _look(self, key: bytes, at: float) -> None:
        if self._expected.get(key) == at:
            del self._expected[key]
        now = self._network.time.now
        if not any(row.due <= now for row in self._waiting.get(key, ())):
            self._expect(key)
            return
        lane = self._lane(key)
        lane.cold = True
        self._lanes.offer(lane)
