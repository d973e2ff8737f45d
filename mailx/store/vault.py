"""What lies in the store for its owner alone: sealed under the vault key of an account, inside the server's own encryption.

A vault seals and opens like the Cipher, so whatever works on rows works on these; what it seals is a chain of chunks
(:mod:`mailx.store.chunks`), so that a part of a large file opens without the rest. The format is written down in
docs/sealed-accounts.rst. Failure is :class:`~mailx.store.cipher.CipherError`: damaged,
moved, cut short, or another account's. May be used from any thread.
"""

import os
from collections.abc import Callable, Iterator
from hashlib import blake2b
from struct import Struct

from mailx.store.blobs import BlobFile, Blobs
from mailx.store.chunks import CHUNK, SEALED_CHUNK, Chain, layout
from mailx.store.cipher import HASH_SIZE, SALT_SIZE, Cipher, CipherError, subkey

_MAGIC = b"MXV\1"
_HEAD = Struct(f">4s{SALT_SIZE}s")
_LENGTH = Struct(">I")
_WHAT = "what a vault holds"
_HASH = b"\1"  # before every hash: the server's own are an octet shorter


class Vault:
    """Seals and opens for one account; satisfies :class:`mailx.store.messages.Sealer`."""

    def __init__(self, cipher: Cipher, key: bytes) -> None:
        """``key``: the account's vault key, 32 octets."""
        self._cipher = cipher
        self._key = key

    def seal(self, purpose: bytes, context: bytes, plain: bytes) -> bytes:
        """``plain`` as a chain of chunks, without the server's own encryption around it."""
        return b"".join(self._sealed(purpose, context, plain))

    def open(self, purpose: bytes, context: bytes, sealed: bytes) -> bytes:
        """What ``seal`` sealed for the same purpose and context."""
        return b"".join(self._opened(purpose, context, len(sealed), 0, None, lambda offset, length: sealed[offset : offset + length]))

    def seal_bulk(self, purpose: bytes, context: bytes, plain: bytes) -> bytes:
        """``plain`` sealed, inside the server's own encryption."""
        return self._cipher.seal_bulk(purpose, context, self.seal(purpose, context, plain))

    def open_bulk(self, purpose: bytes, context: bytes, sealed: bytes) -> bytes:
        """What ``seal_bulk`` sealed for the same purpose and context."""
        return self.open(purpose, context, self._cipher.open_bulk(purpose, context, sealed))

    def hash(self, purpose: bytes, scope: bytes, value: bytes) -> bytes:
        """17 octets by which ``value`` is looked up; the server's secrets alone do not tell of which value they are."""
        key = subkey(self._key, b"hash", purpose)
        return _HASH + blake2b(_LENGTH.pack(len(scope)) + scope + value, key=key, digest_size=HASH_SIZE).digest()

    # Files. Everything here blocks.

    def put(self, blobs: Blobs, context: bytes, content: bytes) -> BlobFile:
        """``content`` as a finished, durable file; raises OSError."""
        writer = blobs.create()
        try:
            for piece in self._sealed(b"file", context, content):
                writer.write(piece)
        except BaseException:
            writer.abort()
            raise
        return writer.finish()

    def read(self, blobs: Blobs, name: str, context: bytes, offset: int = 0, length: int | None = None) -> bytes:
        """``length`` octets (None: all) of the content from ``offset``; opens only the chunks needed. Raises OSError."""
        size = blobs.size(name)
        return b"".join(self._opened(b"file", context, size, offset, length, lambda at, count: blobs.read(name, at, count)))

    def _sealed(self, purpose: bytes, context: bytes, plain: bytes) -> Iterator[bytes]:
        head = _HEAD.pack(_MAGIC, os.urandom(SALT_SIZE))
        chain = self._chain(purpose, head, context)
        yield head
        last = max(0, len(plain) - 1) // CHUNK
        with memoryview(plain) as view:
            for index in range(last + 1):
                yield chain.seal(index, index == last, view[index * CHUNK : (index + 1) * CHUNK])

    def _opened(
        self, purpose: bytes, context: bytes, octets: int, offset: int, length: int | None, read: Callable[[int, int], bytes]
    ) -> Iterator[bytes]:
        """The plain text from ``offset`` on; ``read(offset, length)`` gives the ``octets`` of the sealed value."""
        last, size = layout(octets - _HEAD.size, _WHAT)
        chain = self._chain(purpose, read(0, _HEAD.size), context)
        end = size if length is None else min(size, offset + length)
        if offset >= end and size:
            return
        first, stop = offset // CHUNK, max(0, end - 1) // CHUNK
        with memoryview(read(_HEAD.size + first * SEALED_CHUNK, (stop - first + 1) * SEALED_CHUNK)) as view:
            for index in range(first, stop + 1):
                at = (index - first) * SEALED_CHUNK
                plain = chain.open(index, index == last, view[at : at + SEALED_CHUNK])
                start = index * CHUNK
                yield plain[max(0, offset - start) : end - start]

    def _chain(self, purpose: bytes, head: bytes, context: bytes) -> Chain:
        magic, salt = _HEAD.unpack(head)
        if magic != _MAGIC:
            raise CipherError("not sealed under a vault key")
        return Chain(subkey(self._key, b"vault", purpose), salt, head + context, _WHAT)
