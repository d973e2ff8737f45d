"""Arguments of commands as values: what is taken, what is BAD, and that nothing else happens."""

from collections.abc import Callable
from datetime import date
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.core import search as keys
from mailx.core.sort import SortKey
from mailx.imap import append_grammar, grammar, search
from mailx.imap.answers import Bad, Ended, No
from mailx.imap.append_grammar import Opening
from mailx.imap.commands import Create, Data, Fetch, Listing, Login, Partial, Section, StoreFlags, Text
from mailx.imap.dispatch import VERBS
from mailx.imap.fetch_grammar import fetch
from mailx.imap.listing_grammar import listing
from mailx.imap.tokens import SAVED, Announced, Missing, Tokens


def parsed(parse: Callable[[Tokens], Any], text: bytes, *literals: bytes) -> Any:
    """What ``parse`` makes of arguments; each CRLF in ``text`` is a place of a literal."""
    return parse(Tokens([b" " + text.split(b"\r\n")[0], *text.split(b"\r\n")[1:]], literals))


class TokensTests(SynchronousTestCase):
    def test_strings(self) -> None:
        for text, value in (
            (b"atom", b"atom"),
            (b'"a \\"b\\" \\\\"', b'a "b" \\'),
            (b'""', b""),
            (b"a]b", b"a]b"),
            (b'"\xc3\xa4"', b"\xc3\xa4"),
        ):
            self.assertEqual(Tokens([text]).astring(), value)
        self.assertEqual(Tokens([b"{3}", b" x"], [b"a\r\n"]).astring(), b"a\r\n")

    def test_not_strings(self) -> None:
        for text in (b"", b"(", b'"open', b'"bad \\x"', b"{3", b"{-1}", b"\xc3\xa4", b'"a\x00"'):
            self.assertRaises(Bad, Tokens([text]).astring)
        self.assertRaises(Bad, Tokens([b"{1}", b""], [b"\0"]).astring)
        self.assertRaises(Missing, Tokens([b"{1}"]).astring)

    def test_sets(self) -> None:
        self.assertEqual(Tokens([b"1"]).sequence_set(), ((1, 1),))
        self.assertEqual(Tokens([b"2:4,*,7:*,*:9"]).sequence_set(), ((2, 4), (None, None), (7, None), (None, 9)))
        for text in (b"", b"0", b"1,", b",1", b"1:", b"1::2", b"1:2:3", b"01", b"4294967296", b"1,a", b"a"):
            self.assertRaises(Bad, Tokens([text]).sequence_set)
        self.assertRaises(Bad, Tokens([b"1," * 16384 + b"1"]).sequence_set)

    def test_dates(self) -> None:
        self.assertEqual(Tokens([b'" 1-Feb-2026 00:00:00 +0130"']).date_time(), 1769898600)
        self.assertEqual(Tokens([b'"29-feb-2024 23:59:60 -0000"']).date_time(), 1709251200)
        for text in (
            b'"1-Feb-2026 00:00:00 +0000"',
            b'"32-Jan-2026 00:00:00 +0000"',
            b'"01-Foo-2026 00:00:00 +0000"',
            b'"01-Jan-2026 24:00:00 +0000"',
        ):
            self.assertRaises(Bad, Tokens([text]).date_time)
        self.assertEqual(Tokens([b"1-Feb-2026"]).date(), (2026, 2, 1))
        self.assertEqual(Tokens([b'"01-FEB-2026"']).date(), (2026, 2, 1))
        self.assertRaises(Bad, Tokens([b"1-Feb-26"]).date)

    def test_mailbox(self) -> None:
        self.assertEqual(Tokens([b"iNbOx"]).mailbox(), "INBOX")
        self.assertEqual(Tokens([b"&APw-"]).mailbox(), "ü")
        self.assertRaises(No, Tokens([b"&APw"]).mailbox)
        self.assertRaises(No, Tokens([b'""']).mailbox)


class ArgumentTests(SynchronousTestCase):
    def test_login(self) -> None:
        self.assertEqual(parsed(grammar.login, b'me@x "pa ss"'), Login("me@x", "pa ss"))
        self.assertEqual(parsed(grammar.login, b"me {2}\r\n", b"\xc3\xa4"), Login("me", "ä"))
        self.assertRaises(No, parsed, grammar.login, b'me "\xff"')
        for text in (b"me", b"me ", b"me a b", b"(me) a", b"me  a"):
            self.assertRaises(Bad, parsed, grammar.login, text)

    def test_create(self) -> None:
        self.assertEqual(parsed(grammar.create, b"a/b/"), Create("a/b", ""))
        self.assertEqual(parsed(grammar.create, b"a (USE (\\Sent))"), Create("a", "\\Sent"))
        self.assertRaises(No, parsed, grammar.create, b"a (USE (\\Sent \\Junk))")
        self.assertRaises(Bad, parsed, grammar.create, b"a (USED (\\Sent))")

    def test_list(self) -> None:
        self.assertEqual(parsed(listing, b'"" *'), Listing("", ("*",)))
        self.assertEqual(
            parsed(listing, b'(SUBSCRIBED RECURSIVEMATCH) "" ("a" %) RETURN (CHILDREN STATUS (UNSEEN SIZE))'),
            Listing("", ("a", "%"), True, False, True, True, True, (b"UNSEEN", b"SIZE"), extended=True),
        )
        self.assertEqual(parsed(listing, b'() "" "%" RETURN ()').children, False)
        for text in (
            b'""',
            b'"" (',
            b'"" ()',
            b'(NONE) "" *',
            b'"" * RETURN (NONE)',
            b'"" * RETURN STATUS',
            b'"" (' + b" ".join([b"a"] * 65) + b")",
        ):
            self.assertRaises(Bad, parsed, listing, text)

    def test_append(self) -> None:
        self.assertEqual(parsed(append_grammar.opening, b"{3}"), Opening(0, (), None, False, False))
        self.assertEqual(
            parsed(append_grammar.opening, b'(\\seen \\Recent $Fwd $fwd) "01-Jan-2026 00:00:00 +0000" {3+}'),
            Opening(1, ("$Fwd",), 1767225600, False, False),
        )
        self.assertEqual(parsed(append_grammar.opening, b"() catenate (TEXT {3}"), Opening(0, (), None, True, False))
        self.assertEqual(parsed(append_grammar.opening, b"UTF8 (~{3}"), Opening(0, (), None, False, True))
        for text in (b"(\\x) {3}", b'"x" {3}', b"CATENATE {3}", b"UTF8 ~{3}"):
            self.assertRaises(Bad, parsed, append_grammar.opening, text)

    def test_announced(self) -> None:
        self.assertEqual(Tokens([b"{3}"]).announced(), Announced(3, True, False))
        self.assertEqual(Tokens([b"~{3+}"]).announced(), Announced(3, False, True))
        for text in (b"{3} ", b"{-3}", b"~~{3}", b"abc"):
            self.assertRaises(Bad, Tokens([text]).announced)

    def test_store(self) -> None:
        self.assertEqual(parsed(grammar.store, b"1 +FLAGS.SILENT (\\Seen a)"), StoreFlags(((1, 1),), "add", True, 1, ("a",)))
        self.assertEqual(
            parsed(grammar.store, b"1 (UNCHANGEDSINCE 9) -flags \\Deleted b"), StoreFlags(((1, 1),), "remove", False, 8, ("b",), 9)
        )
        self.assertEqual(parsed(grammar.store, b"1 FLAGS ()"), StoreFlags(((1, 1),), "replace", False, 0, ()))
        for text in (b"1 FLAGS", b"1 FLAGGS (a)", b"1 FLAGS.LOUD (a)", b"1 FLAGS (\\*)", b"1 FLAGS (a", b"1 FLAGS (" + b"a " * 300 + b"a)"):
            self.assertRaises(Bad, parsed, grammar.store, text)

    def test_fetch(self) -> None:
        self.assertEqual(parsed(fetch, b"1 FAST"), Fetch(((1, 1),), (Data.FLAGS, Data.INTERNALDATE, Data.SIZE)))
        self.assertEqual(parsed(fetch, b"1 (uid uid) (CHANGEDSINCE 5)"), Fetch(((1, 1),), (Data.UID,), 5))
        section = parsed(fetch, b'1 BODY[1.2.header.fields ("To" {1}\r\n)]<5.10>', b"%").items[0]
        self.assertEqual(
            section, Section(b'BODY[1.2.HEADER.FIELDS (To "%")]<5>', (1, 2), Text.FIELDS, frozenset((b"to", b"%")), 5, 10, False)
        )
        self.assertEqual(parsed(fetch, b"1 BODY.PEEK[]").items[0], Section(b"BODY[]", (), Text.ALL))
        for text in (
            b"1 ()",
            b"1 (ALL)",
            b"1 BODY[",
            b"1 BODY[1.]",
            b"1 BODY[0]",
            b"1 BODY[.1]",
            b"1 BODY[HEADER.FIELDS]",
            b"1 BODY[HEADER.FIELDS ()]",
            b"1 BODY[]<1>",
            b"1 BODY[]<1.0>",
            b"1 BODY[]<-1.5>",
            b"1 BODY[" + b".".join([b"1"] * 101) + b"]",
            b"1 BODY[99999999999]",
            b"1 (" + b" ".join([b"FLAGS"] * 101) + b")",
        ):
            self.assertRaises(Bad, parsed, fetch, text)

    def test_search(self) -> None:
        def query(text: bytes, *literals: bytes) -> Any:
            return parsed(search.search, text, *literals).query

        self.assertEqual(query(b"ALL"), keys.All())
        self.assertEqual(query(b"UNSEEN 1:3"), keys.And((keys.Flagged("\\Seen", False), keys.Sequence(((1, 3),)))))
        self.assertEqual(query(b"NOT (OR NEW UID *)"), keys.Not(keys.Or(keys.New(), keys.Uid(((None, None),)))))
        self.assertEqual(query(b'HEADER X-Y ""'), keys.Header("X-Y", ""))
        self.assertEqual(query(b"FROM {2}\r\n", b"\xc3\xa4"), keys.Header("from", "ä"))
        self.assertEqual(query(b'CHARSET iso-8859-1 TEXT "\xe4"'), keys.Text("ä"))
        self.assertEqual(query(b"SENTSINCE 1-Jan-2026"), keys.Sent("since", date(2026, 1, 1)))
        self.assertEqual(query(b'MODSEQ "/flags/\\\\seen" all 7'), keys.ModSeq(7))
        self.assertTrue(parsed(search.search, b"MODSEQ 7").modseq)
        self.assertEqual(query(b"OLDER 60 SAVEDON 1-Jan-2026"), keys.And((keys.Older(60), keys.Saved("on", date(2026, 1, 1)))))
        self.assertEqual(query(b"FUZZY (SUBJECT x EMAILID M1)"), keys.Fuzzy(keys.And((keys.Subject("x"), keys.EmailId("M1")))))
        self.assertEqual(query(b"UID $ $"), keys.And((keys.Uid(SAVED), keys.Sequence(SAVED))))
        self.assertEqual(parsed(search.sort, b"(REVERSE DATE SUBJECT) UTF-8 ALL").keys, (SortKey("date", True), SortKey("subject")))
        for text in (
            b"",
            b"NOT",
            b"OR ALL",
            b"(ALL",
            b"()",
            b"ALL ",
            b"FROM",
            b"LARGER x",
            b"SINCE 29-Feb-2025",
            b'TEXT "\xff"',
            b"KEYWORD \\",
        ):
            self.assertRaises(Bad, query, text)

    def test_search_results(self) -> None:
        def returns(text: bytes) -> search.Returns | None:
            return parsed(search.search, text + b" ALL").returns  # type: ignore[no-any-return]

        self.assertEqual(returns(b"RETURN ()"), search.EVERYTHING)
        self.assertEqual(returns(b"RETURN (CONTEXT)"), search.EVERYTHING)
        self.assertEqual(returns(b"RETURN (min Count)"), search.Returns(frozenset((b"MIN", b"COUNT"))))
        self.assertEqual(returns(b"RETURN (SAVE)"), search.Returns(save=True))
        self.assertEqual(returns(b"RETURN (PARTIAL 9:2)"), search.Returns(partial=Partial(2, 9)))
        self.assertEqual(returns(b"RETURN (UPDATE PARTIAL -9:-2)"), search.Returns(partial=Partial(2, 9, True), update=True))
        updating = search.Returns(frozenset((b"ALL",)), update=True, items=(Data.UID, Data.FLAGS))
        self.assertEqual(returns(b"RETURN (UPDATE (UID FLAGS) ALL)"), updating)
        for text in (
            *(b"(PARTIAL 1)", b"(PARTIAL 1:*)", b"(PARTIAL)", b"(ALL PARTIAL 1:2)", b"(PARTIAL 1:2 PARTIAL 1:2)"),
            *(b"(UPDATE ())", b"(", b"(X)"),
        ):
            self.assertRaises(Bad, returns, b"RETURN " + text)

    def test_search_bounds(self) -> None:
        """Nesting and number of criteria are bounded, however they are written."""
        for text in (b"(" * 10000 + b"ALL", b"NOT " * 10000 + b"ALL", b"OR " * 10000 + b"ALL", b" ".join([b"ALL"] * 1001)):
            self.assertRaises(Bad, parsed, search.search, text)
        parsed(search.search, b"NOT " * 50 + b"ALL")
        parsed(search.search, b" ".join([b"ALL"] * 1000))


_WORDS = r"""( ) [ ] < > , : * % . + - = ~{3} {3} {3+} \ \Seen $Kw "a" "\"" NIL 1 0 1:* 4294967296 FLAGS +FLAGS BODY BODY[ INBOX &- &Jjo!
BODY.PEEK[1.2.MIME]<0.5> HEADER.FIELDS ENVELOPE ALL NOT OR SUBJECT UID MODSEQ RETURN CHARSET UTF-8 STATUS MESSAGES CONDSTORE CHANGEDSINCE
UNCHANGEDSINCE 1-Jan-2026 DATE REVERSE"""
WORDS = st.sampled_from([*_WORDS.encode().split(), b'"01-Jan-2026 00:00:00 +0000"', b"\xc3\xa4", b"\x00", b" "])


class FuzzTests(SynchronousTestCase):
    @given(st.sampled_from(sorted(VERBS)), st.lists(WORDS, max_size=12), st.sampled_from((b"", b" ")))
    def test_words(self, name: bytes, words: list[bytes], joint: bytes) -> None:
        """Any parser makes a value of any words, or raises Bad or No."""
        lines, literals = [b" "], []
        for word in words:
            lines[-1] += word
            if word in (b"{3}", b"{3+}"):
                lines.append(b"")
                literals.append(b"a(b")
            lines[-1] += joint
        try:
            VERBS[name].parse(Tokens(lines, literals))
        except Ended:
            pass

    @given(st.sampled_from(sorted(VERBS)), st.binary(max_size=40))
    def test_octets(self, name: bytes, octets: bytes) -> None:
        try:
            VERBS[name].parse(Tokens([b" " + octets]))
        except (Ended, Missing):
            pass
