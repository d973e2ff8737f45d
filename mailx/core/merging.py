"""Keeps the segments of the search index few, and free of what was deleted.

Segments of one size are merged when there are FAN of them, until they hold FINAL documents: each document is written
about three times in its life. A segment with deleted messages is written anew without them.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

from mailx.store import Store, segments, unindexed
from mailx.store.messages import Sealer
from mailx.store.segments import Place

if TYPE_CHECKING:
    from mailx.store.cipher import Cipher
    from mailx.store.vault import Vault

FAN = 8
FINAL = 2048  # documents; segments of as many are never merged

_ACCOUNTS = 100  # read at a time
_IDS = 500  # messages asked for by one job

Threads = Callable[..., Awaitable[Any]]


def plan(places: Sequence[Place]) -> list[Place]:
    """Which segments of one account to merge now; empty when they are few enough."""
    groups: dict[tuple[int, int, bytes], list[Place]] = {}
    for place in places:
        if place.documents < FINAL:
            groups.setdefault((place.stretch, _tier(place.documents), place.vault), []).append(place)
    for group in groups.values():
        if len(group) >= FAN:
            documents = 0
            for count, place in enumerate(group, 1):
                documents += place.documents
                if documents >= FINAL or count == FAN:
                    return group[:count]
    return []


def _tier(documents: int) -> int:
    tier = 0
    while documents >= FAN:
        documents //= FAN
        tier += 1
    return tier


class Merging:
    """Merges and cleans. Work is done by ``threads``, ``spare`` gives way between two steps."""

    def __init__(
        self,
        store: Store,
        index_store: Store,
        cipher: "Cipher",
        vault: "Callable[[int], Vault | None]",
        threads: Threads,
        spare: Callable[[], Awaitable[None]],
    ) -> None:
        """``vault`` has what opens the segments of a sealed account while its owner is here."""
        self._store = store
        self._index_store = index_store
        self._cipher = cipher
        self._vault = vault
        self.locked: set[int] = set()  # accounts that were not cleaned because their owners are not here
        self._threads = threads
        self._spare = spare

    async def tidy(self, accounts: Collection[int], stopped: Callable[[], bool]) -> None:
        """Merge while there is something to merge. Raises Unavailable, Overtaken, CipherError, Damaged."""
        for account in await self._index_store.read(segments.crowded, accounts, FAN) if accounts else ():
            while not stopped() and (chosen := plan(await self._index_store.read(segments.places, account))):
                if not await self._rewrite(chosen, ()):
                    break
                await self._spare()

    async def forget(self, mailboxes: Sequence[int] | None, stopped: Callable[[], bool]) -> int:
        """Take deleted messages of the accounts of ``mailboxes`` out of their segments, or of all: if None, or if one is gone.

        Returns how many there were. Raises what ``tidy`` raises.
        """
        if mailboxes is not None:
            owners = await self._store.read(unindexed.owners, mailboxes) if mailboxes else {}
            if len(owners) == len(mailboxes):
                return await self.clean(sorted(set(owners.values())), stopped)
        count = account = 0
        while found := await self._index_store.read(segments.accounts, account, _ACCOUNTS):
            count += await self.clean(found, stopped)
            account = found[-1]
        return count

    async def clean(self, accounts: Sequence[int], stopped: Callable[[], bool]) -> int:
        """Take deleted messages of ``accounts`` out of their segments; how many there were. Raises what ``tidy`` raises."""
        count = 0
        for account in accounts:
            for place in await self._index_store.read(segments.places, account):
                if stopped():
                    return count
                count += await self._clean(place)
        return count

    async def _clean(self, place: Place) -> int:
        sealer = self._opener(place)
        if sealer is None:
            self.locked.add(place.account)
            return 0
        segment = await self._index_store.read(segments.open_words, sealer, place.id)
        if segment is None:
            return 0
        gone = set(segment.ids)
        for start in range(0, len(segment.ids), _IDS):
            gone -= await self._store.read(unindexed.alive, place.account, list(segment.ids[start : start + _IDS]))
        if gone:
            await self._rewrite([place], gone)
        await self._spare()
        return len(gone)

    async def _rewrite(self, places: Sequence[Place], gone: set[int] | tuple[()]) -> bool:
        """One segment in place of those at ``places``; False if they do not open now."""
        sealer = self._opener(places[0])
        if sealer is None:
            return False
        ids = [place.id for place in places]
        parts = await self._index_store.read(segments.opened, sealer, ids)
        made = await self._threads(segments.merged, sealer, places, parts, gone)
        await self._index_store.write(segments.replace, ids, [] if made is None else [made])
        return True

    def _opener(self, place: Place) -> Sealer | None:
        return segments.opener(self._cipher, self._vault(place.account), place)
