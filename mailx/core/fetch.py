"""Reading messages for a session: entries from its snapshot, summaries and contents from the store.

Batches are bounded in octets and in count, and none is read before the one before it was taken, so that a
fetch of any size holds one batch in memory. A message that another session expunged meanwhile is left out.
"""

from enum import IntFlag
from typing import TYPE_CHECKING, NamedTuple

from attrs import frozen

if TYPE_CHECKING:
    from mailx.mail.summary import Summary


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
    index: int  # in the session's snapshot: its sequence number less one
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
