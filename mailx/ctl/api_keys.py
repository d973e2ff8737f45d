"""``mailxctl apikey``: keys with which programs administer the server over HTTP."""

from time import time
from typing import Any
from urllib.parse import quote

import click

from mailx.core.api_keys import SCOPES
from mailx.ctl import output
from mailx.ctl.session import Group, Session, pass_session
from mailx.mail.times import iso


def path(name: str, *more: str) -> str:
    """The resource of a key."""
    return "/".join(("/v1/apikeys", quote(name, safe=""), *more))


@click.group(cls=Group)
def apikey() -> None:
    """API keys: add, list, revoke, delete."""


@apikey.command()
@click.argument("name")
@click.option(
    "--scope", "scopes", type=click.Choice(SCOPES), multiple=True, help="What it may do; can be given several times. Default: read."
)
@click.option("--days", type=click.IntRange(1, 3650), help="Days until it expires; default: never.")
@pass_session
def add(session: Session, name: str, scopes: tuple[str, ...], days: int | None) -> None:
    """Make the key NAME and print it, this once."""
    body: dict[str, Any] = {"name": name, "scopes": list(dict.fromkeys(scopes)) or ["read"]}
    if days is not None:
        body["expires"] = iso(time() + 86400 * days)
    made = session.call("POST", "/v1/apikeys", body=body)
    port = session.config.panel.port or 2580
    session.say(
        made,
        f"The key {made['name']} was made, with the scopes {', '.join(made['scopes'])}.",
        f"Key: {made['key']}",
        "",
        "It is not shown again. Next:",
        f"  curl -H 'Authorization: Bearer KEY' http://localhost:{port}/api/v1/status",
    )


@apikey.command("list")
@pass_session
def list_(session: Session) -> None:
    """List the keys, without their secret parts."""
    answer = session.call("GET", "/v1/apikeys")
    now = iso(time())
    rows = [
        (one["name"], one["prefix"], _state(one, now), " ".join(one["scopes"]), output.moment(one["last_used"])) for one in answer["keys"]
    ]
    empty = ["There are no API keys. Next: mailxctl apikey add NAME"]
    session.say(answer, *(output.table(("NAME", "BEGINS", "STATE", "SCOPES", "LAST USED"), rows) if rows else empty))


def _state(key: Any, now: str) -> str:
    if key["revoked"]:
        return "revoked"
    if key["expires"] and key["expires"] <= now:
        return "expired"
    return f"until {key['expires'][:10]}" if key["expires"] else "good"


@apikey.command()
@click.argument("name")
@pass_session
def revoke(session: Session, name: str) -> None:
    """Make the key NAME good for nothing, at once and for ever."""
    changed = session.call("POST", path(name, "revoke"))
    session.say(changed, f"The key {changed['name']} is good for nothing any more.")


@apikey.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_session
def delete(session: Session, name: str, yes: bool) -> None:
    """Revoke the key NAME and forget it."""
    one = session.call("GET", path(name))
    if not yes:
        session.confirm(f"Delete the key {one['name']}? What uses it will be refused", "nothing was deleted")
    session.call("DELETE", path(name))
    session.say({"deleted": one["name"]}, f"The key {one['name']} was deleted.")
