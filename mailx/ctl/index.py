"""``mailxctl index``: the search index of the running server."""

import sys
import time
from typing import Any

import click

from mailx.ctl import output
from mailx.ctl.session import Group, Session, pass_session

_PAUSE = 0.5  # seconds between two looks


@click.group(cls=Group)
def index() -> None:
    """The search index: status, rebuild. It needs a running server."""


@index.command()
@click.option("--wait", is_flag=True, help="Follow, with progress, until it is up to date.")
@pass_session
def status(session: Session, wait: bool) -> None:
    """Show how far the index has come, and how large it is."""
    answer = _caught_up(session) if wait else session.call("GET", "/v1/index")
    behind = f"{answer['behind']} messages behind, for {answer['seconds']} s" if answer["behind"] else "up to date"
    text = f"The search index is {behind}: {answer['documents']} messages in {output.size(answer['octets'])}."
    if answer["waiting"]:
        text += f"\n{answer['waiting']} messages of sealed accounts wait until their owners log in."
    session.say(answer, text)


@index.command()
@click.option("--wait", is_flag=True, help="Follow, with progress, until it is built.")
@pass_session
def rebuild(session: Session, wait: bool) -> None:
    """Build the index anew; searches stay right meanwhile, but take longer."""
    answer = session.call("POST", "/v1/index/rebuild")
    if wait:
        answer = _caught_up(session)
        session.say(answer, f"The search index is built anew: {answer['documents']} messages in {output.size(answer['octets'])}.")
        return
    session.say(answer, "The search index is being built anew. `mailxctl index status --wait` shows how far it is.")


def _caught_up(session: Session) -> Any:
    """The status of an index that is up to date; shows on the way how far it is."""
    answer = session.call("GET", "/v1/index")
    most = answer["behind"]
    with click.progressbar(length=max(most, 1), label="Indexing", file=sys.stderr) as bar:
        while answer["behind"]:
            time.sleep(_PAUSE)
            answer = session.call("GET", "/v1/index")
            if answer["behind"] > most:  # a rebuilding has begun, or more mail came
                most = bar.length = answer["behind"]
            bar.update(most - answer["behind"] - bar.pos)
        bar.update(max(most, 1) - bar.pos)
    return answer
