"""The search index in the admin API."""

from mailx.core.indexer import Indexer
from mailx.ops.resources.query import JSON, Query, running
from mailx.ops.resources.shape import COUNT, NOTHING, record, shaped

_STATUS = record({**dict.fromkeys(("behind", "waiting", "segments", "documents", "octets"), COUNT), "seconds": {"type": "number"}})


class SearchIndex:
    """How far the search index is, and its rebuilding. ``indexer`` is None without a server."""

    SCOPE = "index"
    ROUTES = (
        ("/v1/index", "GET", "status"),
        ("/v1/index/rebuild", "POST", "rebuild"),
    )

    def __init__(self, indexer: Indexer | None) -> None:
        self._indexer = indexer

    @shaped("How far the search index is.", gives=_STATUS)
    async def status(self, query: Query) -> JSON:
        """How far the search index has come, and how large it is."""
        status = await self._running().status()
        return {
            "behind": status.behind,
            "waiting": status.waiting,
            "seconds": round(status.seconds, 1),
            "segments": status.segments,
            "documents": status.documents,
            "octets": status.octets,
        }

    @shaped("Build the search index anew.", action="index.rebuild", gives=NOTHING)
    async def rebuild(self, query: Query) -> JSON:
        self._running().rebuild()
        return {}

    def _running(self) -> Indexer:
        remedy = "Start the server. While none runs, the file index.db may be deleted: the next start builds it anew."
        return running(self._indexer, "only a running server has a search index", remedy)
