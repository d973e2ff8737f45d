"""``mailxctl admin``: administrators of the control panel."""

from urllib.parse import quote

import click

from mailx.ctl import output
from mailx.ctl.passwords import password_options, read_password
from mailx.ctl.session import Group, Session, pass_session


def path(name: str, *more: str) -> str:
    """The resource of an administrator."""
    return "/".join(("/v1/admins", quote(name, safe=""), *more))


@click.group(cls=Group)
def admin() -> None:
    """Administrators of the control panel: add, list, change, remove."""


@admin.command()
@click.argument("name")
@password_options
@pass_session
def add(session: Session, name: str, password_file: str | None, password_stdin: bool, generate: bool) -> None:
    """Make the administrator NAME, who is apart from mail accounts."""
    password, generated = read_password(session, password_file, password_stdin, generate)
    made = session.call("POST", "/v1/admins", body={"name": name, "password": password})
    lines = [f"{made['name']} is an administrator now."]
    if generated:
        made["password"] = password
        lines.append(f"Password: {password}")
    session.say(made, *lines, "", "Next: log in to the control panel and set up a second factor under My account.")


@admin.command()
@click.argument("name")
@password_options
@pass_session
def password(session: Session, name: str, password_file: str | None, password_stdin: bool, generate: bool) -> None:
    """Give the administrator NAME another password."""
    text, generated = read_password(session, password_file, password_stdin, generate)
    changed = session.call("PATCH", path(name), body={"password": text})
    lines = [f"The password of {changed['name']} was changed. Sessions that were open have ended."]
    if generated:
        changed["password"] = text
        lines.append(f"Password: {text}")
    session.say(changed, *lines)


@admin.command("list")
@pass_session
def list_(session: Session) -> None:
    """List the administrators."""
    answer = session.call("GET", "/v1/admins")
    rows = [
        (
            one["name"],
            "enabled" if one["enabled"] else "disabled",
            f"on, {one['recovery_codes']} codes left" if one["second_factor"] else "off",
            output.moment(one["last_login"]),
        )
        for one in answer["admins"]
    ]
    empty = ["There are no administrators. Next: mailxctl admin add NAME"]
    session.say(answer, *(output.table(("NAME", "STATE", "SECOND FACTOR", "LAST LOGIN"), rows) if rows else empty))


@admin.command()
@click.argument("name")
@pass_session
def enable(session: Session, name: str) -> None:
    """Let the administrator NAME log in again."""
    changed = session.call("PATCH", path(name), body={"enabled": True})
    session.say(changed, f"{changed['name']} may log in.")


@admin.command()
@click.argument("name")
@pass_session
def disable(session: Session, name: str) -> None:
    """Let the administrator NAME log in no more; open sessions end."""
    changed = session.call("PATCH", path(name), body={"enabled": False})
    session.say(changed, f"{changed['name']} may not log in. Undo it with: mailxctl admin enable {changed['name']}")


@admin.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_session
def remove(session: Session, name: str, yes: bool) -> None:
    """Remove the administrator NAME. The last one who may log in stays."""
    one = session.call("GET", path(name))
    if not yes:
        session.confirm(f"Remove the administrator {one['name']}? This cannot be undone", "nobody was removed")
    session.call("DELETE", path(name))
    session.say({"removed": one["name"]}, f"{one['name']} was removed.")


@admin.command("totp-reset", short_help="Take the second factor of NAME away.")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_session
def totp_reset(session: Session, name: str, yes: bool) -> None:
    """Take the second factor of NAME away: the password alone logs in until another is set up."""
    one = session.call("GET", path(name))
    if not yes:
        session.confirm(f"Let {one['name']} log in with the password alone?", "nothing was changed")
    session.call("POST", path(name, "totp-reset"))
    session.say({"reset": one["name"]}, f"{one['name']} logs in with the password alone. Sessions that were open have ended.")
