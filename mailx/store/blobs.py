"""Encrypted files for content too large for the database; the format is written down in docs/cipher.rst.

A file is written under its final random name with ``.tmp`` appended, fsynced, renamed, and its directory fsynced
before ``finish`` returns: a commit may name it from then on. Names are random and never used twice. What a crash
or an undone transaction leaves behind is removed by the sweep, which spares every file whose writer or
:class:`BlobFile` is still alive in this process. Everything here blocks: call it in a thread.
Failure means OSError (the disk) or :class:`~mailx.store.cipher.CipherError` (the file was damaged).
"""

import os
import secrets
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from io import BytesIO, FileIO
from struct import Struct
from threading import Lock
from weakref import WeakSet

from attrs import define, field

from mailx.store.chunks import CHUNK, SEALED_CHUNK, Chain, layout
from mailx.store.cipher import SALT_SIZE, Cipher, CipherError

_MAGIC = b"MXB\1"
_HEAD = Struct(f">4sH{SALT_SIZE}s")  # magic with version, number of the data key, salt
_PURPOSE = b"blob"
_WHAT = "a blob file"
_UNFINISHED = ".tmp"
_OWNER = "owner"  # the file that tells whose the others are


class ForeignFiles(Exception):
    """The files belong to another database; the text is for the operator."""


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _fsync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _chain(cipher: Cipher, head: bytes, name: str) -> Chain:
    _, number, salt = _HEAD.unpack(head)
    return Chain(cipher.key(b"file", _PURPOSE, number), salt, head + name.encode("ascii"), _WHAT)


@define(eq=False)
class BlobFile:
    """A finished file that nothing may name yet; satisfies ``mailx.mail.message.Spooled``.

    While this object lives the sweep spares the file. ``size`` is that of the content, in octets.
    """

    name: str
    size: int
    _blobs: "Blobs" = field(repr=False)

    def read(self, length: int | None = None) -> bytes:
        """The whole content, or its first ``length`` octets."""
        return self._blobs.read(self.name, 0, length)

    def discard(self) -> None:
        """Remove the file: nothing has named it."""
        self._blobs.unlink(self.name)


class BlobWriter:
    """One file being written; used by one thread at a time."""

    def __init__(self, blobs: "Blobs", cipher: Cipher, name: str, path: str) -> None:
        self.name = name
        self.size = 0
        self._blobs = blobs
        self._path = path
        head = _HEAD.pack(_MAGIC, cipher.current, os.urandom(SALT_SIZE))
        self._chain = _chain(cipher, head, name)
        self._index = 0
        self._waiting = bytearray()  # plain text of the chunk that is not full, or not known to be followed by another
        self._head = head
        self._file: FileIO | None = None

    def open(self) -> None:
        """Make the file; raises OSError, FileNotFoundError when its directory is missing."""
        self._file = open(self._path + _UNFINISHED, "xb", buffering=0, opener=_private)
        try:
            self._write_out(self._head)
        except BaseException:
            self.abort()
            raise

    def write(self, data: bytes) -> None:
        """Append ``data``; raises OSError, after which only ``abort`` makes sense."""
        self.size += len(data)
        waiting = self._waiting
        waiting += data
        if len(waiting) <= CHUNK:
            return
        sealed = []
        start = 0
        with memoryview(waiting) as view:
            while len(waiting) - start > CHUNK:  # the last chunk stays until it is known whether it is the final one
                sealed.append(self._chain.seal(self._index, False, view[start : start + CHUNK]))
                self._index += 1
                start += CHUNK
        del waiting[:start]
        self._write_out(b"".join(sealed))

    def finish(self) -> BlobFile:
        """Make the file durable under its name: fsync, rename, fsync of the directory. On failure nothing stays."""
        try:
            self._write_out(self._chain.seal(self._index, True, bytes(self._waiting)))
            self._waiting.clear()
            self._close(durable=True)
            os.rename(self._path + _UNFINISHED, self._path)
            _fsync_directory(os.path.dirname(self._path))
        except BaseException:
            self.abort()
            self._blobs.unlink(self.name)
            raise
        return self._blobs._finished(self)

    def abort(self) -> None:
        """Leave nothing behind. May be called at any time, and twice."""
        self._close(durable=False)
        self._waiting.clear()
        with suppress(FileNotFoundError):
            os.unlink(self._path + _UNFINISHED)

    def _write_out(self, data: bytes) -> None:
        if self._file is None:
            raise ValueError("the file is finished or was never made")
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]

    def _close(self, durable: bool) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            try:
                if durable:
                    os.fsync(file.fileno())
            finally:
                file.close()


class Blobs:
    """The blob files under ``directory``, in 256 subdirectories that are made at first use."""

    def __init__(self, directory: str, cipher: Cipher) -> None:
        self._directory = os.path.abspath(directory)
        self._cipher = cipher
        self._lock = Lock()
        self._alive: WeakSet[BlobWriter | BlobFile] = WeakSet()
        if not os.path.isdir(self._directory):
            os.makedirs(self._directory, mode=0o700, exist_ok=True)
            _fsync_directory(os.path.dirname(self._directory))

    def claim(self) -> None:
        """Make sure that the files belong to the database whose keys these are: a sweep by another would remove them all.

        The first database to come leaves its mark. Raises ForeignFiles, OSError.
        """
        path = f"{self._directory}/{_OWNER}"
        mark = self._cipher.hash(_PURPOSE, b"", b"").hex()
        try:
            with open(path, encoding="ascii") as file:
                found = file.read(100).strip()
        except FileNotFoundError:
            with open(path + _UNFINISHED, "w", encoding="ascii", opener=_private) as file:
                file.write(f"{mark}\n")
                file.flush()
                os.fsync(file.fileno())
            os.rename(path + _UNFINISHED, path)
            _fsync_directory(self._directory)
            return
        if found != mark:
            raise ForeignFiles(
                f"the files in {self._directory} belong to another database than the one that store.url names: correct it, "
                "or choose another directory with server.data"
            )

    def create(self) -> BlobWriter:
        """A new file to write; raises OSError."""
        name = secrets.token_hex(16)
        path = self._path(name)
        writer = BlobWriter(self, self._cipher, name, path)
        with self._lock:  # known before the file exists, so that no sweep can meet it unknown
            self._alive.add(writer)
        try:
            writer.open()
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            _fsync_directory(self._directory)
            writer.open()
        return writer

    spool = create  # a spool is the future blob file: accepting it renames, never rewrites

    def put(self, content: bytes) -> BlobFile:
        """``content`` as a finished, durable file."""
        writer = self.create()
        try:
            writer.write(content)
        except BaseException:
            writer.abort()
            raise
        return writer.finish()

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """``length`` octets (None: all) of the content from ``offset``, fewer at its end; opens only the chunks needed."""
        buffer = BytesIO()  # gives its content away without a copy, where join would hold everything twice
        for piece in self.iterate(name, offset, length):
            buffer.write(piece)
        return buffer.getvalue()

    def iterate(self, name: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """As ``read``, in pieces of at most ``CHUNK`` octets. Raises CipherError, FileNotFoundError, OSError."""
        with open(self._path(name), "rb", buffering=0) as file:
            head = file.read(_HEAD.size)
            if len(head) < _HEAD.size or not head.startswith(_MAGIC):
                raise CipherError("not a blob file")
            chain = _chain(self._cipher, head, name)
            last, size = _layout(os.fstat(file.fileno()).st_size)
            end = size if length is None else min(size, offset + length)
            if offset >= end and not (offset == 0 and size == 0):
                return
            index = offset // CHUNK
            file.seek(_HEAD.size + index * SEALED_CHUNK)
            while index <= last:
                start = index * CHUNK
                plain = chain.open(index, index == last, _read_whole(file, SEALED_CHUNK))
                if start < offset or start + len(plain) > end:
                    plain = plain[max(0, offset - start) : end - start]
                yield plain
                index += 1
                if index * CHUNK >= end:
                    return

    def exists(self, name: str) -> bool:
        """Whether the file is there."""
        return os.path.exists(self._path(name))

    def size(self, name: str) -> int:
        """Octets of content, told from the size of the file."""
        return _layout(os.stat(self._path(name)).st_size)[1]

    def unlink(self, name: str) -> None:
        """Remove a file; one that is not there is no error."""
        with suppress(FileNotFoundError):
            os.unlink(self._path(name))

    def names(self) -> Iterator[str]:
        """The names of all finished files."""
        return (name for name, path in self._walk() if not path.endswith(_UNFINISHED))

    def in_flight(self) -> frozenset[str]:
        """Names that a writer or BlobFile of this process still holds."""
        with self._lock:
            return frozenset(blob.name for blob in self._alive)

    def candidates(self, older_than: float = 0) -> frozenset[str]:
        """Names on disk, unfinished ones included, that nothing in this process holds.

        Take them before reading from the database which are referenced: in this order no file can be missed that a
        commit names meanwhile. ``older_than`` (seconds) spares young files, for other nodes that share the directory.
        """
        latest = time.time() - older_than
        found = set()
        for name, path in self._walk():
            with suppress(FileNotFoundError):
                if not older_than or os.stat(path).st_mtime < latest:
                    found.add(name)
        return frozenset(found) - self.in_flight()

    def sweep(self, candidates: Collection[str], referenced: Collection[str]) -> int:
        """Remove the ``candidates`` that are not ``referenced`` and not in flight; the number removed."""
        orphans = set(candidates).difference(referenced, self.in_flight())
        for name in orphans:
            self.unlink(name)
            with suppress(FileNotFoundError):
                os.unlink(self._path(name) + _UNFINISHED)
        return len(orphans)

    def _walk(self) -> Iterator[tuple[str, str]]:
        for directory in os.scandir(self._directory):
            if directory.is_dir() and len(directory.name) == 2:
                for file in os.scandir(directory.path):
                    yield file.name.removesuffix(_UNFINISHED), file.path

    def _finished(self, writer: BlobWriter) -> BlobFile:
        file = BlobFile(writer.name, writer.size, self)
        with self._lock:
            self._alive.add(file)  # the writer goes when it is forgotten
        return file

    def _path(self, name: str) -> str:
        if len(name) != 32 or not name.isalnum():
            raise ValueError("not the name of a blob file")
        return f"{self._directory}/{name[:2]}/{name}"


def _layout(file_size: int) -> tuple[int, int]:
    """Index of the final chunk and size of the content of a file of ``file_size`` octets."""
    return layout(file_size - _HEAD.size, _WHAT)


def _read_whole(file: FileIO, size: int) -> bytes:
    data = file.read(size)
    while len(data) < size:
        more = file.read(size - len(data))
        if not more:
            break
        data += more
    return data
