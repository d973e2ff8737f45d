"""``mailxctl export``: the mail of an account is written down as a Maildir or as mbox files.

Run again with the same target, it goes on behind what is there. What is written first goes to a place of its own, so a message is
there whole or not at all.
"""

import json
import os
import re
import sys
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, Protocol

import click
from attrs import define, frozen

from mailx.ctl import output
from mailx.ctl.passwords import given_password
from mailx.ctl.session import Group, Session, pass_session
from mailx.imap import utf7
from mailx.mail import binary, maildir, mbox
from mailx.mail.mailbox import Flag
from mailx.mail.names import INBOX

_LINE = 1 << 20  # octets of a line between contents
_TOGETHER = 1000  # messages of an mbox file between two notes of how far it is
_OURS = re.compile(r"\.V([0-9]+)U([0-9]+)\.mailx")
_HEAD_END = re.compile(rb"(?:\A|\r?\n)\r?\n")
_NAME = 240  # octets of a file's name; file systems take 255


@frozen
class Box:
    """A mailbox that comes."""

    name: str
    uidvalidity: int


@frozen
class Mail:
    """A message that comes."""

    uid: int
    flags: int
    keywords: tuple[str, ...]
    received: int
    content: bytes


class Target(Protocol):
    """Where mail is written. Raises OSError."""

    left_out: int  # keywords without a place

    def after(self) -> list[tuple[str, int, int]]:
        """The mailboxes that are there: name, UIDVALIDITY, last UID."""

    def begin(self, box: Box) -> None:
        """What comes next belongs to this mailbox."""

    def add(self, mail: Mail) -> None: ...

    def end(self) -> None:
        """Everything has come."""


class MaildirTarget:
    """A Maildir++: INBOX at its root, ``.Work.2024`` for ``Work/2024``, names in modified UTF-7."""

    def __init__(self, root: Path) -> None:
        self.left_out = 0
        self._root = root
        self._folder = root
        self._uidvalidity = 0
        self._letters: dict[str, str] = {}

    def after(self) -> list[tuple[str, int, int]]:
        found = []
        for place in [self._root, *sorted(self._root.glob(".*"))]:
            note = place / "mailx-mailbox"
            if note.is_file():
                name = note.read_text("utf-8").rstrip("\n")
                uids = [
                    (int(match[1]), int(match[2]))
                    for part in ("cur", "new")
                    for match in map(_OURS.search, os.listdir(place / part))
                    if match
                ]
                if uids:
                    found.append((name, *max(uids)))
        return found

    def begin(self, box: Box) -> None:
        self._folder, self._uidvalidity = self._root / _maildir_name(box.name), box.uidvalidity
        for part in ("cur", "new", "tmp"):
            (self._folder / part).mkdir(mode=0o700, parents=True, exist_ok=True)
        for file in (self._folder / "tmp").glob("*.mailx*"):  # of a run that was broken off
            file.unlink()
        _write(self._folder / "mailx-mailbox", f"{box.name}\n")
        if self._folder != self._root:
            (self._folder / "maildirfolder").touch()
        keywords = self._folder / maildir.KEYWORDS_FILE
        held = maildir.keywords(keywords.read_text("utf-8", "replace")) if keywords.is_file() else {}
        self._letters = {name: letter for letter, name in held.items()}

    def add(self, mail: Mail) -> None:
        for keyword in mail.keywords:
            self._letter(keyword)
        unique = f"{mail.received}.V{self._uidvalidity}U{mail.uid}.mailx"
        name = maildir.name(unique, mail_size(mail.content), mail.flags, mail.keywords, self._letters)
        with open(self._folder / "tmp" / name, "xb") as file:
            file.write(as_file(mail.content))
        os.utime(self._folder / "tmp" / name, (mail.received, mail.received))
        os.rename(self._folder / "tmp" / name, self._folder / "cur" / name)

    def end(self) -> None:
        os.sync()

    def _letter(self, keyword: str) -> None:
        if keyword in self._letters or keyword == "$Forwarded":
            return
        free = next((letter for letter in map(chr, range(ord("a"), ord("z") + 1)) if letter not in self._letters.values()), None)
        if free is None:
            self.left_out += 1
            return
        self._letters[keyword] = free
        _write(self._folder / maildir.KEYWORDS_FILE, maildir.keywords_text(self._letters))


@define
class _Note:
    """How far an mbox file is: what follows is of a run that was broken off."""

    name: str
    uidvalidity: int
    uid: int
    size: int


class MboxTarget:
    """An mbox file for each mailbox, in the form mboxrd: ``Work.mbox``, and ``Work.sbd/2024.mbox`` for ``Work/2024``."""

    def __init__(self, root: Path) -> None:
        self.left_out = 0
        self._root = root
        self._file: IO[bytes] | None = None
        self._place = root
        self._note = _Note("", 0, 0, 0)
        self._unnoted = 0

    def after(self) -> list[tuple[str, int, int]]:
        notes = [_Note(**json.loads(path.read_text("utf-8"))) for path in sorted(self._root.glob("**/.*.mailx"))]
        return [(note.name, note.uidvalidity, note.uid) for note in notes]

    def begin(self, box: Box) -> None:
        self._close()
        *above, own = [_component(level) for level in box.name.split("/")]
        folder = self._root.joinpath(*[f"{level}.sbd" for level in above])
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        held = self._held(folder, own)
        while held is not None and held.name != box.name:  # of another one, whose name differs in what files cannot be called
            own += "_"
            held = self._held(folder, own)
        self._place = folder / f"{own}.mbox"
        if held is None or held.uidvalidity != box.uidvalidity:
            held = _Note(box.name, box.uidvalidity, 0, 0)
        self._note = held
        self._file = os.fdopen(os.open(self._place, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600), "ab")
        self._file.truncate(held.size)
        self._file.seek(held.size)

    def add(self, mail: Mail) -> None:
        assert self._file is not None
        self._file.write(as_mbox(mail))
        self._note.uid = mail.uid
        self._unnoted += 1
        if self._unnoted >= _TOGETHER:
            self._noted()

    def end(self) -> None:
        self._close()
        os.sync()

    def _held(self, folder: Path, own: str) -> _Note | None:
        """How far the file of this name is; None if there is none."""
        note = folder / f".{own}.mailx"
        return _Note(**json.loads(note.read_text("utf-8"))) if note.is_file() else None

    def _close(self) -> None:
        if self._file is not None:
            self._noted()
            self._file.close()
            self._file = None

    def _noted(self) -> None:
        assert self._file is not None
        self._file.flush()
        os.fsync(self._file.fileno())
        self._note.size, self._unnoted = self._file.tell(), 0
        told = {"name": self._note.name, "uidvalidity": self._note.uidvalidity, "uid": self._note.uid, "size": self._note.size}
        _write(self._place.with_name(f".{self._place.stem}.mailx"), json.dumps(told))


@click.group(cls=Group)
def export() -> None:
    """Write the mail of an account down as a Maildir or as mbox files. Run it again to bring the copy up to date."""


def _options(function: Any) -> Any:
    function = click.option("--password-file", metavar="FILE", help="Of a sealed account: read its password from the first line of FILE.")(
        function
    )
    function = click.argument("target", type=click.Path(path_type=Path, file_okay=False))(function)
    return click.argument("address")(function)


@export.command("maildir")
@_options
@pass_session
def to_maildir(session: Session, address: str, target: Path, password_file: str | None) -> None:
    """Write the mail of ADDRESS to the Maildir TARGET, with folders, flags, keywords and dates."""
    _export(session, address, MaildirTarget(target), target, password_file)


@export.command("mbox")
@_options
@pass_session
def to_mbox(session: Session, address: str, target: Path, password_file: str | None) -> None:
    """Write the mail of ADDRESS to mbox files in the directory TARGET, one for each mailbox."""
    _export(session, address, MboxTarget(target), target, password_file)


def _export(session: Session, address: str, target: Target, path: Path, password_file: str | None) -> None:
    body: dict[str, Any] = {}
    if password_file is not None:
        body["password"] = given_password(session, password_file, False, "")
    os.umask(0o077)
    try:
        path.mkdir(parents=True, exist_ok=True)
        there = target.after()
        body["after"] = [{"mailbox": name, "uidvalidity": validity, "uid": uid} for name, validity, uid in there]
        count, octets = _written(session.stream("POST", f"/v1/users/{_quoted(address)}/mail", body=body), target)
    except EOFError:
        raise session.failed("no_answer", "the export broke off", "Run it again: it goes on. The server's log has the reason.") from None
    except KeyboardInterrupt:
        raise session.failed("stopped", "stopped", "Run it again: it goes on where it stopped.") from None
    except (OSError, ValueError, TypeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise session.failed("not_written", f"{path} cannot be written: {reason}", "Make room, or choose another place.") from None
    lines = [f"{count} messages of {address}, {output.size(octets)}, were written to {path}."]
    if target.left_out:
        lines.append(f"{target.left_out} keywords were left out: a folder of a Maildir has 26.")
    session.say({"exported": address, "to": str(path), "messages": count, "octets": octets, "left_out": target.left_out}, *lines)


def _quoted(address: str) -> str:
    from mailx.ctl.users import path

    return path(address).removeprefix("/v1/users/")


def _written(source: Any, target: Target) -> tuple[int, int]:
    """Write what comes; how many messages and octets. Raises EOFError, OSError."""
    count = octets = 0
    with click.progressbar(length=1, label="Exporting", file=sys.stderr, show_pos=True) as bar:
        total = 0
        for frame in _frames(source):
            if isinstance(frame, Mail):
                target.add(frame)
                count += 1
                octets += len(frame.content)
                bar.update(1)
            elif isinstance(frame, tuple):
                box, messages = frame
                total += messages
                bar.length = max(total, 1)
                target.begin(box)
            elif frame != count:
                raise EOFError
    target.end()
    return count, octets


def _frames(source: Any) -> "Iterator[tuple[Box, int] | Mail | int]":
    """What comes, the number of messages last. Raises EOFError."""
    reader = _Reader(source)
    while True:
        told = reader.line()
        if "end" in told:
            yield int(told["end"])
            return
        if "mailbox" in told:
            yield Box(told["mailbox"], told["uidvalidity"]), told["messages"]
        else:
            content = reader.octets(told["size"])
            yield Mail(told["uid"], told["flags"], tuple(told["keywords"]), told["received"], content)


class _Reader:
    """Lines and octets of a stream."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self._held = bytearray()

    def line(self) -> Any:
        """One line of JSON. Raises EOFError."""
        while (end := self._held.find(b"\n")) < 0:
            if len(self._held) > _LINE:
                raise EOFError
            self._more()
        line = bytes(self._held[:end])
        del self._held[: end + 1]
        return json.loads(line)

    def octets(self, size: int) -> bytes:
        """So many octets. Raises EOFError."""
        while len(self._held) < size:
            self._more()
        octets = bytes(self._held[:size])
        del self._held[:size]
        return octets

    def _more(self) -> None:
        data = self._source.read(65536)
        if not data:
            raise EOFError
        self._held += data


def as_file(content: bytes) -> bytes:
    """With LF at the ends of lines, as files have it, unless there are other line ends too, which would be lost."""
    return content if binary.uneven(content) else content.replace(b"\r\n", b"\n")


def mail_size(content: bytes) -> int:
    """Octets of the file."""
    return len(content) if binary.uneven(content) else len(content) - content.count(b"\r\n")


def as_mbox(mail: Mail) -> bytes:
    """A message with its From line, its state, and the empty line behind it."""
    content = as_file(mail.content)
    end = _HEAD_END.search(content)
    at = end.end() if end is not None else len(content)
    postmark = time.strftime("From MAILER-DAEMON %a %b %d %H:%M:%S %Y\n", time.gmtime(mail.received))
    text = mbox.quote(content[at:])
    ending = b"" if not text or text.endswith(b"\n") else b"\n"
    if not text and not content.endswith(b"\n"):
        ending = b"\n"
    return b"".join([postmark.encode(), _state(mail), content[:at], text, ending, b"\n"])


def _state(mail: Mail) -> bytes:
    letters = [("A", Flag.ANSWERED), ("F", Flag.FLAGGED), ("T", Flag.DRAFT), ("D", Flag.DELETED)]
    marks = "".join(letter for letter, flag in letters if mail.flags & flag)
    lines = [f"Status: {'RO' if mail.flags & Flag.SEEN else 'O'}\n"]
    lines += [f"X-Status: {marks}\n"] if marks else []
    lines += [f"X-Keywords: {' '.join(mail.keywords)}\n"] if mail.keywords else []
    return "".join(lines).encode()


def _maildir_name(name: str) -> str:
    """The directory of a mailbox; "" for INBOX."""
    if name == INBOX:
        return ""
    return "." + _short(".".join([utf7.encode(level).decode("ascii").replace(".", "%2E") for level in name.split("/")]))


def _component(level: str) -> str:
    """A level of a name as a file's name."""
    return _short(f"_{level[1:]}" if level.startswith(".") else level.replace("\\", "_"))


def _short(name: str) -> str:
    """``name``, if it is too long cut, with a digest behind, so that no two are the same."""
    octets = name.encode()
    if len(octets) <= _NAME:
        return name
    return octets[: _NAME - 17].decode("utf-8", "ignore") + "~" + sha256(octets).hexdigest()[:16]


def _write(path: Path, text: str) -> None:
    """Put a small file in its place, whole; nothing that lies there is written through."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    with open(fresh, "x", encoding="utf-8") as file:
        file.write(text)
    fresh.rename(path)
