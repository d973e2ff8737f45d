"""How values are written for people, and files that browsers keep."""

import re
import time

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.core.figures import NAMES, Series
from mailx.mail.times import duration
from mailx.web.panel.cards import FATES
from mailx.web.panel.charts import HEIGHT, chart, nice
from mailx.web.rendering import Rendering, ago, octets, plural, sentence, when

DARK = ('data-scheme="light"]) {', ':root[data-scheme="dark"] {')


class Style(SynchronousTestCase):
    def test_dark_is_dark_however_it_was_chosen(self) -> None:
        style = next(one.content.decode() for one in Rendering().static.values() if one.name == "style.css")
        blocks = [re.findall(r"--[\w-]+: [^;]+;", style.partition(opening)[2].partition("}")[0]) for opening in DARK]
        self.assertEqual(blocks[0], blocks[1])
        self.assertGreater(len(blocks[0]), 15)


class Words(SynchronousTestCase):
    def test_moments(self) -> None:
        self.assertIn('datetime="2027-01-15T08:00:00Z"', when(1_800_000_000))
        self.assertIn(">2027-01-15 08:00:00 UTC<", when(1_800_000_000))
        self.assertEqual((when(None), ago(None)), ("–", "never"))
        self.assertIn("2 minutes ago", ago(time.time() - 121))
        self.assertIn("in 2 hours", ago(time.time() + 7260))

    def test_durations(self) -> None:
        for seconds, text in (
            (0, "0 seconds"),
            (1, "1 second"),
            (61, "1 minute"),
            (3661, "1 hour 1 minute"),
            (90000, "1 day 1 hour"),
            (86400, "1 day"),
        ):
            self.assertEqual(duration(seconds), text)

    def test_sentences(self) -> None:
        for text, shown in (
            ("there is no call 5", "There is no call 5"),
            ("me@example.test exists", "me@example.test exists"),
            ("See `mailxctl user list`.", "See <code>mailxctl user list</code>."),
            ("<b>`mailxctl <i>`", "&lt;b&gt;<code>mailxctl &lt;i&gt;</code>"),
            ("", ""),
        ):
            self.assertEqual(sentence(text), shown)

    def test_sizes(self) -> None:
        for count, text in (
            (0, "0 octets"),
            (1, "1 octet"),
            (1024, "1.0 KiB"),
            (1048575, "1.0 MiB"),
            (5 << 40, "5.0 TiB"),
            (1 << 70, "1,048,576.0 PiB"),
        ):
            self.assertEqual(octets(count), text)
        self.assertEqual(octets(None), "–")
        self.assertEqual((plural(1, "entry", "entries"), plural(1200, "entry", "entries")), ("1 entry", "1,200 entries"))


class Files(SynchronousTestCase):
    def test_static(self) -> None:
        rendering = Rendering()
        self.assertEqual({one.name for one in rendering.static.values()}, {"style.css", "panel.js", "mark.svg"})
        for address, one in rendering.static.items():
            self.assertRegex(address, r"\A/static/[a-z]+\.[0-9a-f]{16}\.[a-z]+\Z")
            self.assertLess(len(one.content), 40_000)
            for text in (b"http://", b"https://", b"url(", b"@import"):
                self.assertNotIn(text, one.content.replace(b"http://www.w3.org/2000/svg", b""))


class Templates(SynchronousTestCase):
    def test_all_compile(self) -> None:
        Rendering().warm()


class Charts(SynchronousTestCase):
    def series(self, counts: list[int], step: int = 1800) -> Series:
        return Series(
            1_800_000_000 // 86400 * 86400,
            step,
            {name: counts if name in ("delivered", "bounced") else [0] * len(counts) for name in NAMES},
        )

    def test_bars(self) -> None:
        drawn = chart(self.series([0, 5, 10]), FATES)
        self.assertEqual((drawn.top, drawn.totals, drawn.empty), (20, (15, 0, 15), False))
        self.assertEqual([len(bar.parts) for bar in drawn.bars], [0, 2, 2])
        self.assertEqual([(part.name, part.y, part.height) for part in drawn.bars[2].parts], [("delivered", 50, 50), ("bounced", 0, 50)])
        self.assertEqual(drawn.bars[1].label, "00:30–01:00")
        self.assertEqual(drawn.summary, "15 delivered, 0 put off, 15 failed")

    def test_days(self) -> None:
        drawn = chart(self.series([1] * 30, 86400), FATES)
        self.assertEqual(len(drawn.labels), 6)
        self.assertEqual(drawn.unit, "Day (UTC)")

    def test_nothing(self) -> None:
        self.assertTrue(chart(self.series([0] * 48), FATES).empty)

    @given(st.lists(st.integers(0, 10**9), min_size=1, max_size=48))
    def test_within_the_picture(self, counts: list[int]) -> None:
        for bar in chart(self.series(counts), FATES).bars:
            for part in bar.parts:
                self.assertGreaterEqual(round(part.y, 1), 0)
                self.assertLessEqual(part.y + part.height, HEIGHT + 0.02)

    @given(st.integers(0, 10**12))
    def test_nice(self, most: int) -> None:
        self.assertGreaterEqual(nice(most), most)
        self.assertLessEqual(nice(most), max(1, most * 2.5))
