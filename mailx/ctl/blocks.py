"""``mailxctl block``: senders that an account wants no mail from."""

from urllib.parse import quote

import click

from mailx.ctl import output
from mailx.ctl.session import Group, Session, pass_session


def path(user: str) -> str:
    """The resource of an account's block list."""
    return f"/v1/blocks/{quote(user, safe='@')}"


@click.group(cls=Group)
def block() -> None:
    """Block lists: add, list, delete. A sender is an address, or `@DOMAIN` for all of a domain."""


@block.command()
@click.argument("user")
@click.argument("sender")
@pass_session
def add(session: Session, user: str, sender: str) -> None:
    """Refuse mail to the account USER from SENDER."""
    made = session.call("POST", path(user), body={"sender": sender})
    session.say(made, f"{user} gets no more mail from {made['sender']}.")


@block.command("list")
@click.argument("user")
@pass_session
def list_(session: Session, user: str) -> None:
    """List whom the account USER blocks."""
    answer = session.call("GET", path(user))
    rows = [(one["sender"], output.moment(one["created"])) for one in answer["blocks"]]
    session.say(answer, *(output.table(("SENDER", "SINCE"), rows) if rows else [f"{user} blocks nobody."]))


@block.command()
@click.argument("user")
@click.argument("sender")
@pass_session
def delete(session: Session, user: str, sender: str) -> None:
    """Let SENDER write to the account USER again."""
    session.call("DELETE", f"{path(user)}/{quote(sender, safe='@')}")
    session.say({"deleted": sender}, f"{user} gets mail from {sender} again.")
