"""``mailxctl suppression``: addresses that calls of the webhook may not send to."""

from urllib.parse import quote

import click

from mailx.ctl import output
from mailx.ctl.session import Group, Session, pass_session

_PATH = "/v1/suppressions"


@click.group(cls=Group, short_help="Addresses that calls may not send to.")
def suppression() -> None:
    """Addresses that calls of the webhook may not send to, for they bounced for good: list, add, remove."""


@suppression.command("list")
@click.option("--address", metavar="ADDRESS", help="Only this address.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="Addresses to list, the latest.")
@pass_session
def list_(session: Session, address: str | None, limit: int) -> None:
    """List the addresses, the latest first."""
    answer = session.call("GET", _PATH, {"limit": limit, **({"address": address} if address else {})})
    rows = [(one["address"], one["reason"] or "by hand", output.moment(one["since"]), one["said"]) for one in answer["entries"]]
    if rows:
        lines = list(output.table(("ADDRESS", "REASON", "SINCE", "WHAT WAS SAID"), rows))
        if answer["next"] is not None:
            lines.append(f"{answer['total']} in all; --limit shows more.")
    else:
        lines = [f"{address} is not on the list." if address else "Nothing is suppressed."]
    session.say(answer, *lines)


@suppression.command()
@click.argument("address")
@click.option("--note", default="", help="Why, for whoever looks at the list later.")
@pass_session
def add(session: Session, address: str, note: str) -> None:
    """Let calls send nothing to ADDRESS from now on."""
    made = session.call("POST", _PATH, body={"address": address, **({"note": note} if note else {})})
    session.say(made, f"Calls send nothing to {made['address']} from now on.")


@suppression.command()
@click.argument("address")
@pass_session
def remove(session: Session, address: str) -> None:
    """Let calls send to ADDRESS again."""
    answer = session.call("DELETE", f"{_PATH}/{quote(address, safe='@')}")
    session.say(answer, f"Calls may send to {address} again.")
