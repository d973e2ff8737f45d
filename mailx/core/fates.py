"""The fates of calls: what the queue knows of each one's recipients, opened for whoever shows or tells it."""

from collections.abc import Sequence

from attrs import frozen

from mailx.core.parcels import Parcels, Past
from mailx.store import Store
from mailx.store.cipher import Cipher, CipherError
from mailx.store.queue_upkeep import Filter, listing

_RECIPIENTS = 100  # of one message that are looked at: what an alias leads to


@frozen
class Fate:
    """One recipient's way. Times are seconds since 1970, 0: never."""

    row: int
    recipient: str  # empty when it does not open
    state: str  # of the queue
    due: int
    attempts: int
    pasts: tuple[Past, ...]  # the attempts that are kept, in order


class Fates:
    """Reads fates from the queue's rows."""

    def __init__(self, store: Store, cipher: Cipher) -> None:
        self._store = store
        self._parcels = Parcels(cipher)

    async def of(self, envelope: str) -> list[Fate]:
        """Of all recipients elsewhere of a message; those of mailboxes here have none. Raises Unavailable."""
        found = []
        for row in await self._store.read(listing, Filter(envelope=envelope), 0, _RECIPIENTS):
            recipient = ""
            pasts: list[Past] = []
            try:
                recipient = str(self._parcels.open_recipient(row.guid, row.recipient).address)
                pasts = self._parcels.open_history(row.guid, row.history)
                word = self._parcels.open_word(row.destination, row.word)
                if word is not None and (not pasts or word.time > pasts[-1].time) and row.attempts:
                    pasts.append(word)
            except CipherError:
                pass  # what does not open stays empty
            found.append(Fate(row.id, recipient, row.state, row.due, row.attempts, tuple(pasts)))
        return found


def last(fates: Sequence[Fate], until: int | None = None) -> Past | None:
    """The latest attempt of all, made not after ``until``; a failure rather than anything else at the same time."""
    pasts = [past for fate in fates for past in fate.pasts if until is None or past.time <= until]
    return max(pasts, key=lambda past: (past.time, past.attempt.reply.code), default=None)
