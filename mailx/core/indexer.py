"""Feeds the search index, behind delivery: nobody who hands mail in ever waits for it.

It follows the ids of messages. The segments of a batch and how far it has come are one transaction, so that a crash costs
at most a batch of work. While mail comes in fast it waits, but never lets a message wait for longer than PATIENCE before
it goes on in spite of the load. Small segments are merged into larger ones, and what was deleted is forgotten in
passes some time after. Failure of a store is logged and tried again; an index that does not open is built anew. Sealed accounts
are indexed one by one when nothing else is to be done (:mod:`mailx.core.indexing_apart`).
"""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from mailx.core import metrics
from mailx.core.batch import Batch
from mailx.core.documents import Extract
from mailx.core.index import Index
from mailx.core.indexing_apart import BATCH, SLICE, SLICE_OCTETS, WEIGHT, Apart
from mailx.core.merging import Merging
from mailx.mail.mailbox import Change
from mailx.mail.reply import Unavailable
from mailx.store import Store, segments, unindexed
from mailx.store.cipher import CipherError
from mailx.store.segments import Overtaken, State
from mailx.store.texts import Damaged

if TYPE_CHECKING:
    from mailx.store.blobs import Blobs
    from mailx.store.cipher import Cipher

log = Logger()

PATIENCE = 10.0  # seconds that a message may wait because of others that are being delivered
FORGET_AFTER = 600.0  # seconds from a deletion to the pass that forgets it

_DELAY = 0.5  # seconds after a delivery: what comes together is indexed together
_BUSY = 150  # messages a second; when more come in, they come first
_PAUSE = 0.25  # seconds between two looks while it is busy
_OPENED = 2.0  # seconds after a login: its session comes first
_RETRY = 10.0  # seconds after a failure
_CLEARED = 50  # segments removed by one job


@frozen
class Status:
    """How the index does."""

    behind: int  # messages not yet indexed
    seconds: float  # for how long the oldest of them has been waiting
    segments: int
    documents: int
    octets: int  # on disk
    waiting: int  # messages of sealed accounts whose owners are away: indexed when they log in


class Indexer:
    """Feeds the index in ``index_store`` with the mail in ``store``: ``start`` once, ``stop`` before the stores close."""

    def __init__(
        self,
        store: Store,
        index_store: Store,
        index: Index,
        cipher: "Cipher",
        blobs: "Blobs",
        reactor: Any,
        patience: float = PATIENCE,
        forget_after: float = FORGET_AFTER,
        extract: Extract | None = None,
    ) -> None:
        """``patience`` and ``forget_after`` in seconds. ``extract`` reads documents that are attached; None: nobody does."""
        self._extract = extract
        self._store = store
        self._index_store = index_store
        self._cipher = cipher
        self._blobs = blobs
        self._reactor = reactor
        self._patience = patience
        self._forget_after = forget_after
        self._pool = ThreadPool(0, 1, "indexer")
        self._merging = Merging(store, index_store, cipher, index.vault, self._threads, self._spare)
        self._apart = Apart(store, index_store, index, cipher, blobs, self._merging, self._threads, self._spare, extract)
        self._position = 0  # as this node has left it
        self._samples: deque[tuple[float, int]] = deque()  # when which head was first seen, of what is not yet indexed
        self._due: IDelayedCall | None = None
        self._sleeping: Deferred[None] | None = None
        self._running: Deferred[None] | None = None
        self._stopped = False
        self._rebuild = False
        self._index = index
        self._forget_at: float | None = None
        self._shrunk: set[int] | None = None  # mailboxes that messages were deleted from; None: any, as before the start
        index.damaged = self.rebuild
        index.turned = partial(self._look_at, 0)
        if index.keyring is not None:
            index.keyring.on_open(partial(self._look_at, _OPENED))

    def start(self) -> None:
        """Catch up, then follow."""
        self._pool.start()
        self._store.listen(self._heard)
        self._forget_at = self._reactor.seconds() + self._forget_after
        self._wake(0)

    async def stop(self) -> None:
        """Index no more; returns when the running slice is through."""
        self._stopped = True
        if self._due is not None:
            self._due.cancel()
            self._due = None
        if self._sleeping is not None:
            self._sleeping.cancel()
        if self._running is not None:
            await self._running
        if self._pool.started:
            self._pool.stop()

    def rebuild(self) -> None:
        """Forget the index and build it anew; searches look into every message meanwhile."""
        self._rebuild = True
        self._wake(0)

    async def status(self) -> Status:
        """Raises Unavailable."""
        state = await self._index_store.read(segments.state)
        head = await self._store.read(unindexed.head)
        size = await self._index_store.read(segments.size)
        here, away = await self._apart.left()
        self._sample(head, state.position)
        return Status(max(0, head - state.position) + here, self._waiting(), size.segments, size.documents, size.octets, away)

    async def caught_up(self) -> None:
        """Returns when nothing is to be done; for tests and tools."""
        while not self._stopped:
            state = await self._index_store.read(segments.state)
            head = await self._store.read(unindexed.head)
            idle = self._running is None and not self._rebuild and not self._apart.due
            if idle and head <= state.position and (self._forget_at is None or self._forget_at > self._reactor.seconds()):
                return
            self._wake(0)
            await deferLater(self._reactor, 0.005)

    def _heard(self, change: Change) -> None:
        if change.removed or change.gone or change.partial:
            if self._shrunk is not None:
                self._shrunk.add(change.mailbox)
            if self._forget_at is None:
                self._forget_at = self._reactor.seconds() + self._forget_after
                self._wake(self._forget_after)
        if change.added or change.partial:
            self._wake(_DELAY)

    def _look_at(self, delay: float, account: int) -> None:
        """There may be something to do for an account that is followed by itself."""
        self._apart.due.add(account)
        self._wake(delay)

    def _wake(self, delay: float) -> None:
        """Go on in ``delay`` seconds, or sooner if that is already settled."""
        if self._stopped or not self._pool.started:
            return
        if self._due is None:
            self._due = self._reactor.callLater(delay, self._begin)
        elif self._due.getTime() > self._reactor.seconds() + delay:
            self._due.reset(delay)

    def _begin(self) -> None:
        self._due = None
        if self._running is not None:
            self._wake(_DELAY)
            return
        self._running = Deferred()
        Deferred.fromCoroutine(self._run()).addBoth(self._ended)

    def _ended(self, result: object) -> None:
        if isinstance(result, Failure):
            if not result.check(CancelledError):
                log.failure("The indexer failed", result, event="index.failed")
            self._wake(_RETRY)
        running, self._running = self._running, None
        if running is not None:
            running.callback(None)

    async def _run(self) -> None:
        try:
            await self._check()
            position = await self._follow()
            if not await self._apart.run(position, self._interrupted):
                self._wake(_DELAY)
            await self._forget()
        except Overtaken:
            self._wake(_DELAY)
        except Unavailable as error:
            log.warn("Indexing was interrupted: {reason}", event="index.interrupted", reason=error.reason)
            self._wake(_RETRY)
        except (CipherError, Damaged) as error:
            log.error("The search index is damaged: {reason}", event="index.damaged", reason=str(error))
            self._rebuild = True
            self._wake(0)

    async def _check(self) -> None:
        """An index that is not of this database (a backup was put back) would hide messages: it is built anew."""
        state: State = await self._index_store.read(segments.state)
        if not self._index.trusted:
            await self._apart.resume()
            if state.position > 0 and not await self._store.read(unindexed.belongs, state.position, state.anchor):
                log.warn("The search index belongs to another state of the database", event="index.foreign")
                self._rebuild = True
        if self._rebuild:
            await self._index_store.write(segments.condemn)
            self._rebuild = False
            state = State(segments.CLEARING, b"")
        if state.position == segments.CLEARING:
            log.info("The search index is built anew", event="index.rebuild")
            while not self._stopped and not await self._index_store.write(segments.clear, _CLEARED):
                await self._spare()
        self._index.trusted = not self._stopped

    async def _follow(self) -> int:
        """Index until nothing is left; the id up to which everything was looked at."""
        state: State = await self._index_store.read(segments.state)
        if state.position != self._position:
            self._apart.look_around()
        seen, at = state.position, self._reactor.seconds()
        while not self._stopped and not self._rebuild:
            head = await self._store.read(unindexed.head)
            self._sample(head, state.position)
            if head <= state.position:
                break
            now = self._reactor.seconds()
            arrived, seconds = head - max(seen, state.position), now - at
            seen, at = head, now
            if self._waiting() < self._patience and arrived > _BUSY * max(seconds, _PAUSE):
                await self._sleep(_PAUSE)
                continue
            state, full = await self._batch(state)
            if not full:
                self._wake(_DELAY)  # what comes meanwhile is one batch
                break
        self._position = state.position
        return state.position

    async def _batch(self, state: State) -> tuple[State, bool]:
        """Index some messages after ``state``; the state after them, and whether there may be more."""
        batch = Batch(self._cipher, self._blobs, extract=self._extract)
        position, taken = state.position, 0
        while not (full := taken >= BATCH or batch.weight >= WEIGHT) and not self._stopped:
            messages = await self._store.read(unindexed.after, position, SLICE, SLICE_OCTETS)
            if not messages:
                break
            self._apart.passed(messages)
            unknown = batch.unknown(messages)
            numbers = await self._index_store.read(segments.last_numbers, unknown) if unknown else {}
            await self._threads(batch.add, messages, numbers, unknown)
            position, taken = messages[-1].id, taken + len(messages)
            await self._spare()
        if not taken:
            return state, False
        made = await self._threads(batch.sealed)
        after = State(position, batch.anchor)
        await self._index_store.write(segments.add, state, after, made)
        metrics.INDEXED.inc(taken)
        self._sample(position, position)
        await self._merging.tidy({one.account for one in made}, self._interrupted)
        return after, full

    async def _forget(self) -> None:
        """Take deleted messages out of their segments, when it is time."""
        if self._forget_at is None:
            return
        left = self._forget_at - self._reactor.seconds()
        if left > 0:
            self._wake(left)
            return
        shrunk, self._shrunk, self._forget_at = self._shrunk, set(), None
        try:
            count = await self._merging.forget(None if shrunk is None else sorted(shrunk), self._interrupted)
        except BaseException:
            self._shrunk, self._forget_at = None, self._reactor.seconds() + self._forget_after
            raise
        await self._apart.look_at_locked()
        if self._apart.due:
            self._wake(_DELAY)
        if count:
            log.info("Deleted messages left the search index", event="index.forgotten", count=count)

    def _interrupted(self) -> bool:
        return self._stopped or self._rebuild

    def _sample(self, head: int, position: int) -> None:
        samples = self._samples
        while samples and samples[0][1] <= position:
            samples.popleft()
        if head > position and (not samples or head > samples[-1][1]):
            samples.append((self._reactor.seconds(), head))
        metrics.INDEX_LAG_MESSAGES.set(max(0, (samples[-1][1] if samples else head) - position))
        metrics.INDEX_LAG_SECONDS.set(self._waiting())

    def _waiting(self) -> float:
        """Seconds since the oldest message that is not indexed was noticed."""
        return self._reactor.seconds() - self._samples[0][0] if self._samples else 0.0

    def _threads(self, call: Callable[..., Any], *args: Any) -> "Deferred[Any]":
        return deferToThreadPool(self._reactor, self._pool, call, *args)

    async def _spare(self) -> None:
        """Give way between two steps, the more so as long as nothing waits for too long."""
        await self._sleep(0 if self._waiting() > self._patience else 0.001)

    async def _sleep(self, seconds: float) -> None:
        if self._stopped:
            return
        self._sleeping = deferLater(self._reactor, seconds)
        try:
            await self._sleeping
        except CancelledError:
            pass
        finally:
            self._sleeping = None
