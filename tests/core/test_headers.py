"""What reception changes in header fields, against a plain model of fields, and with the fields folded at will."""

import re
from time import process_time

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from mailx.core import headers

NOW = 1_700_000_000.0

names = st.sampled_from(
    [
        "Bcc",
        "bcc",
        "BCC",
        "Resent-Bcc",
        "Return-Path",
        "return-PATH",
        "Date",
        "dAtE",
        "Message-ID",
        "Message-Id",
        "Subject",
        "X-Bcc",
        "Bccx",
    ]
)
words = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12)
gaps = st.sampled_from([" ", "\r\n ", "\r\n\t", "\r\n bcc: "])
values = st.lists(st.tuples(gaps, words).map("".join), max_size=4).map("".join)
fields = st.lists(
    st.tuples(names, st.sampled_from(["", " ", "\t"]), values).map(lambda parts: f"{parts[0]}{parts[1]}:{parts[2]}\r\n".encode())
)


def named(field: bytes) -> str:
    return field.partition(b":")[0].strip().decode().lower()


class IncomingTests(TestCase):
    @given(fields)
    def test_return_path_goes(self, given: list[bytes]) -> None:
        """Every Return-Path goes with its folded lines, every other field stays to the octet."""
        kept = [field for field in given if named(field) != "return-path"]
        self.assertEqual(headers.incoming(b"".join(given)), b"".join(kept))


class ResultsTests(TestCase):
    def test_ours_go(self) -> None:
        """What stands under our name goes, however it is written; what others say stays."""
        for name in (
            b"mx.example.test;",
            b" MX.Example.TEST 1; spf=pass",
            b"\r\n mx.example.test;\r\n\tspf=pass",
            b" (a (nested\\) ) comment;)mx.example.test ; none",
            b' "mx.example.test"; none',
            b" mx.example.test.; none",
            b" mx.example.test/1; none",
            b" mx.example.test",
            b" other.example (c) mx.example.test; spf=pass",
            b"((((" * 100 + b"; none",
            b' "mx\\.example\\.test"; none',
            b' "mx.example.test" (unclosed; none',
            b' "mx.example.test; spf=pass',
            b" mx.(cut)example.test; none",
            b" mx.example\\.test; none",
            b"\r\n " * 500 + b"mx.example.test; none",
        ):
            for field in (b"Authentication-Results:", b"AUTHENTICATION-results \t:"):
                given = b"A: 1\r\n" + field + name + b"\r\nSubject: s\r\n"
                self.assertEqual(headers.incoming(given, "mx.example.test"), b"A: 1\r\nSubject: s\r\n", name)
                self.assertEqual(headers.incoming(given), given)
        for given in (
            b"Authentication-Results: mx.example.org; spf=pass mx.example.test\r\n",
            b"Authentication-Results: notmx.example.test; none\r\n",
            b"Authentication-Results: mx.example.test.example.org; none\r\n",
            b"Authentication-Results: mx.example.test-2; none\r\n",
            b"Authentication-Results: (mx.example.test) example.org; none\r\n",
            b"ARC-Authentication-Results: i=1; mx.example.test; none\r\n",
            b"Subject: a\r\n Authentication-Results: mx.example.test;\r\n",
            b"Authentication-Results:\r\n",
        ):
            self.assertEqual(headers.incoming(given, "mx.example.test"), given)

    @given(st.binary(max_size=200))
    def test_any_octets(self, value: bytes) -> None:
        headers.incoming(b"Authentication-Results:" + value, "mx.example.test")

    def test_many(self) -> None:
        """Hostile fields hold nobody up: this runs in the reactor's thread."""
        start = b"Authentication-Results: "
        for block in (
            (start + b'"' * 200 + b"\r\n") * 1000,
            start + b"(" * 250_000 + b"\r\n",
            start + b"\r\n " * 80_000 + b"\r\n",
            (start + b"a " * 190 + b"\r\n") * 600,
            b"Authentication-Results:a\r\n" * 9000,
        ):
            seconds = []
            for _ in range(3):  # a busy machine takes longer now and then
                started = process_time()
                headers.incoming(block, "mx.example.test")
                seconds.append(process_time() - started)
            self.assertLess(min(seconds), 0.05)

    def test_more_than_are_read(self) -> None:
        others = b"Authentication-Results: example.org; none\r\n"
        given = b"A: 1\r\n" + others * 60 + b"B: 2\r\nAuthentication-Results: mx.example.test; spf=pass\r\nC: 3\r\n"
        self.assertEqual(headers.incoming(given, "mx.example.test"), b"A: 1\r\n" + others * 30 + b"B: 2\r\nC: 3\r\n")


class HopsTests(TestCase):
    def test_count(self) -> None:
        self.assertEqual(headers.hops(b"Received: a\r\nreceived : b\r\n Received: folded\r\nX-Received: c\r\nRECEIVED:\r\n"), 3)
        self.assertEqual(headers.hops(b"Subject: received\r\n"), 0)

    def test_message_id(self) -> None:
        self.assertEqual(headers.message_id(b"A: b\r\nMessage-Id :\r\n <a@b>\r\n\r\n"), b"a@b")
        self.assertEqual(headers.message_id(b"A: b\r\n\r\nMessage-ID: <a@b>\r\n"), b"")
        self.assertEqual(headers.message_id(b"text\r\nMessage-ID: <a@b>\r\n"), b"")
        self.assertEqual(headers.message_id(b"Message-ID: a b\r\n"), b"")

    def test_top(self) -> None:
        self.assertEqual(headers.top(b"Return-Path: <a@b>\r\nReceived: x\r\n"), 20)
        self.assertEqual(headers.top(b"Received: x\r\nReturn-Path: <>\r\n"), 0)


class SubmittedTests(TestCase):
    @given(fields)
    def test_fields(self, given: list[bytes]) -> None:
        """Bcc and Return-Path go; Date and Message-ID come exactly when there is none; all else stays to the octet."""
        kept = [field for field in given if named(field) not in ("bcc", "resent-bcc", "return-path")]
        fixed = headers.submitted(b"".join(given), "mx.example.test", NOW)
        self.assertTrue(fixed.endswith(b"".join(kept)))
        added = fixed[: len(fixed) - len(b"".join(kept))].split(b"\r\n")[:-1]
        here = {named(field) for field in kept}
        self.assertEqual([named(field) for field in added], [name for name in ("date", "message-id") if name not in here])

    def test_added(self) -> None:
        """The Date is now, in the form of RFC 5322; the Message-ID is at this host, and new each time."""
        first = headers.submitted(b"", "mx.example.test", NOW)
        self.assertRegex(first.decode(), r"\ADate: Tue, 14 Nov 2023 22:13:20 \+0000\r\nMessage-ID: <[0-9a-f]{32}@mx\.example\.test>\r\n\Z")
        self.assertNotEqual(first, headers.submitted(b"", "mx.example.test", NOW))

    def test_without_last_line_end(self) -> None:
        """A message of header fields only, cut off: the last one still goes if it is Bcc."""
        self.assertEqual(headers.submitted(b"Date: x\r\nMessage-ID: y\r\nBcc: a,\r\n b", "h", NOW), b"Date: x\r\nMessage-ID: y\r\n")

    def test_linear(self) -> None:
        """A megabyte of near misses costs no more than a megabyte."""
        block = b"bcc" + b" " * 300_000 + b"\r\n" + b"bcc \t" * 100_000 + b"\r\n" + b"return-path" * 30_000 + b"\r\n"
        self.assertTrue(headers.submitted(block, "h", NOW).endswith(block))


class EndTests(TestCase):
    def test_end(self) -> None:
        """The fields end at the first empty line."""
        self.assertEqual(headers.end(b"A: 1\r\nB: 2\r\n\r\nbody\r\n\r\n"), 12)
        self.assertIsNone(headers.end(b"A: 1\r\nB: 2\r\n"))
        self.assertEqual(headers.end(b"\r\nbody"), 0)

    def test_no_fields(self) -> None:
        """What begins with no field has none, and is kept apart from the trace fields; an mbox line is taken as it is."""
        for content in (b"just text\r\nmore: text\r\n\r\n", b": x\r\n", b"two words: x\r\n", b" folded: x\r\n", b"\xff: x\r\n"):
            self.assertEqual((headers.end(content), headers.separator(content)), (0, b"\r\n"), content)
        for content in (b"A: 1\r\n\r\n", b"A : 1\r\n\r\n", b"From someone@example.org Mon\r\nA: 1\r\n\r\n", b">From x\r\n\r\n"):
            self.assertEqual(headers.end(content), content.index(b"\r\n\r\n") + 2)
            self.assertEqual(headers.separator(content), b"")
        self.assertEqual(headers.separator(b""), b"")

    @given(st.binary(max_size=60))
    def test_any_octets(self, content: bytes) -> None:
        """No octets raise, and the end is in the content, before an empty line unless there are no fields."""
        end = headers.end(content)
        if end:
            self.assertTrue(re.match(rb"\r\n", content[end:]))
