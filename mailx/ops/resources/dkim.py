"""Signing keys in the admin API."""

from mailx.core.accounts import DirectoryError
from mailx.core.dkim import ALGORITHMS
from mailx.core.records import Records
from mailx.core.resolver import DNSFailure
from mailx.core.signing import ACTIVE, KEEP_DAYS, NEXT, RETIRED, Key, Signing
from mailx.mail.records import quoted
from mailx.ops.resources.query import JSON, Query, moment, running
from mailx.ops.resources.shape import FLAG, NOTHING, TEXT, TIME, list_of, one_of, optional, record, shaped

_KEY = record(
    {
        **dict.fromkeys(("domain", "selector", "name", "record", "line"), TEXT),
        "algorithm": one_of(*ALGORITHMS),
        "state": one_of(NEXT, ACTIVE, RETIRED),
        "created": TIME,
        **dict.fromkeys(("activated", "retired", "deletable"), optional(TIME)),
    }
)
_KEYS = record({"keys": list_of(_KEY)})


class Dkim:
    """The keys of the domains and their lives. ``records`` looks at DNS before keys are activated."""

    SCOPE = "dkim"
    ROUTES = (
        ("/v1/dkim", "GET", "all"),
        ("/v1/dkim/<domain>", "GET", "keys"),
        ("/v1/dkim/<domain>", "POST", "create"),
        ("/v1/dkim/<domain>/rotate", "POST", "rotate"),
        ("/v1/dkim/<domain>/activate", "POST", "activate"),
        ("/v1/dkim/<domain>/<selector>/retire", "POST", "retire"),
        ("/v1/dkim/<domain>/<selector>", "DELETE", "delete"),
    )

    def __init__(self, signing: Signing | None, records: Records | None) -> None:
        self._optional = signing
        self._records = records

    @shaped("List the signing keys of all domains.", gives=_KEYS)
    async def all(self, query: Query) -> JSON:
        return _keys(await self._signing.keys())

    @shaped("List the signing keys of a domain.", gives=_KEYS)
    async def keys(self, query: Query) -> JSON:
        return _keys(await self._signing.keys(query.path["domain"]))

    @shaped("Make keys.", action="dkim.create", body=record(algorithms=list_of(one_of(*ALGORITHMS), 10, 1)), gives=_KEYS)
    async def create(self, query: Query) -> JSON:
        """Make the next keys, of the ``algorithms`` of the body or of all."""
        algorithms = query.body.get("algorithms", list(ALGORITHMS))
        if not isinstance(algorithms, list) or not all(isinstance(each, str) for each in algorithms):
            raise DirectoryError("invalid", "algorithms must be a list of names")
        return _keys(await self._signing.create(query.path["domain"], algorithms))

    @shaped("Make keys that are to replace the active ones.", action="dkim.rotate", gives=_KEYS)
    async def rotate(self, query: Query) -> JSON:
        return _keys(await self._signing.rotate(query.path["domain"]))

    @shaped("Sign with the next keys.", action="dkim.activate", body=record(force=FLAG), gives=_KEYS)
    async def activate(self, query: Query) -> JSON:
        """Sign with the next keys, if the world sees their records or the body has ``force``."""
        domain = query.path["domain"]
        if query.body.get("force") is not True:
            await self._require_published([key for key in await self._signing.keys(domain) if key.state == NEXT])
        return _keys(await self._signing.activate(domain))

    async def _require_published(self, keys: list[Key]) -> None:
        records = running(self._records, "DNS cannot be asked", "Give --force if you know that the records are published.")
        try:
            lacking = await records.lacks(keys)
        except DNSFailure:
            raise DirectoryError("unpublished", "DNS gives no answer about the records", "Try again later, or give --force.") from None
        if lacking:
            names = ", ".join(key.name for key in lacking)
            remedy = (
                f"Publish them as `mailxctl dkim show {lacking[0].domain}` prints them, wait until the world sees them, or give --force."
            )
            raise DirectoryError("unpublished", f"these records are not published: {names}", remedy)

    @shaped("Sign with a key no more.", action="dkim.retire", gives=NOTHING)
    async def retire(self, query: Query) -> JSON:
        await self._signing.retire(query.path["domain"], query.path["selector"])
        return {}

    @shaped("Delete a key that does not sign.", action="dkim.delete", query={"force": one_of("true", "false")}, gives=NOTHING)
    async def delete(self, query: Query) -> JSON:
        await self._signing.delete(query.path["domain"], query.path["selector"], force=query.parameters.get("force") == "true")
        return {}

    @property
    def _signing(self) -> Signing:
        return running(self._optional, "no keys can be opened here")


def _keys(keys: list[Key]) -> JSON:
    return {"keys": [_key(key) for key in keys]}


def _key(key: Key) -> JSON:
    deletable = None if key.state != RETIRED or key.retired is None else key.retired + KEEP_DAYS * 86400
    return {
        "domain": key.domain,
        "selector": key.selector,
        "algorithm": key.algorithm,
        "state": key.state,
        "name": key.name,
        "record": key.record,
        "line": f"{key.name}. TXT {quoted(key.record)}",
        "created": moment(key.created),
        "activated": moment(key.activated),
        "retired": moment(key.retired),
        "deletable": moment(deletable),
    }
