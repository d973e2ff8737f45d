"""``mailxctl user delete``, ``restore``, ``erase``, ``export``, ``retention``, ``recalculate`` and ``mailxctl lifecycle``."""

import os
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import click

from mailx.ctl import output
from mailx.ctl.passwords import given_password
from mailx.ctl.session import Group, Session, pass_session
from mailx.ctl.users import path, retention_text, user

_PIECE = 1 << 20  # octets
_UNFINISHED = ".unfinished"
DEFAULT = -1


class Days(click.ParamType[int]):
    """Days as people write them: a number, ``never`` or ``default``."""

    name = "DAYS"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> int:
        """Days; 0: mail stays for good; DEFAULT: as the server has it."""
        if value == "default":
            return DEFAULT
        if value == "never":
            return 0
        if not (str(value).isascii() and str(value).isdigit() and 0 < int(value) <= 36500):
            self.fail(f"{value!r} is no number of days: give 1 to 36500, `never` or `default`", parameter, context)
        return int(value)


@user.command()
@click.argument("address")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_session
def delete(session: Session, address: str, yes: bool) -> None:
    """Delete ADDRESS: no login and no mail any more. It can be had back until its grace is over."""
    one = session.call("GET", path(address))
    if not yes:
        session.confirm(f"Delete {one['address']} with its mail ({output.size(one['used'])})?", "nothing was deleted")
    gone = session.call("DELETE", path(address))
    if gone["erased"] is None:
        session.say({"deleted": one["address"], "erased": None}, f"{one['address']} and its mail were removed for good: there is no grace.")
        return
    session.say(
        {"deleted": one["address"], "erased": gone["erased"]},
        f"{one['address']} was deleted. On {output.moment(gone['erased'])} it is erased with all its mail.",
        f"Have it back with: mailxctl user restore {one['address']}",
        f"Do not wait with:  mailxctl user erase {one['address']}",
    )


@user.command()
@click.argument("address")
@pass_session
def restore(session: Session, address: str) -> None:
    """Have the deleted account ADDRESS back."""
    session.call("POST", f"{path(address)}/restore")
    session.say({"restored": address}, f"{address} is active again.")


@user.command()
@click.argument("address")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_session
def erase(session: Session, address: str, yes: bool) -> None:
    """Remove ADDRESS with all that is its owner's, now and for good, also from the logs."""
    one = session.call("GET", path(address))
    if not yes:
        question = f"Erase {one['address']} with all its mail ({output.size(one['used'])}) and all traces? This cannot be undone"
        session.confirm(question, "nothing was erased")
    session.call("POST", f"{path(address)}/erase")
    session.say({"erased": one["address"]}, f"{one['address']} was erased.")


@user.command()
@click.argument("address")
@click.argument("target", type=click.Path(path_type=Path))
@click.option(
    "--password-file", metavar="FILE", help="Of a sealed account: read its password from the first line of FILE, to export its mail."
)
@pass_session
def export(session: Session, address: str, target: Path, password_file: str | None) -> None:
    """Write everything that is held of ADDRESS to the new directory TARGET, or to the new file TARGET.zip or TARGET.tar."""
    if target.exists():
        raise session.failed("exists", f"{target} exists", "Name a directory or a file that does not.")
    body = {"password": given_password(session, password_file, False, "")} if password_file is not None else {}
    source = session.stream("POST", f"{path(address)}/export", body=body)
    unfinished = target.with_name(target.name + _UNFINISHED)
    try:
        files, octets = _written(source, unfinished, target.suffix)
    except EOFError:
        remedy = f"See the server's log for the reason. What came is in {unfinished}."
        raise session.failed("no_answer", "the export broke off", remedy) from None
    except OSError as error:
        raise session.failed(
            "not_written", f"{unfinished} cannot be written: {error.strerror}", "Make room, or choose another place."
        ) from None
    unfinished.rename(target)
    session.say(
        {"exported": address, "to": str(target), "files": files, "octets": octets},
        f"Everything of {address} is in {target}: {files} files, {output.size(octets)}.",
    )


def _written(source: Any, target: Path, suffix: str) -> tuple[int, int]:
    """Write what comes; how many files and octets. Raises EOFError, OSError."""
    if suffix == ".tar":
        with _new(target) as file:
            return _counted(_Copied(source, file), lambda member, content: None)
    if suffix == ".zip":
        with _new(target) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, allowZip64=True) as archive:

            def pack(member: tarfile.TarInfo, content: IO[bytes]) -> None:
                with archive.open(zipfile.ZipInfo(member.name), "w", force_zip64=member.size > 1 << 30) as entry:
                    shutil.copyfileobj(content, entry, _PIECE)

            return _counted(source, pack)
    target.mkdir(mode=0o700)

    def unpack(member: tarfile.TarInfo, content: IO[bytes]) -> None:
        place = target.joinpath(*_parts(member.name))
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _new(place) as file:
            shutil.copyfileobj(content, file, _PIECE)
        os.utime(place, (member.mtime, member.mtime))

    return _counted(source, unpack, lambda name: target.joinpath(*_parts(name)).mkdir(mode=0o700, parents=True, exist_ok=True))


def _counted(source: Any, take: Any, make: Any = None) -> tuple[int, int]:
    """Give each file of a tar stream to ``take``, each directory to ``make``; how many files and octets. Raises EOFError."""
    files = octets = 0
    whole: Any = _Whole(source)
    try:
        with tarfile.open(fileobj=whole, mode="r|", bufsize=_PIECE) as archive:
            for member in _members(archive):
                content = archive.extractfile(member) if member.isreg() else None
                if content is not None:
                    take(member, content)
                    files += 1
                    octets += member.size
                elif member.isdir() and make is not None:
                    make(member.name)
    except tarfile.TarError:
        raise EOFError from None
    if not whole.ended:
        raise EOFError
    return files, octets


def _members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The members of a stream, none of them kept."""
    while (member := archive.next()) is not None:
        yield member
        archive.members = []  # type: ignore[attr-defined]


def _parts(name: str) -> list[str]:
    """The parts of a path that stays below where it is unpacked; raises EOFError."""
    parts = name.split("/")
    if not all(parts) or any(part in (".", "..") or "\0" in part for part in parts):
        raise EOFError
    return parts


def _new(place: Path) -> IO[bytes]:
    return os.fdopen(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


class _Whole:
    """A stream that knows whether it ended as a tar file does: with two empty blocks."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self._last = b""

    def read(self, size: int) -> bytes:
        data: bytes = self._source.read(size)
        self._last = (self._last + data)[-1024:]
        return data

    @property
    def ended(self) -> bool:
        """Read to the end; whether that was a whole one."""
        while self.read(_PIECE):
            pass
        return self._last == bytes(1024)


class _Copied:
    """A stream that is copied as it is read."""

    def __init__(self, source: Any, copy: IO[bytes]) -> None:
        self._source = source
        self._copy = copy

    def read(self, size: int) -> bytes:
        data: bytes = self._source.read(size)
        self._copy.write(data)
        return data


@user.command()
@click.argument("address")
@click.argument("days", type=Days(), required=False)
@click.option("--mailbox", help="Of this mailbox only.")
@pass_session
def retention(session: Session, address: str, days: int | None, mailbox: str | None) -> None:
    """Show how long mail of ADDRESS stays, or let it stay for DAYS: a number, `never` or `default`."""
    place = f"{path(address)}/retention"
    if days is None:
        own = session.call("GET", place)
    else:
        own = session.call("PUT", place, body={"days": None if days == DEFAULT else days, **({"mailbox": mailbox} if mailbox else {})})
    lines = [f"Mail of {address}: {retention_text(own['days'])}"]
    lines += [f"Mailbox {name}: {retention_text(kept)}" for name, kept in own["mailboxes"].items()]
    session.say(own, *lines)


@user.command()
@click.argument("address", required=False)
@click.option("--all", "every", is_flag=True, help="All accounts.")
@pass_session
def recalculate(session: Session, address: str | None, every: bool) -> None:
    """Count the mail of ADDRESS, or of all accounts, and put wrong counters right."""
    if (address is None) is not every:
        raise click.UsageError("Name one address, or give --all.")
    if address is not None:
        found = [session.call("POST", f"{path(address)}/recalculate")]
    else:
        found = []
        after: int | None = 0
        while after is not None:
            page = session.call("POST", "/v1/recalculate", {"after": after})
            found += page["accounts"]
            after = page["next"]
    wrong = [one for one in found if one["used"] or one["mailboxes"]]
    messages = sum(one["messages"] for one in found)
    lines = [f"{one['address']}: {one['used']:+d} octets, {one['mailboxes']} mailboxes put right" for one in wrong]
    end = f"{len(wrong)} put right." if wrong else "All counters were right."
    counted = f"{_plural(len(found), 'account')} with {_plural(messages, 'message')} counted."
    session.say({"accounts": found, "wrong": len(wrong)}, *lines, f"{counted} {end}")


def _plural(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


@click.group(cls=Group)
def lifecycle() -> None:
    """What time does to mail and accounts."""


@lifecycle.command()
@pass_session
def status(session: Session) -> None:
    """Show what the last pass did."""
    _say(session, session.call("GET", "/v1/lifecycle"))


@lifecycle.command()
@pass_session
def run(session: Session) -> None:
    """Remove what is due and erase accounts whose grace is over, now."""
    _say(session, session.call("POST", "/v1/lifecycle"))


def _say(session: Session, last: Any) -> None:
    if last["ended"] is None:
        session.say(last, "There was no pass since the start. One comes every hour.")
        return
    session.say(
        last,
        f"Last pass: {output.moment(last['ended'])}",
        f"Removed:   {last['removed']} messages whose time was over",
        f"Erased:    {last['erased']} accounts whose grace was over",
        f"Warned:    {last['warned']} owners of full accounts",
    )
