"""Callbacks: what becomes of a call's mail, posted to whoever made the call.

Each change of a call's state is a row (:mod:`mailx.store.callbacks`), posted after the earlier ones of its call are over, signed
as calls are, and tried again as ``WAITS`` says until an answer is 2xx; then it is given up, and shown. What a crash interrupts
is posted once more, under the same event id. A host that does not answer, twice in a row if it did before, is left alone,
with all that is for it; it takes no more than one place from the others.
"""

import json
from collections.abc import Callable, Sequence
from time import time
from typing import Any

from attrs import define, frozen
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailx.core import audit, metrics
from mailx.core.calls import QUEUED, Call, Calls
from mailx.core.fates import Fates, last
from mailx.core.posting import NotPosted, Posting, signed
from mailx.core.settings import Settings
from mailx.core.users import DirectoryError
from mailx.mail.reply import Unavailable
from mailx.mail.times import iso
from mailx.store import Store
from mailx.store import callbacks as rows
from mailx.store.callbacks import DONE, GIVEN_UP, LEASE, SLICE, WAITING, Claimed, Finished
from mailx.store.cipher import Cipher

log = Logger()

WAITS = (30, 120, 600, 3600, 14400, 43200)  # seconds after an attempt that failed; then it is given up
_LONGEST = WAITS[-1] + LEASE  # what is due later than that was put off by a clock that was ahead
_AT_ONCE = 32  # posts under way
_AT_ONE_HOST = 4  # of these to one host that answers; to another, one
_HOSTS = 1000  # that are remembered
_POLL = 5.0  # seconds after which what nobody told of is found
_PAUSE = 0.02  # between slices, for whoever else waits for the writer
_ENDING = 5.0  # seconds that posts have to end when the server stops


@frozen
class Told:
    """A callback and its attempts: (seconds since 1970, what came of it)."""

    id: int
    event: str
    happened: int
    state: str  # waiting, posting, behind, done or given_up
    due: int
    attempts: int
    history: tuple[tuple[int, str], ...]


@frozen
class _Outcome:
    """What came of one attempt. ``final``: there is no use in another; ``unreachable``: the host as a whole does not work."""

    done: bool
    said: str
    final: bool = False
    unreachable: bool = False
    answered: bool = False


@define
class _Host:
    allowed: int = 1
    running: int = 0
    answers: bool = False  # it did the last time: one connection that breaks does not mean that all would


class Callbacks:
    """Posts callbacks: ``start`` once, ``wake`` when there are new ones, ``await stop()`` before the store closes."""

    def __init__(
        self,
        store: Store,
        cipher: Cipher,
        calls: Calls,
        posting: Posting,
        settings: Settings,
        reactor: Any,
        *,
        now: Callable[[], float] = time,
    ) -> None:
        """``now`` is the time of day."""
        self._store = store
        self._cipher = cipher
        self._calls = calls
        self._fates = Fates(store, cipher)
        self._posting = posting
        self._settings = settings
        self._reactor = reactor
        self._now = now
        self._hosts: dict[bytes, _Host] = {}
        self._running: dict[int, Deferred[None]] = {}  # by the callback's id
        self._looking: Deferred[None] | None = None
        self._again = False
        self._due: IDelayedCall | None = None
        self._started = False
        self._cutting = False
        self._single = not getattr(store, "node", "")  # no other server uses the database

    def start(self) -> None:
        """Post what waits."""
        self._started = True
        self.wake()

    async def stop(self) -> None:
        """Begin no more posts; those under way may end, the rest is cut off and posted again at the next start."""
        self._started = False
        self._cancel()
        if self._looking is not None:
            ended: Deferred[None] = Deferred()
            self._looking.chainDeferred(ended)
            await ended
        if self._running:
            cut = self._reactor.callLater(_ENDING, self._cut)
            await DeferredList([_after(each) for each in self._running.values()])
            if cut.active():
                cut.cancel()

    def wake(self) -> None:
        """Something may be due."""
        if self._looking is not None:
            self._again = True
        elif self._started:
            self._cancel()
            self._looking = Deferred.fromCoroutine(self._look())
            self._looking.addBoth(self._looked)

    async def of_call(self, call: int) -> list[Told]:
        """The callbacks of a call, in order. Raises Unavailable."""
        return [_shown(row) for row in await self._store.read(rows.of_calls, (call,))]

    async def counts(self) -> tuple[int, int]:
        """How many are to be posted now or later, and how many were given up. Raises Unavailable."""
        return await self._store.read(rows.counts)

    async def retry(self, id: int) -> None:
        """Begin anew with one that was given up. Raises DirectoryError "not_found", Unavailable."""
        audit.note(target=str(id))
        if not await self._store.write(rows.again, id, int(self._now())):
            raise DirectoryError("not_found", f"no callback {id} has been given up", "Look at its call again.")
        self.wake()

    # Finding what is due.

    async def _look(self) -> None:
        await deferLater(self._reactor, 0)  # commits of the same turn are seen together
        if self._single:  # what is being posted was so when the server died
            await self._store.write(rows.release, int(self._now()))
            self._single = False
        wait = _POLL
        while self._started:
            self._again = False
            now = int(self._now())
            some, later, last = await self._store.read(rows.due, now)
            if last is not None and last > now + _LONGEST:
                self._again = bool(await self._store.write(rows.pull, now, _LONGEST))
            if later is not None:
                wait = min(_POLL, max(0.0, later - self._now()))
            slots = _AT_ONCE - len(self._running)
            if some and slots:
                free = {key: host.allowed - host.running for key, host in self._hosts.items()}
                for claimed in await self._store.write(rows.claim, now, slots, free):
                    if claimed.id not in self._running:  # its lease may be over, should the clock have jumped
                        self._begin(claimed)
            if not self._again:
                break
        if self._started:
            self._due = self._reactor.callLater(wait, self.wake)

    def _looked(self, result: Any) -> None:
        self._looking = None
        if isinstance(result, Failure):
            if isinstance(result.value, Unavailable):
                log.warn("Callbacks are posted later: {reason}", event="callback.delayed", reason=result.value.reason)
            else:
                log.failure("Callbacks are posted later", result, event="callback.failed")
            if self._started:
                self._due = self._reactor.callLater(_POLL, self.wake)
        elif self._again:
            self.wake()

    def _cancel(self) -> None:
        due, self._due = self._due, None
        if due is not None and due.active():
            due.cancel()

    def _cut(self) -> None:
        self._cutting = True
        for each in list(self._running.values()):
            each.cancel()

    # One post.

    def _begin(self, claimed: Claimed) -> None:
        if len(self._hosts) > _HOSTS:
            self._hosts = {key: host for key, host in self._hosts.items() if host.running}
        host = self._hosts.setdefault(claimed.host, _Host())
        host.running += 1
        posting = Deferred.fromCoroutine(self._tell(claimed, host))
        self._running[claimed.id] = posting
        posting.addBoth(self._ended, claimed.id, host)

    def _ended(self, result: Any, id: int, host: _Host) -> None:
        del self._running[id]
        host.running -= 1
        if isinstance(result, Failure):  # it is due again when its lease is over
            if isinstance(result.value, Unavailable):
                log.warn("Callbacks are posted later: {reason}", event="callback.delayed", reason=result.value.reason)
            else:
                log.failure("Callbacks are posted later", result, event="callback.failed")
        self.wake()

    async def _tell(self, claimed: Claimed, host: _Host) -> None:
        """Post one and note what came of it."""
        answered = host.answers
        outcome = await self._try(claimed)
        if outcome is None:
            return
        now = int(self._now())
        state, due = DONE, now
        if not outcome.done:
            given_up = outcome.final or claimed.attempts >= len(WAITS)
            state, due = (GIVEN_UP, now) if given_up else (WAITING, now + WAITS[claimed.attempts])
        line = f"{now} {outcome.said}"
        await self._store.write(rows.finish, Finished(claimed.id, state, due, line))
        metrics.CALLBACKS.labels({DONE: "posted", WAITING: "failed", GIVEN_UP: "given_up"}[state]).inc()
        log.info(
            "A callback {outcome}: {said}",
            event="callback.tried",
            outcome={DONE: "was posted", WAITING: "failed", GIVEN_UP: "was given up"}[state],
            said=outcome.said,
            queued_id=claimed.call,
            state=claimed.event,
        )
        if outcome.unreachable:
            host.allowed = 1
            answers, host.answers = answered or host.answers, False  # those that break together break once
            if not answers:
                await self._put_off(claimed.host, line)
            return
        host.answers = host.answers or outcome.answered
        if outcome.done:
            host.allowed = min(host.allowed + 1, _AT_ONE_HOST)

    async def _try(self, claimed: Claimed) -> "_Outcome | None":
        """What came of one attempt; None when it is none. Raises Unavailable."""
        try:
            call = await self._calls.show(claimed.call)
            if call is None:
                return None  # forgotten meanwhile, and the callback with it
            if call.damaged:
                return _Outcome(False, "the record of the call does not open", final=True)
            status = await self._post(claimed, call)
        except CancelledError:
            return None  # the server stops: it is posted again at the next start
        except NotPosted as error:
            return None if self._cutting else _Outcome(False, error.reason, unreachable=error.unreachable)
        except _Nowhere:
            return _Outcome(False, "no URL is set any more", final=True)
        except Unavailable:
            raise
        except Exception:
            log.failure("A callback was not posted", event="callback.failed")
            return _Outcome(False, "a fault of this server; its log says more")
        redirected = ", a redirect, which is not followed" if 300 <= status < 400 else ""
        return _Outcome(200 <= status < 300, f"answered {status}{redirected}", answered=True)

    async def _post(self, claimed: Claimed, call: Call) -> int:
        settings = self._settings.current.webhook
        url = call.callback or settings.callback_url
        if not url:
            raise _Nowhere
        event = self._cipher.hash(
            b"callback event", b"", f"{call.envelope} {claimed.id}".encode()
        ).hex()  # numbers may come again after a restore
        told: dict[str, Any] = {
            "event_id": event,
            "event": claimed.event,
            "queued_id": call.id,
            "type": call.type,
            "to": call.to,
            "at": iso(claimed.happened),
        }
        if claimed.event != QUEUED:
            past = last(await self._fates.of(call.envelope), claimed.happened)
            if past is not None:
                told["reply"] = str(past.attempt.reply)
        body = json.dumps(told, separators=(",", ":")).encode()
        prefix = settings.header_prefix
        fields = signed(prefix, settings.callback_secret or settings.secret, body, self._now())
        return await self._posting.post(url, body, {**fields, f"{prefix}-Event-Id": event})

    async def _put_off(self, host: bytes, line: str) -> None:
        """Leave alone what else is due at a host that does not work."""
        while self._started and await self._store.write(rows.put_off, host, int(self._now()), WAITS, line) == SLICE:
            await deferLater(self._reactor, _PAUSE)
        while self._started and (count := await self._store.write(rows.give_up, host, int(self._now()), len(WAITS), line)):
            metrics.CALLBACKS.labels("given_up").inc(count)
            log.warn("Callbacks to a host that does not answer were given up", event="callback.given_up", count=count)
            await deferLater(self._reactor, _PAUSE)


class _Nowhere(Exception):
    """There is no URL to post to."""


def _after(deferred: "Deferred[None]") -> "Deferred[None]":
    ended: Deferred[None] = Deferred()

    def fire(result: Any) -> Any:
        ended.callback(None)
        return result

    deferred.addBoth(fire)
    return ended


def _shown(row: rows.Told) -> Told:
    history: Sequence[str] = row.history.splitlines()
    lines = [line.partition(" ") for line in history]
    return Told(
        row.id, row.event, row.happened, row.state, row.due, row.attempts, tuple([(int(at), said) for at, _, said in lines if at.isdigit()])
    )
