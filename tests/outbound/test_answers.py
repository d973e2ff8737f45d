"""What servers say, however it is cut: replies whole and bounded, texts safe to show."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.mail.reply import Reply
from mailx.outbound.answers import ANSWER_LIMIT, LINE_KEPT, LINES_KEPT, TEXT_LIMIT, Answer, AnswerReader, Babble, clean
from tests.mail.test_lines import CUTS, cut

TEXTS = st.binary(max_size=20).map(lambda text: text.replace(b"\r", b"").replace(b"\n", b""))
ANSWERS = st.lists(
    st.tuples(st.integers(200, 599), st.lists(TEXTS, min_size=1, max_size=4).map(tuple)).map(lambda pair: Answer(*pair)), max_size=5
)


def write(answer: Answer) -> bytes:
    """An answer as a server writes it."""
    *before, last = answer.lines
    return b"".join(b"%d-%b\r\n" % (answer.code, line) for line in before) + b"%d %b\r\n" % (answer.code, last)


def read(chunks: list[bytes]) -> list[Answer]:
    reader = AnswerReader()
    return [answer for chunk in chunks for answer in reader.feed(chunk)]


class Reading(SynchronousTestCase):
    @given(ANSWERS, CUTS)
    def test_any_cut(self, answers: list[Answer], places: list[int]) -> None:
        self.assertEqual(read(cut(b"".join(map(write, answers)), places)), answers)

    @given(st.binary(max_size=60), CUTS)
    def test_any_octets(self, data: bytes, places: list[int]) -> None:
        """Whatever comes, it is the same answers or babble in one piece and in many."""

        def outcome(chunks: list[bytes]) -> object:
            try:
                return read(chunks)
            except Babble:
                return Babble

        self.assertEqual(outcome([data]), outcome(cut(data, places)))

    def test_forms(self) -> None:
        for data, answer in (
            (b"250 Ok\r\n", Answer(250, (b"Ok",))),
            (b"250\r\n", Answer(250, (b"",))),
            (b"250 \r\n", Answer(250, (b"",))),
            (b"250 Ok\n", Answer(250, (b"Ok",))),
            (b"250-a\r\n250-b\r\n250\r\n", Answer(250, (b"a", b"b", b""))),
        ):
            self.assertEqual(read([data]), [answer])

    def test_babble(self) -> None:
        for data in (
            b"hello\r\n",
            b"25 Ok\r\n",
            b"2500 Ok\r\n",
            b"150 Wait\r\n",
            b"600 What\r\n",
            b"999 What\r\n",
            b"-250 Ok\r\n",
            b"250_Ok\r\n",
            b" 250 Ok\r\n",
            b"\r\n",
            b"250-a\r\n550 b\r\n",
            b"\xb2\xb5\xb0 Ok\r\n",
        ):
            self.assertRaises(Babble, read, [data])

    def test_a_line_of_100_kb_is_cut(self) -> None:
        (answer,) = read(cut(b"550 " + b"x" * 100_000 + b"\r\n", list(range(0, 100_000, 997))))
        self.assertEqual(answer.code, 550)
        self.assertLessEqual(len(answer.lines[0]), LINE_KEPT)
        self.assertEqual(len(answer.reply().text), TEXT_LIMIT)
        self.assertEqual(read([b"550 " + b"x" * 100_000 + b"\r\n"])[0].reply(), answer.reply())

    def test_an_endless_line(self) -> None:
        reader = AnswerReader()
        with self.assertRaises(Babble):
            for _ in range(ANSWER_LIMIT // 1000 + 1):
                reader.feed(b"2" * 1000)

    def test_an_endless_reply(self) -> None:
        reader = AnswerReader()
        with self.assertRaises(Babble):
            for _ in range(ANSWER_LIMIT):
                reader.feed(b"250-" + b"x" * 60 + b"\r\n")

    def test_many_lines(self) -> None:
        (answer,) = read([b"250-x\r\n" * 1000 + b"250 y\r\n"])
        self.assertEqual(len(answer.lines), LINES_KEPT + 1)

    def test_pending(self) -> None:
        reader = AnswerReader()
        for data, pending in ((b"2", True), (b"50 Ok\r\n", False), (b"250-a\r\n", True), (b"250 b\r\n", False), (b"", False)):
            reader.feed(data)
            self.assertEqual(reader.pending, pending, data)


class Texts(SynchronousTestCase):
    def reply(self, *lines: bytes, code: int = 550) -> Reply:
        return Answer(code, lines).reply()

    def test_enhanced_codes(self) -> None:
        self.assertEqual(self.reply(b"5.1.1 No such user"), Reply(550, "5.1.1", "No such user"))
        self.assertEqual(self.reply(b"5.7.1 One", b"5.7.1 Two", b"Three"), Reply(550, "5.7.1", "One Two Three"))
        self.assertEqual(self.reply(b"5.7.509"), Reply(550, "5.7.509", ""))
        self.assertEqual(self.reply(b"4.1.1 Contradiction"), Reply(550, "", "4.1.1 Contradiction"))
        self.assertEqual(self.reply(b"5.1.1.1 Version"), Reply(550, "", "5.1.1.1 Version"))
        self.assertEqual(self.reply(b"No code"), Reply(550, "", "No code"))

    def test_nothing_steers_a_terminal(self) -> None:
        reply = self.reply(b"\x1b[2J\x07\0\x7f bad\ttab \xff\xfe " + "\u202eevil\u2028line \u00e9".encode())
        self.assertTrue(reply.text.isprintable())
        self.assertIn("\u00e9", reply.text)
        self.assertNotIn("\u202e", reply.text)

    @given(st.lists(st.binary(max_size=2000), min_size=1, max_size=5), st.integers(200, 599))
    def test_always_safe(self, lines: list[bytes], code: int) -> None:
        reply = Answer(code, tuple(lines)).reply()
        self.assertTrue(reply.text.isprintable())
        self.assertLessEqual(len(reply.text), TEXT_LIMIT)
        self.assertTrue(reply.done or 400 <= reply.code < 600)

    def test_promises_nothing(self) -> None:
        self.assertEqual(self.reply(b"Go ahead", code=354), Reply(451, "4.5.0", "Answer out of place: 354 Go ahead"))

    def test_clean(self) -> None:
        self.assertEqual(clean(" a\r\nb "), "a??b")
