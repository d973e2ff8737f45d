"""Imports of mail in the admin API: a program reads the source and brings its messages in batches."""

from binascii import Error, a2b_base64

from mailx.core.importing import Folder, Imports, Item
from mailx.core.users import DirectoryError
from mailx.ops.resources.query import JSON, Query, moment, running
from mailx.ops.resources.shape import COUNT, NOTHING, TEXT, TIME, list_of, name, one_of, optional, record, shaped, text

KEYS = 1000  # asked for at once
BATCH = 500  # messages of one request
KINDS = ("maildir", "mbox", "imap")

_SYSTEM = 31  # the bits of system flags
_FOLDER = record({"name": name(1000)}, special_use=text(40))
_KEY = text(32, 32, pattern="^[0-9a-f]{32}$")
_KEYS = record({"keys": list_of(_KEY, KEYS)})
_STATE = {
    "key": _KEY,
    "flags": {"type": "integer", "minimum": 0, "maximum": _SYSTEM, "description": "1 seen, 2 answered, 4 flagged, 8 deleted, 16 draft."},
    "keywords": list_of(text(1000), 100),
}
_MESSAGE = record(
    _STATE,
    mailbox=text(1000, 1),
    received=optional({"type": "integer", "minimum": 0, "maximum": 1 << 40, "description": "Seconds since 1970."}),
    content=text(1 << 20, description="In base64."),
    upload=text(64, 1, description="In place of content: the name that it was uploaded under."),
)
_COUNTS = ("added", "known", "skipped", "flags", "equal", "differing", "removed", "sealed")
_PLAN = record({"mailboxes": list_of(record({"name": TEXT, "exists": {"type": "boolean"}}))})
_FOUND = record({**_STATE, "state": one_of("there", "removed", "sealed"), "digest": TEXT, "same": {"type": "boolean"}, "received": COUNT})
_IMPORT = record(
    {
        "id": COUNT,
        "address": TEXT,
        "kind": TEXT,
        "source": TEXT,
        "started": TIME,
        "finished": optional(TIME),
        "messages": COUNT,
        "last": {"type": "object", "additionalProperties": COUNT},
    }
)


class MailImports:
    """Mail that comes from elsewhere. ``imports`` is None where no server runs."""

    SCOPE = "directory"
    ROUTES = (
        ("/v1/imports", "GET", "list"),
        ("/v1/imports", "POST", "begin"),
        ("/v1/imports/plan", "POST", "plan"),
        ("/v1/imports/<id>", "DELETE", "forget"),
        ("/v1/imports/<id>/known", "POST", "known"),
        ("/v1/imports/<id>/messages", "POST", "bring"),
        ("/v1/imports/<id>/uploads", "POST", "upload"),
        ("/v1/imports/<id>/flags", "POST", "flag"),
        ("/v1/imports/<id>/check", "POST", "check"),
        ("/v1/imports/<id>/finish", "POST", "finish"),
    )

    def __init__(self, imports: Imports | None) -> None:
        self._imports = imports

    @shaped("Imports, the latest first.", gives=record({"imports": list_of(_IMPORT)}))
    async def list(self, query: Query) -> JSON:
        """``last``: the counts of the last run that came to its end."""
        return {
            "imports": [
                {
                    "id": each.id,
                    "address": each.address,
                    "kind": each.kind,
                    "source": each.label,
                    "started": moment(each.started),
                    "finished": moment(each.finished),
                    "messages": each.messages,
                    "last": dict(each.last),
                }
                for each in await self._running.list()
            ]
        }

    @shaped(
        "Which mailboxes an import would use.",
        part="import.begin",
        body=record({"address": name(), "folders": list_of(_FOLDER, 2000)}, into=text(255)),
        gives=_PLAN,
    )
    async def plan(self, query: Query) -> JSON:
        """In the order of ``folders``; nothing is changed."""
        planned = await self._running.plan(query.text("address"), _folders(query), query.body.get("into", ""))
        return {"mailboxes": [{"name": name, "exists": there} for name, there in planned]}

    @shaped(
        "Begin an import, or go on with it.",
        action="import.begin",
        body=record(
            {"address": name(), "kind": one_of(*KINDS), "source": text(4096, 1), "folders": list_of(_FOLDER, 2000)}, into=text(255)
        ),
        gives=record({"id": COUNT, "mailboxes": list_of(TEXT), "size": COUNT}),
    )
    async def begin(self, query: Query) -> JSON:
        """The same source and account are the same import. Answers the mailbox for each folder, made if it was missing, and the octets
        of the largest message that is taken.
        """
        kind, source, into = query.text("kind"), query.text("source"), query.body.get("into", "")
        id, names = await self._running.begin(kind, source, query.text("address"), _folders(query), into)
        return {"id": id, "mailboxes": names, "size": self._running.size}

    @shaped("Which messages have come.", part="import.begin", body=_KEYS, gives=record({"known": list_of(_KEY)}))
    async def known(self, query: Query) -> JSON:
        """A key names a message at its source: 16 octets in hexadecimal."""
        return {"known": [key.hex() for key in await self._running.known(_id(query), _keys(query))]}

    @shaped(
        "Bring messages, all or none of them.",
        part="import.begin",
        body=record({"messages": list_of(_MESSAGE, BATCH, 1)}),
        gives=record({"added": COUNT, "keywords_left_out": COUNT}),
    )
    async def bring(self, query: Query) -> JSON:
        """Those that came before are passed over. The answer comes when they are durable."""
        added, left_out = await self._running.bring(_id(query), [_item(each) for each in query.body["messages"]])
        return {"added": added, "keywords_left_out": left_out}

    @shaped(
        "Bring a piece of a message that is too large for one request.",
        part="import.begin",
        body=record({"upload": text(64, 1), "size": COUNT, "data": text(1 << 20)}),
        gives=NOTHING,
    )
    async def upload(self, query: Query) -> JSON:
        """``size`` is that of the whole; ``data`` is in base64."""
        await self._running.upload(_id(query), query.text("upload"), _octets(query.text("data")), query.body["size"])
        return {}

    @shaped(
        "Bring what has changed of flags at the source.",
        part="import.begin",
        body=record({"messages": list_of(record(_STATE), KEYS)}),
        gives=record({"changed": COUNT}),
    )
    async def flag(self, query: Query) -> JSON:
        """What the owner changed here meanwhile stays."""
        return {"changed": await self._running.flag(_id(query), [_item(each) for each in query.body["messages"]])}

    @shaped("Open again what has come.", part="import.begin", body=_KEYS, gives=record({"messages": list_of(_FOUND)}))
    async def check(self, query: Query) -> JSON:
        """``digest``: SHA-256 of the content. Messages that never came are left out."""
        found = await self._running.check(_id(query), _keys(query))
        return {
            "messages": [
                {
                    "key": key.hex(),
                    "state": each.state,
                    "digest": each.digest.hex(),
                    "same": each.same,
                    "flags": each.flags & _SYSTEM,
                    "keywords": keywords,
                    "received": each.received,
                }
                for key, (each, keywords) in found.items()
            ]
        }

    @shaped("A run came to its end.", action="import.finish", body=record(dict.fromkeys(_COUNTS, COUNT)), gives=NOTHING)
    async def finish(self, query: Query) -> JSON:
        await self._running.finish(_id(query), query.body)
        return {}

    @shaped("Forget what has come of an import; the mail stays.", action="import.forget", gives=NOTHING)
    async def forget(self, query: Query) -> JSON:
        await self._running.forget(_id(query))
        return {}

    @property
    def _running(self) -> Imports:
        return running(self._imports, "mail is imported by a running server")


def _id(query: Query) -> int:
    text = query.path["id"]
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise DirectoryError("not_found", f"there is no import {text[:20]}", "`mailxctl import list` shows them.")
    return int(text)


def _folders(query: Query) -> list[Folder]:
    return [Folder(each["name"], each.get("special_use", "")) for each in query.body["folders"]]


def _keys(query: Query) -> list[bytes]:
    return [bytes.fromhex(key) for key in query.body["keys"]]


def _item(one: JSON) -> Item:
    content = _octets(one["content"]) if "content" in one else None
    return Item(
        bytes.fromhex(one["key"]),
        one.get("mailbox", ""),
        one["flags"],
        tuple(one["keywords"]),
        one.get("received"),
        content,
        one.get("upload", ""),
    )


def _octets(text: str) -> bytes:
    try:
        return a2b_base64(text, strict_mode=True)
    except (Error, ValueError):
        raise DirectoryError("invalid", "content is not base64") from None
