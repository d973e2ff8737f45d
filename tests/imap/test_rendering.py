"""Pieces of responses: strings, sets, dates, name patterns, line ends of APPEND."""

import time
from array import array
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.core.selected import Selected
from mailx.imap import text
from mailx.imap.answers import Bad
from mailx.imap.append import LineEnds
from mailx.imap.listing import matcher
from mailx.imap.sets import compact, indexes, sequence_numbers


def expanded(written: bytes) -> list[int]:
    numbers: list[int] = []
    for part in written.split(b","):
        first, _, last = part.partition(b":")
        numbers.extend(range(int(first), int(last or first) + 1))
    return numbers


def slowly(pattern: str, name: str) -> bool:
    """Whether ``name`` matches, tried out one octet after the other."""
    if not pattern:
        return not name
    if pattern[0] in "*%":
        more = bool(name) and (pattern[0] == "*" or name[0] != "/")
        return slowly(pattern[1:], name) or (more and slowly(pattern, name[1:]))
    return bool(name) and pattern[0] == name[0] and slowly(pattern[1:], name[1:])


class View:
    """As much of a session's view as numbers need."""

    def __init__(self, uids: list[int]) -> None:
        self.uids = array("L", uids)

    index = Selected.index
    run = Selected.run


class NumberTests(SynchronousTestCase):
    @settings(max_examples=300, deadline=None)
    @example(known={*range(1, 20), *range(21, 41)}, asked=[*range(1, 19), 20, 21], rising=True, whole=False)
    @given(st.sets(st.integers(1, 150), min_size=1), st.lists(st.integers(1, 150), unique=True), st.booleans(), st.booleans())
    def test_sequence_numbers(self, known: set[int], asked: list[int], rising: bool, whole: bool) -> None:
        uids = list(range(min(known), max(known) + 1)) if whole else sorted(known)
        asked = sorted(asked) if rising else asked
        view: Any = View(uids)
        self.assertEqual(list(sequence_numbers(view, asked)), [uids.index(uid) + 1 for uid in asked if uid in uids])
        there = [uid for uid in sorted(asked) if uid in uids]
        self.assertEqual(list(indexes(view, there)), [uids.index(uid) for uid in there])


class TextTests(SynchronousTestCase):
    def test_strings(self) -> None:
        self.assertEqual(text.astring(b"Archive/2026"), b"Archive/2026")
        self.assertEqual(text.astring(b'a "b"\\'), b'"a \\"b\\"\\\\"')
        self.assertEqual(text.astring(b""), b'""')
        self.assertEqual(text.astring(b"nil"), b'"nil"')
        self.assertEqual(text.string(b"a\r\nb"), b"{4}\r\na\r\nb")
        self.assertEqual(text.string(b"\xff"), b"{1}\r\n\xff")
        self.assertEqual(text.mailbox("Entwürfe 1"), b'"Entw&APw-rfe 1"')

    def test_dates(self) -> None:
        self.assertEqual(text.date_time(0), b" 1-Jan-1970 00:00:00 +0000")
        self.assertEqual(text.date_time(1793617445), b" 2-Nov-2026 11:04:05 +0000")
        self.assertEqual(text.date_time(-1), b"31-Dec-1969 23:59:59 +0000")
        self.assertEqual(text.date_time(10**15), b"31-Dec-9999 23:59:59 +0000")
        self.assertEqual(text.date_time(-(10**15)), b" 1-Jan-0001 00:00:00 +0000")

    def test_flags(self) -> None:
        texts = text.FlagTexts(lambda bits: ("\\Seen",) * (bits & 1) + ("$A",) * (bits >> 1), recent=True)
        self.assertEqual((texts[0], texts[3]), (b"\\Recent", b"\\Recent \\Seen $A"))

    @given(st.sets(st.integers(1, 60), min_size=1).map(sorted))
    def test_sets(self, numbers: list[int]) -> None:
        written = compact(numbers)
        self.assertEqual(expanded(written), numbers)
        many = [number + 1000 * part for part in range(3) for number in [*range(1, 700), *(700 + each * 2 for each in numbers)]]
        self.assertEqual(expanded(compact(many)), many)
        self.assertEqual(expanded(compact(reversed(numbers))), numbers[::-1])
        self.assertEqual(written.count(b","), sum(a + 1 != b for a, b in zip(numbers, numbers[1:], strict=False)))

    def test_patterns(self) -> None:
        for pattern, name, matches in (
            ("*", "a/b", True),
            ("%", "a/b", False),
            ("%", "a", True),
            ("%/%", "a/b", True),
            ("a*c", "abc/c", True),
            ("a%c", "ab/c", False),
            ("inbox", "INBOX", True),
            ("Inbox/%", "INBOX/x", True),
            ("INBO*", "INBOX", True),
            ("a.c", "abc", False),
            ("%*%", "a/b/c", True),
            ("", "", True),
        ):
            self.assertEqual(bool(matcher("", (pattern,)).match(name)), matches, (pattern, name))
        self.assertTrue(matcher("a/", ("%", "x")).match("a/b"))
        self.assertFalse(matcher("a", ("%", "x")).match("a/b"))

    @given(st.text("ab/*%", max_size=8), st.text("ab/", max_size=10))
    def test_any_pattern(self, pattern: str, name: str) -> None:
        """The expression matches what the definition of the wildcards says."""
        self.assertEqual(bool(matcher("", (pattern,)).match(name)), slowly(pattern, name))

    def test_pattern_time(self) -> None:
        """No pattern takes long on any name."""
        began = time.process_time()
        for pattern in ("*%" * 2000 + "x", "*a" * 60 + "x", "%a" * 60 + "x", "*a%a" * 30 + "%x"):
            self.assertFalse(matcher("", (pattern,)).match("a" * 255))
        self.assertRaises(Bad, matcher, "", ("*a" * 65,))
        self.assertLess(time.process_time() - began, 0.5)


class LineEndTests(SynchronousTestCase):
    @given(st.lists(st.sampled_from((b"\r\n", b"\n", b"\r", b"ab")), max_size=20).map(b"".join), st.data())
    def test_any_chunks(self, octets: bytes, data: st.DataObject) -> None:
        cuts = sorted(data.draw(st.sets(st.integers(0, len(octets)), max_size=6)))
        lines = LineEnds()
        made = b"".join(lines.convert(octets[a:b]) for a, b in zip([0, *cuts], [*cuts, len(octets)], strict=True))
        self.assertEqual(made, octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n"))
        self.assertFalse(lines.nul)

    def test_nul(self) -> None:
        lines = LineEnds()
        lines.convert(b"a\0b")
        self.assertTrue(lines.nul)
