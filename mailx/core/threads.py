"""THREAD: messages of a session's snapshot as trees (RFC 5256); the algorithms are in :mod:`mailx.mail.forest`.

Identifiers are kept as keyed hashes of 64 bits, and of long References fields only the nearest: what strangers write decides how much
memory a mailbox takes otherwise. The trees are made in a thread.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from twisted.internet.threads import deferToThreadPool

from mailx.core.fetch import BATCH, Reader
from mailx.core.selected import Selected
from mailx.core.turns import Turns
from mailx.mail.forest import Entry, Node, by_references, by_references_only, by_subject
from mailx.mail.threads import is_reply

if TYPE_CHECKING:
    from mailx.mail.summary import Summary

Algorithm = Literal["ORDEREDSUBJECT", "REFERENCES", "REFS"]

_REFERENCES = 1_000_000  # references looked at in one mailbox, shared out evenly
_LEAST, _MOST = 4, 100  # of one message
_HERE = 200  # messages that need no thread

_ALGORITHMS: dict[Algorithm, Callable[[Iterable[Entry]], list[Node]]] = {
    "ORDEREDSUBJECT": by_subject,
    "REFERENCES": by_references,
    "REFS": by_references_only,
}


async def threaded(selected: Selected, uids: Sequence[int], algorithm: Algorithm, reader: Reader, reactor: Any) -> list[Node]:
    """The threads of ``uids`` (rising); the numbers in the trees are UIDs. Messages that are gone are left out."""
    await reader.complete(selected, uids)
    turns = Turns(reactor)
    most = max(_LEAST, min(_MOST, _REFERENCES // max(1, len(uids))))
    entries: list[Entry] = []
    for start in range(0, len(uids), BATCH):
        known = list(selected.indexes(uids[start : start + BATCH]))
        received = [selected.received[index] for _, index in known]
        summaries = await reader.summaries(selected.mailbox.account, [selected.message_ids[index] for _, index in known])
        entries += [
            _entry(uid, came, summary, most)
            for (uid, _), came, summary in zip(known, received, summaries, strict=True)
            if summary is not None
        ]
        await turns.spare()
    make = _ALGORITHMS[algorithm]
    if len(entries) <= _HERE:
        return make(entries)
    return await deferToThreadPool(reactor, reactor.getThreadPool(), make, entries)


def _entry(uid: int, received: int, summary: "Summary", most: int) -> Entry:
    sent = summary.date
    references = summary.references or summary.in_reply_to[:1]
    subject = summary.base_subject
    return Entry(
        uid,
        received if sent is None else sent,
        hash(summary.message_id) or 1 if summary.message_id else 0,
        tuple([hash(identifier) or 1 for identifier in references[-most:]]),
        subject,
        is_reply(summary.subject_text),
        received,
    )
