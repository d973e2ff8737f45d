"""The search index in the admin API."""

from mailx.core.indexer import Indexer
from mailx.ops.resources.query import JSON, Query, running


class SearchIndex:
    """How far the search index is, and its rebuilding. ``indexer`` is None without a server."""

    ROUTES = (
        ("/v1/index", "GET", "status"),
        ("/v1/index/rebuild", "POST", "rebuild"),
    )

    def __init__(self, indexer: Indexer | None) -> None:
        self._indexer = indexer

    async def status(self, query: Query) -> JSON:
        """How far the search index has come, and how large it is."""
        status = await self._running().status()
        return {
            "behind": status.behind,
            "seconds": round(status.seconds, 1),
            "segments": status.segments,
            "documents": status.documents,
            "octets": status.octets,
        }

    async def rebuild(self, query: Query) -> JSON:
        self._running().rebuild()
        return {}

    def _running(self) -> Indexer:
        remedy = "Start the server. While none runs, the file index.db may be deleted: the next start builds it anew."
        return running(self._indexer, "only a running server has a search index", remedy)
