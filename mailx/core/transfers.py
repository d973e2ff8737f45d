"""Transfers: what another MailX server delivers, recorded for each recipient who took it, so that repeats store nothing.

A record enters in the transaction that stores the message. A transfer whose recipients have all taken it is answered from
the records; one that some have not taken is accepted for those. Two that come at the same time, on whatever nodes, never
both store: the later one is told so (:class:`Met`), and is answered from the records of the earlier.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from time import time
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from mailx.core.receivers import Reached
from mailx.identity.encoding import Malformed, b64, unb64
from mailx.identity.transfers import DIGEST_SIZE, Taken
from mailx.mail.address import Address
from mailx.mail.reply import Refused, Reply, Unavailable
from mailx.store import Store, transfers
from mailx.store.cipher import Cipher, CipherError
from mailx.store.transfers import Entry, Record

log = Logger()

KEPT_DAYS = 30
_DAILY = 86400

_encode = json.JSONEncoder(separators=(",", ":")).encode


class Met(Refused):
    """Somebody accepted the same transfer for one of its recipients meanwhile: nothing of this one was stored."""

    def __init__(self) -> None:
        super().__init__(Reply(451, "4.3.0", "The same message is being delivered by another connection; try again"))


@frozen
class Transfer:
    """One transfer as it is being accepted."""

    hash: bytes
    taken: Taken
    seal: Callable[[bytes, bytes, Taken], bytes]
    name: Callable[[bytes, Address], bytes]

    def record(self, reached: Reached) -> Record:
        """What is written of it for those whom ``reached`` found."""
        entries = []
        for recipient, accounts in reached.recipients.items():
            name = self.name(self.hash, recipient)
            entries.append(Entry(name, tuple(accounts), recipient in reached.passing, self.seal(self.hash, name, self.taken)))
        return Record(self.hash, self.taken.time, tuple(entries))


class Transfers:
    """The records of one server. ``start`` forgets old ones daily."""

    def __init__(self, store: Store, cipher: Cipher, reactor: Any, now: Callable[[], float] = time) -> None:
        """``now`` gives seconds since 1970."""
        self._store = store
        self._cipher = cipher
        self._now = now
        self._pruning = LoopingCall(lambda: Deferred.fromCoroutine(self.prune()))
        self._pruning.clock = reactor

    def start(self) -> None:
        """Forget old records from now on, daily."""
        self._pruning.start(_DAILY).addErrback(
            lambda failure: log.failure("Records of transfers were not forgotten", failure, event="transfers.prune_failed")
        )

    def stop(self) -> None:
        """Forget no more."""
        if self._pruning.running:
            self._pruning.stop()

    def id(self, dispatch: bytes, ours: str, theirs: str) -> bytes:
        """What names a message that we send to the domain ``theirs``: the same whenever it is tried, whoever of them is left.

        ``dispatch`` is what the queue calls the message (``Envelope.dispatch``). The name tells nobody else anything.
        """
        return self._cipher.hash(b"transfer-id", f"{ours} {theirs}".encode(), dispatch)

    def transfer(self, ours: str, theirs: str, id: bytes, digest: bytes, size: int) -> Transfer:
        """A transfer from the domain ``theirs`` to ours, as :meth:`mailx.core.reception.Reception.accept` takes it."""
        taken = Taken(int(self._now()), digest, size)
        return Transfer(self._hash(ours, theirs, id), taken, self._seal, self._name)

    async def taken(self, ours: str, theirs: str, id: bytes, recipients: Sequence[Address]) -> Mapping[Address, Taken]:
        """Those of ``recipients`` who took this transfer before. Raises Unavailable."""
        hash = self._hash(ours, theirs, id)
        rows = await self._store.read(transfers.outcomes, hash)
        if not rows:
            return {}
        names = {recipient: self._name(hash, recipient) for recipient in recipients}
        return {recipient: self._open(hash, name, rows[name]) for recipient, name in names.items() if name in rows}

    async def prune(self) -> None:
        """Forget what is older than anybody may repeat."""
        try:
            while await self._store.write(transfers.prune, int(self._now()) - KEPT_DAYS * _DAILY) == transfers.SLICE:
                pass
        except Unavailable as error:
            log.warn("Records of transfers were not forgotten: {reason}", event="transfers.prune_failed", reason=error.reason)

    def _hash(self, ours: str, theirs: str, id: bytes) -> bytes:
        return self._cipher.hash(b"transfer", f"{ours} {theirs}".encode(), id)

    def _name(self, hash: bytes, recipient: Address) -> bytes:
        return self._cipher.hash(b"transferred", hash, recipient.key.encode())

    def _seal(self, hash: bytes, name: bytes, taken: Taken) -> bytes:
        return self._cipher.seal(b"transfer", hash + name, _encode([taken.time, b64(taken.digest), taken.size]).encode())

    def _open(self, hash: bytes, name: bytes, sealed: bytes) -> Taken:
        """Raises Unavailable if it does not open: that the recipient has it is certain, so it must not be stored again."""
        try:
            when, digest, size = json.loads(self._cipher.open(b"transfer", hash + name, sealed))
            return Taken(int(when), unb64(digest, DIGEST_SIZE), int(size))
        except (CipherError, Malformed, ValueError, TypeError) as error:
            raise Unavailable(f"the record of a transfer does not open: {type(error).__name__}") from None
