"""The proof of an import: what was stored is opened again, and its digest told, with the flags and the date it has now."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Literal, TypeAlias

from attrs import frozen

from mailx.core.bringing import digest_hash
from mailx.core.content import Threads
from mailx.core.keyring import Keyring
from mailx.mail.reply import Unavailable
from mailx.store import Store, Txn, entries, imports
from mailx.store.blobs import Blobs
from mailx.store.cipher import Cipher, CipherError
from mailx.store.contents import Opened, Stored, opened
from mailx.store.vault import Vault

State: TypeAlias = Literal["there", "removed", "sealed"]

_SLICE = 256  # messages opened by one reading
_OCTETS = 1024 * 1024  # of their contents
_PIECE = 1024 * 1024  # octets of a long one


@frozen
class Found:
    """A message that has come.

    ``state``: it is there; removed, or moved to another mailbox, since; or sealed for its owner, so that nobody else can look.
    ``digest``: SHA-256 of its content, ``same``: it is what it was when it came, ``flags``: all bits that it has now.
    """

    state: State
    digest: bytes = b""
    same: bool = False
    flags: int = 0
    received: int = 0


@frozen
class _Entry:
    key: bytes
    digest: bytes
    message_id: int
    size: int
    flags: int
    received: int


class Check:
    """Looks at what has come."""

    def __init__(self, store: Store, cipher: Cipher, blobs: Blobs, keyring: Keyring | None, threads: Threads) -> None:
        self._store = store
        self._cipher = cipher
        self._blobs = blobs
        self._keyring = keyring
        self._threads = threads

    async def found(self, account: int, import_id: int, keys: Sequence[bytes]) -> dict[bytes, Found]:
        """What is there of the messages of these keys; those that never came are left out. Raises Unavailable."""
        states, there = await self._store.read(_entries, import_id, keys)
        vault = None if self._keyring is None else self._keyring.vault(account)
        batch: list[_Entry] = []
        octets = 0
        for entry in there:
            if batch and (octets + entry.size > _OCTETS or len(batch) >= _SLICE):
                states.update(await self._opened(import_id, batch, vault))
                batch, octets = [], 0
            batch.append(entry)
            octets += entry.size
        if batch:
            states.update(await self._opened(import_id, batch, vault))
        return states

    async def _opened(self, import_id: int, batch: Sequence[_Entry], vault: Vault | None) -> dict[bytes, Found]:
        read: Opened = await self._store.read(opened, self._cipher, [], sorted({entry.message_id for entry in batch}), vault)
        try:
            digests: dict[int, bytes] = await self._threads(self._digests, read, vault)
        except (OSError, CipherError) as error:
            raise Unavailable(str(error)) from None
        context = import_id.to_bytes(8, "big")
        found: dict[bytes, Found] = {}
        for entry in batch:
            digest = digests.get(entry.message_id)
            if digest is None and entry.message_id not in read.damaged:
                found[entry.key] = Found("sealed", flags=entry.flags, received=entry.received)
                continue
            same = digest is not None and digest_hash(self._cipher, context, digest) == entry.digest
            found[entry.key] = Found("there", digest or b"", same, entry.flags, entry.received)
        return found

    def _digests(self, read: Opened, vault: Vault | None) -> dict[int, bytes]:
        """Runs in a thread."""
        return {id: self._digest(stored, vault) for id, stored in read.contents.items()}

    def _digest(self, stored: Stored, vault: Vault | None) -> bytes:
        if stored.file is None:
            return sha256(stored.content or b"").digest()
        digest = sha256()
        for start in range(0, stored.size, _PIECE):
            if stored.vault and vault is not None:
                digest.update(vault.read(self._blobs, stored.file, stored.guid, start, _PIECE))
            else:
                digest.update(self._blobs.read(stored.file, start, _PIECE))
        return digest.digest()


def _entries(txn: Txn, import_id: int, keys: Sequence[bytes]) -> tuple[dict[bytes, Found], list[_Entry]]:
    """The states of those that cannot be looked at, and the entries of the others."""
    states: dict[bytes, Found] = {}
    by_mailbox: dict[int, list[imports.Known]] = {}
    for each in imports.known(txn, import_id, keys):
        if not each.uid:
            states[each.key] = Found("sealed")
        else:
            by_mailbox.setdefault(each.mailbox, []).append(each)
    there: list[_Entry] = []
    for mailbox, expected in by_mailbox.items():
        rows = {row[0]: row for row in entries.some(txn, mailbox, sorted(each.uid for each in expected))}
        for each in expected:
            row = rows.get(each.uid)
            if row is None:
                states[each.key] = Found("removed")
            else:
                _, flags, _, size, message_id, received, _, _ = row
                there.append(_Entry(each.key, each.digest, message_id, size, flags, received))
    return states, there
