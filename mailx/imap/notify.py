"""NOTIFY (RFC 5465): a session is told of changes in mailboxes that it has not selected, and of its own at once.

What is heard of a mailbox is only noted; when the session may be told, counters, names and subscriptions are read and
compared with what the client knows, so that nothing is told wrongly however changes overlap. When more is waiting
than a session may hold, the client hears NOTIFICATIONOVERFLOW and then nothing (5.8).
"""

from collections.abc import Callable, Iterable
from functools import partial

from attrs import evolve, frozen

from mailx.core.changes import ANY
from mailx.imap import fetching, updates
from mailx.imap.arrival import Command
from mailx.imap.commands import Data, Item, Section
from mailx.imap.fetch import compiled
from mailx.imap.notify_grammar import MESSAGES, Group
from mailx.imap.notify_grammar import Notify as Asked
from mailx.imap.session import Session
from mailx.mail.mailbox import DELIMITER, AccountChange, Change, Mailbox
from mailx.mail.names import parents
from mailx.mail.reply import Unavailable

METADATA_LIMIT = 1000  # entries changed and not told
_SLICE = 100


async def notify(session: Session, command: Command, asked: Asked) -> None:
    """A later NOTIFY replaces an earlier one; before a new one what has waited so far is told (RFC 5465 3.1)."""
    before, session.notify = session.notify, None
    if before is not None:
        before.stop()
    if asked.groups is not None:
        await updates.tell(session, True)
    made = Notify(session, asked.groups or ())
    session.notify = made
    await made.begin(asked.status)


@frozen
class _Seen:
    """The mailboxes by id and the subscriptions, as the client knows them."""

    mailboxes: dict[int, Mailbox]
    subscribed: frozenset[str]


class Notify:
    """What one session asked to be told of, and what has happened since it was told."""

    def __init__(self, session: Session, groups: tuple[Group, ...]) -> None:
        self._session = session
        self._account = session.owner().id
        selected = next((group for group in groups if group.mailboxes.startswith(b"SELECTED")), None)
        self._groups = tuple(group for group in groups if group is not selected)
        self.messages = selected is not None and bool(selected.events)  # of the selected mailbox
        self.flags = selected is not None and b"FLAGCHANGE" in selected.events
        self.at_once = selected is not None and selected.mailboxes == b"SELECTED"  # removed messages too
        self._items = announced(session, selected.items) if selected is not None else ()
        self._of_server = any(b"SERVERMETADATACHANGE" in group.events for group in groups)
        self.on_change: Callable[[], None] | None = None  # called when something is to be told
        self._seen = _Seen({}, frozenset())
        self._changed: set[int] = set()  # mailboxes whose counters changed in a way that the client wants to know
        self._names = False  # names or subscriptions may have changed
        self._entries: dict[tuple[int, str], None] = {}  # metadata changed: (mailbox or 0, entry), in order
        self._following: dict[int, Callable[[], None]] = {}
        self._accounts: dict[int, Callable[[], None]] = {}

    async def begin(self, status: bool) -> None:
        """Follow from now on; with ``status`` the counters of all mailboxes concerned are told first."""
        if not self._groups:
            return
        self._follow_accounts((self._account,))
        self._accounts[ANY] = self._session.services.mailboxes.changes.follow_account(ANY, self._rights_changed)
        await self._refresh()
        for mailbox in self._seen.mailboxes.values():
            if "r" not in mailbox.rights and self._events(mailbox.name, mailbox) & MESSAGES:
                self._session.peer.write(_line([b"\\NoAccess"], self._session.name(mailbox.name)))
        if status:
            await self._tell_counters(mailbox for mailbox in self._seen.mailboxes.values() if self._wants(mailbox) & MESSAGES)

    def stop(self) -> None:
        """Hear no more."""
        self.on_change = None
        for unfollow in (*self._following.values(), *self._accounts.values()):
            unfollow()
        self._following.clear()
        self._accounts.clear()

    async def tell(self) -> None:
        """Send what is waiting."""
        while self._names or self._changed or self._entries:
            if len(self._entries) > METADATA_LIMIT:
                self._overflow()
                return
            self._names = False
            changed, self._changed = self._changed, set()
            entries, self._entries = self._entries, {}
            before = self._seen
            try:
                await self._refresh()
            except Unavailable:  # the store has said why in the log; the next change brings another try
                self._names = True
                self._changed |= changed
                self._entries = {**entries, **self._entries}
                return
            changed.update(await self._tell_names(before))
            now = self._seen.mailboxes
            told = [now[mailbox] for mailbox in sorted(changed) if mailbox in now]
            # The right to read may have gone after the change was heard, which is why names are read again.
            await self._tell_counters(mailbox for mailbox in told if self._wants(mailbox) & MESSAGES)
            self._tell_metadata(entries)
            await self._session.peer.ready()

    async def fetch_new(self, first: int) -> None:
        """What the client wants to know of each message from index ``first`` on, which it was just told of."""
        view = self._session.view()
        if self._items and first < len(view.uids):
            await fetching.announce(self._session, compiled(self._items), view.uids[first:].tolist())

    # What is heard

    def _heard(self, mailbox: int, change: Change) -> None:
        selected = self._session.selected
        if change.gone or selected is not None and selected.mailbox.id == mailbox:
            return
        seen = self._seen.mailboxes.get(mailbox)
        events = self._wants(seen) if seen is not None else frozenset()
        if not change.partial and not change.added and not change.removed and b"FLAGCHANGE" not in events:
            return
        self._changed.add(mailbox)
        self._wake()

    def _heard_of_account(self, change: AccountChange | None) -> None:
        if change is not None and change.kind == "metadata":
            for entry in change.entries:
                if len(self._entries) > METADATA_LIMIT:
                    break  # it is too much already
                if change.account == self._account or not entry.startswith("/private/"):
                    self._entries[change.mailbox, entry] = None
        else:
            self._names = True
        self._wake()

    def _rights_changed(self, change: AccountChange | None) -> None:
        """Somebody shares a mailbox: with this account, or with its domain perhaps."""
        if change is not None and change.account not in self._accounts and _concerns(change, self._account):
            self._names = True
            self._wake()

    def _wake(self) -> None:
        if self.on_change is not None:
            self.on_change()

    def _overflow(self) -> None:
        self.stop()
        self._entries.clear()
        self._groups = ()
        self._names = self.messages = False
        self._changed.clear()
        self._session.peer.write(b"* OK [NOTIFICATIONOVERFLOW] Too much has happened; ask again\r\n")

    # What is told

    async def _tell_names(self, before: _Seen) -> list[int]:
        """The difference between two states (RFC 5465 5.4, 5.5); returns the mailboxes whose counters should follow."""
        old, new = before.mailboxes, self._seen.mailboxes
        told = _Told(self._session, self._seen)
        fresh = []
        for id, mailbox in old.items():
            if id not in new:
                told.came_or_went(mailbox, self._events)
        for id, mailbox in new.items():
            known = old.get(id)
            if known is not None and known.name == mailbox.name:
                continue
            if known is None:
                told.came_or_went(mailbox, self._events)
            elif b"MAILBOXNAME" in self._wants(mailbox) | self._wants(known):
                told.renamed(known.name, mailbox.name)
            if (self._wants(mailbox) | (self._wants(known) if known is not None else frozenset())) & MESSAGES:
                fresh.append(id)
        told.parents(self._events)
        for name in sorted(before.subscribed ^ self._seen.subscribed):
            if b"SUBSCRIPTIONCHANGE" in self._events(name, told.there.get(name)):
                told.name(name)
        await self._session.peer.ready()
        return fresh

    async def _tell_counters(self, mailboxes: Iterable[Mailbox]) -> None:
        selected, peer = self._session.selected, self._session.peer
        for number, mailbox in enumerate(mailboxes, 1):
            if selected is not None and selected.mailbox.id == mailbox.id:
                continue
            line = b"* STATUS %b (MESSAGES %d UIDNEXT %d UIDVALIDITY %d"
            line %= self._session.name(mailbox.name), mailbox.messages, mailbox.uidnext, mailbox.uidvalidity
            if self._session.condstore or b"FLAGCHANGE" in self._wants(mailbox):  # RFC 5465 5.1 to 5.3
                line += b" HIGHESTMODSEQ %d" % mailbox.modseq
            peer.write(line + b")\r\n")
            if number % _SLICE == 0:
                await peer.ready()

    def _tell_metadata(self, entries: Iterable[tuple[int, str]]) -> None:
        """RFC 5465 5.6 and 5.7, in the form of RFC 5464 4.4.2."""
        for id, entry in entries:
            mailbox = self._seen.mailboxes.get(id)
            if mailbox is None:
                wanted, name = not id and self._of_server, b'""'
            else:
                wanted, name = b"MAILBOXMETADATACHANGE" in self._wants(mailbox), self._session.name(mailbox.name)
            if wanted:
                self._session.peer.write(b"* METADATA %b %b\r\n" % (name, entry.encode("ascii", "replace")))

    # The rest

    async def _refresh(self) -> None:
        """Know the mailboxes as they are now, and miss nothing that happens to them from then on."""
        recording = self._session.services.mailboxes.changes.record()
        try:
            self._seen = await self._read()
        finally:
            recording.stop()
        fresh = self._follow()
        for change in recording.changes:
            if change.mailbox in fresh:
                self._heard(change.mailbox, change)

    async def _read(self) -> _Seen:
        mailboxes = self._session.services.mailboxes
        owner = self._session.owner()
        found = [*await mailboxes.list(owner), *await mailboxes.sharing.list(owner)]
        subscribed = frozenset(await mailboxes.subscriptions(owner))
        return _Seen({mailbox.id: mailbox for mailbox in found}, subscribed)

    def _wants(self, mailbox: Mailbox) -> frozenset[bytes]:
        events = self._events(mailbox.name, mailbox)
        if mailbox.rights.isdisjoint("rswip"):
            events -= {b"MAILBOXMETADATACHANGE"}  # RFC 5464 3.3
        return events if "r" in mailbox.rights else events - MESSAGES  # RFC 5465 5: what comes and goes takes r

    def _events(self, name: str, mailbox: Mailbox | None) -> frozenset[bytes]:
        """The events of all groups that the mailbox is in (RFC 5465 6)."""
        return frozenset().union(*(group.events for group in self._groups if group.covers(name, mailbox, self._account)))

    def _follow(self) -> set[int]:
        """Hear what happens in the mailboxes as they are now; returns those that were not followed before."""
        changes = self._session.services.mailboxes.changes
        wanted = {id for id, mailbox in self._seen.mailboxes.items() if self._wants(mailbox) & MESSAGES}
        for id in self._following.keys() - wanted:
            self._following.pop(id)()
        fresh = wanted - self._following.keys()
        for id in fresh:
            self._following[id] = changes.follow(id, partial(self._heard, id))
        self._follow_accounts({self._account, *(mailbox.account for mailbox in self._seen.mailboxes.values())})
        return fresh

    def _follow_accounts(self, accounts: Iterable[int]) -> None:
        changes = self._session.services.mailboxes.changes
        for account in accounts:
            if account not in self._accounts:
                self._accounts[account] = changes.follow_account(account, self._heard_of_account)


def _concerns(change: AccountChange, account: int) -> bool:
    """Whether one of the rights (see :func:`mailx.store.rights.spelled`) is the account's or a domain's, or may be."""
    rows = [entry.split(" ") for entry in change.entries if entry]
    return not rows or any(row[0] == str(account) or row[1] != "0" for row in rows)


class _Told:
    """Writes LIST responses of names, each with its attributes as they are now."""

    def __init__(self, session: Session, seen: _Seen) -> None:
        self._session = session
        self._account = session.owner().id
        self._subscribed = seen.subscribed
        self.there = {mailbox.name: mailbox for mailbox in seen.mailboxes.values()}
        self._over = {parent for name in self.there for parent in parents(name)}  # names with others below them
        self._touched: dict[str, None] = {}  # parents of what came or went
        self._said: set[str] = set()
        self._renamed: set[tuple[str, str]] = set()

    def name(self, name: str, old: str | None = None) -> None:
        self._said.add(name)
        attributes = [b"\\HasChildren" if name in self._over else b"\\HasNoChildren"]
        if name not in self.there:
            attributes.insert(0, b"\\NonExistent")
        if name in self._subscribed:
            attributes.append(b"\\Subscribed")
        extended = b"" if old is None else b' ("OLDNAME" (%b))' % self._session.name(old)
        self._session.peer.write(_line(attributes, self._session.name(name), extended))

    def renamed(self, old: str, new: str) -> None:
        """Nothing is said of what only a name above it has moved along; parents come before children (RFC 5465 5.4)."""
        above, _, last = old.rpartition(DELIMITER)
        now, _, end = new.rpartition(DELIMITER)
        if last != end or (above, now) not in self._renamed:
            self.name(new, old)
        self._renamed.add((old, new))

    def came_or_went(self, mailbox: Mailbox, events: Callable[[str, Mailbox | None], frozenset[bytes]]) -> None:
        """The name itself; its parent is affected too, also one that is no mailbox (RFC 5465 5.4)."""
        if b"MAILBOXNAME" in events(mailbox.name, mailbox):
            self.name(mailbox.name)
        parent = mailbox.name.rpartition(DELIMITER)[0]
        if parent and (parent in self.there or mailbox.account == self._account):
            self._touched[parent] = None

    def parents(self, events: Callable[[str, Mailbox | None], frozenset[bytes]]) -> None:
        """Those whose children came or went, unless they were told of."""
        for name in self._touched:
            if name not in self._said and b"MAILBOXNAME" in events(name, self.there.get(name)):
                self.name(name)


def _line(attributes: Iterable[bytes], name: bytes, extended: bytes = b"") -> bytes:
    return b'* LIST (%b) "%b" %b%b\r\n' % (b" ".join(attributes), DELIMITER.encode("ascii"), name, extended)


def announced(session: Session, asked: tuple[Item, ...]) -> tuple[Item, ...]:
    """What is sent of a new message: with its UID, which tells the client which one it is, and \\Seen is left alone."""
    if not asked:
        return ()
    items: list[Item] = [*asked] if Data.UID in asked or session.uidonly else [Data.UID, *asked]
    if Data.FLAGS in items and session.condstore and Data.MODSEQ not in items:
        items.append(Data.MODSEQ)
    return tuple(evolve(item, peek=True) if isinstance(item, Section) else item for item in items)
