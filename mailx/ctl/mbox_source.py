"""Mbox files as a source of an import: one file, or a directory of them as mail programs lay them out.

In a directory every file that begins like an mbox file is a folder. Thunderbird keeps the folders under ``Name`` in ``Name.sbd``,
Apple Mail exports a folder as ``Name.mbox/mbox``. No link in it is followed.
"""

import mmap
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from mailx.ctl.sources import Folder, Item, NoFile, SourceError, directory, folder_name, plain_file
from mailx.mail import mbox
from mailx.mail.names import INBOX
from mailx.mail.special_folders import special_use

_DEEPEST = 50  # directories in each other that are looked into
_INBOXES = ("inbox", "mbox")
_POSTMARK = re.compile(rb"(?:\A|\n\r?\n)From [^\n]*:[0-9]{2}[^\n]* [0-9]{4}")


class MboxSource:
    """See :class:`mailx.ctl.sources.Source`."""

    def __init__(self, path: str) -> None:
        self.label = os.path.realpath(path)
        self._root = Path(self.label)

    def folders(self) -> list[Folder]:
        if self._root.is_file():
            if not _is_mbox(self._root):
                raise SourceError(f"{self._root} is no mbox file: its first line does not begin with 'From '")
            places: list[tuple[Path, tuple[str, ...]]] = [(self._root, (_bare(self._root.name),))]
        elif self._root.is_dir():
            places = list(self._files(self._root, (), 0))
        else:
            raise SourceError(f"{self._root} is neither a file nor a directory")
        if not places:
            raise SourceError(f"no mbox file is under {self._root}: none begins with a line 'From SENDER DATE'")
        found: dict[str, Folder] = {}
        for place, levels in places:
            name = INBOX if len(levels) == 1 and levels[0].lower() in _INBOXES else folder_name(levels)
            while name in found:
                name += "_"
            found[name] = Folder(name, special_use(name), str(place))
        return sorted(found.values(), key=lambda folder: (folder.name != INBOX, folder.name))

    def count(self, folder: Folder) -> int:
        """As many as there are From lines: a little more than messages where deleted ones still lie in the file."""
        try:
            with self._opened(folder) as file:
                if not os.fstat(file.fileno()).st_size:
                    return 0
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as octets:
                    return sum(1 for _ in _POSTMARK.finditer(octets))
        except NoFile:
            return 0
        except OSError as error:
            raise SourceError(f"{folder.place} cannot be read: {error.strerror}") from None

    def items(self, folder: Folder) -> Iterator[Item]:
        try:
            with self._opened(folder) as file:
                for found in mbox.messages(file):
                    yield Item(found.content, found.flags, found.keywords, found.received)
        except NoFile:
            return  # it was one when the folders were looked for
        except OSError as error:
            raise SourceError(f"{folder.place} cannot be read: {error.strerror}") from None

    @contextmanager
    def _opened(self, folder: Folder) -> Iterator[BinaryIO]:
        """Raises NoFile, OSError."""
        above, name = os.path.split(folder.place)
        with directory(Path(above) if self._root == Path(folder.place) else self._root, above) as inside, plain_file(name, inside) as file:
            yield file

    def _files(self, above: Path, levels: tuple[str, ...], depth: int) -> Iterator[tuple[Path, tuple[str, ...]]]:
        try:
            entries = sorted(os.scandir(above), key=lambda entry: entry.name)
        except OSError as error:
            raise SourceError(f"{above} cannot be read: {error.strerror}") from None
        for entry in entries:
            path = Path(entry.path)
            if entry.name.startswith("."):
                continue
            if entry.is_file(follow_symlinks=False) and _is_mbox(path):
                yield path, (levels if entry.name == "mbox" and levels else (*levels, _bare(entry.name)))
            elif entry.is_dir(follow_symlinks=False) and depth < _DEEPEST:
                yield from self._files(path, (*levels, _bare(entry.name)), depth + 1)


def _bare(name: str) -> str:
    """A file's name without what only says what it is."""
    return re.sub(r"\.(?:mbox|mbx|sbd)\Z", "", os.fsencode(name).decode("utf-8", "replace"), flags=re.IGNORECASE) or name


def _is_mbox(path: Path) -> bool:
    try:
        with plain_file(str(path)) as file:
            return file.read(5) == b"From "
    except NoFile:
        return False
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from None
