"""A Maildir as a source of an import: the folders in it, whichever way they are laid out, and their messages.

No link in it is followed.

Folders may be laid out as Maildir++ (``.Sent.2024``, names in modified UTF-7) or as directories in each other (``Sent/2024``).
A program may still be at work in the Maildir: what it renames meanwhile is looked for again, what it removes is left out.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from mailx.ctl.sources import Folder, Item, NoFile, SourceError, directory, folder_name, plain_file
from mailx.imap import utf7
from mailx.mail import maildir
from mailx.mail.names import INBOX
from mailx.mail.special_folders import special_use

_DEEPEST = 50  # directories in each other that are looked into
_ESCAPED = re.compile(rb"%([0-9A-Fa-f]{2})")
_TIME = re.compile(r"([0-9]+)(?:\.(?:M([0-9]+))?)?")


@frozen
class _File:
    part: str  # "cur" or "new"
    name: str
    unique: str  # of its name, what stays when flags change


class MaildirSource:
    """See :class:`mailx.ctl.sources.Source`."""

    def __init__(self, path: str) -> None:
        self.label = os.path.realpath(path)
        self._root = Path(self.label)

    def folders(self) -> list[Folder]:
        if not self._root.is_dir():
            raise SourceError(f"{self._root} is no directory: name the one that has cur, new and tmp in it, or the one above such ones")
        found: dict[str, Folder] = {}
        for place, levels in self._maildirs(self._root, (), 0):
            name = folder_name(levels) if levels else INBOX
            while name in found:  # two spellings of one name
                name += "_"
            found[name] = Folder(name, special_use(name), str(place))
        if not found:
            raise SourceError(f"no Maildir is at or under {self._root}: there is no directory with cur and new in it")
        return sorted(found.values(), key=lambda folder: (folder.name != INBOX, folder.name))

    def count(self, folder: Folder) -> int:
        return len(self._files(folder.place))

    def items(self, folder: Folder) -> Iterator[Item]:
        keywords = self._keywords(folder.place)
        for file in self._files(folder.place):
            item = self._item(folder.place, file, keywords)
            if item is not None:
                yield item

    def _maildirs(self, above: Path, levels: tuple[str, ...], depth: int) -> Iterator[tuple[Path, tuple[str, ...]]]:
        """Every Maildir at and under ``above`` with the levels of its name."""
        if all((above / part).is_dir() and not (above / part).is_symlink() for part in ("cur", "new")):
            yield above, levels
        if depth >= _DEEPEST:
            return
        try:
            inside = sorted(entry.name for entry in os.scandir(above) if entry.is_dir(follow_symlinks=False))
        except OSError as error:
            raise SourceError(f"{above} cannot be read: {error.strerror}") from None
        for name in inside:
            if name not in ("cur", "new", "tmp"):
                # Maildir++ puts all levels into one name, which begins with a dot.
                parts = name[1:].split(".") if name.startswith(".") else [name]
                if all(parts):
                    yield from self._maildirs(above / name, (*levels, *map(_decoded, parts)), depth + 1)

    def _files(self, place: str) -> list[_File]:
        found = []
        for part in ("cur", "new"):
            try:
                with directory(self._root, place, part) as inside:
                    names = os.listdir(inside)
            except NoFile:
                raise SourceError(f"{place}/{part} is a link: it is not followed") from None
            except OSError as error:
                raise SourceError(f"{place}/{part} cannot be read: {error.strerror}") from None
            found += [_File(part, name, _unique(name)) for name in names if not name.startswith(".")]
        return sorted(found, key=_order)

    def _keywords(self, place: str) -> dict[str, str]:
        try:
            with directory(self._root, place) as inside, plain_file(maildir.KEYWORDS_FILE, inside) as file:
                return maildir.keywords(file.read().decode("utf-8", "replace"))
        except (NoFile, OSError):
            return {}

    def _item(self, place: str, file: _File, keywords: dict[str, str]) -> Item | None:
        """The message; None if it is gone."""
        for at in (file, None):
            at = at or next((other for other in self._files(place) if other.unique == file.unique), None)
            if at is None:
                return None
            try:
                with directory(self._root, place, at.part) as inside, plain_file(at.name, inside) as stream:
                    content, status = stream.read(), os.fstat(stream.fileno())
            except FileNotFoundError:
                continue
            except NoFile:
                return None
            except OSError as error:
                raise SourceError(f"{place}/{at.part}/{at.name} cannot be read: {error.strerror}") from None
            flags, named = maildir.state(at.name, keywords)
            return Item(content, flags, named, int(status.st_mtime))
        return None


def _unique(name: str) -> str:
    return re.split(r"[:;!]2,", name, maxsplit=1)[0]


def _order(file: _File) -> tuple[int, int, str]:
    """By the time in the name, as messages came."""
    time = _TIME.match(file.unique)
    return (int(time[1]), int(time[2] or 0), file.unique) if time else (0, 0, file.unique)


def _decoded(name: str) -> str:
    """The name of a folder: modified UTF-7 if it is that, else UTF-8, where %XX stands for an octet."""
    raw = os.fsencode(name)
    try:
        return utf7.decode(_ESCAPED.sub(_octet, raw))
    except utf7.UTF7Error:
        return _ESCAPED.sub(_octet, raw).decode("utf-8", "replace")


def _octet(match: "re.Match[bytes]") -> bytes:
    return bytes([int(match[1], 16)])
