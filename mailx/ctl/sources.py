"""What an import reads from: folders and their messages, whatever they lie in. Runs in the process of ``mailxctl`` and may block.

A source gives content as it came; line ends and everything else are for the server that takes it (:mod:`mailx.core.reception`).
"""

import errno
import os
import stat
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from attrs import frozen

from mailx.mail.names import DEPTH_LIMIT, NAME_LIMIT, normal


class SourceError(Exception):
    """The source cannot be read; the text says what and where, for the administrator."""


@frozen
class Folder:
    """A folder of a source."""

    name: str  # as it shall be called here: levels apart by "/", INBOX in capitals
    special_use: str = ""  # "\\Sent", as the source says or its name tells (mailx.mail.special_folders); "" for none
    place: str = ""  # where it lies at the source, for the source itself and for messages to the administrator


@frozen
class Item:
    """A message of a source."""

    content: bytes
    flags: int  # mailx.mail.mailbox.Flag bits
    keywords: tuple[str, ...]
    received: int | None  # INTERNALDATE, seconds since 1970; None: not known
    identity: str = ""  # what names it for good at the source ("UIDVALIDITY.UID"); "" where only its content does


class Source(Protocol):
    """Something that mail is imported from."""

    label: str  # what the administrator named: a path, or USER@HOST; tells one import from another

    def folders(self) -> list[Folder]:
        """Every folder, INBOX first; raises SourceError."""

    def count(self, folder: Folder) -> int:
        """How many messages it has, for showing progress; raises SourceError."""

    def items(self, folder: Folder) -> Iterator[Item]:
        """Its messages, in an order that is the same each time as long as nothing changes. Raises SourceError."""


class NoFile(Exception):
    """What has the name is no plain file, or no directory: a link, a pipe, a device."""


def plain_file(path: str, inside: int | None = None) -> BinaryIO:
    """Open a file to read; ``inside`` is the descriptor of the directory that ``path`` counts from.

    Whoever runs an import may read more than the owner of what is imported, who chooses what lies there: no link is followed and
    no pipe is waited for. Raises NoFile, OSError.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY, dir_fd=inside)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise NoFile from None
        raise
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise NoFile
    return os.fdopen(file, "rb")


@contextmanager
def directory(root: Path, place: str, *parts: str) -> Iterator[int]:
    """The descriptor of ``parts`` in ``place``, which is under ``root``; step by step, so that none of them is a link by now.

    Raises NoFile, OSError.
    """
    held = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in (*Path(place).relative_to(root).parts, *parts):
            try:
                found = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY, dir_fd=held)
            except OSError as error:
                if error.errno in (errno.ELOOP, errno.ENOTDIR):
                    raise NoFile from None
                raise
            os.close(held)
            held = found
        yield held
    finally:
        os.close(held)


def folder_name(levels: Sequence[str]) -> str:
    """A name that a mailbox may have here, as near to ``levels`` as can be: what is not allowed in names becomes ``_``."""
    made = [_level(level) for level in levels[: DEPTH_LIMIT - 1]]
    if len(levels) >= DEPTH_LIMIT:
        made.append(_level(" ".join(levels[DEPTH_LIMIT - 1 :])))
    name = normal("/".join(made))
    while len(name.encode()) > NAME_LIMIT:
        name = name[:-1]
    return name.rstrip("/ ")


def _level(text: str) -> str:
    return "".join("_" if _forbidden(letter) else letter for letter in text).strip() or "_"


def _forbidden(letter: str) -> bool:
    return letter in "/%*" or unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp")
