"""Sets of numbers as responses write them: ``1:3,5`` (RFC 9051 sequence-set)."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from operator import lt

from mailx.core.selected import Selected
from mailx.imap.tokens import SAVED, Ranges

_PIECE = 256  # numbers compared at a time
_FEW = 16  # so many times fewer than the messages there are: they are looked up one by one


def compact(numbers: Iterable[int]) -> bytes:
    """``numbers``, rising, as the shortest sequence set; nothing for none. Keeps the order given (COPYUID)."""
    parts: list[bytes] = []
    first = last = -1
    for some in _ranges(list(numbers)):
        if some[0] == last + 1 and first >= 0:
            last = some[-1]
            continue
        if first >= 0:
            parts.append(_range(first, last))
        first, last = some[0], some[-1]
    if first >= 0:
        parts.append(_range(first, last))
    return b",".join(parts)


def _ranges(numbers: list[int]) -> Iterator[Sequence[int]]:
    """``numbers`` in pieces without a gap: many at a time where they follow each other."""
    for start in range(0, len(numbers), _PIECE):
        part = numbers[start : start + _PIECE]
        whole = range(part[0], part[0] + len(part))
        if part[-1] == whole[-1] and part == list(whole):
            yield whole
        else:
            yield from zip(part)


def _range(first: int, last: int) -> bytes:
    return b"%d" % first if first == last else b"%d:%d" % (first, last)


def indexes(selected: Selected, uids: Sequence[int]) -> Sequence[int]:
    """The indexes in the session's view of ``uids``, which it knows and which rise."""
    if not uids:
        return ()
    first, last = selected.index(uids[0]), selected.index(uids[-1])
    if first is not None and last is not None and last - first + 1 == len(uids):
        return range(first, last + 1)
    if len(uids) * _FEW < len(selected.uids):
        return [index for uid in uids if (index := selected.index(uid)) is not None]
    wanted = set(uids)
    return [index for index, uid in enumerate(selected.uids) if uid in wanted]


def sequence_numbers(selected: Selected, uids: Sequence[int]) -> Sequence[int]:
    """The sequence numbers of ``uids`` in the order given; UIDs unknown to the session are left out."""
    known = selected.uids
    if len(uids) < _FEW:
        return [index + 1 for uid in uids if (index := selected.index(uid)) is not None]
    run = selected.run(uids)
    if run is not None:
        return range(run + 1, run + 1 + len(uids))
    first, last = selected.index(uids[0]), selected.index(uids[-1])
    if first is not None and last is not None and first <= last < first + _FEW * len(uids) and all(map(lt, uids, islice(uids, 1, None))):
        wanted = set(uids)
        return [number for number, uid in enumerate(known[first : last + 1], first + 1) if uid in wanted]
    if len(uids) * _FEW < len(known):
        return [index + 1 for uid in uids if (index := selected.index(uid)) is not None]
    if known[-1] - known[0] == len(known) - 1:  # no message has gone yet
        before, low, high = known[0] - 1, known[0], known[-1]
        return [uid - before for uid in uids if low <= uid <= high]
    numbers = dict(zip(known, range(1, len(known) + 1), strict=True))
    return [numbers[uid] for uid in uids if uid in numbers]


def runs(uids: Sequence[int]) -> Ranges:
    """``uids``, rising, as ranges; for none a range that nothing lies in."""
    found: list[tuple[int, int]] = []
    for uid in uids:
        if found and found[-1][1] == uid - 1:
            found[-1] = found[-1][0], uid
        else:
            found.append((uid, uid))
    return tuple(found) or SAVED
