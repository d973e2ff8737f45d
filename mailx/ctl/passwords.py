"""Where ``mailxctl`` takes a password from: a prompt, a file, standard input. Never an argument, which all users could see."""

import sys
from collections.abc import Callable
from pathlib import Path

import click

from mailx.ctl.session import Session

Function = Callable[..., None]


def password_options(function: Function) -> Function:
    """The options that say where the password comes from."""
    function = click.option("--generate", is_flag=True, help="Make a password and print it.")(function)
    function = click.option("--password-stdin", is_flag=True, help="Read the password from the first line of standard input.")(function)
    return click.option("--password-file", metavar="FILE", help="Read the password from the first line of FILE.")(function)


def read_password(session: Session, password_file: str | None, password_stdin: bool, generate: bool) -> tuple[str, bool]:
    """The password, and whether it was generated here."""
    if (password_file is not None) + password_stdin + generate > 1:
        raise click.UsageError("Give one of --password-file, --password-stdin and --generate.")
    if generate:
        from mailx.core import passwords

        return passwords.generate(), True
    given = _given(session, password_file, password_stdin)
    if given:
        return given, False
    try:
        return click.prompt("Password", hide_input=True, confirmation_prompt="The same again", err=True), False
    except click.Abort:
        click.echo(err=True)
        remedy = "Type it twice, or give --password-file FILE, --password-stdin or --generate."
        raise session.failed("no_password", "no password was given", remedy) from None


def given_password(session: Session, password_file: str | None, password_stdin: bool, what: str) -> str:
    """A password that there is already: typed once; ``what`` says which."""
    if password_file is not None and password_stdin:
        raise click.UsageError("Give one of --password-file and --password-stdin.")
    given = _given(session, password_file, password_stdin)
    if given:
        return given
    try:
        return str(click.prompt(what, hide_input=True, err=True))
    except click.Abort:
        click.echo(err=True)
        raise session.failed("no_password", "no password was given", "Type it, or give --password-file FILE or --password-stdin.") from None


def _given(session: Session, password_file: str | None, password_stdin: bool) -> str:
    """The password of the file or of standard input; "" where neither is asked for."""
    if password_stdin:
        return _line(session, sys.stdin.readline(), "standard input")
    if password_file is None:
        return ""
    try:
        with Path(password_file).open(encoding="utf-8") as file:
            return _line(session, file.readline(), password_file)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise session.failed("password_file", f"{password_file} cannot be read: {reason}", "Name a readable file.") from None


def _line(session: Session, line: str, source: str) -> str:
    password = line.rstrip("\r\n")
    if not password:
        raise session.failed("no_password", f"the first line of {source} is empty", "Put the password there.")
    return password
