"""The way of accounts and mail out of the server in the admin API: deletion, restoring, erasure, retention, export, recounts."""

from mailx.core import person_export
from mailx.core.departures import Departures
from mailx.core.lifecycle import Lifecycle
from mailx.core.person_export import Person
from mailx.core.recounting import Recount
from mailx.core.retention import LONGEST, Retention
from mailx.core.users import DirectoryError
from mailx.ops.resources.query import JSON, Query, Streamed, moment, running
from mailx.ops.resources.shape import COUNT, NOTHING, NUMERAL, TEXT, TIME, list_of, name, optional, record, shaped, text

PAGE = 100  # accounts counted by one request
_DAYS = optional({"type": "integer", "minimum": 0, "maximum": LONGEST, "description": "0: mail stays, null: as the server has it."})
_RECOUNT = record({"address": TEXT, "messages": COUNT, "used": {"type": "integer"}, "mailboxes": COUNT})
_DEPARTURE = record({"address": TEXT, "deleted": optional(TIME), "erased": optional(TIME)})
_RETENTION = record({"days": optional(COUNT), "mailboxes": {"type": "object", "additionalProperties": COUNT}})
_PASS = record({"ended": optional(TIME), "removed": COUNT, "erased": COUNT, "warned": COUNT})


class Lives:
    """What becomes of accounts and mail in time. ``lifecycle`` is None where nothing but the database is at hand."""

    SCOPE = "directory"
    ROUTES = (
        ("/v1/users/<path:address>", "DELETE", "delete"),
        ("/v1/users/<path:address>/restore", "POST", "restore"),
        ("/v1/users/<path:address>/erase", "POST", "erase"),
        ("/v1/users/<path:address>/export", "POST", "export"),
        ("/v1/users/<path:address>/retention", "GET", "retention"),
        ("/v1/users/<path:address>/retention", "PUT", "keep"),
        ("/v1/users/<path:address>/recalculate", "POST", "recalculate"),
        ("/v1/recalculate", "POST", "recalculate_all"),
        ("/v1/lifecycle", "GET", "status"),
        ("/v1/lifecycle", "POST", "run"),
    )

    def __init__(self, lifecycle: Lifecycle | None, person: Person | None) -> None:
        self._lifecycle = lifecycle
        self._person = person

    @shaped("Delete an account; it can be had back until its grace is over.", action="user.delete", gives=_DEPARTURE)
    async def delete(self, query: Query) -> JSON:
        """``erased``: when it is erased; null where that has happened already."""
        departures = self._departures
        details = await departures.delete(query.path["address"])
        return {
            "address": str(details.user.address),
            "deleted": moment(details.deleted),
            "erased": moment(departures.ends(details)) if departures.graceful else None,
        }

    @shaped("Have a deleted account back.", action="user.restore", gives=NOTHING)
    async def restore(self, query: Query) -> JSON:
        await self._departures.restore(query.path["address"])
        return {}

    @shaped("Remove an account and all that is its owner's, for good.", action="user.erase", gives=NOTHING)
    async def erase(self, query: Query) -> JSON:
        await self._departures.erase(query.path["address"])
        return {}

    @shaped(
        "Everything that is held of a person, as a tar file; on the server's own socket only.",
        action="user.export",
        body=record(password=text(1024, format="password")),
        gives={"type": "string", "format": "binary"},
    )
    async def export(self, query: Query) -> JSON:
        """``password`` is the owner's, of an account whose mail it opens."""
        person = running(self._person, "there is nothing to export from")
        password = query.text("password") if "password" in query.body else ""
        return Streamed("application/x-tar", await person_export.export(person, query.path["address"], password))

    @shaped("How long the mail of an account stays.", gives=_RETENTION)
    async def retention(self, query: Query) -> JSON:
        """``days`` null: as the server's settings have it; ``mailboxes`` are those with days of their own."""
        own = await self._retention.own(query.path["address"])
        return {"days": own.account, "mailboxes": own.mailboxes}

    @shaped(
        "Let the mail of an account, or of one mailbox, stay for some days only.",
        action="user.retention",
        body=record({"days": _DAYS}, mailbox=name(1000)),
        gives=_RETENTION,
    )
    async def keep(self, query: Query) -> JSON:
        mailbox = query.text("mailbox") if "mailbox" in query.body else ""
        await self._retention.keep(query.path["address"], query.body["days"], mailbox)
        return await self.retention(query)

    @shaped("Count an account's mail and put its counters right.", action="user.recalculate", gives=_RECOUNT)
    async def recalculate(self, query: Query) -> JSON:
        return _recount(await self._running.recounting.account(query.path["address"]))

    @shaped(
        "The same of all accounts, a page at a time.",
        action="user.recalculate",
        query={"after": NUMERAL},
        gives=record({"accounts": list_of(_RECOUNT), "next": optional(COUNT)}),
    )
    async def recalculate_all(self, query: Query) -> JSON:
        """``next`` is the ``after`` of the next page, or null."""
        found, following = await self._running.recounting.page(query.number("after", 0), PAGE)
        return {"accounts": [_recount(one) for one in found], "next": following}

    @shaped("What the last pass over mail and accounts did.", gives=_PASS)
    async def status(self, query: Query) -> JSON:
        """``ended`` null: there was none since the start."""
        last = self._running.last
        if last is None:
            return {"ended": None, "removed": 0, "erased": 0, "warned": 0}
        return {"ended": moment(int(last.ended)), "removed": last.removed, "erased": last.erased, "warned": last.warned}

    @shaped("Remove now what is due, erase accounts whose grace is over, and warn of quotas.", action="lifecycle.run", gives=_PASS)
    async def run(self, query: Query) -> JSON:
        await self._running.run()
        return await self.status(query)

    @property
    def _running(self) -> Lifecycle:
        if self._lifecycle is None:
            raise DirectoryError("not_found", "accounts cannot be changed here", "Start the server.")
        return self._lifecycle

    @property
    def _departures(self) -> Departures:
        return self._running.departures

    @property
    def _retention(self) -> Retention:
        return self._running.retention


def _recount(one: Recount) -> JSON:
    return {"address": one.address, "messages": one.messages, "used": one.used, "mailboxes": one.mailboxes}
