from unittest import TestCase

from hypothesis import given
from hypothesis import strategies as st

from mailx.mail import maildir
from mailx.mail.mailbox import Flag
from mailx.mail.special_folders import special_use

KEYWORDS = {"a": "$Forwarded", "b": "work"}


class Names(TestCase):
    def test_forms(self) -> None:
        for name, expected in (
            ("1203699983.M1P2.host,S=7:2,FS", (Flag.FLAGGED | Flag.SEEN, ())),
            ("1203699983.M1P2.host", (0, ())),
            ("1.x:2,", (0, ())),
            ("1.x;2,RT", (Flag.ANSWERED | Flag.DELETED, ())),
            ("1.x!2,DP", (Flag.DRAFT, ("$Forwarded",))),
            ("1.x:2,Sba", (Flag.SEEN, ("work", "$Forwarded"))),
            ("1.x:2,Sz", (Flag.SEEN, ())),
            ("1.x:1,S", (0, ())),
        ):
            self.assertEqual(maildir.state(name, KEYWORDS), expected, name)

    @given(st.integers(0, 31), st.sets(st.sampled_from(["work", "$Forwarded"])))
    def test_what_is_written_is_read(self, flags: int, keywords: set[str]) -> None:
        letters = {keyword: letter for letter, keyword in KEYWORDS.items()}
        found, named = maildir.state(maildir.name("1.U7", 12, flags, sorted(keywords), letters), KEYWORDS)
        self.assertEqual((found, set(named)), (flags, keywords))

    def test_keywords(self) -> None:
        text = maildir.keywords_text({"work": "b", "$Forwarded": "a"})
        self.assertEqual(text, "0 $Forwarded\n1 work\n")
        self.assertEqual(maildir.keywords(text), KEYWORDS)
        self.assertEqual(maildir.keywords("26 much\nx\n0\n-1 y\n"), {})


class SpecialFolders(TestCase):
    def test_languages(self) -> None:
        for name, use in (
            ("Sent", "\\Sent"),
            ("SENT ITEMS", "\\Sent"),
            ("Gesendete Elemente", "\\Sent"),
            ("INBOX/Sent", "\\Sent"),
            ("[Gmail]/Papierkorb", "\\Trash"),
            ("Entwürfe", "\\Drafts"),
            ("Entwu\u0308rfe", "\\Drafts"),
            ("Корзина", "\\Trash"),
            ("迷惑メール", "\\Junk"),
            ("Courrier_indésirable", "\\Junk"),
            ("Archives", "\\Archive"),
            ("Work", ""),
            ("Work/Sent", ""),
            ("INBOX", ""),
            ("INBOX/a/Sent", ""),
        ):
            self.assertEqual(special_use(name), use, name)
