"""The suppression list of the webhook in the admin API."""

from time import time

from mailx.core.suppressions import Entry, Suppressions
from mailx.ops.resources.query import JSON, Query, moment, running
from mailx.ops.resources.shape import COUNT, NOTHING, NUMERAL, TEXT, TIME, list_of, name, optional, record, shaped, text

_PAGE = 100
_MOST = 1000  # entries in one answer
_ENTRY = record({"id": COUNT, "address": TEXT, "reason": TEXT, "said": TEXT, "since": TIME})


class SuppressionList:
    """Addresses that calls may not send to. ``suppressions`` is None where no database is open."""

    SCOPE = "webhook"
    ROUTES = (
        ("/v1/suppressions", "GET", "entries"),
        ("/v1/suppressions", "POST", "add"),
        ("/v1/suppressions/<path:address>", "DELETE", "remove"),
    )

    def __init__(self, suppressions: Suppressions | None) -> None:
        self._optional = suppressions

    @property
    def _suppressions(self) -> Suppressions:
        return running(self._optional, "there is no suppression list here")

    @shaped(
        "List the addresses that calls may not send to, the latest first, or find one of them.",
        query={"address": name(), "before": NUMERAL, "limit": NUMERAL},
        gives=record({"entries": list_of(_ENTRY), "total": COUNT, "next": optional(COUNT)}),
    )
    async def entries(self, query: Query) -> JSON:
        """``next`` is the ``before`` of the next page, or null."""
        suppressions = self._suppressions
        limit = max(1, min(query.number("limit", _PAGE), _MOST))
        if "address" in query.parameters:
            one = await suppressions.find(query.parameters["address"])
            found = [one] if one is not None else []
        else:
            found = await suppressions.list(query.number("before", 0), limit + 1)
        return {
            "entries": [_shown(entry) for entry in found[:limit]],
            "total": await suppressions.count(),
            "next": found[limit - 1].id if len(found) > limit else None,
        }

    @shaped("Put an address on the list.", action="suppression.add", body=record({"address": name()}, note=text(300)), gives=_ENTRY)
    async def add(self, query: Query) -> JSON:
        note = query.text("note") if "note" in query.body else ""
        return _shown(await self._suppressions.add(query.text("address"), note, int(time())))

    @shaped("Take an address off the list.", action="suppression.remove", gives=NOTHING)
    async def remove(self, query: Query) -> JSON:
        await self._suppressions.remove(query.path["address"])
        return {}


def _shown(entry: Entry) -> JSON:
    return {"id": entry.id, "address": entry.address, "reason": entry.reason, "said": entry.said, "since": moment(entry.created)}
