"""The key logs of our domains over HTTPS, for whoever watches them: the same answers that other servers get.

Heads, proofs and entries are in the open. The history of an address is told to whoever names it, as its keys are. Octets
are written in base64url without padding.
"""

from collections.abc import Sequence

from mailx.core.key_log import LEAVES_LIMIT, KeyLog, NoSuchEntry
from mailx.identity.encoding import Malformed, b64
from mailx.identity.key_log import read_kind
from mailx.mail.address import DOMAIN_LIMIT
from mailx.web.public.part import Declined, Names, Route, json_answer
from mailx.web.requests import Answer, Asked

_DIGITS = 16  # of a number
_NAME = 320  # characters of an address
_FRESH = 60  # seconds that caches may keep a head
_FOREVER = 86400  # proofs and entries never change


class LogPart:
    """Routes below ``/log/``; ``?domain=`` names the log, without it the host that was asked for."""

    def __init__(self, *, key_log: KeyLog) -> None:
        self._log = key_log

    def routes(self) -> Sequence[Route]:
        return (
            Route("GET", "/log/head", self.head),
            Route("GET", "/log/consistency", self.consistency),
            Route("GET", "/log/inclusion", self.inclusion),
            Route("GET", "/log/leaves", self.leaves),
            Route("GET", "/log/epochs", self.epochs),
            Route("GET", "/log/history", self.history),
        )

    async def head(self, asked: Asked, names: Names) -> Answer:
        """The signed head."""
        domain = self._domain(asked)
        return json_answer({"head": (await self._log.head(domain)).statement.encode()}, fresh=_FRESH)

    async def consistency(self, asked: Asked, names: Names) -> Answer:
        """That the first ``old`` entries are the beginning of the first ``size``."""
        domain, old, size = self._domain(asked), _number(asked, "old"), _number(asked, "size")
        try:
            return _proof(await self._log.consistency(domain, old, size))
        except NoSuchEntry:
            raise Declined(404, "no such entry") from None

    async def inclusion(self, asked: Asked, names: Names) -> Answer:
        """That entry ``number`` is among the first ``size``."""
        domain, number, size = self._domain(asked), _number(asked, "number"), _number(asked, "size")
        try:
            return _proof(await self._log.inclusion(domain, number, size))
        except NoSuchEntry:
            raise Declined(404, "no such entry") from None

    async def leaves(self, asked: Asked, names: Names) -> Answer:
        """At most ``count`` entries from ``first`` on."""
        domain, first, count = self._domain(asked), _number(asked, "first"), _number(asked, "count", LEAVES_LIMIT)
        found = await self._log.leaves(domain, first, count)
        return json_answer({"leaves": [b64(each) for each in found]}, fresh=_FOREVER if len(found) == count else _FRESH)

    async def epochs(self, asked: Asked, names: Names) -> Answer:
        """The epochs that were begun."""
        return json_answer({"epochs": [each.statement.encode() for each in await self._log.epochs(self._domain(asked))]}, fresh=_FRESH)

    async def history(self, asked: Asked, names: Names) -> Answer:
        """What the log says about ``name``, an address or the domain, with proofs."""
        domain, name = self._domain(asked), asked.query.get("name", "")
        try:
            kind = read_kind(asked.query.get("kind"))
        except Malformed:
            raise Declined(400, "kind is missing or unknown") from None
        if not 0 < len(name) <= _NAME:
            raise Declined(400, "name is missing or too long")
        found = await self._log.history(domain, kind, name)
        return json_answer(
            {
                "head": found.head.statement.encode(),
                "label": b64(found.label),
                "entries": [
                    {"number": entry.number, "leaf": b64(entry.leaf.encode()), "proof": [b64(each) for each in proof]}
                    for entry, proof in zip(found.entries, found.proofs, strict=True)
                ],
                "statements": [each.encode() for each in found.statements],
                "earlier": found.earlier,
            }
        )

    def _domain(self, asked: Asked) -> str:
        domain = asked.query.get("domain", asked.host).lower().removesuffix(".")
        if len(domain) > DOMAIN_LIMIT or not self._log.ours(domain):
            raise Declined(404, "no such domain here")
        return domain


def _number(asked: Asked, name: str, default: int | None = None) -> int:
    text = asked.query.get(name)
    if text is None and default is not None:
        return default
    if text is None or len(text) > _DIGITS or not (text.isascii() and text.isdigit()):
        raise Declined(400, f"{name} is missing or no number")
    return int(text)


def _proof(hashes: Sequence[bytes]) -> Answer:
    return json_answer({"proof": [b64(each) for each in hashes]}, fresh=_FOREVER)
