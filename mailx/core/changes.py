"""Changes of mailboxes, brought from the store to whoever follows the mailbox.

A change of mailbox 0 says that changes of other nodes may have been missed: everybody hears it.
"""

from collections.abc import Callable

from mailx.mail.mailbox import Change
from mailx.store import Store

Listener = Callable[[Change], None]


class Changes:
    """Listens to the store once and calls, for each Change, only those who follow its mailbox."""

    def __init__(self, store: Store) -> None:
        self._listeners: dict[int, list[Listener]] = {}
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
