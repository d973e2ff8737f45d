"""``mailxctl alias``: further names of accounts, and names whose mail goes on to other servers."""

from typing import Any
from urllib.parse import quote

import click

from mailx.ctl import output
from mailx.ctl.session import Group, Session, pass_session


@click.group(cls=Group)
def alias() -> None:
    """Aliases: add, change, list, delete. `*@DOMAIN` catches what no other name of the domain takes."""


@alias.command()
@click.argument("name")
@click.argument("targets", nargs=-1, required=True)
@pass_session
def add(session: Session, name: str, targets: tuple[str, ...]) -> None:
    """Make the address NAME reach TARGETS: accounts, and addresses on other servers, to which its mail is passed on."""
    _say(session, session.call("POST", "/v1/aliases", body={"alias": name, "targets": list(targets)}))


@alias.command()
@click.argument("name")
@click.argument("targets", nargs=-1, required=True)
@pass_session
def change(session: Session, name: str, targets: tuple[str, ...]) -> None:
    """Make the alias NAME reach TARGETS, and nothing else that it reached before."""
    _say(session, session.call("PATCH", f"/v1/aliases/{quote(name, safe='@')}", body={"targets": list(targets)}))


def _say(session: Session, made: Any) -> None:
    """What the alias does now."""
    forwards = made["forwards"]
    accounts = [target for target in made["targets"] if target not in forwards]
    said = [f"{made['alias']} reaches {', '.join(accounts)}, who may also send as it."] if accounts else []
    if forwards:
        said.append(f"{made['alias']} passes its mail on to {', '.join(forwards)}.")
    session.say(made, *said)


@alias.command("list")
@click.option("--domain", help="Aliases of this domain only.")
@pass_session
def list_(session: Session, domain: str | None) -> None:
    """List the aliases."""
    answer = session.call("GET", "/v1/aliases", {"domain": domain})
    rows = [(one["alias"], ", ".join(_shown(target, one["forwards"]) for target in one["targets"])) for one in answer["aliases"]]
    session.say(answer, *(output.table(("ALIAS", "REACHES"), rows) if rows else ["There are no aliases."]))


@alias.command()
@click.argument("name")
@pass_session
def delete(session: Session, name: str) -> None:
    """Delete the alias NAME; its accounts and their mail stay."""
    session.call("DELETE", f"/v1/aliases/{quote(name, safe='@')}")
    session.say({"deleted": name}, f"{name} was deleted.")


def _shown(target: str, forwards: list[str]) -> str:
    """A target, marked if it is on another server."""
    return f"{target} (elsewhere)" if target in forwards else target
