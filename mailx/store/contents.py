"""Reading what is stored of messages: summaries and contents, opened in the reader's thread.

A value that does not open (damaged, moved) costs only its own message: it is left out, and its id told.
"""

from collections.abc import Sequence
from typing import NamedTuple

from attrs import frozen

from mailx.store import Txn, single
from mailx.store.cipher import CipherError
from mailx.store.entries import Among
from mailx.store.messages import Sealer, open_content, open_summary


class Stored(NamedTuple):
    """The content of one message: in memory, or in the blob file ``file``."""

    guid: bytes
    size: int  # octets
    content: bytes | None
    file: str | None
    vault: bool = False  # the file is sealed for its owner alone


_Sealers = tuple[Sealer, Sealer | None]  # by messages.vault


@frozen
class Opened:
    """What one reading brought, by message id; ``damaged`` are ids of what did not open.

    What is sealed for its owner alone and comes without the owner's key is left out, and told nowhere.
    """

    summaries: dict[int, tuple[bytes, bytes]]  # guid, packed summary
    contents: dict[int, Stored]
    damaged: list[int]


def opened(txn: Txn, cipher: Sealer, summaries: Sequence[int], contents: Sequence[int], vault: Sealer | None = None) -> Opened:
    """The summaries and the contents of these message ids. Content that lies in a file is not read.

    ``vault`` opens what is sealed for the owner alone.
    """
    answer = Opened({}, {}, [])
    if summaries:
        _summaries(txn, (cipher, vault), summaries, answer)
    if contents:
        _contents(txn, (cipher, vault), contents, answer)
    return answer


@single
def contents(txn: Txn, cipher: Sealer, ids: Sequence[int], vault: Sealer | None = None) -> Opened:
    """The contents of these messages as ``opened`` reads them."""
    answer = Opened({}, {}, [])
    _contents(txn, (cipher, vault), ids, answer)
    return answer


def with_guid(txn: Txn, mailbox_id: int, guid: bytes) -> list[int]:
    """The message of a mailbox that has this guid, if there is one."""
    rows = txn.all(
        "SELECT m.id FROM entries e JOIN messages m ON m.id = e.message_id WHERE e.mailbox_id = ? AND m.guid = ?", (mailbox_id, guid)
    )
    return [int(id) for (id,) in rows]


def guids(txn: Txn, ids: Sequence[int]) -> dict[int, bytes]:
    """The guid of each message."""
    among = Among(ids)
    return {id: bytes(guid) for id, guid in txn.all(f"SELECT id, guid FROM messages WHERE {among.sql('id')}", among.parameters())}


def _summaries(txn: Txn, sealers: "_Sealers", ids: Sequence[int], answer: Opened) -> None:
    among = Among(ids)
    for id, guid, sealed, vault in txn.all(f"SELECT id, guid, summary, vault FROM messages WHERE {among.sql('id')}", among.parameters()):
        if (cipher := sealers[vault]) is None:
            continue
        try:
            answer.summaries[id] = guid, open_summary(cipher, guid, sealed)
        except CipherError:
            answer.damaged.append(id)


def _contents(txn: Txn, sealers: "_Sealers", ids: Sequence[int], answer: Opened) -> None:
    among = Among(ids)
    rows = txn.all(
        "SELECT m.id, m.guid, m.size, m.file, m.vault, b.content FROM messages m LEFT JOIN bodies b ON b.message_id = m.id"
        f" WHERE {among.sql('m.id')}",
        among.parameters(),
    )
    for id, guid, size, file, vault, sealed in rows:
        if (cipher := sealers[vault]) is None:
            continue
        try:
            answer.contents[id] = Stored(guid, size, None if sealed is None else open_content(cipher, guid, sealed), file, bool(vault))
        except CipherError:
            answer.damaged.append(id)
