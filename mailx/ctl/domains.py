"""``mailxctl domain``: the domains whose mail ends here."""

from urllib.parse import quote

import click

from mailx.ctl import output
from mailx.ctl.keys import recovery_lines
from mailx.ctl.session import Group, Session, pass_session


@click.group(cls=Group)
def domain() -> None:
    """Local domains: add, list, delete."""


@domain.command()
@click.argument("name")
@pass_session
def add(session: Session, name: str) -> None:
    """Accept mail for the domain NAME."""
    made = session.call("POST", "/v1/domains", body={"name": name})
    session.say(made, f"{made['name']} was added.", *recovery_lines(made), "", f"Next: mailxctl user add NAME@{made['name']}")


@domain.command("list")
@pass_session
def list_(session: Session) -> None:
    """List the domains."""
    answer = session.call("GET", "/v1/domains")
    rows = [(one["name"], one["accounts"], one["aliases"], output.moment(one["created"])) for one in answer["domains"]]
    empty = ["There are no domains. Next: mailxctl domain add NAME"]
    session.say(answer, *(output.table(("DOMAIN", "ACCOUNTS", "ALIASES", "CREATED"), rows) if rows else empty))


@domain.command()
@click.argument("name")
@pass_session
def delete(session: Session, name: str) -> None:
    """Delete the domain NAME, which must have no accounts and no aliases."""
    session.call("DELETE", f"/v1/domains/{quote(name, safe='')}")
    session.say({"deleted": name}, f"{name} was deleted.")
