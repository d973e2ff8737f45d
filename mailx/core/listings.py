"""Mailboxes and counters as they were last read, for LIST and STATUS of clients that ask every few seconds.

What is here is true, or it is not here: a change of any of an account's mailboxes forgets them all. That holds only
where every change is heard before its writer is answered, so where this process is the only one that writes.
"""

from collections import OrderedDict

from mailx.core.changes import Changes, Recording
from mailx.mail.mailbox import Change, Mailbox

ACCOUNTS = 1000  # accounts kept, some 2 KB each


class Listings:
    """The mailboxes of accounts by name; all of them, or only those that were asked for."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._accounts: OrderedDict[int, dict[str, Mailbox]] = OrderedDict()
        self._complete: dict[int, list[Mailbox]] = {}
        self._owners: dict[int, int] = {}  # mailbox id -> account id
        self._forgotten = 0
        changes.watch(self._heard)

    def all(self, account: int) -> list[Mailbox] | None:
        """Every mailbox in the order of lists; None: not known."""
        return self._complete.get(account)

    def one(self, account: int, name: str) -> Mailbox | None:
        """The mailbox ``name``; None: not known, which says nothing of whether there is one."""
        held = self._accounts.get(account)
        return None if held is None else held.get(name)

    def reading(self) -> "Reading":
        """To be made before the store is read."""
        return Reading(self._changes.record(), self._forgotten)

    def put(self, account: int, found: list[Mailbox], complete: bool, reading: "Reading") -> None:
        """Keep what was read, unless something changed meanwhile."""
        ids = {mailbox.id for mailbox in found}
        if self._forgotten != reading.forgotten or any(change.mailbox in ids for change in reading.recording.changes):
            return
        held = self._accounts.setdefault(account, {})
        self._accounts.move_to_end(account)
        for mailbox in found:
            held[mailbox.name] = mailbox
            self._owners[mailbox.id] = account
        if complete:
            self._complete[account] = found
        if len(self._accounts) > ACCOUNTS:
            self.forget(next(iter(self._accounts)))

    def forget(self, account: int) -> None:
        """Something of the account's mailboxes changed that no Change tells: a name, a subscription."""
        self._forgotten += 1
        self._complete.pop(account, None)
        for mailbox in self._accounts.pop(account, {}).values():
            self._owners.pop(mailbox.id, None)

    def _heard(self, change: Change) -> None:
        account = self._owners.get(change.mailbox) if change.account is None else change.account.account
        if account is not None:
            self.forget(account)


class Reading:
    """What is heard while the store is being read; stop it afterwards."""

    def __init__(self, recording: Recording, forgotten: int) -> None:
        self.recording = recording
        self.forgotten = forgotten

    def stop(self) -> None:
        self.recording.stop()
