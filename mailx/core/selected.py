"""One session's view of one mailbox: a snapshot, and what has changed since the session was last told.

The sequence numbers of a session change only when it is told (RFC 9051 7.5.1), so new and removed messages wait
until :meth:`Selected.updates`; flags that another session set are in ``flags`` at once.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING

from attrs import frozen
from twisted.logger import Logger

from mailx.core.columns import Columns
from mailx.core.keywords import Keywords
from mailx.mail.mailbox import SYSTEM_FLAGS, Change, Mailbox
from mailx.store import Row
from mailx.store.entries import Known

if TYPE_CHECKING:
    from mailx.core.feed import Feed

log = Logger()

_PENDING = 256  # changes that wait unread; more are put together, so that a silent session holds little

Range = tuple[int | None, int | None]


@frozen
class Updates:
    """What a session has to tell its client. Apply in this order: ``expunged``, ``exists``, ``recent``, ``flagged``."""

    expunged: list[int]  # sequence numbers in the order to send them
    exists: int | None  # the new number of messages; None: no arrivals
    recent: int  # messages that are \\Recent in this session
    flagged: list[int]  # indexes, after the expunges, of messages whose flags others changed
    vanished: list[int]  # uids of ``expunged``, rising
    gone: bool = False  # the mailbox itself was deleted: nothing more will come


class Selected:
    """A mailbox as one session knows it. Index ``i`` of the parallel columns is sequence number ``i + 1``."""

    def __init__(self, feed: "Feed", mailbox: Mailbox, columns: Columns, read_only: bool) -> None:
        """``columns`` are the messages at ``mailbox.modseq``; the session changes them."""
        self._feed = feed
        self.mailbox = mailbox
        self.read_only = read_only
        self.viewer = mailbox.account  # the account whose session this is, which need not be the mailbox's
        self.rights: frozenset[str] = mailbox.rights  # of the viewer, at any moment
        self.unwatch: Callable[[], None] | None = None  # ends what keeps ``rights`` true
        self._columns = columns
        self.uids = columns.uids
        self._flags = columns.flags
        self._modseqs = columns.modseqs
        self.sizes = columns.sizes
        self.message_ids = columns.message_ids  # 0: arrived since and not read yet, as are the next three
        self.received = columns.received
        self.saved = columns.saved
        self.thread_ids = columns.thread_ids
        self.lacking: set[int] = set()  # uids whose columns from message_ids on are not filled
        self.recent: set[int] = set()
        self.uidnext = mailbox.uidnext
        self.modseq = mailbox.modseq
        self.on_change: Callable[[], None] | None = None  # called once when something became pending, until updates() is called
        self.heard = mailbox.modseq  # every change up to here is in _pending or beyond
        self._own: set[int] = set()  # mod-sequences that this session made itself
        self._pending: list[tuple[Change, bool]] = []  # with whether the session made it; not looked at yet
        self._added: dict[int, Row] = {}  # COLUMNS by uid, arrived and not told
        self._removed: set[int] = set()  # uids, expunged and not told
        self._flagged: set[int] = set()  # uids whose flags others changed and that was not told
        self._told = False  # on_change was called and updates() not yet
        self._gone = False
        self.closed = False  # nobody waits for what is still done with it
        self._used = (0, 0)  # the bits of the flags of all messages, as of a mod-sequence

    @property
    def keywords(self) -> Keywords:
        """The account's flag names."""
        return self._feed.keywords

    @property
    def flags(self) -> "array[int]":
        if self._pending:
            self._digest()
        return self._flags

    @property
    def modseqs(self) -> "array[int]":
        if self._pending:
            self._digest()
        return self._modseqs

    def names(self, flags: int) -> tuple[str, ...]:
        """The names of the bits in ``flags``: system flags, then keywords; never \\\\Recent."""
        return self._feed.keywords.spell(flags)

    def keyword_names(self) -> list[str]:
        """The keywords for FLAGS and PERMANENTFLAGS: every one of the account, but for a guest those of messages here alone."""
        if self.viewer == self.mailbox.account:
            return self._feed.keywords.names()
        flags = self.flags
        if self._used[0] != self.heard:
            self._used = self.heard, reduce(or_, set(flags), 0)
        return [name for name in self._feed.keywords.spell(self._used[1]) if name not in SYSTEM_FLAGS]

    def index(self, uid: int) -> int | None:
        """The index of ``uid``, None if the session does not know it."""
        index = bisect_left(self.uids, uid)
        return index if index < len(self.uids) and self.uids[index] == uid else None

    def run(self, uids: Sequence[int]) -> int | None:
        """The index of the first of ``uids`` if they are messages that follow each other, as most sets are."""
        first = self.index(uids[0]) if uids else None
        if first is None or self.uids[first : first + len(uids)] != (uids if isinstance(uids, array) else array("L", uids)):
            return None
        return first

    def indexes(self, uids: Iterable[int]) -> Iterator[tuple[int, int]]:
        """(uid, index) of those of ``uids`` that the session knows; fast where they follow each other."""
        known = self.uids
        count = len(known)
        index = 0
        for uid in uids:
            if index >= count or known[index] != uid:
                index = bisect_left(known, uid)
                if index >= count or known[index] != uid:
                    continue
            yield uid, index
            index += 1

    def uids_of_uids(self, ranges: Iterable[Range]) -> list[int]:
        """The known UIDs in ``ranges`` of UIDs (inclusive, either order, None is ``*``), rising, each once."""
        last = self.uids[-1] if self.uids else 0
        spans = []
        for a, b in ranges:
            lo, hi = sorted((last if a is None else a, last if b is None else b))
            spans.append((bisect_left(self.uids, lo), bisect_right(self.uids, hi)))
        return self._spans(spans)

    def uids_of_sequence(self, ranges: Iterable[Range]) -> list[int] | None:
        """The UIDs of ``ranges`` of sequence numbers, rising, each once; None if a number is out of range."""
        last = len(self.uids)
        spans = []
        for a, b in ranges:
            lo, hi = sorted((last if a is None else a, last if b is None else b))
            if lo < 1 or hi > last:
                return None
            spans.append((lo - 1, hi))
        return self._spans(spans)

    @property
    def news(self) -> bool:
        """Whether anything was heard since :meth:`updates` was called, or waits for an ``expunge``."""
        return bool(self.heard != self.modseq or self._removed or self._told or self._gone)

    @property
    def gone(self) -> bool:
        """Whether the mailbox itself was deleted."""
        return self._gone

    def updates(self, expunge: bool) -> Updates:
        """Take what is pending; without ``expunge`` the removed messages keep their places and wait."""
        self._told = False
        if self._pending:
            self._digest()
        expunged: list[int] = []
        vanished: list[int] = []
        if expunge and self._removed:
            found = list(self.indexes(sorted(self._removed)))
            self._removed.clear()
            vanished = [uid for uid, _ in found]
            expunged = [index + 1 for _, index in reversed(found)]  # from the last on, so that no number sent shifts another
            self._columns.drop([index for _, index in found])
            self._flagged.difference_update(vanished)
            self.lacking.difference_update(vanished)
            self.recent.difference_update(vanished)
        exists = self._append() if self._added else None
        flagged = [index for _, index in self.indexes(sorted(self._flagged))]
        self._flagged.clear()
        self.modseq = self.heard
        return Updates(expunged, exists, len(self.recent), flagged, vanished, self._gone)

    def close(self) -> None:
        """Follow the mailbox no more."""
        self.on_change = None
        self.closed = True
        if self.unwatch is not None:
            self.unwatch()
            self.unwatch = None
        self._feed.leave(self)

    def columns(self) -> Columns:
        """Everything as of ``heard``, told or not; for a session that is closed."""
        self.updates(True)
        return self._columns

    def known(self, uids: Sequence[int]) -> Known | None:
        """The flags of some messages of this session as of ``heard``; None while some of its messages are gone."""
        flags = self.flags
        if self._removed:
            return None
        first = self.run(uids)
        return Known(self.heard, [flags[i] for _, i in self.indexes(uids)] if first is None else flags[first : first + len(uids)])

    async def settle(self) -> None:
        """Wait until the session has what was committed: after its own changes, so that it sees them itself."""
        await self._feed.settle()

    # What the feed calls.

    def own(self, modseq: int) -> None:
        """The next change of this number is this session's own: its flags are not announced back."""
        self._own.add(modseq)

    def hear(self, change: Change) -> None:
        """The change after ``heard``."""
        if change.modseq <= self.heard:
            return
        self.heard = change.modseq
        own = change.modseq in self._own
        if own:
            self._own.discard(change.modseq)
        self._pending.append((change, own))
        if len(self._pending) > _PENDING:
            self._digest()
        if not own or change.added or change.removed:
            self.tell()

    def catch_up(self, modseq: int, changed: Iterable[Row], removed: Iterable[int]) -> None:
        """Everything up to ``modseq`` as read from the store, instead of changes that did not come."""
        if self._pending:
            self._digest()
        flags, modseqs = self._flags, self._modseqs
        for row in changed:
            if row[2] <= self.heard:
                continue
            index = self.index(row[0])
            if index is None:
                self._added[row[0]] = row
                continue
            if flags[index] != row[1]:
                flags[index] = row[1]
                self._flagged.add(row[0])
            modseqs[index] = row[2]
        self._remove(removed)
        self.heard = max(self.heard, modseq)
        self._own = {own for own in self._own if own > self.heard}
        self.tell()

    def known_uids(self) -> "array[int]":
        """Every UID that the session has heard of and that was not removed from its view, told or not."""
        if self._pending:
            self._digest()
        return self.uids + array("L", sorted(self._added)) if self._added else self.uids

    def allow(self, rights: frozenset[str]) -> None:
        """The viewer has these rights from now on; without ``r`` the mailbox is gone for it."""
        self.rights = rights
        if "r" not in rights:
            self.bury()

    @property
    def barred(self) -> bool:
        """Whether the viewer may not read the mailbox any more."""
        return "r" not in self.rights

    def bury(self) -> None:
        """The mailbox was deleted."""
        self._gone = True
        self.tell()

    def tell(self) -> None:
        if self.on_change is not None and not self._told:
            self._told = True
            try:
                self.on_change()
            except Exception:
                log.failure("A session failed to take a change", event="mailbox.session_failed", mailbox=self.mailbox.id)

    def fill(self, rows: Iterable[Row]) -> None:
        """Complete messages that arrived after the snapshot."""
        rows = list(rows)
        self._columns.fill(rows)
        self.lacking.difference_update([row[0] for row in rows])

    # The rest is private.

    def _digest(self) -> None:
        """Apply the flags of the pending changes, and sort out what arrived and went."""
        pending, self._pending = self._pending, []
        for change, own in pending:
            modseq = change.modseq
            for uid, flags, size in change.added:
                self._added[uid] = (uid, flags, modseq, size, 0, 0, 0, 0)
            if change.flagged:
                self._apply(change, own)
            if change.removed:
                self._remove(change.removed)

    def _apply(self, change: Change, own: bool) -> None:
        added = self._added
        if added:
            for uid, flags in zip(change.flagged, change.flags, strict=True):
                row = added.get(uid)
                if row is not None:
                    added[uid] = (uid, flags, change.modseq, *row[3:])
        uids, modseq = array("L", change.flagged), change.modseq
        start, count = bisect_left(self.uids, uids[0]), len(uids)
        if self.uids[start : start + count] == uids:  # a run: columns take it at once
            self._flags[start : start + count] = array("q", change.flags)
            self._modseqs[start : start + count] = array("q", [modseq]) * count
            if not own:
                self._flagged.update(uids)
            return
        new = dict(zip(uids, change.flags, strict=True))
        for uid, index in self.indexes(new):
            self._flags[index] = new[uid]
            self._modseqs[index] = modseq
            if not own:
                self._flagged.add(uid)

    def _remove(self, uids: Iterable[int]) -> None:
        for uid in uids:
            if self._added.pop(uid, None) is None:
                self._removed.add(uid)
            else:
                self.recent.discard(uid)

    def _append(self) -> int:
        """Bring what arrived into the columns; returns the new number of messages."""
        rows = [self._added[uid] for uid in sorted(self._added)]
        self._columns.append(rows)
        if not self.read_only and not self.closed:  # what its client is not told any more is another's to be told first
            self.recent.update(self._feed.claim([row[0] for row in rows]))
        self.lacking.update([row[0] for row in rows if not row[4]])
        self._added.clear()
        self.uidnext = max(self.uidnext, self.uids[-1] + 1)
        return len(self.uids)

    def _spans(self, spans: Iterable[tuple[int, int]]) -> list[int]:
        """The UIDs at the indexes in ``spans`` (from, up to), rising, each once."""
        uids: list[int] = []
        end = 0
        for start, stop in sorted(spans):
            start = max(start, end)
            if start < stop:
                uids.extend(self.uids[start:stop])
                end = stop
        return uids
