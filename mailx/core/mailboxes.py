"""The mailboxes of an account and everything a session does with them.

Every "no" is a :class:`MailboxError`; a store that cannot answer raises :class:`mailx.mail.reply.Unavailable`.
Names are taken in any spelling (:mod:`mailx.mail.names`). What changes many entries is done by
:mod:`mailx.core.edits`, reading by :mod:`mailx.core.fetch`, searching by :mod:`mailx.core.matching`.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from time import time
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar
from weakref import WeakValueDictionary

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from mailx.core.changes import Changes
from mailx.core.columns import Columns, Kept, brought_up
from mailx.core.deciding import Decides, Deciding
from mailx.core.edits import Copied, Edits, Mode, Stored
from mailx.core.feed import Feed
from mailx.core.fetch import Blob, Need, Reader, Row, Summarised
from mailx.core.heavy import Heavy
from mailx.core.input import Hangup
from mailx.core.keywords import Keywords
from mailx.core.listings import Listings
from mailx.core.matching import Search
from mailx.core.metadata import Metadata
from mailx.core.object_ids import ObjectIds
from mailx.core.resync import Spans, vanished
from mailx.core.search import Query
from mailx.core.selected import Selected, Updates
from mailx.core.sharing import Sharing
from mailx.core.sort import SortKey, sort_keys, sorted_by
from mailx.core.threads import Algorithm, threaded
from mailx.core.turns import Turns
from mailx.core.url_access import UrlAccess
from mailx.mail.forest import Node
from mailx.mail.mailbox import DELIMITER, Mailbox
from mailx.mail.names import INBOX, MAILBOXES_LIMIT, MailboxError, normal, order
from mailx.mail.reply import Unavailable
from mailx.mail.rights import elsewhere
from mailx.store import Store, Txn, entries, keywords, metadata
from mailx.store import mailboxes as boxes
from mailx.store.metadata import STORAGE_LIMIT

if TYPE_CHECKING:
    from mailx.core.index import Index
    from mailx.core.keyring import Keyring
    from mailx.core.prepared import Prepared
    from mailx.core.users import User
    from mailx.store.blobs import Blobs
    from mailx.store.cipher import Cipher

__all__ = ["Blob", "Copied", "MailboxError", "Mailboxes", "Need", "Quota", "Row", "Selected", "Stored", "Updates"]

log = Logger()

P = ParamSpec("P")
T = TypeVar("T")
Uids = list[int]
Pairs = list[tuple[Any, int]]
Forest = list[Node]
Names = list[str]
Rows = list[Row]
Listed = list[Mailbox]

_CLAIMS = 10_000  # claims of \Recent remembered

SPECIAL_USES = ("\\Archive", "\\Drafts", "\\Junk", "\\Sent", "\\Trash")  # \All and \Flagged are views, not mailboxes (RFC 6154 2)


@frozen
class Quota:
    """What an account keeps of each resource (RFC 9208), and what it may. Octets, or numbers; ``limit`` 0 is unlimited."""

    used: int
    limit: int
    messages: int
    messages_limit: int | None
    mailboxes: int
    mailboxes_limit: int
    annotations: int  # octets of values of metadata
    annotations_limit: int


class Mailboxes:
    """All mailboxes of all accounts."""

    def __init__(
        self, store: Store, cipher: "Cipher", blobs: "Blobs", changes: Changes, reactor: Any, default_quota: int = 0,
        keyring: "Keyring | None" = None,
    ) -> None:  # fmt: skip
        """``default_quota`` in octets holds for accounts without one of their own; 0: unlimited. ``keyring``: of sealed accounts."""
        self._store = store
        self._cipher = cipher
        self.changes = changes
        self._reactor = reactor
        self._default_quota = default_quota
        self._names = boxes.Names(cipher)
        self.object_ids = ObjectIds(cipher)
        self.url_access = UrlAccess(store, cipher, self._names)
        self._edits = Edits(store, cipher, self._names, default_quota, reactor)
        self._reader = Reader(store, cipher, blobs, reactor, keyring)
        self._search = Search(store, cipher, blobs, self._reader, reactor)
        self._heavy = Heavy()
        self._listings = Listings(changes)
        self.metadata = Metadata(store, cipher, self._names)
        self.sharing = Sharing(store, self._names, changes, self._listings)
        self._kept = Kept()
        self._feeds: dict[int, Feed] = {}
        self._claimed: dict[int, int] = {}  # first_recent by mailbox id, for a select that read it before it was written
        self._keywords: WeakValueDictionary[int, Keywords] = WeakValueDictionary()
        self._reads = 0  # numbers the readings of keywords, so that an older one never replaces a newer

    def search_with(self, index: "Index") -> None:
        """Let searches of texts ask ``index`` what they need not look at."""
        self._search.index = index

    def forget(self) -> None:
        """Forget what memory has of mail: an account is sealed now."""
        self._reader.forget()

    def decide_with(self, contacts: Decides) -> None:
        """Let moves out of Requests decide of first contacts."""
        self._edits.deciding = Deciding(self._store, self._names, self._reader, contacts)

    async def list(self, user: "User") -> Listed:
        """Every mailbox of the account's own with its counters, INBOX first, then by name, children behind their parent."""
        held = self._listings.all(user.id)
        if held is not None:
            return held.copy()
        reading = self._listings.reading()
        try:
            found, alone = await self._store.read(_with_engine, boxes.list_all, self._names, user.id)
            found.sort(key=lambda mailbox: order(mailbox.name))
            if alone:
                self._listings.put(user.id, found.copy(), True, reading)
            return found
        finally:
            reading.stop()

    async def status(self, user: "User", name: str, needed: str = "r") -> Mailbox:
        """One mailbox; raises MailboxError "NONEXISTENT", "NOPERM" for another's without the rights ``needed``."""
        name = normal(name)
        held = self._listings.one(user.id, name)
        if held is not None:
            return held
        place = elsewhere(name)
        if place is not None:
            return await self.sharing.find(user, place, needed)
        reading = self._listings.reading()
        try:
            found, alone = await self._store.read(_with_engine, boxes.find, self._names, user.id, name)
            if alone:
                self._listings.put(user.id, [found], False, reading)
            return found
        finally:
            reading.stop()

    async def recent(self, mailbox: Mailbox) -> int:
        """How many messages would be \\\\Recent for the next session to select: STATUS RECENT (RFC 3501 6.3.10)."""
        feed = self._feeds.get(mailbox.id)
        first = max(mailbox.first_recent, self._claimed.get(mailbox.id, 0), 0 if feed is None else feed.claimed + 1)
        return await self._store.read(boxes.count_recent, mailbox.id, first)

    async def create(self, user: "User", name: str, special_use: str = "") -> Mailbox:
        """Make a mailbox and whatever is missing above it.

        Raises MailboxError "ALREADYEXISTS", "CANNOT" or "LIMIT" for the name, "OVERQUOTA" for too many, "USEATTR" for the
        special use (RFC 6154 5.2).
        """
        if special_use and special_use not in SPECIAL_USES:
            raise MailboxError("USEATTR", "No such special use")
        place = elsewhere(normal(name).removesuffix(DELIMITER))
        if place is not None:
            return await self.sharing.create(user, place, special_use)
        return await self._change(user, boxes.create, user.id, name, special_use, int(time()))

    async def delete(self, user: "User", name: str) -> int:
        """Remove a mailbox with its messages and return its id; what lies under it stays (RFC 9051 6.3.5).

        Raises MailboxError "NONEXISTENT", "CANNOT" (INBOX), "HASCHILDREN" (no mailbox, only a parent).
        """
        name = normal(name).removesuffix(DELIMITER)
        place = elsewhere(name)
        mailbox_id: int = await (self._change(user, boxes.bury, user.id, name) if place is None else self.sharing.bury(user, place))
        await self._purge(mailbox_id)
        return mailbox_id

    async def resume(self) -> None:
        """Finish the deletions that the last stop cut short; once, at start-up."""
        for mailbox_id in await self._store.read(boxes.buried):
            await self._purge(mailbox_id)

    async def rename(self, user: "User", old: str, new: str) -> None:
        """Rename a mailbox with all under it. Of INBOX only the messages go (RFC 9051 6.3.6).

        Raises MailboxError "NONEXISTENT", "ALREADYEXISTS", "CANNOT", "LIMIT".
        """
        old = normal(old).removesuffix(DELIMITER)
        if elsewhere(old) is not None or elsewhere(normal(new)) is not None:
            await self.sharing.rename(user, old, normal(new).removesuffix(DELIMITER))
            return
        if old != INBOX:
            await self._change(user, boxes.rename, user.id, old, new, int(time()))
            return
        inbox = await self.status(user, INBOX)
        target = await self.create(user, new)
        try:
            await self._edits.empty(inbox.id, target.id)
        except Exception:
            await self._edits.empty(target.id, inbox.id)
            await self.delete(user, target.name)
            raise

    async def subscribe(self, user: "User", name: str) -> None:
        """Subscribe to a name, there or not; raises MailboxError "LIMIT"."""
        await self._change(user, boxes.subscribe, user.id, normal(name).removesuffix(DELIMITER))

    async def unsubscribe(self, user: "User", name: str) -> None:
        await self._change(user, boxes.unsubscribe, user.id, normal(name).removesuffix(DELIMITER))

    async def subscriptions(self, user: "User") -> Names:
        """The subscribed names, INBOX first; some may name no mailbox."""
        return sorted(await self._store.read(boxes.subscriptions, self._names, user.id), key=order)

    async def quota(self, user: "User") -> Quota:
        """What the account may keep, and keeps."""
        held, annotations = await self._store.read(self._usage, user.id)
        limit = self._default_quota if held.quota is None else held.quota
        return Quota(held.used, limit, held.messages, held.message_quota, held.mailboxes, MAILBOXES_LIMIT, annotations, STORAGE_LIMIT)

    def _usage(self, txn: Txn, account_id: int) -> tuple[boxes.Usage, int]:
        return boxes.usage(txn, account_id), metadata.used(txn, account_id)

    async def set_message_quota(self, user: "User", limit: int | None) -> None:
        """How many messages the account may hold; None: any number."""
        await self._store.write(boxes.set_message_quota, user.id, limit)

    async def select(self, user: "User", name: str, read_only: bool) -> Selected:
        """A session's view of the mailbox; claims what is \\\\Recent unless ``read_only``. Close it when done.

        Raises MailboxError "NONEXISTENT", "NOPERM" for another's that may not be read.
        """
        return await self.select_of(user.id, name, read_only)

    async def select_of(self, account_id: int, name: str, read_only: bool) -> Selected:
        """The same with the eyes of that account."""
        recording = self.changes.record()
        try:
            self._reads += 1
            read = self._reads
            mailbox, columns, names, domain = await self._store.read(self._snapshot, account_id, normal(name))
            missed = recording.of(mailbox.id)
        finally:
            recording.stop()
        feed = self._feeds.get(mailbox.id)
        if feed is None:
            feed = self._feeds[mailbox.id] = self._feed(mailbox)
        feed.keywords.put(read, names)
        self._kept.put(mailbox.id, mailbox.modseq, columns)
        selected = Selected(feed, mailbox, columns.copy(), read_only)
        if mailbox.account != account_id:
            self.sharing.watch(selected, account_id, domain, recording.changes)
        feed.join(selected, max(mailbox.first_recent, self._claimed.get(mailbox.id, 0)), missed)
        return selected

    async def store(
        self, selected: Selected, uids: Sequence[int], mode: Mode, flags: int, keywords: tuple[str, ...],
        unchanged_since: int | None = None,
    ) -> Stored:  # fmt: skip
        """Change flags of messages; ``flags`` are system flags. UIDs that the session does not know are passed over.

        The session's own view has them at once. Raises MailboxError "NOPERM",
        "LIMIT" (keywords), "NONEXISTENT" (the mailbox was deleted).
        """
        try:
            return await self._edits.store(selected, uids, mode, flags, keywords, unchanged_since)
        finally:
            await selected.settle()

    async def expunge(self, selected: Selected, uids: Sequence[int] | None = None) -> Uids:
        """Remove what is \\\\Deleted, of ``uids`` or all; returns the UIDs. The session learns of it by ``updates(True)``."""
        try:
            return await self._edits.expunge(selected, uids)
        finally:
            await selected.settle()

    async def update(self, selected: Selected, seen: Sequence[int], removed: Sequence[int]) -> None:
        """What a POP3 session leaves behind (RFC 1939 6): ``seen`` are \\Seen, ``removed`` are gone. The owner's view may be read-only.

        Slices that were done stay done if a later one fails.
        """
        await self._edits.update(selected, seen, removed)

    async def copy(self, selected: Selected, uids: Sequence[int], target: str) -> Copied:
        """All of ``uids`` that still exist, or none; raises MailboxError "TRYCREATE", "OVERQUOTA"."""
        try:
            return await self._edits.copy(selected, uids, target)
        finally:
            await selected.settle()

    async def move(self, selected: Selected, uids: Sequence[int], target: str) -> Copied:
        """Each message is in one of the two mailboxes at any time; raises MailboxError "TRYCREATE", "NOPERM"."""
        try:
            return await self._edits.move(selected, uids, target)
        finally:
            await selected.settle()

    def fetch(self, selected: Selected, uids: Sequence[int], need: Need) -> AsyncIterator[Rows]:
        """The messages with these UIDs that the session knows, batch after batch; see :mod:`mailx.core.fetch`."""
        rows = self._reader.rows(selected, uids, need)
        return rows if selected.viewer == selected.mailbox.account else _while_allowed(selected, rows)

    def summarised(self, selected: Selected, uids: Sequence[int]) -> AsyncIterator[Summarised]:
        """The summaries alone, by indexes; see :mod:`mailx.core.fetch`."""
        found = self._reader.summarised(selected, uids)
        return found if selected.viewer == selected.mailbox.account else _while_allowed(selected, found)

    def prepared(self, selected: Selected) -> "Prepared | None":
        """Where texts made of summaries of these messages are kept; None for whoever may not read them any more."""
        return None if selected.barred else self._reader.prepared(selected.mailbox.account)

    async def read(self, content: bytes | Blob, offset: int = 0, length: int | None = None) -> bytes:
        """``length`` octets (None: all) of a row's content from ``offset`` on; fewer where it ends."""
        return await self._reader.read(content, offset, length)

    async def there(self, content: bytes | Blob) -> bool:
        """Whether a row's content is still to be had: its file goes with the message when another session expunges it."""
        return await self._reader.there(content)

    async def vanished(self, selected: Selected, since: int, within: Spans | None = None, matches: Sequence[tuple[int, int]] = ()) -> Spans:
        """The UIDs that left the mailbox after ``since``; see :func:`mailx.core.resync.vanished`."""
        return await vanished(self._store, selected, since, within, matches)

    async def search(self, selected: Selected, query: Query) -> Uids:
        """The UIDs of the messages that match, rising.

        As of all that is told of another's mailbox: MailboxError "NOPERM" if the right to read it was taken away meanwhile.
        """
        return _still(selected, await self._search.matching(selected, query))

    async def ranked(self, selected: Selected, query: Query) -> "Sequence[tuple[int, int]]":
        """The UIDs of the messages that match, rising, each with its relevancy: 1 to 100 (RFC 6203 4)."""
        return _still(selected, await self._search.ranked(selected, query))

    async def sort(self, selected: Selected, keys: Sequence[SortKey], query: Query, relevancies: Mapping[int, int] | None = None) -> Uids:
        """The UIDs of the messages that match, in the order of ``keys`` (RFC 5256); equal ones by sequence number.

        ``relevancies`` by UID are for the key of that name. Raises Hangup when the view was closed before its turn came.
        """
        uids = await self._search.matching(selected, query)
        async with self._heavy.turn(selected.mailbox.account, len(uids)):
            if selected.closed:
                raise Hangup
            return _still(selected, await sorted_by(selected, uids, keys, self._reader, Turns(self._reactor), relevancies or {}))

    async def sort_keys(self, selected: Selected, keys: Sequence[SortKey], uids: Sequence[int]) -> Pairs:
        """``uids`` (rising) in the order of ``keys``, each behind what was compared."""
        return await sort_keys(selected, uids, keys, self._reader, Turns(self._reactor))

    async def thread(self, selected: Selected, algorithm: Algorithm, query: Query) -> Forest:
        """The threads of the messages that match (RFC 5256); the numbers in the trees are UIDs."""
        uids = await self._search.matching(selected, query)
        async with self._heavy.turn(selected.mailbox.account, len(uids)):
            if selected.closed:
                raise Hangup
            return _still(selected, await threaded(selected, uids, algorithm, self._reader, self._reactor))

    def _snapshot(self, txn: Txn, account_id: int, name: str) -> tuple[Mailbox, Columns, dict[int, str], int]:
        """Runs in a reader thread, as does making the columns."""
        mailbox, domain = self.sharing.found(txn, account_id, name, "r")
        modseq, columns = self._kept.get(mailbox.id) or (0, Columns())
        if not 0 < modseq <= mailbox.modseq:
            columns = Columns(entries.snapshot(txn, mailbox.id))
        elif modseq < mailbox.modseq:
            since = entries.since(txn, mailbox.id, modseq)
            columns = brought_up(columns, since) if since is not None else Columns()
        if 0 in columns.message_ids:
            columns = self._filled(txn, mailbox.id, columns.copy())
        return mailbox, columns, keywords.names(txn, self._cipher, mailbox.account), domain

    def _filled(self, txn: Txn, mailbox_id: int, columns: Columns) -> Columns:
        """``columns`` with what a session never asked for of messages that came while it was there."""
        lacking = [uid for uid, message_id in zip(columns.uids, columns.message_ids, strict=True) if not message_id]
        for start in range(0, len(lacking), entries.SLICE):
            columns.fill(entries.some(txn, mailbox_id, lacking[start : start + entries.SLICE]))
        return columns

    def _feed(self, mailbox: Mailbox) -> Feed:
        shared = self._keywords.get(mailbox.account)
        if shared is None:
            shared = self._keywords[mailbox.account] = Keywords()
        return Feed(mailbox.id, mailbox.modseq, shared, self.changes, self._reactor, self._reading(mailbox.account), self._leaver(mailbox))

    def _reading(self, account_id: int) -> "Callable[[int, int], Deferred[tuple[entries.Since | None, dict[int, str], int]]]":
        def job(txn: Txn, mailbox_id: int, modseq: int, read: int) -> "tuple[entries.Since | None, dict[int, str], int]":
            return entries.since(txn, mailbox_id, modseq), keywords.names(txn, self._cipher, account_id), read

        def read(mailbox_id: int, modseq: int) -> "Deferred[tuple[entries.Since | None, dict[int, str], int]]":
            self._reads += 1
            return self._store.read(job, mailbox_id, modseq, self._reads)

        return read

    def _leaver(self, mailbox: Mailbox) -> "Callable[[Feed, Selected], None]":
        """What happens when the last session leaves: that its messages are not \\Recent any more is written down."""

        def forget(answer: Any, feed: Feed) -> None:
            self._listings.forget(mailbox.account)
            if not feed.sessions and self._feeds.get(feed.mailbox_id) is feed:
                del self._feeds[feed.mailbox_id]
                feed.close()
            if answer is not None:
                log.warn("What is recent could not be written", event="mailbox.recent_not_written", mailbox=feed.mailbox_id)

        def left(feed: Feed, session: Selected) -> None:
            self._kept.put(feed.mailbox_id, session.heard, session.columns())
            if feed.claimed >= mailbox.first_recent:
                if len(self._claimed) >= _CLAIMS:
                    self._claimed.clear()
                self._claimed[feed.mailbox_id] = feed.claimed + 1
                claimed = self._store.write(boxes.claim_recent, feed.mailbox_id, feed.claimed + 1)
                claimed.addBoth(forget, feed)
            else:
                forget(None, feed)

        return left

    async def _change(self, user: "User", job: Callable[Concatenate[Txn, boxes.Names, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Change names or subscriptions, of which no Change tells."""
        try:
            return await self._store.write(job, self._names, *args, **kwargs)
        finally:
            self._listings.forget(user.id)

    async def _purge(self, mailbox_id: int) -> None:
        """Remove what a buried mailbox held. The client does not wait for it in vain: what is left goes at the next start."""
        try:
            while await self._store.write(entries.purge, mailbox_id):
                pass
        except Unavailable as unavailable:
            reason = unavailable.reason
            log.warn("A deleted mailbox is not yet removed: {reason}", event="mailbox.not_purged", mailbox=mailbox_id, reason=reason)


async def _while_allowed(selected: Selected, rows: AsyncIterator[T]) -> AsyncIterator[T]:
    """``rows`` for a guest, as long as it may read them."""
    async for batch in rows:
        yield _still(selected, batch)


def _still(selected: Selected, found: T) -> T:
    """``found``, if it may be told."""
    if selected.barred:
        raise MailboxError("NOPERM", "You may not read this mailbox any more")
    return found


def _with_engine(txn: Txn, job: Callable[Concatenate[Txn, P], T], *args: P.args, **kwargs: P.kwargs) -> tuple[T, bool]:
    """What ``job`` reads, and whether this process is the only one that writes."""
    return job(txn, *args, **kwargs), txn.dialect == "sqlite"
