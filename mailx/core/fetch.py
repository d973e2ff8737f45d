"""Reading messages for a session: entries from its snapshot, summaries and contents from the store.

Batches are bounded in octets and in count, and none is read before the one before it was taken, so that a
fetch of any size holds one batch in memory. A message whose content another session's expunge has already
removed is left out.
"""

from array import array
from collections.abc import AsyncIterator, Iterator, Sequence
from enum import IntFlag
from typing import TYPE_CHECKING, Any, NamedTuple

from attrs import frozen
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from mailx.core.prepared import Prepared
from mailx.core.selected import Selected
from mailx.core.summaries import Summaries
from mailx.core.turns import Turns
from mailx.mail.summary import Summary
from mailx.store import Store
from mailx.store.contents import Opened, Stored, opened
from mailx.store.contents import contents as only_contents
from mailx.store.contents import guids as message_guids
from mailx.store.entries import some

if TYPE_CHECKING:
    from mailx.core.keyring import Keyring
    from mailx.store.blobs import Blobs
    from mailx.store.cipher import Cipher
    from mailx.store.vault import Vault

log = Logger()

BATCH = 256  # messages
BATCH_OCTETS = 1024 * 1024  # of contents


class Need(IntFlag):
    """What a fetch must read beyond the session's snapshot."""

    NONE = 0
    SUMMARY = 1
    CONTENT = 2
    GUID = 4  # Row.guid; comes with SUMMARY and CONTENT anyway


_PRIVATE = 4 * 1024 * 1024  # octets of summaries kept of one sealed account while it is open, and of texts made of them
_SUMMARY = int(Need.SUMMARY)  # plain integers: an operation on an IntFlag costs ten times as much
_CONTENT = int(Need.CONTENT)


@frozen
class Blob:
    """The content of a message that lies in a file and is read in pieces; ``size`` in octets."""

    file: str
    size: int
    guid: bytes = b""
    vault: "Vault | None" = None  # opens it, if it is sealed for its owner alone


class Row(NamedTuple):
    """One message as one session sees it. A tuple, because a fetch makes ten thousand."""

    uid: int
    index: int  # type: ignore[assignment]  # in the session's snapshot: its sequence number less one
    flags: int
    modseq: int
    received: int  # INTERNALDATE, seconds since 1970
    saved: int  # SAVEDATE, seconds since 1970
    size: int  # octets
    message_id: int
    thread_id: int
    guid: bytes  # empty unless needed
    summary: Summary | None  # None unless needed
    content: bytes | Blob | None  # None unless needed


Summarised = tuple[Sequence[int], list[Summary]]


class Reader:
    """Reads summaries and contents; keeps opened summaries for all sessions."""

    def __init__(self, store: Store, cipher: "Cipher", blobs: "Blobs", reactor: Any, keyring: "Keyring | None" = None) -> None:
        """``keyring`` has the keys of sealed accounts whose owners are here: what it opened is forgotten with them."""
        self._store = store
        self._cipher = cipher
        self._blobs = blobs
        self._reactor = reactor
        self._summaries = Summaries()
        self._keyring = keyring
        self._prepared = Prepared()
        self._private: dict[int, tuple[Summaries, Prepared]] = {}  # of sealed accounts
        if keyring is not None:
            keyring.on_close(self._forget)

    def _forget(self, account: int) -> None:
        self._private.pop(account, None)

    def forget(self) -> None:
        """Forget all summaries of ordinary accounts: one of them is sealed now."""
        self._summaries = Summaries()
        self._prepared = Prepared()

    def vault(self, account: int) -> "Vault | None":
        """What opens the mail of a sealed account; None for any other, or when its owner is gone."""
        return None if self._keyring is None else self._keyring.vault(account)

    def _held(self, account: int, vault: "Vault | None") -> Summaries:
        return self._summaries if vault is None else self._private_of(account)[0]

    def prepared(self, account: int) -> Prepared:
        """Where texts made of what summaries of an account say are kept as long as the summaries may be."""
        return self._prepared if self.vault(account) is None else self._private_of(account)[1]

    def _private_of(self, account: int) -> tuple[Summaries, Prepared]:
        found = self._private.get(account)
        if found is None:
            found = self._private[account] = Summaries(_PRIVATE), Prepared(_PRIVATE)
        return found

    async def rows(self, selected: Selected, uids: Sequence[int], need: Need) -> AsyncIterator[list[Row]]:
        """The messages with these UIDs that the session knows, in their order, batch after batch."""
        turns = Turns(self._reactor)
        for batch in self._batches(selected, uids, int(need)):
            await self.complete(selected, batch)
            rows = await self._rows(selected, [index for _, index in selected.indexes(batch)], int(need))
            if rows:
                yield rows
            await turns.spare()

    async def summarised(self, selected: Selected, uids: Sequence[int]) -> AsyncIterator[Summarised]:
        """The indexes and the summaries, side by side, of those of the messages that are still there: less work than ``rows``."""
        turns = Turns(self._reactor)
        for batch in self._batches(selected, uids, _SUMMARY):
            await self.complete(selected, batch)
            indexes = [index for _, index in selected.indexes(batch)]
            vault = self.vault(selected.mailbox.account)
            held = self._held(selected.mailbox.account, vault)
            packed, read = await self._packed(held, vault, picked(selected.message_ids, indexes))
            held.put_all(read.summaries)
            found = [one for one in packed if one is not None]
            if len(found) < len(packed):
                indexes = [index for index, one in zip(indexes, packed, strict=True) if one is not None]
            if found:
                run = indexes[-1] - indexes[0] == len(indexes) - 1
                yield range(indexes[0], indexes[-1] + 1) if run else indexes, list(map(Summary, found))
            await turns.spare()

    async def summaries(self, account: int, message_ids: Sequence[int]) -> list[Summary | None]:
        """The summaries of these messages of an account in their order, None for one that is gone. At most BATCH in one go."""
        read = await self._texts(account, message_ids, _SUMMARY)
        return read.summaries

    async def complete(self, selected: Selected, uids: Sequence[int]) -> None:
        """Read what the session's snapshot lacks of messages that arrived after it."""
        if not selected.lacking:
            return
        lacking = [uid for uid in uids if uid in selected.lacking]
        for start in range(0, len(lacking), BATCH):
            part = lacking[start : start + BATCH]
            selected.fill(await self._store.read(some, selected.mailbox.id, part))
            selected.lacking.difference_update(part)  # what is not there any more never will be

    async def read(self, content: bytes | Blob, offset: int = 0, length: int | None = None) -> bytes:
        """``length`` octets (None: all) of a content from ``offset`` on; fewer where it ends."""
        if isinstance(content, bytes):
            return content[offset:] if length is None else content[offset : offset + length]
        threads = self._reactor.getThreadPool()
        vault = content.vault
        data: bytes
        if vault is None:
            data = await deferToThreadPool(self._reactor, threads, self._blobs.read, content.file, offset, length)
        else:
            data = await deferToThreadPool(self._reactor, threads, vault.read, self._blobs, content.file, content.guid, offset, length)
        return data

    async def there(self, content: bytes | Blob) -> bool:
        """Whether a content can still be read: a file goes with its message."""
        if isinstance(content, bytes):
            return True
        found: bool = await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), self._blobs.exists, content.file)
        return found

    def _batches(self, selected: Selected, uids: Sequence[int], need: int) -> Iterator[Sequence[int]]:
        if not need & _CONTENT:
            for start in range(0, len(uids), BATCH):
                yield uids[start : start + BATCH]
            return
        batch: list[int] = []
        octets = 0
        for uid, index in selected.indexes(uids):
            size = selected.sizes[index]
            if batch and (octets + size > BATCH_OCTETS or len(batch) >= BATCH):
                yield batch
                batch, octets = [], 0
            batch.append(uid)
            octets += size
        if batch:
            yield batch

    async def _texts(self, account: int, ids: Sequence[int], need: int) -> "_Texts":
        """What is needed of each message: from memory where it is there, the rest in one reading."""
        if not need & (_SUMMARY | _CONTENT):
            known = await self._store.read(message_guids, ids)
            return _Texts([known.get(id, b"") for id in ids], [], [])
        vault = self.vault(account)
        held = self._held(account, vault)
        packed, read = await self._packed(held, vault, ids, need & _SUMMARY, sorted(set(ids)) if need & _CONTENT else ())
        contents, fresh = read.contents, read.summaries
        if need & _CONTENT:
            guids = [contents[id].guid if id in contents else b"" for id in ids]
        else:
            guids = [fresh[id][0] if id in fresh else held.guid(id) for id in ids]
        held.put_all(fresh)
        summaries = [None if one is None else Summary(one) for one in packed]
        return _Texts(guids, summaries, [_content(contents.get(id), vault) for id in ids] if need & _CONTENT else [])

    async def _packed(
        self, held: Summaries, vault: "Vault | None", ids: Sequence[int], summaries: int = _SUMMARY, wanted: Sequence[int] = ()
    ) -> tuple[list[bytes | None], Opened]:
        """The packed summary of each message, if ``summaries`` are asked for, and what was read: of the ``wanted`` ones the content."""
        packed = held.get_all(ids) if summaries else []
        lacking = sorted({id for id, one in zip(ids, packed, strict=True) if one is None}) if None in packed else []
        if not lacking and not wanted:
            return packed, _NOTHING_READ
        if lacking:
            read: Opened = await self._store.read(opened, self._cipher, lacking, wanted, vault)
        else:
            read = await self._store.read(only_contents, self._cipher, wanted, vault)
        if read.damaged:
            log.error("Stored messages do not open", event="store.damaged", messages=len(read.damaged), first=read.damaged[0])
        fresh = read.summaries
        if fresh:
            packed = [fresh[id][1] if id in fresh else one for id, one in zip(ids, packed, strict=True)]
        return packed, read

    async def _rows(self, selected: Selected, indexes: Sequence[int], need: int) -> list[Row]:
        ids = picked(selected.message_ids, indexes)
        summaries: Sequence[Summary | None] = _NOTHING[: len(ids)]
        contents: Sequence[bytes | Blob | None] = _NOTHING[: len(ids)]
        guids: Sequence[bytes] = _NO_GUIDS[: len(ids)]
        if need:
            read = await self._texts(selected.mailbox.account, ids, need)
            guids = read.guids
            if need & _SUMMARY:
                summaries = read.summaries
            if need & _CONTENT:
                contents = read.contents
        columns = (
            picked(selected.uids, indexes), indexes, picked(selected.flags, indexes), picked(selected.modseqs, indexes),
            picked(selected.received, indexes), picked(selected.saved, indexes), picked(selected.sizes, indexes),
            ids, picked(selected.thread_ids, indexes), guids, summaries, contents,
        )  # fmt: skip
        rows = list(map(Row._make, zip(*columns, strict=True)))
        if need and not all(guids):  # gone since, or damaged
            rows = [row for row in rows if row.guid]
        if need & _CONTENT and None in contents:
            rows = [row for row in rows if row.content is not None]
        if need & _SUMMARY and None in summaries:
            rows = [row for row in rows if row.summary is not None]
        return rows


@frozen
class _Texts:
    """What was read of some messages, side by side; a column that was not asked for is empty."""

    guids: list[bytes]
    summaries: list[Summary | None]
    contents: list[bytes | Blob | None]


_NOTHING = (None,) * BATCH
_NOTHING_READ = Opened({}, {}, [])
_NO_GUIDS = (b"",) * BATCH


def picked(column: "array[int]", indexes: Sequence[int]) -> Sequence[int]:
    """The values at ``indexes``, which rise; a slice where they are a run."""
    if indexes and indexes[-1] - indexes[0] == len(indexes) - 1:
        return column[indexes[0] : indexes[-1] + 1]
    return [column[index] for index in indexes]


def _content(stored: Stored | None, vault: "Vault | None") -> bytes | Blob | None:
    if stored is None or stored.file is None:
        return None if stored is None else stored.content
    return Blob(stored.file, stored.size, stored.guid, vault if stored.vault else None)
