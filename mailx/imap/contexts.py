"""Searches that stay live: what begins or ceases to match is told as it happens (CONTEXT=SEARCH, CONTEXT=SORT, RFC 5267 4.3).

A context keeps the UIDs of its result and the mod-sequence that it is true for. When the session is told of changes, the messages
changed since are tried again. If the store cannot answer, the client is late, never wrong. A context that would grow beyond
what a session may hold ends with NOUPDATE.
"""

from array import array
from bisect import bisect_left, insort
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from mailx.core import search as keys
from mailx.core.search import Query
from mailx.core.sort import SortKey
from mailx.imap import esearch, text
from mailx.imap.answers import Bad, No
from mailx.imap.sets import compact, runs, sequence_numbers
from mailx.mail.names import MailboxError
from mailx.mail.reply import Refused

if TYPE_CHECKING:
    from mailx.imap.session import Session

CONTEXTS_LIMIT = 16  # of one session
MESSAGES_LIMIT = 200_000  # in all of them
SORTED_LIMIT = 10_000  # in one that is sorted: what it compares is kept
_FEW = 100  # messages up to which moving what follows them is cheaper than making the result anew
_STEP = 20_000  # messages whose mod-sequences are looked at between two turns


class Asked(NamedTuple):
    """What a client wants to be kept live."""

    tag: bytes
    by_uid: bool
    query: Query
    announce: Callable[[Sequence[int]], Awaitable[None]] | None = None  # sends what is to be known of messages that are added


class Context:
    """A live search: its result in the order of messages."""

    def __init__(self, asked: Asked, modseq: int, uids: Iterable[int]) -> None:
        self.tag, self.by_uid, self.query, self.announce = asked
        self.modseq = modseq
        self.timed = _timed(asked.query)
        self._uids = array("L", uids)

    def __len__(self) -> int:
        return len(self._uids)

    def has(self, uid: int) -> bool:
        place = bisect_left(self._uids, uid)
        return place < len(self._uids) and self._uids[place] == uid

    def remove(self, gone: Sequence[tuple[int, int]]) -> bytes:
        """Take out ``gone``, all of them in the result, as (UID, number that is told); returns REMOVEFROM."""
        if len(gone) <= _FEW:
            for uid, _ in gone:
                del self._uids[bisect_left(self._uids, uid)]
        else:
            lost = frozenset(uid for uid, _ in gone)
            self._uids = array("L", [uid for uid in self._uids if uid not in lost])
        return b" REMOVEFROM (0 %b)" % compact([number for _, number in gone])

    async def add(self, session: "Session", uids: Sequence[int], numbers: Sequence[int]) -> bytes:
        """Take in ``uids``, rising, which are told as ``numbers``; returns ADDTO."""
        if len(uids) <= _FEW:
            for uid in uids:
                self._uids.insert(bisect_left(self._uids, uid), uid)
        else:
            self._uids = array("L", sorted([*self._uids, *uids]))
        return b" ADDTO (0 %b)" % compact(numbers)


class Sorted(Context):
    """A live sort: its result with what is compared, so that each message that comes finds its place."""

    def __init__(self, asked: Asked, modseq: int, by: Sequence[SortKey], ranked: list[tuple[Any, int]]) -> None:
        super().__init__(asked, modseq, sorted(uid for _, uid in ranked))
        self._by = by
        self._ranked = ranked

    def remove(self, gone: Sequence[tuple[int, int]]) -> bytes:
        """Each with the position that it leaves, from the last on, so that none shifts another."""
        super().remove(gone)
        number_of = dict(gone)
        pairs: list[bytes] = []
        for place in range(len(self._ranked) - 1, -1, -1):
            number = number_of.get(self._ranked[place][1])
            if number is not None:
                pairs.append(b"%d %d" % (place + 1, number))
                del self._ranked[place]
        return b" REMOVEFROM (%b)" % b" ".join(pairs)

    async def add(self, session: "Session", uids: Sequence[int], numbers: Sequence[int]) -> bytes:
        """Each with the position that it takes once those before it are there; neighbours go together (RFC 5267 4.3.3)."""
        fresh = await session.services.mailboxes.sort_keys(session.view(), self._by, uids)
        await super().add(session, uids, numbers)
        number_of = dict(zip(uids, numbers, strict=True))
        for entry in fresh:
            insort(self._ranked, entry)
        added = frozenset(uid for _, uid in fresh)
        blocks: list[tuple[int, list[int]]] = []
        last = -1
        for place, (_, uid) in enumerate(self._ranked):
            if uid in added:
                if not blocks or last != place - 1:
                    blocks.append((place + 1, []))
                blocks[-1][1].append(number_of[uid])
                last = place
        return b" ADDTO (%b)" % b" ".join([b"%d %b" % (place, compact(block)) for place, block in blocks])


def begin(session: "Session", asked: Asked, uids: Sequence[int]) -> None:
    """Keep the result of a search live, or say that it is not (RFC 5267 4.3.1). Raises Bad for a tag that is in use."""
    if _room(session, asked.tag, len(uids)):
        session.contexts[asked.tag] = Context(asked, session.view().modseq, uids)


async def begin_sorted(session: "Session", asked: Asked, by: Sequence[SortKey], uids: Sequence[int]) -> None:
    """As :func:`begin`, of a sort."""
    if len(uids) > SORTED_LIMIT:
        refuse(session, asked.tag)
    elif _room(session, asked.tag, len(uids)):
        view = session.view()
        modseq = view.modseq
        ranked = await session.services.mailboxes.sort_keys(view, by, sorted(uids))
        session.contexts[asked.tag] = Sorted(asked, modseq, by, ranked)


def cancel(session: "Session", tags: Sequence[bytes]) -> None:
    """End these contexts; raises No, and ends none, when one is unknown."""
    if any(tag not in session.contexts for tag in tags):
        raise No(b"No such context")
    for tag in tags:
        session.contexts.pop(tag, None)


def without(session: "Session", vanished: Sequence[int], expunged: Sequence[int]) -> bytes:
    """What is said before the expunged messages are told: UIDs rising, and the sequence numbers that they have until then, falling."""
    lines = []
    for context in session.contexts.values():
        numbers = vanished if context.by_uid else expunged[::-1]
        gone = [(uid, number) for uid, number in zip(vanished, numbers, strict=True) if context.has(uid)]
        if gone:
            lines.append(_line(context, context.remove(gone)))
    return b"".join(lines)


async def refresh(session: "Session") -> None:
    """Tell what began and ceased to match; to be called when everything else was told."""
    for context in tuple(session.contexts.values()):
        if session.contexts.get(context.tag) is not context:
            continue
        try:
            await _refresh(session, context)
        except Refused:
            continue  # the store has said why in the log; the next change brings another try
        except MailboxError:
            return  # it may not be read any more, which the session is told next


async def _refresh(session: "Session", context: Context) -> None:
    view = session.view()
    upto = view.modseq
    if upto <= context.modseq:
        return
    changed = list(view.uids) if context.timed else await _changed(session, context.modseq)
    query = context.query
    if len(changed) < len(view.uids):
        query = keys.And((keys.Uid(runs(changed)), query))
    matching = await session.services.mailboxes.search(view, query) if changed else []
    matches = frozenset(matching)
    removed = [uid for uid in changed if uid not in matches and context.has(uid)]
    added = [uid for uid in matching if not context.has(uid)]
    said = b""
    if removed:
        said += context.remove(list(zip(removed, _numbers(session, context, removed), strict=True)))
    if added:
        if _held(session) + len(added) > MESSAGES_LIMIT or isinstance(context, Sorted) and len(context) + len(added) > SORTED_LIMIT:
            del session.contexts[context.tag]
            refuse(session, context.tag)
            return
        if context.announce is not None:
            await context.announce(added)
        said += await context.add(session, added, _numbers(session, context, added))
    context.modseq = upto
    if said:
        session.peer.write(_line(context, said))
        await session.peer.ready()


async def _changed(session: "Session", modseq: int) -> list[int]:
    """The UIDs of messages changed after ``modseq``, rising."""
    view = session.view()
    uids, modseqs = array("L", view.uids), array("q", view.modseqs)
    found: list[int] = []
    for start in range(0, len(uids), _STEP):
        found += [uid for uid, own in zip(uids[start : start + _STEP], modseqs[start : start + _STEP], strict=True) if own > modseq]
        await session.peer.ready()
    return found


def _numbers(session: "Session", context: Context, uids: Sequence[int]) -> Sequence[int]:
    return uids if context.by_uid else sequence_numbers(session.view(), uids)


def _line(context: Context, said: bytes) -> bytes:
    return b"* ESEARCH (%b)%b%b\r\n" % (esearch.tagged_by(context.tag), b" UID" if context.by_uid else b"", said)


def _room(session: "Session", tag: bytes, messages: int) -> bool:
    if tag in session.contexts:
        raise Bad(b"The tag names a context already")
    if len(session.contexts) < CONTEXTS_LIMIT and _held(session) + messages <= MESSAGES_LIMIT:
        return True
    refuse(session, tag)
    return False


def _held(session: "Session") -> int:
    return sum(map(len, session.contexts.values()))


def refuse(session: "Session", tag: bytes) -> None:
    """Say that the search is not kept live (RFC 5267 4.3.1)."""
    session.peer.write(b"* NO [NOUPDATE %b] Too much to keep up with\r\n" % text.string(tag))


def _timed(query: Query) -> bool:
    """Whether messages begin or cease to match as time goes by."""
    match query:
        case keys.And(children):
            return any(map(_timed, children))
        case keys.Or(a, b):
            return _timed(a) or _timed(b)
        case keys.Not(a) | keys.Fuzzy(a):
            return _timed(a)
        case keys.Older() | keys.Younger():
            return True
    return False
