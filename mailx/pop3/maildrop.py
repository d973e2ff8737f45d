"""One account's INBOX as one POP3 session has it: numbered once at login, marked by DELE, changed at QUIT only (RFC 1939 5, 6).

The numbers stay whatever happens to the mailbox meanwhile; what an IMAP session removes is refused when it is asked for.
:class:`Locks` sees to it that one session at a time has a maildrop (RFC 1939 4).
"""

from array import array
from collections.abc import Iterator, Sequence

from mailx.core.fetch import Need, Row
from mailx.core.mailboxes import Mailboxes
from mailx.core.selected import Selected
from mailx.core.users import User
from mailx.mail.mailbox import Flag
from mailx.mail.names import INBOX
from mailx.pop3.answers import Refusal

_SEEN = int(Flag.SEEN)


class Locks:
    """Which accounts have their maildrop open on this node."""

    def __init__(self) -> None:
        self._held: set[int] = set()

    def take(self, account: int) -> bool:
        """False if another session has it."""
        if account in self._held:
            return False
        self._held.add(account)
        return True

    def give_back(self, account: int) -> None:
        self._held.discard(account)


class Maildrop:
    """Message ``n`` is at place ``n - 1`` of the columns."""

    def __init__(self, mailboxes: Mailboxes, view: Selected) -> None:
        """``view`` was selected for reading and is closed by ``close``; nobody else takes its updates."""
        self._mailboxes = mailboxes
        self._view = view
        self._uids: array[int] = view.uids
        self._sizes: array[int] = view.sizes
        self._deleted: set[int] = set()  # places
        self._deleted_octets = 0
        self._read: set[int] = set()  # places sent whole
        self._octets = sum(view.sizes)

    @classmethod
    async def open(cls, mailboxes: Mailboxes, user: User) -> "Maildrop":
        """Raises MailboxError, Unavailable."""
        return cls(mailboxes, await mailboxes.select(user, INBOX, read_only=True))

    def close(self) -> None:
        self._view.close()

    @property
    def count(self) -> int:
        """Messages that are not marked."""
        return len(self._uids) - len(self._deleted)

    @property
    def octets(self) -> int:
        """Their sizes together."""
        return self._octets - self._deleted_octets

    @property
    def marked(self) -> int:
        return len(self._deleted)

    def place(self, number: int) -> int:
        """Where message ``number`` is; raises Refusal if it is not there or marked."""
        place = number - 1
        if not 0 <= place < len(self._uids):
            raise Refusal(b"No such message")
        if place in self._deleted:
            raise Refusal(b"The message is marked as deleted")
        return place

    def places(self) -> Iterator[int]:
        """Of every message that is not marked."""
        deleted = self._deleted
        return (place for place in range(len(self._uids)) if place not in deleted)

    def size(self, place: int) -> int:
        return self._sizes[place]

    def unique(self, place: int) -> bytes:
        """The unique id (RFC 1939 7, UIDL): what IMAP calls UIDVALIDITY and UID, so it is never used again."""
        return b"%d.%d" % (self._view.mailbox.uidvalidity, self._uids[place])

    def mark(self, place: int) -> None:
        self._deleted.add(place)
        self._deleted_octets += self._sizes[place]

    def reset(self) -> None:
        """No message is marked."""
        self._deleted.clear()
        self._deleted_octets = 0

    def was_read(self, place: int) -> None:
        self._read.add(place)

    async def row(self, place: int) -> Row:
        """The message with its content; raises Refusal if another session removed it."""
        async for rows in self._mailboxes.fetch(self._view, [self._uids[place]], Need.CONTENT):
            for found in rows:
                return found
        raise Refusal(b"The message was removed by another session")

    async def update(self) -> None:
        """Make the marks come true; raises Unavailable, after which some may have."""
        flags = self._view.flags
        seen = self._uids_of(sorted(place for place in self._read - self._deleted if not flags[place] & _SEEN))
        gone = self._uids_of(sorted(self._deleted))
        if seen or gone:
            await self._mailboxes.update(self._view, seen, gone)

    def _uids_of(self, places: Sequence[int]) -> list[int]:
        return [self._uids[place] for place in places]
