"""``mailxctl config``: the configuration file, and the settings that change while the server runs. Works without a server.

What is changed here is kept in the database, like what the control panel changes. Secrets are asked for, or read from
standard input: an argument could be seen by all users of the machine.
"""

import json
import sys
import tomllib
from collections.abc import Iterator, Sequence
from typing import Any

import click
from attrs import Attribute, fields

from mailx import config_file, config_reference
from mailx.config import sections
from mailx.config_value import from_text
from mailx.core.dangers import dangers
from mailx.ctl import output
from mailx.ctl.session import Group, Session, pass_session


@click.group(cls=Group)
def config() -> None:
    """The configuration: show, check, reference; and what changes while the server runs: list, set, unset, reload."""


@config.command()
@click.argument("key", required=False)
@click.option("--running", is_flag=True, help="What the running server uses, as JSON, instead of what the file says.")
@pass_session
def show(session: Session, key: str | None, running: bool) -> None:
    """Show the configuration in force, or one KEY such as smtp.port. Secrets are left out."""
    if running:
        values = session.call("GET", "/v1/config")
        text = json.dumps(values, indent=2, ensure_ascii=False)
    else:
        text = config_reference.toml(session.config)
        values = tomllib.loads(text)
    if key is None:
        session.say(values, text.rstrip("\n"))
        return
    section, _, name = key.partition(".")
    if section not in values or (name and name not in values[section]):
        raise session.failed("not_found", f"there is no setting {key}", "`mailxctl config reference` lists them all.")
    value = values[section][name] if name else values[section]
    session.say(value, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


@config.command()
@pass_session
def check(session: Session) -> None:
    """Check the configuration; lists all that is wrong with it, and what is unsafe."""
    path = config_file.find(session.config_option)
    found = [str(danger) for danger in dangers(session.config)]  # reading it is the check
    where = str(path) if path else "no file: the defaults and the environment"
    answer = {"valid": True, "file": str(path) if path else None, "unsafe": found}
    session.say(answer, f"The configuration is good ({where}).", *(f"UNSAFE: {danger}" for danger in found))


@config.command()
@pass_session
def reference(session: Session) -> None:
    """Print every setting with its default and what it means, as a configuration file."""
    text = config_reference.toml()
    session.say({"reference": text}, text.rstrip("\n"))


@config.command("list")
@click.option("--all", "everything", is_flag=True, help="Also those that are as by default.")
@pass_session
def list_(session: Session, everything: bool) -> None:
    """List the settings that may be changed while the server runs: their values, and where those come from."""
    found = [one for one in session.call("GET", "/v1/settings")["settings"] if everything or one["origin"] != "default"]
    rows = [(one["key"], _value(one), one["fixed_by"] or one["origin"]) for one in found]
    lines = list(output.table(("KEY", "VALUE", "FROM"), rows)) if rows else ["All are as by default; --all shows them."]
    dangers = [f"UNSAFE: {one['key']}: {one['unsafe']}" for one in found if one["unsafe"]]
    session.say({"settings": found}, *lines, *dangers)


def _value(one: Any) -> str:
    if one["secret"]:
        return "(set)" if one["set"] else "(not set)"
    text = config_reference.literal(tuple(one["value"]) if isinstance(one["value"], list) else one["value"])
    return text if len(text) <= 60 else f"{text[:57]}..."


@config.command("set", short_help="Change settings, at once.")
@click.argument("values", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--secret", "secrets", multiple=True, metavar="KEY", help="A secret: asked for, or read from standard input.")
@pass_session
def set_(session: Session, values: Sequence[str], secrets: Sequence[str]) -> None:
    """Change settings: smarthost.host=smtp.example.org webhook.skew=60. All of them hold at once, or none.

    A list has commas between its values. What the file or the environment sets is not changed here.
    """
    changes = {key: value for key, value in _given(session, values)}
    for key in secrets:
        changes[key] = _secret(session, key)
    if not changes:
        raise click.UsageError("Give KEY=VALUE, or --secret KEY.")
    _change(session, changes, "holds from now on")


@config.command()
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
@pass_session
def unset(session: Session, keys: Sequence[str]) -> None:
    """Take back what was set here: then the default holds again."""
    _change(session, dict.fromkeys(keys), "is as by default again")


@config.command()
@pass_session
def reload(session: Session) -> None:
    """Let the running server read the configuration file, the environment and the certificates again."""
    answer = session.call("POST", "/v1/settings/reload")
    if not session.served:
        raise session.failed("no_server", "no server is running", "It reads its configuration when it starts.")
    lines = [f"{key} has changed." for key in answer["changed"]] or ["Nothing has changed that holds without a restart."]
    lines += [f"{key} has changed: restart the server for it to hold." for key in answer["restart"]]
    lines += [f"NOT APPLIED: {problem}" for problem in answer["failed"]]
    session.say(answer, "The configuration was read again.", *lines)


def _given(session: Session, values: Sequence[str]) -> Iterator[tuple[str, Any]]:
    for value in values:
        key, sign, text = value.partition("=")
        if not sign:
            raise click.UsageError(f"{key} has no value: write {key}=VALUE.")
        attribute = _attribute(session, key)
        if attribute.metadata["secret"]:
            remedy = f"Give --secret {key}: it is asked for, or read from standard input."
            raise session.failed("invalid", f"{key} is a secret, and others could see it on the command line", remedy)
        yield key, from_text(attribute, text)


def _secret(session: Session, key: str) -> str:
    if not _attribute(session, key).metadata["secret"]:
        raise session.failed("invalid", f"{key} is no secret", f"Give {key}=VALUE.")
    if sys.stdin.isatty():
        return str(click.prompt(key, hide_input=True, err=True))
    line = sys.stdin.readline().rstrip("\r\n")
    if not line:
        raise session.failed("no_password", f"standard input had no line for {key}", "Give each secret on a line of its own.")
    return line


def _attribute(session: Session, key: str) -> "Attribute[Any]":
    section, _, name = key.partition(".")
    kind = sections().get(section)
    found: Attribute[Any] | None = next((one for one in fields(kind) if one.name == name), None) if kind is not None else None
    if found is None:
        raise session.failed("not_found", f"there is no setting {key}", "`mailxctl config list --all` lists those that may be changed.")
    return found


def _change(session: Session, changes: dict[str, Any], what: str) -> None:
    known = {one["key"] for one in session.call("GET", "/v1/settings")["settings"]}
    for key in changes:
        _attribute(session, key)
        if key not in known:
            remedy = "Set it in the configuration file and restart the server."
            raise session.failed("invalid", f"{key} cannot be changed while the server runs", remedy)
    answer = session.call("PATCH", "/v1/settings", body=changes)
    lines = [f"{key} {what}." for key in changes]
    session.say(answer, *lines, *[f"UNSAFE: {one['key']}: {one['unsafe']}" for one in answer["settings"] if one["unsafe"]])
