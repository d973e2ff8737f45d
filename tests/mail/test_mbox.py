from unittest import TestCase

from hypothesis import given
from hypothesis import strategies as st

from mailx.mail import mbox
from mailx.mail.mailbox import Flag

MARK = b"From anna@example.test Fri Feb 22 17:06:23 2008\n"
AT = 1203699983


def read(octets: bytes) -> list[mbox.Found]:
    return list(mbox.messages(octets.splitlines(keepends=True)))


class Postmarks(TestCase):
    def test_forms(self) -> None:
        for line in (
            MARK,
            b"From anna@example.test  Fri Feb 22 17:06:23 2008\r\n",
            b"From - Fri Feb 22 17:06:23 2008\n",
            b"From MAILER-DAEMON Fri Feb 22 19:06:23 2008 +0200\n",
            b"From anna@example.test Fri Feb 22 17:06:23 GMT 2008\n",
            b"From anna@example.test Fri Feb 22 17:06:23 +0000 2008\n",
            b"From a b c Fri Feb 22 17:06:23 2008 remote from here\n",
        ):
            self.assertEqual(mbox.postmark_date(line), AT, line)

    def test_sentences_are_none(self) -> None:
        for line in (b"From here on we go\n", b"From Monday to Friday at 17:06\n", b"From \n", b">" + MARK, b"from" + MARK[4:]):
            self.assertIsNone(mbox.postmark_date(line), line)


class Messages(TestCase):
    def test_two(self) -> None:
        first, second = read(MARK + b"Subject: a\n\none\n\n" + MARK + b"Subject: b\n\ntwo\n")
        self.assertEqual((first.content, first.received), (b"Subject: a\n\none\n", AT))
        self.assertEqual(second.content, b"Subject: b\n\ntwo\n")

    def test_crlf(self) -> None:
        octets = (MARK + b"Subject: a\n\none\n\n" + MARK + b"Subject: b\n\ntwo\n").replace(b"\n", b"\r\n")
        self.assertEqual([found.content for found in read(octets)], [b"Subject: a\r\n\r\none\r\n", b"Subject: b\r\n\r\ntwo\r\n"])

    def test_a_from_line_within_a_paragraph_is_text(self) -> None:
        [found] = read(MARK + b"Subject: a\n\nhe wrote\n" + MARK + b"to me\n")
        self.assertIn(b"he wrote\nFrom anna", found.content)

    def test_quoted(self) -> None:
        [found] = read(MARK + b"Subject: a\n\n>From me\n>>From you\n> From him\n")
        self.assertEqual(found.content, b"Subject: a\n\nFrom me\n>From you\n> From him\n")

    def test_a_length_that_is_right(self) -> None:
        text = b"one\n\n" + MARK + b"two\n"
        first, second = read(MARK + b"Content-Length: %d\n\n" % len(text) + text + b"\n" + MARK + b"Subject: b\n\nx\n")
        self.assertEqual(first.content, b"\n" + text)
        self.assertEqual(second.content, b"Subject: b\n\nx\n")

    def test_lengths_that_lie(self) -> None:
        for length in (b"0", b"3", b"7", b"100000", b"99999999999999", b"-1", b"x"):
            octets = MARK + b"Content-Length: " + length + b"\nSubject: a\n\none two\n\n" + MARK + b"Subject: b\n\nx\n"
            self.assertEqual([found.content for found in read(octets)], [b"Subject: a\n\none two\n", b"Subject: b\n\nx\n"], length)

    def test_state(self) -> None:
        [found] = read(MARK + b"Status: RO\nX-Status: AF\nX-Keywords: $Forwarded  work\nX-UID: 7\nSubject: a\n\nx\n")
        self.assertEqual(found.flags, Flag.SEEN | Flag.ANSWERED | Flag.FLAGGED)
        self.assertEqual(found.keywords, ("$Forwarded", "work"))
        self.assertEqual(found.content, b"Subject: a\n\nx\n")

    def test_state_of_thunderbird(self) -> None:
        [kept] = read(MARK + b"X-Mozilla-Status: 1003\nX-Mozilla-Keys: $label1    \nSubject: b\n\ny\n\n")
        self.assertEqual((kept.flags, kept.keywords), (Flag.SEEN | Flag.ANSWERED, ("$label1", "$Forwarded")))
        self.assertEqual(read(MARK + b"X-Mozilla-Status: 0009\nSubject: a\n\nx\n"), [])

    def test_the_note_of_a_server(self) -> None:
        self.assertEqual(read(MARK + b"Subject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\nX-IMAP: 1 2\n\nx\n"), [])

    def test_what_is_no_mbox(self) -> None:
        self.assertEqual(read(b""), [])
        self.assertEqual(read(b"Subject: a\n\nx\n"), [])

    @given(st.lists(st.lists(st.sampled_from([b"", b"From here", MARK[:-1], b">" + MARK[:-1], b">>From x", b"word"])), max_size=5))
    def test_what_was_quoted_comes_back(self, texts: list[list[bytes]]) -> None:
        contents = [b"Subject: x\n\n" + b"".join(line + b"\n" for line in lines) for lines in texts]
        octets = b"".join(MARK + mbox.quote(content) + b"\n" for content in contents)
        self.assertEqual([found.content for found in read(octets)], contents)

    @given(st.lists(st.sampled_from([b"\n", b"\r\n", MARK, b"Content-Length: 5\n", b"Status: R\n", b">From x\n", b" folded\n", b"x"])))
    def test_anything(self, lines: list[bytes]) -> None:
        read(b"".join(lines))
