"""Messages as the lines of an answer, in pieces of any size."""

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as some
from twisted.trial.unittest import SynchronousTestCase

from mailx.mail.lines import dot_stuff
from mailx.pop3.plain_header import in_ascii
from mailx.pop3.retrieval import Lines, Top

_OCTETS = some.lists(some.sampled_from([b"\r\n", b".", b"\n", b"\r", b"a", b"\r\n.\r\n", b"\n.\n"]), max_size=20).map(b"".join)


def _cut(content: bytes, at: Iterable[int]) -> list[bytes]:
    places = [0, *sorted(place % (len(content) + 1) for place in at), len(content)]
    return [content[a:b] for a, b in zip(places, places[1:], strict=False)]


class LinesTests(SynchronousTestCase):
    @given(_OCTETS, some.lists(some.integers(0, 99), max_size=6))
    def test_one_end(self, content: bytes, at: list[int]) -> None:
        """However it is cut: no line but the last is a dot, none ends without CR, and unstuffed it is the message."""
        lines = Lines()
        sent = b"".join(lines.feed(piece) for piece in _cut(content, at)) + lines.finish()
        self.assertTrue(sent.endswith(b".\r\n"))
        self.assertEqual(sent.count(b"\n"), sent.count(b"\r\n"))
        self.assertEqual([line for line in sent.split(b"\r\n")[:-1] if line == b"."], [b"."])
        whole = content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        if whole and not whole.endswith(b"\r\n"):
            whole += b"\r\n"
        self.assertEqual(sent, dot_stuff(whole) + b".\r\n")

    @given(some.integers(0, 5), some.lists(some.integers(0, 99), max_size=6))
    def test_top(self, lines: int, at: list[int]) -> None:
        """The fields, the empty line, and so many lines of the body."""
        content = b"A: 1\r\nB: 2\r\n\r\n" + b"".join(b"line %d\r\n" % number for number in range(4))
        top = Top(lines)
        got = b""
        for piece in _cut(content, at):
            if not top.done:
                got += top.feed(piece)
        self.assertEqual(got, b"A: 1\r\nB: 2\r\n\r\n" + b"".join(b"line %d\r\n" % number for number in range(min(lines, 4))))

    def test_no_fields(self) -> None:
        """A message that begins with the empty line has no fields."""
        self.assertEqual(Top(1).feed(b"\r\none\r\ntwo\r\n"), b"\r\none\r\n")


class PlainHeaderTests(SynchronousTestCase):
    def test_words(self) -> None:
        """Texts and names become encoded words; addresses that cannot be written become question marks."""
        head = "From: Jürgen <j@example.org>\r\nSubject: Grüße\r\nTo: jürgen@example.org\r\nX: a\r\n".encode()
        self.assertEqual(
            in_ascii(head).splitlines(),
            [
                b"From: =?utf-8?B?SsO8cmdlbg==?= <j@example.org>",
                b"Subject: =?utf-8?B?R3LDvMOfZQ==?=",
                b"To: j?rgen@example.org",
                b"X: a",
            ],
        )

    @given(some.binary(max_size=200))
    def test_any(self, head: bytes) -> None:
        """Nothing above 127 is left, whatever it was."""
        self.assertTrue(in_ascii(head).isascii())
