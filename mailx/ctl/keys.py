"""``mailxctl key``: the keys of domains and users, the recovery keys, backups."""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from mailx.ctl import key_log, output
from mailx.ctl.session import Group, Session, pass_session
from mailx.identity.key_backup import PASSPHRASE_LEAST

Function = Callable[..., None]
_REASONS = {
    "first": "the first key",
    "rotation": "rotated in, announced by the key before",
    "recovery": "brought in by the recovery key; those before are revoked",
    "recovery-key": "the same key with another recovery key",
}


def _path(domain: str, *more: str) -> str:
    return "/".join(("/v1/keys", *(quote(each, safe="") for each in (domain, *more))))


def recovery_lines(answer: Mapping[str, Any]) -> list[str]:
    """What to say of a recovery key that was just made: the only time that it is seen."""
    text = answer.get("recovery_key")
    if not text:
        return []
    return [
        "",
        "Recovery key of the domain, shown this once:",
        "",
        f"  {text}",
        "",
        "Write it down and keep it away from the server. It replaces the domain's key if that is lost or stolen.",
    ]


@click.group(cls=Group)
def key() -> None:
    """Keys of domains and users: show, rotate, recover, back up."""


@key.command("list")
@pass_session
def list_(session: Session) -> None:
    """List the keys of all domains."""
    answer = session.call("GET", "/v1/keys")
    rows = [(each["domain"], each["key"], each["serial"], output.moment(each["since"]), _state(each)) for each in answer["domains"]]
    empty = ["There are no keys. Next: mailxctl domain add NAME"]
    session.say(answer, *(output.table(("DOMAIN", "KEY", "SERIAL", "SINCE", "STATE"), rows) if rows else empty))


def _state(each: Any) -> str:
    return "good" if each["opens"] else "does not open"


@key.command(short_help="Show the keys of a domain or a user.")
@click.argument("name")
@pass_session
def show(session: Session, name: str) -> None:
    """Show the keys of the domain or the address NAME, and their history."""
    if "@" in name:
        _show_user(session, name)
        return
    answer = session.call("GET", _path(name))
    lines = [f"Domain key of {answer['domain']}: {answer['key']}", f"  serial {answer['serial']}, since {output.moment(answer['since'])}"]
    if not answer["opens"]:
        lines.append("  Its private half does not open. Next: mailxctl key restore FILE, or mailxctl key recover " + answer["domain"])
    lines.append(f"Recovery key (public half): {answer['recovery']}")
    for other in (each for each in answer["recoveries"] if each != answer["recovery"]):
        lines.append(f"  {other} is still good: it was replaced without its own signature")
    record = f'_mailx.{answer["domain"]}. TXT "{answer["record"]}"' if answer["record"] else "none, for federation is off"
    lines += [f"Document: {answer['document']}", f"Record:   {record}", "", "History:"]
    rows = [(one["serial"], output.moment(one["created"]), one["key"], _life(one), _REASONS[one["reason"]]) for one in answer["history"]]
    session.say(answer, *lines, *output.table(("SERIAL", "MADE", "KEY", "VALID", "WHY"), rows))


def _life(one: Any) -> str:
    if one["valid"]:
        return f"until {output.moment(one['until'])}" if one["until"] else "yes"
    return f"ended {output.moment(one['until'])}" if one["until"] else "no"


def _show_user(session: Session, address: str) -> None:
    answer = session.call("GET", f"/v1/user-keys/{quote(address, safe='')}")
    rows = [
        (one["serial"], output.moment(one["valid_from"]), _held(one), one["sealing"], one["signing"]) for one in reversed(answer["keys"])
    ]
    empty = [f"{address} has no keys. Mail to it is not sealed."]
    session.say(answer, *(output.table(("SERIAL", "FROM", "STATE", "SEALING", "SIGNING"), rows) if rows else empty))


def _held(one: Any) -> str:
    if one["revoked"]:
        return "revoked"
    return f"good until {output.moment(one['valid_until'])}, held by the {one['holder']}" if one["good"] else "former"


@key.command(short_help="Replace the key of a domain.")
@click.argument("domain")
@pass_session
def rotate(session: Session, domain: str) -> None:
    """Replace the key of DOMAIN by a new one, announced by the old one. Both are valid for 30 days."""
    answer = session.call("POST", _path(domain, "rotate"))
    session.say(answer, f"{answer['domain']} has a new key: {answer['key']}", *_publish(answer))


def _publish(answer: Any) -> list[str]:
    if not answer["record"]:
        return ["There is no record to publish, for federation is off."]
    return [
        "Other MailX servers follow by themselves. Publish the new record, and tell it to those that were configured with the old key:",
        "",
        f'_mailx.{answer["domain"]}. TXT "{answer["record"]}"',
    ]


def _secret_options(function: Function) -> Function:
    function = click.option("--stdin", is_flag=True, help="Read it from the first line of standard input.")(function)
    return click.option("--from-file", metavar="FILE", help="Read it from the first line of FILE.")(function)


def _secret(session: Session, prompt: str, from_file: str | None, stdin: bool, twice: bool = False) -> str:
    """A secret from where the options say. Never an argument, which all users of the machine could see."""
    if from_file is not None and stdin:
        raise click.UsageError("Give one of --from-file and --stdin.")
    if from_file is not None:
        try:
            with Path(from_file).open(encoding="utf-8") as file:
                text = file.readline()
        except (OSError, UnicodeDecodeError):
            raise session.failed("secret_file", f"{from_file} cannot be read", "Name a readable file.") from None
    elif stdin:
        text = sys.stdin.readline()
    else:
        try:
            text = click.prompt(prompt, hide_input=True, confirmation_prompt="The same again" if twice else False, err=True)
        except click.Abort:
            click.echo(err=True)
            text = ""
    text = text.strip("\r\n")
    if not text:
        raise session.failed("no_secret", f"no {prompt.lower()} was given", "Type it, or give --from-file FILE or --stdin.")
    return text


@key.command(short_help="Revoke and replace a lost or stolen key at once.")
@click.argument("domain")
@_secret_options
@click.option("--lost", is_flag=True, help="This server lost the earlier keys of the domain: begin again from the recovery key.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_session
def recover(session: Session, domain: str, from_file: str | None, stdin: bool, lost: bool, yes: bool) -> None:
    """Revoke the key of DOMAIN and replace it at once, by the recovery key of the domain."""
    if not yes:
        session.confirm(f"Revoke the key of {domain} and every one before it? This cannot be undone", "nothing was changed")
    text = _secret(session, "Recovery key", from_file, stdin)
    answer = session.call("POST", _path(domain, "recover"), body={"recovery_key": text, "lost": lost})
    session.say(answer, f"The former keys are revoked. {answer['domain']} has a new key: {answer['key']}", *_publish(answer))


@key.command(short_help="Make another recovery key.")
@click.argument("domain")
@_secret_options
@click.option("--unproved", is_flag=True, help="The one before is lost: the new one is fully good after 30 days.")
@pass_session
def recovery(session: Session, domain: str, from_file: str | None, stdin: bool, unproved: bool) -> None:
    """Make another recovery key for DOMAIN. The one before proves that, unless it is lost."""
    body = {} if unproved else {"recovery_key": _secret(session, "Old recovery key", from_file, stdin)}
    answer = session.call("POST", _path(domain, "recovery"), body=body)
    after = ["The one before stays good beside it for 30 days."] if unproved else ["The one before is good for nothing any more."]
    session.say(answer, *recovery_lines(answer)[1:], *after)


@key.command(short_help="Write the keys of domains to a file.")
@click.argument("file", type=click.Path(dir_okay=False))
@click.argument("domains", nargs=-1)
@_secret_options
@pass_session
def backup(session: Session, file: str, domains: tuple[str, ...], from_file: str | None, stdin: bool) -> None:
    """Write the keys of DOMAINS, or of all domains, to FILE, sealed under a passphrase."""
    if os.path.exists(file):
        raise session.failed("exists", f"{file} exists already", "Name a new file.")
    passphrase = _secret(session, "Passphrase", from_file, stdin, twice=True)
    if len(passphrase) < PASSPHRASE_LEAST:
        raise session.failed("invalid", "the passphrase is too short", f"Take one of at least {PASSPHRASE_LEAST} characters.")
    answer = session.call("POST", "/v1/key-backup", body={"passphrase": passphrase, "domains": list(domains)})
    try:
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as written:
            written.write(answer["backup"])
            written.flush()
            os.fsync(written.fileno())
    except OSError as error:
        raise session.failed("not_written", f"{file} cannot be written: {error.strerror}", "Name another file.") from None
    count = len(answer["domains"])
    session.say(
        {"file": file, "domains": answer["domains"]},
        f"The keys of {count} domain{'s' * (count != 1)} are in {file}. Keep it and its passphrase apart, and away from the server.",
    )


@key.command(short_help="Take the keys of a backup.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@_secret_options
@click.option("--force", is_flag=True, help="Also in place of other keys that a domain has here.")
@pass_session
def restore(session: Session, file: str, from_file: str | None, stdin: bool, force: bool) -> None:
    """Take the keys of FILE, which `mailxctl key backup` wrote. The domains must be here already."""
    try:
        with open(file, encoding="ascii") as opened:
            text = opened.read(1 << 20)
    except (OSError, UnicodeDecodeError):
        raise session.failed("unreadable", f"{file} is no backup of keys", "Name the file that `mailxctl key backup` wrote.") from None
    passphrase = _secret(session, "Passphrase", from_file, stdin)
    answer = session.call("POST", "/v1/key-restore", body={"backup": text, "passphrase": passphrase, "force": force})
    session.say(answer, *(f"{one['domain']}: {_BECAME.get(one['became'], one['became'])}" for one in answer["domains"]))


_BECAME = {
    "new": "the keys were taken",
    "same": "the keys are here already",
    "older": "the keys here are newer; nothing was changed",
}


for command in (key_log.audit, key_log.logs, key_log.evidence):
    key.add_command(command)
