"""``mailxctl user seal``: who opens an account's mail."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from mailx.ctl import output
from mailx.ctl.passwords import given_password
from mailx.ctl.session import Command, Session, pass_session

_MODES = {
    "server": "sealed; the owner's login opens it (PLAIN or LOGIN over TLS)",
    "client": "sealed; only the owner's own program opens it (`mailx-open`)",
    "off": "not sealed",
}


@click.command(cls=Command, short_help="Seal the mail of ADDRESS, or show who opens it.")
@click.argument("address")
@click.argument("mode", type=click.Choice(tuple(_MODES)), required=False)
@click.option("--password-file", metavar="FILE", help="Read the owner's password from the first line of FILE.")
@click.option("--password-stdin", is_flag=True, help="Read the owner's password from the first line of standard input.")
@click.option("--recovery-code", is_flag=True, help="Ask for the recovery code in place of the password (off).")
@click.option("--request", "request_file", metavar="FILE", help="What `mailx-open --enrol ADDRESS --request` printed (client).")
@pass_session
def seal(
    session: Session,
    address: str,
    mode: str | None,
    password_file: str | None,
    password_stdin: bool,
    recovery_code: bool,
    request_file: str | None,
) -> None:
    """Seal the mail of ADDRESS so that only its owner opens it, or show who does.

    server: a login opens it; needs the owner's password, and prints a recovery code. client: the owner's program opens it,
    this server never can. off: seal nothing more.
    """
    path = f"/v1/sealing/{quote(address, safe='@')}"
    now = session.call("GET", path)
    if mode is None:
        session.say(now, *_shown(now))
        return
    body: dict[str, Any] = {"mode": mode}
    if mode == "client":
        if request_file is None:
            text = f"the keys of {now['address']} are made by its owner's program"
            remedy = f"The owner runs `mailx-open --enrol {now['address']}`; or give --request FILE."
            raise session.failed("no_request", text, remedy)
        body["request"] = _read(session, request_file)
    elif mode == "server" or now["mode"] == "server":
        if recovery_code and mode == "off":
            body["recovery_code"] = given_password(session, password_file, password_stdin, "Recovery code")
        else:
            body["password"] = given_password(session, password_file, password_stdin, f"Password of {now['address']}")
    answer = session.call("POST", path, body=body)
    lines = _shown(answer)
    if answer["recovery_code"]:
        lines += ["", f"Recovery code: {answer['recovery_code']}"]
        lines += ["Give it to the owner now: it opens the mail without the password, and is not shown again."]
    session.say(answer, *lines)


def _shown(answer: Any) -> list[str]:
    lines = [f"Mail of {answer['address']}: {_MODES[answer['mode']]}."]
    keys = answer["keys"]
    if keys:
        lines += [
            f"Sealed to:  {keys['sealing']}",
            f"Signs with: {keys['signing']}",
            f"Attested:   number {keys['serial']}, until {output.moment(keys['valid_until'])}",
        ]
    return lines


def _read(session: Session, name: str) -> Any:
    try:
        return json.loads(Path(name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not JSON"
        remedy = "Name the file with what `mailx-open --enrol ADDRESS --request` printed."
        raise session.failed("request", f"{name} cannot be read: {reason}", remedy) from None
