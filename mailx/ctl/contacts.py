"""``mailxctl contact``: whom an account knows, and whose first mail it wants to be asked about."""

from urllib.parse import quote

import click

from mailx.core.contacts import ACCEPTED, BLOCKED, MODES, REQUESTED
from mailx.ctl import output
from mailx.ctl.session import Group, Session, pass_session

_MEANINGS = {
    "federation": "the first message of strangers over federation",
    "all": "the first message of every stranger",
    "none": "nothing",
}


def _path(user: str, *more: str) -> str:
    return "/".join(("/v1/contacts", *(quote(each, safe="@") for each in (user, *more))))


def _settings(user: str) -> str:
    return f"/v1/contact-settings/{quote(user, safe='@')}"


@click.group(cls=Group)
def contact() -> None:
    """Contacts of accounts: list, accept, block, remove, settings."""


@contact.command("list")
@click.argument("user")
@click.option("--trust", type=click.Choice((REQUESTED, ACCEPTED, BLOCKED)), help="Only these.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="Contacts to list, the latest.")
@pass_session
def list_(session: Session, user: str, trust: str | None, limit: int) -> None:
    """List whom the account USER knows."""
    wanted = [trust] if trust else [REQUESTED, ACCEPTED, BLOCKED]
    answers = [session.call("GET", _path(user), {"trust": each, "limit": limit}) for each in wanted]
    found = [one for answer in answers for one in answer["contacts"]]
    rows = [(one["address"] or "(does not open)", _state(one), output.moment(one["since"])) for one in found]
    lines = (
        list(output.table(("ADDRESS", "TRUST", "SINCE"), rows)) if rows else [f"{user} knows nobody{f' who is {trust}' if trust else ''}."]
    )
    if any(answer["next"] is not None for answer in answers):
        counts = answers[0]["counts"]
        lines.append(f"{', '.join(f'{counts[each]} {each}' for each in wanted)} in all; --limit shows more.")
    session.say({"contacts": found, "counts": answers[0]["counts"]}, *lines)


def _state(one: dict[str, object]) -> str:
    return f"{one['trust']}{', takes no mail from here' if one['refuses'] else ''}"


@contact.command()
@click.argument("user")
@click.argument("address")
@pass_session
def accept(session: Session, user: str, address: str) -> None:
    """Deliver mail from ADDRESS to the INBOX of the account USER."""
    made = session.call("POST", _path(user), body={"address": address, "trust": ACCEPTED})
    session.say(made, f"Mail from {made['address']} goes to the INBOX of {user} from now on.")


@contact.command()
@click.argument("user")
@click.argument("sender")
@pass_session
def block(session: Session, user: str, sender: str) -> None:
    """Refuse mail to the account USER from SENDER, an address or `@DOMAIN`."""
    made = session.call("POST", _path(user), body={"address": sender, "trust": BLOCKED})
    session.say(made, f"{user} gets no more mail from {made['address']}.")


@contact.command()
@click.argument("user")
@click.argument("sender")
@pass_session
def remove(session: Session, user: str, sender: str) -> None:
    """Forget SENDER: neither accepted nor blocked by the account USER."""
    answer = session.call("DELETE", _path(user, sender))
    session.say(answer, f"{user} knows nothing of {sender} any more.")


@contact.command()
@click.argument("user")
@click.option("--requests", type=click.Choice(("default", *MODES)), help="Whose first message goes to the folder Requests.")
@click.option("--notices", type=click.Choice(("on", "off")), help="Tell the MailX servers of those whom the account blocks.")
@pass_session
def settings(session: Session, user: str, requests: str | None, notices: str | None) -> None:
    """Show or change what the account USER wants of first contact."""
    changes: dict[str, object] = {}
    if requests is not None:
        changes["requests"] = requests
    if notices is not None:
        changes["notices"] = notices == "on"
    answer = session.call("PATCH", _settings(user), body=changes) if changes else session.call("GET", _settings(user))
    meaning = _MEANINGS.get(answer["requests"], "what `contacts.requests` says")
    told = "are told" if answer["notices"] else "are not told"
    session.say(answer, f"To Requests goes {meaning}. MailX servers {told} whom {user} blocks.")
