"""DMARC (RFC 9989): whether the author's domain stands behind a message, and what it asks for if not.

Records are found, and organizational domains told, by walking up the DNS tree, eight look-ups at most (4.10). Everything but
the look-ups is pure. ``Checker.check`` raises DNSFailure only for a record that nobody can tell; a record that is broken
asks for nothing.
"""

from collections.abc import Collection

from attrs import field, frozen

from mailx.checks.patience import Names
from mailx.core.resolver import DNSFailure
from mailx.mail.dmarc import Policy, Record, applicable, organization, parents, read

_RECORDS = 20  # TXT records looked at under one name


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
    organization: str = ""
    aligned: tuple[Identifier, ...] = field(default=())


class Checker:
    """Evaluates one message, with ``names`` for DNS."""

    def __init__(self, names: Names) -> None:
        self._names = names

    async def check(self, author: str, identifiers: Collection[Identifier]) -> Verdict:
        """Whether one of ``identifiers`` aligns with the domain ``author``; raises DNSFailure."""
        own = await self._record(author)
        found: list[tuple[str, Record]] | None = None
        record, holder = own, author
        if record is None:
            found = await self._walk(author, own)
            record, holder = applicable(author, found)
        if record is None or not record.applies:
            return Verdict("none", author)
        aligned: list[Identifier] = []
        above = ""
        for identifier in identifiers:
            strict = record.strict_dkim if identifier.by == "dkim" else record.strict_spf
            if identifier.domain == author:
                aligned.append(identifier)
            elif not strict:
                if not above:
                    if found is None:
                        found = await self._walk(author, own)
                    above = organization(author, found)
                if await self._below(identifier.domain, above):
                    aligned.append(identifier)
        passed = tuple([identifier for identifier in aligned if identifier.result == "pass"])
        exists = holder == author or record.np is None or await self._exists(author)
        policy = record.policy(holder != author, exists)
        if passed:
            return Verdict("pass", author, policy, above, passed)
        return Verdict("temperror" if aligned else "fail", author, policy, above)

    async def _below(self, domain: str, above: str) -> bool:
        """Whether ``above`` is the organizational domain of ``domain`` too."""
        if domain != above and not domain.endswith("." + above):
            return False
        return organization(domain, await self._walk(domain, await self._record(domain))) == above

    async def _walk(self, domain: str, own: Record | None) -> list[tuple[str, Record]]:
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
        records = [record for record in map(read, answer.records[:_RECORDS]) if record is not None]
        return records[0] if len(records) == 1 else None

    async def _exists(self, domain: str) -> bool:
        """Whether ``domain`` is in the DNS (3.2.13); when nobody knows, it is."""
        try:
            return (await self._names.query(domain, "A")).exists
        except DNSFailure:
            return True
