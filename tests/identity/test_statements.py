"""Statements: what is signed, by whom, and that nothing of it can be changed."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.identity.encoding import Malformed, b64, canonical, parse
from mailx.identity.statements import SIGNATURES_LIMIT, Statement, domain_name, signed, verify
from tests.identity.signers import signer

A, B = signer("a"), signer("b")


class Statements(SynchronousTestCase):
    def test_one_comes_back_from_its_octets_with_good_signatures(self) -> None:
        made = signed("greeting", {"text": "Grüße", "number": 5}, A, B)
        read = Statement.decode(parse(canonical(made.encode())), "greeting")
        self.assertEqual(read, made)
        self.assertEqual(read.digest, made.digest)
        self.assertTrue(read.signed_by(A.public) and read.signed_by(B.public))
        self.assertFalse(read.signed_by(signer("c").public))

    def test_what_is_signed_is_written_down(self) -> None:
        """The octets of the documentation: another program signs the same."""
        made = signed("greeting", {"b": 1, "a": "x"}, A)
        self.assertTrue(verify(A.public, b'mailx-1 greeting\n{"a":"x","b":1}', made.signatures[0].signature))

    def test_a_changed_body_kind_or_signature_is_not_signed(self) -> None:
        made = signed("greeting", {"number": 5}, A).encode()
        for change in ({"body": {"number": 6}}, {"body": {"number": 5, "more": 1}}, {"kind": "farewell"}):
            changed: Any = {**made, **change}
            self.assertFalse(Statement.decode(changed, changed["kind"]).signed_by(A.public))
        other: Any = {**made, "signatures": [{"key": made["signatures"][0]["key"], "signature": b64(bytes(64))}]}  # type: ignore[index,call-overload]
        self.assertFalse(Statement.decode(other, "greeting").signed_by(A.public))

    def test_a_signature_under_anothers_name_does_not_count(self) -> None:
        made: Any = signed("greeting", {"number": 5}, A).encode()
        made["signatures"][0]["key"] = signed("greeting", {}, B).encode()["signatures"][0]["key"]  # type: ignore[index,call-overload]
        read = Statement.decode(made, "greeting")
        self.assertFalse(read.signed_by(A.public) or read.signed_by(B.public))

    def test_what_has_another_form_is_refused(self) -> None:
        good: Any = signed("greeting", {"number": 5}, A).encode()
        one = good["signatures"][0]
        for bad in (
            None,
            [],
            "text",
            {},
            {**good, "kind": "other"},
            {**good, "body": []},
            {**good, "body": None},
            {**good, "signatures": []},
            {**good, "signatures": {}},
            {**good, "signatures": [one] * (SIGNATURES_LIMIT + 1)},
            {**good, "signatures": [None]},
            {**good, "signatures": [{**one, "key": "ed25519:short"}]},
            {**good, "signatures": [{**one, "signature": one["signature"][:-1]}]},
        ):
            with self.assertRaises(Malformed):
                Statement.decode(bad, "greeting")
        with self.assertRaises(Malformed):
            Statement.decode(signed("greeting", {"text": "x" * 100}, A).encode(), "greeting", 50)

    def test_keys_of_small_order_sign_nothing(self) -> None:
        """With such a key one signature would be good for every message."""
        for key in (bytes(32), b"\1" + bytes(31), bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f")):
            self.assertFalse(verify(key, b"data", key + bytes(32)))
            self.assertFalse(verify(key, b"data", bytes(64)))

    @given(st.binary(max_size=40), st.binary(max_size=70))
    def test_whatever_is_no_key_and_no_signature_is_just_false(self, key: bytes, signature: bytes) -> None:
        self.assertFalse(verify(key, b"data", signature))

    def test_domains_have_one_spelling(self) -> None:
        for name in ("example.org", "xn--bcher-kva.example", "a", "_x.example"):
            self.assertEqual(domain_name({"domain": name}), name)
        for bad in (
            "Example.org",
            "example.org.",
            "",
            ".org",
            "a..b",
            "bücher.example",
            "a b",
            "-a.org",
            "x" * 64 + ".org",
            "a." * 130 + "b",
            None,
            5,
        ):
            with self.assertRaises(Malformed):
                domain_name({"domain": bad})
