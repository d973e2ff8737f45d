"""Reading messages for a session: entries from its snapshot, summaries and contents from the store.

Batches are bounded in octets and in count, and none is read before the one before it was taken, so that a
fetch of any size holds one batch in memory. A message whose content another session's expunge has already
removed is left out.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from enum import IntFlag
from typing import TYPE_CHECKING, Any, NamedTuple

from attrs import frozen
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from mailx.core.selected import Selected
from mailx.core.summaries import Summaries
from mailx.store import Store
from mailx.store.contents import Opened, Stored, guids, opened
from mailx.store.entries import some

if TYPE_CHECKING:
    from mailx.mail.summary import Summary
    from mailx.store.blobs import Blobs
    from mailx.store.cipher import Cipher

log = Logger()

BATCH = 256  # messages
BATCH_OCTETS = 1024 * 1024  # of contents


class Need(IntFlag):
    """What a fetch must read beyond the session's snapshot."""

    NONE = 0
    SUMMARY = 1
    CONTENT = 2
    GUID = 4  # Row.guid; comes with SUMMARY and CONTENT anyway


@frozen
class Blob:
    """The content of a message that lies in a file and is read in pieces; ``size`` in octets."""

    file: str
    size: int


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
    summary: "Summary | None"  # None unless needed
    content: bytes | Blob | None  # None unless needed


class Reader:
    """Reads summaries and contents; keeps opened summaries for all sessions."""

    def __init__(self, store: Store, cipher: "Cipher", blobs: "Blobs", reactor: Any) -> None:
        self._store = store
        self._cipher = cipher
        self._blobs = blobs
        self._reactor = reactor
        self._summaries = Summaries()

    async def rows(self, selected: Selected, uids: Sequence[int], need: Need) -> AsyncIterator[list[Row]]:
        """The messages with these UIDs that the session knows, in their order, batch after batch."""
        for batch in self._batches(selected, uids, need):
            await self.complete(selected, batch)
            known = list(selected.indexes(batch))
            ids = [selected.message_ids[index] for _, index in known]
            texts = await self._texts(ids, need)
            rows = list(self._rows(selected, known, need, texts))
            if rows:
                yield rows

    async def summaries(self, message_ids: Sequence[int]) -> "list[Summary | None]":
        """The summaries of these messages in their order, None for one that is gone. At most BATCH in one go."""
        texts = await self._texts(message_ids, Need.SUMMARY)
        return [texts.summary(id) for id in message_ids]

    async def complete(self, selected: Selected, uids: Sequence[int]) -> None:
        """Read what the session's snapshot lacks of messages that arrived after it."""
        lacking = [uid for uid, index in selected.indexes(uids) if not selected.message_ids[index]]
        for start in range(0, len(lacking), BATCH):
            selected.fill(await self._store.read(some, selected.mailbox.id, lacking[start : start + BATCH]))

    async def read(self, content: bytes | Blob, offset: int = 0, length: int | None = None) -> bytes:
        """``length`` octets (None: all) of a content from ``offset`` on; fewer where it ends."""
        if isinstance(content, bytes):
            return content[offset:] if length is None else content[offset : offset + length]
        data: bytes = await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), self._blobs.read, content.file, offset, length)
        return data

    def _batches(self, selected: Selected, uids: Sequence[int], need: Need) -> Iterator[Sequence[int]]:
        if not need & Need.CONTENT:
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

    async def _texts(self, ids: Sequence[int], need: Need) -> "_Texts":
        """What is needed of these messages, from memory where it is there, the rest in one reading."""
        held = self._summaries.get_all(ids) if need & Need.SUMMARY else {}
        lacking = sorted({id for id in ids if id not in held}) if need & Need.SUMMARY else []
        wanted = sorted(set(ids)) if need & Need.CONTENT else []
        if not lacking and not wanted:
            return _Texts(held, {}, await self._store.read(guids, ids) if need == Need.GUID and ids else {})
        answer: Opened = await self._store.read(opened, self._cipher, lacking, wanted)
        if answer.damaged:
            log.error("Stored messages do not open", event="store.damaged", messages=len(answer.damaged), first=answer.damaged[0])
        for id, (guid, data) in answer.summaries.items():
            held[id] = guid, self._summaries.put(id, guid, data)
        return _Texts(held, answer.contents, {})

    def _rows(self, selected: Selected, known: Sequence[tuple[int, int]], need: Need, texts: "_Texts") -> Iterator[Row]:
        flags, modseqs, sizes, ids = selected.flags, selected.modseqs, selected.sizes, selected.message_ids
        received, saved, threads = selected.received, selected.saved, selected.thread_ids
        for uid, index in known:
            id = ids[index]
            guid, summary = texts.summaries.get(id, (b"", None))
            content: bytes | Blob | None = None
            if need & Need.CONTENT:
                stored = texts.contents.get(id)
                if stored is None or (stored.content is None and stored.file is None):
                    continue
                guid = stored.guid
                content = stored.content if stored.content is not None else Blob(str(stored.file), stored.size)
            if need & Need.SUMMARY and summary is None:
                continue
            if not guid:
                guid = texts.guids.get(id, b"")
            yield Row(
                uid, index, flags[index], modseqs[index], received[index], saved[index], sizes[index],
                id, threads[index], guid, summary, content,
            )  # fmt: skip


@frozen
class _Texts:
    """What was read of some messages, by id."""

    summaries: "dict[int, tuple[bytes, Summary]]"
    contents: dict[int, Stored]
    guids: dict[int, bytes]

    def summary(self, id: int) -> "Summary | None":
        held = self.summaries.get(id)
        return None if held is None else held[1]
