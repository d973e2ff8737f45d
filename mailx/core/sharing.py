"""Mailboxes of other people: who may do what with them (RFC 4314), and what keeps that true while sessions are open.

A mailbox is shared by granting rights to accounts of this server, or to ``anyone``: every account of the owner's domain. What is
not granted does not exist. Rights that are taken away end at once, in the middle of a session.
"""

from collections.abc import Callable
from time import time
from typing import TYPE_CHECKING

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from mailx.core.changes import Changes
from mailx.core.listings import Listings
from mailx.core.selected import Selected
from mailx.core.users import DirectoryError, parse
from mailx.mail import rights as letters
from mailx.mail.mailbox import DELIMITER, AccountChange, Change, Mailbox
from mailx.mail.names import MailboxError, normal, order
from mailx.mail.rights import ALL, ANYONE, Place, RightsError, elsewhere
from mailx.store import Store, Txn, rights
from mailx.store import mailboxes as boxes
from mailx.store.rights import Grant

if TYPE_CHECKING:
    from mailx.core.users import User

log = Logger()

Listed = list[Mailbox]
Grants = list[Grant]
Heard = list[Change]

_NOBODY = 10_000  # accounts remembered to whom nothing was granted


@frozen
class Identifier:
    """Whom a line of a list is about: an account's address, or everybody (both empty)."""

    local: str
    domain: str
    negative: bool


class Sharing:
    """The mailboxes that accounts let others use."""

    def __init__(self, store: Store, names: boxes.Names, changes: Changes, listings: Listings) -> None:
        self._store = store
        self._names = names
        self._changes = changes
        self._listings = listings
        self._without: set[int] = set()  # accounts to whom nothing was granted; only where no other process writes
        self._granted = 0  # lists changed, so that what was read before is not remembered after
        changes.watch(self._heard)

    def _heard(self, change: Change) -> None:
        if change.mailbox == 0 or (change.account is not None and change.account.kind == "acl"):
            self._granted += 1
            self._without.clear()

    # Names

    async def list(self, user: "User") -> Listed:
        """The mailboxes of others that ``user`` may look up, by name."""
        if user.id in self._without:
            return []
        granted = self._granted
        found, any_at_all, alone = await self._store.read(self._visible, user.id)
        if not any_at_all and alone and granted == self._granted:
            if len(self._without) >= _NOBODY:
                self._without.clear()
            self._without.add(user.id)
        return sorted(found, key=lambda mailbox: order(mailbox.name))

    def _visible(self, txn: Txn, account_id: int) -> tuple[Listed, bool, bool]:
        if not rights.any_for(txn, account_id):
            return [], False, txn.dialect == "sqlite"
        return rights.visible(txn, self._names, account_id), True, False

    async def find(self, user: "User", place: Place, needed: str = "") -> Mailbox:
        """Raises MailboxError "NONEXISTENT", "NOPERM"."""
        return await self._store.read(rights.find, self._names, user.id, place, needed)

    async def create(self, user: "User", place: Place, special_use: str) -> Mailbox:
        if special_use:
            raise MailboxError("NOPERM", "Special uses are the owner's to give")
        made: Mailbox = await self._store.write(rights.create, self._names, user.id, place, int(time()))
        self._listings.forget(made.account)
        return made

    async def bury(self, user: "User", place: Place) -> int:
        """Take a mailbox from sight; its id, to purge it."""
        owner, mailbox_id = await self._store.write(rights.bury, self._names, user.id, place)
        self._listings.forget(owner)
        return int(mailbox_id)

    async def rename(self, user: "User", old: str, new: str) -> None:
        """One of the names, in normal form, at least is another account's: mailboxes stay with their owners."""
        source, target = elsewhere(old), elsewhere(new)
        if source is None:
            raise MailboxError("NOPERM", "A mailbox stays with its owner")
        if target is None:
            await self.find(user, source, "x")
            raise MailboxError("NOPERM", "A mailbox stays with its owner")
        self._listings.forget(await self._store.write(rights.rename, self._names, user.id, source, target, int(time())))

    # Lists (RFC 4314)

    async def grants(self, user: "User", name: str) -> tuple[Mailbox, Grants]:
        """The list of a mailbox; raises MailboxError "NONEXISTENT", "NOPERM" without ``a``."""

        def job(txn: Txn) -> tuple[Mailbox, Grants]:
            found = self._found(txn, user.id, normal(name), "a")
            return found, rights.listed(txn, found)

        return await self._store.read(job)

    async def mine(self, user: "User", name: str) -> Mailbox:
        """The mailbox with ``user``'s rights."""
        return await self._store.read(self._found, user.id, normal(name), "")

    async def grantable(self, user: "User", name: str, identifier: str) -> tuple[Mailbox, bool]:
        """The mailbox, and whether ``identifier`` names its owner, who keeps every right."""
        who = _identifier(identifier)

        def job(txn: Txn) -> tuple[Mailbox, bool]:
            found = self._found(txn, user.id, normal(name), "a")
            return found, not who.negative and rights.known(txn, who.local, who.domain) == found.account

        return await self._store.read(job)

    async def grant(self, user: "User", name: str, identifier: str, text: str) -> None:
        """SETACL: ``text`` is rights, with ``+`` or ``-`` in front to add or to take. Raises MailboxError, RightsError."""
        mode = text[:1] if text[:1] in ("+", "-") else ""
        await self._grant(user, name, identifier, letters.parse(text[len(mode) :]), mode)

    async def withdraw(self, user: "User", name: str, identifier: str) -> None:
        """DELETEACL: the identifier's line goes."""
        await self._grant(user, name, identifier, frozenset(), "")

    async def _grant(self, user: "User", name: str, identifier: str, wanted: frozenset[str], mode: str) -> None:
        who = _identifier(identifier)
        name = normal(name).removesuffix(DELIMITER)
        place = elsewhere(name) or name
        await self._store.write(rights.grant, self._names, user.id, place, who.local, who.domain, who.negative, wanted, mode)

    def _found(self, txn: Txn, account_id: int, name: str, needed: str) -> Mailbox:
        place = elsewhere(name)
        return boxes.find(txn, self._names, account_id, name) if place is None else rights.find(txn, self._names, account_id, place, needed)

    # Sessions

    def found(self, txn: Txn, account_id: int, name: str, needed: str) -> tuple[Mailbox, int]:
        """Of a mailbox (name in normal form), for whoever selects it: what it is, and the account's domain if it is another's."""
        place = elsewhere(name)
        if place is None:
            return boxes.find(txn, self._names, account_id, name), 0
        return rights.find(txn, self._names, account_id, place, needed), rights.domain_of(txn, account_id)

    def watch(self, selected: Selected, viewer: int, domain: int, missed: Heard) -> None:
        """Keep the rights of a session in another's mailbox true until it is closed; ``missed``: heard since they were read."""
        selected.viewer = viewer
        heard_of = 0

        def heard(change: AccountChange | None) -> None:
            nonlocal heard_of
            if change is not None and change.kind == "acl" and change.mailbox == selected.mailbox.id and change.entries:
                heard_of += 1
                selected.allow(rights.effective(rights.read(change.entries[1:]), viewer, domain))
            elif change is None or change.kind == "sessions" or (change.kind == "acl" and change.mailbox in (0, selected.mailbox.id)):
                heard_of += 1
                self._look_again(selected, lambda now=heard_of: now == heard_of)  # type: ignore[misc]

        selected.unwatch = self._changes.follow_account(selected.mailbox.account, heard)
        for change in missed:
            if change.account is not None and change.account.account == selected.mailbox.account:
                heard(change.account)
            elif change.mailbox == 0:
                heard(None)

    def ended(self, owner: int) -> None:
        """The account ``owner`` may share no more: it was suspended or sealed. Its guests' rights are looked at again."""
        self._changes.tell_account(owner, AccountChange(owner, "acl"))

    def _look_again(self, selected: Selected, latest: Callable[[], bool]) -> None:
        """Read the rights, unless more is heard of them meanwhile: ``latest`` says that nothing was."""

        def found(held: frozenset[str]) -> None:
            if latest():
                selected.allow(held)

        def failed(failure: object) -> None:
            selected.allow(frozenset())  # rather nothing than too much
            log.warn("Rights to a mailbox could not be read, its guest is sent away", event="mailbox.rights_unknown", mailbox=mailbox)

        mailbox = selected.mailbox.id
        reading: Deferred[frozenset[str]] = self._store.read(rights.still, mailbox, selected.viewer)
        reading.addCallback(found).addErrback(failed)


def _identifier(text: str) -> Identifier:
    """Raises MailboxError "CANNOT" for what is no identifier here."""
    negative = text.startswith("-")
    name = text[1:] if negative else text
    if name == ANYONE:
        return Identifier("", "", negative)
    try:
        address = parse(name)
    except DirectoryError:
        raise MailboxError("CANNOT", "An identifier is the address of an account here, or anyone") from None
    return Identifier(address.local, address.domain, negative)


__all__ = ["ALL", "Grant", "RightsError", "Sharing"]
