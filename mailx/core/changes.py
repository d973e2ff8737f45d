"""Who follows which mailbox: the Changes that the store publishes, brought to the sessions they concern."""

from mailx.store import Store


class Changes:
    """The sessions of this process by mailbox; listens to ``store`` once for all of them."""

    def __init__(self, store: Store) -> None:
        self.store = store
