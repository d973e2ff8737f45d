"""Line discipline: the end of DATA, dots and forbidden octets, over every way a stream may be cut."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.mail.lines import DotReader, DotStuffer, Fault, LineScan, dot_stuff

# Octets that matter, so that random streams are full of edge cases.
SOUP = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"\r\n.", b"\r\n.\r\n", b"a", b"bc", b"\0"]), max_size=30).map(b"".join)
TEXT = st.lists(st.sampled_from([b"", b".", b"..", b"a", b".a", b"a.", b" "]), max_size=12).map(
    lambda lines: b"".join(line + b"\r\n" for line in lines)
)
CUTS = st.lists(st.integers(0, 60), max_size=12)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place for place in places if place < len(data))})
    return [data[start:end] for start, end in pairwise(edges)]


def read(chunks: list[bytes]) -> tuple[bytes, bytes | None]:
    """All content and what followed the end."""
    reader, content, rest = DotReader(), b"", None
    for chunk in chunks:
        if rest is not None:
            rest += chunk
            continue
        piece, rest = reader.feed(chunk)
        content += piece
    return content, rest


def slow_read(data: bytes) -> tuple[bytes, bytes] | None:
    """The same, written as RFC 5321 4.5.2 says it: line by line, where CRLF alone ends a line."""
    content = b""
    while b"\r\n" in data:
        line, _, data = data.partition(b"\r\n")
        if line == b".":
            return content, data
        content += line.removeprefix(b".") + b"\r\n"
    return None


def slow_fault(data: bytes) -> bool:
    return b"\0" in data or any(octet in data.replace(b"\r\n", b"") for octet in (b"\r", b"\n"))


class DotReaderTests(SynchronousTestCase):
    @given(SOUP, CUTS)
    def test_any_stream(self, data: bytes, places: list[int]) -> None:
        """Whatever comes, however it is cut, the reader ends where a reader of whole lines does."""
        content, rest = read(cut(data, places))
        expected = slow_read(data)
        if expected is None:
            self.assertIsNone(rest)
        else:
            self.assertEqual((content, rest), expected)

    @given(TEXT, CUTS)
    def test_round_trip(self, content: bytes, places: list[int]) -> None:
        """What dot_stuff sends is what the reader gives."""
        self.assertEqual(read(cut(dot_stuff(content) + b".\r\nQUIT\r\n", places)), (content, b"QUIT\r\n"))

    def test_octet_by_octet(self) -> None:
        stream = b"..\r\n.a\r\n\r\n...\r\n. \r\nend\r\n.\r\n"
        self.assertEqual(read([bytes([octet]) for octet in stream]), (b".\r\na\r\n\r\n..\r\n \r\nend\r\n", b""))

    def test_no_other_end(self) -> None:
        for end in (b"\n.\n", b"\r.\r", b"\n.\r\n", b"\r\n.\n", b"\r\n.\r", b"\r.\r\n", b"\r\n\0.\r\n"):
            content, rest = read([b"x" + end + b"MAIL FROM:<>\r\n"])
            self.assertIsNone(rest, end)
        self.assertEqual(read([b".\r\n"]), (b"", b""))

    def test_holds_little(self) -> None:
        reader = DotReader()
        for _ in range(100):
            content, _ = reader.feed(b"x" * 1000)
            self.assertEqual(len(content), 1000)


class DotStufferTests(SynchronousTestCase):
    def stuffed(self, chunks: list[bytes]) -> bytes:
        stuffer = DotStuffer()
        return b"".join([stuffer.feed(chunk) for chunk in chunks]) + stuffer.finish()

    @given(TEXT, CUTS)
    def test_lines(self, content: bytes, places: list[int]) -> None:
        """However whole lines are cut, they are stuffed as one piece is."""
        self.assertEqual(self.stuffed(cut(content, places)), dot_stuff(content) + b".\r\n")

    @given(SOUP, CUTS)
    def test_any_content(self, content: bytes, places: list[int]) -> None:
        """Whatever the content, cut anywhere: the reader gives it back, ended, and nothing in it ends the data."""
        ended = content if content.endswith(b"\r\n") or not content else content + b"\r\n"
        self.assertEqual(read([self.stuffed(cut(content, places)) + b"QUIT\r\n"]), (ended, b"QUIT\r\n"))

    @given(SOUP)
    def test_octet_by_octet(self, content: bytes) -> None:
        whole = DotStuffer()
        self.assertEqual(self.stuffed([bytes([octet]) for octet in content]), whole.feed(content) + whole.finish())

    def test_nothing(self) -> None:
        self.assertEqual(self.stuffed([]), b".\r\n")
        self.assertEqual(self.stuffed([b"", b".", b""]), b"..\r\n.\r\n")


class LineScanTests(SynchronousTestCase):
    @given(SOUP, CUTS)
    def test_any_stream(self, data: bytes, places: list[int]) -> None:
        scan = LineScan(1000)
        for chunk in cut(data, places):
            scan.scan(chunk)
        self.assertEqual(scan.finish() is not None, slow_fault(data))

    @given(st.lists(st.integers(0, 30), max_size=8), CUTS, st.booleans())
    def test_long_lines(self, lengths: list[int], places: list[int], ended: bool) -> None:
        """A line is too long exactly when it has more than the limit with its CRLF."""
        data = b"\r\n".join(b"x" * length for length in lengths) + (b"\r\n" if ended else b"")
        scan = LineScan(20)
        for chunk in cut(data, places):
            scan.scan(chunk)
        longest = max((len(line) for line in data.splitlines(keepends=True)), default=0)
        self.assertEqual(scan.finish(), Fault.LONG if longest > 20 else None)

    def test_first_fault_stands(self) -> None:
        scan = LineScan(1000)
        scan.scan(b"a\0b\r\n")
        scan.scan(b"\n")
        self.assertIs(scan.finish(), Fault.NUL)

    def test_cr_at_the_end(self) -> None:
        scan = LineScan(1000)
        scan.scan(b"abc\r")
        self.assertIsNone(scan.fault)
        self.assertIs(scan.finish(), Fault.BARE)
