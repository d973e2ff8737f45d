"""Canonical JSON, base64url and keys as text: one way to write, and only that way is read."""

import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.identity.encoding import DEPTH_LIMIT, Malformed, b64, canonical, key_from_text, key_text, parse, unb64

_texts = st.text(st.characters(exclude_categories=["Cs"]))
_plain = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | _texts
_values = st.recursive(_plain, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_texts, inner, max_size=4), max_leaves=20)


class Canonical(SynchronousTestCase):
    @given(_values)
    def test_what_is_written_is_read_and_written_the_same_again(self, value: object) -> None:
        text = canonical(value)  # type: ignore[arg-type]
        read = parse(text)
        self.assertEqual(read, value)
        self.assertEqual(canonical(read), text)
        self.assertEqual(json.loads(text), value)

    def test_names_are_sorted_and_there_are_no_spaces(self) -> None:
        self.assertEqual(canonical({"b": [1, True, None], "a": "é\n", "A": {}}), '{"A":{},"a":"é\\n","b":[1,true,null]}'.encode())

    def test_what_cannot_be_written_in_one_way_is_refused(self) -> None:
        deep: object = 1
        for _ in range(DEPTH_LIMIT + 1):
            deep = [deep]
        for value in (1.0, float("nan"), b"octets", {1: 2}, 2**53, -(2**53), "\ud800", {"\ud800": 1}, deep, {1, 2}):
            with self.assertRaises(Malformed):
                canonical(value)  # type: ignore[arg-type]

    def test_hostile_texts_are_refused_and_quoted_nowhere(self) -> None:
        for text in (
            b"",
            b"{",
            b'{"a":1,"a":2}',
            b"1.5",
            b"1e3",
            b"NaN",
            b"Infinity",
            b"9" * 5000,
            b"[" * 100_000,
            b'{"a":' * 50_000,
            b"\xff",
            b'"\\ud800"x',
            b"[" * (DEPTH_LIMIT + 1) + b"]" * (DEPTH_LIMIT + 1),
            b"9007199254740992",
        ):
            with self.assertRaises(Malformed) as caught:
                parse(text)
            self.assertLess(len(str(caught.exception)), 60)
        with self.assertRaises(Malformed):
            parse(b'"' + b"a" * 100 + b'"', 50)

    @given(st.binary(max_size=200))
    def test_any_octets_are_a_value_or_refused(self, text: bytes) -> None:
        try:
            parse(text)
        except Malformed:
            pass


class Base64(SynchronousTestCase):
    @given(st.binary(max_size=100))
    def test_octets_come_back(self, data: bytes) -> None:
        self.assertEqual(unb64(b64(data), len(data)), data)

    def test_only_one_spelling_is_read(self) -> None:
        for text in ("AA==", "AB", "A", "A+8", "A/8", "AA\n", " AA", "é", None, 5, b"AA"):
            with self.assertRaises(Malformed):
                unb64(text)
        with self.assertRaises(Malformed):
            unb64("AAAA", 2)

    def test_keys_say_what_they_are(self) -> None:
        self.assertEqual(key_from_text(key_text(b"k" * 32)), b"k" * 32)
        for text in ("", "ed25519:", b64(b"k" * 32), "rsa:" + b64(b"k" * 32), "ed25519:" + b64(b"k" * 31), None, ["ed25519:"]):
            with self.assertRaises(Malformed):
                key_from_text(text)
