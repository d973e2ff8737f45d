"""The queue: what waits to go out, what came of it, and the changes an administrator makes by hand.

What is being sent at the moment is left alone.
"""

from collections.abc import Mapping

from mailx.core import audit, queue_search
from mailx.core.ledger import Entry, Ledger, Selection
from mailx.core.parcels import Past
from mailx.core.queue import Queue as MailQueue
from mailx.core.queue_search import Change, Wanted
from mailx.core.users import DirectoryError
from mailx.ops.resources.query import JSON, Query, moment, running
from mailx.ops.resources.shape import COUNT, FLAG, NUMERAL, TEXT, TIME, Schema, list_of, optional, record, shaped, text

PAGE = 200  # entries in one answer
_TEXTS = 10  # of a list in a body

_FILTER = text(500, pattern=r"^[^\u0000-\u001f\u007f\ud800-\udfff]*$")
_FILTERS: dict[str, Schema] = dict.fromkeys(queue_search.FILTERS, _FILTER) | {"older": NUMERAL}
_TRIED = record({"time": TIME, "reply": TEXT, "host": TEXT, "security": TEXT, "tls": TEXT})
_ENTRY_TEXTS = ("id", "state", "sender", "recipient", "original", "destination")
_ENTRY_COUNTS = ("entry", "attempts", "attempts_left", "size")
_ENTRY = record(
    {
        **dict.fromkeys(_ENTRY_TEXTS, TEXT),
        **dict.fromkeys(_ENTRY_COUNTS, COUNT),
        "relay": optional(TEXT),
        "next": optional(TIME),
        "accepted": TIME,
        "finished": optional(TIME),
        "account": optional(COUNT),
        "last": optional(_TRIED),
    },
    history=list_of(_TRIED),
)
_COUNTS: Schema = {"type": "object", "additionalProperties": COUNT}
_CHOICE: Schema = {"type": ["string", "array", "integer"], "maxLength": 500, "maxItems": _TEXTS, "items": _FILTER}
_SELECTED = record(None, **dict.fromkeys(_FILTERS, _CHOICE), all=FLAG)
_CHANGED = record({"count": COUNT})


class Queue:
    """Answers for the queue. ``queue`` is None where there is none; one that does not run tells senders nothing."""

    SCOPE = "queue"
    ROUTES = (
        ("/v1/queue", "GET", "entries"),
        ("/v1/queue/<id>", "GET", "message"),
        ("/v1/queue/retry", "POST", "retry"),
        ("/v1/queue/hold", "POST", "hold"),
        ("/v1/queue/release", "POST", "release"),
        ("/v1/queue/bounce", "POST", "bounce"),
        ("/v1/queue/delete", "POST", "delete"),
    )

    def __init__(self, queue: MailQueue | None) -> None:
        self._queue = queue

    @shaped(
        "List entries of the queue.",
        query={**_FILTERS, "after": NUMERAL, "limit": NUMERAL},
        gives=record({"entries": list_of(_ENTRY), "next": optional(COUNT)}, counts=_COUNTS),
    )
    async def entries(self, query: Query) -> JSON:
        """A page of entries; ``next`` is the ``after`` of the next page, or null. The first page has the counts of states, too."""
        ledger = self._ledger()
        wanted = self._wanted({name: value for name, value in query.parameters.items() if name not in ("limit", "after")})
        limit = max(1, min(query.number("limit", PAGE), PAGE))
        after = query.number("after", 0)
        counts = {} if after else {"counts": await ledger.counts()}
        found = await queue_search.find(ledger, wanted, after, limit)
        return {"entries": [_entry(entry) for entry in found.entries], "next": found.following, **counts}

    @shaped("Show the recipients of a message with all attempts.", gives=record({"id": TEXT, "entries": list_of(_ENTRY)}))
    async def message(self, query: Query) -> JSON:
        """The recipients of one message, by its queue id, with all attempts that are kept."""
        ledger = self._ledger()
        id = query.path["id"]
        entries = await ledger.list(Selection(envelope=id), 0, 5 * PAGE)
        if not entries:
            raise _unknown(id)
        shown = [await ledger.show(entry.id) for entry in entries]
        return {"id": id, "entries": [_entry(one.entry) | {"history": [_attempt(past) for past in one.history]} for one in shown]}

    @shaped("Try entries now.", action="queue.retry", body=_SELECTED, gives=_CHANGED)
    async def retry(self, query: Query) -> JSON:
        return await self._change(query, self._ledger().retry)

    @shaped("Keep entries until they are released.", action="queue.hold", body=_SELECTED, gives=_CHANGED)
    async def hold(self, query: Query) -> JSON:
        return await self._change(query, self._ledger().hold)

    @shaped("Let held entries be tried again.", action="queue.release", body=_SELECTED, gives=_CHANGED)
    async def release(self, query: Query) -> JSON:
        return await self._change(query, self._ledger().release)

    @shaped("Give entries up and tell their senders.", action="queue.bounce", body=_SELECTED, gives=_CHANGED)
    async def bounce(self, query: Query) -> JSON:
        queue = self._queue
        if queue is not None and not queue.running:
            raise DirectoryError("invalid", "only a running server can tell senders", "Start the server, or delete without a word.")
        return await self._change(query, self._ledger().bounce)

    @shaped("Delete entries without a word.", action="queue.delete", body=_SELECTED, gives=_CHANGED)
    async def delete(self, query: Query) -> JSON:
        return await self._change(query, self._ledger().delete)

    async def _change(self, query: Query, change: Change) -> JSON:
        """Apply ``change`` to what the body selects; how many entries it held for."""
        ledger = self._ledger()
        wanted = self._wanted({name: _listed(name, value) for name, value in query.body.items() if name != "all"})
        if wanted.everything and query.body.get("all") is not True:
            raise DirectoryError("invalid", "nothing was selected", "Name a queue id or a filter, or say `all`.")
        selection = wanted.selection
        if selection.envelope and not await ledger.list(selection, 0, 1):
            raise _unknown(selection.envelope)
        audit.note(target=selection.envelope or "queue", after={"selected": dict(query.body)})
        return {"count": await queue_search.change(ledger, wanted, change)}

    def _wanted(self, values: Mapping[str, str]) -> Wanted:
        return queue_search.wanted(values, self._ledger().routed)

    def _ledger(self) -> Ledger:
        return running(self._queue, "there is no queue here").ledger


def _unknown(id: str) -> DirectoryError:
    return DirectoryError("not_found", f"the queue has no message {id}", "List the queue to see what it has; the timeline may know more.")


def _listed(name: str, value: JSON) -> str:
    """The value of a body as a query string would have it."""
    if isinstance(value, list) and len(value) <= _TEXTS and all(isinstance(one, str) for one in value):
        return ",".join(value)
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        return str(value)
    raise DirectoryError("invalid", f"{name} must be a text or a number")


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
