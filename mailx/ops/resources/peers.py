"""Other MailX servers in the admin API."""

from typing import Any

from mailx.core.peer import NEVER, UNPINNED, Step
from mailx.core.peer_control import LIMIT_MOST, LIMITS, SEARCH_LIMIT, PeerControl, PeerShown
from mailx.identity.documents import server_text
from mailx.identity.encoding import key_text
from mailx.ops.resources.query import JSON, Query, moment, running
from mailx.ops.resources.shape import COUNT, FLAG, NOTHING, NUMERAL, TEXT, TIME, list_of, one_of, optional, record, shaped, text

_PAGE = 100
_MOST = 1000
_FIGURES = ("received", "received_octets", "sent", "sent_octets", "refused", "delayed", "failed", "violations")
_LIMIT = {"type": ["integer", "null"], "minimum": 0, "maximum": LIMIT_MOST}
_KEY = record({"key": TEXT, "serial": COUNT, "created": TIME, "seen": TIME, "reason": TEXT})
_SETTINGS = {"blocked": FLAG, "fallback": one_of("", UNPINNED, NEVER), **dict.fromkeys(LIMITS, _LIMIT)}
_PEER = record(
    {
        **dict.fromkeys(("domain", "state", "source", "key", "trouble", "reputation"), TEXT),
        "static": FLAG,
        "servers": list_of(TEXT),
        "capabilities": list_of(TEXT),
        "message_size": COUNT,
        **dict.fromkeys(("verified", "expires", "pinned_until"), optional(TIME)),
        "settings": record(_SETTINGS),
        "score": optional(COUNT),
        "figures": record(dict.fromkeys(_FIGURES, COUNT)),
        "history": list_of(_KEY),
    }
)
_STEP = record({"name": TEXT, "outcome": TEXT, "text": TEXT})


class PeerServers:
    """The servers that are known, their limits, and looking for more. ``control`` is None where no server runs."""

    SCOPE = "peers"
    ROUTES = (
        ("/v1/peers", "GET", "list"),
        ("/v1/peers/<domain>", "GET", "show"),
        ("/v1/peers/<domain>", "PATCH", "set"),
        ("/v1/peers/<domain>", "DELETE", "forget"),
        ("/v1/peers/<domain>/discover", "POST", "discover"),
        ("/v1/peers/<domain>/block", "POST", "block"),
        ("/v1/peers/<domain>/unblock", "POST", "unblock"),
    )

    def __init__(self, control: PeerControl | None) -> None:
        self._optional = control

    @property
    def _control(self) -> PeerControl:
        return running(self._optional, "other servers are known to a running server with federation only")

    @shaped(
        "List other domains with a MailX server, or with limits of their own, by name.",
        query={"text": text(SEARCH_LIMIT), "after": text(SEARCH_LIMIT), "limit": NUMERAL},
        gives=record({"peers": list_of(_PEER), "next": optional(TEXT)}),
    )
    async def list(self, query: Query) -> JSON:
        """``next`` is the ``after`` of the next page, or null."""
        limit = max(1, min(query.number("limit", _PAGE), _MOST))
        found = await self._control.list(query.parameters.get("text", ""), query.parameters.get("after", ""), limit + 1)
        following = found[limit - 1].domain if len(found) > limit else None
        return {"peers": [_shown(one) for one in found[:limit]], "next": following}

    @shaped("Show one domain with the history of its key.", gives=_PEER)
    async def show(self, query: Query) -> JSON:
        return _shown(await self._control.show(query.path["domain"]))

    @shaped("Set limits of a domain; null is the configured one.", action="peer.set", body=record(**_SETTINGS), gives=_PEER)
    async def set(self, query: Query) -> JSON:
        return _shown(await self._control.set(query.path["domain"], dict(query.body)))

    @shaped("Forget what was learnt of a domain: keys, pin, keys of its users.", action="peer.forget", gives=NOTHING)
    async def forget(self, query: Query) -> JSON:
        await self._control.forget(query.path["domain"])
        return {}

    @shaped(
        "Look for the server of a domain now, step by step.",
        action="peer.discover",
        gives=record({"peer": _PEER, "steps": list_of(_STEP)}),
    )
    async def discover(self, query: Query) -> JSON:
        peer, steps = await self._control.discover(query.path["domain"])
        return {"peer": _shown(peer), "steps": [_step(step) for step in steps]}

    @shaped("Exchange no mail with a domain by federation.", action="peer.block", gives=_PEER)
    async def block(self, query: Query) -> JSON:
        return _shown(await self._control.block(query.path["domain"]))

    @shaped("Exchange mail with a domain again.", action="peer.unblock", gives=_PEER)
    async def unblock(self, query: Query) -> JSON:
        return _shown(await self._control.unblock(query.path["domain"]))


def _step(step: Step) -> JSON:
    return {"name": step.name, "outcome": step.outcome, "text": step.text}


def _shown(one: PeerShown) -> JSON:
    known, figures, own = one.known, one.figures, one.settings
    return {
        "domain": one.domain,
        "state": one.state,
        "source": known.source,
        "static": one.static,
        "key": key_text(known.key) if known.key else "",
        "servers": [server_text(host, port) for host, port in known.servers],
        "capabilities": list(known.capabilities),
        "message_size": known.message_size,
        "verified": _moment(known.verified),
        "expires": _moment(known.expires),
        "pinned_until": _moment(known.pinned_until if one.pinned else 0),
        "trouble": known.trouble,
        "settings": {name: getattr(own, name) for name in _SETTINGS},
        "reputation": figures.reputation,
        "score": figures.score,
        "figures": {name: getattr(figures, name) for name in _FIGURES},
        "history": [_key(key, seen) for key, seen in known.history],
    }


def _key(key: Any, seen: int) -> JSON:
    return {
        "key": key_text(key.key),
        "serial": key.serial,
        "created": moment(key.created),
        "seen": moment(seen),
        "reason": key.reason,
    }


def _moment(seconds: int) -> str | None:
    return moment(seconds) if seconds else None
