"""DMARC policy records (RFC 9989 4): read, and which of those on the way up the DNS tree holds for whom.

Pure. A record that is broken asks for nothing.
"""

import re
from collections.abc import Sequence
from typing import Literal, cast

from attrs import frozen

Policy = Literal["none", "quarantine", "reject"]

WALK = 8  # look-ups of one walk
_RECORD_OCTETS = 4096
_TAGS = 64  # of one record; what more there are count as absent
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


def read(text: bytes) -> Record | None:
    """The record in a TXT record; None if it is none. What is malformed in it counts as absent."""
    if len(text) > _RECORD_OCTETS:
        return None
    decoded = text.decode("ascii", "replace")
    if not _VERSION.match(decoded):
        return None
    tags: dict[str, str] = {}
    for spec in decoded.split(";", _TAGS)[1:_TAGS]:
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


def applicable(author: str, found: Sequence[tuple[str, Record]]) -> tuple[Record | None, str]:
    """The record that applies to ``author``, which has none itself, and whose it is: its organization's or its PSD's (4.10.1)."""
    above = organization(author, found)
    records = dict(found)
    if above in records:
        return records[above], above
    public = [(record, name) for name, record in found if record.psd == "y"]
    return public[0] if public else (None, author)
