"""Which entries of the queue are meant: the filters of administrators, and how a search and a change go through the queue.

Addresses are sealed in the store, so a selection by sender or recipient opens the rows that the rest of it leaves, in
slices. Nothing here holds more than a page; a filter that makes no sense is ``DirectoryError``.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from time import time

from attrs import evolve, frozen

from mailx.core.ledger import Entry, Ledger, Selection
from mailx.core.users import DirectoryError, canonical_domain

SEARCHED = 5000  # entries opened for one answer
SLICE = 500  # entries changed in one call of the ledger
_OPENED = 50  # entries opened in one go: about a millisecond
_TEXT_LIMIT = 500

FILTERS = ("id", "state", "domain", "relay", "sender", "recipient", "older")

Change = Callable[[Selection], Awaitable[int]]


@frozen
class Wanted:
    """Which entries are meant."""

    selection: Selection = Selection()
    domain: str = ""  # of the recipient, canonical
    sender: str | None = None  # lower case, "" for the null sender; or @domain
    recipient: str | None = None

    @property
    def opens(self) -> bool:
        """Whether entries must be opened to tell."""
        return bool(self.domain) or self.sender is not None or self.recipient is not None

    @property
    def everything(self) -> bool:
        """Whether nothing was left out."""
        return self == Wanted()

    def fits(self, entry: Entry) -> bool:
        """Whether an entry that the selection leaves is meant."""
        if self.domain and canonical_domain(entry.recipient.rpartition("@")[2]) != self.domain:
            return False
        return _matches(self.sender, entry.sender) and (
            _matches(self.recipient, entry.recipient) or _matches(self.recipient, entry.original)
        )


@frozen
class Found:
    """A page of entries; ``following`` is the ``after`` of the next one, or None."""

    entries: tuple[Entry, ...]
    following: int | None


@frozen
class Count:
    """How many entries are meant: so many, or ``more`` than that."""

    number: int
    more: bool


def wanted(values: Mapping[str, str], routed: bool) -> Wanted:
    """What the filters ``FILTERS`` select; raises DirectoryError.

    ``routed`` is the ledger's.
    """
    unknown = sorted(set(values) - set(FILTERS))
    if unknown or any(len(value) > _TEXT_LIMIT for value in values.values()):
        raise DirectoryError("invalid", f"there is no filter {unknown[0]}" if unknown else "a filter is too long")
    older = values.get("older", "")
    if older and not (older.isascii() and older.isdigit() and len(older) < 12):
        raise DirectoryError("invalid", "older must be a number of seconds")
    relay, domain = values.get("relay", ""), canonical_domain(values.get("domain", "").removeprefix("@"))
    opens = bool(domain and (relay or routed))
    selection = Selection(
        states=tuple(state for state in values.get("state", "").split(",") if state),
        destination=f"relay:{relay}" if relay else "" if opens else domain,
        envelope=values.get("id", ""),
        before=int(time()) - int(older) if older else None,
    )
    return Wanted(selection, domain if opens else "", _address(values.get("sender")), _address(values.get("recipient")))


async def find(ledger: Ledger, wanted: Wanted, after: int, limit: int) -> Found:
    """At most ``limit`` entries above the id ``after``; fewer, with more to follow, when ``SEARCHED`` had to be opened for them."""
    if not wanted.opens:
        entries = await ledger.list(wanted.selection, after, limit)
        return Found(tuple(entries), entries[-1].id if len(entries) == limit else None)
    found: list[Entry] = []
    seen = 0
    async for entry in opened(ledger, wanted, after):
        seen += 1
        if wanted.fits(entry):
            found.append(entry)
        if len(found) == limit or seen == SEARCHED:
            return Found(tuple(found), entry.id)
    return Found(tuple(found), None)


async def opened(ledger: Ledger, wanted: Wanted, after: int = 0) -> AsyncIterator[Entry]:
    """The entries that the selection leaves above the id ``after``, a few at a time."""
    while entries := await ledger.list(wanted.selection, after, _OPENED):
        for entry in entries:
            yield entry
        if len(entries) < _OPENED:
            return
        after = entries[-1].id


async def count(ledger: Ledger, wanted: Wanted, most: int) -> Count:
    """How many entries are meant, counted up to ``most``, or to those among the first ``SEARCHED`` that had to be opened."""
    if not wanted.opens:
        number = await ledger.count(wanted.selection, most + 1)
        return Count(min(number, most), number > most)
    number = seen = 0
    async for entry in opened(ledger, wanted):
        seen += 1
        number += wanted.fits(entry)
        if seen == SEARCHED:
            return Count(number, True)
    return Count(number, False)


async def change(ledger: Ledger, wanted: Wanted, call: Change, told: Callable[[int], None] = lambda count: None) -> int:
    """Let ``call`` change what is meant, in slices; ``told(count)`` after each, also when nothing in it was meant.

    For how many entries it held. What ``told`` raises ends it.
    """
    total = 0
    async for ids in _slices(ledger, wanted):
        count = await call(evolve(wanted.selection, ids=tuple(ids))) if ids else 0
        total += count
        told(count)
    return total


async def _slices(ledger: Ledger, wanted: Wanted) -> AsyncIterator[Sequence[int]]:
    """The ids of what is meant: of at most SLICE entries that were looked at each time, so that some may be empty."""
    if wanted.opens:
        part: list[int] = []
        seen = 0
        async for entry in opened(ledger, wanted):
            seen += 1
            if wanted.fits(entry):
                part.append(entry.id)
            if seen % SLICE == 0:
                yield part
                part = []
        yield part
        return
    if wanted.selection.ids:
        for start in range(0, len(wanted.selection.ids), SLICE):
            yield wanted.selection.ids[start : start + SLICE]
        return
    after = 0
    while ids := await ledger.ids(wanted.selection, after, SLICE):
        yield ids
        if len(ids) < SLICE:
            return
        after = ids[-1]


def _address(text: str | None) -> str | None:
    return None if not text else text.strip().removeprefix("<").removesuffix(">").lower()


def _matches(wanted: str | None, address: str) -> bool:
    """Whether ``address`` is the one that is wanted, or of the domain that is."""
    address = address.lower()
    return wanted is None or wanted == address or (wanted.startswith("@") and address.endswith(wanted))
