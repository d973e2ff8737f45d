"""The server's block list and the shared ones in the admin API."""

from mailx.core.block_lists import BlockLists, Preview, SharedList
from mailx.core.users import DirectoryError
from mailx.ops.resources.query import JSON, Query, moment, running
from mailx.ops.resources.shape import COUNT, FLAG, NOTHING, TEXT, TIME, list_of, name, record, shaped, text

_SHOWN = 1000  # entries of a shared list in one answer
_URL, _KEY, _DIGEST = name(2000), text(100), text(64, 64, pattern="^[0-9a-f]{64}$")
_ID = "there is no shared list of that number"
_BLOCK = record({"sender": TEXT, "created": TIME})
_LIST = record(
    {
        **dict.fromkeys(("id", "entries", "serial"), COUNT),
        **dict.fromkeys(("url", "key", "trouble"), TEXT),
        **dict.fromkeys(("created", "checked", "changed"), TIME),
    }
)
_PREVIEW = record(
    {
        **dict.fromkeys(("entries", "new", "wrong", "ours", "serial"), COUNT),
        **dict.fromkeys(("url", "key", "digest"), TEXT),
        "sample": list_of(TEXT),
    }
)


class ServerBlocks:
    """Whom nobody here takes mail from. ``lists`` is None where no database is open."""

    SCOPE = "directory"
    ROUTES = (
        ("/v1/blocklist", "GET", "every"),
        ("/v1/blocklist", "POST", "block"),
        ("/v1/blocklist/<path:sender>", "DELETE", "unblock"),
        ("/v1/shared-lists", "POST", "add"),
        ("/v1/shared-lists/preview", "POST", "preview"),
        ("/v1/shared-lists/<id>", "GET", "show"),
        ("/v1/shared-lists/<id>", "DELETE", "remove"),
        ("/v1/shared-lists/<id>/refresh", "POST", "refresh"),
    )

    def __init__(self, lists: BlockLists | None) -> None:
        self._optional = lists

    @property
    def _lists(self) -> BlockLists:
        return running(self._optional, "there are no block lists here")

    @shaped("List the server's blocks and the shared lists.", gives=record({"blocks": list_of(_BLOCK), "lists": list_of(_LIST)}))
    async def every(self, query: Query) -> JSON:
        return {
            "blocks": [{"sender": one.pattern, "created": moment(one.created)} for one in await self._lists.own()],
            "lists": [_shown(one) for one in await self._lists.shared()],
        }

    @shaped("Block a sender for all accounts.", action="blocklist.block", body=record({"sender": name()}), gives=_BLOCK)
    async def block(self, query: Query) -> JSON:
        made = await self._lists.block(query.text("sender"))
        return {"sender": made.pattern, "created": moment(made.created)}

    @shaped("Let a sender write again.", action="blocklist.unblock", gives=NOTHING)
    async def unblock(self, query: Query) -> JSON:
        await self._lists.unblock(query.path["sender"])
        return {}

    @shaped(
        "Look at a shared list; nothing is used of it.", action="blocklist.preview", body=record({"url": _URL}, key=_KEY), gives=_PREVIEW
    )
    async def preview(self, query: Query) -> JSON:
        return _previewed(await self._lists.preview(query.text("url"), query.text("key") if "key" in query.body else ""))

    @shaped(
        "Use a shared list exactly as its preview showed it.",
        action="blocklist.add",
        body=record({"url": _URL, "digest": _DIGEST}, key=_KEY),
        gives=_LIST,
    )
    async def add(self, query: Query) -> JSON:
        key = query.text("key") if "key" in query.body else ""
        return _shown(await self._lists.add_shared(query.text("url"), key, query.text("digest")))

    @shaped("Show a shared list with its first entries.", gives=record({"list": _LIST, "senders": list_of(TEXT)}))
    async def show(self, query: Query) -> JSON:
        id = _number(query)
        return {"list": _shown(await self._lists.show(id)), "senders": await self._lists.entries(id, _SHOWN)}

    @shaped("Read a shared list again.", action="blocklist.refresh", body=record(force=FLAG), gives=_LIST)
    async def refresh(self, query: Query) -> JSON:
        """``force`` takes it although it grew out of all proportion. ``trouble`` of the answer says why it was not taken."""
        return _shown(await self._lists.refresh(_number(query), query.body.get("force") is True))

    @shaped("Use a shared list no more.", action="blocklist.remove", gives=NOTHING)
    async def remove(self, query: Query) -> JSON:
        await self._lists.remove_shared(_number(query))
        return {}


def _number(query: Query) -> int:
    text = query.path["id"]
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise DirectoryError("not_found", _ID, "`mailxctl blocklist list` shows them.")
    return int(text)


def _shown(one: SharedList) -> JSON:
    return {
        "id": one.id,
        "url": one.url,
        "key": one.key,
        "entries": one.entries,
        "serial": one.serial,
        "created": moment(one.created),
        "checked": moment(one.checked),
        "changed": moment(one.changed),
        "trouble": one.trouble,
    }


def _previewed(one: Preview) -> JSON:
    return {
        "url": one.url,
        "key": one.key,
        "entries": one.entries,
        "sample": list(one.sample),
        "wrong": one.wrong,
        "ours": one.ours,
        "serial": one.serial,
        "digest": one.digest,
        "new": one.new,
    }
