"""The messages of a mailbox as parallel columns, and the columns of mailboxes that were looked at lately.

Ten thousand messages take 640 KB and are copied in a tenth of a millisecond; reading them from the store takes
a hundred times as long. So what a session leaves is kept, with the mod-sequence it is true for: the next
one reads only what came after it.
"""

from array import array
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from itertools import compress

from mailx.store import Row
from mailx.store.entries import Since

CAPACITY = 16 * 1024 * 1024  # octets of columns kept when nobody has their mailbox selected
_ROW = 64  # octets of one message
_MAILBOX = 1000  # octets of a mailbox without messages
_FEW = 40  # gaps up to which moving what follows them is cheaper than copying the columns


class Columns:
    """One row a message, in the order of UIDs. ``message_ids`` 0: arrived since and not read yet, as are the next three."""

    __slots__ = ("flags", "message_ids", "modseqs", "received", "saved", "sizes", "thread_ids", "uids")

    def __init__(self, rows: Sequence[Row] = ()) -> None:
        """``rows`` are ``mailx.store.entries.COLUMNS``, uids rising."""
        columns = list(zip(*rows, strict=True)) or [()] * 8
        self.uids = array("L", columns[0])
        self.flags = array("q", columns[1])
        self.modseqs = array("q", columns[2])
        self.sizes = array("L", columns[3])
        self.message_ids = array("q", columns[4])
        self.received = array("q", columns[5])
        self.saved = array("q", columns[6])
        self.thread_ids = array("q", columns[7])

    def __len__(self) -> int:
        return len(self.uids)

    def all(self) -> "list[array[int]]":
        """The columns in the order of a row."""
        return [self.uids, self.flags, self.modseqs, self.sizes, self.message_ids, self.received, self.saved, self.thread_ids]

    def copy(self) -> "Columns":
        made = Columns.__new__(Columns)
        made.uids, made.flags, made.modseqs, made.sizes = self.uids[:], self.flags[:], self.modseqs[:], self.sizes[:]
        made.message_ids, made.thread_ids = self.message_ids[:], self.thread_ids[:]
        made.received, made.saved = self.received[:], self.saved[:]
        return made

    def append(self, rows: Iterable[Row]) -> None:
        """Add messages, uids rising and above all that are here."""
        for column, values in zip(self.all(), zip(*rows, strict=True), strict=False):
            column.extend(values)

    def put(self, index: int, row: Row) -> None:
        for column, value in zip(self.all(), row, strict=True):
            column[index] = value

    def fill(self, rows: Iterable[Row]) -> None:
        """Complete messages that arrived after the snapshot."""
        for uid, _, _, _, message_id, received, saved, thread_id in rows:
            index = bisect_left(self.uids, uid)
            if index < len(self.uids) and self.uids[index] == uid:
                self.message_ids[index] = message_id
                self.received[index] = received
                self.saved[index] = saved
                self.thread_ids[index] = thread_id

    def drop(self, indexes: Sequence[int]) -> None:
        """Remove rows, indexes rising."""
        runs: list[tuple[int, int]] = []
        for index in indexes:
            if runs and runs[-1][1] == index:
                runs[-1] = runs[-1][0], index + 1
            else:
                runs.append((index, index + 1))
        if len(runs) <= _FEW:
            for column in self.all():
                for start, stop in reversed(runs):
                    del column[start:stop]
            return
        keep = bytearray(b"\1") * len(self.uids)
        for index in indexes:
            keep[index] = 0
        for column in self.all():
            column[:] = array(column.typecode, compress(column, keep))


class Kept:
    """Columns by mailbox id, each true for a mod-sequence; the least recently used go first."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._size = 0
        self._columns: OrderedDict[int, tuple[int, Columns]] = OrderedDict()

    def get(self, mailbox_id: int) -> tuple[int, Columns] | None:
        """(modseq, columns) of a mailbox; not to be changed. May be called from any thread."""
        return self._columns.get(mailbox_id)

    def put(self, mailbox_id: int, modseq: int, columns: Columns) -> None:
        """Keep ``columns``, which nobody else will change."""
        self.forget(mailbox_id)
        self._columns[mailbox_id] = modseq, columns
        self._size += _MAILBOX + _ROW * len(columns)
        while self._size > self._capacity:
            self.forget(next(iter(self._columns)))

    def forget(self, mailbox_id: int) -> None:
        held = self._columns.pop(mailbox_id, None)
        if held is not None:
            self._size -= _MAILBOX + _ROW * len(held[1])


def brought_up(columns: Columns, since: Since) -> Columns:
    """A copy of ``columns`` with what changed since."""
    made = columns.copy()
    places = {uid: index for index, uid in enumerate(made.uids)} if since.changed or since.removed or since.there is not None else {}
    fresh = []
    for row in since.changed:
        index = places.get(row[0])
        if index is None:
            fresh.append(row)
        else:
            made.put(index, row)
    made.drop(sorted(places[uid] for uid in since.removed_of(made.uids) if uid in places))
    made.append(fresh)
    return made
