"""What happened to messages: their timelines."""

from datetime import UTC, datetime

from mailx.core.timeline import TRACES, Event, Timeline, Trace
from mailx.core.users import DirectoryError
from mailx.ops.resources.query import JSON, Query, running

_LIMIT = 200  # messages in one answer
_WHAT_LIMIT = 1000  # characters


class Traces:
    """Searches timelines. ``timeline`` is None where no database is open."""

    ROUTES = (("/v1/trace", "GET", "trace"),)

    def __init__(self, timeline: Timeline | None) -> None:
        self._timeline = timeline

    async def trace(self, query: Query) -> JSON:
        """The newest messages that ``what`` finds: an address, a Message-ID or a queue id."""
        timeline = running(self._timeline, "timelines are not kept here")
        what = query.parameters.get("what", "").strip()
        if not what or len(what) > _WHAT_LIMIT:
            raise DirectoryError("invalid", "what must be an address, a Message-ID or a queue id")
        limit = max(1, min(query.number("limit", TRACES), _LIMIT))
        return {"messages": [_message(trace) for trace in await timeline.trace(what, limit)]}


def _message(trace: Trace) -> JSON:
    return {"id": trace.envelope, "events": [_event(event) for event in trace.events]}


def _event(event: Event) -> JSON:
    moment = datetime.fromtimestamp(event.time, UTC)
    return {"time": moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03}Z", "event": event.event, "facts": event.facts}
