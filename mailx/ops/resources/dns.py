"""The DNS page of a domain in the admin API."""

from mailx.core.published import Finding
from mailx.core.records import Records
from mailx.mail.records import Record
from mailx.ops.resources.query import JSON, Query, running
from mailx.ops.resources.shape import TEXT, list_of, one_of, record, shaped

_RECORD = record(dict.fromkeys(("name", "type", "value", "line", "purpose", "need"), TEXT), verdict=TEXT, seen=list_of(TEXT), remark=TEXT)
_PAGE = record({"domain": TEXT, "records": list_of(_RECORD), "mta_sts": record({"url": TEXT, "policy": TEXT})})


class Dns:
    """Which records a domain needs, and with ``check`` what the world sees of them."""

    SCOPE = "dns"
    ROUTES = (("/v1/dns/<domain>", "GET", "page"),)

    def __init__(self, records: Records | None) -> None:
        self._records = records

    @shaped(
        "The DNS records that a domain needs, with `check=true` also what the world sees.",
        query={"check": one_of("true", "false")},
        gives=_PAGE,
    )
    async def page(self, query: Query) -> JSON:
        records = running(self._records, "the records cannot be worked out here")
        page = await records.expected(query.path["domain"])
        if query.parameters.get("check") == "true":
            shown = [_finding(finding) for finding in await records.check(page.domain)]
        else:
            shown = [_record(record) for record in page.records]
        return {"domain": page.domain, "records": shown, "mta_sts": {"url": page.policy_url, "policy": page.policy}}


def _record(record: Record) -> JSON:
    return {
        "name": record.name,
        "type": record.kind,
        "value": record.value,
        "line": record.line,
        "purpose": record.purpose,
        "need": record.need,
    }


def _finding(finding: Finding) -> JSON:
    return {**_record(finding.record), "verdict": finding.verdict, "seen": list(finding.seen), "remark": finding.remark}
