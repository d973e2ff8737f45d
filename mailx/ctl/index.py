"""``mailxctl index``: the search index of the running server."""

import click

from mailx.ctl import output
from mailx.ctl.session import Group, Session, pass_session


@click.group(cls=Group)
def index() -> None:
    """The search index: status, rebuild. It needs a running server."""


@index.command()
@pass_session
def status(session: Session) -> None:
    """Show how far the index has come, and how large it is."""
    answer = session.call("GET", "/v1/index")
    behind = f"{answer['behind']} messages behind, for {answer['seconds']} s" if answer["behind"] else "up to date"
    text = f"The search index is {behind}: {answer['documents']} messages in {output.size(answer['octets'])}."
    if answer["waiting"]:
        text += f"\n{answer['waiting']} messages of sealed accounts wait until their owners log in."
    session.say(answer, text)


@index.command()
@pass_session
def rebuild(session: Session) -> None:
    """Build the index anew; searches stay right meanwhile, but take longer."""
    answer = session.call("POST", "/v1/index/rebuild")
    session.say(answer, "The search index is being built anew. `mailxctl index status` tells how far it is.")
