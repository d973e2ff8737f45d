"""The ledger: the queue as its administrator sees and changes it.

Rows that are being sent are left alone: what becomes of them is being decided. A change answers for how many rows it
held. Large selections are worked through in slices, so that nobody waits for the writer for long.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

from attrs import evolve, frozen
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from mailx.core import audit
from mailx.core.courier import Attempt
from mailx.core.lanes import Lanes
from mailx.core.parcels import Parcels, Past
from mailx.core.routes import Routes
from mailx.core.sending import Sending
from mailx.core.settling import Settling
from mailx.core.shipments import Shipment
from mailx.core.timeline import Timeline
from mailx.core.timetable import Timetable
from mailx.core.users import DirectoryError, canonical_domain
from mailx.mail.message import Message
from mailx.mail.reply import Reply
from mailx.store import Store, queue_upkeep
from mailx.store.cipher import CipherError
from mailx.store.queue import DEFERRED, FAILED, HELD, PENDING, SENT, STATES
from mailx.store.queue_upkeep import Filter, Listed

BY_HAND = Attempt(Reply(554, "5.4.7", "Returned by the administrator of this server"))

_PAUSE = 0.02  # seconds between slices, for whoever else waits for the writer
_SLICE = 500  # rows changed at a time
_BOUNCED = 100  # rows given up at a time
_NOTHING = Message(b"", 0)


@frozen
class Selection:
    """Which rows are meant; what is empty does not matter."""

    states: tuple[str, ...] = ()
    destination: str = ""  # a domain, or "relay:" and the name of a relay
    account: int | None = None
    envelope: str = ""
    ids: tuple[int, ...] = ()
    before: int | None = None  # accepted before, seconds since 1970


@frozen
class Entry:
    """One recipient of one message. Times are seconds since 1970, 0: never. A row that does not open has empty texts."""

    id: int
    envelope: str
    sender: str
    recipient: str
    original: str
    destination: str
    relay: str
    state: str
    priority: int
    due: int
    attempts: int
    waits: int
    created: int
    finished: int
    size: int
    account: int | None
    last: Past | None  # the last attempt, or the one that spoke for the destination


@frozen
class Shown:
    """An entry with all its attempts that are kept."""

    entry: Entry
    history: tuple[Past, ...]


class Ledger:
    """Lists and changes the queue's rows."""

    def __init__(
        self,
        store: Store,
        parcels: Parcels,
        routes: Routes,
        key: Callable[[str], bytes],
        lanes: Lanes[Shipment],
        sending: Sending,
        settling: Settling,
        timetable: Timetable,
        timeline: Timeline,
        reactor: Any,
        node: str,
        now: Callable[[], float],
    ) -> None:
        """``key`` hashes a lane's name."""
        self._store = store
        self._parcels = parcels
        self._routes = routes
        self._key = key
        self._lanes = lanes
        self._sending = sending
        self._settling = settling
        self._timetable = timetable
        self._timeline = timeline
        self._reactor = reactor
        self._node = node
        self._now = now

    @property
    def routed(self) -> bool:
        """Whether some mail goes through relays, so that its place in the queue does not tell the recipient's domain."""
        return self._routes.routed

    async def list(self, selection: Selection, after: int = 0, limit: int = 100) -> list[Entry]:
        """At most ``limit`` rows above the id ``after``, ids rising. Raises DirectoryError "invalid", Unavailable."""
        rows = await self._store.read(queue_upkeep.listing, self._filter(selection), after, limit)
        return [self._entry(row) for row in rows]

    async def show(self, id: int) -> Shown:
        """One row with its attempts; raises DirectoryError "not_found"."""
        rows = await self._store.read(queue_upkeep.listing, Filter(ids=(id,)), 0, 1)
        if not rows:
            raise DirectoryError("not_found", f"the queue has no entry {id}", "List the queue to see its entries.")
        return Shown(self._entry(rows[0]), tuple(self._history(rows[0])))

    async def counts(self) -> dict[str, int]:
        """How many rows each state has; of the sent ones those of the last day."""
        found: dict[str, int] = await self._store.read(queue_upkeep.counts, int(self._now()))
        return found

    async def count(self, selection: Selection, most: int) -> int:
        """How many rows are meant, counted up to ``most``."""
        found: int = await self._store.read(queue_upkeep.count, self._filter(selection), most)
        return found

    async def ids(self, selection: Selection, after: int, limit: int) -> Sequence[int]:
        """At most ``limit`` ids above ``after`` of the rows that are meant, rising."""
        found: Sequence[int] = await self._store.read(queue_upkeep.chosen, self._filter(selection), STATES, after, limit)
        return found

    async def retry(self, selection: Selection) -> int:
        """Try rows that wait, are held or failed as soon as possible, dead letters from the beginning of their schedule."""
        return await self._change(selection, (PENDING, DEFERRED, HELD, FAILED), "retried", queue_upkeep.retry, int(self._now()))

    async def hold(self, selection: Selection) -> int:
        """Keep waiting rows until they are released."""
        return await self._change(selection, (PENDING, DEFERRED), "held", queue_upkeep.hold)

    async def release(self, selection: Selection) -> int:
        """Let held rows be tried again."""
        return await self._change(evolve(selection, states=(HELD,)), (HELD,), "released", queue_upkeep.retry, int(self._now()))

    async def bounce(self, selection: Selection) -> int:
        """Give rows up that wait or are held: their senders are told."""
        total = 0
        audit.note(changed=bool)
        async for which in self._slices(selection, (PENDING, DEFERRED, HELD), _BOUNCED):
            rows = await self._store.write(queue_upkeep.take, which, 0, _BOUNCED, self._node)
            total += len(rows)
            for settled in self._sending.give_up(rows, BY_HAND):
                await settled
        return total

    async def delete(self, selection: Selection) -> int:
        """Remove rows, also finished ones, without a word to their senders."""
        total = 0
        audit.note(changed=lambda answer: bool(answer[0]))
        async for which in self._slices(selection, (PENDING, DEFERRED, HELD, SENT, FAILED)):
            rows, files = await self._store.write(queue_upkeep.delete, which, 0)
            self._settling.unlink(files)
            total += len(rows)
            self._tell(rows, "deleted")
        return total

    async def purge(self, states: Sequence[str] = (SENT, FAILED), before: int | None = None) -> int:
        """Remove rows in these states, accepted before that time; by default all that is finished."""
        return await self.delete(Selection(states=tuple(states), before=before))

    def _filter(self, selection: Selection) -> Filter:
        unknown = [state for state in selection.states if state not in STATES]
        if unknown:
            raise DirectoryError("invalid", f"{unknown[0]!r} is no state of the queue", f"States are {', '.join(STATES)}.")
        destination = selection.destination
        if destination and ":" not in destination:
            destination = canonical_domain(destination)
        return Filter(
            selection.states or None,
            self._key(destination) if destination else None,
            selection.account,
            selection.envelope or None,
            selection.ids or None,
            selection.before,
        )

    def _entry(self, row: Listed) -> Entry:
        sender = recipient = original = destination = relay = ""
        last = None
        try:
            consignee = self._parcels.open_recipient(row.guid, row.recipient)
            recipient, original = str(consignee.address), str(consignee.original)
            from_ = self._parcels.open_envelope(row, _NOTHING).sender
            sender = "" if from_ is None else str(from_)
            way = self._routes.route(consignee.address, from_)
            destination, relay = way.destination, way.relay
            pasts = [*self._history(row), self._parcels.open_word(row.destination, row.word)]
            last = max((past for past in pasts if past is not None), key=lambda past: past.time, default=None)
        except CipherError:
            pass  # what did not open stays empty; the row is held as soon as it is due
        return Entry(
            row.id,
            row.envelope,
            sender,
            recipient,
            original,
            destination,
            relay,
            row.state,
            row.priority,
            row.due,
            row.attempts,
            row.waits,
            row.created,
            row.finished,
            row.size,
            row.account,
            last,
        )

    def _history(self, row: Listed) -> Sequence[Past]:
        try:
            return self._parcels.open_history(row.guid, row.history)
        except CipherError:
            return ()

    async def _slices(self, selection: Selection, states: Sequence[str], limit: int = _SLICE) -> AsyncIterator[Filter]:
        """What is meant, in parts of at most ``limit`` rows. A reader finds them: the writer must not look through all there are."""
        which = self._filter(selection)
        after = 0
        while True:
            ids: list[int] = await self._store.read(queue_upkeep.chosen, which, states, after, limit)
            if ids:
                yield evolve(which, ids=tuple(ids))
            if len(ids) < limit:
                return
            after = ids[-1]
            await self._pause()

    async def _change(self, selection: Selection, states: Sequence[str], event: str, job: Callable[..., Any], *args: Any) -> int:
        """Let ``job`` change rows in ``states``; for how many it held."""
        total = 0
        audit.note(changed=bool)
        async for which in self._slices(selection, states):
            rows = await self._store.write(job, which, 0, *args)
            total += len(rows)
            self._tell(rows, event)
            if event != "held":
                self._wake({destination for _, destination, _ in rows})
        return total

    def _tell(self, rows: Sequence[tuple[int, bytes, str]], event: str) -> None:
        for envelope in dict.fromkeys(envelope for _, _, envelope in rows):
            self._timeline.note(envelope, event)
        if rows:
            self._settling.tell_changed()

    def _wake(self, destinations: Iterable[bytes]) -> None:
        """Somebody wants something now for these."""
        for destination in destinations:
            lane = self._lanes.known(destination)
            if lane is not None:
                self._lanes.revive(lane)
        self._timetable.expect(int(self._now()))

    def _pause(self) -> "Deferred[None]":
        return deferLater(self._reactor, _PAUSE)
