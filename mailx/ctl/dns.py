"""``mailxctl dns``: every record that a domain needs, and what the world sees of them."""

from typing import Any
from urllib.parse import quote

import click

from mailx.ctl import output
from mailx.ctl.session import Command, Session, pass_session
from mailx.mail.records import OPTIONAL, RECOMMENDED, REQUIRED

_HEADS = ((REQUIRED, "Required"), (RECOMMENDED, "Recommended"), (OPTIONAL, "Optional"))


@click.command(cls=Command, short_help="Print the DNS records that a domain needs; check them.")
@click.argument("domain")
@click.option("--check", is_flag=True, help="Look at what DNS says and compare.")
@pass_session
def dns(session: Session, domain: str, check: bool) -> None:
    """Print every DNS record that DOMAIN needs, ready to paste; with --check, what the world sees of them."""
    answer = session.call("GET", f"/v1/dns/{quote(domain, safe='')}", {"check": "true" if check else None})
    session.say(answer, *(_checked(answer) if check else _page(answer)))


def _page(answer: Any) -> list[str]:
    """A zone file with comments."""
    lines: list[str] = []
    for need, head in _HEADS:
        records = [record for record in answer["records"] if record["need"] == need]
        if records:
            lines += [f"; {head}", ";"]
            for record in records:
                lines += [f"; {record['purpose']}", *([record["line"]] if record["line"] else [])]
            lines.append("")
    policy = answer["mta_sts"]
    return [
        *lines,
        f"; With MTA-STS, {policy['url']} gives this text.",
        "; Change mode to enforce when the reports of TLS-RPT stay empty; with every change the id above changes.",
        *(f";   {line}" for line in policy["policy"].splitlines()),
        "",
        f"; Next, when the records are published: mailxctl dns {answer['domain']} --check",
    ]


def _checked(answer: Any) -> list[str]:
    """A table, and under it what to do."""
    records = answer["records"]
    rows = [(record["verdict"], record["need"], record["type"], record["name"]) for record in records]
    lines = output.table(("VERDICT", "NEED", "TYPE", "NAME"), rows)
    for record in records:
        if record["verdict"] == "ok" and not record["remark"]:
            continue
        lines += ["", f"{record['name']} {record['type']}: {record['verdict']}. {record['remark'] or record['purpose']}"]
        if record["verdict"] in ("missing", "different") and record["line"]:
            lines.append(f"  publish: {record['line']}")
        lines += [f"  seen:    {seen}" for seen in record["seen"]]
    return lines
