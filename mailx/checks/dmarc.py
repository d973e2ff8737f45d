"""DMARC (RFC 9989): whether the author's domain stands behind a message, and what it asks for if not.

Records are found, and organizational domains told, by walking up the DNS tree, eight look-ups at most (4.10). Everything but
the look-ups is pure. ``Checker.check`` raises DNSFailure only for a record that nobody can tell; a record that is broken
asks for nothing.
"""

import re
from collections.abc import Collection, Sequence
from typing import Literal, cast

from attrs import field, frozen

from mailx.checks.patience import Names
from mailx.core.resolver import DNSFailure

Policy = Literal["none", "quarantine", "reject"]

WALK = 8  # look-ups of one walk
_RECORD_OCTETS = 4096
_RECORDS = 20  # TXT records looked at under one name
_VERSION = re.compile(r"v[ \t]*=[ \t]*DMARC1[ \t]*(?:;|\Z)")
_POLICIES = ("none", "quarantine", "reject")
_MILDER: dict[Policy, Policy] = {"none": "none", "quarantine": "none", "reject": "quarantine"}
_REPORT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[\x21-\x7e]+")


@frozen
class Record:
    """A DMARC policy record (4.7)."""

    p: Policy = "none"
    sp: Policy | None = None
    np: Policy | None = None
    strict_dkim: bool = False
    strict_spf: bool = False
    psd: str = "u"
    testing: bool = False
    applies: bool = True  # False: too broken to ask for anything (4.10.1)

    def policy(self, subdomain: bool, exists: bool) -> Policy:
        """What is asked for when the record stands above the author's domain (``subdomain``), or at it."""
        asked = self.p
        if subdomain:
            asked = self.sp or self.p
            if not exists:
                asked = self.np or asked
        return _MILDER[asked] if self.testing else asked


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


def read(text: bytes) -> Record | None:
    """The record in a TXT record; None if it is none. What is malformed in it counts as absent."""
    if len(text) > _RECORD_OCTETS:
        return None
    decoded = text.decode("ascii", "replace")
    if not _VERSION.match(decoded):
        return None
    tags: dict[str, str] = {}
    for spec in decoded.split(";")[1:]:
        name, equals, value = spec.partition("=")
        if equals:
            tags.setdefault(name.strip().lower(), value.strip())
    policies = {name: tags[name].lower() for name in ("p", "sp", "np") if name in tags}
    applies = True
    if "p" not in policies or any(value not in _POLICIES for value in policies.values()):
        policies = {}
        applies = any(_REPORT.match(address.strip()) for address in tags.get("rua", "").split(","))
    values = cast(dict[str, Policy], policies)
    return Record(
        values.get("p", "none"),
        values.get("sp"),
        values.get("np"),
        tags.get("adkim", "r").lower() == "s",
        tags.get("aspf", "r").lower() == "s",
        tags.get("psd", "u").lower(),
        tags.get("t", "n").lower() == "y",
        applies,
    )


def parents(domain: str) -> list[str]:
    """The names that a walk from ``domain`` asks, itself first (4.10)."""
    labels = domain.split(".")
    first = max(1, len(labels) - (WALK - 1))
    return [domain, *(".".join(labels[start:]) for start in range(first, len(labels)))]


def organization(domain: str, found: Sequence[tuple[str, Record]]) -> str:
    """The organizational domain of ``domain``, after what a walk from there found, longest name first (4.10.2)."""
    for name, record in found:
        if record.psd == "n":
            return name
        if record.psd == "y" and name != domain:
            return ".".join(domain.split(".")[-(name.count(".") + 2) :])
    return found[-1][0] if found else domain


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
            record, holder = _applicable(author, found)
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


def _applicable(author: str, found: Sequence[tuple[str, Record]]) -> tuple[Record | None, str]:
    """The record that applies to ``author``, which has none itself, and whose it is: its organization's or its PSD's (4.10.1)."""
    above = organization(author, found)
    records = dict(found)
    if above in records:
        return records[above], above
    public = [(record, name) for name, record in found if record.psd == "y"]
    return public[0] if public else (None, author)
