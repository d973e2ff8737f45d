"""What other MailX servers have delivered: one row for each recipient of a transfer who took it.

A row enters in the transaction that stores the message (:mod:`mailx.store.delivery`), or not at all. So a transfer that
is repeated, for its acknowledgement was lost, finds what became of each recipient and stores nothing twice, on whichever
node it comes in. A recipient who refused has no row: the next time may be different.
"""

from collections.abc import Collection, Sequence

from attrs import frozen

from mailx.store import Txn
from mailx.store.queue import among, padded

_ROWS = 128  # rows asked for in one statement
SLICE = 1000  # rows that a job removes at most


@frozen
class Entry:
    """One recipient, as it is written if the message is stored for him."""

    recipient: bytes  # hash
    accounts: tuple[int, ...]  # he is served when one of these takes the message,
    passing: bool  # or when it is passed on to another server
    outcome: bytes  # sealed


@frozen
class Record:
    """A transfer, and the recipients for whom it is to be stored."""

    transfer: bytes  # hash
    created: int
    entries: tuple[Entry, ...]


class Register:
    """Takes in the transfers of one transaction, many in one statement."""

    def __init__(self, txn: Txn, records: Sequence[Record]) -> None:
        """``records`` are all that may come: those of them that have come before are found at once."""
        self._txn = txn
        self._fresh: list[tuple[bytes, bytes, int, bytes]] = []
        self._known: set[tuple[bytes, bytes]] = set()
        hashes = sorted({record.transfer for record in records})
        for start in range(0, len(hashes), _ROWS):
            part = hashes[start : start + _ROWS]
            rows = txn.all(f"SELECT transfer, recipient FROM transfers WHERE {among('transfer', part)}", padded(part))
            self._known.update((bytes(transfer), bytes(recipient)) for transfer, recipient in rows)

    def met(self, record: Record) -> bool:
        """Whether one of its recipients has the message already: then nothing of it may be stored."""
        return any((record.transfer, entry.recipient) in self._known for entry in record.entries)

    def enter(self, record: Record, accounts: Collection[int], passed: bool) -> None:
        """These accounts take the message; ``passed``: so does the queue."""
        for entry in record.entries:
            if (entry.passing and passed) or any(account in accounts for account in entry.accounts):
                self._known.add((record.transfer, entry.recipient))
                self._fresh.append((record.transfer, entry.recipient, record.created, entry.outcome))

    def write(self) -> None:
        """Write what has entered."""
        if self._fresh:
            self._txn.insert_many("INSERT INTO transfers (transfer, recipient, created, outcome) VALUES ?", self._fresh)


def outcomes(txn: Txn, transfer: bytes) -> dict[bytes, bytes]:
    """What is recorded of a transfer: by the hash of each recipient, sealed."""
    rows = txn.all("SELECT recipient, outcome FROM transfers WHERE transfer = ?", (transfer,))
    return {bytes(recipient): bytes(outcome) for recipient, outcome in rows}


def prune(txn: Txn, before: int) -> int:
    """Forget at most a slice of what was stored before that time; how many recipients."""
    rows = txn.all("SELECT transfer, recipient FROM transfers WHERE created < ? ORDER BY created LIMIT ?", (before, SLICE))
    for transfer, recipient in rows:
        txn.execute("DELETE FROM transfers WHERE transfer = ? AND recipient = ?", (transfer, recipient))
    return len(rows)
