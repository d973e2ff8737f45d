"""The audit log in the admin API: read, filtered, a page at a time. Nobody can change it here."""

from mailx.core.audit import PAGE, Filter, Log, described
from mailx.ops.resources.query import JSON, Query, running, seconds
from mailx.ops.resources.shape import COUNT, FLAG, NUMERAL, TEXT, TIME, list_of, name, optional, record, shaped, text

_MOST = 1000  # entries in one answer
_TIME = text(40, 1, format="date-time")
_ENTRY = record(
    {
        "id": COUNT,
        "time": TIME,
        "actor": record({"kind": TEXT, "name": TEXT, "address": TEXT}),
        "action": TEXT,
        "target": TEXT,
        "before": {},
        "after": {},
        "damaged": FLAG,
    }
)


class Audit:
    """What was changed, by whom. ``log`` is None where no database is open."""

    SCOPE = "audit"
    ROUTES = (("/v1/audit", "GET", "entries"),)

    def __init__(self, log: Log | None) -> None:
        self._log = log

    @shaped(
        "The audit log, the newest entries first.",
        query={
            "actor": name(64),
            "action": name(64),
            "target": name(),
            "since": _TIME,
            "until": _TIME,
            "before": NUMERAL,
            "limit": NUMERAL,
        },
        gives=record({"entries": list_of(_ENTRY), "next": optional(COUNT)}),
    )
    async def entries(self, query: Query) -> JSON:
        """``next`` is the ``before`` of the next page, or null."""
        log = running(self._log, "there is no audit log here")
        limit = max(1, min(query.number("limit", PAGE), _MOST))
        found = await log.list(wanted(query), query.number("before", 0), limit + 1)
        page = found[:limit]
        return {"entries": [described(each) for each in page], "next": page[-1].id if len(found) > limit else None}


def wanted(query: Query) -> Filter:
    """The filter that the query string asks for."""
    texts = query.parameters
    times = {name: seconds(texts[name], name) for name in ("since", "until") if name in texts}
    return Filter(texts.get("actor", ""), texts.get("action", ""), texts.get("target", ""), **times)
