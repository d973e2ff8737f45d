"""Metadata of mailboxes and of the server (RFC 5464): who sees and sets which entries.

A guest needs the right to look a mailbox up and one to do something with it; shared entries are changed by whoever has ``w``.
Shared entries of the server are set by its administrators and read by everybody.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mailx.mail.mailbox import Mailbox
from mailx.mail.names import MailboxError, normal
from mailx.mail.rights import elsewhere
from mailx.store import Store, Txn, accounts, metadata, rights
from mailx.store import mailboxes as boxes
from mailx.store.metadata import STORAGE_LIMIT

if TYPE_CHECKING:
    from mailx.core.users import User
    from mailx.store.cipher import Cipher

VALUE_LIMIT = 8192  # octets of one value: a literal of an IMAP command has no more
SPECIAL_USE = "/private/specialuse"  # what a mailbox is for, kept with the mailbox (RFC 6154 4)

_ANY = frozenset("rswip")  # one of these besides l (RFC 5464 3.3)
_ADMINISTRATORS = ("owner", "admin")

Values = dict[str, bytes]


class Metadata:
    """Entries and their values."""

    def __init__(self, store: Store, cipher: "Cipher", names: boxes.Names) -> None:
        self._store = store
        self._cipher = cipher
        self._names = names

    async def get(self, user: "User", name: str) -> tuple[str, Values]:
        """The mailbox's name as the store has it, and all entries that ``user`` sees there; the empty name is the server.

        Raises MailboxError "NONEXISTENT", "NOPERM".
        """

        def job(txn: Txn) -> tuple[str, Values]:
            if not name:
                return "", metadata.all_of(txn, self._cipher, None, user.id)
            found = self._find(txn, user, name)
            return found.name, self._values(txn, user, found)

        return await self._store.read(job)

    async def of(self, user: "User", mailbox: Mailbox) -> Values:
        """The entries of a mailbox that was listed; none where ``user`` may do nothing with it."""
        if mailbox.rights.isdisjoint(_ANY):
            return {}
        return await self._store.read(self._values, user, mailbox)

    async def put(self, user: "User", name: str, values: Mapping[str, bytes | None]) -> None:
        """Set entries, all or none; raises MailboxError with what RFC 5464 4.3 has for each reason."""
        if any(value is not None and len(value) > VALUE_LIMIT for value in values.values()):
            raise MailboxError(f"METADATA MAXSIZE {VALUE_LIMIT}", "A value is too long")
        if SPECIAL_USE in values:
            raise MailboxError("NOPERM", "A special use is given when a mailbox is made")
        shared = any(key.startswith("/shared/") for key in values)

        def job(txn: Txn) -> None:
            if not name:
                row = accounts.by_id(txn, user.id) if shared else None  # a session may be older than its account's role
                if shared and (row is None or row[3] not in _ADMINISTRATORS):
                    raise MailboxError("NOPERM", "Shared entries of the server are its administrators'")
                metadata.put(txn, self._cipher, None, 0, user.id, values)
                return
            found = self._find(txn, user, name)
            if shared and "w" not in found.rights:
                raise MailboxError("NOPERM", "You have no right to change shared entries of this mailbox")
            metadata.put(txn, self._cipher, found.id, found.account, user.id, values)

        await self._store.write(job)

    async def used(self, user: "User") -> tuple[int, int]:
        """Octets of values that the account keeps, and how many it may."""
        return await self._store.read(metadata.used, user.id), STORAGE_LIMIT

    def _find(self, txn: Txn, user: "User", name: str) -> Mailbox:
        name = normal(name)
        place = elsewhere(name)
        if place is None:
            return boxes.find(txn, self._names, user.id, name)
        found = rights.find(txn, self._names, user.id, place)
        if found.rights.isdisjoint(_ANY):
            raise MailboxError("NOPERM", "You have no right to do that with this mailbox")
        return found

    def _values(self, txn: Txn, user: "User", mailbox: Mailbox) -> Values:
        found = metadata.all_of(txn, self._cipher, mailbox.id, user.id)
        if mailbox.special_use:
            found[SPECIAL_USE] = mailbox.special_use.encode("ascii")
        return found
