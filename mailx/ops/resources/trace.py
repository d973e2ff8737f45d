"""What happened to messages: their timelines."""

from datetime import UTC, datetime

from mailx.core.accounts import Accounts
from mailx.core.timeline import TRACES, Event, Timeline, Trace
from mailx.core.users import DirectoryError
from mailx.ops.resources.query import JSON, Query, moment, running

_LIMIT = 200  # messages in one answer
_WHAT_LIMIT = 1000  # characters


class Traces:
    """Searches timelines. ``timeline`` is None where no database is open; ``accounts`` knows the names of those that sent."""

    ROUTES = (("/v1/trace", "GET", "trace"),)

    def __init__(self, timeline: Timeline | None, accounts: Accounts) -> None:
        self._timeline = timeline
        self._accounts = accounts

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
    when = datetime.fromtimestamp(event.time, UTC)
    return {"time": when.strftime("%Y-%m-%dT%H:%M:%S.") + f"{when.microsecond // 1000:03}Z", "event": event.event, "facts": facts}
