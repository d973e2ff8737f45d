"""``mailxctl peer``: other MailX servers."""

from typing import Any
from urllib.parse import quote

import click

from mailx.ctl import output
from mailx.ctl.session import Group, Session, pass_session

_PATH = "/v1/peers"
_DEFAULT = "default"
_LIMITS = {
    "per_minute": "messages a minute",
    "per_hour": "messages an hour",
    "burst": "messages at once",
    "connections": "connections",
}

_STATES = {
    "none": "it has no MailX server, its mail goes by SMTP",
    "missing": "it had a MailX server, which is not found; its mail waits",
    "unknown": "it was not looked for yet",
    "blocked": "its server is refused, and mail to it bounces",
}

_SOURCES = {"static": ", from the configuration", "https": ", proved by HTTPS", "dnssec": ", proved by DNSSEC"}
_COUNTED = {"refused": "refused", "delayed": "told to come later", "failed": "attempts failed", "violations": "violations"}


def _path(domain: str, *more: str) -> str:
    return "/".join((_PATH, *(quote(each, safe="") for each in (domain, *more))))


@click.group(cls=Group, short_help="Other MailX servers.")
def peer() -> None:
    """Other MailX servers: which there are, how they are found, their keys and limits."""


@peer.command("list")
@click.option("--text", metavar="TEXT", help="Only domains with this in their names.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="Domains to list.")
@pass_session
def list_(session: Session, text: str | None, limit: int) -> None:
    """List the domains with a MailX server, or with limits of their own."""
    answer = session.call("GET", _PATH, {"text": text, "limit": limit})
    rows = [
        (
            one["domain"],
            one["state"],
            one["source"] or "-",
            output.moment(one["pinned_until"]) if one["pinned_until"] else "-",
            one["figures"]["received"],
            one["figures"]["sent"],
            one["reputation"] or "-",
        )
        for one in answer["peers"]
    ]
    if rows:
        lines = list(output.table(("DOMAIN", "STATE", "KEY BY", "PINNED UNTIL", "IN", "OUT", "REPUTATION"), rows))
        if answer["next"] is not None:
            lines.append("There are more; --limit or --text shows them.")
    else:
        lines = ["No other MailX server is known. Next: mailxctl peer discover DOMAIN"]
    session.say(answer, *lines)


@peer.command()
@click.argument("domain")
@pass_session
def show(session: Session, domain: str) -> None:
    """Show what is known of DOMAIN."""
    answer = session.call("GET", _path(domain))
    session.say(answer, *_lines(answer))


@peer.command()
@click.argument("domain")
@pass_session
def discover(session: Session, domain: str) -> None:
    """Look for the MailX server of DOMAIN now, and show each step."""
    answer = session.call("POST", _path(domain, "discover"))
    steps = [(step["name"], step["outcome"], step["text"]) for step in answer["steps"]]
    session.say(answer, *output.table(("STEP", "OUTCOME", "WHAT"), steps), "", *_lines(answer["peer"]))


@peer.command("set", short_help="Set limits of a domain.")
@click.argument("domain")
@click.option("--per-minute", metavar="N", help="Messages a minute; 0: no limit.")
@click.option("--per-hour", metavar="N", help="Messages an hour; 0: no limit.")
@click.option("--burst", metavar="N", help="Messages at once.")
@click.option("--connections", metavar="N", help="Connections.")
@click.option(
    "--fallback",
    type=click.Choice(("unpinned", "never", _DEFAULT)),
    help="When its mail may go by SMTP: never, or unless federation reached it lately.",
)
@pass_session
def set_(session: Session, /, domain: str, fallback: str | None, **limits: str | None) -> None:
    """Set limits of DOMAIN; `default` for a value is what the configuration says."""
    changes: dict[str, Any] = {}
    for name, value in limits.items():
        if value is not None:
            changes[name] = _number(session, value)
    if fallback is not None:
        changes["fallback"] = "" if fallback == _DEFAULT else fallback
    if not changes:
        raise session.failed("invalid", "nothing was given to set", "Give an option such as --per-minute 500.")
    answer = session.call("PATCH", _path(domain), body=changes)
    session.say(answer, *_lines(answer))


def _number(session: Session, value: str) -> int | None:
    if value == _DEFAULT:
        return None
    if not value.isascii() or not value.isdigit() or len(value) > 9:
        raise session.failed("invalid", f"{value!r} is no number", f"Give a number, or `{_DEFAULT}`.")
    return int(value)


@peer.command(short_help="Forget what was learnt of a domain.")
@click.argument("domain")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_session
def forget(session: Session, domain: str, yes: bool) -> None:
    """Forget the keys and the pin of DOMAIN, and the keys of its users. Whatever key it shows next is believed."""
    if not yes:
        session.confirm(f"Forget the key of {domain}? Whatever key it shows next is believed", "nothing was forgotten")
    answer = session.call("DELETE", _path(domain))
    session.say(answer, f"{domain} is as unknown as any other domain now. Next: mailxctl peer discover {domain}")


@peer.command()
@click.argument("domain")
@pass_session
def block(session: Session, domain: str) -> None:
    """Exchange no mail with DOMAIN by federation."""
    answer = session.call("POST", _path(domain, "block"))
    session.say(answer, f"{answer['domain']} is blocked: its server is refused, and mail to it bounces.")


@peer.command()
@click.argument("domain")
@pass_session
def unblock(session: Session, domain: str) -> None:
    """Exchange mail with DOMAIN again."""
    answer = session.call("POST", _path(domain, "unblock"))
    session.say(answer, f"{answer['domain']} is not blocked any more.")


def _lines(one: Any) -> list[str]:
    """Everything about one domain."""
    figures, own = one["figures"], one["settings"]
    means = one["trouble"] if one["state"] == "trouble" else _STATES.get(one["state"], "")
    lines = [f"{one['domain']}: {one['state']}{means and ': '}{means}{', from the configuration' if one['static'] else ''}"]
    if one["trouble"] and one["state"] != "trouble":
        lines.append(f"trouble: {one['trouble']}")
    if one["key"]:
        lines += [
            f"key: {one['key']}{_SOURCES.get(one['source'], '')}",
            f"servers: {', '.join(one['servers']) or '-'}",
        ]
    if one["verified"]:
        lines.append(f"verified: {output.moment(one['verified'])}")
    if one["pinned_until"]:
        lines.append(f"pinned: until {output.moment(one['pinned_until'])} its mail goes no other way")
    lines += [f"{words}: {own[name]}" for name, words in _LIMITS.items() if own[name] is not None]
    if own["fallback"]:
        lines.append(f"fallback: {own['fallback']}")
    if one["score"] is not None:
        counted = [f"{figures[way]} {way} ({output.size(figures[f'{way}_octets'])})" for way in ("received", "sent")]
        counted += [f"{figures[name]} {words}" for name, words in _COUNTED.items()]
        lines += [f"last 30 days: {', '.join(counted)}", f"reputation: {one['reputation']} ({one['score']} of 100)"]
    for key in one["history"]:
        lines.append(f"key {key['serial']}: {key['key']} ({key['reason']}, created {output.moment(key['created'])})")
    return lines
