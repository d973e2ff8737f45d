"""Bars over time as numbers: what a template needs to draw them, and to write them as a table. Pure.

Heights are in units of a viewBox that is ``HEIGHT`` high and as wide as there are spans; the template stretches it. Every
chart is also a table, for whoever does not see it.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from attrs import frozen

from mailx.core.figures import Series

HEIGHT = 100.0
_LABELS = 6  # along the time, each at the beginning of its part
_GAP = 0.15  # of a span's width, on either side of its bar


@frozen
class Kind:
    """One colour of a chart: the sum of what was counted under ``names``."""

    name: str  # also its class
    text: str
    names: tuple[str, ...]


@frozen
class Part:
    """One piece of a bar."""

    name: str
    y: float
    height: float


@frozen
class Bar:
    """One span of time."""

    x: float
    width: float
    label: str
    counts: tuple[int, ...]  # in the order of the kinds
    parts: tuple[Part, ...]


@frozen
class Chart:
    """Everything about one chart. ``top`` is what its full height stands for."""

    kinds: tuple[Kind, ...]
    bars: tuple[Bar, ...]
    top: int
    labels: tuple[str, ...]
    totals: tuple[int, ...]
    unit: str  # what the labels of bars are: "Time (UTC)", "Day"

    @property
    def empty(self) -> bool:
        """Whether nothing was counted at all."""
        return not any(self.totals)

    @property
    def summary(self) -> str:
        """The chart in one sentence."""
        return ", ".join(f"{total:,} {kind.text.lower()}" for kind, total in zip(self.kinds, self.totals, strict=True))


def chart(series: Series, kinds: Sequence[Kind]) -> Chart:
    """The bars of ``series``."""
    columns = [[sum(series.counts[name][span] for name in kind.names) for kind in kinds] for span in range(_spans(series))]
    top = nice(max((sum(column) for column in columns), default=0))
    daily = series.step >= 86400
    bars = tuple(_bar(place, series, tuple(column), top, kinds, daily) for place, column in enumerate(columns))
    stride = max(1, len(bars) // _LABELS)
    labels = tuple(_label(series.since + place * series.step, daily) for place in range(0, len(bars), stride))
    totals = tuple(sum(column[place] for column in columns) for place in range(len(kinds)))
    return Chart(tuple(kinds), bars, top, labels, totals, "Day (UTC)" if daily else "Time (UTC)")


def nice(most: int) -> int:
    """The least of 1, 2, 4, 5, 10, 20, ... that ``most`` fits under."""
    top = 1
    while True:
        for factor in (1, 2, 4, 5):
            if top * factor >= most:
                return top * factor
        top *= 10


def _spans(series: Series) -> int:
    return len(next(iter(series.counts.values())))


def _bar(place: int, series: Series, counts: tuple[int, ...], top: int, kinds: Sequence[Kind], daily: bool) -> Bar:
    begins = series.since + place * series.step
    label = _label(begins, daily) if daily else f"{_label(begins, False)}–{_label(begins + series.step, False)}"
    parts, floor = [], HEIGHT
    for kind, count in zip(kinds, counts, strict=True):
        height = round(count * HEIGHT / top, 2)
        if count:
            floor = round(floor - height, 2)
            parts.append(Part(kind.name, floor, height))
    return Bar(round(place + _GAP, 2), round(1 - 2 * _GAP, 2), label, counts, tuple(parts))


def _label(seconds: int, daily: bool) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%d %b" if daily else "%H:%M")
