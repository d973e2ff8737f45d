"""``mailxctl config``: the configuration file. Works without a server."""

import json
import tomllib
from collections.abc import Iterator

import click

from mailx import config_file, config_reference
from mailx.config import Config
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
    dangers = list(unsafe(session.config))  # reading it is the check
    where = str(path) if path else "no file: the defaults and the environment"
    answer = {"valid": True, "file": str(path) if path else None, "unsafe": dangers}
    session.say(answer, f"The configuration is good ({where}).", *(f"UNSAFE: {danger}" for danger in dangers))


def unsafe(config: Config) -> Iterator[str]:
    """What is allowed, but leaves mail or passwords open to others on the way."""
    outbound = config.outbound
    if outbound.tls == "off":
        yield "outbound.tls = off: all mail to the recipients' servers goes unencrypted."
    for place, relay in enumerate(outbound.relays):
        key = f"outbound.relays[{place}] ({relay.name})"
        if relay.security == "plain" and relay.username:
            yield f"{key}: the password goes unencrypted."
        elif relay.security == "plain":
            yield f"{key}: the mail goes unencrypted."
        elif not relay.verify:
            yield f"{key}: the certificate is not checked, so anybody on the way can read mail and password."
    if config.imap.plaintext_login:
        yield "imap.plaintext_login = true: passwords may be sent without TLS."


@config.command()
@pass_session
def reference(session: Session) -> None:
    """Print every setting with its default and what it means, as a configuration file."""
    text = config_reference.toml()
    session.say({"reference": text}, text.rstrip("\n"))
