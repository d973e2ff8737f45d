"""SORT (RFC 5256) and SORT=DISPLAY (RFC 5957): the keys, and how messages are put in order."""

from collections.abc import Callable, Mapping, Sequence
from heapq import merge
from typing import TYPE_CHECKING, Any, Literal

from attrs import frozen

from mailx.core.fetch import BATCH, Reader
from mailx.core.selected import Selected
from mailx.core.turns import Turns

if TYPE_CHECKING:
    from mailx.mail.summary import Summary

By = Literal["arrival", "cc", "date", "from", "size", "subject", "to", "displayfrom", "displayto", "relevancy"]

_NONE: Mapping[int, int] = {}


@frozen
class SortKey:
    """One sort criterion; ``reverse`` turns its order around."""

    by: By
    reverse: bool = False


async def sorted_by(
    selected: Selected,
    uids: Sequence[int],
    keys: Sequence[SortKey],
    reader: Reader,
    turns: Turns,
    relevancies: Mapping[int, int] = _NONE,
) -> list[int]:
    """``uids`` (rising) in the order of ``keys``; equal ones stay in their order. ``relevancies`` are by UID."""
    answer: list[int] = []
    for _, uid in merge(*await _runs(selected, uids, keys, reader, turns, relevancies)):
        answer.append(uid)
        if not len(answer) % BATCH:
            await turns.spare()
    return answer


async def sort_keys(
    selected: Selected, uids: Sequence[int], keys: Sequence[SortKey], reader: Reader, turns: Turns
) -> "list[tuple[Any, int]]":
    """``uids`` (rising) in the order of ``keys``, each with what is compared: pairs of two calls compare too."""
    answer = list(merge(*await _runs(selected, uids, keys, reader, turns, _NONE)))
    await turns.spare()
    return answer


async def _runs(
    selected: Selected, uids: Sequence[int], keys: Sequence[SortKey], reader: Reader, turns: Turns, relevancies: Mapping[int, int]
) -> "list[list[tuple[Any, int]]]":
    """What is compared and the UID, in runs that are sorted."""
    await reader.complete(selected, uids)
    runs = []
    for start in range(0, len(uids), BATCH):
        known = list(selected.indexes(uids[start : start + BATCH]))
        summaries = await _summaries(reader, selected.mailbox.account, [selected.message_ids[index] for _, index in known], keys)
        runs.append(
            sorted(
                [(_key(selected, index, summary, keys, relevancies), uid) for (uid, index), summary in zip(known, summaries, strict=True)]
            )
        )
        await turns.spare()
    return runs


async def _summaries(reader: Reader, account: int, ids: Sequence[int], keys: Sequence[SortKey]) -> "Sequence[Summary | None]":
    if all(key.by in ("arrival", "size", "relevancy") for key in keys):
        return [None] * len(ids)
    return await reader.summaries(account, ids)


def _key(
    selected: Selected, index: int, summary: "Summary | None", keys: Sequence[SortKey], relevancies: Mapping[int, int]
) -> tuple[Any, ...]:
    """What is compared, one value for each key."""
    values: list[Any] = []
    for key in keys:
        value: Any
        if key.by == "arrival":
            value = selected.received[index]
        elif key.by == "size":
            value = selected.sizes[index]
        elif key.by == "relevancy":  # the most relevant first, RFC 6203 5
            value = -relevancies.get(selected.uids[index], 0)
        elif key.by == "date":  # without a Date field the internal date counts, RFC 5256 2.2
            sent = None if summary is None else summary.date
            value = selected.received[index] if sent is None else sent
        else:
            value = "" if summary is None else _TEXTS[key.by](summary).upper()  # capitals count, RFC 5051 2
        if key.reverse:
            value = _Reversed(value) if isinstance(value, str) else -value
        values.append(value)
    return tuple(values)


class _Reversed:
    """A text that comes before whatever it otherwise follows."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __lt__(self, other: "_Reversed") -> bool:
        return other.text < self.text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Reversed) and other.text == self.text

    __hash__ = None  # type: ignore[assignment]


_TEXTS: "dict[str, Callable[[Summary], str]]" = {
    "cc": lambda summary: summary.sort_cc,
    "from": lambda summary: summary.sort_from,
    "to": lambda summary: summary.sort_to,
    "subject": lambda summary: summary.base_subject,
    "displayfrom": lambda summary: summary.display_from,
    "displayto": lambda summary: summary.display_to,
}
