"""``mailxctl user app-password`` and ``mailxctl user recovery-code``: what else logs in, and what opens a sealed account."""

from urllib.parse import quote

import click

from mailx.ctl import output
from mailx.ctl.passwords import given_password
from mailx.ctl.session import Command, Group, Session, pass_session


def path(address: str, *more: str) -> str:
    """The resource of an account's app passwords."""
    return "/".join(("/v1/app-passwords", quote(address, safe="@"), *[quote(each, safe="") for each in more]))


@click.group("app-password", cls=Group)
def app_password() -> None:
    """Further passwords of an account, one for each mail program."""


@app_password.command()
@click.argument("address")
@click.argument("name")
@click.option("--password-file", metavar="FILE", help="Of a sealed account: read its password from the first line of FILE.")
@click.option("--password-stdin", is_flag=True, help="Of a sealed account: read its password from the first line of standard input.")
@pass_session
def add(session: Session, address: str, name: str, password_file: str | None, password_stdin: bool) -> None:
    """Make an app password for the program NAME of ADDRESS, and print it, this once."""
    body = {"name": name}
    if session.call("GET", f"/v1/users/{quote(address, safe='@')}")["sealed"] == "server":
        body["password"] = given_password(session, password_file, password_stdin, f"Password of {address}")
    made = session.call("POST", path(address), body=body)
    session.say(
        made,
        f"{address} has an app password for {made['name']}. Log in with {address} and",
        f"Password: {made['app_password']}",
        "",
        "It is not shown again. Undo it with:",
        f"  mailxctl user app-password revoke {address} {_argument(made['name'])}",
    )


@app_password.command("list")
@click.argument("address")
@pass_session
def list_(session: Session, address: str) -> None:
    """List the app passwords of ADDRESS, without the passwords."""
    answer = session.call("GET", path(address))
    rows = [(one["name"], output.moment(one["created"]), output.moment(one["last_used"])) for one in answer["app_passwords"]]
    empty = [f"{address} has no app passwords. Next: mailxctl user app-password add {address} NAME"]
    session.say(answer, *(output.table(("NAME", "MADE", "LAST USED"), rows) if rows else empty))


@app_password.command()
@click.argument("address")
@click.argument("name")
@pass_session
def revoke(session: Session, address: str, name: str) -> None:
    """Make the app password NAME of ADDRESS good for nothing, at once. Sessions of the account end."""
    session.call("DELETE", path(address, name))
    session.say(
        {"revoked": name}, f"The app password {name} of {address} is good for nothing any more. Sessions that were open have ended."
    )


@click.command("recovery-code", cls=Command)
@click.argument("address")
@click.option("--password-file", metavar="FILE", help="Read the account's password from the first line of FILE.")
@click.option("--password-stdin", is_flag=True, help="Read the account's password from the first line of standard input.")
@pass_session
def recovery_code(session: Session, address: str, password_file: str | None, password_stdin: bool) -> None:
    """Give the sealed account ADDRESS a new recovery code, and print it, this once. The old one is good for nothing then."""
    session.call("GET", f"/v1/users/{quote(address, safe='@')}")  # a wrong address is told before a password is asked for
    password = given_password(session, password_file, password_stdin, f"Password of {address}")
    made = session.call("POST", f"/v1/recovery-codes/{quote(address, safe='@')}", body={"password": password})
    session.say(
        made,
        f"Recovery code of {address}: {made['recovery_code']}",
        "Give it to the owner now: with it the password can be changed when it is forgotten. It is not shown again.",
    )


@click.command("renew-keys", cls=Command)
@click.argument("address")
@click.option("--password-file", metavar="FILE", help="Read the account's password from the first line of FILE.")
@click.option("--password-stdin", is_flag=True, help="Read the account's password from the first line of standard input.")
@pass_session
def renew_keys(session: Session, address: str, password_file: str | None, password_stdin: bool) -> None:
    """Give the sealed account ADDRESS other keys to seal to and to sign with. Its mail stays as it is."""
    session.call("GET", f"/v1/users/{quote(address, safe='@')}")
    password = given_password(session, password_file, password_stdin, f"Password of {address}")
    session.call("POST", f"/v1/user-keys/{quote(address, safe='@')}/renew", body={"password": password})
    session.say(
        {"renewed": address}, f"{address} has new keys, which others learn of by themselves. Look at them: mailxctl key show {address}"
    )


def _argument(name: str) -> str:
    return f"'{name}'" if " " in name else name
