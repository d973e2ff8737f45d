"""``mailxctl dkim``: the keys that sign what goes out."""

from typing import Any
from urllib.parse import quote

import click

from mailx.core.dkim import ALGORITHMS
from mailx.ctl import output
from mailx.ctl.session import Group, Session, pass_session


def _path(domain: str, *more: str) -> str:
    return "/".join(("/v1/dkim", *(quote(each, safe="") for each in (domain, *more))))


@click.group(cls=Group)
def dkim() -> None:
    """Signing keys (DKIM): make, publish, activate, replace."""


@dkim.command()
@click.argument("domain")
@click.option("--algorithm", "algorithms", type=click.Choice(ALGORITHMS), multiple=True, help="Kind of key; default: one of each.")
@pass_session
def create(session: Session, domain: str, algorithms: tuple[str, ...]) -> None:
    """Make keys for DOMAIN. They sign after `mailxctl dkim activate`."""
    answer = session.call("POST", _path(domain), body={"algorithms": list(algorithms or ALGORITHMS)})
    session.say(answer, *_to_publish(answer["keys"]))


@dkim.command(short_help="Make keys that replace the active ones.")
@click.argument("domain")
@pass_session
def rotate(session: Session, domain: str) -> None:
    """Make the keys that are to replace the active ones of DOMAIN."""
    answer = session.call("POST", _path(domain, "rotate"))
    session.say(answer, *_to_publish(answer["keys"]))


def _to_publish(keys: list[Any]) -> list[str]:
    domain = keys[0]["domain"]
    lines = [key["line"] for key in keys]
    return ["Publish these records:", "", *lines, "", f"Next, when DNS has them: mailxctl dkim activate {domain}"]


@dkim.command(short_help="Sign with the next keys of DOMAIN.")
@click.argument("domain")
@click.option("--force", is_flag=True, help="Do not look whether the records are published.")
@pass_session
def activate(session: Session, domain: str, force: bool) -> None:
    """Sign the mail of DOMAIN with its next keys; those before them are retired."""
    answer = session.call("POST", _path(domain, "activate"), body={"force": force})
    selectors = ", ".join(key["selector"] for key in answer["keys"])
    session.say(answer, f"Mail of {answer['keys'][0]['domain']} is signed with {selectors} from now on.")


@dkim.command("list")
@click.argument("domain", required=False)
@pass_session
def list_(session: Session, domain: str | None) -> None:
    """List the keys of DOMAIN, or of all domains."""
    answer = session.call("GET", _path(domain) if domain else "/v1/dkim")
    rows = [(key["domain"], key["selector"], key["algorithm"], key["state"], output.moment(_since(key))) for key in answer["keys"]]
    empty = ["There are no keys. Next: mailxctl dkim create DOMAIN"]
    session.say(answer, *(output.table(("DOMAIN", "SELECTOR", "ALGORITHM", "STATE", "SINCE"), rows) if rows else empty))


def _since(key: Any) -> str:
    return str(key["retired"] or key["activated"] or key["created"])


@dkim.command()
@click.argument("domain")
@pass_session
def show(session: Session, domain: str) -> None:
    """Show the keys of DOMAIN with their records, ready to paste."""
    answer = session.call("GET", _path(domain))
    lines: list[str] = []
    for key in answer["keys"]:
        lines.append(f"; {key['algorithm']}, {key['state']} since {output.moment(_since(key))}")
        if key["deletable"]:
            lines.append(f"; published until {output.moment(key['deletable'])}, then: mailxctl dkim delete {domain} {key['selector']}")
        lines.append(key["line"])
    session.say(answer, *(lines or [f"{domain} has no keys. Next: mailxctl dkim create {domain}"]))


@dkim.command(short_help="Sign with a key no more.")
@click.argument("domain")
@click.argument("selector")
@pass_session
def retire(session: Session, domain: str, selector: str) -> None:
    """Sign the mail of DOMAIN with the key SELECTOR no more; nothing replaces it."""
    session.call("POST", _path(domain, selector, "retire"))
    session.say({"retired": selector}, f"{selector} signs no more. Leave its record published until the key can be deleted.")


@dkim.command(short_help="Delete a key that is not active.")
@click.argument("domain")
@click.argument("selector")
@click.option("--force", is_flag=True, help="Also a key that was retired only lately.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_session
def delete(session: Session, domain: str, selector: str, force: bool, yes: bool) -> None:
    """Delete the key SELECTOR of DOMAIN, which must not be active."""
    if not yes:
        session.confirm(f"Delete the key {selector} of {domain}? This cannot be undone", "nothing was deleted")
    session.call("DELETE", _path(domain, selector), {"force": "true" if force else None})
    session.say({"deleted": selector}, f"{selector} was deleted. Its record can be removed from DNS now.")
