"""Indexes accounts one by one: sealed ones while their owners are here, and ordinary ones that were sealed until lately.

The indexer passes by the mail of sealed accounts. Here each of them has a position of its own, never beyond that of the indexer:
so what tells whether an index is of this database holds for these as well. Their words are sealed under the account's vault key.
When that goes, what was not stored yet is given up; the next login goes on from there, and searches look into the rest.
Failure is the indexer's: Unavailable, Overtaken, CipherError, Damaged.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from mailx.core import metrics
from mailx.core.batch import Batch
from mailx.core.documents import Extract
from mailx.core.index import Index
from mailx.core.merging import Merging, Threads
from mailx.store import Store, account_keys, index_accounts, segments, unindexed, waiting
from mailx.store.account_keys import SEALED
from mailx.store.index_accounts import Followed
from mailx.store.unindexed import Unindexed

if TYPE_CHECKING:
    from mailx.store.blobs import Blobs
    from mailx.store.cipher import Cipher
    from mailx.store.vault import Vault

BATCH = 512  # messages of one transaction
WEIGHT = 400_000  # words of all of them together; no more are taken then
SLICE = 32  # messages read and cut into words at a time
SLICE_OCTETS = 512 * 1024  # of contents in the database, read at a time

_ACCOUNTS = 100  # read at a time


class Apart:
    """Indexes what is ``due``. Work is done by ``threads``, ``spare`` gives way between two steps."""

    def __init__(
        self,
        store: Store,
        index_store: Store,
        index: Index,
        cipher: "Cipher",
        blobs: "Blobs",
        merging: Merging,
        threads: Threads,
        spare: Callable[[], Awaitable[None]],
        extract: Extract | None = None,
    ) -> None:
        self._extract = extract
        self._store = store
        self._index_store = index_store
        self._index = index
        self._cipher = cipher
        self._blobs = blobs
        self._merging = merging
        self._threads = threads
        self._spare = spare
        self.due: set[int] = set()  # accounts to be looked at

    def passed(self, messages: Iterable[Unindexed]) -> None:
        """The indexer passed by these: they are for here if they are of sealed accounts that are open."""
        self.due.update(account for message in messages for account in message.sealed if self._index.vault(account) is not None)

    def look_around(self) -> None:
        """Another node has indexed, or everything is to be indexed anew: any open account may have something."""
        if self._index.keyring is not None:
            self.due.update(self._index.keyring.accounts())

    async def resume(self) -> None:
        """Find what a stop of the server has cut short: accounts that are sealed no more, or were deleted."""
        after = 0
        while found := await self._index_store.read(index_accounts.some, after, _ACCOUNTS):
            self.due.update(await self._store.read(account_keys.lacking, {one.account for one in found}))
            after = found[-1].account

    async def left(self) -> tuple[int, int]:
        """How many messages of sealed accounts are not indexed: where owners are here, and where they are away."""
        here, away, after = 0, await self._store.read(waiting.total), 0
        while accounts := await self._store.read(account_keys.every, after, _ACCOUNTS):
            known = await self._index_store.read(index_accounts.positions, accounts)
            opened = {account for account in accounts if self._index.vault(account) is not None}
            here += await self._store.read(unindexed.beyond, [(account, known.get(account, 0)) for account in opened])
            away += await self._store.read(
                unindexed.beyond, [(account, known.get(account, 0)) for account in accounts if account not in opened]
            )
            after = accounts[-1]
        return here, away

    async def run(self, upto: int, stopped: Callable[[], bool]) -> bool:
        """Index the accounts that are due, up to the message ``upto``; False if something is left because there is more urgent work."""
        while self.due and not stopped():
            account = self.due.pop()
            ended = False
            try:
                ended = await self._account(account, upto, stopped)
            finally:
                if not ended:
                    self.due.add(account)
            if not ended:
                return False
        return True

    async def look_at_locked(self) -> None:
        """What was not cleaned because an owner is away is due, if the account is gone meanwhile or not sealed any more."""
        locked = sorted(self._merging.locked)
        for start in range(0, len(locked), _ACCOUNTS):
            ended = await self._store.read(account_keys.lacking, set(locked[start : start + _ACCOUNTS]))
            self._merging.locked -= ended
            self.due |= ended

    async def _account(self, account: int, upto: int, stopped: Callable[[], bool]) -> bool:
        """Index one account; whether nothing is left that can be done now."""
        keys = await self._store.read(account_keys.one, account)
        vault = None if keys is None else self._index.vault(account)
        row = await self._index_store.read(index_accounts.one, account)
        if keys is None:
            if row is None:
                return True  # followed with all others
        elif keys.state != SEALED or vault is None:
            return True  # its conversion tells when it has ended, and its owner's next login
        mark = b"" if vault is None else segments.mark(vault, account)
        if row is None or row.vault != mark:
            await self._index.drop(account)
            row = Followed(account, 0, mark)
            await self._index_store.write(index_accounts.begin, row)
        while row.position < upto:
            row = await self._batch(row, upto, vault, stopped)
            if self._gone(account, vault):
                return True
            await self._merging.tidy({account}, stopped)
            if row.position < upto and (stopped() or await self._store.read(unindexed.head) > upto):
                return False
        if account in self._merging.locked:
            self._merging.locked.discard(account)
            await self._merging.clean([account], stopped)
        if vault is None:
            await self._index_store.write(index_accounts.end, account)
        return True

    async def _batch(self, row: Followed, upto: int, vault: "Vault | None", stopped: Callable[[], bool]) -> Followed:
        """Index some messages of an account; how far it is then."""
        account, sealed = row.account, vault is not None
        found = await self._store.read(unindexed.lacking, account, row.position, upto, sealed, BATCH)
        batch = Batch(self._cipher, self._blobs, vault, self._extract)
        position = row.position
        for ids in _slices(found):
            messages = await self._store.read(unindexed.of, account, ids, sealed)
            unknown = batch.unknown(messages)
            numbers = await self._index_store.read(segments.last_numbers, unknown) if unknown else {}
            await self._threads(batch.add, messages, numbers, unknown)
            position = ids[-1]
            await self._spare()
            if stopped() or self._gone(account, vault):
                return row
            if batch.weight >= WEIGHT:
                break
        if position == (found[-1][0] if found else row.position) and len(found) < BATCH:
            position = upto
        made = await self._threads(batch.sealed)
        row = await self._index_store.write(index_accounts.advance, row, position, made)
        metrics.INDEXED.inc(sum(one.documents for one in made))
        return row

    def _gone(self, account: int, vault: "Vault | None") -> bool:
        """Whether the owner's key was forgotten or exchanged meanwhile: its next opening makes the account due again."""
        return vault is not None and self._index.vault(account) is not vault


def _slices(found: Sequence[tuple[int, int]]) -> Iterator[list[int]]:
    """The ids in runs of SLICE, whose contents are about SLICE_OCTETS together."""
    ids: list[int] = []
    octets = 0
    for id, size in found:
        if ids and (len(ids) == SLICE or octets + size > SLICE_OCTETS):
            yield ids
            ids, octets = [], 0
        ids.append(id)
        octets += size
    if ids:
        yield ids
