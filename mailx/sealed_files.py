"""Files and terminals of ``mailx-seal`` and ``mailx-open``: the key file, the message on standard input, passwords, line ends.

Whatever goes wrong ends the program with one line that says what to do.
"""

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, NoReturn

import click

from mailx.core.unsealed import Source
from mailx.identity.encoding import Malformed
from mailx.identity.user_key_file import UserKeyFile, protected

CHUNK = 65536
_IN_MEMORY = 1 << 20


def crlf(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """``pieces`` with CRLF wherever a line ends."""
    last = b""
    for piece in pieces:
        piece = last + piece
        last = piece[-1:] if piece.endswith(b"\r") else b""
        yield (piece[:-1] if last else piece).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    if last:
        yield last


def lf(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """``pieces`` with LF wherever a line ends, as programs on this side of a mail server want it."""
    last = b""
    for piece in pieces:
        piece = last + piece
        last = piece[-1:] if piece.endswith(b"\r") else b""
        yield (piece[:-1] if last else piece).replace(b"\r\n", b"\n")
    if last:
        yield last


def spooled(stream: IO[bytes]) -> tuple[Source, Callable[[], None]]:
    """What comes from ``stream``, to be read several times, and how it is forgotten."""
    spool = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 -- closed by whoever is done with it
    for piece in crlf(iter(lambda: stream.read(CHUNK), b"")):
        spool.write(piece)

    def source() -> Iterator[bytes]:
        place = 0
        while True:
            spool.seek(place)
            piece = spool.read(CHUNK)
            if not piece:
                return
            place += len(piece)
            yield piece

    return source, spool.close


def failed(text: str) -> NoReturn:
    """End the program."""
    raise click.ClickException(text)


class KeyFile:
    """The key file of a command: opened, and written again when it has changed."""

    def __init__(self, name: str, passphrase_file: str | None) -> None:
        self.path = Path(name).expanduser()
        self._passphrase_file = passphrase_file
        self._passphrase: str | None = None
        self.keys: UserKeyFile | None = None

    def open(self) -> UserKeyFile:
        """The keys; ends the program if there are none."""
        try:
            data = self.path.read_bytes()
            self.keys = UserKeyFile.open(data, self.passphrase() if protected(data) else "")
        except FileNotFoundError:
            failed(f"there are no keys in {self.path}: make some with mailx-open --enrol ADDRESS, or name the file with --key")
        except OSError as error:
            failed(f"{self.path} cannot be read: {error.strerror}")
        except Malformed as error:
            failed(f"the keys in {self.path} do not open: {error}")
        self._passphrase = self._passphrase if protected(data) else ""
        return self.keys

    def passphrase(self, new: bool = False) -> str:
        """What the file is sealed under; asked for once."""
        if self._passphrase is None:
            if self._passphrase_file is not None:
                self._passphrase = line(self._passphrase_file)
            else:
                self._passphrase = asked(f"Passphrase of {self.path}" + (" (empty: none)" if new else ""), new)
        return self._passphrase

    def write(self, keys: UserKeyFile) -> None:
        """Keep ``keys``, whole or not at all."""
        if keys == self.keys and (self.keys is None or keys.known == self.keys.known):
            return
        data = keys.seal(self.passphrase(new=True))
        beside = self.path.with_name(self.path.name + ".new")
        try:
            with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, self.path)
        except OSError as error:
            failed(f"{self.path} cannot be written: {error.strerror}")
        self.keys = keys


def line(name: str) -> str:
    """The first line of the file."""
    try:
        with Path(name).expanduser().open(encoding="utf-8") as file:
            return file.readline().rstrip("\r\n")
    except (OSError, UnicodeDecodeError):
        failed(f"{name} cannot be read")


def asked(what: str, twice: bool = False) -> str:
    """Typed at the terminal: standard input has the message."""
    try:
        return str(
            click.prompt(what, hide_input=True, confirmation_prompt=twice, default="" if twice else None, show_default=False, err=True)
        )
    except click.Abort:
        failed("nothing was typed")


def put(pieces: Iterable[bytes], stream: IO[bytes], unix: bool) -> None:
    """Write ``pieces``; with ``unix`` the lines end with LF."""
    for piece in lf(pieces) if unix else pieces:
        stream.write(piece)
