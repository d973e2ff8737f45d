"""SEARCH: which messages of a session's snapshot match a query.

A query is taken apart and its cheap keys first narrow down which messages the dear ones look at: what the
snapshot knows, then summaries, then contents. Nothing holds the reactor for more than a turn, and contents
are read and searched in the store's reader threads, a slice at a time.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from functools import partial
from itertools import compress
from time import time
from typing import TYPE_CHECKING, Any, assert_never

from twisted.internet.defer import DeferredSemaphore

from mailx.core import search as keys
from mailx.core.fetch import BATCH, Reader, picked
from mailx.core.looking import lookup_for
from mailx.core.lookup import About, Lookup
from mailx.core.object_ids import ObjectIds, guid_of
from mailx.core.scan import Probe, probe_for, scan
from mailx.core.search import Query, Range
from mailx.core.selected import Selected
from mailx.core.turns import Turns
from mailx.core.wording import place, subject_matter, test_for, wanted
from mailx.mail.charset import fold
from mailx.mail.header import decode, split
from mailx.mail.mailbox import Flag
from mailx.mail.summary import SUMMARY_FIELDS
from mailx.mail.words import BODY, HEADER
from mailx.store import Store
from mailx.store.contents import with_guid

if TYPE_CHECKING:
    from mailx.core.index import Index
    from mailx.mail.summary import Summary
    from mailx.store.blobs import Blobs
    from mailx.store.cipher import Cipher

_SCAN = 256 * 1024  # octets of contents that one reading looks into, some milliseconds
_STEP = 1000  # messages looked at between two turns
_LONG = 8192  # the same where it takes next to nothing for each
_FEW = 16  # so many times fewer: they are looked up one by one
_ASKED = 20  # words that a ranking looks at
_DAY = 86400
_EPOCH = date(1970, 1, 1).toordinal()
_SEEN = int(Flag.SEEN)
_SNAPSHOT, _SUMMARY, _CONTENT = range(3)  # what a key has to read

_TEXTS: "dict[str, Callable[[Summary], str]]" = {
    "subject": lambda summary: summary.subject_text,
    "from": lambda summary: summary.from_text,
    "to": lambda summary: summary.to_text,
    "cc": lambda summary: summary.cc_text,
    "bcc": lambda summary: summary.bcc_text,
}

_WORDED: "dict[str, Callable[[Summary], tuple[str, ...]]]" = {
    "subject": lambda summary: (summary.subject_text,),
    "from": lambda summary: (summary.from_text,),
    "to": lambda summary: (summary.to_text, summary.cc_text, summary.bcc_text),
}


class Search:
    """Searches selected mailboxes."""

    def __init__(self, store: Store, cipher: "Cipher", blobs: "Blobs", reader: Reader, reactor: Any) -> None:
        self._store = store
        self._cipher = cipher
        self._blobs = blobs
        self.reader = reader
        self.reactor = reactor
        self.index: Index | None = None  # told what need not be looked at; without one everything is
        self.object_ids = ObjectIds(cipher)
        self._scanning = DeferredSemaphore(1)  # one reader at most, so that another is there for everybody else

    async def matching(self, selected: Selected, query: Query) -> list[int]:
        """The UIDs of the messages that match, rising."""
        await self.reader.complete(selected, selected.uids)
        run = _Run(self, selected, query)
        indexes = await run.match(query, range(len(run.uids)))
        return await run.uids_of(indexes)

    async def with_guid(self, mailbox: int, guid: bytes) -> list[int]:
        """The ids of the messages of a mailbox that have this guid."""
        found: list[int] = await self._store.read(with_guid, mailbox, guid)
        return found

    async def ranked(self, selected: Selected, query: Query) -> list[tuple[int, int]]:
        """The UIDs of the messages that match, rising, each with how much it is about what is asked for: 1 to 100 (RFC 6203 4)."""
        uids = await self.matching(selected, query)
        asked = wanted(subject_matter(query))
        scores: dict[int, float] = {}
        if self.index is not None and asked and uids:
            scores = await self.index.scores(selected.mailbox.account, About(tuple(asked[:_ASKED]), HEADER | BODY, _guests(selected)))
        turns = Turns(self.reactor)
        found: list[tuple[int, float]] = []
        for uid in uids:
            index = selected.index(uid)
            found.append((uid, 0.0 if index is None else scores.get(selected.message_ids[index], 0.0)))
            if not len(found) % _STEP:
                await turns.spare()
        most = max((score for _, score in found), default=0.0)
        return [(uid, max(1, round(100 * score / most)) if most else 100) for uid, score in found]

    async def scan(self, account: int, ids: Sequence[int], probe: Probe) -> set[int]:
        """Those of the messages ``ids`` of an account in which ``probe`` is found."""
        vault = self.reader.vault(account)
        hits: set[int] = await self._scanning.run(self._store.read, scan, self._cipher, self._blobs, ids, probe, vault)
        return hits


class _Run:
    """One search over a copy of the snapshot's columns. Messages are indexes into them."""

    def __init__(self, search: Search, selected: Selected, query: Query) -> None:
        self._search = search
        self._turns = Turns(search.reactor)
        asked = _kinds(query)

        def column(values: "array[int]", *kinds: type) -> "array[int]":
            return array(values.typecode, () if asked.isdisjoint(kinds) else values)

        self.uids = array("L", selected.uids)
        self._ids = array("q", selected.message_ids)
        self._sizes = array("L", selected.sizes)
        self._flags = column(selected.flags, keys.Flagged, keys.New)
        self._modseqs = column(selected.modseqs, keys.ModSeq)
        self._received = column(selected.received, keys.Received, keys.Older, keys.Younger)
        self._saved = column(selected.saved, keys.Saved)
        self._threads = column(selected.thread_ids, keys.ThreadId)
        self._account = selected.mailbox.account
        self._guests = _guests(selected)
        self._mailbox = selected.mailbox.id
        self._keywords = selected.keywords
        self._recent = frozenset() if asked.isdisjoint(_RECENT) else frozenset(selected.recent)
        self._now = int(time())

    async def uids_of(self, indexes: Sequence[int]) -> list[int]:
        """The UIDs of messages."""
        found: list[int] = []
        for start in range(0, len(indexes), _LONG):
            found += picked(self.uids, indexes[start : start + _LONG])
            await self._turns.spare()
        return found

    async def match(self, query: Query, candidates: Sequence[int]) -> Sequence[int]:
        """Those of ``candidates`` (rising) that match, rising."""
        if not candidates:
            return candidates
        match query:
            case keys.All() | keys.SaveDateSupported():
                return candidates
            case keys.And(children):
                for child in sorted(children, key=_cost):
                    candidates = await self.match(child, candidates)
                return candidates
            case keys.Or(a, b):
                if _cost(b) < _cost(a):
                    a, b = b, a
                first = await self.match(a, candidates)
                second = await self.match(b, _without(candidates, first))
                return sorted([*first, *second])
            case keys.Not(a):
                return _without(candidates, await self.match(a, candidates))
            case keys.Fuzzy(a) if place(query) is None:
                return await self.match(_spread(a), candidates)
            case _:
                return await self._match_key(query, candidates)

    async def _match_key(self, query: Query, candidates: Sequence[int]) -> Sequence[int]:
        if isinstance(query, keys.EmailId | keys.ThreadId):
            return await self._by_object(query, candidates)
        cost = _cost(query)
        if isinstance(query, keys.Flagged) and query.name.casefold() != "\\recent":
            return await self._by_flags(query, candidates)
        if cost == _SNAPSHOT:
            return await self._filter(self._test(query), candidates)
        if cost == _SUMMARY:
            found, unsure = await self._by_summary(query, candidates)
            return sorted([*found, *await self._by_content(query, unsure)]) if unsure else found
        return await self._by_content(query, candidates)

    async def _by_flags(self, query: keys.Flagged, candidates: Sequence[int]) -> list[int]:
        """Ten thousand messages have few combinations of flags: each is tested once."""
        mask, wanted = self._keywords.mask(query.name), query.set
        fits = {flags: bool(flags & mask) == wanted for flags in set(self._flags)}
        found: list[int] = []
        for start in range(0, len(candidates), _STEP):
            part = candidates[start : start + _STEP]
            found += compress(part, map(fits.__getitem__, picked(self._flags, part)))
            await self._turns.spare()
        return found

    async def _by_object(self, query: keys.EmailId | keys.ThreadId, candidates: Sequence[int]) -> list[int]:
        """By identifiers that only go one way: those of threads are made until one is the one (RFC 8474)."""
        if isinstance(query, keys.EmailId):
            guid = guid_of(query.id)
            messages = frozenset(await self._search.with_guid(self._mailbox, guid)) if guid is not None else ()
            return [index for index in candidates if self._ids[index] in messages] if messages else []
        threads = dict.fromkeys(picked(self._threads, candidates))
        for thread in threads:
            if self._search.object_ids.thread_id(self._account, thread) == query.id:
                return await self._filter(partial(self._is_in, thread), candidates)
            await self._turns.spare()
        return []

    def _is_in(self, thread: int, index: int) -> bool:
        return self._threads[index] == thread

    async def _filter(self, test: Callable[[int], Any], candidates: Sequence[int]) -> list[int]:
        found: list[int] = []
        for start in range(0, len(candidates), _STEP):
            found += [index for index in candidates[start : start + _STEP] if test(index)]
            await self._turns.spare()
        return found

    async def _by_summary(self, query: Query, candidates: Sequence[int]) -> tuple[list[int], list[int]]:
        """Those of ``candidates`` that match, and those of which the summary cannot tell."""
        test = _summary_test(query)
        known, candidates = await self._indexed(lookup_for(query), candidates)
        found: list[int] = []
        unsure: list[int] = []
        for start in range(0, len(candidates), BATCH):
            part = candidates[start : start + BATCH]
            summaries = await self._search.reader.summaries(self._account, [self._ids[index] for index in part])
            for index, summary in zip(part, summaries, strict=True):
                if summary is not None:
                    match = test(summary)
                    if match:
                        found.append(index)
                    elif match is None:
                        unsure.append(index)
            await self._turns.spare()
        return sorted([*known, *found]) if known else found, unsure

    async def _by_content(self, query: Query, candidates: Sequence[int]) -> Sequence[int]:
        probe = probe_for(query)
        known, doubtful = await self._indexed(lookup_for(query), candidates)
        found: list[int] = []
        for part in self._slices(doubtful):
            ids = [self._ids[index] for index in part]
            hits = await self._search.scan(self._account, ids, probe)
            found += [index for index, id in zip(part, ids, strict=True) if id in hits]
        return sorted([*known, *found]) if found else known

    async def _indexed(self, lookup: Lookup | None, candidates: Sequence[int]) -> tuple[Sequence[int], Sequence[int]]:
        """Those of ``candidates`` of which the index knows that they match, and those of which it does not know whether."""
        index = self._search.index
        if index is None or lookup is None:
            return (), candidates
        if self._guests is not None and isinstance(lookup, About):
            lookup = About(lookup.asked, lookup.where, self._guests)
        told = await index.found(self._account, self._mailbox, self._ids, lookup, self._guests is None)
        if told is None:
            return (), candidates
        return await self._both(told[0], candidates), await self._both(told[1], candidates)

    async def _both(self, found: Sequence[int], candidates: Sequence[int]) -> Sequence[int]:
        """What is among ``found`` and among ``candidates``; all of them rise."""
        if len(candidates) == len(self.uids) or not found:
            return found
        few, many = (found, candidates) if len(found) < len(candidates) else (candidates, found)
        both: list[int] = []
        inside: set[int] = set()
        if len(few) * _FEW > len(many):
            for start in range(0, len(few), _LONG):
                inside.update(few[start : start + _LONG])
                await self._turns.spare()
            for start in range(0, len(many), _LONG):
                both += filter(inside.__contains__, many[start : start + _LONG])
                await self._turns.spare()
            return both
        for start in range(0, len(few), _STEP):
            both += [index for index in few[start : start + _STEP] if (at := bisect_left(many, index)) < len(many) and many[at] == index]
            await self._turns.spare()
        return both

    def _slices(self, candidates: Sequence[int]) -> Iterable[list[int]]:
        """``candidates`` in runs whose contents are about _SCAN octets together."""
        part: list[int] = []
        octets = 0
        for index in candidates:
            part.append(index)
            octets += self._sizes[index]
            if octets >= _SCAN or len(part) >= BATCH:
                yield part
                part, octets = [], 0
        if part:
            yield part

    def _test(self, query: Query) -> Callable[[int], Any]:
        """The test of a key that the snapshot decides."""
        match query:
            case keys.Sequence(ranges):
                return self._within(ranges, len(self.uids), lambda low, high: (low - 1, high))
            case keys.Uid(ranges):
                last = self.uids[-1] if self.uids else 0
                return self._within(ranges, last, lambda low, high: (bisect_left(self.uids, low), bisect_right(self.uids, high)))
            case keys.Flagged(_, wanted):  # \\Recent; others are found by _by_flags
                return lambda index: (self.uids[index] in self._recent) == wanted
            case keys.Recent():
                return lambda index: self.uids[index] in self._recent
            case keys.New():
                return lambda index: self.uids[index] in self._recent and not self._flags[index] & _SEEN
            case keys.Old():
                return lambda index: self.uids[index] not in self._recent
            case keys.Larger(octets):
                return lambda index: self._sizes[index] > octets
            case keys.Smaller(octets):
                return lambda index: self._sizes[index] < octets
            case keys.Received(relation, day):
                on = _day_test(relation, day)
                return lambda index: on(self._received[index] // _DAY)
            case keys.Saved(relation, day):
                on = _day_test(relation, day)
                return lambda index: on(self._saved[index] // _DAY)
            case keys.Older(seconds):
                return lambda index: self._received[index] <= self._now - seconds
            case keys.Younger(seconds):
                return lambda index: self._received[index] >= self._now - seconds
            case keys.ModSeq(least):
                return lambda index: self._modseqs[index] >= least
        raise TypeError(f"not a search key: {type(query).__name__}")

    def _within(self, ranges: Iterable[Range], last: int, span: Callable[[int, int], tuple[int, int]]) -> Callable[[int], Any]:
        inside = bytearray(len(self.uids))
        for a, b in ranges:
            low, high = sorted((last if a is None else a, last if b is None else b))
            start, stop = span(low, high)
            start, stop = max(0, start), min(stop, len(inside))
            if start < stop:
                inside[start:stop] = b"\1" * (stop - start)
        return inside.__getitem__


_RECENT = (keys.Flagged, keys.Recent, keys.New, keys.Old)


def _kinds(query: Query) -> set[type]:
    """What kinds of keys are in ``query``."""
    match query:
        case keys.And(children):
            return set().union(*map(_kinds, children))
        case keys.Or(a, b):
            return _kinds(a) | _kinds(b)
        case keys.Not(a) | keys.Fuzzy(a):
            return _kinds(a)
    return {type(query)}


def _guests(selected: Selected) -> frozenset[int] | None:
    """The messages that are all a guest may know of; None for an owner."""
    return None if selected.viewer == selected.mailbox.account else frozenset(selected.message_ids)


def _cost(query: Query) -> int:
    """What must be read to decide ``query`` at worst."""
    match query:
        case keys.And(children):
            return max(map(_cost, children), default=_SNAPSHOT)
        case keys.Or(a, b):
            return max(_cost(a), _cost(b))
        case keys.Not(a):
            return _cost(a)
        case keys.Subject() | keys.Sent():
            return _SUMMARY
        case keys.Header(name, _):
            return _SUMMARY if _kept(name) else _CONTENT
        case keys.Body() | keys.Text():
            return _CONTENT
        case keys.AttachmentName(text):
            return _CONTENT if text else _SUMMARY
        case keys.Fuzzy(a) if place(query) is None:
            return _cost(a)
    where = place(query)
    return _SNAPSHOT if where is None else _CONTENT if where in ("text", "body", "header") else _SUMMARY


def _spread(query: Query) -> Query:
    """What a fuzzy key means that has no text of its own: its parts that have are fuzzy, the others exact."""
    match query:
        case keys.And(children):
            return keys.And(tuple(keys.Fuzzy(child) for child in children))
        case keys.Or(a, b):
            return keys.Or(keys.Fuzzy(a), keys.Fuzzy(b))
        case keys.Not(a):
            return keys.Not(keys.Fuzzy(a))
    return query


def _without(candidates: Sequence[int], found: Sequence[int]) -> Sequence[int]:
    if not found:
        return candidates
    taken = frozenset(found)
    return [index for index in candidates if index not in taken]


def _day_test(relation: keys.Relation, day: date) -> Callable[[int], bool]:
    """A test of days since 1970."""
    wanted = day.toordinal() - _EPOCH
    match relation:
        case "before":
            return lambda day: day < wanted
        case "on":
            return lambda day: day == wanted
        case "since":
            return lambda day: day >= wanted
    assert_never(relation)


def _kept(name: str) -> bool:
    """Whether summaries keep the field ``name``."""
    return name.lower().encode("ascii", "replace") in SUMMARY_FIELDS


def _summary_test(query: Query) -> "Callable[[Summary], bool | None]":
    """Answers None where the summary cannot tell."""
    match query:
        case keys.Subject(text):
            needle = fold(text)
            return lambda summary: needle in summary.subject_text
        case keys.Header(name, text):
            return _header_test(name.lower(), fold(text))
        case keys.Sent(relation, day):
            on = _day_test(relation, day)
            return lambda summary: summary.date is not None and on((summary.date + summary.date_zone) // _DAY)
        case keys.AttachmentName():
            return lambda summary: summary.attachments > 0
    where = place(query)
    if where is not None:
        texts, about = _WORDED[where], test_for(query)
        return lambda summary: about(texts(summary))
    raise TypeError(f"not a key of summaries: {type(query).__name__}")


def _header_test(name: str, needle: str) -> "Callable[[Summary], bool | None]":
    text = _TEXTS.get(name)
    if text is not None and needle:
        return lambda summary: needle in text(summary)
    names = frozenset([name.encode("ascii")])

    def test(summary: "Summary") -> bool | None:
        block = summary.fields(names)
        if block is None:
            return None
        return any(needle in fold(decode(value)) for _, _, value in split(block, 0, len(block)))

    return test
