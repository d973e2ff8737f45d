"""``mailxctl key audit|logs|evidence``: what the key logs say, proved."""

from urllib.parse import quote

import click

from mailx.ctl import output
from mailx.ctl.session import Command, Session, pass_session

_MARKS = {"ok": "proved", "note": "note", "unread": "unread", "wrong": "WRONG"}
_FAILED = 1


@click.command(cls=Command, short_help="Prove the history of an address or of a domain's keys.")
@click.argument("name")
@pass_session
def audit(session: Session, name: str) -> None:
    """Prove the history of the address or the domain NAME from the key log of its domain, here or elsewhere.

    The whole log is read and compared with what was seen of it before. The exit status is 1 if anything is wrong.
    """
    answer = session.call("GET", f"/v1/key-logs/{quote(name, safe='')}/audit")
    lines = [f"{_MARKS[step['outcome']]:>7}  {step['text']}" for step in answer["steps"]]
    rows = [
        (
            each["number"],
            each["kind"],
            each["serial"],
            output.moment(each["time"]),
            "revoked" if each["revoked"] else each["key"] or "unknown",
        )
        for each in answer["entries"]
    ]
    if rows:
        lines += ["", *output.table(("ENTRY", "KIND", "SERIAL", "TIME", "KEY"), rows)]
    outcomes = {step["outcome"] for step in answer["steps"]}
    verdict = "cannot be relied on" if "wrong" in outcomes else "was not read to its end" if "unread" in outcomes else "is sound"
    lines += ["", f"The log of {answer['domain']} {verdict}."]
    session.say(answer, *lines)
    if not answer["good"]:
        raise click.exceptions.Exit(_FAILED)


@click.command(cls=Command, short_help="List the key logs of this server and those that it watches.")
@pass_session
def logs(session: Session) -> None:
    """List the key logs of this server, and those of others with the last head that was seen."""
    answer = session.call("GET", "/v1/key-logs")
    rows = [
        (each["domain"], "here" if each["ours"] else "elsewhere", each["size"], each["epoch"], output.moment(each["seen"] or each["time"]))
        for each in answer["logs"]
    ]
    empty = ["There are no key logs. Next: mailxctl domain add NAME"]
    session.say(answer, *(output.table(("DOMAIN", "LOG", "ENTRIES", "EPOCH", "SEEN"), rows) if rows else empty))


@click.command(cls=Command, short_help="List evidence that key logs were forked.")
@click.argument("domain", required=False)
@pass_session
def evidence(session: Session, domain: str | None) -> None:
    """List evidence that the key log of DOMAIN, or any, was forked; with --json whole, to be shown to others."""
    answer = session.call("GET", "/v1/key-evidence", {"domain": domain} if domain else None)
    rows = [
        (each["domain"], output.moment(each["found"]), each["kept"]["body"]["size"], each["shown"]["body"]["size"], each["reason"])
        for each in answer["evidence"]
    ]
    empty = [f"No fork of the key log{f' of {domain}' if domain else ''} was seen. Next: mailxctl key audit {domain or 'DOMAIN'}"]
    session.say(answer, *(output.table(("DOMAIN", "FOUND", "KEPT", "SHOWN", "REASON"), rows) if rows else empty))
