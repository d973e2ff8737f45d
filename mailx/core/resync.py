"""What a client missed while it was away: the messages that left a mailbox since a mod-sequence (RFC 7162 3.2).

The answer is exact while the mailbox remembers. What is forgotten is made up for by naming every UID that is not
there; the client's own numbers (its known sequence numbers and their UIDs) spare it those below the first gap.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from mailx.core.selected import Selected
from mailx.store import Store, expunged

Spans = list[tuple[int, int]]  # ranges of UIDs, rising and apart


async def vanished(
    store: Store, selected: Selected, since: int, within: Spans | None = None, matches: Sequence[tuple[int, int]] = ()
) -> Spans:
    """The UIDs that left after ``since``, up to what the session was told; ``within``: of these only.

    ``matches`` are sequence numbers with the UIDs that the client has there, both rising.
    """
    uidnext = selected.uidnext
    uids = await store.read(expunged.between, selected.mailbox.id, since, selected.modseq)
    if uids is None:
        lost = gaps(selected.uids, unchanged_up_to(selected.uids, matches) + 1, uidnext - 1)
    else:
        lost = spans(uids)
    return lost if within is None else common(lost, common(within, [(1, uidnext - 1)]))


def spans(numbers: Iterable[int]) -> Spans:
    """``numbers``, rising, as ranges."""
    found: Spans = []
    first = last = -1
    for number in numbers:
        if number == last + 1 and first >= 0:
            last = number
            continue
        if first >= 0:
            found.append((first, last))
        first = last = number
    if first >= 0:
        found.append((first, last))
    return found


def merged(ranges: Iterable[tuple[int | None, int | None]], last: int) -> Spans:
    """``ranges`` of a sequence set as rising ranges apart from each other; None (``*``) is ``last``."""
    found: Spans = []
    for a, b in sorted((min(a, b), max(a, b)) for a, b in ((last if a is None else a, last if b is None else b) for a, b in ranges)):
        if found and a <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(found[-1][1], b)
        else:
            found.append((a, b))
    return found


def gaps(uids: Sequence[int], first: int, last: int) -> Spans:
    """The numbers from ``first`` to ``last`` that are not among ``uids``, which rise."""
    found: Spans = []
    expected = first
    for uid in uids[bisect_left(uids, first) :]:
        if uid > expected:
            found.append((expected, uid - 1))
        expected = uid + 1
    if expected <= last:
        found.append((expected, last))
    return found


def common(one: Spans, other: Spans) -> Spans:
    """What is in both."""
    found: Spans = []
    i = j = 0
    while i < len(one) and j < len(other):
        low, high = max(one[i][0], other[j][0]), min(one[i][1], other[j][1])
        if low <= high:
            found.append((low, high))
        if one[i][1] < other[j][1]:
            i += 1
        else:
            j += 1
    return found


def unchanged_up_to(uids: Sequence[int], matches: Sequence[tuple[int, int]]) -> int:
    """The highest UID that still has the sequence number the client knows it by: below it nothing has left (RFC 7162 3.2.5.2)."""
    for number, uid in reversed(matches):
        if 0 < number <= len(uids) and uids[number - 1] == uid:
            return uid
    return 0
