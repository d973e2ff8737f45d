"""``mailxctl config``: the configuration file. Works without a server."""

import json
import tomllib

import click

from mailx import config_file, config_reference
from mailx.core.dangers import dangers
from mailx.ctl.session import Group, Session, pass_session


@click.group(cls=Group)
def config() -> None:
    """The configuration: show, check, reference."""


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
