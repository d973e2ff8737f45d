"""The DNS records of a domain: what should be published, and on request what the world sees of it.

DNS is asked only when somebody presses the button, and for a limited time: what did not answer by then is shown as not
checked.
"""

from typing import Any

from twisted.internet.defer import Deferred

from mailx.core.published import DIFFERENT, MISSING, OK, UNKNOWN, UNNECESSARY, Finding
from mailx.mail.records import OPTIONAL, RECOMMENDED, REQUIRED, THIS_SERVER, UNWANTED, Record
from mailx.mail.records import Page as Zone
from mailx.web.panel.links import shown, to
from mailx.web.panel.page import Download, Page, View, Visit, show

SECONDS = 15.0  # that a check may take

_NEEDS = (
    (REQUIRED, "Required", "Without these, mail does not arrive or is refused by others."),
    (RECOMMENDED, "Recommended", "Mail works without them, less well."),
    (OPTIONAL, "Optional", "More security, or convenience for mail programs."),
    (UNWANTED, "Should not exist", "Records that promise what this server does not offer."),
)
_MISSING = {REQUIRED: "bad", RECOMMENDED: "warn"}
_VERDICTS = {OK: "good", DIFFERENT: "bad", UNNECESSARY: "warn", UNKNOWN: ""}


class DNS(Page):
    """One page for each domain, reached from the page of the domain."""

    path = "/domains"
    title = "DNS records"

    @show("/domains/<name>/dns")
    async def index(self, visit: Visit) -> View:
        domain = (await self.parts.accounts.catalogue.domain(visit.path["name"])).name
        zone = await self.parts.records.expected(domain)
        checked = "check" in visit.query
        findings = await self._checked(domain) if checked else [Finding(record, "") for record in zone.records]
        groups = [
            (title, text, [_row(domain, finding) for finding in findings if finding.record.need == need])
            for need, title, text in _NEEDS
            if any(finding.record.need == need for finding in findings)
        ]
        wrong = sum(finding.verdict in (MISSING, DIFFERENT) and finding.record.need == REQUIRED for finding in findings)
        unknown = sum(finding.verdict == UNKNOWN for finding in findings)
        context = {
            "domain": domain,
            "zone": zone,
            "groups": groups,
            "checked": checked,
            "wrong": wrong,
            "unknown": unknown,
            "seconds": SECONDS,
        }
        return View("dns.html", context, title=f"DNS records of {domain}")

    async def _checked(self, domain: str) -> list[Finding]:
        until: Deferred[None] = Deferred()
        limit = self.parts.reactor.callLater(SECONDS, until.callback, None)
        try:
            findings: list[Finding] = await self.parts.records.check(domain, until)
            return findings
        finally:
            if limit.active():
                limit.cancel()

    @show("/domains/<name>/dns/zone")
    async def zone(self, visit: Visit) -> Download:
        """Everything as lines of a zone file."""
        domain = (await self.parts.accounts.catalogue.domain(visit.path["name"])).name
        zone = await self.parts.records.expected(domain)
        return Download(f"{domain}.zone.txt", "".join(_lines(zone)).encode())


def _lines(zone: Zone) -> list[str]:
    lines = []
    for need, title, _ in _NEEDS:
        records = [record for record in zone.records if record.need == need and record.line]
        if records:
            lines.append(f"; {title}\n;\n")
            lines += [f"; {record.purpose}\n{record.line}\n" for record in records]
            lines.append("\n")
    return lines


def _row(domain: str, finding: Finding) -> dict[str, Any]:
    record = finding.record
    return {
        "record": record,
        "known": bool(record.value) and record.value != THIS_SERVER,
        "make_keys": to("domains", domain, "dkim") if record.rule == "no_key" else "",
        "verdict": finding.verdict,
        "kind": _MISSING.get(record.need, "") if finding.verdict == MISSING else _VERDICTS.get(finding.verdict, ""),
        "seen": [shown(each) for each in finding.seen],
        "remark": shown(finding.remark),
        "remedy": _remedy(finding, record),
    }


def _remedy(finding: Finding, record: Record) -> str:
    """What to do about it."""
    if finding.verdict == MISSING:
        return "" if not record.line else "Add it if you want what it is for." if record.need == OPTIONAL else "Add this record."
    if finding.verdict == DIFFERENT:
        return "Change the record to the one shown here." if record.line else ""
    if finding.verdict == UNNECESSARY:
        return "Remove this record."
    if finding.verdict == UNKNOWN:
        return "Check again later; if that does not help, see dns.servers in the settings."
    return ""
