"""The queue: what waits to go out, what came of it, and the changes an administrator makes by hand.

Addresses are sealed in the store, so a selection by sender or recipient opens the rows that the rest of it leaves, in
slices. What is being sent at the moment is left alone.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from time import time

from attrs import evolve, frozen

from mailx.core.ledger import Entry, Ledger, Selection
from mailx.core.parcels import Past
from mailx.core.queue import Queue as MailQueue
from mailx.core.users import DirectoryError, canonical_domain
from mailx.ops.resources.query import JSON, Query, moment, running

PAGE = 200  # entries in one answer
_SLICE = 50  # entries opened in one go: about a millisecond
_SEARCHED = 5000  # entries opened for one answer
_IDS = 500  # entries changed in one call of the ledger
_TEXTS = 10  # of a list in a body
_TEXT_LIMIT = 500
_FILTERS = frozenset(("id", "state", "domain", "relay", "sender", "recipient", "older", "limit", "after"))

Change = Callable[[Selection], Awaitable[int]]


@frozen
class _Wanted:
    """Which entries a request means."""

    selection: Selection
    domain: str = ""  # of the recipient, canonical
    sender: str | None = None  # lower case, "" for the null sender; or @domain
    recipient: str | None = None

    @property
    def opens(self) -> bool:
        """Whether entries must be opened to tell."""
        return bool(self.domain) or self.sender is not None or self.recipient is not None

    def fits(self, entry: Entry) -> bool:
        if self.domain and canonical_domain(entry.recipient.rpartition("@")[2]) != self.domain:
            return False
        return _matches(self.sender, entry.sender) and (
            _matches(self.recipient, entry.recipient) or _matches(self.recipient, entry.original)
        )


class Queue:
    """Answers for the queue. ``queue`` is None where there is none; one that does not run tells senders nothing.

    ``routed``: some mail goes through relays, so that the place in the queue does not tell the recipient's domain.
    """

    ROUTES = (
        ("/v1/queue", "GET", "entries"),
        ("/v1/queue/<id>", "GET", "message"),
        ("/v1/queue/retry", "POST", "retry"),
        ("/v1/queue/hold", "POST", "hold"),
        ("/v1/queue/release", "POST", "release"),
        ("/v1/queue/bounce", "POST", "bounce"),
        ("/v1/queue/delete", "POST", "delete"),
    )

    def __init__(self, queue: MailQueue | None, routed: bool) -> None:
        self._queue = queue
        self._routed = routed

    async def entries(self, query: Query) -> JSON:
        """A page of entries; ``next`` is the ``after`` of the next page, or null. The first page has the counts of states, too."""
        ledger = self._ledger()
        wanted = self._wanted(query.parameters)
        limit = max(1, min(query.number("limit", PAGE), PAGE))
        after = query.number("after", 0)
        counts = {} if after else {"counts": await ledger.counts()}
        found: list[Entry] = []
        following: int | None = None
        seen = 0
        async for entry in _opened(ledger, wanted, after):
            seen += 1
            if wanted.fits(entry):
                found.append(entry)
            if len(found) == limit or seen == _SEARCHED:
                following = entry.id
                break
        return {"entries": [_entry(entry) for entry in found], "next": following, **counts}

    async def message(self, query: Query) -> JSON:
        """The recipients of one message, by its queue id, with all attempts that are kept."""
        ledger = self._ledger()
        id = query.path["id"]
        entries = [entry async for entry in _opened(ledger, _Wanted(Selection(envelope=id)), 0)][: 5 * PAGE]
        if not entries:
            raise _unknown(id)
        shown = [await ledger.show(entry.id) for entry in entries]
        return {"id": id, "entries": [_entry(one.entry) | {"history": [_attempt(past) for past in one.history]} for one in shown]}

    async def retry(self, query: Query) -> JSON:
        return await self._change(query, self._ledger().retry)

    async def hold(self, query: Query) -> JSON:
        return await self._change(query, self._ledger().hold)

    async def release(self, query: Query) -> JSON:
        return await self._change(query, self._ledger().release)

    async def bounce(self, query: Query) -> JSON:
        queue = self._queue
        if queue is not None and not queue.running:
            raise DirectoryError("invalid", "only a running server can tell senders", "Start the server, or delete without a word.")
        return await self._change(query, self._ledger().bounce)

    async def delete(self, query: Query) -> JSON:
        return await self._change(query, self._ledger().delete)

    async def _change(self, query: Query, change: Change) -> JSON:
        """Apply ``change`` to what the body selects; how many entries it held for."""
        ledger = self._ledger()
        wanted = self._wanted({name: _listed(name, value) for name, value in query.body.items() if name != "all"})
        if wanted == _Wanted(Selection()) and query.body.get("all") is not True:
            raise DirectoryError("invalid", "nothing was selected", "Name a queue id or a filter, or say `all`.")
        selection = wanted.selection
        if selection.envelope and not await ledger.list(selection, 0, 1):
            raise _unknown(selection.envelope)
        if not wanted.opens:
            return {"count": await change(selection)}
        ids = [entry.id async for entry in _opened(ledger, wanted, 0) if wanted.fits(entry)]
        parts = [tuple(ids[start : start + _IDS]) for start in range(0, len(ids), _IDS)]
        return {"count": sum([await change(evolve(selection, ids=part)) for part in parts])}

    def _wanted(self, values: Mapping[str, str]) -> _Wanted:
        """What ``id, state, domain, relay, sender, recipient, older`` select; raises DirectoryError."""
        unknown = sorted(set(values) - _FILTERS)
        if unknown or any(len(value) > _TEXT_LIMIT for value in values.values()):
            raise DirectoryError("invalid", f"there is no filter {unknown[0]}" if unknown else "a filter is too long")
        older = values.get("older", "")
        if older and not (older.isascii() and older.isdigit() and len(older) < 12):
            raise DirectoryError("invalid", "older must be a number of seconds")
        relay, domain = values.get("relay", ""), canonical_domain(values.get("domain", "").removeprefix("@"))
        opens = bool(domain and (relay or self._routed))
        selection = Selection(
            states=tuple(state for state in values.get("state", "").split(",") if state),
            destination=f"relay:{relay}" if relay else "" if opens else domain,
            envelope=values.get("id", ""),
            before=int(time()) - int(older) if older else None,
        )
        return _Wanted(selection, domain if opens else "", _address(values.get("sender")), _address(values.get("recipient")))

    def _ledger(self) -> Ledger:
        return running(self._queue, "there is no queue here").ledger


async def _opened(ledger: Ledger, wanted: _Wanted, after: int) -> AsyncIterator[Entry]:
    """The entries that the selection leaves above the id ``after``."""
    while entries := await ledger.list(wanted.selection, after, _SLICE):
        for entry in entries:
            yield entry
        if len(entries) < _SLICE:
            return
        after = entries[-1].id


def _unknown(id: str) -> DirectoryError:
    return DirectoryError("not_found", f"the queue has no message {id}", "List the queue to see what it has; the timeline may know more.")


def _listed(name: str, value: JSON) -> str:
    """The value of a body as a query string would have it."""
    if isinstance(value, list) and len(value) <= _TEXTS and all(isinstance(one, str) for one in value):
        return ",".join(value)
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        return str(value)
    raise DirectoryError("invalid", f"{name} must be a text or a number")


def _address(text: str | None) -> str | None:
    return None if not text else text.strip().removeprefix("<").removesuffix(">").lower()


def _matches(wanted: str | None, address: str) -> bool:
    """Whether ``address`` is the one that is wanted, or of the domain that is."""
    address = address.lower()
    return wanted is None or wanted == address or (wanted.startswith("@") and address.endswith(wanted))


def _entry(entry: Entry) -> JSON:
    waiting = entry.state in ("pending", "deferred")
    return {
        "entry": entry.id,
        "id": entry.envelope,
        "state": entry.state,
        "sender": entry.sender,
        "recipient": entry.recipient,
        "original": entry.original,
        "destination": entry.destination,
        "relay": entry.relay or None,
        "attempts": entry.attempts,
        "attempts_left": max(0, entry.waits + 1 - entry.attempts) if waiting else 0,
        "next": moment(entry.due) if waiting else None,
        "accepted": moment(entry.created),
        "finished": moment(entry.finished or None),
        "size": entry.size,
        "account": entry.account,
        "last": None if entry.last is None else _attempt(entry.last),
    }


def _attempt(past: Past) -> JSON:
    attempt = past.attempt
    return {
        "time": moment(past.time),
        "reply": str(attempt.reply),
        "host": attempt.host,
        "security": attempt.security,
        "tls": attempt.tls,
    }
