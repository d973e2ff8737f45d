"""Contacts of accounts in the admin API, and what accounts want of first contact."""

from mailx.core.contacts import ACCEPTED, BLOCKED, MODES, REQUESTED, Contact, Contacts, Preferences
from mailx.ops.resources.query import JSON, Query, moment, running
from mailx.ops.resources.shape import COUNT, FLAG, NOTHING, NUMERAL, TEXT, TIME, list_of, name, one_of, optional, record, shaped

_PAGE = 100
_MOST = 1000  # contacts in one answer
_DEFAULT = "default"
_CONTACT = record({"address": TEXT, "trust": one_of(REQUESTED, ACCEPTED, BLOCKED), "chosen": FLAG, "refuses": FLAG, "since": TIME})
_COUNTS = record(dict.fromkeys((REQUESTED, ACCEPTED, BLOCKED), COUNT))
_WANTED = record({"requests": one_of(_DEFAULT, *MODES), "notices": FLAG})


class ContactBook:
    """Whom accounts know. ``contacts`` is None where no database is open."""

    SCOPE = "directory"
    ROUTES = (
        ("/v1/contacts/<user>", "GET", "contacts"),
        ("/v1/contacts/<user>", "POST", "trust"),
        ("/v1/contacts/<user>/<path:address>", "DELETE", "remove"),
        ("/v1/contact-settings/<user>", "GET", "wanted"),
        ("/v1/contact-settings/<user>", "PATCH", "configure"),
    )

    def __init__(self, contacts: Contacts | None) -> None:
        self._optional = contacts

    @property
    def _contacts(self) -> Contacts:
        return running(self._optional, "there are no contacts here")

    @shaped(
        "List the contacts of an account, the latest first; those that are blocked by name.",
        query={"trust": one_of(REQUESTED, ACCEPTED, BLOCKED), "before": NUMERAL, "limit": NUMERAL},
        gives=record({"contacts": list_of(_CONTACT), "counts": _COUNTS, "next": optional(COUNT)}),
    )
    async def contacts(self, query: Query) -> JSON:
        """``next`` is the ``before`` of the next page, or null."""
        user, trust = query.path["user"], query.parameters.get("trust", "")
        limit = max(1, min(query.number("limit", _PAGE), _MOST))
        found = await self._contacts.list(user, trust, query.number("before", 0), limit + 1)
        more = trust != BLOCKED and len(found) > limit
        return {
            "contacts": [_shown(one) for one in (found[:limit] if more else found)],
            "counts": await self._contacts.counts(user),
            "next": found[limit - 1].place if more else None,
        }

    @shaped(
        "Accept or block somebody.",
        action="contact.trust",
        body=record({"address": name(), "trust": one_of(ACCEPTED, BLOCKED)}),
        gives=record({"address": TEXT, "trust": TEXT}),
    )
    async def trust(self, query: Query) -> JSON:
        user, address, trust = query.path["user"], query.text("address"), query.text("trust")
        call = self._contacts.accept if trust == ACCEPTED else self._contacts.block
        return {"address": await call(user, address), "trust": trust}

    @shaped("Know nothing of somebody any more.", action="contact.remove", gives=NOTHING)
    async def remove(self, query: Query) -> JSON:
        await self._contacts.remove(query.path["user"], query.path["address"])
        return {}

    @shaped("Show what an account wants of first contact.", gives=_WANTED)
    async def wanted(self, query: Query) -> JSON:
        return _told(await self._contacts.wanted(query.path["user"]))

    @shaped(
        "Change what an account wants of first contact.",
        action="contact.configure",
        body=record(requests=one_of(_DEFAULT, *MODES), notices=FLAG) | {"minProperties": 1},
        gives=_WANTED,
    )
    async def configure(self, query: Query) -> JSON:
        requests = query.text("requests") if "requests" in query.body else None
        wanted = await self._contacts.configure(query.path["user"], "" if requests == _DEFAULT else requests, query.body.get("notices"))
        return _told(wanted)


def _shown(one: Contact) -> JSON:
    return {"address": one.address, "trust": one.trust, "chosen": one.chosen, "refuses": one.refuses, "since": moment(one.since)}


def _told(wanted: Preferences) -> JSON:
    return {"requests": wanted.requests or _DEFAULT, "notices": wanted.notices}
