"""The audit log: who changed what, when, from where, and what it was before; without secrets.

Whoever acts says so once, at the edge: ``with acting(Actor("admin", "ada", "192.0.2.1"), "domain.add")``. The core notes
what is changed (``note``), and the first write of the act carries the row in its own transaction (``Recording``): a
change without its row, or a row without its change, cannot be. An act that writes nothing leaves no row; what matters and
changes nothing in the store (a login that failed, certificates read again) is told by ``Log.record``.

The act follows the coroutine by a ContextVar, so that nobody between has to pass it on. Once its row is on its way, and
after the ``with`` block, it is spent: what was started within goes on without it.
"""

import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from time import time
from typing import Any, TypeAlias

from attrs import define, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailx.mail.mailbox import Change
from mailx.mail.reply import Unavailable
from mailx.mail.times import iso_exact
from mailx.store import Store, Txn
from mailx.store import audit as rows
from mailx.store.cipher import Cipher

log = Logger()

JSON: TypeAlias = Any

HIDDEN = "(hidden)"
PAGE = 100  # entries of a page, unless asked for more
_LONGEST = 500  # characters of one text
_MANY = 100  # values of one mapping or list
_DEEP = 4  # mappings within mappings
_SECRET = re.compile(r"(^|[._-])(password|passphrase|secret|token|credentials|private|totp|codes?)$", re.ASCII)
_SLICE = 500  # rows dropped by one job
_EXPORTED = 500  # rows read by one job
_PAUSE = 0.05  # seconds between slices, for whoever else waits for the writer
_DAY = 86400.0


@frozen
class Actor:
    """Who acts. ``kind``: admin, key (an API key), mailxctl or server."""

    kind: str
    name: str
    address: str = ""  # where from


@define(eq=False)
class Act:
    """What somebody is about to do. ``spent``: its row is on its way, or it is over."""

    actor: Actor
    action: str
    target: str = ""
    before: JSON = None
    after: JSON = None
    spent: bool = False
    changed: Callable[[Any], bool] | None = None  # whether a write's answer says that something was changed
    recorded: bool = False  # its row is committed
    over: bool = False


_current: ContextVar[Act | None] = ContextVar("mailx_act", default=None)


@contextmanager
def acting(actor: Actor, action: str, target: str = "") -> Iterator[Act]:
    """The first ``store.write`` of this coroutine within the block also writes the audit row."""
    act = Act(actor, action, target)
    token = _current.set(act)
    try:
        yield act
    finally:
        act.spent = act.over = True
        _current.reset(token)


@contextmanager
def apart() -> Iterator[None]:
    """Writes within the block do not belong to the act: what must be written before the change that is to be told."""
    token = _current.set(None)
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def step(action: str, target: str = "") -> Iterator[None]:
    """One of several changes of the act, with an action and a row of its own. No effect outside ``acting``."""
    act = _current.get()
    if act is None:
        yield
        return
    with acting(act.actor, action, target) as own:
        yield
    if own.recorded:
        act.spent = act.recorded = True


def note(*, target: str | None = None, before: JSON = None, after: JSON = None, changed: Callable[[Any], bool] | None = None) -> None:
    """Tell what the write that follows changes: JSON, mappings merged with earlier notes. No effect outside ``acting``.

    Secrets are not to be passed; texts under names like ``password`` or ``webhook.secret`` are hidden anyway. A write
    whose answer is not ``changed`` carries no row, and leaves it to the next one.
    """
    act = _current.get()
    if act is None or act.spent:
        return
    if target is not None:
        act.target = target
    act.before = _merged(act.before, before)
    act.after = _merged(act.after, after)
    act.changed = changed or act.changed


def unchanged() -> None:
    """All is already as it is wanted: nothing is written, and there is nothing to tell."""
    act = _current.get()
    if act is not None:
        act.recorded = True


def current() -> Act | None:
    """The act that this coroutine is in, if any."""
    return _current.get()


def by() -> str:
    """The name of whoever acts, for rows that keep who made them; empty outside ``acting``."""
    act = _current.get()
    return "" if act is None else act.actor.name


class Recording:
    """A store whose writes carry the audit row of the act they are made in."""

    def __init__(self, store: Any, cipher: Cipher, now: Callable[[], float] = time) -> None:
        self._store = store
        self._cipher = cipher
        self._now = now
        self.node = str(getattr(store, "node", ""))  # one of several servers on a database; empty: the only one

    def read(self, job: Callable[..., Any], *args: Any, **kwargs: Any) -> "Deferred[Any]":
        """As the store's."""
        found: Deferred[Any] = self._store.read(job, *args, **kwargs)
        return found

    def write(self, job: Callable[..., Any], *args: Any, **kwargs: Any) -> "Deferred[Any]":
        """As the store's; a job that fails, or whose COMMIT fails, leaves no row, and the act may write another."""
        act = _current.get()
        written: Deferred[Any]
        if act is None or act.spent:
            written = self._store.write(job, *args, **kwargs)
            return written
        act.spent = True
        written = self._store.write(_recorded, _line(self._cipher, act, self._now()), act.changed, job, args, kwargs)
        return written.addCallbacks(_done, _undone, callbackArgs=(act,), errbackArgs=(act,))

    def listen(self, listener: Callable[[Change], Any]) -> None:
        """As the store's."""
        self._store.listen(listener)

    async def close(self) -> None:
        """As the store's."""
        await self._store.close()


def _recorded(
    txn: Txn,
    line: rows.Line,
    changed: Callable[[Any], bool] | None,
    job: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """The job and its row, or neither. A batched job gets its one call by itself."""
    if getattr(job, "batched", False):
        (answer,) = job(txn, [args[0]])
        if isinstance(answer, Exception):
            raise answer
    else:
        answer = job(txn, *args, **kwargs)
    if changed is None or changed(answer):
        rows.insert(txn, line)
    return answer


def _done(answer: Any, act: Act) -> Any:
    if act.changed is None or act.changed(answer):
        act.recorded = True
    else:
        act.spent = act.over
    return answer


def _undone(failure: Failure, act: Act) -> Failure:
    act.spent = act.over
    return failure


@frozen
class Entry:
    """One line of the log. ``damaged``: what was changed cannot be read any more."""

    id: int
    at: float  # seconds since 1970
    actor: Actor
    action: str
    target: str
    before: JSON = None
    after: JSON = None
    damaged: bool = False


def described(entry: Entry) -> dict[str, JSON]:
    """An entry for programs: as the admin API gives it, and as it is exported."""
    return {
        "id": entry.id,
        "time": iso_exact(entry.at),
        "actor": {"kind": entry.actor.kind, "name": entry.actor.name, "address": entry.actor.address},
        "action": entry.action,
        "target": entry.target,
        "before": entry.before,
        "after": entry.after,
        "damaged": entry.damaged,
    }


@frozen
class Filter:
    """Which entries are meant; what is empty does not matter. Times are seconds since 1970."""

    actor: str = ""
    action: str = ""  # exact, or a whole family: "domain."
    target: str = ""  # exact, or a domain: then everything within it, too
    since: float = 0  # inclusive
    until: float = 0  # exclusive


Entries: TypeAlias = list[Entry]  # named here, since Log has a method `list`
Names: TypeAlias = list[str]


class Log:
    """Reads the audit log, adds what no write carries, and drops what is too old: ``start`` once, ``stop`` before the store closes."""

    def __init__(self, store: Store, cipher: Cipher, reactor: Any, days: Callable[[], int] = lambda: 730) -> None:
        """``days`` says how long entries are kept; it is asked at each use."""
        self._store = store
        self._cipher = cipher
        self._reactor = reactor
        self._days = days
        self._due: IDelayedCall | None = None
        self._pruning: Deferred[None] | None = None
        self._stopped = False

    async def list(self, which: Filter = Filter(), before: int = 0, limit: int = PAGE) -> Entries:
        """At most ``limit`` entries, the newest first; ``before``: the last id of the page before this one."""
        found = await self._store.read(rows.page, self._cipher, self._filter(which), before, limit)
        return [_entry(each) for each in found]

    async def export(self, which: Filter = Filter()) -> AsyncIterator[Entries]:
        """Every entry that is meant, the newest first, a slice at a time."""
        last = 0
        while found := await self.list(which, last, _EXPORTED):
            yield found
            last = found[-1].id

    async def actions(self) -> Names:
        """The names of all actions in the log."""
        return await self._store.read(rows.actions)

    async def record(self, actor: Actor, action: str, target: str = "", before: JSON = None, after: JSON = None) -> None:
        """Write an entry for what no write of the store carries."""
        act = Act(actor, action, target, before, after)
        with apart():
            await self._store.write(rows.insert, _line(self._cipher, act, time()))

    async def conclude(self, act: Act) -> None:
        """Write the act's entry if none of its writes did: for what succeeded and changed nothing in the store.

        Where the core tells by the writes whether something was ``changed``, it is the core's word that counts.
        """
        if not act.recorded and act.changed is None:
            act.recorded = True
            with apart():
                await self._store.write(rows.insert, _line(self._cipher, act, time()))

    def start(self) -> None:
        """Drop what is too old: now, and once a day."""
        self._due = self._reactor.callLater(_PAUSE, self._prune)

    async def stop(self) -> None:
        """Begin nothing more, and wait for what runs."""
        self._stopped = True
        if self._due is not None and self._due.active():
            self._due.cancel()
        if self._pruning is not None:
            await self._pruning

    async def prune(self) -> int:
        """Drop what is too old, in slices; returns how many entries went."""
        total, before = 0, int((time() - self._days() * _DAY) * 1000)
        while dropped := await self._store.write(rows.prune, before, _SLICE):
            total += dropped
            if dropped < _SLICE or self._stopped:
                break
            await deferLater(self._reactor, _PAUSE, lambda: None)
        return total

    def _prune(self) -> None:
        self._due = self._reactor.callLater(_DAY, self._prune)
        if self._pruning is None:
            self._pruning = Deferred.fromCoroutine(self._try_to_prune())

    async def _try_to_prune(self) -> None:
        try:
            await self.prune()
        except Unavailable as error:
            log.warn("The audit log was not shortened: {reason}", event="audit.not_pruned", reason=error.reason)
        finally:
            self._pruning = None

    def _filter(self, which: Filter) -> rows.Filter:
        return rows.Filter(
            which.actor.replace("\0", "?"),  # no row has one, and PostgreSQL takes none
            which.action.replace("\0", "?"),
            rows.digest(self._cipher, which.target) if which.target else None,
            int(which.since * 1000),
            int(which.until * 1000),
        )


def _entry(stored: rows.Stored) -> Entry:
    details = stored.details or {}
    return Entry(
        stored.id,
        stored.at / 1000,
        Actor(stored.kind, stored.name, details.get("address", "")),
        stored.action,
        details.get("target", ""),
        details.get("before"),
        details.get("after"),
        stored.details is None,
    )


def _line(cipher: Cipher, act: Act, now: float) -> rows.Line:
    target = _bounded(act.target)
    details = {"target": target, "address": act.actor.address}
    for key in ("before", "after"):
        value = clean(getattr(act, key))
        if value is not None:
            details[key] = value
    return rows.line(cipher, int(now * 1000), (act.actor.kind, act.actor.name), act.action, target, details)


def clean(value: JSON, name: str = "", depth: int = 0) -> JSON:
    """``value`` as the log keeps it: bounded, and what stands under the name of a secret hidden."""
    if value is not None and value != "" and not isinstance(value, bool) and _SECRET.search(name):
        return HIDDEN
    if isinstance(value, Mapping):
        if depth >= _DEEP:
            return "..."
        items = list(value.items())
        kept = {_bounded(str(key)): clean(each, str(key), depth + 1) for key, each in items[:_MANY]}
        return kept | {"...": len(items) - _MANY} if len(items) > _MANY else kept
    if isinstance(value, (list, tuple, set, frozenset)):
        each_of = list(value)
        cut = [clean(each, "", depth + 1) for each in each_of[:_MANY]] if depth < _DEEP else ["..."]
        return [*cut, f"... {len(each_of) - _MANY} more"] if len(each_of) > _MANY and depth < _DEEP else cut
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return _bounded(str(value))


def _bounded(text: str) -> str:
    text = text.encode("utf-8", "replace").decode()  # lone surrogates
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."


def _merged(old: JSON, new: JSON) -> JSON:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return {**old, **new}
    return old if new is None else new
