"""Object identifiers (RFC 8474)."""

import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from mailx.core.object_ids import ObjectIds, email_id, guid_of
from mailx.store.cipher import Cipher, Keys

_FORM = re.compile(r"[A-Za-z0-9_-]{1,255}\Z")  # RFC 8474 4


def ids(lookup: bytes = b"l" * 32) -> ObjectIds:
    return ObjectIds(Cipher(Keys({1: b"d" * 32}, 1, lookup)))


class EmailIdTests(TestCase):
    @given(st.binary(min_size=16, max_size=16))
    def test_there_and_back(self, guid: bytes) -> None:
        text = email_id(guid)
        self.assertTrue(_FORM.match(text))
        self.assertEqual(guid_of(text), guid)

    @given(st.text(max_size=30) | st.text("MAQgw-_=+/ ", min_size=23, max_size=23).map(lambda text: "M" + text[1:]))
    def test_anything_else_is_none_of_ours(self, text: str) -> None:
        guid = guid_of(text)
        self.assertTrue(guid is None or email_id(guid) == text)


class OpaqueTests(TestCase):
    def test_form(self) -> None:
        made = ids()
        self.assertTrue(_FORM.match(made.thread_id(1, 2)))
        self.assertTrue(_FORM.match(made.mailbox_id(1, 2)))

    def test_one_for_each_account_and_kind(self) -> None:
        made = ids()
        texts = {made.thread_id(account, id) for account in (1, 2) for id in (1, 2)}
        texts |= {made.mailbox_id(account, id) for account in (1, 2) for id in (1, 2)}
        self.assertEqual(len(texts), 8)
        self.assertEqual(len({text[1:] for text in texts}), 8)

    def test_the_same_after_a_restart_and_different_elsewhere(self) -> None:
        self.assertEqual(ids().thread_id(3, 4), ids().thread_id(3, 4))
        self.assertNotEqual(ids().thread_id(3, 4), ids(b"m" * 32).thread_id(3, 4))
