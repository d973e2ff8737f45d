"""The audit log: who changed what, when and from where; filtered, a page at a time, and to keep as CSV or JSON lines."""

import csv
import io
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from mailx.core.audit import Entry, Filter, described
from mailx.mail.times import iso_exact
from mailx.web.panel.links import shown, to
from mailx.web.panel.page import Download, Page, View, Visit, show

JSON: TypeAlias = Any

PAGE = 50
_FILTERS = ("actor", "action", "target", "since", "until")
_COLUMNS = ("id", "time", "kind", "name", "address", "action", "target", "before", "after")


class AuditLog(Page):
    """The log and its exports."""

    path = "/audit"
    title = "Audit log"
    group = "Server"

    @show("/audit")
    async def index(self, visit: Visit) -> View:
        filters = {name: visit.query.get(name, "").strip()[:320] for name in _FILTERS}
        wanted, wrong = _filter(filters)
        last = visit.after()
        found = await self.parts.audit.list(wanted, last, PAGE + 1)
        page = found[:PAGE]
        actions = await self.parts.audit.actions()
        families = sorted({action.partition(".")[0] + "." for action in actions})
        context = {
            "rows": [(entry, changes(entry)) for entry in page],
            "filters": filters,
            "filtered": any(filters.values()),
            "wrong": wrong,
            "actions": [("", "Any"), *((one, f"{one}*") for one in families), *((one, one) for one in actions)],
            "newer": to("audit", query=filters) if last else "",
            "older": to("audit", query={**filters, "after": page[-1].id}) if len(found) > PAGE else "",
            "csv": to("audit", "export.csv", query=filters),
            "lines": to("audit", "export.jsonl", query=filters),
        }
        return View("audit.html", context)

    @show("/audit/export.csv")
    async def export_csv(self, visit: Visit) -> Download:
        return self._export(visit, "audit.csv", _csv, "text/csv; charset=utf-8", _row(_COLUMNS))

    @show("/audit/export.jsonl")
    async def export_lines(self, visit: Visit) -> Download:
        return self._export(visit, "audit.jsonl", _line, "application/jsonl; charset=utf-8", "")

    def _export(self, visit: Visit, name: str, write: Callable[[Entry], str], kind: str, head: str) -> Download:
        wanted, _ = _filter({name: visit.query.get(name, "").strip()[:320] for name in _FILTERS})
        return Download(name, _written(self.parts.audit.export(wanted), write, head), kind)


async def _written(slices: AsyncIterator[list[Entry]], write: Callable[[Entry], str], head: str) -> AsyncIterator[bytes]:
    if head:
        yield head.encode()
    async for entries in slices:
        yield "".join(write(entry) for entry in entries).encode()


def _filter(texts: dict[str, str]) -> tuple[Filter, str]:
    """The filter, and what is wrong with it: days that are none do not matter, and that is said."""
    wrong = ""
    days = {"since": 0.0, "until": 0.0}
    for name in days:
        if texts[name]:
            try:
                day = datetime.fromisoformat(texts[name][:10]).replace(tzinfo=UTC)
                days[name] = (day + timedelta(days=name == "until")).timestamp()  # the day itself is meant, too
            except (ValueError, OverflowError):
                wrong = f"{shown(texts[name], 20)} is not a day: write it like 2027-01-31."
    return Filter(texts["actor"], texts["action"], texts["target"], days["since"], days["until"]), wrong


def changes(entry: Entry) -> list[tuple[str, str, str]]:
    """(what, before, after) of each value that an entry tells of."""
    before, after = entry.before, entry.after
    if isinstance(before, dict) or isinstance(after, dict):
        old, new = (value if isinstance(value, dict) else {} for value in (before, after))
        return [(shown(key, 100), _member(old, key), _member(new, key)) for key in dict.fromkeys((*old, *new))]
    return [] if before is None and after is None else [("", _text(before), _text(after))]


def _member(values: dict[str, JSON], key: str) -> str:
    return ("not set" if values[key] is None else _text(values[key])) if key in values else ""


def _text(value: JSON) -> str:
    if value is None:
        return ""
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return shown(", ".join(value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return shown(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _csv(entry: Entry) -> str:
    actor = entry.actor
    values = (json.dumps(value, ensure_ascii=False) if value is not None else "" for value in (entry.before, entry.after))
    return _row((str(entry.id), iso_exact(entry.at), actor.kind, actor.name, actor.address, entry.action, entry.target, *values))


def _row(values: tuple[str, ...]) -> str:
    """A row of RFC 4180. A spreadsheet takes no cell for a formula: those that look like one begin with an apostrophe."""
    text = io.StringIO()
    csv.writer(text).writerow([f"'{value}" if value[:1] in ("=", "+", "-", "@", "\t", "\r") else value for value in values])
    return text.getvalue()


def _line(entry: Entry) -> str:
    return json.dumps(described(entry), ensure_ascii=False) + "\n"
