"""``mailxctl user``: accounts."""

from typing import Any
from urllib.parse import quote

import click

from mailx.core.client_ports import client_ports
from mailx.core.users import ROLES
from mailx.ctl import output
from mailx.ctl.passwords import given_password, password_options, read_password
from mailx.ctl.session import Group, Session, pass_session
from mailx.mail import sizes

_SEALED = {
    "": "not sealed",
    "server": "sealed; the owner's login opens it",
    "client": "sealed; only the owner's own program opens it",
}


class Quota(click.ParamType[int | str]):
    """A quota as people write it: a size, ``unlimited`` or ``default``."""

    name = "QUOTA"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> int | str:
        """Octets, 0 for unlimited, ``default`` as itself."""
        if value == "default":
            return "default"
        if value == "unlimited":
            return 0
        try:
            octets = sizes.parse(value)
        except ValueError:
            self.fail(f"{value!r} is no quota: give a size such as 500MB or 5GB, `unlimited` or `default`", parameter, context)
        if not octets:
            self.fail("a quota of 0 would be unlimited: say `unlimited`, or disable the account", parameter, context)
        return octets


def path(address: str) -> str:
    """The resource of an account."""
    return f"/v1/users/{quote(address, safe='@')}"


@click.group(cls=Group)
def user() -> None:
    """Accounts: add, list, change, delete."""


@user.command()
@click.argument("address")
@password_options
@click.option("--role", type=click.Choice(ROLES), help="Role; default: user, but admin for the very first account.")
@click.option("--quota", type=Quota(), default="default", show_default=True, help="Size such as 5GB, `unlimited` or `default`.")
@pass_session
def add(
    session: Session, address: str, password_file: str | None, password_stdin: bool, generate: bool, role: str | None, quota: Any
) -> None:
    """Make the account ADDRESS with its default folders."""
    password, generated = read_password(session, password_file, password_stdin, generate)
    body = {"address": address, "password": password, "quota": None if quota == "default" else quota}
    if role:
        body["role"] = role
    made = session.call("POST", "/v1/users", body=body)
    lines = [f"{made['address']} was added: {made['role']}, quota {output.quota(made['quota'], made['quota_is_default'])}."]
    if generated:
        made["password"] = password
        lines.append(f"Password: {password}")
    session.say(made, *lines, "", *_next_steps(session, made["address"]))


def _next_steps(session: Session, address: str) -> list[str]:
    """How the owner of a new account gets at it."""
    config = session.config
    host = config.server.hostname
    rows = [f"  {name:<21} {host} port {port}" for name, port in client_ports(config)]
    names = f"mailxctl alias add NAME@DOMAIN {address}"
    if not rows:
        return [f"Next: turn a protocol on in the configuration, or give it more names: {names}"]
    return [f"Next: set up a mail client with user name {address} and", *rows, f"or give it more names: {names}"]


@user.command("list")
@click.option("--domain", help="Accounts of this domain only.")
@pass_session
def list_(session: Session, domain: str | None) -> None:
    """List the accounts."""
    found: list[Any] = []
    after: int | None = 0
    while after is not None:
        page = session.call("GET", "/v1/users", {"domain": domain, "after": after})
        found += page["users"]
        after = page["next"]
    rows = [
        (
            one["address"],
            one["role"],
            one["state"],
            output.size(one["used"]),
            output.quota(one["quota"], one["quota_is_default"]),
            output.moment(one["last_login"]),
        )
        for one in sorted(found, key=lambda one: one["address"].rpartition("@")[::-1])
    ]
    empty = ["There are no accounts. Next: mailxctl user add NAME@DOMAIN"]
    session.say({"users": found}, *(output.table(("ADDRESS", "ROLE", "STATE", "USED", "QUOTA", "LAST LOGIN"), rows) if rows else empty))


@user.command()
@click.argument("address")
@pass_session
def show(session: Session, address: str) -> None:
    """Show the account ADDRESS."""
    one = session.call("GET", path(address))
    percent = f", {one['used'] * 100 // one['quota']} %" if one["quota"] else ""
    session.say(
        one,
        f"Address:     {one['address']}",
        f"Role:        {one['role']}",
        f"State:       {one['state']}",
        f"Used:        {output.size(one['used'])}{percent}",
        f"Quota:       {output.quota(one['quota'], one['quota_is_default'])}",
        f"Aliases:     {', '.join(one['aliases']) or 'none'}",
        f"Mail:        {_SEALED[one['sealed']]}",
        f"Last login:  {output.moment(one['last_login'])}",
        f"Created:     {output.moment(one['created'])}",
        *_more(one),
    )


def _more(one: Any) -> list[str]:
    """What is told of an account only where there is something to tell."""
    lines = []
    if one["retention_days"] is not None:
        lines.append(f"Retention:   {retention_text(one['retention_days'])}")
    if one["warned_percent"]:
        lines.append(f"Warned:      the owner was told that {one['warned_percent']} % of the quota are used")
    if one["deleted"] is not None:
        lines.append(f"Deleted:     {output.moment(one['deleted'])}; have it back with: mailxctl user restore {one['address']}")
    return lines


def retention_text(days: int | None) -> str:
    """A retention for people."""
    if days is None:
        return "as the server has it"
    return f"{days} day{'s' * (days != 1)}" if days else "mail stays for good"


@user.command()
@click.argument("address")
@password_options
@click.option("--old-password-file", metavar="FILE", help="Of a sealed account: read the old password from the first line of FILE.")
@click.option("--recovery-code-file", metavar="FILE", help="Of a sealed account: read its recovery code from the first line of FILE.")
@click.option("--lose-sealed-mail", is_flag=True, help="Of a sealed account: change it without either. Its mail is lost for good.")
@click.option("--yes", is_flag=True, help="Do not ask before mail is lost.")
@pass_session
def password(
    session: Session,
    address: str,
    password_file: str | None,
    password_stdin: bool,
    generate: bool,
    old_password_file: str | None,
    recovery_code_file: str | None,
    lose_sealed_mail: bool,
    yes: bool,
) -> None:
    """Give the account ADDRESS a new password. A sealed one needs the old password or the recovery code."""
    one = session.call("GET", path(address))  # a wrong address is told before a password is asked for
    body: dict[str, Any] = {}
    if one["sealed"] == "server":
        body = _proof(session, one["address"], old_password_file, recovery_code_file, lose_sealed_mail)
        if lose_sealed_mail and not yes:
            session.confirm(f"Give up all mail of {one['address']}? It cannot be undone", "nothing was changed")
    new, generated = read_password(session, password_file, password_stdin, generate)
    changed = session.call("PATCH", path(address), body={"password": new, **body})
    lines = [f"The password of {changed['address']} was changed. Sessions that were open have ended."]
    if changed.get("recovery_code"):
        lines += [
            f"Its mail was given up. New recovery code: {changed['recovery_code']}",
            "Give it to the owner now; it is not shown again.",
        ]
    if generated:
        changed["password"] = new
        lines.append(f"Password: {new}")
    session.say(changed, *lines)


def _proof(session: Session, address: str, old: str | None, recovery: str | None, lose: bool) -> dict[str, Any]:
    """What lets the password of a sealed account be changed."""
    if (old is not None) + (recovery is not None) + lose > 1:
        raise click.UsageError("Give one of --old-password-file, --recovery-code-file and --lose-sealed-mail.")
    if lose:
        return {"lose_sealed_mail": True}
    if recovery is not None:
        return {"recovery_code": given_password(session, recovery, False, "")}
    return {"old_password": given_password(session, old, False, f"Old password of {address}")}


@user.command()
@click.argument("address")
@click.argument("quota", type=Quota())
@pass_session
def quota(session: Session, address: str, quota: Any) -> None:
    """Set the quota of ADDRESS: a size such as 5GB, `unlimited` or `default`."""
    changed = session.call("PATCH", path(address), body={"quota": None if quota == "default" else quota})
    lines = [f"The quota of {changed['address']} is {output.quota(changed['quota'], changed['quota_is_default'])}."]
    if changed["quota"] and changed["used"] > changed["quota"]:
        lines.append(f"It uses {output.size(changed['used'])} already: new mail is refused until the owner deletes some.")
    session.say(changed, *lines)


@user.command()
@click.argument("address")
@click.argument("role", type=click.Choice(ROLES))
@pass_session
def role(session: Session, address: str, role: str) -> None:
    """Set the role of ADDRESS."""
    changed = session.call("PATCH", path(address), body={"role": role})
    session.say(changed, f"{changed['address']} is {role} now.")


@user.command()
@click.argument("address")
@pass_session
def enable(session: Session, address: str) -> None:
    """Let ADDRESS log in and receive again."""
    changed = session.call("PATCH", path(address), body={"state": "active"})
    session.say(changed, f"{changed['address']} is active.")


@user.command()
@click.argument("address")
@pass_session
def disable(session: Session, address: str) -> None:
    """Suspend ADDRESS: no login, no delivery; its mail stays."""
    changed = session.call("PATCH", path(address), body={"state": "suspended"})
    session.say(changed, f"{changed['address']} is suspended. Undo it with: mailxctl user enable {changed['address']}")
