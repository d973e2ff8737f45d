"""``mailxctl import``: mail that lies elsewhere comes into an account."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

import click
from attrs import evolve

from mailx.ctl import output
from mailx.ctl.import_run import Counts, Rate, Run
from mailx.ctl.passwords import given_password
from mailx.ctl.session import Group, Session, pass_session
from mailx.ctl.sources import Folder, Source, SourceError

_PORTS = {"tls": 993, "starttls": 143, "none": 143}


@click.group("import", cls=Group)
def import_() -> None:
    """Bring mail from a Maildir, mbox files or another server into an account. It needs a running server.

    Each may be run again: it goes on where it stopped, brings what is new, and what has changed of flags.
    """


def _options(function: Any) -> Any:
    function = click.option("--dry-run", is_flag=True, help="Only show what would come, and where to.")(function)
    function = click.option("--into", metavar="FOLDER", default="", help="Bring everything into, or under, this mailbox.")(function)
    return click.option("--to", "address", metavar="ADDRESS", required=True, help="The account.")(function)


@import_.command()
@click.argument("path")
@_options
@pass_session
def maildir(session: Session, path: str, address: str, into: str, dry_run: bool) -> None:
    """Bring the mail of the Maildir PATH, with its folders, flags, keywords and dates."""
    from mailx.ctl.maildir_source import MaildirSource

    _bring(session, MaildirSource(path), "maildir", address, into, dry_run)


@import_.command()
@click.argument("path")
@_options
@pass_session
def mbox(session: Session, path: str, address: str, into: str, dry_run: bool) -> None:
    """Bring the mail of the mbox file PATH, or of those in the directory PATH, each as a folder."""
    from mailx.ctl.mbox_source import MboxSource

    _bring(session, MboxSource(path), "mbox", address, into, dry_run)


@import_.command()
@click.option("--from", "origin", metavar="USER@HOST", required=True, help="Whose mail on which server; the last @ parts them.")
@click.option("--port", type=click.IntRange(1, 65535), help="Default: 993, or 143 without --security tls.")
@click.option(
    "--security", type=click.Choice(["tls", "starttls", "none"]), default="tls", show_default=True, help="none: only to this machine."
)
@click.option("--authorities", metavar="FILE", default="", help="Believe the authorities in this PEM file, not the system's.")
@click.option("--password-file", metavar="FILE", help="Read the password from the first line of FILE.")
@click.option("--password-stdin", is_flag=True, help="Read the password from the first line of standard input.")
@click.option("--oauth", is_flag=True, help="What is read in place of the password is an OAuth access token.")
@click.option("--per-second", type=click.FloatRange(0), default=0.0, help="Download at most so many messages a second.")
@_options
@pass_session
def imap(
    session: Session,
    origin: str,
    port: int | None,
    security: str,
    authorities: str,
    password_file: str | None,
    password_stdin: bool,
    oauth: bool,
    per_second: float,
    address: str,
    into: str,
    dry_run: bool,
) -> None:
    """Bring the mail of an account on another server, by IMAP. Nothing is changed there; run it as often as you like."""
    from mailx.ctl.imap_source import ImapSource, Login

    user, at, host = origin.rpartition("@")
    if not at or not user or not host:
        raise click.UsageError("--from is USER@HOST, where USER may be an address: anna@example.org@imap.example.org")
    what = "Access token" if oauth else f"Password of {user} at {host}"
    secret = given_password(session, password_file, password_stdin, what)
    login = Login(
        host,
        port or _PORTS[security],
        user,
        "" if oauth else secret,
        secret if oauth else "",
        security,
        authorities,
    )
    source = ImapSource(login, per_second)
    try:
        _bring(session, source, "imap", address, into, dry_run)
    finally:
        source.close()


@import_.command("list")
@pass_session
def list_(session: Session) -> None:
    """Show the imports that there were."""
    found = session.call("GET", "/v1/imports")["imports"]
    heads = ("ID", "ACCOUNT", "FROM", "SOURCE", "BEGAN", "ENDED", "MESSAGES")
    rows = [
        (
            one["id"],
            one["address"],
            one["kind"],
            one["source"],
            output.moment(one["started"]),
            output.moment(one["finished"]),
            one["messages"],
        )
        for one in found
    ]
    session.say(found, *(output.table(heads, rows) if rows else ["There was no import."]))


@import_.command()
@click.argument("id", type=click.IntRange(1))
@pass_session
def forget(session: Session, id: int) -> None:
    """Forget what import ID has brought. The mail stays; the same import would bring all of it once more."""
    session.call("DELETE", f"/v1/imports/{id}")
    session.say({"forgotten": id}, f"Import {id} is forgotten.")


def _bring(session: Session, source: Source, kind: str, address: str, into: str, dry_run: bool) -> None:
    other = evolve(session)
    run = Run(session, other, source, kind)
    try:
        try:
            folders = run.folders()
            if dry_run:
                _plan(session, run, folders, address, into)
                return
            total = sum(count for _, count in folders)
            began = monotonic()
            with _bar(total, "Importing") as done:
                run.bring(address, into, [folder for folder, _ in folders], done)
            brought = monotonic()
            with _bar(run.checked, "Checking ") as done:
                run.check(done)
        except SourceError as error:
            raise session.failed("source", str(error), "What has come stays; run it again to go on.") from None
        except KeyboardInterrupt:
            raise session.failed("stopped", f"stopped: {run.counts.added} messages came", "Run it again to go on.") from None
    finally:
        other.close()
    seconds = {"import": round(brought - began, 3), "check": round(monotonic() - brought, 3)}
    _say(session, run.counts, address, len(folders), seconds)


def _plan(session: Session, run: Run, folders: list[tuple[Folder, int]], address: str, into: str) -> None:
    planned = run.plan(address, into, [folder for folder, _ in folders])
    found = [
        {"folder": folder.name, "messages": count, "mailbox": name, "exists": exists}
        for (folder, count), (name, exists) in zip(folders, planned, strict=True)
    ]
    rows = [(one["folder"], one["messages"], one["mailbox"] if one["exists"] else f"{one['mailbox']} (new)") for one in found]
    session.say({"folders": found}, *output.table(("FOLDER", "MESSAGES", "MAILBOX"), rows), "Nothing was changed.")


@contextmanager
def _bar(length: int, label: str) -> Iterator[Any]:
    """Shows progress, rate and remaining time."""
    rate = Rate()
    bar: Any
    with click.progressbar(length=max(length, 1), label=label, file=sys.stderr, show_pos=True, item_show_func=lambda _: rate.text()) as bar:

        def done(count: int) -> None:
            rate.add(count)
            if bar.length is not None and bar.pos + count > bar.length:  # more came meanwhile
                bar.length = bar.pos + count
            bar.update(count, rate)

        yield done


def _say(session: Session, counts: Counts, address: str, folders: int, seconds: dict[str, float]) -> None:
    answer = {
        name: getattr(counts, name)
        for name in (
            "read", "added", "known", "skipped", "altered", "keywords", "flags", "equal", "differing", "removed", "sealed", "changed",
        )
    }  # fmt: skip
    lines = [
        f"Messages read: {counts.read}, folders: {folders}. New for {address}: {counts.added}, had come before: {counts.known}.",
        f"Opened again and compared with the source in content and date: equal: {counts.equal}, different: {counts.differing}.",
    ]
    more = [
        (counts.flags, "messages that had come before have the flags that they have at the source now."),
        (counts.changed, "have other flags here than at the source: the owner changed them."),
        (counts.removed, "were removed here, or moved, since they came."),
        (counts.sealed, "are sealed for their owner and cannot be compared."),
        (counts.altered, "had NUL in them, which mail cannot have: those parts are in base64 now, or NUL is left out."),
        (counts.keywords, "keywords were left out: an account has 58 at most, and not all characters may be in them."),
    ]
    lines += [f"{count} {text}" for count, text in more if count]
    session.say({"address": address, **answer, "seconds": seconds, "named": counts.named}, *lines)
    for text in counts.named if not session.as_json else ():
        click.echo(text, err=True)
    if counts.differing:
        raise session.failed("differing", f"{counts.differing} messages are not what was read", "See the server's log; keep the source.")
    if counts.skipped:
        remedy = "Raise imap.append_size with `mailxctl config`, restart the server, and run it again."
        raise session.failed("too_large", f"{counts.skipped} messages were too large and did not come", remedy)
