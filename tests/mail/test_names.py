"""Names of mailboxes."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.mail.names import DEPTH_LIMIT, NAME_LIMIT, MailboxError, new, normal, order, parents


class NameTests(SynchronousTestCase):
    @given(st.text(max_size=40))
    def test_normal_form_is_final(self, name: str) -> None:
        self.assertEqual(normal(normal(name)), normal(name))

    @given(st.text(max_size=80))
    def test_a_new_name_is_safe_to_keep_and_to_show(self, name: str) -> None:
        try:
            made = new(name)
        except MailboxError as error:
            self.assertIn(error.code, ("CANNOT", "LIMIT"))
            return
        self.assertEqual(made, normal(made))
        self.assertTrue(unicodedata.is_normalized("NFC", made))
        self.assertLessEqual(len(made.encode()), NAME_LIMIT)
        self.assertLessEqual(len(parents(made)), DEPTH_LIMIT - 1)
        self.assertTrue(all(level == level.strip() and level for level in made.split("/")))
        self.assertTrue(made.isprintable() or not made.isascii())

    def test_inbox_has_one_spelling(self) -> None:
        self.assertEqual([normal(name) for name in ("inbox", "InBox/x", "inboxes", "a/inbox", "\u0131nbox")],
                         ["INBOX", "INBOX/x", "inboxes", "a/inbox", "\u0131nbox"])  # fmt: skip

    def test_parents(self) -> None:
        self.assertEqual(parents("a/b/c"), ["a", "a/b"])
        self.assertEqual(parents("a"), [])

    def test_children_follow_their_parent(self) -> None:
        names = ["a!", "a/b", "a", "INBOX/x", "A", "INBOX", "INBOXES"]
        self.assertEqual(sorted(names, key=order), ["INBOX", "INBOX/x", "A", "INBOXES", "a", "a/b", "a!"])
