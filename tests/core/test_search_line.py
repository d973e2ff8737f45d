"""Search lines: what people write, and what it means."""

from datetime import date

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.core import search as keys
from mailx.core.search_line import DEPTH, LONGEST, TERMS, SearchLineError, parse

P, And, Or, Not = keys.Prefix, keys.And, keys.Or, keys.Not

MEANINGS = {
    "": keys.All(),
    "report": P("report"),
    "two words": And((P("two"), P("words"))),
    'AND "exact  phrase"': keys.Phrase("exact  phrase"),
    "pre* w?ld a*b": And((P("pre"), keys.Wildcard("w?ld"), keys.Wildcard("a*b"))),
    "fuzzy~": keys.Fuzzy(P("fuzzy")),
    "-from:anna before:2026-01-01": And((Not(P("anna", "from")), keys.Received("before", date(2026, 1, 1)))),
    "NOT -a": P("a"),
    "a OR b c OR d": Or(Or(P("a"), And((P("b"), P("c")))), P("d")),
    "(a OR b) -(c d)": And((Or(P("a"), P("b")), Not(And((P("c"), P("d")))))),
    'subject:"annual report" has:attachment': And((keys.Phrase("annual report", "subject"), keys.AttachmentName(""))),
    "filename:invoice.pdf": keys.AttachmentName("invoice.pdf"),
    "larger:2M smaller:500k is:unread": And((keys.Larger(2 << 20), keys.Smaller(500 << 10), keys.Flagged("\\Seen", False))),
    "cc:bob well-known": And((keys.Header("cc", "bob"), P("well-known"))),
}
WRONG = ("(", ")", "a OR", "OR b", "()", "a )", '"open', "from:(", "NOT", "NOT OR")
NOTHING = ("before:yesterday", "before:20260231", "larger:big", "is:strange", "has:it", "odd:x")


class Lines(SynchronousTestCase):
    def test_meanings(self) -> None:
        for line, query in MEANINGS.items():
            self.assertEqual(parse(line), query, line)

    def test_what_is_wrong_is_told(self) -> None:
        for line in (*WRONG, *NOTHING, "a" * (LONGEST + 1), "a " * (TERMS + 1), "(" * (DEPTH + 1) + "a" + ")" * (DEPTH + 1)):
            self.assertRaises(SearchLineError, parse, line)

    @given(st.text(st.sampled_from('ab()"-:*?~ ORNOT from:is:1'), max_size=40))
    def test_anything_is_a_query_or_wrong(self, line: str) -> None:
        try:
            parse(line)
        except SearchLineError as error:
            self.assertTrue(str(error))
