"""Changes of mailboxes, brought from the store to whoever follows the mailbox; changes of names to whoever follows the account.

A change of mailbox 0 says that changes of other nodes may have been missed: everybody hears it.
"""

from collections.abc import Callable

from mailx.mail.mailbox import AccountChange, Change
from mailx.store import Store

Listener = Callable[[Change], None]
ANY = 0  # instead of an account: changes of rights of any, which may give something to somebody who had nothing there
AccountListener = Callable[[AccountChange | None], None]


class Changes:
    """Listens to the store once and calls, for each Change, only those who follow its mailbox."""

    def __init__(self, store: Store) -> None:
        self._listeners: dict[int, list[Listener]] = {}
        self._of_accounts: dict[int, list[AccountListener]] = {}
        self._watchers: list[Listener] = []
        self._recordings: list[Recording] = []
        store.listen(self._heard)

    def follow(self, mailbox: int, listener: Listener) -> Callable[[], None]:
        """Call ``listener(change)`` for each change of ``mailbox`` from now on, until what is returned is called."""
        listeners = self._listeners.setdefault(mailbox, [])
        listeners.append(listener)

        def unfollow() -> None:
            listeners.remove(listener)
            if not listeners:
                del self._listeners[mailbox]

        return unfollow

    def follow_account(self, account: int, listener: AccountListener) -> Callable[[], None]:
        """Call ``listener`` for each AccountChange of ``account``, with None where some may have been missed."""
        listeners = self._of_accounts.setdefault(account, [])
        listeners.append(listener)

        def unfollow() -> None:
            listeners.remove(listener)
            if not listeners:
                del self._of_accounts[account]

        return unfollow

    def tell_account(self, account: int, change: AccountChange | None) -> None:
        """Tell those who follow ``account``. Whoever writes publishes with its transaction instead, so that other nodes hear."""
        for listener in tuple(self._of_accounts.get(account, ())):
            listener(change)

    def watch(self, listener: Listener) -> None:
        """Call ``listener(change)`` for each change of any mailbox, before those who follow it."""
        self._watchers.append(listener)

    def record(self) -> "Recording":
        """Keep every change until the recording is stopped: for whoever reads a mailbox and will follow it then."""
        recording = Recording(self._recordings)
        self._recordings.append(recording)
        return recording

    def _heard(self, change: Change) -> None:
        for recording in self._recordings:
            recording.changes.append(change)
        for listener in self._watchers:
            listener(change)
        if change.account is not None:
            self.tell_account(change.account.account, change.account)
            if change.account.kind == "acl":
                self.tell_account(ANY, change.account)
            return
        if not change.mailbox:
            for account in tuple(self._of_accounts):
                self.tell_account(account, None)
        followed = (change.mailbox,) if change.mailbox else tuple(self._listeners)
        for mailbox in followed:
            for listener in tuple(self._listeners.get(mailbox, ())):
                listener(change)


class Recording:
    """The changes of all mailboxes while something is read."""

    def __init__(self, recordings: "list[Recording]") -> None:
        self.changes: list[Change] = []
        self._recordings = recordings

    def of(self, mailbox: int) -> list[Change]:
        return [change for change in self.changes if change.mailbox in (0, mailbox)]

    def stop(self) -> None:
        self._recordings.remove(self)
