"""``mailxctl audit``: who changed what, when and from where."""

import json
from typing import Any

import click

from mailx.ctl import output
from mailx.ctl.session import Command, Session, pass_session
from mailx.mail.printable import printable

_PAGE = 500
_SHOWN = 100  # characters of what was changed, in the table


@click.command(cls=Command)
@click.option("--actor", help="Name of an administrator or an API key, or mailxctl.")
@click.option("--action", help="Such as domain.add, or domain. for all that begin so.")
@click.option("--target", help="What was changed: a name or an address; a domain stands for all within it.")
@click.option("--since", help="From this time on: 2027-01-31, 2027-01-31T12:00:00Z.")
@click.option("--until", help="Before this time.")
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=50, show_default=True, help="Entries shown at most.")
@click.option("--jsonl", is_flag=True, help="Write every entry as a line of JSON, as it was kept.")
@pass_session
def audit(
    session: Session,
    actor: str | None,
    action: str | None,
    target: str | None,
    since: str | None,
    until: str | None,
    limit: int,
    jsonl: bool,
) -> None:
    """Show the audit log, the newest entries first."""
    wanted = {"actor": actor, "action": action, "target": target, "since": since, "until": until}
    shown: list[Any] = []
    before: int | None = None
    more = True
    while more and (room := limit - len(shown)) > 0:
        answer = session.call("GET", "/v1/audit", wanted | {"before": before, "limit": min(room, _PAGE)})
        shown += answer["entries"]
        before, more = answer["next"], answer["next"] is not None
    if jsonl:
        for entry in shown:
            click.echo(json.dumps(entry, ensure_ascii=False))
        return
    rows = [_row(entry) for entry in shown]
    lines = output.table(("TIME", "WHO", "FROM", "WHAT", "OF", "CHANGE"), rows) if rows else ["The log has no such entries."]
    session.say({"entries": shown, "more": more}, *lines, *(["...", "There are more: --limit shows them."] if more else []))


def _row(entry: Any) -> tuple[str, ...]:
    who = entry["actor"]
    name = who["name"] if who["kind"] in ("admin", who["name"]) else f"{who['kind']} {who['name']}"
    target = "(cannot be read)" if entry["damaged"] else entry["target"]
    return tuple(printable(each) for each in (output.moment(entry["time"]), name, who["address"], entry["action"], target, _change(entry)))


def _change(entry: Any) -> str:
    """``before -> after`` in short."""
    before, after = (_short(entry[name]) for name in ("before", "after"))
    if before and after:
        return f"{before} -> {after}"
    return after or (f"was {before}" if before else "")


def _short(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        value = ", ".join(f"{key}={each if isinstance(each, str) else json.dumps(each, ensure_ascii=False)}" for key, each in value.items())
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
