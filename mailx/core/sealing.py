"""A message made ready for the store: summarised once, sealed, in a file if it is large.

Small and simple messages are done on the reactor thread (one of 4 KB costs less than a trip to a thread), all others in
the thread pool. Failure: :class:`Refused` when the disk is full; a spool that does not open is :class:`Unavailable`.
"""

from collections.abc import Iterable
from os import urandom
from typing import Any

from attrs import frozen

from mailx.core import headers
from mailx.core.content import Threads, no_space
from mailx.mail.message import Message
from mailx.mail.reply import Unavailable
from mailx.mail.summary import Summary, summarise
from mailx.store.blobs import BlobFile, Blobs
from mailx.store.cipher import Cipher, CipherError
from mailx.store.messages import scope, seal_content, seal_summary
from mailx.store.vault import Vault

# What the reactor does itself, 2 ms at the worst: octets, octets of header fields, lines that may part a multipart.
_IN_PLACE = 16384
_FIELDS_IN_PLACE = 8192
_PARTS_IN_PLACE = 100
_FIELDS = 65536  # octets in which the Message-ID of a message is looked for that is not shown
_ANSWERED = 9  # identifiers of References that are looked up: the first, which began the thread, and the last ones
_ACCOUNTS_IN_PLACE = 50  # accounts whose keyed hashes the reactor computes itself


@frozen
class Sealed:
    """What of a message goes into the store."""

    guid: bytes
    size: int
    summary: bytes
    content: bytes | None
    file: BlobFile | None  # alive until the commit that names it, so that the sweep spares it
    identifiers: tuple[bytes, ...]  # its own, b"" if it has none, then those it answers, In-Reply-To before References
    vault: bool = False  # sealed for one account alone

    def discard(self) -> None:
        """Remove the file: nothing has named it."""
        if self.file is not None:
            self.file.discard()


class Sealing:
    """Seals messages; those of more than ``file_above`` octets into files."""

    def __init__(self, cipher: Cipher, blobs: Blobs, threads: Threads, file_above: int) -> None:
        self._cipher = cipher
        self._blobs = blobs
        self._threads = threads
        self._file_above = file_above

    async def seal(self, message: Message, shown: bool = True) -> Sealed:
        """``message`` sealed; its spool, if it has one, becomes its file. One that is not ``shown`` in a mailbox gets no summary."""
        content = message.content
        if isinstance(content, bytes) and (_simple(content) if shown else len(content) <= _IN_PLACE):
            return self._sealed(content, None, shown)
        try:
            sealed: Sealed = await self._threads(self._large, content, shown)
        except OSError as error:
            raise no_space(error) from None
        except CipherError as error:
            raise Unavailable(str(error)) from None
        return sealed

    def now(self, message: Message, vault: Vault | None) -> Sealed:
        """The same in this thread, for the account's owner alone if there is a ``vault``. Blocks; raises OSError, CipherError."""
        content: Any = message.content
        return self._large(content, True) if vault is None else self._large_for_vault(content, vault)

    def threads_now(self, sealed: Sealed, account: int, vault: Vault | None) -> tuple[bytes, ...]:
        """The keyed hashes of the message's identifiers. In any thread."""
        return self._hashes(sealed.identifiers, account) if vault is None else vault_threads(vault, account, sealed.identifiers)

    async def for_vault(self, message: Message, vault: Vault) -> Sealed:
        """``message`` sealed for its owner alone; its spool, if it has one, is removed."""
        content = message.content
        if isinstance(content, bytes) and _simple(content) and len(content) <= self._file_above:
            return vaulted(content, vault, self._blobs, self._file_above)
        try:
            sealed: Sealed = await self._threads(self._large_for_vault, content, vault)
        except OSError as error:
            raise no_space(error) from None
        except CipherError as error:
            raise Unavailable(str(error)) from None
        return sealed

    def _large_for_vault(self, content: "bytes | BlobFile", vault: Vault) -> Sealed:
        if isinstance(content, bytes):
            return vaulted(content, vault, self._blobs, self._file_above)
        sealed = vaulted(content.read(), vault, self._blobs, self._file_above)
        content.discard()
        return sealed

    async def threads(self, sealed: Sealed, account_ids: Iterable[int]) -> list[tuple[bytes, ...]]:
        """For each account the keyed hashes of the message's identifiers."""
        ids = list(account_ids)
        if len(ids) <= _ACCOUNTS_IN_PLACE:
            return [self._hashes(sealed.identifiers, id) for id in ids]
        hashes: list[tuple[bytes, ...]] = await self._threads(lambda: [self._hashes(sealed.identifiers, id) for id in ids])
        return hashes

    def _hashes(self, identifiers: tuple[bytes, ...], account_id: int) -> tuple[bytes, ...]:
        hash, within = self._cipher.hash, scope(account_id)
        return tuple([hash(b"thread", within, identifier) if identifier else b"" for identifier in identifiers])

    def _large(self, content: "bytes | BlobFile", shown: bool) -> Sealed:
        if isinstance(content, bytes):
            return self._sealed(content, self._blobs.put(content) if len(content) > self._file_above else None, shown)
        return self._sealed(content.read() if shown else content.read(_FIELDS), content, shown)

    def _sealed(self, content: bytes, file: BlobFile | None, shown: bool) -> Sealed:
        guid = urandom(16)
        if not shown:
            size = len(content) if file is None else file.size
            kept = seal_content(self._cipher, guid, content) if file is None else None
            return Sealed(guid, size, b"", kept, file, (headers.message_id(content[:_FIELDS]),))
        data = summarise(content)
        return Sealed(
            guid,
            len(content),
            seal_summary(self._cipher, guid, data),
            seal_content(self._cipher, guid, content) if file is None else None,
            file,
            identifiers(Summary(data)),
        )


def vaulted(content: bytes, vault: Vault, blobs: Blobs, file_above: int) -> Sealed:
    """``content`` summarised and sealed under an account's vault key. Blocks if it is large; raises OSError."""
    guid = urandom(16)
    data = summarise(content)
    large = len(content) > file_above
    return Sealed(
        guid,
        len(content),
        seal_summary(vault, guid, data),
        None if large else seal_content(vault, guid, content),
        vault.put(blobs, guid, content) if large else None,
        identifiers(Summary(data)),
        vault=True,
    )


def vault_threads(vault: Vault, account: int, found: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """The hashes of a message's identifiers for an account that keys them itself."""
    within = scope(account)
    return tuple([vault.hash(b"thread", within, identifier) if identifier else b"" for identifier in found])


def _simple(content: bytes) -> bool:
    """Whether summarising ``content`` is quick: many addresses and many small parts make even a short one slow."""
    if len(content) > _IN_PLACE or content.count(b"\r\n--") > _PARTS_IN_PLACE:
        return False
    fields = headers.end(content)
    return fields is not None and fields <= _FIELDS_IN_PLACE


def identifiers(summary: Summary) -> tuple[bytes, ...]:
    """The message's own identifier and those it answers, in the order in which they decide its thread."""
    references = summary.references
    if len(references) > _ANSWERED:
        references = (references[0], *references[1 - _ANSWERED :])
    return (summary.message_id, *dict.fromkeys((*summary.in_reply_to[:1], *references)))
