"""Making sealed messages out of readable ones: the content is read twice, once for its digest and once for each container.

Small ones are made on the reactor thread in well under two milliseconds, all others in the thread pool; what is large goes
from file to file, and memory holds a chunk of it. Failure is :class:`Refused`: the disk is full, or a file does not open.
"""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from time import time

from attrs import frozen

from mailx.core.content import Threads, no_space
from mailx.identity import sealed_message, sealing
from mailx.identity.sealing import Sender
from mailx.mail.address import Address
from mailx.mail.message import Message, Spooled
from mailx.mail.reply import Unavailable
from mailx.store.blobs import BlobFile, Blobs, BlobWriter
from mailx.store.cipher import CipherError

HEAD = 65536  # octets of a message in which its fields are looked for

_IN_PLACE = 16384  # octets that the reactor seals itself
_KEYS_IN_PLACE = 4  # recipients; a sealed box takes a tenth of a millisecond
_IN_MEMORY = 524288  # octets of content whose sealed form does not need a file
_RETURN_PATH = b"return-path:"


@frozen
class Addressed:
    """One sealed message to make: for these keys, and for whom its fields name.

    ``final``: it is stored here, so a Return-Path stays, outside.
    """

    keys: Sequence[bytes]  # X25519
    named: Sequence[Address]
    final: bool = False


@frozen
class _Plain:
    """What is sealed: the content without the Return-Path that this server may have put before it."""

    content: bytes | BlobFile
    path: bytes  # that Return-Path
    size: int
    digest: bytes


class Making:
    """Makes them. ``now`` is the time of day."""

    def __init__(self, blobs: Blobs, threads: Threads) -> None:
        self._blobs = blobs
        self._threads = threads

    async def made(self, message: Message, author: Address, sender: Sender | None, wanted: Sequence[Addressed]) -> list[Message]:
        """``message`` sealed for each of ``wanted``, from ``author``. Raises Refused; then nothing was kept. Malformed: a key is none."""
        content = message.content
        small = isinstance(content, bytes) and len(content) <= _IN_PLACE
        if small and sum([len(each.keys) for each in wanted]) <= _KEYS_IN_PLACE:
            return self._all(content, author, sender, wanted)
        try:
            done: list[Message] = await self._threads(self._all, content, author, sender, wanted)
        except OSError as error:
            raise no_space(error) from None
        except CipherError as error:
            raise Unavailable(str(error)) from None
        return done

    async def head(self, message: Message) -> bytes:
        """The first octets of ``message``, where its fields stand. Raises Unavailable."""
        content = message.content
        if isinstance(content, bytes):
            return content[:HEAD]
        try:
            first: bytes = await self._threads(content.read, HEAD)
        except (OSError, CipherError) as error:
            raise Unavailable(str(error)) from None
        return first

    def _all(self, content: "bytes | Spooled", author: Address, sender: Sender | None, wanted: Sequence[Addressed]) -> list[Message]:
        plain = self._read(content)
        made: list[Message] = []
        try:
            for each in wanted:
                made.append(self._one(plain, author, sender, each))
        except BaseException:
            for message in made:
                if not isinstance(message.content, bytes):
                    message.content.discard()
            raise
        return made

    def _one(self, plain: _Plain, author: Address, sender: Sender | None, wanted: Addressed) -> Message:
        now = int(time())
        container = sealing.sealed(wanted.keys, self._pieces(plain), plain.size, plain.digest, sender, now)
        head = (plain.path if wanted.final else b"") + sealed_message.head(author, wanted.named, now)
        eight_bit = not head.isascii()
        if plain.size <= _IN_MEMORY:
            whole = b"".join((head, *sealed_message.encoded(container)))
            return Message(whole, len(whole), eight_bit)
        file = self._written(self._blobs.spool(), head, sealed_message.encoded(container))
        return Message(file, file.size, eight_bit)

    def _written(self, writer: BlobWriter, head: bytes, body: Iterable[bytes]) -> BlobFile:
        try:
            writer.write(head)
            for piece in body:
                writer.write(piece)
        except BaseException:
            writer.abort()
            raise
        return writer.finish()

    def _read(self, content: "bytes | Spooled") -> _Plain:
        """Look through ``content`` once."""
        digest, size, path = sha256(), 0, b""
        if not isinstance(content, (bytes, BlobFile)):
            content = content.read()
        plain = _Plain(content, b"", 0, b"")
        for first, piece in enumerate(self._pieces(plain)):
            if not first and piece[: len(_RETURN_PATH)].lower() == _RETURN_PATH:
                path = piece[: piece.find(b"\n") + 1]
                piece = piece[len(path) :]
            digest.update(piece)
            size += len(piece)
        return _Plain(content, path, size, digest.digest())

    def _pieces(self, plain: _Plain) -> Iterator[bytes]:
        content, skipped = plain.content, len(plain.path)
        if isinstance(content, bytes):
            yield content[skipped:] if skipped else content
            return
        for piece in self._blobs.iterate(content.name):
            yield piece[skipped:] if skipped else piece
            skipped = 0
