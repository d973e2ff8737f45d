"""Timelines: what happened to each message, from its arrival to its end, for whoever asks where a message is.

``note`` takes an event at once and never fails: notes are gathered in memory and written right behind the commits they
tell of, many to a page. So a crash costs the notes of about the last second, never a message. When the store does not
take a page the notes wait, up to a limit, and are tried again; beyond the limit new ones are lost, counted and logged, and so
is what cannot be made a page at all.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any, TypeAlias

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailx.core import metrics
from mailx.core.content import Threads
from mailx.mail.reply import Unavailable
from mailx.store import Store
from mailx.store import timeline as pages
from mailx.store.cipher import Cipher, CipherError

log = Logger()

JSON: TypeAlias = Any

TRACES = 20  # messages that a search tells of, unless asked for more
_PAGE = 1024  # notes that make a page at once
_DELAY = 1.0  # seconds after which fewer do
_LONGEST_DELAY = 30.0  # between attempts while the store does not answer
_LIMIT = 65536  # notes that wait at most
_RECENT = 100  # newest pages that are looked through for the newest messages
_SCANNED = 200  # pages looked through by one job
_EVENTS = 1000  # of one message that a search tells of, the newest
_DAY = 86400
_PAUSE = 0.05  # seconds between slices, for whoever else waits for the writer
_DROPPED = 200  # pages dropped by one job
_MERGED = 64  # pages merged into one at most
_MERGED_OCTETS = 4 * pages.SMALL
_SMALL_PAGES = 100_000  # looked at in one go: more than a day has, at one a second
_MERGED_DAYS = 7  # how far back pages are merged, should the server not have run for a while

_Note = tuple[int, str, str, tuple[str, ...], dict[str, JSON]]  # milliseconds, envelope, event, keys, facts


@frozen
class Event:
    """One thing that happened."""

    time: float  # seconds since 1970
    event: str
    facts: dict[str, JSON]


@frozen
class Trace:
    """All that is known of one message, in order."""

    envelope: str
    events: tuple[Event, ...]


class Timeline:
    """The timelines of one store: ``start`` once, ``stop`` before the store closes."""

    def __init__(self, store: Store, cipher: Cipher, reactor: Any, keep_days: int) -> None:
        self._store = store
        self._cipher = cipher
        self._reactor = reactor
        self._keep_days = keep_days
        self._threads: Threads = partial(deferToThreadPool, reactor, reactor.getThreadPool())
        self._notes: list[_Note] = []
        self._written = 0  # notes that were ever written
        self._lost = 0  # since the last one that was written
        self._due: IDelayedCall | None = None
        self._wait = _DELAY
        self._running = False
        self._waiters: list[tuple[int, Deferred[None]]] = []  # until how many are written
        self._pruning: IDelayedCall | None = None
        self._pruned: Deferred[None] | None = None
        self._stopped = False

    def note(self, envelope: str, event: str, keys: Iterable[str] = (), **facts: JSON) -> None:
        """Note that ``event`` happened to the message ``envelope``, which is also found by ``keys`` (addresses, Message-IDs).

        ``facts`` are JSON and not changed afterwards.
        """
        notes = self._notes
        if len(notes) >= _LIMIT:
            self._lost += 1
            metrics.TIMELINE_LOST.inc()
            return
        notes.append((int(self._reactor.seconds() * 1000), envelope, event, tuple(keys), facts))
        if self._due is None:
            if not self._running and not self._stopped:
                self._due = self._reactor.callLater(self._wait, self._begin)
        elif len(notes) == _PAGE and self._wait == _DELAY:
            self._due.reset(0)

    def start(self) -> None:
        """Drop what is too old, now and every day."""
        self._prune_soon(0)

    async def stop(self) -> None:
        """Write what is noted, and no more; what the store does not take now is lost and logged."""
        self._stopped = True
        if self._pruning is not None:
            self._pruning.cancel()
            self._pruning = None
        if self._pruned is not None:
            await self._pruned
        try:
            await self.flush()
        except Exception as error:
            reason = error.reason if isinstance(error, Unavailable) else type(error).__name__
            log.error("The last notes of timelines were lost: {reason}", event="timeline.lost", count=len(self._notes), reason=reason)
        if self._due is not None:
            self._due.cancel()
            self._due = None

    async def flush(self) -> None:
        """Returns when all that is noted so far is stored. Raises Unavailable; then it waits on and is tried again later."""
        if not self._notes:
            return
        waiter: Deferred[None] = Deferred()
        self._waiters.append((self._written + len(self._notes), waiter))
        self._begin()
        await waiter

    async def trace(self, what: str, limit: int = TRACES) -> list[Trace]:
        """The timelines of the ``limit`` newest messages that ``what`` (an address, a Message-ID, a queue id) finds, oldest first.

        Raises Unavailable.
        """
        await self.flush()
        key = pages.normal(what)
        found: dict[str, list[Event]] = {}

        def finds(id: str, keys: Iterable[str]) -> bool:
            if len(found) < limit and (id == key or key in keys):
                found.setdefault(id, [])
            return len(found) >= limit

        await self._visit([key], lambda story: finds(story[0], story[1]))
        return await self._told(found)

    async def recent(self, limit: int = TRACES) -> list[Trace]:
        """The timelines of at most ``limit`` messages of which something was noted last, oldest first. Raises Unavailable."""
        await self.flush()
        found: dict[str, list[Event]] = {}
        for id in await self._store.read(pages.newest, _RECENT):
            for story in await self._stories(id):
                if len(found) < limit:
                    found.setdefault(story[0], [])
            if len(found) >= limit:
                break
        return await self._told(found)

    async def _told(self, found: dict[str, list[Event]]) -> list[Trace]:
        """Everything that is kept of the messages ``found``."""
        if not found:
            return []

        def take(story: pages.Story) -> bool:
            if story[0] in found:
                found[story[0]] += [Event(at / 1000, event, facts) for at, event, facts in story[2]]
            return False

        await self._visit(list(found), take)
        traces = [Trace(id, tuple(sorted(events, key=lambda event: event.time)[-_EVENTS:])) for id, events in found.items() if events]
        return sorted(traces[::-1], key=lambda trace: trace.events[0].time)

    async def prune(self) -> int:
        """Drop the pages of days that are too old, and merge small ones of the last days; returns how many were dropped."""
        today = int(self._reactor.seconds()) // _DAY
        total = 0
        while not self._stopped:
            count = await self._store.write(pages.drop, today - self._keep_days, _DROPPED)
            total += count
            if count < _DROPPED:
                break
            await deferLater(self._reactor, _PAUSE)
        if total:
            log.info("Old timelines dropped", event="timeline.pruned", pages=total)
        await self._merge(today)
        return total

    async def _visit(self, keys: Iterable[str], visit: Any) -> None:
        """Call ``visit`` with each story of the pages that ``keys`` find, newest page first, until it says that it is enough."""
        wanted = [pages.found_by(self._cipher, key) for key in keys]
        before: int | None = None
        while True:
            ids, before = await self._store.read(pages.scan, wanted, before, _SCANNED)
            for id in ids:
                if any([visit(story) for story in await self._stories(id)]):
                    return
            if before is None:
                return

    async def _stories(self, id: int) -> list[pages.Story]:
        """The stories of a page, the newest first; none if it has gone or does not open."""
        row = await self._store.read(pages.read, id)
        if row is None:
            return []
        try:
            stories: list[pages.Story] = await self._threads(pages.opened, self._cipher, *row)
        except (CipherError, pages.Damaged) as error:
            log.error("A page of timelines does not open: {reason}", event="timeline.damaged", page=id, reason=str(error))
            return []
        return stories[::-1]

    def _begin(self) -> None:
        """Write now what is noted."""
        if self._due is not None:
            if self._due.active():
                self._due.cancel()
            self._due = None
        if not self._running:
            self._running = True
            Deferred.fromCoroutine(self._write_out()).addBoth(self._ended)

    async def _write_out(self) -> None:
        while self._notes:
            batch = self._notes[:_PAGE]
            try:
                page = await self._threads(_page, self._cipher, batch)
                await self._store.write(pages.add, page)
            except Unavailable:
                raise
            except Exception:  # they never will be written, and must not keep the next ones from it
                log.failure("Notes of timelines cannot be written: they are lost", event="timeline.failed", count=len(batch))
                metrics.TIMELINE_LOST.inc(len(batch))
            del self._notes[: len(batch)]  # not before: what the store did not take is still there
            self._written += len(batch)
            self._wait = _DELAY
            if self._lost:
                log.error("Notes of timelines were lost: the store did not answer for too long", event="timeline.lost", count=self._lost)
                self._lost = 0
            self._tell()
            if len(self._notes) < _PAGE and not self._waiters:
                return

    def _ended(self, result: object) -> None:
        self._running = False
        if isinstance(result, Failure):
            self._wait = min(2 * self._wait, _LONGEST_DELAY)
            if isinstance(result.value, Unavailable):
                log.warn("Timelines are written later: {reason}", event="timeline.delayed", reason=result.value.reason)
            else:
                log.failure("Timelines were not written", result, event="timeline.failed")
            waiters, self._waiters = self._waiters, []
            for _, waiter in waiters:
                waiter.errback(result.value)
        if self._notes and self._due is None and not self._stopped:
            self._due = self._reactor.callLater(self._wait, self._begin)

    def _tell(self) -> None:
        done = [waiter for target, waiter in self._waiters if target <= self._written]
        self._waiters = [each for each in self._waiters if each[0] > self._written]
        for waiter in done:
            waiter.callback(None)

    async def _merge(self, today: int) -> None:
        """Merge neighbouring small pages of past days: fewer to look through, and better packed."""
        places = await self._store.read(pages.small, today - _MERGED_DAYS, today - 1, _SMALL_PAGES)
        group: list[pages.Place] = []
        for place in places:
            if group and (place.day != group[0].day or len(group) == _MERGED or sum(one.octets for one in group) > _MERGED_OCTETS):
                await self._merge_group(group)
                group = []
            group.append(place)
        await self._merge_group(group)

    async def _merge_group(self, group: list[pages.Place]) -> None:
        if len(group) < 2 or self._stopped:
            return
        rows = [row for place in group if (row := await self._store.read(pages.read, place.id)) is not None]
        if len(rows) < len(group):
            return  # another node is at them
        try:
            page = await self._threads(_merged, self._cipher, group[0].day, rows)
            await self._store.write(pages.replace, [place.id for place in group], page)
        except (CipherError, pages.Damaged, pages.Changed):
            return  # damaged ones stay as they are; what another node has merged is merged
        await deferLater(self._reactor, _PAUSE)

    def _prune_soon(self, delay: float) -> None:
        if not self._stopped:
            self._pruning = self._reactor.callLater(delay, self._prune_now)

    def _prune_now(self) -> None:
        self._pruning = None
        self._pruned = Deferred.fromCoroutine(self.prune()).addBoth(self._has_pruned)

    def _has_pruned(self, result: object) -> None:
        self._pruned = None
        if isinstance(result, Failure):
            if isinstance(result.value, Unavailable):
                log.warn("Old timelines are dropped later: {reason}", event="timeline.interrupted", reason=result.value.reason)
            else:
                log.failure("Old timelines were not dropped", result, event="timeline.failed")
        self._prune_soon(_DAY)


def _page(cipher: Cipher, notes: list[_Note]) -> pages.Page:
    """``notes`` as one page. Runs in a thread."""
    stories: dict[str, tuple[str, set[str], list[pages.Event]]] = {}
    for at, envelope, event, keys, facts in notes:
        story = stories.get(envelope)
        if story is None:
            story = stories[envelope] = envelope, set(), []
        if keys:
            story[1].update([pages.normal(key) for key in keys])
        story[2].append((at, event, facts))
    return pages.sealed(cipher, notes[-1][0] // 1000 // _DAY, stories.values())


def _merged(cipher: Cipher, day: int, rows: list[tuple[bytes, bytes]]) -> pages.Page:
    """The pages ``rows`` (guid, sealed events) as one; raises CipherError, Damaged. Runs in a thread."""
    stories: dict[str, tuple[str, set[str], list[pages.Event]]] = {}
    for guid, events in rows:
        for id, keys, noted in pages.opened(cipher, guid, events):
            story = stories.setdefault(id, (id, set(), []))
            story[1].update(keys)
            story[2].extend(noted)
    return pages.sealed(cipher, day, stories.values())
