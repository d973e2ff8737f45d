"""DMARC (RFC 9989): whether the author's domain stands behind a message, and what it asks for if not.

Records are found, and organizational domains told, by walking up the DNS tree, eight look-ups at most (4.10). Everything but
the look-ups is pure. ``Checker.check`` raises DNSFailure only for a record that nobody can tell; a record that is broken
asks for nothing.
"""

from collections.abc import Collection

from attrs import frozen

from mailx.checks.patience import Names
from mailx.core.resolver import DNSFailure
from mailx.mail.dmarc import Policy, Record, applicable, organization, parents, read

_RECORDS = 20  # TXT records looked at under one name
_Walk = list[tuple[str, Record]]  # names and their records, on the way up


@frozen
class Identifier:
    """A domain that a check of its own stands for: ``by`` "spf" or "dkim"; ``result`` "pass" or "temperror"."""

    domain: str
    by: str
    result: str


@frozen
class Verdict:
    """``result`` is of RFC 8601 2.7.1 as 9.2 extends it; ``policy`` is what applies to a failure."""

    result: str  # "none", "pass", "fail", "temperror", "permerror"
    domain: str  # the author's
    policy: Policy = "none"


class Checker:
    """Evaluates one message, with ``names`` for DNS."""

    def __init__(self, names: Names) -> None:
        self._names = names

    async def check(self, author: str, identifiers: Collection[Identifier]) -> Verdict:
        """Whether one of ``identifiers`` aligns with the domain ``author``; raises DNSFailure."""
        own = await self._record(author)
        found: _Walk | None = None
        record, holder = own, author
        if record is None:
            found = await self._walk(author, own)
            record, holder = applicable(author, found)
        if record is None or not record.applies:
            return Verdict("none", author)
        exists = holder == author or record.np is None or await self._exists(author)
        policy = record.policy(holder != author, exists)
        results = {identifier.result for identifier in identifiers if identifier.domain == author}
        if "pass" not in results:
            try:
                results |= await self._related(author, record, identifiers, await self._walk(author, own) if found is None else found)
            except DNSFailure:
                results.add("temperror")
        return Verdict(next((each for each in ("pass", "temperror") if each in results), "fail"), author, policy)

    async def _related(self, author: str, record: Record, identifiers: Collection[Identifier], found: _Walk) -> set[str]:
        """The results of those ``identifiers`` that align in relaxed mode; raises DNSFailure when none of them is a pass for certain."""
        results: set[str] = set()
        unknown: DNSFailure | None = None
        above = organization(author, found)
        for identifier in identifiers:
            if record.strict_dkim if identifier.by == "dkim" else record.strict_spf:
                continue
            try:
                if await self._below(identifier.domain, above):
                    results.add(identifier.result)
            except DNSFailure as failure:
                unknown = failure
        if unknown is not None and "pass" not in results:
            raise unknown
        return results

    async def _below(self, domain: str, above: str) -> bool:
        """Whether ``above`` is the organizational domain of ``domain`` too."""
        if domain != above and not domain.endswith("." + above):
            return False
        return organization(domain, await self._walk(domain, await self._record(domain))) == above

    async def _walk(self, domain: str, own: Record | None) -> _Walk:
        """The records on the way up from ``domain``, whose own is known."""
        found = [] if own is None else [(domain, own)]
        if own is not None and own.psd in ("y", "n"):
            return found
        for name in parents(domain)[1:]:
            record = await self._record(name)
            if record is not None:
                found.append((name, record))
                if record.psd in ("y", "n"):
                    break
        return found

    async def _record(self, domain: str) -> Record | None:
        """The one record of ``domain``; several are none (4.10)."""
        if len(domain) > 253 - len("_dmarc."):
            return None
        answer = await self._names.query("_dmarc." + domain, "TXT")
        found: Record | None = None
        for record in filter(None, map(read, answer.records[:_RECORDS])):
            if found is not None:
                return None
            found = record
        return found

    async def _exists(self, domain: str) -> bool:
        """Whether ``domain`` is in the DNS (3.2.13); when nobody knows, it is."""
        try:
            return (await self._names.query(domain, "A")).exists
        except DNSFailure:
            return True
