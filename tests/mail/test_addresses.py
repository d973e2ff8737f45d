"""Address lists: RFC 5322 Appendix A and what mailers make of them."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.mail.addresses import ADDRESSES_LIMIT, GROUP_END, Entry, parse


def _mailbox(name: bytes | None, mailbox: bytes, host: bytes, route: bytes | None = None) -> Entry:
    return Entry(name, route, mailbox, host)


class PlainForms(SynchronousTestCase):
    def test_forms(self) -> None:
        """The forms that nearly all mail has."""
        cases = {
            b"jdoe@one.test": [_mailbox(None, b"jdoe", b"one.test")],
            b"<jdoe@one.test>": [_mailbox(None, b"jdoe", b"one.test")],
            b"John Doe <jdoe@one.test>": [_mailbox(b"John Doe", b"jdoe", b"one.test")],
            b'"Doe, John" <jdoe@one.test>': [_mailbox(b"Doe, John", b"jdoe", b"one.test")],
            b"=?utf-8?q?J=C3=B6rg?= <j@x.test>": [_mailbox(b"=?utf-8?q?J=C3=B6rg?=", b"j", b"x.test")],
            b"a@b.test,c@d.test ,\r\n E F <e@f.test>\r\n": [
                _mailbox(None, b"a", b"b.test"),
                _mailbox(None, b"c", b"d.test"),
                _mailbox(b"E F", b"e", b"f.test"),
            ],
            b"John Q. Public <j@x.test>": [_mailbox(b"John Q. Public", b"j", b"x.test")],
            "Jörg <jörg@bücher.test>".encode(): [_mailbox("Jörg".encode(), "jörg".encode(), "bücher.test".encode())],
            b"": [],
            b"   ": [],
        }
        for value, expected in cases.items():
            self.assertEqual(parse(value), expected, value)

    def test_long_lists_are_cut(self) -> None:
        self.assertEqual(len(parse(b"a@b," * (ADDRESSES_LIMIT + 5))), ADDRESSES_LIMIT)
        self.assertLessEqual(len(parse(b"a (x) @b," * (ADDRESSES_LIMIT + 5))), ADDRESSES_LIMIT + 2)


class OtherForms(SynchronousTestCase):
    def test_groups(self) -> None:
        """RFC 5322 A.1.3: a group is opened and closed by entries of its own, as IMAP wants it."""
        self.assertEqual(
            parse(b"A Group:Ed Jones <c@a.test>,joe@where.test,John <jdoe@one.test>;"),
            [
                Entry(None, None, b"A Group", None),
                _mailbox(b"Ed Jones", b"c", b"a.test"),
                _mailbox(None, b"joe", b"where.test"),
                _mailbox(b"John", b"jdoe", b"one.test"),
                GROUP_END,
            ],
        )
        self.assertEqual(parse(b"Undisclosed recipients:;"), [Entry(None, None, b"Undisclosed recipients", None), GROUP_END])

    def test_a_group_that_never_ends_is_ended(self) -> None:
        self.assertEqual(parse(b"g: a@b"), [Entry(None, None, b"g", None), _mailbox(None, b"a", b"b"), GROUP_END])

    def test_groups_do_not_nest(self) -> None:
        entries = parse(b"a: b: c@d;")
        depth = 0
        for entry in entries:
            if entry.host is None:
                depth += 1 if entry.mailbox is not None else -1
            self.assertIn(depth, (0, 1))
        self.assertEqual(depth, 0)

    def test_comments(self) -> None:
        """RFC 5322 A.5."""
        self.assertEqual(
            parse(b"Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>"), [_mailbox(b"Pete", b"pete", b"silly.test")]
        )
        self.assertEqual(parse(b"jd@x.test (John (the) Doe)"), [_mailbox(b"John (the) Doe", b"jd", b"x.test")])
        self.assertEqual(parse(b"(only a comment)"), [])

    def test_obsolete_forms(self) -> None:
        """RFC 5322 A.6.1 and 4.4: routes, empty elements, blanks around dots."""
        self.assertEqual(
            parse(b"Joe Q. Public <john . q@example.com>, <@node.test,@n2.test:mary@example.net>, , jdoe@test   . example"),
            [
                _mailbox(b"Joe Q. Public", b"john.q", b"example.com"),
                _mailbox(None, b"mary", b"example.net", b"@node.test,@n2.test"),
                _mailbox(None, b"jdoe", b"test.example"),
            ],
        )

    def test_quoted_local_parts_lose_their_quotes(self) -> None:
        """RFC 9051 7.5.2: the mailbox name is the local part after removing quoting."""
        self.assertEqual(parse(b'"x \\" y"@z.test'), [_mailbox(None, b'x " y', b"z.test")])
        self.assertEqual(parse(b'"a\\"b" <c@d.test>'), [_mailbox(b'a"b', b"c", b"d.test")])

    def test_domain_literals(self) -> None:
        self.assertEqual(parse(b"a@[192.0.2.1]"), [_mailbox(None, b"a", b"[192.0.2.1]")])

    def test_broken_forms(self) -> None:
        """Nothing is lost that a person would see; a missing domain is an empty one, since NIL would open a group."""
        cases = {
            b"undisclosed recipients": [_mailbox(None, b"undisclosed recipients", b"")],
            b"postmaster": [_mailbox(None, b"postmaster", b"")],
            b"Name <>": [_mailbox(b"Name", b"", b"")],
            b'"Foo <a@b.c>, d@e': [_mailbox(b"Foo", b"a", b"b.c"), _mailbox(None, b"d", b"e")],
            b"<a@b.c, d@e.f": [_mailbox(None, b"a", b"b.c"), _mailbox(None, b"d", b"e.f")],
            b"John Doe jd@x.y": [_mailbox(b"John Doe", b"jd", b"x.y")],
            b"a@b@c": [_mailbox(None, b"a@b", b"c")],
            b"<mailto:a@b.c>": [_mailbox(None, b"mailto:a", b"b.c")],
            b"a@b.c; d@e.f": [_mailbox(None, b"a", b"b.c"), _mailbox(None, b"d", b"e.f")],
        }
        for value, expected in cases.items():
            self.assertEqual(parse(value), expected, value)

    @given(
        st.lists(
            st.sampled_from([b"<", b">", b"@", b",", b";", b":", b'"', b"\\", b"(", b")", b"[", b"]", b".", b" ", b"\r\n ", b"a", b"\xff"])
        )
    )
    def test_anything_gives_balanced_groups(self, pieces: list[bytes]) -> None:
        grouped = False
        for entry in parse(b"".join(pieces)):
            if entry.host is None:
                self.assertEqual(grouped, entry.mailbox is None)
                grouped = not grouped
        self.assertFalse(grouped)

    @given(
        st.lists(st.tuples(st.text('abcXYZ .,;:<>@()"\\', min_size=1), st.text("abc", min_size=1), st.text("xyz", min_size=1)), max_size=5)
    )
    def test_quoted_names_come_back(self, people: list[tuple[str, str, str]]) -> None:
        written = ", ".join(
            '"{}" <{}@{}>'.format(name.replace("\\", "\\\\").replace('"', '\\"'), local, host) for name, local, host in people
        )
        expected = [(name.encode().strip() or None, local.encode(), host.encode()) for name, local, host in people]
        self.assertEqual([((name or b"").strip() or None, local, host) for name, _, local, host in parse(written.encode())], expected)
