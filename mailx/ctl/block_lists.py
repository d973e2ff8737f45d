"""``mailxctl blocklist``: whom nobody on this server takes mail from, and lists of such that others share."""

from typing import Any
from urllib.parse import quote

import click

from mailx.ctl import output
from mailx.ctl.session import Group, Session, pass_session

_PATH, _SHARED = "/v1/blocklist", "/v1/shared-lists"


def _is_url(text: str) -> bool:
    return "://" in text


@click.group(cls=Group)
def blocklist() -> None:
    """The server's block list and shared ones: add, list, preview, refresh, remove. A sender is an address, or `@DOMAIN`."""


@blocklist.command(short_help="Block a sender, or use a shared list.")
@click.argument("what", metavar="SENDER|URL")
@click.option("--key", default="", help="The key that the list is signed with: ed25519:...")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_session
def add(session: Session, what: str, key: str, yes: bool) -> None:
    """Refuse mail from SENDER to all accounts, or from all that the list at URL names, after showing what it holds."""
    if not _is_url(what):
        made = session.call("POST", _PATH, body={"sender": what})
        session.say(made, f"Nobody here gets mail from {made['sender']} any more.")
        return
    found = session.call("POST", f"{_SHARED}/preview", body={"url": what, "key": key})
    if not yes:
        click.echo("\n".join(_told(found)), err=True)
        session.confirm("Use this list?", "the list is not used")
    made = session.call("POST", _SHARED, body={"url": what, "key": key, "digest": found["digest"]})
    session.say(made, f"List {made['id']} with {made['entries']} entries is in use, and read again regularly.")


@blocklist.command()
@click.argument("url")
@click.option("--key", default="", help="The key that the list is signed with: ed25519:...")
@pass_session
def preview(session: Session, url: str, key: str) -> None:
    """Show what the list at URL holds; nothing is used of it."""
    found = session.call("POST", f"{_SHARED}/preview", body={"url": url, "key": key})
    session.say(found, *_told(found))


def _told(found: Any) -> list[str]:
    signed = f"It is signed, serial {found['serial']}." if found["key"] else "It is not signed; it came by TLS."
    lines = [f"{found['entries']} entries, {found['new']} of them new. {signed}"]
    if found["ours"]:
        lines.append(f"{found['ours']} name domains of this server, and are passed over.")
    if found["wrong"]:
        lines.append(f"{found['wrong']} lines name no sender, and are passed over.")
    more = found["entries"] - len(found["sample"])
    return [*lines, *(f"  {each}" for each in found["sample"]), *([f"  and {more} more"] if more else [])]


@blocklist.command("list")
@click.argument("id", required=False, type=click.IntRange(1), metavar="[LIST]")
@pass_session
def list_(session: Session, id: int | None) -> None:
    """List the server's blocks and the shared lists, or the first entries of the shared list LIST."""
    if id is not None:
        answer = session.call("GET", f"{_SHARED}/{id}")
        more = answer["list"]["entries"] - len(answer["senders"])
        session.say(answer, *answer["senders"], *([f"and {more} more"] if more > 0 else []))
        return
    answer = session.call("GET", _PATH)
    own = [(one["sender"], output.moment(one["created"])) for one in answer["blocks"]]
    lines = list(output.table(("SENDER", "SINCE"), own)) if own else ["The server blocks nobody by its own list."]
    rows = [
        (one["id"], one["url"] or "(does not open)", one["entries"], output.moment(one["changed"]), one["trouble"] or "in use")
        for one in answer["lists"]
    ]
    if rows:
        lines += ["", *output.table(("LIST", "URL", "ENTRIES", "TAKEN", "STATE"), rows)]
    session.say(answer, *lines)


@blocklist.command()
@click.argument("id", type=click.IntRange(1), metavar="LIST")
@click.option("--force", is_flag=True, help="Take it although it grew out of all proportion.")
@pass_session
def refresh(session: Session, id: int, force: bool) -> None:
    """Read the shared list LIST again now."""
    answer = session.call("POST", f"{_SHARED}/{id}/refresh", body={"force": force})
    taken = f"List {id} has {answer['entries']} entries."
    session.say(answer, f"List {id} stays as it was: {answer['trouble']}." if answer["trouble"] else taken)


@blocklist.command()
@click.argument("what", metavar="SENDER|LIST")
@pass_session
def remove(session: Session, what: str) -> None:
    """Let SENDER write again, or use the shared list LIST (its number) no more."""
    if what.isascii() and what.isdigit():
        answer = session.call("DELETE", f"{_SHARED}/{what}")
        session.say(answer, f"List {what} is not used any more.")
        return
    answer = session.call("DELETE", f"{_PATH}/{quote(what, safe='@')}")
    session.say(answer, f"{what} may write to the accounts of this server again.")
