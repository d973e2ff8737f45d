"""The bytes a client sent: the same lines and pieces in whatever chunks they come, and never more than a bound."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mailx.core.input import HIGH_WATER, BareLine, Hangup, Input, LongLine

LIMIT = 20


def nothing() -> None:
    pass


async def read_all(source: Input) -> list[Any]:
    """Lines, as long as there are any; what is wrong with one stands in its place."""
    seen: list[Any] = []
    while True:
        try:
            seen.append(await source.line(LIMIT))
        except LongLine as long:
            seen.append(("long", long.head, long.tail))
        except BareLine as bare:
            seen.append(("bare", bare.line))
        except Hangup:
            return seen


def lines_of(chunks: list[bytes]) -> list[Any]:
    source = Input(nothing, nothing, nothing)
    reading = Deferred.fromCoroutine(read_all(source))
    for chunk in chunks:
        source.feed(chunk)
    source.close()
    seen: list[list[Any]] = []
    reading.addCallback(seen.append)
    return seen[0]


class InputTests(SynchronousTestCase):
    def test_lines(self) -> None:
        self.assertEqual(lines_of([b"a\r", b"\nb", b"\r\n\r\nrest"]), [b"a", b"b", b""])

    def test_bare(self) -> None:
        self.assertEqual(lines_of([b"a\nb\rc\r\nd\r\n"]), [("bare", b"a"), ("bare", b"b\rc\r"), b"d"])

    def test_long(self) -> None:
        """A line may have LIMIT octets; of a longer one only its ends are kept."""
        self.assertEqual(lines_of([b"x" * LIMIT + b"\r\n"]), [b"x" * LIMIT])
        long = b"y" * 100000 + b"{5+}"
        (kind, head, tail), after = lines_of([long[i : i + 1000] for i in range(0, len(long), 1000)] + [b"\r\nz\r\n"])
        self.assertEqual((kind, head, after), ("long", b"y" * LIMIT, b"z"))
        self.assertTrue(tail.endswith(b"y{5+}"))

    @given(st.lists(st.sampled_from((b"\r\n", b"\n", b"\r", b"ab", b"x" * 15, b"{9+}")), max_size=30).map(b"".join), st.data())
    def test_chunks_do_not_matter(self, octets: bytes, data: st.DataObject) -> None:
        cuts = sorted(data.draw(st.sets(st.integers(0, len(octets)), max_size=8)))
        chunks = [octets[a:b] for a, b in zip([0, *cuts], [*cuts, len(octets)], strict=True)]
        self.assertEqual(lines_of(chunks), lines_of([octets]))

    def test_back_pressure(self) -> None:
        """Too much unread stops the transport; reading half of it lets it go on."""
        said: list[str] = []
        source = Input(lambda: said.append("stop"), lambda: said.append("go on"), nothing)
        source.feed(b"x" * (HIGH_WATER + 1))
        source.feed(b"x")
        self.assertEqual(said, ["stop"])
        self.successResultOf(Deferred.fromCoroutine(source.exactly(HIGH_WATER // 4)))
        self.assertEqual(said, ["stop"])
        self.successResultOf(Deferred.fromCoroutine(source.skip(HIGH_WATER // 2)))
        self.assertEqual(said, ["stop", "go on"])

    def test_waiting_goes_on(self) -> None:
        """A reader that needs more than the bound is not left waiting for a stopped transport."""
        said: list[str] = []
        source = Input(lambda: said.append("stop"), lambda: said.append("go on"), nothing)
        reading = Deferred.fromCoroutine(source.exactly(HIGH_WATER + 10))
        source.feed(b"x" * (HIGH_WATER + 1))
        self.assertEqual(said, ["stop", "go on"])
        source.feed(b"x" * 9)
        self.assertEqual(len(self.successResultOf(reading)), HIGH_WATER + 10)

    def test_clear(self) -> None:
        source = Input(nothing, nothing, nothing)
        source.feed(b"a\r\nb\r\n")
        source.clear()
        self.assertFalse(source.pending)

    def test_close(self) -> None:
        source = Input(nothing, nothing, nothing)
        reading = Deferred.fromCoroutine(source.line(LIMIT))
        source.close()
        self.failureResultOf(reading, Hangup)
        self.failureResultOf(Deferred.fromCoroutine(source.some(5)), Hangup)
