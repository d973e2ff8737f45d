"""What happened to messages: their timelines."""

from mailx.core.accounts import Accounts
from mailx.core.timeline import TRACES, Event, Timeline, Trace
from mailx.core.users import DirectoryError
from mailx.mail.times import iso_exact
from mailx.ops.resources.query import JSON, Query, moment, running
from mailx.ops.resources.shape import NUMERAL, TEXT, TIME, list_of, name, record, shaped

_LIMIT = 200  # messages in one answer
_WHAT_LIMIT = 1000  # characters
_EVENT = record({"time": TIME, "event": TEXT, "facts": {"type": "object"}})
_MESSAGES = record({"messages": list_of(record({"id": TEXT, "events": list_of(_EVENT)}))})


class Traces:
    """Searches timelines. ``timeline`` is None where no database is open; ``accounts`` knows the names of those that sent."""

    SCOPE = "trace"
    ROUTES = (("/v1/trace", "GET", "trace"),)

    def __init__(self, timeline: Timeline | None, accounts: Accounts) -> None:
        self._timeline = timeline
        self._accounts = accounts

    @shaped(
        "What happened to messages: by an address, a Message-ID or a queue id.",
        query={"what": name(_WHAT_LIMIT), "limit": NUMERAL},
        needed=("what",),
        gives=_MESSAGES,
    )
    async def trace(self, query: Query) -> JSON:
        """The newest messages that ``what`` finds: an address, a Message-ID or a queue id."""
        timeline = running(self._timeline, "timelines are not kept here")
        what = query.parameters.get("what", "").strip()
        if not what or len(what) > _WHAT_LIMIT:
            raise DirectoryError("invalid", "an address, a Message-ID or a queue id must be given", "Give it as `what`.")
        limit = max(1, min(query.number("limit", TRACES), _LIMIT))
        found = await timeline.trace(what, limit)
        names = await self._names({id for trace in found for event in trace.events if isinstance(id := event.facts.get("account"), int)})
        return {"messages": [_message(trace, names) for trace in found]}

    async def _names(self, ids: set[int]) -> dict[int, str]:
        """The names of accounts, as far as they still exist."""
        users = [await self._accounts.user(id) for id in sorted(ids)]
        return {user.id: str(user.address) for user in users if user is not None}


def _message(trace: Trace, names: dict[int, str]) -> JSON:
    return {"id": trace.envelope, "events": [_event(event, names) for event in trace.events]}


def _event(event: Event, names: dict[int, str]) -> JSON:
    facts = dict(event.facts)
    if facts.get("account") in names:
        facts["account"] = names[facts["account"]]
    if isinstance(facts.get("next"), int):
        facts["next"] = moment(facts["next"])
    return {"time": iso_exact(event.time), "event": event.event, "facts": facts}
